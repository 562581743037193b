"""Numbers that are nobody's data, as programs write them: ids in JSON, logs and URLs, and groups of longer numbers."""

import random

import pytest

from gateway.detect.pii import KINDS, PersonalData

DETECTOR = PersonalData([kind for kind in KINDS if kind != "NAME"])


@pytest.mark.parametrize("form", [
    '{{"id": {0}, "name": "x"}}', "GET /items?id={0}&page=2", "user_id={0}", "id: {0}", '"issue_id":"{0}"', "<id>{0}</id>",
    "id,name\n{0},x", "chat id {0}",
])  # fmt: skip
@pytest.mark.parametrize("size", [9, 10, 11])
def test_an_id_of_a_program_is_no_national_number(form, size):
    numbers = random.Random(size)
    for _ in range(60):
        text = form.format(numbers.randrange(10 ** (size - 1), 10**size))
        assert "NATIONAL_ID" not in {found.kind for found in DETECTOR.scan(text)}, text


def test_a_part_of_a_longer_number_is_no_card():
    numbers = random.Random(2)
    for _ in range(500):
        text = "see " + " ".join(f"{numbers.randrange(10_000):04}" for _ in range(4)) + " for more"
        assert {found.end - found.start for found in DETECTOR.scan(text) if found.kind == "CREDIT_CARD"} <= {19}, text


@pytest.mark.parametrize("text", ["My ID is 44051401359", "national id: 44051401359", "ID card 44051401359", "identity number 44051401359"])
def test_what_is_said_to_be_somebodys_id_is_one(text):
    assert [found.kind for found in DETECTOR.scan(text)] == ["NATIONAL_ID"]
