"""The HTTP server's log lines: few per second whatever is thrown at it, and no byte of a client's headers in them."""

import asyncio
import time
import traceback
from typing import Any

import structlog

from gateway.httprequest import CREDENTIALS, Incoming
from gateway.secrets import scrub

LINES_PER_SECOND = 3

_log = structlog.get_logger("gateway.http")


class HttpLog:
    """Writes at most `LINES_PER_SECOND` lines of each kind; the next line says how many were left out."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def refused(self, reason: str, peer: str, **fields: str) -> None:
        """Something that never became a request."""
        if (more := self._admit(reason)) is not None:
            _log.warning("connection or request refused", reason=reason, peer=peer, **fields, **more)

    def few_files(self, connections: int, wanted: int) -> None:
        """The limit on open files is below what the configuration asks for."""
        _log.warning(
            "fewer connections than configured: raise the limit on open files (ulimit -n)",
            connections=connections, configured=wanted,
        )

    def defect(self, incoming: Incoming | None, error: BaseException | None) -> None:
        """An exception that nobody expected, with its traceback."""
        more = self._admit("defect")
        if more is None:
            return
        known = () if incoming is None else _credentials(incoming)
        request_id = "" if incoming is None else incoming.request_id
        _log.error("request failed", request_id=request_id, traceback=_traceback(error, known), **more)

    def loop_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the event loop could not give to anyone, such as `accept` without a free file."""
        message = str(context.get("message", "unknown"))
        if (more := self._admit(message[:60])) is not None:
            error = context.get("exception")
            _log.error("event loop failure", failure=message, traceback=_traceback(error, ()), **more)

    def _admit(self, kind: str) -> dict[str, int] | None:
        if kind not in self._windows and len(self._windows) >= 64:
            kind = "other"
        return self._windows.setdefault(kind, _Window()).admit(time.monotonic())


class _Window:
    """One second of one kind of line."""

    __slots__ = ("_left_out", "_lines", "_since")

    def __init__(self) -> None:
        self._since = 0.0
        self._lines = 0
        self._left_out = 0

    def admit(self, now: float) -> dict[str, int] | None:
        if now - self._since >= 1.0:
            self._since, self._lines = now, 0
        if self._lines >= LINES_PER_SECOND:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return {"left_out": left_out} if left_out else {}


def _credentials(incoming: Incoming) -> tuple[str, ...]:
    """What the traceback must not show: each credential header's value, and its last word."""
    values = [value for name in CREDENTIALS if (value := incoming.headers.get(name))]
    return (*values, *(value.rpartition(" ")[2] for value in values))


def _traceback(error: BaseException | None, known: tuple[str, ...]) -> str:
    if error is None:
        return ""
    text = "".join(traceback.format_exception(error))
    return scrub(text.encode("utf-8", "backslashreplace"), *known).decode("utf-8", "replace")
