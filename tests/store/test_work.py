"""Steps that are made together or not at all, and what they may touch."""

import pytest

from gateway.accounts.records import AuditEntry, Team, Tenant, User
from gateway.errors import NotFound, Stale
from gateway.store import StoreConflict
from gateway.store.work import Change, Note, Put, Remove, change, put

KEY = b"k" * 32
ACME = Tenant(id="acme", name="Acme", created=1)


def entry(**fields):
    values = {"id": "e", "ts_ms": 1, "tenant": "acme", "actor": "a", "actor_kind": "user", "actor_name": "a", "action": "x"}
    return Note(AuditEntry(**{**values, **fields}), KEY)


async def test_all_steps_are_made_or_none(store):
    await store.commit([put(ACME)])
    with pytest.raises(StoreConflict):
        await store.commit([put(Team(id="t", tenant="acme", name="blue", created=1)), entry(), put(ACME)])
    assert await store.one(Team, id="t") is None
    assert await store.audit_page({}) == ()


async def test_a_version_is_raised_by_each_change_and_asked_for(store):
    await store.commit([put(ACME)])
    await store.commit([change(Tenant, {"id": "acme"}, {"name": "B"}, version=1)])
    found = await store.one(Tenant, id="acme")
    assert (found.name, found.version) == ("B", 2)
    assert found.updated
    with pytest.raises(Stale):
        await store.commit([change(Tenant, {"id": "acme"}, {"name": "C"}, version=1)])
    with pytest.raises(NotFound):
        await store.commit([change(Tenant, {"id": "other"}, {"name": "C"}, version=1)])
    await store.commit([change(Tenant, {"id": "acme"}, {"time_zone": "UTC"}, quiet=True)])
    assert (await store.one(Tenant, id="acme")).version == 2


async def test_names_that_are_not_of_the_table_are_defects(store):
    await store.commit([put(ACME)])
    for step in (
        Put("tenants", {"id": "x", "nonsense": 1}), Change("tenants", {"id": "x"}, {"name = 'x' --": 1}),
        Change("tenants", {"1 = 1 OR id": "x"}, {"name": "x"}), Remove("tenants", {"nonsense": 1}),
        Put("team_members", {"nonsense": 1}),
    ):  # fmt: skip
        with pytest.raises(KeyError):
            await store.commit([step])
    with pytest.raises(KeyError):
        await store.one(Tenant, nonsense=1)
    with pytest.raises(KeyError):
        await store.secret(User, "email", id="x")


async def test_secrets_are_in_no_object(store):
    user = User(id="u", tenant="acme", email="a@b.c", created=1)
    await store.commit([put(ACME), put(user, password_hash="scrypt$canary")])
    assert "canary" not in repr(await store.one(User, id="u"))
    assert "canary" not in repr(await store.page(User, {}))
    assert await store.secret(User, "password_hash", id="u") == "scrypt$canary"


@pytest.mark.parametrize("text", ["%", "_", "!", "'; DROP TABLE users; --", "a%b", "\\"])
async def test_a_search_takes_every_sign_for_itself(store, text):
    users = [User(id=f"u{n}", tenant="acme", email=f"{n}@b.c", name=name, created=n) for n, name in enumerate(("plain", f"x{text}y"))]
    await store.commit([put(ACME), *map(put, users)])
    found = await store.page(User, {}, search=text)
    assert [user.id for user in found.items] == ["u1"]


async def test_entries_are_chained_also_when_they_come_at_once(store):
    import asyncio

    from gateway.accounts.audit import verify

    await asyncio.gather(*(store.commit([entry(id=f"e{number}")]) for number in range(20)))
    verdict = await verify(store, KEY)
    assert (verdict.intact, verdict.entries, verdict.head_seq) == (True, 20, 20)
    assert not (await verify(store, b"x" * 32)).intact
