"""Estimates tokens where nobody has counted them, or not yet.

Before a request is sent: bytes times a ratio, plus what stands around them, both learned for each model from what its
provider reported. That is not exact, but 300 times cheaper than a tokenizer. Afterwards, where usage is missing: an
offline tokenizer (`tokenizer.py`). Media (data URLs) are counted by piece or size, never as text.
"""

import math
import re
from typing import Any, Final

import msgspec

from gateway.events import Usage
from gateway.exchange import Exchange
from gateway.money.tokenizer import count_request

FIRST_RATIO: Final = 0.25
IMAGE_TOKENS: Final = 1000

_MODELS: Final = 1024
_LEAST_BYTES: Final = 64
_CLOSE: Final = 1 / 32
_LEAST_RATIO: Final = 0.04
_MOST_RATIO: Final = 2.0
# How a line through (bytes, tokens) is fitted: small requests weigh as one of so many bytes; what was believed before
# weighs as one long request, and as one whose frame is off by a few hundred bytes' worth; old ones fade.
_SMALL: Final = 500.0
_LEAST_WEIGHT: Final = 1 / _SMALL**2
_SLOPE_HELD: Final = 1.0
_FRAME_HELD: Final = 4e-6
_FADE: Final = 0.98
_MOST_FRAME: Final = 5000.0
_SAID_BYTES: Final = 200   # of an answer that teaches how many tokens its bytes are
_SAID_SURE: Final = 2000
_SAID_WEIGHT: Final = 0.1
_ONE_LEAST: Final = 2.5    # bytes of a record that is one token
_ONE_MOST: Final = 6.5
_MEDIA_TOKENS_PER_BYTE: Final = 1 / 64
_MARK: Final = b";base64,"
_LINKED: Final = b'"image_url"'
_INLINE: Final = re.compile(rb'"(?:data|bytes)"\s*:\s*"([A-Za-z0-9+/=_-]{256})')


class Estimator:
    """What each model makes of bytes, learned from reported usage. One for a process; its memory is bounded."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._said: dict[str, float] = {}

    def said_ratio(self, model: str) -> float | None:
        """Tokens of an answer per byte of its text, where that is known."""
        return self._said.get(model)

    def learn(self, exchange: Exchange) -> None:
        """Take the reported usage of a finished exchange into account.

        What is not text (images, a wrong report) teaches nothing, nor does the sum of several attempts, nor an
        estimate that was right.
        """
        usage, request = exchange.usage, exchange.request
        if usage is None or request is None or usage.estimated or len(exchange.attempts) > 1:
            return
        if (tap := exchange.internal.get("tap")) is not None:
            self._hear(exchange.model, usage, tap.text_bytes)
        guess: int = exchange.internal.get("input_tokens", 0)
        if guess and abs(guess - usage.input) <= usage.input * _CLOSE:
            return
        size, media = _sizes(exchange)
        if media or size < _LEAST_BYTES or not _LEAST_RATIO <= usage.input / size <= _MOST_RATIO:
            return
        self._see(request.model, size, usage.input)
        if exchange.model != request.model:
            self._see(exchange.model, size, usage.input)

    def _hear(self, model: str, usage: Usage, said: int) -> None:
        """What was thought and not shown is in no byte of the answer: such usage teaches nothing."""
        if said < _SAID_BYTES or usage.reasoning or not _LEAST_RATIO <= usage.output / said <= _MOST_RATIO:
            return
        before = self._said.get(model)
        if before is None:
            _make_room(self._said)
            before = FIRST_RATIO
        self._said[model] = before + _SAID_WEIGHT * min(1.0, said / _SAID_SURE) * (usage.output / said - before)

    def _see(self, model: str, size: int, tokens: int) -> None:
        line = self._lines.get(model)
        if line is None:
            _make_room(self._lines)
            line = self._lines[model] = _Line()
        line.see(size, tokens)

    def input_tokens(self, exchange: Exchange) -> int:
        """About how many tokens the request has."""
        size, media = _sizes(exchange)
        return self._of(exchange, size) + media

    def input_upper(self, exchange: Exchange) -> int:
        """More than the request has in practice."""
        size, media = _sizes(exchange)
        return max(math.ceil(size * 0.5), math.ceil(1.25 * self._of(exchange, size))) + 2 * media

    def _of(self, exchange: Exchange, size: int) -> int:
        """The model may be known by the client's name for it, else by all that the configured one stands for."""
        lines, request = self._lines, exchange.request
        known = (lines.get(request.model) if request is not None else None) or lines.get(exchange.model)
        return math.ceil(size * FIRST_RATIO) if known is None else known.at(size)


