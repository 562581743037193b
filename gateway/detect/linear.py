"""A linear model over words and pairs of neighbouring words: small, quick, and without a library at run time.

It is trained by contrib/guardrails/train.py; docs/guardrails/models.md is the card of the models that ship.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import islice

import msgspec

from gateway.detect.signals import Signals

# Scripts without blanks between words give a token for each character.
_TOKEN = re.compile(r"[\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]|[^\W_\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]+")
_BLANKS = bytes(code if chr(code).isalnum() and code < 128 else 32 for code in range(256))
_WINDOW = 6_000
_BELOW = -0.5
_OVERLAP = 600


class Weights(msgspec.Struct, frozen=True):
    """A trained model as it is stored: for each term its weights, one for each label, in steps of `step`.

    `words` holds single words, `pairs` two with a blank between, `signals` named patterns (see `signals`). Where
    `needs` names signals, a text with none of them stays below every threshold.
    """

    labels: tuple[str, ...]
    bias: tuple[float, ...]
    step: float
    words: dict[str, tuple[int, ...]]
    pairs: dict[str, tuple[int, ...]]
    signals: dict[str, tuple[float, ...]] = {}
    needs: frozenset[str] = frozenset()


class Linear:
    """Says how likely each label is for a text, from 0 to 1; 0.5 is where the label's threshold was set."""

    def __init__(self, weights: Weights, signals: Signals | None = None) -> None:
        self.labels = weights.labels
        self._bias = weights.bias
        self._step = weights.step
        self._words = weights.words
        self._pairs = {tuple(pair.split(" ")): row for pair, row in weights.pairs.items()}
        self._signal_weights = weights.signals
        self._signals = signals
        self._needs = weights.needs

    def scores(self, text: str) -> Mapping[str, float]:
        """The likelihood of each label for a text as `phrases.plain` gives it: for a long one, its worst window's."""
        margins = [self._margins(window) for window in windows(text)]
        worst = map(max, zip(*margins, strict=True))
        return dict(zip(self.labels, map(_likelihood, worst), strict=True))

    def _margins(self, text: str) -> Sequence[float]:
        """How far beyond its threshold each label is."""
        words, pairs = terms(text)
        rows = [self._words[word] for word in self._words.keys() & words]
        rows += [self._pairs[pair] for pair in self._pairs.keys() & pairs]
        scale = self._step / math.sqrt(len(rows) or 1)
        totals = [sum(column) * scale for column in zip(*rows, strict=True)] or [0.0] * len(self.labels)
        seen = self._signals.found(text) if self._signals else ()
        known = [self._signal_weights[name] for name in seen if name in self._signal_weights]
        margins = [sum(parts) for parts in zip(self._bias, totals, *known, strict=True)]
        if self._needs and self._needs.isdisjoint(seen):
            return [min(margin, _BELOW) for margin in margins]
        return margins


def terms(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """The words of a text, and its pairs of neighbours."""
    tokens = text.encode().translate(_BLANKS).decode().split() if text.isascii() else _TOKEN.findall(text)
    return set(tokens), set(zip(tokens, islice(tokens, 1, None), strict=False))


def windows(text: str) -> Iterator[str]:
    """The text, or, if it is long, overlapping pieces of it: one bad page does not drown in a good book."""
    if len(text) <= _WINDOW:
        yield text
        return
    for start in range(0, len(text) - _OVERLAP, _WINDOW - _OVERLAP):
        yield text[start : start + _WINDOW]


def load(name: str, *, signals: bool = False) -> Linear:
    """A model that ships with the gateway, with the signals of the word list of the same name if it has any."""
    stored = files(__package__).joinpath("models", f"{name}.msgpack").read_bytes()
    weights = msgspec.msgpack.decode(stored, type=Weights)
    return Linear(weights, Signals(name) if signals else None)


def _likelihood(margin: float) -> float:
    return round(1 / (1 + math.exp(-max(-30.0, min(30.0, margin)))), 4)
