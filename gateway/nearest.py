"""Nearest names, for "did you mean" in error texts. Names are compared without regard to case."""

import difflib
from collections.abc import Iterable

LONGEST = 128  # a client's made-up name may be megabytes long; comparing costs length times length


def nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` of `names` that look like `name`, best first."""
    if len(name) > LONGEST:
        return []
    by_folded: dict[str, str] = {}
    for known in names:
        by_folded.setdefault(known.casefold(), known)
    close = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.6)
    return [by_folded[folded] for folded in close]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` to append to an error text, or nothing when no name is near."""
    near = [f"`{known}`" for known in nearest(name, names, limit=2)]
    return f"; did you mean {' or '.join(near)}?" if near else ""
