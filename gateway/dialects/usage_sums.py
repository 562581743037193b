"""Usage added up, for what consists of several replies: images in one stream, the results of a batch."""

from collections.abc import Iterable

import msgspec

from gateway.events import Special, Usage

_COUNTS = ("input", "output", "cached", "cache_write", "reasoning")


def plus(one: Usage, other: Usage) -> Usage:
    """Both together, in the service tier of the second."""
    counts = {name: getattr(one, name) + getattr(other, name) for name in _COUNTS}
    return msgspec.structs.replace(
        other, **counts, estimated=one.estimated or other.estimated, special=_together(one.special, other.special)
    )


def _together(one: Special | None, other: Special | None) -> Special | None:
    if one is None or other is None:
        return one or other
    names: Iterable[str] = Special.__struct_fields__
    return Special(**{name: getattr(one, name) + getattr(other, name) for name in names})
