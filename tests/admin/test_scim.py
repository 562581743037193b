"""An identity provider keeps people and teams up to date: who leaves is out at once, and nobody reaches another tenant."""

from urllib.parse import quote

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


def ids(group):
    return [each["value"] for each in group["members"]]


def patch(*operations):
    return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)}


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
    assert (status, ids(team)) == (201, [member])
    assert team["members"][0]["$ref"] == f"https://gw.example/api/v1/admin/scim/v2/Users/{member}"
    path = f"/Groups/{team['id']}"
    add = {"Operations": [{"op": "add", "path": "members", "value": [{"value": viewer}]}]}
    assert ids((await scim(world, "PATCH", path, add))[1]) == [member, viewer]
    remove = {"Operations": [{"op": "remove", "path": f'members[value eq "{member}"]'}]}
    assert ids((await scim(world, "PATCH", path, remove))[1]) == [viewer]
    replaced = (await scim(world, "PUT", path, {"displayName": "Science", "members": [{"value": member}]}))[1]
    assert (replaced["displayName"], ids(replaced)) == ("Science", [member])
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


# What Okta sends.


async def test_oktas_user_comes_is_found_changes_and_leaves(world):
    found = (await scim(world, "GET", "/Users?filter=userName%20eq%20%22kim%40example.com%22&startIndex=1&count=100"))[1]
    assert (found["totalResults"], found["Resources"]) == (0, [])
    kim = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "kim@example.com", "locale": "en-US",
        "name": {"givenName": "Kim", "familyName": "Van Dyke"}, "displayName": "Kim Van Dyke", "externalId": "00ujl29u0le5T6Aj10h7",
        "emails": [{"primary": True, "value": "kim@example.com", "type": "work"}], "groups": [], "password": "1mz050nq", "active": True,
    }
    status, made = await scim(world, "POST", "/Users", kim)
    assert (status, made["externalId"], made["name"]) == (201, "00ujl29u0le5T6Aj10h7", {"formatted": "Kim Van Dyke", "givenName": "Kim", "familyName": "Van Dyke"})
    path = f"/Users/{made['id']}"
    whole = {**made, "name": {"givenName": "Kim", "familyName": "Dyke"}, "displayName": "Kim Dyke"}
    status, after = await scim(world, "PUT", path, whole)
    assert (status, after["displayName"], after["active"], after["externalId"]) == (200, "Kim Dyke", True, made["externalId"])
    status, off = await scim(world, "PATCH", path, patch({"op": "replace", "value": {"active": False}}))
    assert (status, off["active"], off["displayName"]) == (200, False, "Kim Dyke")
    without = {name: value for name, value in whole.items() if name != "active"}
    assert (await scim(world, "PUT", path, without))[1]["active"] is False  # not said is not yes
    assert (await scim(world, "PUT", path, whole))[1]["active"] is True
    status, error = await scim(world, "POST", "/Users", {**kim, "userName": "KIM@example.com"})
    assert (status, error["scimType"], error["status"]) == (409, "uniqueness", "409")


async def test_oktas_group_keeps_its_members_when_it_is_renamed(world):
    member, viewer = world.ids["member"], world.ids["viewer"]
    _, team = await scim(world, "POST", "/Groups", {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "One", "members": [{"value": member, "display": "m@example.com"}]})
    path = f"/Groups/{team['id']}"
    renamed = (await scim(world, "PATCH", path, patch({"op": "replace", "value": {"id": team["id"], "displayName": "Two"}})))[1]
    assert (renamed["displayName"], ids(renamed)) == ("Two", [member])
    steps = patch({"op": "remove", "path": f'members[value eq "{member}"]'}, {"op": "add", "path": "members", "value": [{"value": viewer, "display": "v"}]})
    assert ids((await scim(world, "PATCH", path, steps))[1]) == [viewer]
    assert ids((await scim(world, "PATCH", path, patch({"op": "replace", "path": "members", "value": [{"value": member}]})))[1]) == [member]
    assert ids((await scim(world, "PATCH", path, patch({"op": "remove", "path": "members"})))[1]) == []


# What Entra ID sends.


