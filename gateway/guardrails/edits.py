"""From the hits in one text to what is replaced in it: overlaps merged, the stronger action winning."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from gateway.guardrails.actions import label, masked
from gateway.guardrails.check import Hit
from gateway.hookspecs import Redaction

_STRENGTH = {"pseudonymise": 1, "mask": 2, "redact": 3, "restore": 4}
StandIn = Callable[[str, str], str]  # kind and text -> what stands for it


def edits_of(text: str, hits: Iterable[Hit], stand_in: StandIn | None = None) -> list[Redaction]:
    """What to replace, in order and without overlaps. Without `stand_in` nothing is pseudonymised."""
    wanted = [hit for hit in hits if hit.action in _STRENGTH and hit.start < hit.end]
    if stand_in is None:
        wanted = [hit for hit in wanted if hit.action != "pseudonymise"]
    if not wanted:
        return []
    return [
        Redaction(start, end, _replacement(text[start:end], _strongest(group), stand_in))
        for start, end, group in _groups(_beside_restored(wanted))
    ]


def applied(text: str, edits: Sequence[Redaction]) -> str:
    """The text after its edits."""
    parts: list[str] = []
    at = 0
    for edit in edits:
        parts += (text[at : edit.start], edit.text)
        at = edit.end
    return "".join((*parts, text[at:]))


def shifted(hits: Iterable[Hit], by: int) -> list[Hit]:
    """The hits in a text that lacks the first `by` characters; of one that lies across, the rest."""
    if not by:
        return list(hits)
    return [
        Hit(max(0, h.start - by), h.end - by, h.kind, h.score, h.action, h.check, h.text, h.whole, h.error)
        for h in hits if h.end > by or h.action == "failed"
    ]  # fmt: skip


def in_order(edits: Sequence[Redaction]) -> bool:
    """Whether edits are sorted and disjoint."""
    return all(a.end <= b.start for a, b in pairwise(edits))


def _beside_restored(hits: list[Hit]) -> list[Hit]:
    """Stand-ins look like what guardrails find: what is restored is no finding."""
    restored = [hit for hit in hits if hit.action == "restore"]
    if not restored:
        return hits
    return restored + [
        hit for hit in hits
        if hit.action != "restore" and not any(hit.start < r.end and r.start < hit.end for r in restored)
    ]  # fmt: skip


def _groups(hits: list[Hit]) -> list[tuple[int, int, list[Hit]]]:
    groups: list[tuple[int, int, list[Hit]]] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if groups and hit.start < groups[-1][1]:
            start, end, group = groups.pop()
            groups.append((start, max(end, hit.end), [*group, hit]))
        else:
            groups.append((hit.start, hit.end, [hit]))
    return groups


def _strongest(group: list[Hit]) -> Hit:
    """Of hits that overlap: the strongest action, then the longest, then the first."""
    return max(group, key=lambda hit: (_STRENGTH[hit.action], hit.end - hit.start))


def _replacement(text: str, hit: Hit, stand_in: StandIn | None) -> str:
    if hit.text is not None:
        return hit.text
    if hit.action == "mask":
        return masked(text)
    if hit.action == "pseudonymise" and stand_in is not None:
        return stand_in(hit.kind, text)
    return label(hit.kind)
