"""When a key may be used."""

import msgspec
import pytest

from gateway.accounts.records import KeyRecord, Limits, Tenant, User, state

KEY = KeyRecord(
    id="k", tenant=Tenant(id="t", name="T", created=1), owner=User(id="u", tenant="t", email="a@b", created=1),
    name="", prefix="", digest="d", environment="", active=True, revoked_at=None, expires_at=100, limits=Limits(),
    created=1, last_used=None,
)  # fmt: skip


def change(**fields: object) -> KeyRecord:
    return msgspec.structs.replace(KEY, **fields)


@pytest.mark.parametrize(
    ("key", "now", "expected"),
    [
        (KEY, 99, "active"),
        (KEY, 100, "expired"),
        (change(expires_at=None), 1 << 60, "active"),
        (change(owner=None), 99, "active"),
        (change(revoked_at=1), 99, "revoked"),
        (change(active=False), 99, "disabled"),
        (change(tenant=Tenant(id="t", name="T", created=1, active=False)), 99, "tenant disabled"),
        (change(owner=User(id="u", tenant="t", email="a@b", created=1, status="suspended")), 99, "owner not active"),
    ],
)
def test_a_key_stands_and_falls_with_its_tenant_and_owner(key, now, expected):
    assert state(key, now) == expected
