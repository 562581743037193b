"""Sets up logging: structured lines on standard error, from our loggers and from those of the libraries.

Each line passes a scrubber of key-shaped strings as the last step. A message that comes more often than
`BURST` times in `SPAN` seconds is dropped, and its next line says how many were; request lines are exempt.
"""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO, Final

import msgspec
import structlog

from gateway.clock import now_ms
from gateway.config import Logging
from gateway.secrets import scrub

BURST: Final = 20
SPAN: Final = 10.0
REQUESTS: Final = "gateway.request"  # the logger of `sink.log`

_MESSAGES: Final = 1000
_MAX_TRACEBACK: Final = 8000
_encode = msgspec.json.Encoder(enc_hook=str).encode
Logger = Any  # as structlog types them: processors see any kind of logger, a field may hold anything
Event = MutableMapping[str, Any]


def set_up(config: Logging, stream: BinaryIO | None = None, *, worker: int | None = None) -> None:
    """Log to `stream` (standard error) from now on; calling it again changes level, format and stream.

    `worker` is the number of this process among several; each of its lines then has it.
    """
    level = int(getattr(logging, config.level.upper()))
    head = _head if worker is None else partial(_of_worker, worker)
    structlog.configure(
        processors=[_Limit(), head, _traceback, _json if config.format == "json" else _text],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines(stream or sys.stderr.buffer),
        cache_logger_on_first_use=False,  # else a later set-up would not reach loggers that were used before
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _FromLibraries)]:
        root.removeHandler(old)
    root.addHandler(_FromLibraries())
    root.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))


def aside() -> None:
    """For commands: what they print is theirs alone, so that lines of the log go to standard error."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


class _Lines:
    """Makes the loggers that write; a log that cannot be written never stops the gateway."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __call__(self, name: str = "gateway", *_: object) -> "_Line":
        return _Line(name, self)

    def write(self, line: bytes) -> None:
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


class _Line:
    """What structlog calls with a finished line."""

    def __init__(self, name: str, lines: _Lines) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = lines.write
        self.warn = self.fatal = self.msg = lines.write


class _FromLibraries(logging.Handler):
    """Hands what libraries log (aiohttp, asyncio) to the same chain."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


class _Limit:
    """Drops a message that repeats too fast; `suppressed` on the next one says how many."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[float]] = {}  # since when, how many

    def __call__(self, logger: Logger, _: str, event: Event) -> Event:
        if logger.name == REQUESTS:
            return event
        key, now = (logger.name, str(event.get("event"))), time.monotonic()
        window = self._seen.get(key)
        if window is None or now - window[0] > SPAN:
            if len(self._seen) >= _MESSAGES:
                self._seen.clear()
            if window is not None and window[1] > BURST:
                event["suppressed"] = int(window[1]) - BURST
            window = self._seen[key] = [now, 0]
        window[1] += 1
        if window[1] > BURST:
            raise structlog.DropEvent
        return event


def _head(logger: Logger, method: str, event: Event) -> Event:
    """Time, level, logger and message first."""
    moment = datetime.fromtimestamp(now_ms() / 1000, UTC)
    level = {"exception": "error", "warn": "warning", "fatal": "critical"}.get(method, method)
    head = {"time": moment.isoformat(timespec="milliseconds"), "level": level, "logger": logger.name}
    return {**head, "event": event.pop("event", ""), **event}


def _of_worker(worker: int, logger: Logger, method: str, event: Event) -> Event:
    return _head(logger, method, {"event": event.pop("event", ""), "worker": worker, **event})


def _traceback(logger: Logger, method: str, event: Event) -> Event:
    """`exc_info` as text, its end if it is long: there is the error."""
    if not event.get("exc_info"):
        event.pop("exc_info", None)
        return event
    event = structlog.processors.format_exc_info(logger, method, event)
    if len(event.get("exception", "")) > _MAX_TRACEBACK:
        event["exception"] = "…" + event["exception"][-_MAX_TRACEBACK:]
    return event


def _json(_: Logger, __: str, event: Event) -> bytes:
    try:
        line = _encode(event)
    except Exception:  # a huge number, half a surrogate: better an odd line than none
        line = _encode({str(name): ascii(value) for name, value in event.items()})
    return scrub(line)


def _text(_: Logger, __: str, event: Event) -> bytes:
    fields = dict(event)
    head = [str(fields.pop(name)) for name in ("time", "level")]
    name, message = fields.pop("logger"), fields.pop("event")
    traceback = fields.pop("exception", "")
    line = f"{head[0]} {head[1]:<8} {_plain(message)}  {_pairs(fields)}{'  ' if fields else ''}({_plain(name)})"
    return scrub((f"{line}\n{traceback}" if traceback else line).encode("utf-8", "backslashreplace"))


def _pairs(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_plain(value, quoted=True)}" for name, value in fields.items())


def _plain(value: object, *, quoted: bool = False) -> str:
    """A value on one line: control characters escaped, so that nothing can pretend to be another line."""
    text = str(value)
    if not text.isprintable() or (quoted and isinstance(value, str) and (" " in text or not text)):
        return repr(text)
    return text
