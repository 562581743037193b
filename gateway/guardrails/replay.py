"""What a draft of a policy would change: texts of the past under the live policy and under the draft, side by side.

Texts come as lines of JSON. They are judged and forgotten: the report has counts and line numbers, never a text.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from gateway.accounts.contents import Document
from gateway.dialects.openai_texts import read_by_model
from gateway.guardrails.policy import Policy
from gateway.guardrails.trial import Trial, trial

_SHOWN = 20


class Row(msgspec.Struct, frozen=True):
    """One text of the past: its line or request, where it stood, and when it was said, in milliseconds (0: not known).
    """

    line: int | str
    text: str
    is_input: bool = True
    at_ms: int = 0
    part: str = "content"


class Side(msgspec.Struct, frozen=True):
    """What one policy does to all texts; `rules` counts texts by rule and action."""

    policy: tuple[str, ...]
    blocked: int
    changed: int
    warned: int
    rules: dict[str, int]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The report. The first lines of each kind of change are named, to look them up."""

    texts: int
    live: Side
    draft: Side
    newly_blocked: int
    no_longer_blocked: int
    changed_otherwise: int
    lines: dict[str, tuple[int | str, ...]]


async def replay(live: Policy, draft: Policy, rows: Iterable[Row]) -> Replayed:
    """Judge every text twice."""
    sides = (_Tally(live), _Tally(draft))
    differences: dict[str, list[int | str]] = {"newly_blocked": [], "no_longer_blocked": [], "changed_otherwise": []}
    count = 0
    async for row, before, after in _both(live, draft, rows):
        count += 1
        sides[0].add(before)
        sides[1].add(after)
        if before.blocked != after.blocked:
            differences["newly_blocked" if after.blocked else "no_longer_blocked"].append(row.line)
        elif before.processed_text != after.processed_text or before.warnings != after.warnings:
            differences["changed_otherwise"].append(row.line)
    return Replayed(
        texts=count, live=sides[0].side(), draft=sides[1].side(),
        **{name: len(found) for name, found in differences.items()},
        lines={name: tuple(found[:_SHOWN]) for name, found in differences.items() if found},
    )  # fmt: skip


def read_rows(lines: Iterable[bytes], since_ms: int = 0) -> Iterator[Row]:
    """The texts of JSON lines: `text`, or `messages` and `response`. Raises `ValueError` naming a line that is wrong.

    `direction` is input or output; `time` is milliseconds or ISO 8601, and lines before `since_ms` are left out.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=dict[str, Any])
            at_ms = _at(entry.get("time", entry.get("created", 0)))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"line {number} is no object of JSON with a text: {error}") from None
        if at_ms and at_ms < since_ms:
            continue
        for text, is_input in _texts(entry):
            yield Row(number, text, is_input, at_ms)


def logged_rows(ident: str, at_ms: int, document: Document) -> Iterator[Row]:
    """The texts of an exchange whose content was kept, in any dialect: each of the request, and of the answer."""
    body = msgspec.json.decode(document.request)
    if isinstance(body, dict):
        for spot in read_by_model(body):
            yield Row(ident, spot.text, True, at_ms, spot.part)
    elif document.request_text:
        yield Row(ident, document.request_text, True, at_ms)
    for said in document.answer:
        yield Row(ident, said.text, False, at_ms, said.part)


class _Tally:
    def __init__(self, policy: Policy) -> None:
        self._names = policy.names
        self._counts: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()

    def add(self, one: Trial) -> None:
        self._counts["blocked"] += one.blocked
        self._counts["changed"] += not one.blocked and one.processed_text != one.original_text
        self._counts["warned"] += bool(one.warnings)
        self._rules.update({f"{each.guardrail} {each.action}" for each in one.triggered_guardrails})

    def side(self) -> Side:
        counts = self._counts
        rules = dict(sorted(self._rules.items()))
        return Side(self._names, counts["blocked"], counts["changed"], counts["warned"], rules)


async def _both(live: Policy, draft: Policy, rows: Iterable[Row]) -> AsyncIterator[tuple[Row, Trial, Trial]]:
    for row in rows:
        before = await trial(live, row.text, is_input=row.is_input, part=row.part)
        yield row, before, await trial(draft, row.text, is_input=row.is_input, part=row.part)


def _texts(entry: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    said = entry.get("text")
    if isinstance(said, str):
        yield said, entry.get("direction", "input") != "output"
    for message in entry.get("messages") or ():
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            yield message["content"], True
    if isinstance(entry.get("response"), str):
        yield entry["response"], False


def _at(value: object) -> int:
    if isinstance(value, int | float):
        return int(value)
    return int(datetime.fromisoformat(str(value)).timestamp() * 1000)
