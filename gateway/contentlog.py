"""What is kept of an exchange where it is logged: facts about it without a word of it, and its request cut to size."""

import contextlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.exchange import Exchange

_LONG: Final = 16_384
# Numbers and words that say how a model was asked, whatever the dialect.
_SETTINGS: Final = (
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed", "stream",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "service_tier", "dimensions",
)  # fmt: skip
_LISTS: Final = (("messages", "messages"), ("input", "inputs"), ("contents", "messages"), ("tools", "tools"))


def about(exchange: Exchange, answer: Iterable[Any]) -> dict[str, Any]:
    """How it went and how it was asked: nothing that somebody wrote, but the name of the client's program."""
    body = exchange.request.body if exchange.request is not None else {}
    target, usage, error = exchange.target, exchange.usage, exchange.error
    settings = {name: value for name in _SETTINGS if _plain(value := body.get(name))}
    settings |= {name: len(found) for field, name in _LISTS if isinstance(found := body.get(field), list)}
    hits = exchange.internal.get("guardrail_hits", ())
    return {
        "endpoint": exchange.endpoint,
        "provider": target.provider.name if target else None,
        "target_model": target.model if target else None,
        "outcome": exchange.outcome,
        "status": exchange.http_status,
        "error": (error.code or error.type) if error else None,
        "streamed": exchange.streamed,
        "settings": settings,
        "request_bytes": len(exchange.request.raw) if exchange.request is not None else 0,
        "answer_characters": sum(len(each.text) for each in answer),
        "input_tokens": usage.input if usage else 0,
        "output_tokens": usage.output if usage else 0,
        "guardrails": sorted({f"{hit.rule}:{hit.action}" for hit in hits})[:50],
        "user_agent": "".join(c if c.isprintable() else "?" for c in exchange.headers.get("user-agent", "")[:200]),
    }


def request_kept(raw: bytes, most: int) -> tuple[bytes, bool]:
    """A request's body for keeping, media in it as their sizes; cut at `most` bytes, and whether it was."""
    if len(raw) > _LONG:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            raw = msgspec.json.encode(_without_media(msgspec.json.decode(raw)))
    if len(raw) <= most:
        return raw, False
    return raw[:most], True


def _without_media(found: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(found, dict):
        return {name: _without_media(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_without_media(value) for value in found]
    if isinstance(found, str) and len(found) > _LONG and " " not in found[:1000] and "\n" not in found[:60]:
        return f"[{len(found)} characters of media]"
    return found


def _plain(value: object) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 32)
