"""What went wrong elsewhere must not go wrong here: attacks that were seen on gateways like this one, each tried."""

import ast
import asyncio
import re
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from issuer import FakeIssuer
from joserfc.jwk import RSAKey
from people import MODELS
from people import world as started
from running import PLUGINS as CORE
from running import provider, running

import gateway.admin
from gateway.accounts.roles import ROLES, reach
from gateway.store.sqlite import SqliteReader
from gateway.testing import FakeUpstream

GATEWAY = Path(gateway.admin.__file__).parent.parent
TOOLS = {"subprocess", "pty", "runpy", "code", "codeop", "ctypes", "jinja2", "pickle", "marshal", "shelve", "multiprocessing"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "execv", "execve", "spawnv", "create_subprocess_exec", "create_subprocess_shell"}


async def test_no_statement_of_the_database_ever_holds_what_somebody_sent(it, monkeypatch):
    """What is sent travels beside the statement, also on the way of errors."""
    seen = []
    real = SqliteReader.rows

    async def rows(self, sql, *args):
        seen.append(sql)
        return await real(self, sql, *args)

    monkeypatch.setattr(SqliteReader, "rows", rows)
    nasty = "canary'; DROP TABLE users; --"
    for credential in (f"sk-gw-{nasty}", nasty, f"gws-{nasty}", "canary\xff"):
        await it.call(None, "GET", "/users", authorization=f"Bearer {credential}")
        async with it.gateway.client.post(it.gateway.url + "/chat/completions", headers={"x-api-key": credential}, data=b"{}") as reply:
            assert reply.status == 401
    text = quote(nasty)
    for path in ("/users", "/api-keys", "/tenants", "/teams", "/audit-logs", "/service-accounts"):
        assert (await it.call("owner", "GET", f"{path}?search={text}")).status in (200, 422)
        assert (await it.call("owner", "GET", f"{path}?cursor={text}")).status in (200, 422)
    for path in (f"/users/{text}", f"/api-keys/{text}", f"/users?tenant={text}", f"/api-keys?user={text}", f"/audit-logs?action={text}"):
        await it.call("owner", "GET", path)
    await it.call(None, "POST", "/auth/login", {"email": nasty, "password": nasty})
    await it.call("admin", "POST", "/teams", {"name": nasty}, status=201)
    assert await it.chat(it.gateway.key, model=nasty) == 404
    assert len(seen) > 20
    assert not [sql for sql in seen if "canary" in sql]
    assert (await it.call("owner", "GET", "/users/count", status=200)).body["count"] > 3


async def test_credentials_that_differ_in_their_last_sign_share_nothing(it):
    key = it.gateway.key
    others = [key[:-1] + sign for sign in "ABab01_-" if sign != key[-1]]
    assert await it.chat(key) == 200  # known from now on
    for other in others:
        assert await it.chat(other) == 401
    token = it.tokens["member"]
    assert (await it.call(token, "GET", "/auth/me")).status == 200
    for other in (token[:-1] + sign for sign in "ABab01_-" if sign != token[-1]):
        assert (await it.call(other, "GET", "/auth/me")).status == 401


async def test_every_changed_sign_of_a_token_makes_it_nobodys(it):
    """Header, identifier, secret, checksum: all of it counts."""
    for text in (it.tokens["admin"], it.gateway.key):
        for position in range(0, len(text), 3):
            changed = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
            assert (await it.call(changed, "GET", "/users")).status == 401
            assert await it.chat(changed) == 401


async def test_a_template_is_a_text(it):
    for text in ("{{7*7}}", "{% for x in y %}", "${7*7}", "<%= 7*7 %>", "{0.__class__}", "%(x)s"):
        made = await it.call("admin", "POST", "/teams", {"name": text}, status=201)
        assert made["name"] == text
        assert (await it.call("admin", "GET", f"/teams/{made['id']}", status=200)).body["name"] == text


def test_no_part_that_answers_requests_can_start_a_process_or_load_code():
    """Programs of the command line may, and what reads files does so in a process of its own; other parts may not."""
    allowed = {"commands", "store", "supervisor.py", "slot.py", "worker.py", "cli.py", "registry.py", "__init__.py", "testing", "__main__.py", "files"}
    found = []
    plugins = GATEWAY.parent / "plugins" / "gateway_plugins"
    for path in [*GATEWAY.rglob("*.py"), *plugins.rglob("*.py")]:
        place = path.relative_to(GATEWAY if path.is_relative_to(GATEWAY) else plugins).parts[0]
        if place in allowed and path.is_relative_to(GATEWAY):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [(path.name, name) for name in names if name.partition(".")[0] in TOOLS]
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
                base = getattr(getattr(node.func, "value", None), "id", "")
                if name in CALLS and not (name in ("compile", "system") and base != "os" and (base or name == "system")):
                    found.append((path.name, name))
    assert found == [], found


