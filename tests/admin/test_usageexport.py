"""Exports of usage: complete, safe in a spreadsheet, in every format, as far as the right reaches."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.clock import now_ms
from gateway.money.ledger import AttemptRow, LedgerRow
from gateway.reporting.tables import FOCUS

HOUR = 3_600_000
EVIL = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a,"b"\nc', "plain")


def row(n, **fields):
    attempt = AttemptRow("up", "gpt-4o", "ok", 200, input=10, output=2, cost=7, lines="input:10@500 output:2@1000")
    made = {
        "ts_ms": now_ms() - n * HOUR, "tenant": "default", "key": "k1", "owner": "member", "model": "m", "provider": "up",
        "target_model": "gpt-4o", "input": 10, "output": 2, "cost": 1_000_000_007 * n, "attempts": (attempt,),
    }  # fmt: skip
    return LedgerRow(id=f"x{n:03d}", **{**made, **fields})


@pytest.fixture
async def filled(it):
    it.rows = [row(n, model=EVIL[n % len(EVIL)], key_name=EVIL[-n % len(EVIL)]) for n in range(1, 30)]
    it.rows.append(row(40, tenant="other", owner="foreign", unpriced=True))
    await it.store.append("x", 1, it.rows)
    return it


async def exported(it, who, query=""):
    told = await it.call(who, "GET", f"/usage/export?days=9{query}", status=200)
    return told


def table(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_csv_has_every_request_once_with_its_exact_cost_and_no_formulas(filled):
    told = await exported(filled, "admin")
    assert told.headers["content-type"] == "text/csv; charset=utf-8"
    assert told.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    found = {each["id"]: each for each in table(told.body)}
    mine = {each.id: each for each in filled.rows[:-1]}
    assert found.keys() == mine.keys()
    for name, each in found.items():
        assert Decimal(each["cost_dollars"]) * 10**9 == mine[name].cost
        assert datetime.fromisoformat(each["time"]).timestamp() * 1000 == pytest.approx(mine[name].ts_ms)
        assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in each.values())
        assert each["model"].lstrip("'") == mine[name].model
        assert each["attempts"] == "1"


async def test_json_lines_have_the_bill_of_each_attempt(filled):
    told = await exported(filled, "admin", "&format=jsonl")
    found = [json.loads(line) for line in told.body.splitlines()]
    assert [each["id"] for each in found] == sorted((each.id for each in filled.rows[:-1]), reverse=True)
    (attempt,) = found[0]["attempts"]
    assert attempt["cost"] == "0.000000007"
    assert [line["amount"] for line in attempt["lines"]] == ["0.000000005", "0.000000002"]


async def test_parquet_has_types(filled):
    parquet = pytest.importorskip("pyarrow.parquet")
    headers = {"authorization": f"Bearer {filled.tokens['admin']}"}
    url = filled.gateway.url + "/admin/usage/export?days=9&format=parquet"
    async with filled.gateway.client.get(url, headers=headers) as reply:
        assert (reply.status, reply.headers["content-type"]) == (200, "application/vnd.apache.parquet")
        found = parquet.read_table(io.BytesIO(await reply.read())).to_pylist()
    mine = {each.id: each for each in filled.rows[:-1]}
    assert {each["id"]: each["cost_dollars"] * 10**9 for each in found} == {name: each.cost for name, each in mine.items()}
    assert {each["time"].tzinfo is not None for each in found} == {True}
    assert {type(each["input"]) for each in found} == {int}
    empty = url + "&model=none"
    async with filled.gateway.client.get(empty, headers=headers) as reply:
        assert parquet.read_table(io.BytesIO(await reply.read())).num_rows == 0


async def test_focus_has_the_columns_of_the_schema_and_the_whole_cost(filled):
    told = await exported(filled, "owner", "&format=focus")
    found = table(told.body)
    assert tuple(found[0]) == FOCUS
    assert sum(Decimal(each["BilledCost"]) for each in found) * 10**9 == sum(each.cost for each in filled.rows)
    for each in found:
        assert each["EffectiveCost"] == each["ListCost"] == each["ContractedCost"] == each["BilledCost"]
        assert each["BillingCurrency"] == "USD"
        assert each["ChargePeriodStart"] < each["ChargePeriodEnd"]
        assert each["BillingPeriodStart"] <= each["ChargePeriodStart"] < each["BillingPeriodEnd"]
        assert (each["ChargeCategory"], each["ServiceCategory"]) == ("Usage", "AI and Machine Learning")
        assert datetime.fromisoformat(each["ChargePeriodStart"]).tzinfo == UTC
    assert {each["BillingAccountName"] for each in found} == {"Default", "Other"}


async def test_groups_add_up_to_the_whole(filled):
    for groups in ("model", "day", "provider,model", "day,key,user", "month,tenant", "hour", "team,target_model"):
        found = table((await exported(filled, "owner", f"&group_by={groups}")).body)
        assert sum(Decimal(each["total_cost"]) for each in found) * 10**9 == sum(each.cost for each in filled.rows)
        assert sum(int(each["total_requests"]) for each in found) == len(filled.rows)
        assert {*groups.split(",")} - {"day", "month", "hour"} <= set(found[0])
    lines = (await exported(filled, "owner", "&group_by=day,model&format=jsonl")).body.splitlines()
    assert set(json.loads(lines[0])) >= {"start", "end", "model", "total_cost"}


async def test_an_export_in_parts_has_all_of_it_once(filled):
    for form in ("csv", "jsonl"):
        seen, cursor, parts = [], "", 0
        while True:
            told = await exported(filled, "admin", f"&format={form}&limit=7&cursor={cursor}")
            lines = told.body.splitlines() if form == "jsonl" else None
            ids = [json.loads(line)["id"] for line in lines] if lines is not None else None
            if ids is None:
                head = "" if parts == 0 else (await first_line(filled)) + "\r\n"
                ids = [each["id"] for each in table(head + told.body)]
            seen += ids
            parts += 1
            if "x-next-cursor" not in told.headers:
                break
            cursor = told.headers["x-next-cursor"]
        assert sorted(seen) == sorted(each.id for each in filled.rows[:-1])
        assert parts == 5


async def first_line(it):
    return (await exported(it, "admin", "&limit=1")).body.split("\r\n")[0]


async def test_an_export_reaches_as_far_as_the_right(filled):
    assert {each["id"] for each in table((await exported(filled, "foreign")).body)} == {"x040"}
    assert table((await exported(filled, "foreign", "&tenant=default")).body) == []
    assert len(table((await exported(filled, "member")).body)) == 29
    assert table((await exported(filled, "team_admin")).body) == []
    assert len(table((await exported(filled, "auditor")).body)) == 30


async def test_that_data_was_taken_is_in_the_audit(filled):
    await exported(filled, "admin", "&format=jsonl")
    (entry, *_) = await filled.entries("data_export")
    assert (entry.actor, entry.resource_type, entry.detail["format"]) == ("admin", "usage", "jsonl")


@pytest.mark.parametrize(
    "query", ["format=xlsx", "group_by=colour", "group_by=day,hour", "group_by=model,model", "group_by=,", "limit=0", "limit=x"]
)
async def test_what_makes_no_sense_is_refused(it, query):
    told = await it.call("owner", "GET", f"/usage/export?{query}")
    assert (told.status, told["errors"][0]["path"]) == (422, query.partition("=")[0])
    assert (await it.call("owner", "GET", "/usage/export?cursor=;drop")).status == 400
