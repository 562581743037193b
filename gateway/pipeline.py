"""THE request path: `serve` calls every stage in order. What a stage does is in its own module or plugin."""

import asyncio
import random
import re
import time
from collections.abc import Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog

from gateway import relay
from gateway.accounting import Accounting
from gateway.bridge import cross, wire_for
from gateway.clock import now_ms
from gateway.errors import (
    GatewayError,
    InternalError,
    NotCarried,
    QuotaExceeded,
    SlowReader,
    Unauthenticated,
    Unavailable,
    UpstreamCut,
    UpstreamError,
    UpstreamRefused,
)
from gateway.exchange import Caller, Exchange, Target
from gateway.hookspecs import Reply
from gateway.httprequest import header_safe
from gateway.jsonbody import read_object
from gateway.money.estimate import counted_input
from gateway.refusals import refused
from gateway.relay import StreamRelay
from gateway.runtime import Gateway, Snapshot
from gateway.upstream import UpstreamReply

if TYPE_CHECKING:
    from gateway.hookspecs import Dialect
    from gateway.httprequest import Answer, Incoming

_BYTES = "application/octet-stream"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OF_ATTEMPT = ("x-gateway-provider", "x-gateway-model", "x-gateway-attempts")
# The first part of an endpoint's name -> the scope that a key needs for it; for all others it is `chat`.
_SCOPES: Mapping[str, str] = MappingProxyType({
    "embeddings": "embeddings", "completions": "completions", "images": "images", "audio": "audio", "files": "files",
    "uploads": "files", "vector_stores": "files", "batches": "batches", "fine_tuning": "fine_tuning",
})
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})
_log = structlog.get_logger("gateway.pipeline")


