"""What Claude models can do that decides how a request must be written. Unknown Claude models count as the newest.

Source: platform.claude.com/docs (structured outputs, extended and adaptive thinking, effort), and the published SDK's
types. Models of others behind the same format get the older, plainer form.
"""

import re
from functools import lru_cache
from typing import Literal

import msgspec

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?![0-9])")


class Traits(msgspec.Struct, frozen=True):
    """`schema`: takes a JSON schema for its answer. `thinking`: not at all, with a budget, or as it sees fit.

    `sampling` is false where temperature, top_p and top_k are refused; `both` whether it takes the first two at once.
    """

    schema: bool
    thinking: Literal["none", "budget", "adaptive"]
    sampling: bool = True
    both: bool = True


@lru_cache(maxsize=256)
def traits(model: str) -> Traits:
    """By the version in the model's name."""
    if "claude" not in model:
        return Traits(schema=False, thinking="budget")
    found = _VERSION.search(model)
    version = (int(found.group(1)), int(found.group(2) or 0)) if found else (99, 0)
    if version < (3, 7):
        return Traits(schema=False, thinking="none")
    if version < (4, 1):
        return Traits(schema=False, thinking="budget")
    if version < (4, 6):
        return Traits(schema=True, thinking="budget", both=False)
    return Traits(schema=True, thinking="adaptive", sampling=version < (4, 7), both=False)
