"""What is over its time goes, by the tenant's days or the configured ones; the audit stays provable; one does it."""

import asyncio
import tracemalloc

import pytest

from gateway.accounts import book as book_module
from gateway.accounts import retention
from gateway.accounts.audit import Audit, AuditFilter, verify
from gateway.accounts.book import Book
from gateway.accounts.principal import Principal
from gateway.accounts.records import AuditEntry, Content, Tenant
from gateway.accounts.retention import Keeping
from gateway.clock import now_ms
from gateway.config import Retention
from gateway.money.ledger import AttemptRow, LedgerRow
from gateway.store.work import Change, Note, put

DAY = 86_400_000
OWNER = Principal(id="o", kind="user", name="o", role="owner", home="acme")


@pytest.fixture
async def book(store):
    """Three tenants: with days of its own, with the configured ones, and one that was deleted."""
    made = Book(store, b"m" * 32)
    for tenant in (
        Tenant(id="short", name="Short", created=1, audit_days=1, content_days=1, usage_days=1),
        Tenant(id="usual", name="Usual", created=1), Tenant(id="gone", name="Gone", created=1),
    ):  # fmt: skip
        await store.commit([put(tenant)])
    await store.commit([Change("tenants", {"id": "gone"}, {"active": 0, "deleted": 1})])
    return made


def note(book, tenant, days, number=0):
    entry = AuditEntry(
        id=f"{tenant}{days}-{number}", ts_ms=now_ms() - days * DAY - 5000, tenant=tenant, actor="a", actor_kind="user",
        actor_name="Ann", action="login", detail={"secret plan": days},
    )  # fmt: skip
    return Note(entry, book.audit_key)


async def fill(book, days=(0, 5, 50), each=1):
    for tenant in ("short", "usual", "gone"):
        for age in days:
            moment = now_ms() - age * DAY - 5000
            for number in range(each):
                ident = f"{tenant}{age}-{number}"
                content = Content(id=ident, tenant=tenant, key_id="k", owner="", model="m", created=moment)
                await book.store.commit([put(content, sealed="x"), note(book, tenant, age, number)])
                attempts = (AttemptRow("p", "m", "ok"),)
                row = LedgerRow(id=ident, ts_ms=moment, tenant=tenant, key="k", attempts=attempts, cost=7)
                await book.store.append("j", age + 1, [row])


async def left(book):
    contents = await book.store.page(Content, {}, limit=500)
    usage = await book.store.usage_rows(0, 1 << 60, limit=500)
    page = await Audit(book).page(OWNER, AuditFilter(action=("login",)), 500, "")
    return tuple(
        sorted(each.id.partition("-")[0] for each in found) for found in (contents.items, usage.items, page.items)
    )


async def test_each_tenant_keeps_things_as_long_as_it_says_and_others_as_configured(book):
    await fill(book)
    sums = await book.store.budget_sums("2020-01-01", "2020-01")
    assert await Keeping(book, Retention(audit_days=20, content_days=20, usage_days=20), "here").once()
    kept = ["gone0", "gone5", "short0", "usual0", "usual5"]
    assert await left(book) == (kept, kept, kept)
    assert await book.store.budget_sums("2020-01-01", "2020-01") == sums  # what was spent is spent


async def test_without_days_nothing_but_content_goes(book):
    await fill(book, days=(50,))
    assert await Keeping(book, Retention(), "here").once()
    assert await left(book) == ([], ["gone50", "usual50"], ["gone50", "usual50"])


async def test_many_rows_go_in_small_steps(book, monkeypatch):
    monkeypatch.setattr(retention, "_BATCH", 3)
    await fill(book, days=(0, 9), each=7)
    assert await Keeping(book, Retention(audit_days=1, content_days=1, usage_days=1), "here").once()
    assert all({"gone0", "short0", "usual0"} == set(found) and len(found) == 21 for found in await left(book))
    verdict = await verify(book.store, book.audit_key)
    assert verdict.intact, verdict