class Pipeline:
    """The request path of one process."""

    def __init__(self, gateway: Gateway, accounting: Accounting) -> None:
        self._gateway = gateway
        self._accounting = accounting

    async def serve(
        self, endpoint: str, dialect: "Dialect", incoming: "Incoming", params: Mapping[str, str] = _NO_PARAMS
    ) -> "Answer":
        """One request, from its headers to the end of its reply. `params` are those of its path."""
        snapshot = self._gateway.snapshot
        exchange = Exchange(new_id(), endpoint, dialect, incoming.safe_headers, now_ms())
        exchange.internal["plugins"] = snapshot.plugins
        incoming.request_id = exchange.id
        snapshot.use.enter()
        self._accounting.open(exchange, incoming.task)
        try:
            exchange.caller = await self.authenticate(snapshot, incoming.headers)
            await self._receive(exchange, incoming, params)
            cached = await snapshot.plugins.pre_request(exchange)
            reply = await self.ask_targets(snapshot, exchange, incoming) if cached is None else cached
            if not isinstance(reply, Reply):
                return reply  # a stream: it has been relayed
            exchange.http_status = reply.status
            await self._accounting.close(exchange)
            return _answer(exchange, incoming, reply)
        except GatewayError as error:
            return await self._refuse(exchange, incoming, error)
        except asyncio.CancelledError:
            _left(exchange, incoming)
            if self._accounting.expired:
                exchange.outcome = "shutdown"
            raise
        except ConnectionError:
            _left(exchange, incoming)
            raise
        except Exception as error:
            self._accounting.defect(exchange, error)
            return await self._refuse(exchange, incoming, InternalError("The gateway failed; its log has the reason."))
        finally:
            await self._accounting.close(exchange)
            snapshot.use.leave()

    async def authenticate(self, snapshot: Snapshot, headers: Mapping[str, str]) -> Caller:
        """Who is calling. Raises `Unauthenticated` also where no plugin knows the credential's kind."""
        caller = await snapshot.plugins.authenticate(headers)
        if caller is None:
            raise Unauthenticated("Send an API key: `Authorization: Bearer sk-gw-…`, or the header x-api-key.")
        return caller

    def _check_open(self, exchange: Exchange) -> None:
        """Refuse what comes too late, and what the key was not made for."""
        if self._gateway.draining:
            raise Unavailable("The gateway is shutting down.", code="shutting_down", retry_after=1)
        if exchange.caller is not None and exchange.caller.scopes is not None:
            exchange.caller.need(_SCOPES.get(exchange.endpoint.partition(".")[0], "chat"))

    async def _receive(self, exchange: Exchange, incoming: "Incoming", params: Mapping[str, str]) -> None:
        self._check_open(exchange)
        incoming.check_json()
        raw = await incoming.body(self._gateway.snapshot.config.server.max_body_bytes)
        exchange.request = exchange.dialect.decode(raw, read_object(raw), params)

    async def ask_targets(
        self, snapshot: Snapshot, exchange: Exchange, incoming: "Incoming | None"
    ) -> "Reply | Answer":
        """Try the model's targets in order until one answers; a failure before its first byte leads to the next."""
        assert exchange.request is not None
        assert exchange.caller is not None
        resolved = snapshot.router.resolve(exchange.request.model, exchange.caller)
        exchange.model = resolved.name
        exchange.overhead = time.monotonic() - exchange.started
        asked = (exchange.endpoint, exchange.dialect.name)
        targets = resolved.askable.get(asked)
        if targets is None:
            targets = resolved.askable[asked] = _eligible(exchange, resolved.targets)
        if not targets:
            return _counted(exchange)
        line = StreamRelay(exchange, incoming, self._accounting, snapshot.config.stream)
        targets = self._gateway.conditions.sorted(targets)
        number, tries, failure = 0, 0, None
        while number < len(targets):
            (target, wire), number = targets[number], number + 1
            try:
                exchange.target = target
                exchange.edits.clear()
                exchange.cap = exchange.bridge = exchange.credential = None
                await snapshot.plugins.before_attempt(exchange, target)
                cross(exchange, target, wire, refuse=resolved.on_lossy == "refuse")
                tries += 1
                line.last_try = number == len(targets) or tries >= snapshot.config.max_attempts
                return await self._attempt(snapshot, exchange, target, line)
            except GatewayError as error:
                failure = error
                if type(error) is QuotaExceeded and error.instead:
                    cheaper = _eligible(exchange, snapshot.router.permitted(error.instead, exchange.caller))
                    targets, number = (cheaper, 0) if cheaper else (targets, number)
                if not _may_go_on(error) or number == len(targets) or tries >= snapshot.config.max_attempts:
                    raise
                self._give_up(exchange, target, error)
                await snapshot.plugins.after_attempt(exchange, target)
        raise failure or InternalError("No target was tried.")

    async def _attempt(
        self, snapshot: Snapshot, exchange: Exchange, target: Target, line: StreamRelay
    ) -> "Reply | Answer":
        exchange.internal["attempt_started"] = time.monotonic()
        exchange.internal["upstream_status"] = 0
        request = target.provider.encode(exchange, target)
        sending = self._gateway.upstream.send(snapshot.peers[target.provider.name], request)
        if snapshot.config.stream.keepalive_before_headers and exchange.request is not None and exchange.request.stream:
            sending = _kept_alive(sending, exchange, line)
        upstream = await sending
        try:
            exchange.internal["upstream_status"] = upstream.status
            self._gateway.conditions.heard(exchange, target, upstream)
            if not 200 <= upstream.status < 300:
                raise self._gateway.conditions.refused(exchange, target, await refused(exchange, upstream, target))
            streamed = _is_stream(exchange, upstream.headers.get("content-type", ""))
            first = b""
            describe(exchange, target)
            if streamed:
                if not exchange.dialect.framing.content_type:
                    exchange.reply_headers["content-type"] = header_safe(upstream.headers.get("content-type", _BYTES))
                first = await _first_bytes(exchange, upstream, line)
            elif exchange.streamed:
                raise UpstreamCut("The upstream answered with a whole reply after the stream had begun.")
            else:
                reply = await relay.whole(exchange, upstream)
                if exchange.bridge is not None:
                    _add_common(exchange)  # what of the answer could not be carried is known only now
            exchange.first_byte = time.monotonic()
            filters = await snapshot.plugins.post_response(exchange)
            if streamed:
                return await line.run(upstream, first, filters)
            exchange.internal["usage"] = reply.usage
            return await relay.filtered(exchange, reply, filters) if filters else reply
        finally:
            upstream.close()

    def _give_up(self, exchange: Exchange, target: Target, error: GatewayError) -> None:
        """An attempt failed and another follows: note it, and forget what it left."""
        since = exchange.internal.pop("attempt_started", None)
        if since is not None:
            self._accounting.attempted(exchange, target, error, since)
        _log.info(
            "attempt failed, trying the next target", request_id=exchange.id, provider=target.provider.name,
            status=error.status, code=error.code,
        )

    async def _refuse(
        self, exchange: Exchange, incoming: "Incoming", error: GatewayError
    ) -> "Answer":
        """The reply to a request that ends with an error: as HTTP, or in the stream if comments have begun one."""
        exchange.error = error
        exchange.outcome = self._accounting.outcome_of(error)
        if exchange.request is not None and exchange.target is None:
            exchange.model = self._gateway.snapshot.router.label(exchange.request.model)
        exchange.http_status = 200 if incoming.started else exchange.dialect.head(error)[0]
        await self._accounting.close(exchange)
        if incoming.started:
            return await incoming.finish(exchange.dialect.error_event(error, exchange.id), whole=False)
        return _error_answer(exchange, incoming, error)


