"""The contract of translation: what a wire format offers so that any client can talk to any provider. Pure: no I/O.

The formats themselves are in `dialects/`; `bridge.py` pairs the caller's codec with the target's.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, Protocol

import msgspec

from gateway.errors import GatewayError
from gateway.exchange import Request, Target
from gateway.pieces import Piece

Kind = Literal[
    "invalid_request", "context_length", "content_filter", "authentication", "permission", "not_found", "too_large",
    "rate_limit", "quota", "overloaded", "timeout", "server",
]


class Failure(msgspec.Struct, frozen=True):
    """What a provider's error says: its class, text, code, the field it is about, seconds to wait."""

    kind: Kind
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


_ODD = re.compile(r"[^a-zA-Z0-9_-]")
_STATUS = MappingProxyType({
    "invalid_request": 400, "context_length": 400, "content_filter": 400, "authentication": 401, "permission": 403,
    "not_found": 404, "too_large": 413, "rate_limit": 429, "quota": 429, "overloaded": 503, "timeout": 504,
    "server": 500,
})


def status_of(kind: Kind, status: int) -> int:
    """The HTTP status for a client: the upstream's, unless this class of error has another one elsewhere."""
    if kind == "invalid_request" and 400 <= status < 500 and status not in (401, 403, 404, 408, 429):
        return status
    return status if kind == "server" and 500 <= status < 599 and status != 529 else _STATUS[kind]


class Translation:
    """What the translation of one attempt must remember, from its request to the end of its reply."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.dropped: list[str] = []         # fields of the caller's request that the target cannot carry
        self.answer_tool = ""                # the forced tool whose arguments are the answer (structured output)
        self.headers: dict[str, str] = {}    # for the upstream request, such as `anthropic-beta`
        self.names: dict[str, str] = {}      # tools' names as sent -> as the caller calls them, where they differ
        self._sent: dict[str, str] = {}      # the other way: each tool's name is worked out once
        self.model = ""                      # the target's, where its replies do not name it
        self.origin = ""                     # the target's dialect: whose signatures its reasoning carries
        self.think_tags = False              # the target writes its reasoning as `<think>…</think>` into the text

    def drop(self, field: str) -> None:
        """A field of the caller's request cannot be carried: it is refused or named to the caller, never silent."""
        if field not in self.dropped:
            self.dropped.append(field)

    def named(self, name: str, most: int) -> str:
        """A tool's name as a target takes it that allows letters, digits, `_` and `-`, at most `most` of them."""
        known = self._sent.get(name)
        if known is not None and len(known) <= most:
            return known
        sent = _ODD.sub("_", name)
        if len(sent) > most or sent != name:
            mark = sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
            sent = f"{sent[:most - 9]}_{mark}"
            self.names[sent] = name
        self._sent[name] = sent
        return sent

    def called(self, name: str) -> str:
        """The caller's name of a tool that the target calls `name`."""
        return self.names.get(name, name)


def safe_id(text: str, most: int = 64) -> str:
    """A call's id as every target takes it: the same for the same text, so that calls and results still meet."""
    if len(text) <= most and text.isascii():  # sooner said than by the pattern
        plain = text.replace("_", "").replace("-", "")
        if plain.isalnum() or not plain:
            return text
    mark = sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{_ODD.sub('_', text)[:most - 17]}_{mark}"


class StreamReader(Protocol):
    """Reads one stream of a provider."""

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes as read, cut anywhere; the pieces that they complete. Raises `UpstreamCut` for no stream."""

    def end(self) -> list[Piece]:
        """The upstream has ended. Raises `UpstreamCut` if the reply was not complete."""


class StreamWriter(Protocol):
    """Writes one stream for a client."""

    def feed(self, piece: Piece) -> bytes:
        """Whole records for the client, or nothing yet. The terminal record is the answer to `Over` alone."""

    def fail(self, error: GatewayError) -> bytes:
        """The record that ends the stream with an error."""


class Codec(Protocol):
    """One wire format, both ways. `family` keeps apart what cannot be translated into one another.

    `read_request`, `write_reply` and `writer` serve clients of the dialect; `write_request`, `read_reply`, `reader` and
    `failure` its providers. `asked` is the conversation that is answered.
    """

    dialect: str
    family: Literal["conversation", "embeddings"]

    def read_request(self, request: Request) -> Any:  # noqa: ANN401 - `Conversation`, or another family's struct
        """The request in the common form. Raises `InvalidRequest` that names the field."""

    def write_request(self, conversation: Any, target: Target, translation: Translation) -> dict[str, Any]:  # noqa: ANN401
        """The body for the target. What it cannot carry is told to `translation.drop`."""

    def read_reply(self, body: bytes, translation: Translation) -> Any:  # noqa: ANN401
        """A whole reply. Raises `UpstreamCut` for what is none."""

    def write_reply(self, answer: Any, asked: Any, translation: Translation) -> bytes:  # noqa: ANN401
        """The same for the client."""

    def reader(self, translation: Translation) -> StreamReader:
        """For one stream of a provider."""

    def writer(self, asked: Any, translation: Translation) -> StreamWriter:  # noqa: ANN401
        """For one stream to a client."""

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says. Never raises."""