async def test_entras_user_is_matched_by_either_name_and_patched_path_by_path(world):
    lee = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "58342554-38d6-4ec8-948c-50044d0a33fd", "userName": "Lee@Example.com", "active": True, "roles": [],
        "emails": [{"primary": True, "type": "work", "value": "lee@example.com"}], "meta": {"resourceType": "User"},
        "name": {"formatted": "Lee Wong", "familyName": "Wong", "givenName": "Lee"},
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "bob"},
    }
    made = (await scim(world, "POST", "/Users", lee))[1]
    for query in ('externalId eq "58342554-38d6-4ec8-948c-50044d0a33fd"', 'USERNAME EQ "LEE@example.com" and active eq true',
                  'emails[type eq "work"].value eq "lee@example.com"', f'id eq "{made["id"]}"'):
        found = (await scim(world, "GET", "/Users?filter=" + quote(query)))[1]
        assert [each["id"] for each in found["Resources"]] == [made["id"]], query
    assert (await scim(world, "GET", "/Users?filter=" + quote('externalId eq "other"')))[1]["totalResults"] == 0
    path = f"/Users/{made['id']}"
    steps = patch(
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@example.com"},
        {"op": "Replace", "path": "name.familyName", "value": "Long"},
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "x"},
    )
    after = (await scim(world, "PATCH", path, steps))[1]
    assert (after["displayName"], after["userName"]) == ("Lee Long", "lee@example.com")
    dotted = patch({"op": "replace", "value": {"name.givenName": "Li", "name.familyName": "Lang", "externalId": "new"}})
    after = (await scim(world, "PATCH", path, dotted))[1]
    assert (after["displayName"], after["externalId"]) == ("Li Lang", "new")
    for value, active in (("False", False), ("True", True), ([{"$ref": None, "value": "False"}], False), (True, True), ("false", False)):
        after = (await scim(world, "PATCH", path, patch({"op": "Replace", "path": "active", "value": value})))[1]
        assert after["active"] is active
    after = (await scim(world, "PATCH", path, patch({"op": "Replace", "path": "userName", "value": "Li@Example.com"})))[1]
    assert after["userName"] == "li@example.com"
    status, error = await scim(world, "PATCH", path, patch({"op": "Replace", "path": "userName", "value": "member@example.com"}))
    assert (status, error["scimType"]) == (409, "uniqueness")


async def test_entras_group_is_read_without_members_and_asked_for_one(world):
    member, viewer = world.ids["member"], world.ids["viewer"]
    given = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "externalId": "8aa1a0c0", "displayName": "Blue", "members": []}
    status, team = await scim(world, "POST", "/Groups", given)
    assert (status, team["externalId"]) == (201, "8aa1a0c0")
    path = f"/Groups/{team['id']}"
    steps = patch({"op": "Add", "path": "members", "value": [{"$ref": None, "value": member}, {"$ref": None, "value": viewer}]})
    assert (await scim(world, "PATCH", path, steps))[0] == 200
    for query in ("?excludedAttributes=members&filter=" + quote('displayName eq "blue"'), "?excludedAttributes=members"):
        found = (await scim(world, "GET", "/Groups" + query))[1]
        assert "members" not in found["Resources"][0]
    assert "members" not in (await scim(world, "GET", path + "?excludedAttributes=members"))[1]
    for user, total in ((member, 1), (world.ids["admin"], 0)):
        asked = quote(f'id eq "{team["id"]}" and members eq "{user}"')
        found = (await scim(world, "GET", f"/Groups?filter={asked}&attributes=id"))[1]
        assert found["totalResults"] == total
        assert all(set(each) == {"schemas", "id"} for each in found["Resources"])
    legacy = patch({"op": "Remove", "path": "members", "value": [{"$ref": None, "value": member}]})
    assert ids((await scim(world, "PATCH", path, legacy))[1]) == [viewer]
    assert (await scim(world, "PATCH", path, patch({"op": "Replace", "path": "displayName", "value": "Navy"})))[1]["displayName"] == "Navy"


async def test_nothing_of_a_group_changes_when_a_part_is_wrong(world):
    member = world.ids["member"]
    assert (await scim(world, "POST", "/Groups", {"displayName": "G", "members": [{"value": "nobody"}]}))[0] == 404
    assert (await scim(world, "GET", "/Groups"))[1]["totalResults"] == 0
    _, team = await scim(world, "POST", "/Groups", {"displayName": "G"})
    steps = patch({"op": "add", "path": "members", "value": [{"value": member}]}, {"op": "add", "path": "members", "value": [{"value": "nobody"}]})
    assert (await scim(world, "PATCH", f"/Groups/{team['id']}", steps))[0] == 404
    assert ids((await scim(world, "GET", f"/Groups/{team['id']}"))[1]) == []
    assert (await scim(world, "POST", "/Groups", {"displayName": "G"}))[1]["scimType"] == "uniqueness"


