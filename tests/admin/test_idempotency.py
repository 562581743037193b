"""`Idempotency-Key`: what is sent twice is done once."""

from types import SimpleNamespace

import pytest

from gateway.admin.idempotency import Idempotency
from gateway.errors import Conflict, InvalidFields
from gateway.hookspecs import Reply
from gateway.store.once import Once


class Records:
    """Remembers in memory, and what it was given."""

    def __init__(self):
        self.known = {}

    async def begin_once(self, name, body, now, expires):
        known = self.known.get(name)
        if known is None:
            self.known[name] = Once(body, False)
        return known

    async def finish_once(self, name, once):
        self.known[name] = once

    async def drop_once(self, name):
        del self.known[name]


class World:
    """One door, and how often it was gone through."""

    def __init__(self):
        self.records = Records()
        self.door = Idempotency(self.records, b"m" * 32)
        self.done = 0

    async def ask(self, key="k", raw=b"{}", who="alice", path="/x", secret=False, fails=None, query=()):
        request = SimpleNamespace(
            principal=SimpleNamespace(id=who), method="POST", path=path, query=dict(query)
        )

        async def serve():
            self.done += 1
            if fails:
                raise fails
            return Reply(201, b'{"api_key":"sk-gw-canary"}', headers={"etag": '"1"'})

        return await self.door.once(key, request, raw, serve, secret=secret)


async def test_a_repeated_request_gets_the_same_answer_and_does_nothing():
    world = World()
    first, again = await world.ask(), await world.ask()
    assert (again.status, again.body, world.done) == (201, first.body, 1)
    assert again.headers == {"etag": '"1"', "idempotency-replayed": "true"}


@pytest.mark.parametrize("other", [{"raw": b'{"a":1}'}, {"query": [("tenant", "b")]}])
async def test_a_key_is_for_one_request_only(other):
    world = World()
    await world.ask()
    with pytest.raises(InvalidFields, match="another request"):
        await world.ask(**other)
    assert world.done == 1


@pytest.mark.parametrize("other", [{"who": "bob"}, {"path": "/y"}, {"key": "l"}])
async def test_keys_of_others_and_of_other_routes_are_other_keys(other):
    world = World()
    await world.ask()
    await world.ask(**other)
    assert world.done == 2


async def test_while_the_first_runs_the_second_is_a_conflict():
    world = World()
    await world.ask()
    (name,) = world.records.known
    world.records.known[name] = Once(world.records.known[name].body, False)
    with pytest.raises(Conflict, match="still running"):
        await world.ask()


async def test_what_was_refused_can_be_tried_again():
    world = World()
    with pytest.raises(Conflict):
        await world.ask(fails=Conflict("taken"))
    assert (await world.ask()).status == 201


async def test_a_credential_is_neither_kept_nor_shown_again():
    world = World()
    assert b"canary" in (await world.ask(secret=True)).body
    assert "canary" not in repr(world.records.known)
    with pytest.raises(Conflict, match="shown only once") as refused:
        await world.ask(secret=True)
    assert refused.value.code == "secret_already_shown"
    assert world.done == 1


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a\tb"])
async def test_a_key_is_visible_ascii_of_some_length(key):
    with pytest.raises(InvalidFields):
        await World().ask(key=key)


async def test_neither_the_key_nor_the_body_is_kept():
    world = World()
    await world.ask(key="canary-key", raw=b'{"password":"canary"}', secret=True)
    assert "canary" not in repr(world.records.known)
