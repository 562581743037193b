"""Recognises prompt injection: rules in thirty languages on a text and on its other readings, and a linear model.

It judges one text and knows nothing of policies. What it does not see is said in docs/guardrails/prompt-injection.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.detect.indirect import in_any_text, in_foreign_text
from gateway.detect.linear import load
from gateway.detect.patterns import PatternSet, compile_text
from gateway.detect.phrases import Hit, Phrases, Plain, Rule, filled, heads, plain
from gateway.detect.views import Readings, squeezed
from gateway.detect.words import read
from gateway.hookspecs import Finding

_MENTIONED = 0.35  # somebody speaks about such a phrase
_ENDS = (". ", "! ", "? ", "\n")
# Texts that nobody in the conversation has written: what tools answer, documents, files.
FOREIGN = frozenset({"tool_result", "document", "file"})


class Words(msgspec.Struct, frozen=True):
    """One language's words in `words/languages.toml`."""

    disregard: str
    before: str
    instructions: str
    all_before: str
    reveal: str
    prompt: str


class InjectionRules:
    """All rules, compiled once."""

    def __init__(self) -> None:
        english = read("english")
        self._phrases = Phrases([*_english(english), *_other_languages()])
        self._squeezed = PatternSet(english["squeezed"]["patterns"])

    def findings(self, text: str) -> list[Finding]:
        """What the rules find in a text and in its other readings."""
        return self.findings_in(plain(text), text)

    def findings_in(self, seen: Plain, text: str) -> list[Finding]:
        """The same for a text that is folded already."""
        found = list(self._in(seen))
        readings = Readings(text, seen.text)
        if (readings.spaced and self._glued(seen.text)) or any(self._says(reading) for _name, reading in readings):
            found.append(Finding(0, len(text), "obfuscated", 0.9))
        return _merged(found)

    def _in(self, seen: Plain) -> Iterator[Finding]:
        for hit in self._phrases.find(seen.text, _mentioned):
            score = _MENTIONED if _mentioned(seen.text, hit) else hit.rule.score
            yield Finding(*seen.span(hit.start, hit.end), hit.rule.kind, score)

    def _says(self, reading: str, depth: int = 0) -> bool:
        seen = plain(reading)
        if self._phrases.find(seen.text) or self._glued(seen.text):
            return True
        return depth < 1 and any(self._says(inner, depth + 1) for _name, inner in Readings(reading, seen.text))

    def _glued(self, text: str) -> bool:
        return bool(self._squeezed.hits(squeezed(text)))


class Injections:
    """The rules, and a model's word on texts in which they found nothing, not even a mention."""

    def __init__(self) -> None:
        self._rules = InjectionRules()
        self._model = load("injection")

    def findings(self, text: str, part: str = "content") -> list[Finding]:
        """What the rules find; where they find nothing, a judgement of the whole text, however unlikely.

        Rules are stricter with what nobody in the conversation has written. Phrases that are only mentioned say nothing
        of the rest of a text: that is judged without them.
        """
        seen = plain(text)
        found = self._rules.findings_in(seen, text)
        found += in_foreign_text(text) if part in FOREIGN else in_any_text(text)
        if not text or any(finding.score > _MENTIONED for finding in found):
            return found
        likely = self._model.scores(_without(seen, found) if found else seen.text)["injection"]
        return [*found, Finding(0, len(text), "likely", likely)]


def _without(seen: Plain, mentions: Iterable[Finding]) -> str:
    """The text without the sentences that mention a phrase."""
    text = seen.text
    if len(text) != seen.whole:
        return ""  # where a mention stands is not known
    for finding in mentions:
        start = max(text.rfind(end, 0, finding.start) for end in _ENDS) + 1
        end = min((at for at in (text.find(end, finding.end) for end in _ENDS) if at >= 0), default=len(text))
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """Overlapping findings of one kind become one; in the order of their start."""
    merged: list[Finding] = []
    for finding in sorted(found, key=lambda finding: (finding.start, finding.end)):
        for at, other in enumerate(merged):
            if other.kind == finding.kind and finding.start < other.end:
                both = Finding(other.start, max(other.end, finding.end), other.kind, max(other.score, finding.score))
                merged[at] = both
                break
        else:
            merged.append(finding)
    return merged


def _mentioned(text: str, hit: Hit) -> bool:
    """Is the phrase quoted, forbidden, or told of others, rather than said?"""
    return _QUOTING.found_in(text[max(0, hit.start - 90) : hit.start])


_QUOTING = compile_text(
    r"(?:attacks?|injections?|jailbreaks?|phrases?|payloads?|patterns?|words?|wordings?|strings?|sentences?|examples?"
    r"|attackers?|detect\w*|filters?|blocks?|flags?|angriffe?|ausdruck|satze?|phrase[ns]?|attaques?|ataques?|frases?)"
    r"\b[^.!?\n]{0,50}[\"'`(\[]+ ?(?:please |just |now )?$"
    r"|(?:\bnever|\bnot|n't|\brefuse to|\bwithout|\bavoid|\bdecline to|\bnor)"
    r"(?: ever| directly| under any circumstances)? $"
    r"|\b(?:anyone|someone|users?|customers?|people|attackers?|message|they|who)\b[^.!?\n]{0,20}\b(?:asks?|tells?|tries|try"
    r"|attempts?|wants?|instructs?|orders?|says?|requests?|demands?|trying|asking|telling)\b[^.!?\n]{0,20}$"
)


def _english(english: Mapping[str, Any]) -> Iterator[Rule]:
    lists: Mapping[str, str] = english["lists"]
    for entry in english["phrases"]:
        first, second = (filled(pattern, lists) for pattern in entry["needs"])
        yield Rule(entry["kind"], filled(entry["pattern"], lists), (first, second), entry["score"])


def _other_languages() -> Iterator[Rule]:
    for words in read("languages").values():
        yield from _in_language(msgspec.convert(words, Words))


def _in_language(words: Words) -> Sequence[Rule]:
    what = f"(?:(?:{words.before})<40>(?:{words.instructions})|(?:{words.instructions})<40>(?:{words.before}))"
    verb, end = f"(?:{words.disregard})", f"(?:{words.all_before})"
    needs = (heads(words.disregard), heads(words.instructions))
    names = (heads(words.prompt), heads(words.reveal))
    return (
        Rule("override", f"{verb}<50>{what}", needs, 0.9),
        Rule("override", f"{what}<50>{verb}", needs, 0.85),
        Rule("override", f"{verb}<30>{end}", (needs[0], heads(words.all_before)), 0.85),
        Rule("override", f"{end}<30>{verb}", (needs[0], heads(words.all_before)), 0.8),
        Rule("extraction", f"(?:{words.reveal})<50>(?:{words.prompt})", names, 0.85),
        Rule("extraction", f"(?:{words.prompt})<50>(?:{words.reveal})", names, 0.8),
    )
