"""Carries one attempt between two dialects: picks the codecs, keeps to the policy on losses, and watches the stream.

What the formats are is in `dialects/`; the relay does not know whether it relays or translates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.codec import Failure, StreamReader, StreamWriter, Translation
from gateway.conversation import Conversation
from gateway.dialects.codecs import CODECS, codec
from gateway.dialects.soundness import check, renamed
from gateway.errors import GatewayError, InvalidRequest, NotCarried
from gateway.events import Usage
from gateway.exchange import Exchange, Request, Target
from gateway.hookspecs import Provider
from gateway.pieces import Begin, Delta, Fail, Over, Piece, Tokens

_STREAMS = ("event-stream", "eventstream")  # what the types of the formats' streams have in them


def wire_for(endpoint: str, dialect: str, provider: Provider, model: str) -> str | None:
    """The dialect to speak to this provider for a request of `dialect`: the same one where it serves the endpoint, else
    the first of its `wires` that the request can be translated into; `None` if there is none. A provider that serves
    its models in different dialects tells both for each by `spoken(model)`."""
    spoken = getattr(provider, "spoken", None)
    endpoints, wires = (provider.endpoints, getattr(provider, "wires", ())) if spoken is None else spoken(model)
    if endpoint in endpoints:
        return dialect
    mine = CODECS.get(dialect)
    if mine is None or mine.endpoint != endpoint:
        return None
    for wire in wires:
        theirs = CODECS.get(wire)
        if theirs is not None and wire != dialect and theirs.family == mine.family:
            return str(wire)
    return None


def cross(exchange: Exchange, target: Target, wire: str, *, refuse: bool) -> None:
    """Set the exchange up for an attempt that speaks `wire`. Raises `NotCarried` if `refuse` and something is lost."""
    exchange.wire = wire
    if wire == exchange.dialect.name:
        exchange.bridge = None
        exchange.wire_endpoint = exchange.endpoint
    else:
        exchange.wire_endpoint = CODECS[wire].endpoint
        exchange.bridge = Bridge(exchange, target, refuse=refuse)


class Bridge:
    """One translated attempt. `body` is what the target is asked; `dropped` what it cannot carry."""

    def __init__(self, exchange: Exchange, target: Target, *, refuse: bool) -> None:
        request = exchange.request
        assert request is not None
        self._mine = codec(exchange.dialect.name)
        self._theirs = codec(exchange.wire)
        self.asked = asked_of(exchange)
        self.translation = Translation(exchange.id)
        self.translation.origin = exchange.wire
        asked = self.asked
        if exchange.cap is not None:
            asked = msgspec.structs.replace(asked, max_output=exchange.cap)
        try:
            self.body: Mapping[str, Any] = self._theirs.write_request(asked, target, self.translation)
        except InvalidRequest as error:
            renamed(error, asked.dialect)
            raise
        if refuse and self.dropped:
            names = ", ".join(f"`{name}`" for name in self.dropped)
            raise NotCarried(
                f"The provider {target.provider.name} cannot carry {names}, and this model refuses requests of which "
                "something would be lost. Leave it out, or ask another model.", param=self.dropped[0],
            )

    @property
    def dropped(self) -> Sequence[str]:
        """The fields of the caller's request that this target cannot carry."""
        return self.translation.dropped

    @property
    def headers(self) -> Mapping[str, str]:
        """What the codec asks to be sent beside the body, by header name in lower case."""
        return self.translation.headers

    def is_stream(self, content_type: str) -> bool:
        """Whether an upstream's answer of this type is a stream."""
        return any(stream in content_type for stream in _STREAMS)

    def whole(self, body: bytes) -> tuple[bytes, Usage | None]:
        """A whole reply for the client, and what it used. Raises `UpstreamCut` for what is no reply."""
        answer = self._theirs.read_reply(body, self.translation)
        usage: Usage | None = answer.usage
        return self._mine.write_reply(answer, self.asked, self.translation), usage

    def tap(self, scrub: Callable[[bytes], bytes]) -> "BridgeTap":
        """For one stream."""
        reader = self._theirs.reader(self.translation)
        return BridgeTap(reader, self._mine.writer(self.asked, self.translation), scrub)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What the target's error says."""
        return self._theirs.failure(status, headers, body)


class BridgeTap:
    """A stream on its way from one dialect to another: the target's bytes in, whole records of the client's out."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, scrub: Callable[[bytes], bytes]) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""              # held: the terminal record
        self.records = 0
        self.text_bytes = 0
        self.done = False            # the reply is over, well or not
        self.between_records = True  # only whole records leave
        self._reader = reader
        self._writer = writer
        self._scrub = scrub

    @property
    def complete(self) -> bool:
        """Whether the target said all it had to say."""
        return self.done and self.error is None

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the records to send now."""
        return b"" if self.done else self._written(self._reader.feed(data))

    def rest(self) -> bytes:
        """At the upstream's end: what was still to say. Raises `UpstreamCut` if the reply was not complete."""
        return b"" if self.done else self._written(self._reader.end())

    def fail(self, error: GatewayError) -> bytes:
        """The record that ends the stream with an error of the gateway's."""
        return self._writer.fail(error)

    def _written(self, pieces: Sequence[Piece]) -> bytes:
        out: list[bytes] = []
        write = self._writer.feed
        for piece in pieces:
            kind = type(piece)
            if kind is Delta:
                self.records += 1
                self.text_bytes += len(piece.text.encode("utf-8", "replace"))  # type: ignore[union-attr]
            elif kind is Tokens or kind is Begin:
                self.usage = piece.usage or self.usage  # type: ignore[union-attr]
            elif kind is Fail:
                self.done = True
                self.error = piece.error.code or "error"  # type: ignore[union-attr]
                self.last = self._scrub(self._writer.fail(piece.error))  # type: ignore[union-attr]
                break
            elif kind is Over:
                self.done = True
                self.last = write(piece)
                break
            out.append(write(piece))
        return b"".join(out)


def asked_of(exchange: Exchange) -> Any:  # noqa: ANN401 - a codec's own struct
    """The request in the common form: read once, and again only if a stage changed it since."""
    request = exchange.request
    assert request is not None
    kept: tuple[Request, Any] | None = exchange.internal.get("asked")
    if kept is None or kept[0] is not request:
        asked = codec(exchange.dialect.name).read_request(request)
        if isinstance(asked, Conversation):
            check(asked)
        kept = exchange.internal["asked"] = (request, asked)
    return kept[1]
