"""A flood of refusals is few entries: the first at once, then one a minute with how many there were."""

from gateway.accounts.hits import Hit, Hits


def hit(key="k", what="requests", **more):
    return Hit(action="rate_limit_hit", tenant="t", key=key, what=what, **more)


def test_the_first_is_due_at_once_and_the_rest_when_the_minute_is_over():
    hits = Hits(window_ms=1000)
    for moment in range(0, 900, 3):
        hits.add(hit(request_id=str(moment)), moment)
    (first,) = hits.due(900)
    assert (first.count, first.first_ms, first.hit.request_id) == (1, 0, "0")
    assert hits.due(999) == []
    (rest,) = hits.due(1000)
    assert (rest.count, rest.first_ms, rest.last_ms, rest.hit.request_id) == (299, 3, 897, "897")
    assert hits.due(5000) == []
    hits.add(hit(), 6000)  # a new flood begins anew
    assert [each.count for each in hits.due(6000)] == [1]


def test_a_flood_that_goes_on_is_one_entry_a_minute():
    hits = Hits(window_ms=1000)
    counts = []
    for moment in range(0, 10_000, 10):
        hits.add(hit(), moment)
        counts += [each.count for each in hits.due(moment)]
    counts += [each.count for each in hits.due(10_000, all_of_them=True)]
    assert len(counts) <= 11
    assert sum(counts) == 1000


def test_keys_and_limits_are_counted_apart():
    hits = Hits()
    for name in ("a", "b"):
        for what in ("requests", "tokens"):
            hits.add(hit(name, what), 1)
            hits.add(hit(name, what), 2)
    assert len(hits.due(3)) == 4
    assert sorted(each.count for each in hits.due(3, all_of_them=True)) == [1, 1, 1, 1]


def test_a_flood_from_ever_new_keys_takes_bounded_memory_and_few_entries():
    hits = Hits(most=10)
    for number in range(100_000):
        hits.add(hit(f"key-{number}"), 5)
    entries = hits.due(6) + hits.due(6, all_of_them=True)
    assert len(entries) <= 13
    assert sum(each.count for each in entries) == 100_000
    assert {each.hit.key for each in entries} - {f"key-{n}" for n in range(10)} == {"many"}


def test_what_cannot_be_written_comes_back_in_order_and_is_counted_when_it_is_too_much(monkeypatch):
    monkeypatch.setattr("gateway.accounts.hits._MOST_DUE", 3)
    hits = Hits()
    for name in "abc":
        hits.add(hit(name), 1)
    taken = hits.due(1)
    hits.add(hit("d"), 2)
    hits.back(taken)
    assert ([each.hit.key for each in hits.due(3)], hits.lost) == (["a", "b", "d"], 1)
