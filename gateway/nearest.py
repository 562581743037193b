"""Nearest names, for "did you mean" in error texts. Names are compared without regard to case."""

import difflib
import heapq
from collections.abc import Iterable

LONGEST = 128  # a client's made-up name may be megabytes long; comparing costs length times length
_CANDIDATES = 8
_SAMPLE = 12


def nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` of `names` that look like `name`, best first."""
    if not 0 < len(name) <= LONGEST:
        return []
    wanted = name.casefold()
    by_folded: dict[str, str] = {}
    for known in names:
        by_folded.setdefault(known.casefold(), known)
    close = difflib.get_close_matches(wanted, _candidates(wanted, by_folded), n=limit, cutoff=0.6)
    if not close and len(wanted) > 2:
        close = [folded for folded in by_folded if folded.startswith(wanted)][:limit]
    return [by_folded[folded] for folded in close]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` to append to an error text, or nothing when no name is near."""
    near = [f"`{known}`" for known in nearest(name, names, limit=2)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _candidates(name: str, names: Iterable[str]) -> list[str]:
    """The few names that share most pairs of letters: comparing thousands properly would take a tenth of a second."""
    known = list(names)
    if len(known) <= _CANDIDATES:
        return known
    pairs = [name[start : start + 2] for start in range(len(name) - 1)]
    step = max(1, len(pairs) // _SAMPLE)
    # Both ends matter most in names such as `provider/model-version`; in between a sample is enough.
    sample = {*pairs[:4], *pairs[-4:], *pairs[::step]}
    size = len(name)
    return heapq.nlargest(
        _CANDIDATES, known, key=lambda each: sum(map(each.__contains__, sample)) - abs(len(each) - size) / 8
    )
