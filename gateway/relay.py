"""Relays a target's answer to the client: streams as they come, whole bodies at once, both under the filters' eyes.

The path of a request is in `pipeline.py`; what the bytes mean is in `dialects/`.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gateway.accounting import Accounting
from gateway.errors import ContentBlocked, GatewayError, InternalError, Unavailable, UpstreamCut, UpstreamError
from gateway.events import Usage
from gateway.exchange import Exchange
from gateway.filters import FilterChain, filter_reply
from gateway.hookspecs import Filter, Reply, Tap
from gateway.jsonbody import read_lenient
from gateway.money.tokenizer import count_text
from gateway.secrets import scrub
from gateway.upstream import UpstreamReply

if TYPE_CHECKING:
    from gateway.config import Stream
    from gateway.httprequest import Answer, Incoming

MAX_BODY = 64 * 1024 * 1024
# After the terminal record the upstream's own end should follow at once; a slower one is not waited for.
_END_GRACE = 0.25
_PING = b"event: ping"  # an event of Anthropic's that says nothing

STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


# What a reply has, whichever endpoint it is of.
_REPLIES = frozenset({"choices", "data", "content", "output", "candidates", "embeddings", "results"})


async def whole(exchange: Exchange, upstream: UpstreamReply) -> Reply:
    """Read an unstreamed answer to its end. Raises `UpstreamCut` for what is no JSON: another target may do better.

    Where the answer reports no usage, the tokens of what it says are counted.
    """
    body = await upstream.body(MAX_BODY)
    content_type = upstream.headers.get("content-type", "application/json")
    try:
        if exchange.bridge is not None:
            body, usage = exchange.bridge.whole(body)
            content_type = "application/json"
        else:
            usage = exchange.dialect.reported(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        kind = content_type.partition(";")[0][:64]
        raise UpstreamCut(f"The upstream answered with {kind or 'something'} that is not valid JSON.") from None
    if usage is None and body.rfind(b'"error"') >= 0 and (code := _only_error(body)):
        exchange.outcome = "upstream_error"
        exchange.error = UpstreamError("The upstream answered with an error, as if it were a reply.", code=code)
        body, usage = _scrubbed(exchange, body), Usage()
    if usage is None:
        exchange.internal["said"] = sum(map(count_text, _said(exchange, body)))
    return Reply(status=upstream.status, body=body, content_type=content_type, usage=usage)


def _only_error(body: bytes) -> str:
    """The code of an error that stands where a reply belongs, under status 200; empty if it is a reply."""
    tree = read_lenient(body)
    if type(tree) is not dict or not tree.get("error") or not _REPLIES.isdisjoint(tree):
        return ""
    error = tree["error"]
    code = (error.get("code") or error.get("type")) if type(error) is dict else None
    return str(code or "error")[:64]


def _said(exchange: Exchange, body: bytes) -> list[str]:
    texts: list[str] = []

    def note(text: str, part: str) -> str:  # noqa: ARG001
        texts.append(text)
        return text

    exchange.dialect.map_reply_texts(body, note)
    return texts


async def filtered(exchange: Exchange, reply: Reply, filters: Sequence[Filter]) -> Reply:
    """An unstreamed reply after the filters, which see its texts and may change or refuse them."""
    body = await filter_reply(filters, reply.body, exchange.dialect.map_reply_texts)
    return reply if body is reply.body else msgspec.structs.replace(reply, body=body)


class StreamRelay:
    """One stream on its way from a target to the client."""

    def __init__(
        self, exchange: Exchange, incoming: "Incoming | None", accounting: Accounting, settings: "Stream"
    ) -> None:
        self._exchange = exchange
        self._incoming: Incoming = incoming  # type: ignore[assignment] # there is one wherever a stream is
        self._accounting = accounting
        self._settings = settings
        self._quiet = settings.keepalive_after
        self.last_try = True                # no other target can follow the one that is asked
        self._chain: FilterChain | None = None
        self._framing = exchange.dialect.framing
        self._tap: Tap
        self._wrote = time.monotonic()
        self._record = b""  # the last one that filters got
        self._sent = b""    # the last one that left them and says something

    async def comment(self) -> None:
        """Write a keep-alive comment; the first one commits status 200."""
        if self._framing.keep_alive is not None:
            await self._begin()
            await self._incoming.write(self._framing.keep_alive)
        self._quiet = self._settings.keepalive_every

    @property
    def quiet(self) -> float:
        """Seconds of silence until the next comment."""
        return self._quiet

    async def run(self, upstream: UpstreamReply, first: bytes, filters: Sequence[Filter]) -> "Answer":
        """Relay until the end; every end writes what its reader needs to see, and the books are closed before it."""
        exchange = self._exchange
        dialect = exchange.dialect
        request = exchange.request
        assert request is not None
        scrubbed = partial(_scrubbed, exchange)
        if exchange.bridge is not None:
            self._tap = exchange.bridge.tap(scrubbed)
        else:
            self._tap = dialect.tap(request, whole=bool(filters), scrub=scrubbed)
        exchange.internal["tap"] = self._tap
        stopped: ContentBlocked | None = None
        if filters:
            self._chain = FilterChain(filters, dialect.events, dialect.encode)
        try:
            await self._begin()
            await self._pump(upstream, first)
            last = await self._clean_end()
        except GatewayError as error:
            stopped = error if isinstance(error, ContentBlocked) else None
            last = self._in_stream_error(error)
        except asyncio.CancelledError:
            if not self._accounting.expired:
                raise
            last = self._in_stream_error(_shutting_down())
        except ConnectionError:
            raise
        except Exception as error:
            self._accounting.defect(exchange, error)
            last = self._in_stream_error(InternalError("The gateway failed while relaying this stream."))
        finally:
            upstream.close()
        await self._accounting.close(exchange)
        if exchange.error is not None and not self._framing.tells:
            return self._incoming.aborted()
        if stopped is not None:
            last = self._stopped(stopped) or last
        return await self._incoming.finish(last, whole=exchange.error is None or stopped is not None)

    async def _begin(self) -> None:
        if not self._incoming.started:
            self._exchange.streamed = True
            self._exchange.http_status = 200
            content_type = {"content-type": self._framing.content_type}
            await self._incoming.start(200, {**content_type, **STREAM_HEADERS, **self._exchange.reply_headers})

    async def _pump(self, upstream: UpstreamReply, first: bytes) -> None:
        tap, incoming = self._tap, self._incoming
        data: bytes | None = first
        while data != b"":
            if data is None:
                if tap.between_records:
                    await self.comment()
            else:
                out = tap.feed(data)
                if self._chain is not None and out:
                    records = self._framing.split(out)
                    self._record = records[-1]
                    out = await self._through(self._chain, records)
                if out:
                    await incoming.write(out)
                    self._wrote = time.monotonic()
                elif time.monotonic() - self._wrote > self._quiet:  # filters hold it: the client must not give up
                    await self.comment()
                    self._wrote = time.monotonic()
                if tap.done:
                    await self._drain(upstream)
                    return
            data = await upstream.read(self._quiet)

    async def _through(self, chain: FilterChain, records: Sequence[bytes]) -> bytes:
        """What leaves the filters. Where one of them stops the stream, what is free by then goes first."""
        free: list[bytes] = []
        try:
            await chain.feed_all(records, free)
        except ContentBlocked:
            if free:
                await self._incoming.write(b"".join(free))
            raise
        finally:
            self._sent = next((piece for piece in reversed(free) if not piece.startswith(_PING)), self._sent)
        return b"".join(free)

    async def _drain(self, upstream: UpstreamReply) -> None:
        """Read on to the upstream's end, so that its connection can be used again."""
        try:
            while data := await upstream.read(_END_GRACE):
                self._tap.feed(data)
        except UpstreamError:
            return

    async def _clean_end(self) -> bytes:
        """What is left to send at the upstream's own end. Raises `UpstreamCut` if it came too early."""
        tap = self._tap
        rest = tap.rest()
        if self._chain is not None:  # what filters still hold leaves only when nothing more can follow
            if getattr(self._exchange.dialect, "repeats", False):  # the last record says again what was said
                rest, tap.last = rest + tap.last, b""
            ended = tap.error is not None or tap.complete
            records = self._framing.split(rest) if rest else ()
            held = await self._through(self._chain, records)
            rest = held + b"".join(await self._chain.flush() if ended else ())
        if tap.error is not None:
            self._upstream_error(tap.error)
        elif not tap.complete:
            if rest:
                await self._incoming.write(rest)
            raise UpstreamCut("The upstream ended the stream before it was complete.")
        if rest and tap.last:
            await self._incoming.write(rest)
            rest = b""
        return rest + tap.last

    def _stopped(self, error: ContentBlocked) -> bytes:
        """A proper end of what a guardrail stopped, where the dialect has one; what it used is known by now."""
        end = getattr(self._exchange.dialect, "stopped", None)
        if end is None:
            return b""
        exchange = self._exchange
        assert exchange.request is not None
        usage = exchange.usage if exchange.request.include_usage else None
        choices = sorted(exchange.internal.get("open_choices") or {0})
        record: bytes = end(error, exchange.id, self._record, choices, usage, sent=self._sent)
        return record

    def _upstream_error(self, code: str) -> None:
        self._exchange.outcome = "upstream_error"
        self._exchange.error = UpstreamError("The upstream sent an error in its stream.", code=code)

    def _in_stream_error(self, error: GatewayError) -> bytes:
        exchange = self._exchange
        exchange.error = error
        exchange.outcome = self._accounting.outcome_of(error)
        if self._tap.error is not None:  # the upstream has said so itself, and why
            self._upstream_error(self._tap.error)
            return b""
        record = self._tap.fail(error) or exchange.dialect.error_event(error, exchange.id)
        return record if self._tap.between_records else self._framing.separator + record


def _scrubbed(exchange: Exchange, data: bytes) -> bytes:
    """An upstream's error without credentials: its own, and whatever else looks like one."""
    return scrub(data, *(exchange.target.provider.secrets() if exchange.target else ()))


def _shutting_down() -> Unavailable:
    return Unavailable("The gateway is shutting down and could not wait for this stream to end.", code="shutting_down")
