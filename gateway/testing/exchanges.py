"""Exchanges for plugin tests: made as the pipeline makes them, and an answer that streams through a guardrail."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec

from gateway.dialects.served import SERVED
from gateway.events import Event, Finish, Text
from gateway.exchange import Caller, Exchange, Level
from gateway.guardrails.stage import only
from gateway.hookspecs import Detector, Dialect, Guardrail

_DIALECTS: Mapping[str, Callable[[], Dialect]] = {served.endpoint: served.dialect for served in SERVED}


def caller(**limits: Any) -> Caller:  # noqa: ANN401
    """A caller with one tenant and one key; `limits` are fields of the key's `Level`."""
    levels = (Level("tenant", "tenant-1", "Default"), Level("key", "key-1", "Test key", **limits))
    return Caller(tenant="tenant-1", key="key-1", key_name="Test key", levels=levels)

# Where the text of a request stands, if it is not `input`.
_FIELDS = {
    "completions": "prompt", "images.generations": "prompt", "rerank": "query", "score": "text_1", "tokenize": "prompt",
    "detokenize": "tokens",
}


def exchange(
    text: str = "Hello", *, endpoint: str = "chat.completions", headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None, **fields: Any,  # noqa: ANN401
) -> Exchange:
    """An exchange as `pre_request` sees it: decoded, with a caller.

    The request asks `demo-small` about `text`; `fields` are added to its body, `body` replaces it.
    """
    asked: dict[str, Any] = {"model": "demo-small"}
    if endpoint == "chat.completions" or endpoint.startswith("messages"):
        asked["messages"] = [{"role": "user", "content": text}]
    else:
        asked[_FIELDS.get(endpoint, "input")] = text
    asked = dict(body) if body is not None else {**asked, **fields}
    dialect = _DIALECTS[endpoint]()
    made = Exchange("req-test", endpoint, dialect, dict(headers or {}), started_ms=1_750_000_000_000)
    made.caller = caller()
    made.wire = dialect.name
    made.request = dialect.decode(msgspec.json.encode(asked), asked)
    return made


async def answered(guardrail: Guardrail | Detector, pieces: Iterable[str], exchange: Exchange) -> list[str]:
    """What a client gets of an answer that streams in `pieces`, under this guardrail: what left at each step.

    The last two items are what left at the answer's finish and at the end of the stream. Raises
    `ContentBlocked` for a block.
    """
    return [text async for text in answering(guardrail, pieces, exchange)]


async def answering(guardrail: Guardrail | Detector, pieces: Iterable[str], exchange: Exchange) -> AsyncIterator[str]:
    """The same step by step, for what left before a block."""
    checks = await only("guardrail", guardrail).post_response(exchange)
    events: list[Event] = [*map(Text, pieces), Finish("stop")]
    for event in events:
        yield _said([event] if checks is None else await checks.feed(event))
    yield _said([] if checks is None else await checks.flush())


def _said(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))
