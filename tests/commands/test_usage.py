"""`gateway usage`: sums and exports agree with the ledger, to the nano-dollar."""

import asyncio
import csv
import io
import tracemalloc
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.clock import now_ms
from gateway.commands.usage import usage
from gateway.money.ledger import AttemptRow, LedgerRow
from gateway.store.sqlite import SqliteStore

HOUR = 3_600_000


def row(number, **fields):
    """A row of an hour ago."""
    made = {"ts_ms": now_ms() - HOUR + number, "tenant": "acme", "key": "k1", "model": "small", "provider": "demo"}
    return LedgerRow(id=f"r{number:06d}", **{**made, **fields})


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from any configuration that is found by itself
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return tmp_path / "data"


@pytest.fixture
def fill(data_dir):
    def fill(rows):
        async def append():
            store = await SqliteStore.open(data_dir)
            for start in range(0, len(rows), 500):
                await store.append("j", start + 1, rows[start:start + 500])
            await store.close()

        asyncio.run(append())

    return fill


@pytest.fixture
def run(data_dir):
    def run(*args, fails=False):
        result = CliRunner().invoke(usage, [*args, "--data-dir", str(data_dir)])
        assert (result.exit_code != 0) == fails, result.output
        return result.output if fails else result.stdout_bytes.decode()

    return run


def test_a_summary_adds_up_tokens_and_exact_cost(run, fill):
    fill([row(1, input=10, output=5, cost=1), row(2, input=1, cost=999_999_999), row(3, outcome="refused")])
    [all_together] = msgspec.json.decode(run("summary", "--json"))
    assert all_together["cost"] == "1"
    assert [all_together[k] for k in ("requests", "succeeded", "input", "output")] == [3, 2, 11, 5]


@pytest.mark.parametrize("by", ["model", "provider", "key", "tenant", "day"])
def test_a_summary_by_anything_adds_up_to_the_same(run, fill, by):
    fill([row(n, cost=n, model=f"m{n % 3}", key=f"k{n % 2}", tenant=f"t{n % 4}") for n in range(1, 20)])
    groups = msgspec.json.decode(run("summary", "--by", by, "--json"))
    assert sum(Decimal(group["cost"]) for group in groups) == Decimal(sum(range(1, 20))) / 10**9
    assert sum(group["requests"] for group in groups) == 19


def test_a_summary_for_people_is_a_table_that_names_what_is_unsure(run, fill):
    fill([row(1, cost=2_500_000, estimated=True), row(2, model="x\ny", unpriced=True)])
    lines = run("summary", "--by", "model").splitlines()
    assert lines[0].split() == ["MODEL", "REQUESTS", "OK", "INPUT", "CACHED", "OUTPUT", "DOLLARS", "NOTES"]
    assert "0.0025" in lines[1]
    assert "1 estimated" in lines[1]
    assert lines[2].startswith("x?y")
    assert "1 unpriced" in lines[2]


def test_since_and_until_cut_and_only_the_asked_tenant_counts(run, fill):
    fill([row(1), row(2, tenant="other"), row(3, ts_ms=now_ms() - 50 * HOUR)])
    count = lambda *args: sum(g["requests"] for g in msgspec.json.decode(run("summary", "--json", *args)))  # noqa: E731
    assert count("--since", "2h") == 2
    assert count("--since", "3d") == 3
    assert count("--since", "3d", "--until", "1d") == 1
    assert count("--since", "2020-01-01", "--tenant", "acme") == 2


def test_a_moment_that_is_none_is_refused_by_name(run, fill):
    fill([])
    assert "yesterday" in run("summary", "--since", "yesterday", fails=True)


def test_without_data_the_command_says_what_to_do(run):
    assert "--data-dir" in run("summary", fails=True)


def test_the_directory_is_the_one_of_the_configuration_that_serve_would_use(fill, data_dir, tmp_path, monkeypatch):
    fill([row(1)])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("config.yaml").write_text(f"data_dir: {data_dir}\n")
    result = CliRunner().invoke(usage, ["summary", "--json"])
    assert msgspec.json.decode(result.output)[0]["requests"] == 1


def test_an_export_as_json_lines_holds_every_field_and_attempt(run, fill):
    attempt = AttemptRow("demo", "m", "upstream_error", status=502, cost=3)
    fill([row(1, cost=1_500_000_000, attempts=(attempt,), error="x"), row(2)])
    first, second = (msgspec.json.decode(line) for line in run("export", "--format", "jsonl").splitlines())
    assert (first["id"], first["cost"], first["error"]) == ("r000001", "1.5", "x")
    assert (first["attempts"][0]["status"], first["attempts"][0]["cost"]) == (502, "0.000000003")
    assert second["attempts"] == []
    assert first["time"].endswith("+00:00")