def _left(exchange: Exchange, incoming: "Incoming") -> None:
    exchange.outcome = "client_closed"
    if incoming.too_slow:
        exchange.error = SlowReader("The client took no byte of its answer for too long.")


def _eligible(exchange: Exchange, targets: Iterable[Target]) -> tuple[tuple[Target, str], ...]:
    """The targets that can be asked, each with the dialect to ask it in; none twice, however often it is named."""
    found: dict[tuple[str, str], tuple[Target, str]] = {}
    for target in targets:
        wire = wire_for(exchange.endpoint, exchange.dialect.name, target.provider, target.model)
        if wire is not None:
            found[target.provider.name, target.model] = (target, wire)
    return tuple(found.values())


def _counted(exchange: Exchange) -> Reply:
    """No target serves the endpoint: only a request that counts tokens can be answered, with an estimate."""
    body = exchange.dialect.counted(counted_input(exchange))
    if body is None:
        raise UpstreamRefused(404, f"No target of this model serves {exchange.endpoint}.", code="model_not_found")
    exchange.warnings.append("estimated=input_tokens")
    return Reply(200, body)


def _may_go_on(error: GatewayError) -> bool:
    """Whether the next target may do better: yes for a failing upstream and for a limit or a loss on this target."""
    if isinstance(error, UpstreamError):
        return error.retryable
    return error.status in (403, 429) or isinstance(error, NotCarried)


def _is_stream(exchange: Exchange, content_type: str) -> bool:
    assert exchange.request is not None
    if not exchange.request.stream:
        return False
    if exchange.bridge is not None:
        return exchange.bridge.is_stream(content_type)
    return exchange.dialect.framing.marker in content_type


async def _kept_alive(
    sending: Coroutine[Any, Any, UpstreamReply], exchange: Exchange, line: StreamRelay
) -> UpstreamReply:
    """Wait for the head of an answer, and tell the client meanwhile that somebody is there."""
    task = asyncio.ensure_future(sending)
    try:
        while not (await asyncio.wait({task}, timeout=line.quiet))[0]:
            await _keep_alive(exchange, line)
        return task.result()
    finally:
        task.cancel()


