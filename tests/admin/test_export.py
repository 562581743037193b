"""Exports: streamed page by page, and harmless in a spreadsheet."""

from datetime import UTC, datetime

import msgspec
import pytest

from gateway.admin.export import exported
from gateway.store import Page


class Entry(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    note: str | None = None
    at: datetime | None = None
    diff: dict[str, int] | None = None


async def pages(cursor):
    pages.asked.append(cursor)
    if cursor is None:
        return Page((Entry("1", "=cmd()"), Entry("2", 'a "b", c')), "x")
    return Page((Entry("3", None, datetime(2026, 1, 2, tzinfo=UTC), {"a": 1}),))


@pytest.fixture(autouse=True)
def asked():
    pages.asked = []
    return pages.asked


async def read(done):
    return b"".join([part async for part in done.parts]).decode()


async def test_csv_has_a_head_and_runs_nothing():
    done = await exported("csv", "audit", ("id", "note", "at", "diff"), pages)
    assert done.headers == {
        "content-type": "text/csv; charset=utf-8", "content-disposition": 'attachment; filename="audit.csv"',
    }  # fmt: skip
    assert (await read(done)).splitlines() == [
        "id,note,at,diff", "1,'=cmd(),,", '2,"a ""b"", c",,', '3,,2026-01-02T00:00:00+00:00,"{""a"":1}"',
    ]  # fmt: skip


async def test_json_lines_are_the_objects_of_the_list():
    text = await read(await exported("jsonl", "audit", (), pages))
    assert [msgspec.json.decode(line)["id"] for line in text.splitlines()] == ["1", "2", "3"]


async def test_the_first_page_is_read_before_the_answer_begins_and_the_others_when_they_are_needed(asked):
    done = await exported("jsonl", "audit", (), pages)
    assert asked == [None]
    await read(done)
    assert asked == [None, "x"]