async def test_a_long_job_keeps_its_lease_and_ends_when_another_has_it(book, monkeypatch):
    monkeypatch.setattr(retention, "_BATCH", 1)
    monkeypatch.setattr(retention, "_KEEP_EVERY", 0.0)
    await fill(book, days=(9,), each=3)
    job, taken = Keeping(book, Retention(usage_days=1), "here"), []

    async def leased():
        taken.append(True)
        return len(taken) < 6

    monkeypatch.setattr(job, "_leased", leased)
    assert not await job.once()
    assert len((await left(book))[1]) > 0
    assert await Keeping(book, Retention(usage_days=1), "there").once()
    assert (await left(book))[1] == []


async def test_a_large_job_holds_no_rows_in_memory(book):
    """Rows are found, and go, a few at a time: what the process needs does not depend on how many there are."""
    moment = now_ms() - 9 * DAY
    attempts = (AttemptRow("p", "m", "ok", lines="x" * 200),)
    for start in range(0, 12_000, 2000):
        rows = [
            LedgerRow(id=f"r{n:06d}", ts_ms=moment + n, tenant="usual", key="k", key_name="n" * 200, attempts=attempts)
            for n in range(start, start + 2000)
        ]
        await book.store.append("j", start + 2000, rows)
    tracemalloc.start()
    try:
        assert await Keeping(book, Retention(usage_days=1), "here").once()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (await left(book))[1] == []
    assert most < 4 << 20


async def test_an_emptied_entry_keeps_its_place_and_says_nothing(book):
    await fill(book)
    earlier = await verify(book.store, book.audit_key)
    await Keeping(book, Retention(audit_days=20), "here").once()
    verdict = await verify(book.store, book.audit_key, (earlier.head_seq, earlier.head_mac))
    assert verdict.intact, verdict
    assert verdict.entries > earlier.entries
    rows = await book.store._reports.rows("SELECT * FROM audit WHERE pruned = 1")
    assert len(rows) == 4
    assert not any(word in str(rows) for word in ("secret plan", "Ann", "short", "usual", "login"))
    told = await Audit(book).page(OWNER, AuditFilter(action=("audit_pruned",)), 10, "")
    assert [(each.resource_id, each.detail["count"]) for each in told.items] == [
        ("usual", 1), ("short", 2), ("gone", 1)
    ]


async def test_entries_about_emptied_ones_may_be_emptied_too(book, monkeypatch):
    await fill(book, days=(50,))
    await Keeping(book, Retention(audit_days=20), "here").once()
    later = now_ms() + 25 * DAY
    for module in (retention, book_module):
        monkeypatch.setattr(module, "now_ms", lambda: later)  # days go by: what tells of it gets old as well
    for number in range(2):
        await book.store.commit([note(book, "usual", 30, number)])
        await Keeping(book, Retention(audit_days=20), "here").once()
    verdict = await verify(book.store, book.audit_key)
    assert verdict.intact, verdict
    entries = [each.entry for each in await book.store.audit_page({}, limit=100)]
    assert entries.count(None) > 3 + 2


async def test_whoever_empties_an_entry_by_hand_is_found(book):
    await fill(book)
    await Keeping(book, Retention(audit_days=20), "here").once()
    assert (await verify(book.store, book.audit_key)).intact
    entries = await book.store.audit_page({"tenant": "usual"}, limit=100)
    seq = max(each.seq for each in entries)
    sql = f"UPDATE audit SET actor = '', detail = '{{}}', pruned = 1 WHERE seq = {seq}"
    await book.store._writer.write(lambda tx: tx.rows(sql))
    verdict = await verify(book.store, book.audit_key)
    assert (verdict.intact, verdict.broken_seq) == (False, seq)
    assert "before its time" in verdict.reason


async def test_one_process_at_a_time_and_another_when_its_lease_has_run_out(book, monkeypatch):
    first, second = (Keeping(book, Retention(), name) for name in ("first", "second"))
    answers = await asyncio.gather(first.once(), second.once())
    assert sorted(answers) == [False, True]
    chosen, other = (first, second) if answers[0] else (second, first)
    assert [await chosen.once(), await other.once()] == [True, False]
    monkeypatch.setattr(retention, "now_ms", lambda: now_ms() + 1_000_000)
    assert [await other.once(), await chosen.once()] == [True, False]