def test_an_export_as_csv_is_safe_to_open_in_a_spreadsheet(run, fill):
    evil = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "a,\"b\"\nc"]
    fill([row(n, model=text, cost=10**9 + n) for n, text in enumerate(evil)])
    rows = list(csv.DictReader(io.StringIO(run("export"))))
    assert [r["model"] for r in rows] == ["'" + text for text in evil[:5]] + [evil[5]]
    assert [r["cost_dollars"] for r in rows][:2] == ["1", "1.000000001"]
    assert {r["attempts"] for r in rows} == {"0"}


def test_an_export_goes_into_a_file(run, fill, tmp_path):
    fill([row(1)])
    run("export", "--output", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text().count("\n") == 2


def test_the_memory_of_an_export_does_not_grow_with_its_size(run, fill, tmp_path):
    fill([row(n, key_name="x" * 100) for n in range(6000)])
    tracemalloc.start()
    run("export", "--format", "jsonl", "--output", str(tmp_path / "out.jsonl"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (tmp_path / "out.jsonl").stat().st_size
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 6000
    assert size > 3_000_000
    assert peak < size


def charged(number, **fields):
    attempts = (
        AttemptRow("up", "big", "upstream_timeout", 0, "timeout", 9_000_000),
        AttemptRow("demo", "small-1", "ok", 200, None, 120_000, 1200, 300, 1000, cost=7_750_000, tier="flex",
                   lines="input:200@2500000 cached:1000@1250000 output:300@20000000"),
    )  # fmt: skip
    return row(number, input=1200, output=300, cached=1000, cost=7_750_000, attempts=attempts, **fields)


def test_a_request_is_explained_line_by_line(run, fill):
    fill([charged(1)])
    told = run("explain", "r000001")
    assert "300 output tokens x $20 per 1M tokens = $0.006" in told
    assert "1,000 input tokens read from the cache x $1.25 per 1M tokens = $0.00125" in told
    assert "cost      $0.00775" in told
    assert "upstream_timeout" in told
    assert "flex" in told
    shown = msgspec.json.decode(run("explain", "r000001", "--json"))
    assert (shown["lines_add_up"], shown["cost"]) == (True, "0.00775")
    assert sum(Decimal(line["amount"]) for line in shown["attempts"][1]["lines"]) == Decimal("0.00775")
    assert shown["attempts"][0]["lines"] == []


def test_an_explanation_says_what_is_not_exact(run, fill):
    fill([
        row(1, outcome="killed", estimated=True), row(2, unpriced=True, attempts=(AttemptRow("p", "m", "ok"),)),
        row(3, cost=5, attempts=(AttemptRow("p", "m", "ok", cost=5),), model="m\x1b[31m"),
    ])  # fmt: skip
    assert "killed" in run("explain", "r000001")
    assert "counted the tokens" in run("explain", "r000001")
    assert "no price" in run("explain", "r000002")
    assert "before bills were kept" in run("explain", "r000003")
    assert "\x1b" not in run("explain", "r000003")
    assert "no request 'r9'" in run("explain", "r9", fails=True)


def test_roll_ups_can_be_built_anew_from_the_command_line(run, fill):
    fill([row(n) for n in range(3)])
    assert "3 rows added up." in run("rebuild")


def test_an_export_says_how_far_it_is_and_can_add_up(run, fill, data_dir):
    fill([row(n, cost=10**9, model="ab"[n % 2]) for n in range(10)])
    result = CliRunner().invoke(usage, ["export", "--progress", "--data-dir", str(data_dir)])
    assert "10 of 10 (100%) rows" in result.stderr
    rows = list(csv.DictReader(io.StringIO(run("export", "--group-by", "model"))))
    assert [(each["model"], each["total_cost"], each["total_requests"]) for each in rows] == [("a", "5", "5"), ("b", "5", "5")]
    assert "group_by" in run("export", "--group-by", "colour", fails=True)
    focus = list(csv.DictReader(io.StringIO(run("export", "--format", "focus"))))
    assert sum(Decimal(each["BilledCost"]) for each in focus) == 10


def test_an_export_as_parquet_is_read_by_others(run, fill, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    fill([row(n, cost=n) for n in range(3)])
    run("export", "--format", "parquet", "--output", str(tmp_path / "out.parquet"))
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 3
