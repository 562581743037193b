"""Routes of plugins: who gets in, what they see, how errors leave, and what a reload changes."""

from types import SimpleNamespace

import msgspec
import pytest

from gateway.dispatch import Member, PluginError, Plugins
from gateway.errors import Forbidden, InvalidFields, Unauthenticated
from gateway.exchange import Caller
from gateway.hookspecs import About, Reply, Route, hookimpl
from gateway.pluginroutes import PluginRoutes
from gateway.routes import RouteTable
from gateway.runtime import Use

ABOUT = About(summary="x", tag="x")


class Sample:
    """A plugin with one route, and one that knows who may."""

    def __init__(self, call, permission="public", about=ABOUT, path="/x", method="GET"):
        self.route = Route(method, path, permission, call, about)

    @hookimpl
    def routes(self, gateway):
        return [self.route]


class Doorman:
    """Knows the bearer `good`, who has the right to read."""

    @hookimpl
    async def authorize(self, permission, request):
        token = request.headers.get("authorization")
        if token is None:
            return None
        if token != "Bearer good":
            raise Unauthenticated("No.", code="unauthenticated")
        if permission != "things:read":
            raise Forbidden("You may not.")
        return "alice"


class Fake:
    """What `Incoming` gives, and what was sent of the answer."""

    def __init__(self, peer="127.0.0.1", **headers):
        self.method, self.path, self.peer, self.request_id, self.started = "GET", "/x", peer, "req_1", False
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.safe_headers = {name: value for name, value in self.headers.items() if name != "authorization"}
        self.query = {"a": "b"}
        self.sent = []

    def check_json(self): ...

    async def body(self, limit):
        return b'{"a": 1}'

    def reply(self, status, headers, body):
        return status, headers, body

    async def start(self, status, headers):
        self.started = True
        self.sent.append((status, headers))

    async def write(self, data):
        self.sent.append(data)

    async def finish(self, last=b""):
        return "finished"


def world(*objects):
    """The routes of these plugins, and the table they are in."""

    async def authenticate(snapshot, headers):
        if headers.get("x-api-key") != "key":
            raise Unauthenticated("No key.")
        return Caller(tenant="t", key="k")

    gateway = SimpleNamespace(snapshot=snapshot(*objects))
    routes, table = PluginRoutes(gateway, SimpleNamespace(authenticate=authenticate)), RouteTable()
    routes.add_to(table)
    return gateway, routes, table


def snapshot(*objects):
    members = [Member(name=f"m{n}", id="admin.x", role="admin", parts=(each,)) for n, each in enumerate(objects)]
    config = SimpleNamespace(server=SimpleNamespace(max_body_bytes=1000))
    return SimpleNamespace(plugins=Plugins(members), config=config, use=Use())


async def ask(table, **headers):
    incoming = Fake(**headers)
    route, params = table.match("GET", "/x")
    return await route.call(incoming, params), incoming


async def told(request):
    """Says what a route sees."""
    seen = {"caller": request.caller and request.caller.key, "who": request.principal, "headers": sorted(request.headers)}
    return Reply(200, msgspec.json.encode(seen), headers={"etag": '"1"'})


@pytest.mark.parametrize("permission", ["", "nonsense", "Keys:Write", "keys:write:all", None])
def test_a_route_without_a_permission_stops_the_start(permission):
    with pytest.raises(PluginError, match=r"permission .* each route needs one"):
        world(Sample(told, permission or "", ABOUT), Doorman())


def test_a_right_that_nobody_checks_stops_the_start():
    with pytest.raises(PluginError, match=r"needs `things:read`, and no plugin checks such rights: add `use: admin.api`"):
        world(Sample(told, "things:read"))


async def test_a_right_is_asked_for_and_the_route_sees_who_has_it_but_no_credential():
    _, _, table = world(Sample(told, "things:read"), Doorman())
    (status, headers, body), _ = await ask(table, authorization="Bearer good", accept="x")
    assert (status, headers["etag"]) == (200, '"1"')
    assert msgspec.json.decode(body) == {"caller": None, "who": "alice", "headers": ["accept"]}


