"""The audit of what runs: which configuration the gateway started with, and when it took another one."""

import hashlib
import hmac
from typing import Final, Literal

import msgspec
import structlog

from gateway.accounts.book import Book
from gateway.accounts.principal import Origin, Principal
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.secrets import derive
from gateway.version import version

_LENGTH: Final = 16
_log = structlog.get_logger("gateway.audit")


class Configured:
    """One for each process that owns a database or shares one; `holder` names it among those."""

    def __init__(self, book: Book, holder: str) -> None:
        self._book = book
        self._holder = holder
        self._key = derive(book.master, "configuration")
        self._known = ""

    async def note(self, config: Config, action: Literal["gateway_started", "config_changed"]) -> None:
        """Write down that `config` holds from now on. What it says is not in the entry: its keyed hash is."""
        made = hmac.digest(self._key, _plain(config), hashlib.sha256).hex()[:_LENGTH]
        if made == self._known:
            return
        self._known = made
        detail = {"configuration": made, "version": version()}
        who = Principal(id=self._holder, kind="system", name="gateway", role="owner", home="")
        note = self._book.note(
            who, Origin(), action, tenant="", resource=("configuration", made), detail=detail,
            severity="warning" if action == "config_changed" else "info",
        )  # fmt: skip
        try:
            await self._book.commit(note, bump=False)
        except Unavailable as error:
            _log.warning("not in the audit", action=action, configuration=made, reason=error.message)


def _plain(config: Config) -> bytes:
    """The options of plugins are as the file has them; texts that came out of `${...}` are no plain `str`."""
    return msgspec.json.encode(config, enc_hook=str)
