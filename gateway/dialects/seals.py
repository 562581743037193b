"""Signatures of reasoning, packed with the name of the dialect whose provider made them.

For clients whose format has one place for a signature and none for its origin: what comes back is unpacked, and goes to
its own provider only. A signature of the client's own dialect is never packed. Not a secret, not a proof of anything.
"""

import binascii
from base64 import b64encode, urlsafe_b64decode

import msgspec

_MARK = b"gw1:"


class Seal(msgspec.Struct, frozen=True, gc=False):
    """A signature, whose it is, and whether it stands for reasoning that nobody can read."""

    origin: str
    signature: str
    redacted: bool = False


def seal(origin: str, signature: str, *, redacted: bool = False) -> str:
    """One text in base64 that holds all three."""
    return b64encode(b"%b%b:%d:%b" % (_MARK, origin.encode(), redacted, signature.encode())).decode()


def unseal(text: str, default: str) -> Seal:
    """What `seal` packed, in either base64 alphabet; any other text is a signature of the dialect `default`."""
    if not text.startswith("Z3cxO"):  # how the mark looks in base64
        return Seal(default, text)
    try:
        packed = urlsafe_b64decode(text.replace("+", "-").replace("/", "_")).decode()
        origin, redacted, signature = packed[len(_MARK) :].split(":", 2)
    except (binascii.Error, ValueError):
        return Seal(default, text)
    return Seal(origin, signature, redacted == "1")
