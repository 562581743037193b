"""Reports of usage through the admin API: equal the ledger, in the tenant's days, as far as each role's right reaches."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.clock import now_ms
from gateway.money.ledger import LedgerRow

HOUR = 3_600_000
DAY = 24 * HOUR
REPORTS = (
    "/usage/summary", "/usage/history", "/usage/tokens", "/usage/by-model", "/usage/by-provider", "/usage/by-key",
    "/usage/by-user", "/usage/by-team", "/usage/by-tenant", "/dashboard/stats", "/usage/dashboard", "/stats/detailed",
)  # fmt: skip


def row(n, **fields):
    made = {
        "ts_ms": now_ms() - n * 7 * HOUR, "tenant": "default", "key": "k1", "owner": "member", "model": "m", "provider": "up",
        "target_model": "gpt-4o", "input": 100, "output": 10, "cached": 40, "cost": 1_000_000 + n, "ttfb_us": 2000,
        "duration_us": 4000,
    }  # fmt: skip
    return LedgerRow(id=f"rep{n}", **{**made, **fields})


@pytest.fixture
async def filled(it):
    team = (await it.call("admin", "POST", "/teams", {"name": "blue"})).body
    name = team.get("id") or (await it.call("admin", "GET", "/teams?search=blue"))["items"][0]["id"]
    await it.call("admin", "POST", f"/teams/{name}/members", {"user_id": "team_admin"})
    made = [
        row(1), row(2, owner="admin", model="n", outcome="refused", provider="", cost=0, input=0, output=0, cached=0),
        row(3, owner="admin", team=name, key="k2", provider="azure"), row(4, unpriced=True, cost=0),
        row(5, outcome="upstream_error", estimated=True), row(6, tenant="other", owner="foreign", key="k3"),
    ]  # fmt: skip
    await it.store.append("rep", 1, made)
    it.rows, it.team = made, name
    return it


def cost(rows):
    nano = sum(each.cost for each in rows)
    return f"{nano / 1e9:.9f}".rstrip("0").rstrip(".")


async def total(it, who, query=""):
    return (await it.call(who, "GET", f"/usage/summary?days=60{query}", status=200))["total"]


async def test_each_role_counts_what_its_right_reaches(filled):
    it = filled
    mine = {
        "owner": it.rows, "auditor": it.rows, "admin": it.rows[:5], "viewer": it.rows[:5], "team_admin": [it.rows[2]],
        "member": [it.rows[0], it.rows[3], it.rows[4]], "foreign": [it.rows[5]],
    }  # fmt: skip
    for who, rows in mine.items():
        found = await total(it, who)
        assert (found["total_requests"], found["total_cost"]) == (len(rows), cost(rows)), who
        for path in REPORTS:
            told = await it.call(who, "GET", f"{path}?days=60", status=200)
            whole = told.body.get("total")
            if whole:
                assert (whole["total_requests"], whole["total_cost"]) == (len(rows), cost(rows)), (who, path)


async def test_a_filter_never_shows_more_than_the_right_reaches(filled):
    it = filled
    for who, query in (
        ("foreign", "&tenant=default"), ("foreign", "&key=k1"), ("foreign", "&user=member"), ("member", "&user=admin"),
        ("member", "&key=k2"), ("team_admin", "&team=none"), ("team_admin", "&user=member"), ("admin", "&tenant=other"),
        ("admin", "&user=foreign"), ("member", f"&team={it.team}"),
    ):  # fmt: skip
        assert (await total(it, who, query))["total_requests"] == 0, (who, query)
    assert (await total(it, "owner", "&tenant=other"))["total_requests"] == 1
    assert (await total(it, "admin", f"&team={it.team}"))["total_requests"] == 1
    assert (await total(it, "admin", "&model=m&provider=azure"))["total_requests"] == 1


async def test_totals_tell_successes_refusals_and_failures_apart(filled):
    found = await total(filled, "admin")
    assert (found["successful_requests"], found["refused_requests"], found["failed_requests"]) == (3, 1, 1)
    assert (found["input_tokens"], found["cached_tokens"], found["total_tokens"]) == (400, 160, 440)
    assert (found["unpriced"], found["estimated"], found["success_rate"]) == (1, 1, 0.6)
    assert (found["avg_latency_ms"], found["avg_first_byte_ms"]) == (4.0, 2.0)


async def test_groups_have_names_and_shares_and_add_up(filled):
    by_user = await filled.call("admin", "GET", "/usage/by-user?days=60", status=200)
    assert [(each["id"], each["name"]) for each in by_user["items"]] == [
        ("member", "member@example.com"), ("admin", "admin@example.com"),
    ]  # fmt: skip
    assert sum(each["share"] for each in by_user["items"]) == pytest.approx(1)
    for name in ("model", "provider", "key", "user", "team"):
        told = await filled.call("admin", "GET", f"/usage/by-{name}?days=60", status=200)
        assert told["group_by"] == name
        assert sum(each["total_requests"] for each in told["items"]) == told["total"]["total_requests"] == 5
    top = await filled.call("admin", "GET", "/usage/by-model?days=60&limit=1", status=200)
    assert (len(top["items"]), top["total"]["total_requests"]) == (1, 5)
    teams = await filled.call("admin", "GET", "/usage/by-team?days=60", status=200)
    assert "blue" in {each["name"] for each in teams["items"]}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])
async def test_days_are_those_of_the_tenants_time_zone_and_none_is_missing(filled, zone):
    it = filled
    version = (await it.call("admin", "GET", "/tenants/default"))["version"]
    await it.call("admin", "PATCH", "/tenants/default", {"time_zone": zone}, status=200, if_match=f'"{version}"')
    told = await it.call("admin", "GET", "/usage/history?days=20", status=200)
    assert told["period"]["time_zone"] == zone
    expected = Counter(
        datetime.fromtimestamp(each.ts_ms / 1000, ZoneInfo(zone)).date().isoformat() for each in it.rows[:5]
    )
    found = {piece["start"][:10]: piece["total_requests"] for piece in told["items"]}
    assert {day: count for day, count in found.items() if count} == expected
    assert len(found) == len(told["items"]) == 20
    assert all(piece["start"][11:19] == "00:00:00" for piece in told["items"])
    version = (await it.call("admin", "GET", "/tenants/default"))["version"]
    await it.call("admin", "PATCH", "/tenants/default", {"time_zone": "UTC"}, status=200, if_match=f'"{version}"')


async def test_pieces_of_every_length_cover_the_time_without_gaps(filled):
    for interval, days in (("hour", 3), ("day", 40), ("week", 40), ("month", 100)):
        told = await filled.call("owner", "GET", f"/usage/history?days={days}&interval={interval}", status=200)
        pieces = told["items"]
        assert all(one["end"] == two["start"] for one, two in itertools.pairwise(pieces))
        assert sum(each["total_requests"] for each in pieces) == told["total"]["total_requests"]
        assert len(pieces) > days // 31


async def test_a_period_may_be_said_in_every_way_and_its_end_does_not_count(filled):
    it = filled
    day = datetime.fromtimestamp(it.rows[2].ts_ms / 1000, UTC)
    first, after = day.date().isoformat(), (day + timedelta(days=1)).date().isoformat()
    rows = [each for each in it.rows if day.date() == datetime.fromtimestamp(each.ts_ms / 1000, UTC).date()]
    for query in (
        f"start={first}&end={after}", f"start={first}T00:00:00Z&end={after}T00:00:00Z",
        f"start={first}T00:00:00%2B00:00&end={after}T00:00:00.000", f"start={first}T02:00:00%2B02:00&end={after}",
    ):
        told = await it.call("owner", "GET", f"/usage/summary?{query}", status=200)
        assert told["total"]["total_requests"] == len(rows), query
    month = await it.call("owner", "GET", f"/usage/summary?month={first[:7]}", status=200)
    assert month["period"]["start"].startswith(first[:8] + "01T00:00:00")
    exact = datetime.fromtimestamp(it.rows[2].ts_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    assert (await it.call("owner", "GET", f"/usage/summary?start={exact}", status=200))["total"]["total_requests"] >= 2
    assert (await it.call("owner", "GET", f"/usage/summary?start={first}&end={exact}&key=k2"))["total"][
        "total_requests"
    ] == 0


@pytest.mark.parametrize(
    "query",
    [
        "days=0", "days=x", "days=99999", "start=yesterday", "end=2026-13-01", "start=2026-02-30", "month=2026-00",
        "month=26", "month=2026-01&days=3", "days=3&start=2026-01-01", "start=2026-05-01&end=2026-04-01", "limit=3",
        "start=2026-05-01&end=2026-05-01", "time_zone=Mars/Base", "time_zone=../../etc/passwd", "tenant=a b",
        "start=" + "9" * 70, "start=99999-01-01", "group_by=model", "user=%27;--", "model=",
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_with_the_field_that_is_wrong(it, query):
    told = await it.call("owner", "GET", "/usage/summary?" + query.replace(" ", "%20"))
    assert (told.status, told["type"]) == (422, "invalid_fields"), told.body
    assert told["errors"][0]["path"] in query


async def test_too_many_pieces_are_refused_and_far_years_are_not(it):
    told = await it.call("owner", "GET", "/usage/history?days=400&interval=hour")
    assert (told.status, told["errors"][0]["path"]) == (422, "interval")
    for query in ("start=0001-01-01&end=9999-12-31", "start=2999-01-01", "end=9999-12-31T23:59:59Z", "month=9999-12"):
        for path in ("summary", "history"):
            told = await it.call("owner", "GET", f"/usage/{path}?{query}&interval=month" if path == "history" else f"/usage/{path}?{query}")
            assert told.status in (200, 422), (query, told.body)


async def test_a_dashboard_has_today_the_month_and_the_most_used(filled):
    told = await filled.call("owner", "GET", "/dashboard/stats?days=60", status=200)
    assert told["this_month"]["total_requests"] >= told["today"]["total_requests"]
    assert (told["active_users"], told["active_keys"]) == (3, 3)
    assert [each["id"] for each in told["top_models"]][0] == "m"
    assert len(told["usage_over_time"]) == 60
    assert sum(each["total_requests"] for each in told["usage_over_time"]) == told["total"]["total_requests"] == 6