class _Line(msgspec.Struct):
    """Tokens = `frame` + `slope` x bytes, fitted to what was seen.

    Most of a short request's tokens may be the provider's own frame, or most of its bytes JSON: so short ones teach
    the frame, and long ones the slope.
    """

    frame: float = 0.0
    slope: float = FIRST_RATIO
    n: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    xy: float = 0.0

    def see(self, size: int, tokens: int) -> None:
        """Take one request into account; what is predicted is how far it was off the first ratio."""
        weight = 1.0 / (size * size) if size > _SMALL else _LEAST_WEIGHT
        heavy, off = weight * size, tokens - FIRST_RATIO * size
        self.n = n = self.n * _FADE + weight
        self.x = x = self.x * _FADE + heavy
        self.xx = xx = self.xx * _FADE + heavy * size
        self.y = y = self.y * _FADE + weight * off
        self.xy = xy = self.xy * _FADE + heavy * off
        n += _FRAME_HELD
        more = (n * xy - x * y) / (n * (xx + _SLOPE_HELD) - x * x)
        self.slope = min(max(FIRST_RATIO + more, _LEAST_RATIO), _MOST_RATIO)
        self.frame = min(max((y - (self.slope - FIRST_RATIO) * x) / n, -_MOST_FRAME), _MOST_FRAME)

    def at(self, size: int) -> int:
        """What a request of so many bytes has."""
        return math.ceil(max(self.frame + self.slope * size, _LEAST_RATIO * size))


def input_tokens(exchange: Exchange) -> int:
    """About how many tokens the request has; counted once, then remembered on the exchange."""
    known = exchange.internal.get("input_tokens")
    if known is None:
        known = exchange.internal["input_tokens"] = _estimator(exchange).input_tokens(exchange)
    return int(known)


def counted_input(exchange: Exchange) -> int:
    """The request's tokens by the offline tokenizer: for what is billed, or answered, without a provider's number."""
    request = exchange.request
    if request is None or not request.body:
        return input_tokens(exchange)
    model = exchange.target.model if exchange.target is not None else exchange.model
    chat = getattr(exchange.dialect, "generates", True)
    return count_request(request.body, model, chat=chat) + _sizes(exchange)[1]


def input_upper(exchange: Exchange) -> int:
    """More than the request has in practice: for reservations, which must not be too small."""
    known = exchange.internal.get("input_upper")
    if known is None:
        known = exchange.internal["input_upper"] = _estimator(exchange).input_upper(exchange)
    return int(known)


def output_tokens(text_bytes: int, records: int, ratio: float | None = None) -> int:
    """About how many tokens an answer is that came as `records`: at least one for each. `ratio` is what is known."""
    if ratio is None and _ONE_LEAST * records <= text_bytes <= _ONE_MOST * records:
        return records  # that is how most servers send: a token, a record
    return max(math.ceil(text_bytes * (FIRST_RATIO if ratio is None else ratio)), records)


def _make_room(known: dict[str, Any]) -> None:
    """Forget the model that came first, where there are too many."""
    if len(known) >= _MODELS:
        del known[next(iter(known))]


def _estimator(exchange: Exchange) -> Estimator:
    known: Estimator | None = exchange.internal.get("estimator")
    return known or Estimator()


def _sizes(exchange: Exchange) -> tuple[int, int]:
    sizes: tuple[int, int] | None = exchange.internal.get("input_sizes")
    if sizes is None:
        raw = exchange.request.raw if exchange.request else b""
        sizes = exchange.internal["input_sizes"] = _weigh(raw)
    return sizes


def _weigh(raw: bytes) -> tuple[int, int]:
    """Bytes of text, and tokens of media: images count by piece, other files by size."""
    if raw.rfind(_MARK) < 0 and raw.rfind(b'"data"') < 0 and raw.rfind(b'"bytes"') < 0 and raw.rfind(_LINKED) < 0:
        return len(raw), 0  # mostly there is none of these, which is found sooner from the end
    size, media = len(raw), 0
    at = raw.find(_MARK)
    while at >= 0:
        start = at + len(_MARK)
        end = raw.find(b'"', start)
        end = len(raw) if end < 0 else end
        size -= end - start
        kind = raw[max(0, at - 64):at].rpartition(b"data:")[2]
        image = kind.startswith(b"image")
        media += IMAGE_TOKENS if image else max(IMAGE_TOKENS, int((end - start) * _MEDIA_TOKENS_PER_BYTE))
        at = raw.find(_MARK, end)
    inline, tokens = _inline(raw)
    return size - inline, media + tokens + IMAGE_TOKENS * _linked_images(raw)


def _inline(raw: bytes) -> tuple[int, int]:
    """Bytes of base64 that stand in a field of their own, as in most formats but OpenAI's, and their tokens."""
    size = tokens = 0
    for match in _INLINE.finditer(raw):
        start = match.start(1)
        end = raw.find(b'"', start)
        end = len(raw) if end < 0 else end
        size += end - start
        near = raw[max(0, match.start() - 64) : match.start()] + raw[end : end + 64]
        image = b"image/" in near or b'"png"' in near or b'"jpeg"' in near
        tokens += IMAGE_TOKENS if image else max(IMAGE_TOKENS, int((end - start) * _MEDIA_TOKENS_PER_BYTE))
    return size, tokens


def _linked_images(raw: bytes) -> int:
    """Images given by address: an upstream fetches them, and bills them like others."""
    return raw.count(b'"url":"http') + raw.count(b'"url": "http') if raw.rfind(_LINKED) >= 0 else 0
