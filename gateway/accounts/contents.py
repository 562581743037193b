"""What is kept of requests and answers where a tenant's or key's policy says so: sealed, listed, and read on record.

One reads with the right `content:read`, and each reading is in the audit before anything is shown. Who writes is
`sink.content`; how long it is kept is `retention.py`'s.
"""

import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from gateway.accounts.book import Book
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Content
from gateway.accounts.sealing import Sealer
from gateway.errors import NotFound
from gateway.store import Page
from gateway.store.work import Put, put

_GONE: Final = "There is no logged exchange with this id."
_LARGEST: Final = 256 << 20


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text of the answer: of which choice, and which part of it; of a tool's arguments, which tool call."""

    text: str
    choice: int = 0
    part: str = "content"
    tool: int = 0


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What was said: the request's body as the model got it, and the answer's texts as they went to the client.

    Of a body that was cut (`truncated`) there is `request_text` instead of `request`.
    """

    request: msgspec.Raw = msgspec.Raw(b"null")
    request_text: str | None = None
    answer: tuple[Said, ...] = ()
    truncated: bool = False


class ContentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which ones; times are Unix milliseconds."""

    tenant: str | None = None
    key: str | None = None
    user: str | None = None
    model: str | None = None
    since: int | None = None
    until: int | None = None

    def where(self, who: Principal) -> dict[str, object]:
        """The conditions, cut to what `who` may see."""
        named = {
            "key_id": self.key, "owner": self.user, "model": self.model, "since": self.since, "until": self.until,
        }  # fmt: skip
        given = {name: value for name, value in named.items() if value is not None}
        return who.scope("content:read", self.tenant) | given


def sealer(master: bytes) -> Sealer:
    """What seals and opens content, and nothing else."""
    return Sealer(master, "content")


def stored(seal: Sealer, content: Content, document: Document | None) -> Put:
    """The step that keeps an exchange; slow for long ones, so not for an event loop. Again changes nothing."""
    sealed = None
    if document is not None:
        data = zlib.compress(msgspec.json.encode(document), 1)
        sealed = seal.seal_bytes(data, "contents", content.id, content.tenant)
    step = put(content, sealed=sealed)
    return Put(step.table, step.values, replace=("id",))


class Contents:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store
        self._sealer = sealer(book.master)

    async def page(self, who: Principal, which: ContentFilter, limit: int, cursor: str) -> Page[Content]:
        """What was kept of whose exchanges, newest first: never a text."""
        return await self._store.page(Content, which.where(who), limit=limit, cursor=cursor)

    async def read(self, who: Principal, origin: Origin, content: str) -> tuple[Content, Document | None]:
        """One of them with its texts, if texts were kept. That `who` read it is in the audit before this returns."""
        found = await self._store.one(Content, **{**who.scope("content:read"), "id": content})
        if found is None:
            raise NotFound(_GONE)
        detail = {"key": found.key_id, "owner": found.owner or None, "model": found.model}
        note = self._book.note(
            who, origin, "content_read", tenant=found.tenant, resource=("content", content), severity="warning",
            detail=_given(detail),
        )  # fmt: skip
        await self._book.commit(note, bump=False)
        return found, await self._opened(found)

    async def all(
        self, who: Principal, origin: Origin, which: ContentFilter, purpose: str
    ) -> AsyncIterator[tuple[Content, Document]]:
        """All whose texts were kept, newest first, for `purpose`: one entry in the audit says that they were read."""
        where = which.where(who)
        detail = {"what": "contents", "purpose": purpose, "since": which.since, "until": which.until}
        note = self._book.note(
            who, origin, "content_read", tenant=str(where.get("tenant", "")), resource=("content", "*"),
            severity="warning", detail=_given(detail),
        )  # fmt: skip
        await self._book.commit(note, bump=False)
        cursor: str | None = ""
        while cursor is not None:
            page = await self._store.page(Content, where, limit=100, cursor=cursor)
            for each in page.items:
                document = await self._opened(each)
                if document is not None:
                    yield each, document
            cursor = page.next

    async def _opened(self, content: Content) -> Document | None:
        sealed = await self._store.secret(Content, "sealed", id=content.id, tenant=content.tenant)
        if sealed is None:
            return None
        data = self._sealer.open_bytes(sealed, "contents", content.id, content.tenant)
        return msgspec.json.decode(zlib.decompressobj().decompress(data, _LARGEST), type=Document)


def _given(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in detail.items() if value is not None}
