"""`Idempotency-Key` on the data plane: a request that is sent again gets the first one's answer, for one charge.

Scope is the caller, the route and the key. A first request runs to its end even if its client leaves: the client that
comes back finds the answer. Only good answers are kept, sealed, for `idempotency.hours`; errors can be tried again.
While the database is away such requests are refused: nobody could say whether they ran before.
Follows draft-ietf-httpapi-idempotency-key-header: 409 while the first runs, 422 for another body.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from gateway.accounts.sealing import SealBroken, Sealer
from gateway.clock import now_ms
from gateway.errors import Conflict, GatewayError, InvalidRequest
from gateway.exchange import Caller
from gateway.httprequest import Answer, Incoming
from gateway.refusals import rendered
from gateway.runtime import Gateway
from gateway.secrets import derive
from gateway.store.once import Once
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.hookspecs import Dialect
    from gateway.pipeline import Pipeline

HEADER: Final = "idempotency-key"
REPLAYED: Final = "idempotency-replayed"
_MAX_KEY: Final = 255
_LEASE_MS: Final = 90_000    # of a running request; a worker that is killed holds its keys no longer
_RENEW_S: Final = 30.0
_HOUR_MS: Final = 3_600_000
# What was true of the first answer's moment, or is said anew.
_OF_THE_MOMENT: Final = (
    "x-ratelimit-", "anthropic-ratelimit-", "x-gateway-budget-", "x-gateway-cost", "x-gateway-overhead",
)  # fmt: skip
_log = structlog.get_logger("gateway.repeats")


class OtherBody(InvalidRequest):
    """The key was used for another request."""

    status = 422
    code = "idempotency_key_reused"


class StillRunning(Conflict):
    """The first request with this key has not ended."""

    code = "idempotency_request_running"


class NotKept(Conflict):
    """The first request ended well, but its answer cannot be given again."""

    code = "idempotency_answer_not_kept"


class Repeats:
    """Serves requests that carry the header; all others never come here."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._key = derive(gateway.secret, "data-plane-idempotency")
        self._sealer = Sealer(gateway.secret, "repeats")
        self._tasks = Tasks()

    async def close(self) -> None:
        """End what runs for clients that have left."""
        await self._tasks.close()

    async def serve(
        self, pipeline: "Pipeline", endpoint: str, dialect: "Dialect", incoming: Incoming, params: Mapping[str, str]
    ) -> Answer:
        """The answer of `pipeline`, or the one that it gave the first time."""
        snapshot = self._gateway.snapshot
        copy = Copied(incoming, snapshot.config.idempotency.max_bytes)
        try:
            caller = await snapshot.plugins.authenticate(incoming.headers)
        except GatewayError:
            caller = None
        if caller is None:
            return await pipeline.serve(endpoint, dialect, incoming, params)  # which says so, and counts it
        try:
            name, body = await self._names(caller, dialect, copy)
            now = now_ms()
            known = await self._gateway.store.begin_once(name, body, now, now + _LEASE_MS)
            if known is not None:
                return self._again(known, name, body, incoming)
        except GatewayError as error:
            return incoming.reply(*rendered(dialect, error, incoming.request_id))
        first = self._tasks.spawn(self._first(pipeline, endpoint, dialect, copy, params, name), "a request done once")
        copy.own = first
        try:
            return await asyncio.shield(first)
        except asyncio.CancelledError:
            copy.gone = True  # the client left; what it asked for goes on
            raise

    async def _names(self, caller: Caller, dialect: "Dialect", copy: "Copied") -> tuple[str, str]:
        """What the request is stored under, and what tells it from another one: keyed hashes."""
        key = copy.headers[HEADER]
        if not 1 <= len(key) <= _MAX_KEY or not key.isascii() or not key.isprintable():
            raise InvalidRequest(f"Idempotency-Key must be 1 to {_MAX_KEY} printable ASCII characters.")
        if getattr(dialect, "form", False) or copy.headers.get("content-type", "").startswith("multipart/"):
            # An upload passes through as it comes, with new boundaries each time: its size has to do.
            read = copy.headers.get("content-length", "").encode()
        else:
            read = await copy.body(self._gateway.snapshot.config.server.max_body_bytes)
        name = self._hash(caller.tenant, caller.key or caller.owner, copy.method, copy.path, key)
        return name, self._hash(copy.query_text, read.hex())

    def _hash(self, *parts: str) -> str:
        text = "\0".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self._key, text.encode(errors="surrogatepass"), hashlib.sha256).hex()

    async def _first(
        self, pipeline: "Pipeline", endpoint: str, dialect: "Dialect", copy: "Copied", params: Mapping[str, str],
        name: str,
    ) -> Answer:
        holding = self._tasks.spawn(self._hold(name), "hold an idempotency key")
        try:
            answer = await pipeline.serve(endpoint, dialect, copy, params)
        except BaseException:
            copy.good = False
            raise
        finally:
            holding.cancel()
            await self._end(name, copy)
        return answer

    async def _hold(self, name: str) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(GatewayError):  # tried again before the lease ends
                await self._gateway.store.extend_once(name, now_ms() + _LEASE_MS)

    async def _end(self, name: str, copy: "Copied") -> None:
        """Keep a good answer, and let go of the key after any other. An answer is not held up by a failure of this."""
        try:
            if not copy.good or not 200 <= copy.status < 300:
                await self._gateway.store.drop_once(name)
                return
            headers = {key: value for key, value in copy.sent.items() if not key.startswith(_OF_THE_MOMENT)}
            kept = None if copy.kept is None else self._sealer.seal_bytes(b"".join(copy.kept), "idempotency", name)
            until = now_ms() + int(self._gateway.snapshot.config.idempotency.hours * _HOUR_MS)
            await self._gateway.store.finish_once(name, Once("", True, copy.status, headers, kept, until))
        except GatewayError as error:
            _log.error("the end of a request with an Idempotency-Key is not noted: it may run again in a minute",
                       request_id=copy.request_id, reason=error.message)  # fmt: skip

    def _again(self, known: Once, name: str, body: str, incoming: Incoming) -> Answer:
        if not hmac.compare_digest(known.body, body):
            raise OtherBody("This Idempotency-Key was used for another request: take a new one for each new request.")
        if not known.done:
            raise StillRunning(
                "The first request with this Idempotency-Key is still running: send this again a little later.",
                retry_after=1, headers={"x-should-retry": "true"},
            )
        if known.answer is None:
            raise NotKept(
                "The request with this Idempotency-Key was done, but its answer was too large to be kept "
                "(idempotency.max_bytes). Take a new key to ask again; that is charged again."
            )
        try:
            answer = self._sealer.open_bytes(known.answer, "idempotency", name)
        except SealBroken as error:
            raise NotKept("The answer to this Idempotency-Key cannot be read any more. Take a new key.") from error
        self._gateway.metrics.replays.inc()
        _log.info("answered again, for an Idempotency-Key", request_id=known.headers.get("x-request-id", ""))
        return incoming.reply(known.status, {**known.headers, REPLAYED: "true"}, answer)


