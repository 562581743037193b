"""Writes into the audit what limits, budgets and guardrails refused or changed: who, by which rule, never the text.

    - use: sink.audit

It comes with `admin.api` by itself. Of a key and a limit (or a guardrail) the first hit is an entry within a second,
further ones are counted and become one entry a minute: a flood of refusals does not become a flood of entries.
"""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import structlog
from msgspec import Meta

from gateway import Caller, Exchange, QuotaExceeded, RateLimited, Unavailable, hookimpl
from gateway.accounts.book import Book
from gateway.accounts.hits import Due, Hit, Hits
from gateway.accounts.principal import Origin, Principal
from gateway.clock import now_ms
from gateway.store.work import Note
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway import Gateway

_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_BATCH: Final = 50
_LAST: Final = 5.0
_HITS: Final = "guardrail_hits"
_LATE: Final = "late_hits"
_STRONG: Final = frozenset({"block", "redact", "mask", "pseudonymise"})
_NO_DIGITS: Final = str.maketrans("", "", "0123456789.")
_log = structlog.get_logger("gateway.audit")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing has to be set."""

    window_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="Further hits of a key and a limit are counted for so long.")
    ] = 60


class AuditSink:
    """Watches how exchanges end."""

    Config = Options
    name = "sink.audit"

    def __init__(self, config: Options) -> None:
        self._hits = Hits(window_ms=int(config.window_seconds * 1000))
        self._tasks = Tasks()

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Begin to write."""
        self._book = Book(gateway.store, gateway.secret)
        self._tasks.spawn(self._run(), "audit of refusals")

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002 - the hook's signature
        """Write what is counted so far."""
        await self._tasks.close()
        try:
            async with asyncio.timeout(_LAST):
                await self._write(everything=True)
        except (Unavailable, TimeoutError) as error:
            _log.error("refusals that were counted last are not in the audit", reason=str(error) or "too slow")

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Note what was refused or changed. Most exchanges have neither."""
        exchange.internal[_LATE] = self._late
        if exchange.error is None and _HITS not in exchange.internal:
            return
        caller = exchange.caller
        if caller is not None:
            now = now_ms()
            for hit in _found(exchange, caller, exchange.internal.get(_HITS, ())):
                self._hits.add(hit, now)

    def _late(self, exchange: Exchange, noted: Iterable[Any]) -> None:
        """What guardrails beside the request found when it was over."""
        if exchange.caller is not None:
            for hit in _of_guardrails(exchange, exchange.caller, noted):
                self._hits.add(hit, now_ms())

    async def _run(self) -> None:
        pause = _PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                await self._write()
                pause = _PAUSE
            except Unavailable as error:
                pause = min(_LONGEST_PAUSE, pause * 2)
                _log.warning("refusals wait to be written into the audit", reason=error.message)

    async def _write(self, *, everything: bool = False) -> None:
        entries = self._hits.due(now_ms(), all_of_them=everything)
        while entries:
            batch = entries[:_BATCH]
            try:
                await self._book.commit(*(self._note(due) for due in batch), bump=False)
            except (Unavailable, asyncio.CancelledError):
                self._hits.back(entries)
                raise
            except Exception:  # something in it cannot be stored, whenever it is tried
                _log.exception("refusals cannot be written into the audit", entries=len(batch))
            del entries[:_BATCH]
        if self._hits.lost:
            _log.error("refusals were too many to be written into the audit", lost=self._hits.lost)
            self._hits.lost = 0

    def _note(self, due: Due) -> Note:
        hit = due.hit
        who = Principal(id=hit.key, kind="api_key", name=hit.key_name, role="viewer", home=hit.tenant)
        detail = {**hit.detail, "count": due.count, "first": _iso(due.first_ms), "last": _iso(due.last_ms)}
        return self._book.note(
            who, Origin(agent=hit.agent, request_id=hit.request_id), hit.action, resource=hit.resource,
            severity=hit.severity, detail=detail,
        )  # fmt: skip


def _found(exchange: Exchange, caller: Caller, noted: Iterable[Any]) -> Iterator[Hit]:
    error = exchange.error
    if isinstance(error, RateLimited | QuotaExceeded):
        about, detail = _about(exchange, caller)
        action = "rate_limit_hit" if isinstance(error, RateLimited) else "budget_exceeded"
        # The text names the limit and its level; with other numbers it is the same limit.
        what = (error.message[:300]).translate(_NO_DIGITS)
        yield Hit(
            action=action, what=what, resource=("api_key", caller.key),
            detail={**detail, "message": error.message[:300]}, **about,
        )  # fmt: skip
    if noted:
        yield from _of_guardrails(exchange, caller, noted)


def _of_guardrails(exchange: Exchange, caller: Caller, noted: Iterable[Any]) -> Iterator[Hit]:
    about, detail = _about(exchange, caller)
    kinds: dict[tuple[str, str, str], set[str]] = {}
    for each in noted:
        kinds.setdefault((each.rule, each.action, each.direction), set()).add(each.kind)
    for (rule, did, direction), found in kinds.items():
        if did in _STRONG or did in ("warn", "monitor"):
            told = {"guardrail": rule, "action": did, "direction": direction, "kinds": sorted(found)}
            yield Hit(
                action="guardrail_triggered", what=f"{rule}/{did}/{direction}", resource=("guardrail", rule[:64]),
                severity="warning" if did == "block" else "info", detail={**detail, **told}, **about,
            )  # fmt: skip


def _about(exchange: Exchange, caller: Caller) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whose it was, and what the request was for."""
    agent = exchange.headers.get("user-agent", "")[:200]
    about = {
        "tenant": caller.tenant, "key": caller.key, "key_name": caller.key_name, "request_id": exchange.id,
        "agent": "".join(each if each.isprintable() else "?" for each in agent),
    }  # fmt: skip
    return about, {"endpoint": exchange.endpoint, "model": exchange.model}


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
