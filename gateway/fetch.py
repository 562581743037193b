"""Fetches the media that a conversation links to, for targets that take no links, and only where the owner allows it.

The links are the caller's: they are asked for without any credential, over http or https, at public addresses only
(checked on each connection), without redirects, up to a size, and only what says that it is media of its kind. Who
asks, and for which links, is the business of a provider.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from gateway.bridge import asked_of
from gateway.config import Timeouts
from gateway.conversation import Conversation, MediaPart, Message, Part, Source, ToolResult
from gateway.errors import GatewayError, InvalidRequest
from gateway.exchange import Exchange
from gateway.hookspecs import HttpRequest
from gateway.upstream import Peer

if TYPE_CHECKING:
    from gateway.upstream import Upstream

MOST_LINKS = 20
_AT_A_TIME = 4
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]{1,255}(?:[/?][!\"$-~]*)?")
_ACCEPTED = {
    "image": ("image/",), "audio": ("audio/",), "video": ("video/",), "document": ("application/pdf", "text/"),
}
_HEADERS = (("accept", "*/*"),)


class Fetch:
    """What one provider fetches. `public` is false for tests alone: it admits addresses of this machine."""

    def __init__(self, upstream: "Upstream", name: str, max_bytes: int, *, public: bool = True) -> None:
        self._upstream = upstream
        self._max_bytes = max_bytes
        waits = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=30.0)
        self._peer = Peer(name=f"{name} (links)", timeouts=waits, max_connections=64, public=public)

    async def into(self, exchange: Exchange, wanted: Callable[[str], bool]) -> None:
        """Put the media behind the links that are `wanted` into the exchange's conversation. To be called before the
        attempt is translated. Raises `InvalidRequest` for a link that gives none."""
        asked = asked_of(exchange)
        if isinstance(asked, Conversation):
            links = {part.source.data: part for part in _linked(asked) if wanted(part.source.data)}
            if links:
                sources = await self._all(links)
                exchange.internal["asked"] = (exchange.request, _inlined(asked, sources))

    async def _all(self, links: dict[str, MediaPart]) -> dict[str, Source]:
        if len(links) > MOST_LINKS:
            raise InvalidRequest(f"At most {MOST_LINKS} links can be fetched for one request.", param="messages")
        turns = asyncio.Semaphore(_AT_A_TIME)
        tasks = [asyncio.ensure_future(self._one(url, part, turns)) for url, part in links.items()]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        if sum(len(source.data) for source in found) * 3 // 4 > self._max_bytes:
            raise _refused(f"they have more than {self._max_bytes} bytes together")
        return dict(zip(links, found, strict=True))

    async def _one(self, url: str, part: MediaPart, turns: asyncio.Semaphore) -> Source:
        url = url.partition("#")[0]
        if _URL.fullmatch(url) is None:
            raise _refused("it is no plain http or https link")
        async with turns:
            try:
                reply = await self._upstream.send(self._peer, HttpRequest("GET", url, _HEADERS))
            except GatewayError:
                raise _refused("its server cannot be reached, or must not be") from None
            try:
                kind = self._checked(reply.status, reply.headers.get("content-type", ""), part)
                length = reply.headers.get("content-length", "")
                if length.isdigit() and int(length) > self._max_bytes:
                    raise _refused(f"it has more than {self._max_bytes} bytes")
                body = await reply.body(self._max_bytes)
            except InvalidRequest:
                raise
            except GatewayError:
                raise _refused(f"its server broke off, or it has more than {self._max_bytes} bytes") from None
            finally:
                reply.close()
        return Source("base64", b64encode(body).decode(), kind, part.source.name)

    def _checked(self, status: int, content_type: str, part: MediaPart) -> str:
        """The media type. What its server says must be media of the part's kind."""
        if status != 200:
            raise _refused(f"its server answered with status {status}")
        kind = content_type.partition(";")[0].strip().lower()
        if not kind.startswith(_ACCEPTED[part.media]) or len(kind) > 100:
            raise _refused(f"it is no {part.media}")
        return kind


def _refused(why: str) -> InvalidRequest:
    """Nothing of the link is repeated: it may hold a credential."""
    return InvalidRequest(f"A link in the messages was not fetched: {why}.", param="messages", code="link_not_fetched")


def _linked(conversation: Conversation) -> Iterator[MediaPart]:
    for message in conversation.messages:
        for part in message.parts:
            for each in part.parts if isinstance(part, ToolResult) else (part,):
                if isinstance(each, MediaPart) and each.source.kind == "url":
                    yield each


def _inlined(conversation: Conversation, sources: dict[str, Source]) -> Conversation:
    def put(part: Part) -> Part:
        if isinstance(part, MediaPart) and part.source.kind == "url" and part.source.data in sources:
            return msgspec.structs.replace(part, source=sources[part.source.data])
        if isinstance(part, ToolResult):
            return msgspec.structs.replace(part, parts=tuple(map(put, part.parts)))
        return part

    messages: list[Message] = [
        msgspec.structs.replace(message, parts=tuple(map(put, message.parts))) for message in conversation.messages
    ]
    return msgspec.structs.replace(conversation, messages=tuple(messages))
