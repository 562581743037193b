"""The audit through the admin API: filters, exports, and a chain that shows what was done to it."""

import csv
import io

import msgspec


async def busy(it):
    """Some things done."""
    await it.call("admin", "POST", "/teams", {"name": "=cmd()"}, status=201)
    await it.call("member", "POST", "/api-keys", {"name": "k"}, status=201)
    await it.call("foreign", "POST", "/api-keys", {"name": "f"}, status=201)
    await it.call(None, "POST", "/auth/login", {"email": "admin@example.com", "password": "wrong"}, status=401)


async def test_entries_are_found_by_what_they_say(it):
    await busy(it)

    async def actions(query):
        told = await it.call("admin", "GET", f"/audit-logs?{query}", status=200)
        return [each["action"] for each in told["items"]]

    assert (await actions("limit=3")) == ["login_failed", "api_key_created", "team_created"]
    assert await actions("action=team_created") == ["team_created"]
    assert await actions("user_id=member&action=api_key_created") == ["api_key_created"]
    assert await actions("severity=warning") == ["login_failed"]
    assert await actions("search=%3Dcmd") == ["team_created"]
    assert await actions("resource_type=team") == ["team_created"]
    assert await actions("end=2020-01-01T00:00:00Z") == []
    assert len(await actions("start=2020-01-01T00:00:00Z&limit=500")) > 3
    first = await it.call("admin", "GET", "/audit-logs?limit=2")
    second = await it.call("admin", "GET", f"/audit-logs?limit=2&cursor={first['next_cursor']}")
    assert not {each["id"] for each in first["items"]} & {each["id"] for each in second["items"]}
    request = first["items"][0]["request_id"]
    assert await actions(f"request_id={request}") == ["login_failed"]
    assert (await it.call("admin", "GET", "/audit-logs?start=2020-01-01T00:00:00")).status == 422


async def test_security_events_and_counts(it):
    await busy(it)
    events = await it.call("admin", "GET", "/audit/security-events", status=200)
    assert {each["action"] for each in events["items"]} == {"login_failed", "api_key_created"}
    assert (await it.call("admin", "GET", "/audit/security-events?action=team_created"))["items"] == []
    summary = await it.call("admin", "GET", "/audit/summary", status=200)
    assert summary["by_action"]["team_created"] == 1
    assert summary["total"] == sum(summary["by_action"].values())
    assert "team_created" in (await it.call("admin", "GET", "/audit/actions"))["actions"]


async def test_an_export_is_whole_harmless_and_itself_an_entry(it):
    await busy(it)
    told = await it.call("admin", "GET", "/audit-logs/export", status=200)
    assert told.headers["content-disposition"] == 'attachment; filename="audit-log.csv"'
    rows = list(csv.DictReader(io.StringIO(told.body)))
    assert rows[0]["action"] == "data_export"
    assert {row["tenant_id"] for row in rows} == {"default"}
    told = await it.call("admin", "GET", "/audit-logs/export?format=jsonl&action=team_created", status=200)
    assert told.headers["content-type"] == "application/x-ndjson"
    assert [msgspec.json.decode(line)["metadata"]["name"] for line in told.body.splitlines()] == ["=cmd()"]
    assert len(await it.entries("data_export")) == 2


async def test_an_export_of_many_pages_is_complete(it, monkeypatch):
    from gateway.admin import audit

    monkeypatch.setattr(audit, "_BATCH", 2)
    await busy(it)
    told = await it.call("owner", "GET", "/audit-logs/export?format=jsonl", status=200)
    assert len(told.body.splitlines()) == len(await it.entries())


async def test_the_chain_is_proven_and_shows_what_was_changed_taken_or_put_between(it):
    await busy(it)
    proof = await it.call("auditor", "GET", "/audit/verify", status=200)
    assert (proof["intact"], proof["broken_seq"], proof["entries"]) == (True, None, len(await it.entries()))
    assert (await it.call("admin", "GET", "/audit/verify")).status == 403
    writer = it.gateway.process.gateway.store._writer
    last = proof["head_seq"]
    for sql, seq, reason in (
        ("UPDATE audit SET actor_name = 'nobody' WHERE seq = 4", 4, "content"),
        ("UPDATE audit SET digest = mac WHERE seq = 3", 3, "content"),
        ("UPDATE audit SET mac = digest WHERE seq = 2", 2, "link"),
    ):
        await writer.write(lambda tx, sql=sql: tx.rows(sql))
        proof = await it.call("auditor", "GET", "/audit/verify", status=200)
        assert (proof["intact"], proof["broken_seq"]) == (False, seq)
        assert reason in proof["reason"]
    await writer.write(lambda tx: tx.rows("DELETE FROM audit WHERE seq <= 3"))
    proof = await it.call("auditor", "GET", "/audit/verify", status=200)
    assert (proof["broken_seq"], "missing" in proof["reason"]) == (4, True)
    assert last > 4


async def test_a_tail_that_was_cut_off_is_missed(it):
    await busy(it)
    head = (await it.call("auditor", "GET", "/audit/verify"))["head_seq"]
    await it.gateway.process.gateway.store._writer.write(lambda tx: tx.rows("DELETE FROM audit WHERE seq = $1", head))
    proof = await it.call("auditor", "GET", "/audit/verify", status=200)
    assert (proof["intact"], proof["broken_seq"]) == (False, head)
