"""`Idempotency-Key` on POST: a request that is sent twice is done once, and its answer given again for 24 hours.

Keys and bodies are kept as keyed hashes. An answer with a credential in it is not kept: the credential is shown once.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gateway.clock import now_ms
from gateway.errors import Conflict, InvalidFields
from gateway.hookspecs import Reply, RouteRequest
from gateway.secrets import derive
from gateway.store.once import Once

KEPT_MS = 24 * 3600 * 1000
_MAX_KEY = 255


class Records(Protocol):
    """Where requests are remembered; `name` is a hash of who sent which key where."""

    async def begin_once(self, name: str, body: str, now: int, expires: int) -> Once | None:
        """Note a request that begins, in one step; or return what is stored under this name."""

    async def finish_once(self, name: str, once: Once) -> None:
        """Store how it ended."""

    async def drop_once(self, name: str) -> None:
        """It changed nothing: forget it, so that it can be tried again."""


class Idempotency:
    """Does a request once, however often it comes."""

    def __init__(self, records: Records, master: bytes) -> None:
        self._records = records
        self._key = derive(master, "idempotency")

    async def once(
        self, key: str, request: RouteRequest, raw: bytes, serve: Callable[[], Awaitable[Reply]], *, secret: bool
    ) -> Reply:
        """The answer of `serve`, or of the first request with this key. Raises `Conflict` while that one runs."""
        if not 1 <= len(key) <= _MAX_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise InvalidFields(("Idempotency-Key", f"must be 1 to {_MAX_KEY} visible ASCII characters"))
        name = self._hash(request.principal.id, request.method, request.path, key)
        body = self._hash(repr(sorted(request.query.items())), raw.decode(errors="replace"))
        now = now_ms()
        known = await self._records.begin_once(name, body, now, now + KEPT_MS)
        if known is not None:
            return _again(known, body)
        try:
            reply = await serve()
        except BaseException:
            await self._records.drop_once(name)
            raise
        kept = None if secret or reply.parts is not None else reply.body.decode()
        headers: Mapping[str, str] = {} if secret else reply.headers
        await self._records.finish_once(name, Once(body, True, reply.status, dict(headers), kept))
        return reply

    def _hash(self, *parts: str) -> str:
        text = "\0".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()


def _again(known: Once, body: str) -> Reply:
    if not hmac.compare_digest(known.body, body):
        raise InvalidFields(("Idempotency-Key", "was used for another request: take a new one for a new request"))
    if not known.done:
        raise Conflict(
            "A request with this Idempotency-Key is still running, or ended with a crash: look whether it was done.",
            code="request_running",
        )
    if known.answer is None:
        raise Conflict(
            "This request was done already, and its answer held a credential, which is shown only once. If that answer "
            "was lost, revoke what it made, and make another with a new Idempotency-Key.",
            code="secret_already_shown",
        )
    headers = {**known.headers, "idempotency-replayed": "true"}
    return Reply(known.status, known.answer.encode(), headers=headers)
