"""What every store must do: accounts, tenant scope, pages; on SQLite and on PostgreSQL."""

import pytest

from gateway.accounts.records import Limits, NewUser, Tenant, User
from gateway.errors import InvalidRequest
from gateway.store import StoreConflict

LIMITS = Limits(
    requests_per_minute=1, tokens_per_minute=2, concurrency=3, cost_daily=4, cost_monthly=1 << 60, models=("a/*", "ü")
)


async def test_a_key_comes_back_whole_with_its_tenant_and_owner(store, tenant, owner, new_key):
    made = await store.create_key(
        new_key(owner="u1", name="n", environment="test", expires_at=99, limits=LIMITS)
    )
    found = await store.find_key("k1")
    assert found == made
    assert (found.tenant, found.owner.email, found.limits) == (tenant, "ann@acme.example", LIMITS)
    assert (found.active, found.revoked_at, found.last_used, found.expires_at) == (True, None, None, 99)
    assert found.name == "n"
    assert found.environment == "test"


async def test_an_unknown_key_is_none(store):
    assert await store.find_key("nobody") is None
    assert await store.find_key("' OR 1=1 --") is None


async def test_a_key_needs_a_tenant_and_an_owner_of_that_tenant(store, owner, new_key):
    await store.create_tenant(Tenant(id="other", name="Other", created=1))
    for wrong in ({"tenant": "nowhere"}, {"owner": "nobody"}, {"tenant": "other", "owner": "u1"}):
        with pytest.raises(StoreConflict, match="does not exist"):
            await store.create_key(new_key(**wrong))
    assert await store.find_key("k1") is None


async def test_ids_and_addresses_are_unique(store, owner, new_key):
    await store.create_key(new_key())
    with pytest.raises(StoreConflict, match="already taken"):
        await store.create_key(new_key())
    with pytest.raises(StoreConflict, match="already taken"):
        await store.create_user(NewUser(user=User(id="u2", tenant="acme", email="ANN@acme.example", created=1)))
    with pytest.raises(StoreConflict, match="already taken"):
        await store.create_tenant(Tenant(id="acme", name="x", created=1))


async def test_revoking_is_for_good_and_keeps_the_first_time(store, tenant, new_key):
    await store.create_key(new_key())
    assert (await store.revoke_key("k1", 50)).revoked_at == 50
    assert (await store.revoke_key("k1", 60)).revoked_at == 50
    assert (await store.find_key("k1")).revoked_at == 50
    assert await store.revoke_key("k2", 50) is None


async def test_a_tenant_reaches_only_its_own_keys_and_users(store, owner, new_key):
    await store.create_tenant(Tenant(id="other", name="Other", created=1))
    await store.create_key(new_key())
    assert await store.revoke_key("k1", 50, "other") is None
    assert await store.set_key_active("k1", False, "other") is None
    assert await store.set_user_status("u1", "suspended", "other") is None
    assert (await store.find_key("k1")).revoked_at is None
    assert (await store.list_keys("other")).items == ()
    assert (await store.set_key_active("k1", False, "acme")).active is False
    assert (await store.set_user_status("u1", "suspended", "acme")).status == "suspended"
    assert await store.count_users("other") == 0
    assert await store.count_users() == 1


async def test_lists_go_page_by_page_without_losing_or_repeating(store, tenant, new_key):
    for n in range(7):
        await store.create_key(new_key(f"k{n}", created=n // 3))
    found, cursor = [], None
    while True:
        page = await store.list_keys("acme", limit=2, cursor=cursor)
        found += [key.id for key in page.items]
        if (cursor := page.next) is None:
            break
    assert found == ["k6", "k5", "k4", "k3", "k2", "k1", "k0"]
    await store.create_tenant(Tenant(id="b", name="B", created=1))
    first = await store.list_tenants(limit=1)
    assert [first.items[0].id, (await store.list_tenants(cursor=first.next)).items[0].id] == ["acme", "b"]
    with pytest.raises(InvalidRequest):
        await store.list_keys(cursor="'; DROP TABLE api_keys")


async def test_last_used_only_goes_forward(store, tenant, new_key):
    await store.create_key(new_key())
    await store.touch_keys({"k1": 20, "unknown": 5})
    await store.touch_keys({"k1": 10})
    await store.touch_keys({})
    assert (await store.find_key("k1")).last_used == 20


async def test_users_are_found_in_any_case_and_give_no_password(store, owner):
    user = await store.find_user(" ANN@ACME.example ")
    assert user == await store.find_user("ann@acme.example")
    assert not hasattr(user, "password_hash")
    assert await store.password_hash("u1") == "scrypt$…"
    assert await store.password_hash("u2") is None
    assert await store.find_user("bob@acme.example") is None


async def test_the_first_tenant_user_and_key_are_made_together_and_once(store, new_key):
    tenant = Tenant(id="acme", name="Acme", created=1)
    user = NewUser(user=User(id="u1", tenant="acme", email="a@b", created=1, role="owner"))
    with pytest.raises(StoreConflict):
        await store.create_first(tenant, user, new_key(owner="somebody else"))
    assert await store.count_users() == 0
    assert await store.get_tenant("acme") is None
    assert await store.create_first(tenant, user, new_key(owner="u1")) is True
    assert await store.create_first(tenant, user, new_key("k2", owner="u1")) is False
    assert await store.find_key("k2") is None