NONSENSE = [
    {"op": "move", "path": "members", "value": []}, {"op": "remove"}, {"op": "add", "value": "x"}, {"op": "add", "path": 7, "value": "x"},
    {"op": "replace", "path": "displayName", "value": ""}, {"op": "add", "path": "owners", "value": []},
    {"op": "remove", "path": 'members[value sw "a"]'},
]


async def test_operations_that_make_no_sense_are_refused(world):
    _, team = await scim(world, "POST", "/Groups", {"displayName": "G", "members": [{"value": world.ids["member"]}]})
    for operation in NONSENSE:
        status, error = await scim(world, "PATCH", f"/Groups/{team['id']}", patch(operation))
        assert (status, error["scimType"] in ("invalidSyntax", "invalidPath", "invalidValue", "noTarget")) == (400, True)
    assert ids((await scim(world, "GET", f"/Groups/{team['id']}"))[1]) == [world.ids["member"]]


WRONG_FILTERS = [
    'userName sw "a"', 'userName eq "a" or userName eq "b"', 'password eq "x"', 'userName eq "a" and', "userName pr", 'userName eq',
    'userName eq "a" and userName eq "b"', "not (userName eq \"a\")", " and ".join(['userName eq "a"'] * 9), "x" * 5000, '"' * 300,
]


async def test_filters_that_are_not_understood_are_refused_not_guessed(world):
    for query in WRONG_FILTERS:
        status, error = await scim(world, "GET", "/Users?filter=" + quote(query))
        assert (status, error["scimType"]) == (400, "invalidFilter"), query


PAGES = [
    ("startIndex=0&count=2", 1, 2), ("startIndex=-3&count=1", 1, 1), ("count=0", 1, 0), ("count=-1", 1, 0), ("startIndex=999&count=2", 999, 0),
    ("startIndex=x&count=y", 1, 99),
]


async def test_pages_are_counted_as_the_protocol_says(world):
    for query, start, number in PAGES:
        found = (await scim(world, "GET", "/Users?" + query))[1]
        most = min(number, found["totalResults"])
        assert (found["startIndex"], found["itemsPerPage"], len(found["Resources"])) == (start, most, most), query


async def test_the_service_describes_itself(world):
    types = (await scim(world, "GET", "/ResourceTypes"))[1]
    assert [each["endpoint"] for each in types["Resources"]] == ["/Users", "/Groups"]
    schemas = (await scim(world, "GET", "/Schemas"))[1]
    user = next(each for each in schemas["Resources"] if each["name"] == "User")
    assert {"userName", "active", "externalId"} <= {each["name"] for each in user["attributes"]}
    assert (await scim(world, "GET", "/Schemas/" + user["id"]))[1] == user
    assert (await scim(world, "GET", "/ResourceTypes/Group"))[1]["schema"].endswith(":Group")
    assert (await scim(world, "GET", "/ResourceTypes/Car"))[0] == 404
    about = (await scim(world, "GET", "/ServiceProviderConfig"))[1]
    assert about["filter"] == {"supported": True, "maxResults": 200}


async def test_a_leavers_session_and_keys_are_dead_at_once(world):
    key = (await world.call("member", "POST", "/api-keys", {"name": "k"}, status=201)).body["api_key"]
    assert await world.chat(key) == 200
    assert (await world.call("member", "GET", "/auth/me")).status == 200
    path = f"/Users/{world.ids['member']}"
    assert (await scim(world, "PATCH", path, patch({"op": "Replace", "path": "active", "value": "False"})))[0] == 200
    assert await world.chat(key) == 401
    assert (await world.call("member", "GET", "/auth/me")).status == 401
    assert (await scim(world, "PATCH", path, patch({"op": "Replace", "path": "active", "value": "True"})))[0] == 200
    assert await world.chat(key) == 200
    assert (await scim(world, "DELETE", path))[0] == 204
    assert await world.chat(key) == 401
    assert (await scim(world, "GET", path))[0] == 404
    assert (await scim(world, "DELETE", path))[0] == 404
