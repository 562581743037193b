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
    `output` is a cap that it takes, for requests without one where the model's own is not configured.
    """

    schema: bool
    thinking: Literal["none", "budget", "adaptive"]
    sampling: bool = True
    both: bool = True
    output: int = 4096


@lru_cache(maxsize=256)
def traits(model: str) -> Traits:
    """By the version in the model's name."""
    if "claude" not in model:
        return Traits(schema=False, thinking="budget")
    found = _VERSION.search(model)
    version = (int(found.group(1)), int(found.group(2) or 0)) if found else (99, 0)
    if version < (3, 7):
        return Traits(schema=False, thinking="none", output=8192 if version >= (3, 5) else 4096)
    output = 32_000 if version < (4, 5) else 64_000
    if version < (4, 1):
        return Traits(schema=False, thinking="budget", output=output)
    if version < (4, 6):
        return Traits(schema=True, thinking="budget", both=False, output=output)
    return Traits(schema=True, thinking="adaptive", sampling=version < (4, 7), both=False, output=output)