@pytest.mark.parametrize("extra", [{"owner": "admin"}, {"owner_id": "admin"}, {"tenant": "other"}, {"tenant_id": "other"}, {"created_by": "admin"}, {"id": "mine"}])
async def test_whose_something_is_nobody_says_in_a_body(it, extra):
    for path, body in (("/api-keys", {"name": "k"}), ("/teams", {"name": "t"}), ("/users", {"email": "n@example.com"})):
        told = await it.call("admin", "POST", path, {**body, **extra})
        assert told.status in (400, 403, 422), (path, extra)
    assert await it.store.find_user("n@example.com") is None
    for path in ("/users/member", "/tenants/default"):
        before = (await it.call("owner", "GET", path, status=200)).body
        assert (await it.call("admin", "PATCH", path, extra)).status in (400, 403, 422)
        assert (await it.call("owner", "GET", path, status=200)).body == before


async def test_a_browsers_session_holds_no_api_key(it):
    from people import PASSWORD

    for headers in ({}, {"origin": it.gateway.root, "sec_fetch_site": "same-origin"}):
        told = await it.call(None, "POST", "/auth/login", {"email": "member@example.com", "password": PASSWORD}, status=200, **headers)
        assert "sk-gw-" not in str(told.body) + str(told.headers)


async def test_a_slow_search_does_not_hold_up_requests(it, monkeypatch):
    """Searches have a connection of their own, and two seconds."""
    store = it.store
    assert store._searches is not store._lookups
    assert store._searches._deadline == 2.0
    gate = asyncio.Event()
    real = SqliteReader.rows

    async def rows(self, sql, *args):
        if self is store._searches:
            await gate.wait()
        return await real(self, sql, *args)

    monkeypatch.setattr(SqliteReader, "rows", rows)
    searches = [asyncio.ensure_future(it.call("owner", "GET", "/users?search=x")) for _ in range(5)]
    key = (await it.call("member", "POST", "/api-keys", {"name": "k"}, status=201)).body["api_key"]
    assert await it.chat(key) == 200  # a key that no worker knows yet
    assert not any(each.done() for each in searches)
    gate.set()
    assert {told.status for told in await asyncio.gather(*searches)} == {200}


@pytest.mark.parametrize("length", [1001, 20_000])
async def test_a_search_has_an_end(it, length):
    assert (await it.call("owner", "GET", "/users?search=" + "%25" * length)).status in (400, 414, 422, 431)


async def test_ways_to_sign_in_do_not_stand_in_for_one_another(tmp_path):
    """A token that fails is not tried as a key, nor the other way round; each kind opens its own doors only."""
    async with FakeIssuer() as issuer, FakeUpstream() as upstream:
        jwt = {"issuer": issuer.url, "audience": ["ai-gateway"], "tenant": "default", "allow_private": True}
        plugins = [{"use": "auth.jwt", "with": jwt}, *CORE, {"use": "admin.api"}]
        async with running(tmp_path, plugins=plugins, providers=[provider(upstream)], models=MODELS) as gw:
            good, bad = issuer.token(sub="s"), issuer.token(sub="s", exp=1)
            body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x"}]})

            async def status(**headers):
                headers = {name.replace("_", "-"): value for name, value in headers.items()}
                async with gw.client.post(gw.url + "/chat/completions", data=body, headers={**headers, "content-type": "application/json"}) as reply:
                    return reply.status

            assert await status(authorization=f"Bearer {good}") == 200
            assert await status(authorization=f"Bearer {bad}", x_api_key=gw.key) == 401
            assert await status(authorization=f"Bearer {good[:-6]}AAAAAA", x_api_key=gw.key) == 401
            for credential in (good, gw.key):
                async with gw.client.get(gw.url + "/admin/users", headers={"authorization": f"Bearer {credential}"}) as reply:
                    assert reply.status == 401
            for name in ("jku", "x5u", "jwk"):
                stranger = RSAKey.generate_key(2048, {"kid": "stranger"})
                brought = stranger.as_dict(private=False) if name == "jwk" else issuer.url + "/keys"
                assert await status(authorization=f"Bearer {issuer.token(sub='s', header={name: brought})}") == 401
                assert await status(authorization=f"Bearer {issuer.token(sub='s', key=stranger, header={name: brought})}") == 401


async def test_the_routes_of_single_sign_on_and_scim_are_in_the_matrix_too(tmp_path):
    sso = {"name": "w", "issuer": "https://login.example", "client_id": "c", "client_secret": "canary-secret-of-sso"}
    further = [{"use": "admin.sso", "with": {"providers": [sso]}}, {"use": "admin.scim"}]
    async with started(tmp_path, further=further) as world:
        routes = [
            each for each in world.gateway.process._app._routes
            if re.search(r"/scim/|/sso", each.pattern) and ":" in each.permission and not each.permission.startswith("self:")
        ]
        assert len(routes) > 15
        for route in routes:
            path = re.sub(r"\{\w+\}", "nothing0", route.pattern).removeprefix("/api/v1/admin")
            body = None if route.method == "GET" else {}
            assert (await world.call(None, route.method, path, body)).status == 401
            for role in ROLES:
                told = await world.call(role, route.method, path, body)
                assert (told.status == 403) == (reach(role, route.permission) is None), (role, route.method, path)
                assert told.status < 500
                assert "canary-secret-of-sso" not in str(told.body)


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
async def test_a_short_master_secret_stops_the_start(tmp_path, secret):
    with pytest.raises(Exception, match=r"32|secret"):
        async with running(tmp_path, secret=secret):
            pass
