"""Opaque tokens: of sessions (`gws-`), service accounts (`gwt-`) and invitations (`gwi-`). Only a keyed hash is kept.

They are made as API keys are, with another prefix and a key of their own for each purpose: no token of one kind is ever
taken for another.
"""

from typing import Final, Literal

import msgspec

from gateway.accounts.keys import digest, matches, new_id
from gateway.secrets import derive

Purpose = Literal["session", "admin-token", "invitation"]

PREFIXES: Final[dict[Purpose, str]] = {"session": "gws-", "admin-token": "gwt-", "invitation": "gwi-"}
_ID: Final = 12
_SECRET: Final = 43


class Made(msgspec.Struct, frozen=True):
    """A new token: the text for whoever gets it, and what is stored."""

    token: str
    id: str
    digest: str
    shown: str

    def __repr__(self) -> str:
        return f"Made({self.shown})"


class Tokens:
    """Makes and checks the tokens of one purpose."""

    def __init__(self, master: bytes, purpose: Purpose) -> None:
        self._prefix = PREFIXES[purpose]
        self._key = derive(master, purpose)

    def make(self) -> Made:
        """A new token. Its text exists nowhere else."""
        ident, secret = new_id(_ID), new_id(_SECRET)
        shown = f"{self._prefix}{ident[:4]}…"
        return Made(self._prefix + ident + secret, ident, digest(self._key, secret), shown)

    def parse(self, token: str) -> tuple[str, str] | None:
        """The id and the secret of a token of this kind; `None` for anything else."""
        rest = token.removeprefix(self._prefix)
        if rest == token or len(rest) != _ID + _SECRET or not rest.isascii() or not rest.isalnum():
            return None
        return rest[:_ID], rest[_ID:]

    def matches(self, stored: str | None, secret: str) -> bool:
        """Whether this is the secret behind a stored digest; takes as long without one."""
        return matches(stored or "0" * 64, digest(self._key, secret)) and stored is not None