async def _keep_alive(exchange: Exchange, line: StreamRelay) -> None:
    """A comment before the reply's first byte. It may send the headers, whichever target will answer in the end."""
    _add_common(exchange)
    if not line.last_try:
        for name in _OF_ATTEMPT:
            exchange.reply_headers.pop(name, None)
    await line.comment()


async def _first_bytes(exchange: Exchange, upstream: UpstreamReply, line: StreamRelay) -> bytes:
    """Wait for the stream's first bytes: until they are here another target can still answer."""
    while (data := await upstream.read(line.quiet)) is None:
        await _keep_alive(exchange, line)
    if not data:
        raise UpstreamCut("The upstream ended the stream before its first event.")
    return data


def describe(exchange: Exchange, target: Target) -> None:
    """The x-gateway-* headers that are known when the target has answered."""
    headers = exchange.reply_headers
    headers["x-gateway-provider"] = target.provider.name
    headers["x-gateway-model"] = header_safe(target.model)
    headers["x-gateway-attempts"] = str(len(exchange.attempts) + 1)
    headers["x-gateway-overhead-ms"] = f"{exchange.overhead * 1000:.2f}"
    _add_common(exchange)


def _add_common(exchange: Exchange) -> None:
    headers = exchange.reply_headers
    theirs = exchange.headers.get("x-request-id")
    if theirs is None or _ID.fullmatch(theirs) is None:
        headers["x-request-id"] = exchange.id
    else:  # a client that names its request finds the name again; the ledger knows it by ours
        headers["x-request-id"] = theirs
        headers["x-gateway-request-id"] = exchange.id
    if exchange.dialect.id_header != "x-request-id":
        headers[exchange.dialect.id_header] = headers["x-request-id"]
    standings = exchange.internal.get("standings")
    if standings:
        headers.update(exchange.dialect.rate_headers(list(standings.values())))
        requests = standings.get("requests")
        if requests is not None:
            headers["x-ratelimit-limit"] = str(requests.limit)
            headers["x-ratelimit-remaining"] = str(requests.remaining)
            headers["x-ratelimit-reset"] = str(max(0, round(requests.reset)))
    dropped = exchange.bridge.dropped if exchange.bridge is not None else ()
    if exchange.warnings or dropped:
        told = [f"dropped={','.join(dropped)}"] if dropped else []
        headers["x-gateway-warnings"] = header_safe(", ".join([*exchange.warnings, *told]))


def _answer(exchange: Exchange, incoming: "Incoming", reply: Reply) -> "Answer":
    headers = exchange.reply_headers
    if "x-request-id" not in headers:
        _add_common(exchange)
    headers["content-type"] = reply.content_type
    if exchange.target is not None and exchange.target.price is not None:
        headers["x-gateway-cost"] = f"{exchange.cost / 1e9:.9f}"
    return incoming.reply(reply.status, headers, reply.body)


def _error_answer(exchange: Exchange, incoming: "Incoming", error: GatewayError) -> "Answer":
    _add_common(exchange)
    status, own = exchange.dialect.head(error)
    headers = {**exchange.reply_headers, **error.headers, "content-type": "application/json", **own}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, -int(-error.retry_after // 1)))
    if exchange.target is not None and isinstance(error, UpstreamError):
        headers["x-gateway-provider"] = exchange.target.provider.name
        headers["x-gateway-attempts"] = str(len(exchange.attempts))
    body = exchange.dialect.error(error, exchange.id)
    if isinstance(error, UpstreamRefused) and error.body and exchange.dialect.is_error(error.body):
        body = error.body
        headers["content-type"] = error.content_type or "application/json"
    return incoming.reply(status, headers, body)


def new_id() -> str:
    """A request id that sorts by time: 12 hex digits of milliseconds and 64 random bits. Unique, not secret."""
    return f"req_{now_ms() << 64 | random.getrandbits(64):028x}"
