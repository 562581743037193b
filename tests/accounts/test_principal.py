"""How far a right reaches, as the conditions of a query."""

import pytest

from gateway.accounts.principal import Principal
from gateway.errors import Forbidden


def principal(role, **fields):
    return Principal(id="me", kind="user", name="me", role=role, home="acme", **fields)


@pytest.mark.parametrize(
    ("role", "asked", "scope"),
    [
        ("owner", None, {}), ("owner", "other", {"tenant": "other"}), ("auditor", None, {}),
        ("admin", None, {"tenant": "acme"}), ("admin", "acme", {"tenant": "acme"}), ("admin", "other", {"tenant": "/"}),
        ("team_admin", None, {"tenant": "acme", "teams": ("blue",)}),
        ("member", None, {"tenant": "acme", "own": "me"}), ("member", "other", {"tenant": "/", "own": "me"}),
    ],
)  # fmt: skip
def test_a_query_is_limited_to_what_the_role_reaches(role, asked, scope):
    assert principal(role, teams=("blue",)).scope("keys:read", asked) == scope


def test_without_the_right_there_is_no_query():
    with pytest.raises(Forbidden, match="keys:read"):
        principal("viewer").scope("keys:read")


def test_scopes_cut_rights_and_never_add_any():
    cut = principal("admin", scopes=("users:read", "tenants:create"))
    assert cut.may("users:read")
    assert not cut.may("users:write")
    assert not cut.may("tenants:create")
    assert cut.permissions == ("users:read",)


def test_content_needs_a_right_of_its_own_beside_the_role():
    assert not principal("owner").may("content:read")
    assert principal("owner", content_access=True).reach("content:read") == "all"
    assert principal("member").reach("content:read") == "own"
