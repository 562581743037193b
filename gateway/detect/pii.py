"""Finds personal data of many kinds in one pass: candidates by patterns, then check digits, shapes and context words.

Which kinds there are is in `KINDS`; how each is recognised is in the file of its family, and in `rules`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from gateway.detect import banking, cards, disguised, national_numbers, numbers, phones
from gateway.detect.normalise import fold
from gateway.detect.patterns import PatternSet, compile_text
from gateway.detect.rules import rules
from gateway.detect.spans import Span, View, resolve

KINDS = (
    "EMAIL", "PHONE", "CREDIT_CARD", "US_SSN", "US_ITIN", "IBAN", "BANK_ACCOUNT", "DATE_OF_BIRTH", "PASSPORT",
    "NATIONAL_ID", "IP_ADDRESS", "MAC_ADDRESS", "CRYPTO", "ADDRESS", "NAME",
)  # fmt: skip
# What a value and the words after it can span: an address letter by letter is the longest.
HOLD_BACK = 160
_SHAPES = cards.SHAPES | phones.SHAPES | national_numbers.SHAPES


class PersonalData:
    """Finds these `kinds`; what is less sure than `min_score` is left out."""

    def __init__(self, kinds: Iterable[str] = KINDS, min_score: float = 0.5) -> None:
        self._kinds = frozenset(kinds)
        self._min_score = min_score
        self._judges = [judge for judge, made in _JUDGES if not self._kinds.isdisjoint(made)]
        self._rules = [rule for rule in rules() if rule.kind in self._kinds]
        patterns = [rule.pattern for rule in self._rules]
        triggers = [rule.trigger for rule in self._rules]
        if self._judges:
            patterns += (numbers.RUN, disguised.LOOKALIKES, disguised.WORDS)
            triggers += (numbers.RUN, disguised.LOOKALIKES_TRIGGER, disguised.THREE_WORDS)
        self._set = PatternSet(patterns, triggers)

    def scan(self, text: str, own: Sequence[Span] = ()) -> list[Span]:
        """All that was found, and the caller's `own`, in order, without overlaps; positions are those of `text`."""
        view = View(text)
        found = [span for span in self._found(view) if span.kind in self._kinds and span.score >= self._min_score]
        if view.folded.origin is not None:
            found = [view.original(span) for span in found]
        found += own
        return resolve(found) if len(found) > 1 else found

    def settled(self, text: str) -> int:
        """How many characters at the front keep their findings whatever text follows.

        Every value has a digit, an `@` or a word for it, and begins at most a few words before: where none of these
        is near, only the last word can still become the beginning of one.
        """
        low = max(0, len(text) - HOLD_BACK)
        tail = fold(text[low:])
        if "NAME" in self._kinds or tail.origin is not None:
            return low
        seed = _SEED.first(tail.text)
        return low + (_last_word(tail.text) if seed is None else _words_back(tail.text, seed))

    def _found(self, view: View) -> Iterator[Span]:
        for number in self._set.hits(view.data):
            search = partial(self._set.find, number, view.data)
            if number < len(self._rules):
                yield from self._rules[number].find(view, search)
                continue
            if number > len(self._rules):
                rule = disguised.words if number - len(self._rules) == 2 else disguised.lookalikes
                yield from disguised.each(rule, view, search(), _SHAPES, self._judge)
                continue
            for match in search():
                yield from numbers.find(view, match.start(), match.end(), _SHAPES, self._judge)

    def _judge(self, number: numbers.Number) -> Span | None:
        spans = (judge(number) for judge in self._judges)
        return next((span for span in spans if span is not None), None)


def _words_back(text: str, at: int) -> int:
    # To the start of the word at `at`, then over two more; letters standing alone may be one word torn apart.
    left = 3
    while at and left:
        word, at = _word_before(text, at)
        left -= len(word) > 1
    return at


def _last_word(text: str) -> int:
    # An address in words begins with one word, or with several that dots or single letters join; a number in words with
    # one. A word that has just begun may become what joins.
    at = len(text)
    for _ in range(_JOINED):
        word, at = _word_before(text, at)
        joined = len(word) < 2 or word[0] == "."
        if not joined and at:
            head = text[:at].rstrip()
            joined = head.endswith(".") or head[-2:-1].isspace()
        if not joined and not (at + len(word) == len(text) and word.lower() in _BEGUN):
            break
    return at


def _word_before(text: str, at: int) -> tuple[str, int]:
    # The last word of the first `at` characters, and where it begins; blanks behind it are passed over.
    head = text[:at].rstrip()
    word = head.rsplit(None, 1)[-1] if head else ""
    return word, len(head) - len(word)


_JOINED = 12
_JOINERS = ("at", "arroba", "chiocciola", "arobase", "klammeraffe", "dot", "punkt", "punto", "point", "ponto", "kropka")
_BEGUN = frozenset(
    word[:length] for word in (*_JOINERS, *disguised.SPOKEN) for length in range(1, len(word) + 1)
)
_SEED = compile_text(
    r"(?i)[0-9@]|&#|%40|[\[({<|*/_~][ ]?(?:at|a|arroba|chez|bei|malpa|dot)|\b(?:at|arroba|chiocciola|arobase|"
    r"klammeraffe|dot|punkt|punto|point|ponto|kropka|calle|avenida|avda|plaza|via|viale|piazza|corso|rua|av\.|c/)|"
    + disguised.TWO_WORDS.removeprefix("(?i)")
)


def _national_first(number: numbers.Number) -> Span | None:
    # The nearest words decide between a phone and another number of the same length.
    return national_numbers.judge(number) if "national" in number.labels.near and not number.plus else None


_JUDGES: tuple[tuple[Callable[[numbers.Number], Span | None], frozenset[str]], ...] = (
    (cards.judge, frozenset({"CREDIT_CARD"})),
    (national_numbers.judge_us, frozenset({"US_SSN", "US_ITIN"})),
    (_national_first, frozenset({"NATIONAL_ID"})),
    (banking.judge, frozenset({"BANK_ACCOUNT"})),
    (phones.judge, frozenset({"PHONE"})),
    (national_numbers.judge, frozenset({"NATIONAL_ID"})),
)
