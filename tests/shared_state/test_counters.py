"""The pure counting: window edges to the nanosecond, true waiting times, refusals that point at the right ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shared_state import Ask, Granted, Refused, counters

SECOND = 1_000_000_000
START = 5_000 * SECOND


def take(rows: dict, now: int, *asks: Ask):
    return counters.take(rows, "hold", asks, now)


def test_a_window_admits_exactly_its_limit():
    rows: dict = {}
    ask = Ask("window", "k", 3)
    outcomes = [type(take(rows, START, ask)[0]) for _ in range(5)]
    assert outcomes == [Granted] * 3 + [Refused] * 2


def test_a_refused_ask_passes_exactly_after_its_retry_after_and_not_a_nanosecond_before():
    rows: dict = {}
    ask = Ask("window", "k", 5, 2)
    take(rows, START, ask)
    take(rows, START + 7 * SECOND, ask)
    now = START + 20 * SECOND + 123
    refused, _ = take(rows, now, ask)
    assert isinstance(refused, Refused)
    wait = round(refused.standings[0].retry_after * SECOND)
    assert isinstance(take(rows, now + wait - 1, ask)[0], Refused)
    assert isinstance(take(rows, now + wait, ask)[0], Granted)


def test_reset_says_when_the_window_is_empty():
    rows: dict = {}
    ask = Ask("window", "k", 5)
    granted, _ = take(rows, START + 1, ask)
    wait = round(granted.standings[0].reset * SECOND)
    assert counters.standings(rows, [ask], START + 1 + wait - 1)[0].used == 1
    assert counters.standings(rows, [ask], START + 1 + wait)[0].used == 0


def test_an_ask_above_the_limit_can_never_pass_and_says_so():
    refused, _ = take({}, START, Ask("window", "k", 5, 6))
    assert isinstance(refused, Refused)
    assert refused.standings[0].retry_after is None


def test_nothing_is_taken_when_one_of_several_asks_is_refused():
    rows: dict = {}
    asks = (Ask("window", "w", 5), Ask("budget", "b", 10, 10), Ask("lease", "l", 0))
    outcome, entries = take(rows, START, *asks)
    assert isinstance(outcome, Refused)
    assert (outcome.index, entries, rows) == (2, (), {})


def test_the_index_points_at_the_ask_that_blocks_longest():
    rows: dict = {}
    short, long = Ask("window", "short", 1, 1, 6.0), Ask("window", "long", 1, 1, 60.0)
    take(rows, START, short, long)
    outcome, _ = take(rows, START + SECOND, short, long)
    assert outcome.index == 1
    assert outcome.standings[1].retry_after > outcome.standings[0].retry_after > 0


def test_settling_corrects_the_step_in_which_it_was_counted():
    rows: dict = {}
    ask = Ask("window", "k", 100, 50)
    _, first = take(rows, START, ask)
    take(rows, START + 30 * SECOND, ask)
    counters.settle(rows, first, {"k": 20}, START + 31 * SECOND)
    assert counters.standings(rows, [ask], START + 31 * SECOND)[0].used == 70
    assert counters.standings(rows, [ask], START + 61 * SECOND)[0].used == 50


def test_settling_after_the_window_has_moved_on_changes_nothing():
    rows: dict = {}
    ask = Ask("window", "k", 100, 50)
    _, entries = take(rows, START, ask)
    take(rows, START + 60 * SECOND, ask)
    counters.settle(rows, entries, {"k": 0}, START + 61 * SECOND)
    assert counters.standings(rows, [ask], START + 61 * SECOND)[0].used == 50


def test_settling_with_zero_refunds_and_leaves_no_step_behind():
    rows: dict = {}
    ask = Ask("window", "k", 100, 50)
    _, entries = take(rows, START, ask)
    counters.settle(rows, entries, {"k": 0}, START)
    assert len(rows["wk"]) == 2
    assert counters.dead("wk", rows["wk"], START)


def test_an_actual_amount_may_go_over_the_limit_and_then_blocks():
    rows: dict = {}
    ask = Ask("window", "k", 10, 5)
    _, entries = take(rows, START, ask)
    counters.settle(rows, entries, {"k": 30}, START)
    assert counters.standings(rows, [ask], START)[0].used == 30
    assert isinstance(take(rows, START, Ask("window", "k", 10, 0))[0], Refused)


@pytest.mark.parametrize("actual", [-5, 1 << 80])
@pytest.mark.parametrize("kind", ["window", "budget", "lease"])
def test_absurd_actual_amounts_keep_rows_in_64_bits(kind, actual):
    rows: dict = {}
    ask = Ask(kind, "k", 100, 50)
    for _ in range(3):
        _, entries = take(rows, START, Ask(kind, "k", 1 << 90, 50))
        counters.settle(rows, entries, {"k": actual}, START)
    used = counters.standings(rows, [ask], START)[0].used
    assert 0 <= used < 1 << 63


def test_no_amount_is_taken_that_a_row_cannot_hold():
    assert isinstance(take({}, START, Ask("budget", "k", 1 << 90, 1 << 61))[0], Refused)


def test_a_budget_holds_its_boundary_exactly():
    for amount, expected in ((9, Granted), (10, Granted), (11, Refused)):
        assert type(take({}, START, Ask("budget", "k", 10, amount))[0]) is expected


def test_a_budget_moves_from_reserved_to_spent():
    rows: dict = {}
    _, entries = take(rows, START, Ask("budget", "k", 10, 8))
    assert rows["bk"][:2] == [0, 8]
    counters.settle(rows, entries, {"k": 3}, START)
    assert rows["bk"][:2] == [3, 0]


def test_a_budget_is_forgotten_only_when_it_is_past_its_keep_and_nothing_is_reserved():
    rows: dict = {}
    _, entries = take(rows, START, Ask("budget", "k", 10, 8, keep=100.0))
    take(rows, START, Ask("budget", "ever", 10, 0))
    assert not counters.dead("bk", rows["bk"], START + 200 * SECOND)
    counters.settle(rows, entries, {"k": 8}, START)
    assert not counters.dead("bk", rows["bk"], START + 99 * SECOND)
    assert counters.dead("bk", rows["bk"], START + 100 * SECOND)
    assert not counters.dead("bever", rows["bever"], START + 10**9 * SECOND)


@pytest.mark.parametrize(
    ("hold", "asks"),
    [
        ("h", [Ask("lease", "k", 1), Ask("window", "k", 1)]),
        ("h", [Ask("budget", "k", 1, -1)]),
        ("", [Ask("lease", "k", 1)]),
        ("", [Ask("budget", "k", 1)]),
    ],
)
def test_asks_that_make_no_sense_are_errors(hold, asks):
    rows: dict = {}
    with pytest.raises(ValueError, match="k"):
        counters.take(rows, hold, asks, START)
    assert rows == {}


@given(
    limit=st.integers(1, 20),
    span=st.sampled_from([0.5, 1.0, 7.3, 60.0]),
    moves=st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 6)), min_size=1, max_size=120),
)
def test_no_window_of_the_span_ever_holds_more_than_the_limit(limit, span, moves):
    rows: dict = {}
    now, admitted = START, []
    for pause, amount in moves:
        now += round(pause * span / 60)
        if isinstance(take(rows, now, Ask("window", "k", limit, amount, span))[0], Granted):
            admitted.append((now, amount))
    width = round(span * SECOND)
    for start, _ in admitted:
        assert sum(amount for at, amount in admitted if start <= at <= start + width) <= limit


@given(
    moves=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=80)
)
def test_a_window_row_is_always_sorted_positive_and_adds_up(moves):
    rows: dict = {}
    now, open_entries = START, []
    for pause, amount, actual in moves:
        now += pause * SECOND
        _, entries = take(rows, now, Ask("window", "k", 50, amount))
        open_entries.append(entries)
        if actual % 2:
            counters.settle(rows, open_entries.pop(0), {"k": actual}, now)
        row = rows.get("wk", [1, 0])
        steps, counts = row[2::2], row[3::2]
        assert steps == sorted(set(steps))
        assert all(count > 0 for count in counts)
        assert sum(counts) == row[1]
        assert len(steps) <= 61


def test_rolling_money_counts_what_was_spent_and_gives_back_what_was_not():
    rows: dict = {}
    ask = Ask("rolling", "k", 100, 60, span=3600.0)
    granted, first = take(rows, START, ask)
    assert isinstance(granted, Granted)
    assert isinstance(take(rows, START + SECOND, ask)[0], Refused)
    counters.settle(rows, first, {"k": 10}, START + 2 * SECOND)
    _, second = take(rows, START + 3 * SECOND, ask)
    counters.settle(rows, second, {}, START + 4 * SECOND)  # its worker was killed: nothing is known of it
    assert counters.standings(rows, [ask], START + 5 * SECOND)[0].used == 10
    assert counters.standings(rows, [ask], START + 3661 * SECOND)[0].used == 0


def test_rolling_money_that_was_spent_earlier_leaves_earlier():
    rows: dict = {}
    ask = Ask("rolling", "k", 100, 40, span=3600.0)
    spent = [Ask("rolling", "k", 0, 50, span=3600.0, age=age) for age in (3000.0, 600.0, 9000.0)]
    counters.charge(rows, spent, START)
    refused, _ = take(rows, START, ask)
    assert isinstance(refused, Refused)
    assert refused.standings[0].used == 100
    wait = round(refused.standings[0].retry_after * SECOND)
    assert 600 * SECOND <= wait <= 660 * SECOND
    assert isinstance(take(rows, START + wait, ask)[0], Granted)
