"""What upstreams say of their rate limits: OpenAI's and Azure's headers, Anthropic's, Google's details of an error.

Sources: platform.openai.com/docs/guides/rate-limits; platform.claude.com/docs/en/api/rate-limits; google.rpc.RetryInfo.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from gateway.clock import now_ms
from gateway.errors import UpstreamRefused

_UNITS = ("requests", "tokens", "input-tokens", "output-tokens")
_FIRST = frozenset({
    "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-output-tokens-remaining",
})
_SPAN = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?"
)
_SECONDS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_DELAY = re.compile(rb'"retryDelay"\s*:\s*"([0-9]{1,7}(?:\.[0-9]{1,9})?)s"')


class Limit(msgspec.Struct, frozen=True):
    """One limit of an upstream: `reset` is how many seconds until all of it is there again, `None` where not said."""

    unit: str
    limit: int | None
    remaining: int
    reset: float | None


def tells(headers: Mapping[str, str]) -> bool:
    """Whether there is anything to read."""
    return not _FIRST.isdisjoint(headers)


def limits_in(headers: Mapping[str, str]) -> tuple[Limit, ...]:
    """Every limit that the headers tell; what cannot be read is left out."""
    found = []
    for unit in _UNITS:
        for name in (f"x-ratelimit-{{}}-{unit}", f"anthropic-ratelimit-{unit}-{{}}"):
            remaining = _count(headers.get(name.format("remaining"), ""))
            if remaining is not None:
                limit, reset = headers.get(name.format("limit"), ""), headers.get(name.format("reset"), "")
                found.append(Limit(unit, _count(limit), remaining, _span(reset)))
    return tuple(found)


def wait_of(error: UpstreamRefused) -> float | None:
    """The seconds that a refusal asks to wait."""
    if error.retry_after is not None:
        return error.retry_after
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        seconds = _number(error.headers.get(name, ""))
        if seconds is not None:
            return seconds / unit
    told = _DELAY.search(error.body)
    return float(told[1]) if told else None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else None


def _span(text: str) -> float | None:
    """A duration (`6m0s`, `250ms`, `8.64s`), a number of seconds, or a moment (RFC 3339) as seconds from now."""
    seconds = _number(text)
    if seconds is not None:
        return seconds
    match = _SPAN.fullmatch(text) if text else None
    if match is not None:
        return sum(float(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now_ms() / 1000)
