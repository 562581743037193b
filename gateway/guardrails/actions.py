"""What stands in place of a finding: a label for `redact`, stars and the last four for `mask`."""

import re

_KIND = re.compile(r"[^A-Za-z0-9]+")
_KEPT = 4


def label(kind: str) -> str:
    """`[SSN_REDACTED]` for `ssn` or `US_SSN`: what it was, and nothing of it."""
    name = _KIND.sub("_", kind.removeprefix("US_")).strip("_").upper()
    return f"[{name}_REDACTED]" if name else "[REDACTED]"


def masked(text: str) -> str:
    """`***-**-6789`: letters and digits become stars but the last four, or fewer where that would be more than half."""
    solid = sum(map(str.isalnum, text))
    hidden = solid - min(_KEPT, solid // 2)
    out: list[str] = []
    for char in text:
        if char.isalnum() and hidden > 0:
            hidden -= 1
            out.append("*")
        else:
            out.append(char)
    return "".join(out)
