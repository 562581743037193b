"""An identity provider keeps people and teams up to date: who leaves is out at once, and nobody reaches another tenant."""

import msgspec
import pytest
from people import world as started

from gateway.accounts.records import User


@pytest.fixture
async def world(tmp_path):
    scim = {"use": "admin.scim", "with": {"public_url": "https://gw.example"}}
    async with started(tmp_path, further=[scim]) as made:
        yield made


async def scim(world, method, path, body=None, who="admin"):
    headers = {} if body is None else {"content_type": "application/scim+json"}
    answer = await world.call(who, method, "/scim/v2" + path, body, **headers)
    return answer.status, answer.body


ANN = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "Ann@Example.com", "active": True,
       "name": {"givenName": "Ann", "familyName": "Lee"}, "externalId": "x-1"}


async def test_a_person_comes_changes_and_leaves(world):
    status, made = await scim(world, "POST", "/Users", ANN)
    assert (status, made["userName"], made["displayName"], made["active"]) == (201, "ann@example.com", "Ann Lee", True)
    assert made["meta"]["location"] == f"https://gw.example/api/v1/admin/scim/v2/Users/{made['id']}"
    assert (await world.store.one(User, id=made["id"])).role == "member"
    assert (await scim(world, "POST", "/Users", ANN))[0] == 409
    status, found = await scim(world, "GET", '/Users?filter=userName%20eq%20%22ANN@example.com%22')
    assert (found["totalResults"], found["Resources"][0]["id"]) == (1, made["id"])
    change = {"Operations": [{"op": "Replace", "path": "active", "value": "False"}]}
    status, gone = await scim(world, "PATCH", f"/Users/{made['id']}", change)
    assert (status, gone["active"]) == (200, False)
    status, back = await scim(world, "PUT", f"/Users/{made['id']}", {**ANN, "displayName": "Ann L.", "name": {}})
    assert (back["active"], back["displayName"]) == (True, "Ann L.")
    assert (await scim(world, "DELETE", f"/Users/{made['id']}"))[0] == 204
    assert (await scim(world, "GET", f"/Users/{made['id']}"))[0] == 404


async def test_who_is_switched_off_has_no_session_any_more(world):
    assert (await world.call("member", "GET", "/auth/me")).status == 200
    off = {"Operations": [{"op": "replace", "value": {"active": False}}]}
    assert (await scim(world, "PATCH", f"/Users/{world.ids['member']}", off))[0] == 200
    assert (await world.call("member", "GET", "/auth/me")).status == 401


async def test_teams_follow_groups(world):
    member, viewer = world.ids["member"], world.ids["viewer"]
    status, team = await scim(world, "POST", "/Groups", {"displayName": "Data", "members": [{"value": member}]})
    assert (status, team["members"]) == (201, [{"value": member}])
    path = f"/Groups/{team['id']}"
    add = {"Operations": [{"op": "add", "path": "members", "value": [{"value": viewer}]}]}
    assert {each["value"] for each in (await scim(world, "PATCH", path, add))[1]["members"]} == {member, viewer}
    remove = {"Operations": [{"op": "remove", "path": f'members[value eq "{member}"]'}]}
    assert (await scim(world, "PATCH", path, remove))[1]["members"] == [{"value": viewer}]
    replaced = (await scim(world, "PUT", path, {"displayName": "Science", "members": [{"value": member}]}))[1]
    assert (replaced["displayName"], replaced["members"]) == ("Science", [{"value": member}])
    found = (await scim(world, "GET", "/Groups?filter=displayName%20eq%20%22science%22"))[1]
    assert found["totalResults"] == 1
    assert (await scim(world, "DELETE", path))[0] == 204


async def test_another_tenant_and_those_above_are_out_of_reach(world):
    foreign = world.ids["foreign"]
    assert (await scim(world, "GET", f"/Users/{foreign}"))[0] == 404
    assert (await scim(world, "DELETE", f"/Users/{foreign}"))[0] == 404
    assert (await scim(world, "GET", '/Users?filter=userName%20eq%20%22foreign@example.com%22'))[1]["totalResults"] == 0
    off = {"Operations": [{"op": "replace", "path": "active", "value": False}]}
    assert (await scim(world, "PATCH", f"/Users/{world.ids['owner']}", off))[0] in (403, 404)
    for who in ("member", "viewer", "team_admin"):
        assert (await world.call(who, "POST", "/scim/v2/Users", ANN)).status == 403
    assert (await world.call(None, "GET", "/scim/v2/Users")).status == 401
    _, team = await scim(world, "POST", "/Groups", {"displayName": "T"})
    add = {"Operations": [{"op": "add", "path": "members", "value": [{"value": foreign}]}]}
    assert (await scim(world, "PATCH", f"/Groups/{team['id']}", add))[0] == 404


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("POST", "/Users", {"userName": "no address"}, 400), ("POST", "/Users", {"userName": 7}, 400), ("POST", "/Groups", {"x": 1}, 400),
    ("GET", "/Users?filter=userName%20co%20%22a%22", None, 400), ("GET", "/Users?filter=%22", None, 400),
    ("GET", "/Users/nobody", None, 404), ("PATCH", "/Users/nobody", {"Operations": []}, 404), ("GET", "/Groups/%2e%2e", None, 404),
])
async def test_bad_input_gets_the_protocols_own_error(world, method, path, body, status):
    found, answer = await scim(world, method, path, body)
    assert found == status
    if "scim" in str(answer.get("schemas", "")):
        assert (answer["status"], bool(answer["detail"])) == (str(status), True)


async def test_patches_that_make_no_sense_change_nothing(world):
    user = world.ids["viewer"]
    before = await world.store.one(User, id=user)
    for operations in ("x", [1], [{"op": "replace", "path": "userName", "value": "nobody"}]):
        assert (await scim(world, "PATCH", f"/Users/{user}", {"Operations": operations}))[0] == 400
    assert (await scim(world, "PATCH", f"/Users/{user}", {"Operations": [{"op": "add", "path": "nickName", "value": "x"}]}))[0] == 200
    assert await world.store.one(User, id=user) == before


async def test_lists_go_page_by_page(world):
    whole = (await scim(world, "GET", "/Users"))[1]
    first = (await scim(world, "GET", "/Users?startIndex=1&count=2"))[1]
    second = (await scim(world, "GET", "/Users?startIndex=3&count=2"))[1]
    assert first["totalResults"] == whole["totalResults"] > 3
    assert first["Resources"] + second["Resources"] == whole["Resources"][:4]
    assert msgspec.json.encode(whole).find(b"password") < 0
    assert (await scim(world, "GET", "/ServiceProviderConfig"))[1]["patch"] == {"supported": True}