@pytest.mark.parametrize(
    ("permission", "headers", "status", "kind"),
    [
        ("things:read", {}, 401, "unauthenticated"),
        ("things:read", {"authorization": "Bearer bad"}, 401, "unauthenticated"),
        ("things:read", {"x_api_key": "key"}, 401, "unauthenticated"),
        ("things:write", {"authorization": "Bearer good"}, 403, "permission_denied"),
        ("key", {"authorization": "Bearer good"}, 401, "invalid_api_key"),
        ("loopback", {"peer": "192.0.2.1"}, 403, "permission_denied"),
    ],
)
async def test_who_lacks_the_right_gets_an_error_in_the_described_form(permission, headers, status, kind):
    _, _, table = world(Sample(told, permission), Doorman())
    (got, sent, body), _ = await ask(table, **headers)
    error = msgspec.json.decode(body)
    assert (got, error["type"], error["request_id"], error["errors"]) == (status, kind, "req_1", [])
    assert error["detail"]
    assert sent["cache-control"] == "no-store"
    assert sent.get("www-authenticate") == ("Bearer" if status == 401 else None)


async def test_a_key_is_enough_for_a_route_for_keys():
    _, _, table = world(Sample(told, "key"), Doorman())
    (_, _, body), _ = await ask(table, x_api_key="key")
    assert msgspec.json.decode(body)["caller"] == "k"


async def test_a_crash_is_a_500_that_says_nothing_of_it():
    async def crash(request):
        raise KeyError("hunter2")

    (status, _, body), _ = await ask(world(Sample(crash))[2])
    assert status == 500
    assert b"hunter2" not in body
    with pytest.raises(KeyError):
        await ask(world(Sample(crash, about=None))[2])


async def test_wrong_fields_are_listed():
    async def wrong(request):
        raise InvalidFields(("name", "is missing"), ("limits.models[0]", "must be text"))

    (status, _, body), _ = await ask(world(Sample(wrong))[2])
    error = msgspec.json.decode(body)
    assert (status, error["detail"]) == (422, "name: is missing; limits.models[0]: must be text")
    assert error["errors"] == [
        {"path": "name", "message": "is missing"}, {"path": "limits.models[0]", "message": "must be text"},
    ]  # fmt: skip


async def test_a_route_without_a_description_leaves_its_errors_to_the_dialect():
    with pytest.raises(Unauthenticated):
        await ask(world(Sample(told, "key", about=None))[2])


async def test_parts_are_streamed():
    async def parts():
        yield b"b"
        yield b"c"

    async def stream(request):
        return Reply(200, b"a", content_type="text/csv", parts=parts())

    answer, incoming = await ask(world(Sample(stream))[2])
    assert answer == "finished"
    assert incoming.sent[0] == (200, {"x-request-id": "req_1", "content-type": "text/csv"})
    assert incoming.sent[1:] == [b"a", b"b", b"c"]


async def test_after_a_reload_the_new_plugins_answer_and_running_requests_keep_the_old_alive():
    async def old(request):
        assert gateway.snapshot.use.running == 1
        return Reply(200, b"old")

    async def new(request):
        return Reply(200, b"new")

    gateway, routes, table = world(Sample(old))
    assert (await ask(table))[0][2] == b"old"
    assert gateway.snapshot.use.running == 0
    gateway.snapshot = snapshot(Sample(new))
    routes.renew(gateway.snapshot.plugins)
    assert (await ask(table))[0][2] == b"new"


async def test_a_route_reads_cookies_and_the_body():
    async def read(request):
        return Reply(200, repr((request.cookie("a"), await request.json(), request.query["a"])).encode())

    (_, _, body), _ = await ask(world(Sample(read))[2], cookie="a=1; b=2")
    assert body == b"('1', {'a': 1}, 'b')"