class Copied(Incoming):
    """A request whose answer is written down while the client gets it, and goes on if the client does not.

    `status` and `sent` are of the answer's head; `kept` its body, `None` if that is over `limit`; `good` says whether
    it is whole.
    """

    __slots__ = ("_body", "_limit", "_size", "gone", "good", "kept", "own", "sent", "status")

    def __init__(self, incoming: Incoming, limit: int) -> None:
        for name in Incoming.__slots__:
            setattr(self, name, getattr(incoming, name))
        self._body: bytes | None = None
        self._limit, self._size = limit, 0
        self.kept: list[bytes] | None = []
        self.status = 0
        self.sent: Mapping[str, str] = {}
        self.good = True
        self.gone = False
        self.own: asyncio.Task[Answer] | None = None

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that does this request, whether or not its client waits."""
        return self.own  # type: ignore[return-value] # who ends it does not ask for its result

    async def body(self, limit: int) -> bytes:
        """See `Incoming`; it can be asked for again."""
        if self._body is None:
            self._body = await super().body(limit)
        return self._body

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """See `Incoming`."""
        if self._body is not None:
            yield self._body
            return
        async for piece in super().pieces(limit):
            yield piece

    def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """See `Incoming`."""
        self.status, self.sent = status, dict(headers)
        self._keep(body)
        return super().reply(status, headers, body)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """See `Incoming`."""
        self.status, self.sent = status, dict(headers)
        self.started = True
        if not self.gone:
            try:
                await super().start(status, headers)
            except ConnectionError:
                self.gone = True

    async def write(self, data: bytes) -> None:
        """See `Incoming`. A client that is gone is no error."""
        self._keep(data)
        if not self.gone:
            try:
                await super().write(data)
            except ConnectionError:
                self.gone = True

    async def finish(self, last: bytes = b"", *, whole: bool = True) -> Answer:
        """See `Incoming`."""
        self._keep(last)
        self.good = self.good and whole
        try:
            return await super().finish(last)
        except ConnectionError:
            return super().aborted()

    def aborted(self) -> Answer:
        """See `Incoming`."""
        self.good = False
        return super().aborted()

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self.kept = None
        elif self.kept is not None:
            self.kept.append(data)
