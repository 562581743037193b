"""A sweep: nothing that these tests use as a credential is in any answer, log, metric or file afterwards."""

import asyncio
import re
import time

from people import PASSWORD

from gateway.accounts.roles import ROLES


async def everything(it):
    """Credentials of every kind, made and used, rightly and wrongly."""
    secrets = {*it.tokens.values(), it.gateway.key, PASSWORD}
    told = await it.call(None, "POST", "/auth/login", {"email": "admin@example.com", "password": PASSWORD}, status=200)
    secrets.add(told["access_token"])
    await it.call(None, "POST", "/auth/login", {"email": "admin@example.com", "password": "canary-wrong-password"})
    secrets.add("canary-wrong-password")
    key = (await it.call("member", "POST", "/api-keys", {"name": "k"}, idempotency_key="canary-once", status=201))
    secrets |= {key["api_key"], "canary-once"}
    secrets.add((await it.call("member", "POST", f"/api-keys/{key['id']}/rotate", {}, status=201))["api_key"])
    user = await it.call("admin", "POST", "/users", {"email": "n@example.com"}, status=201)
    secrets.add(user["one_time_password"])
    secrets.add((await it.call("admin", "POST", f"/users/{user['id']}/reset-password", status=200))["one_time_password"])
    secrets.add((await it.call("admin", "POST", "/invitations", {"email": "i@example.com"}, status=201))["token"])
    team = await it.call("admin", "POST", "/teams", {"name": "t"}, status=201)
    account = await it.call("admin", "POST", "/service-accounts", {"name": "s", "team_id": team["id"]}, status=201)
    token = await it.call("admin", "POST", f"/service-accounts/{account['id']}/tokens", {"name": "t"}, status=201)
    secrets.add(token["token"])
    for wrong in ("sk-gw-canary" + "x" * 40, "gws-canary" + "y" * 49):
        await it.call(None, "GET", "/auth/me", authorization=f"Bearer {wrong}")
        secrets.add(wrong)
    assert await it.chat(key["api_key"]) == 200
    return secrets


def traces(secret):
    """The secret, and its second half: for a key or token that is what nobody may know."""
    return [secret, secret[len(secret) // 2 :]] if len(secret) > 30 else [secret]


async def test_no_credential_is_left_anywhere(it, capfd):
    secrets = await everything(it)
    seen = {}
    for role in ROLES:
        for path in (
            "/users?limit=500", "/api-keys?limit=500", "/tenants", "/teams", "/service-accounts", "/invitations",
            "/audit-logs?limit=500", "/audit/security-events", "/audit-logs/export", "/audit-logs/export?format=jsonl",
            "/auth/me", "/auth/sessions", "/models", "/router/providers", "/router/config", "/router/health",
            "/features/status",
        ):  # fmt: skip
            seen[role, path] = str((await it.call(role, "GET", path)).body)
        for one in ("/users/member", "/users/admin"):
            seen[role, one] = str((await it.call(role, "GET", one)).body)
    for path in ("/metrics", "/", "/health/ready", "/docs", "/api/v1/openapi.json"):
        async with it.gateway.client.get(it.gateway.root + path) as reply:
            seen[path] = await reply.text()
    for name, file in ((path.name, path) for path in (it.directory / "data").rglob("*") if path.is_file()):
        seen[name] = file.read_bytes().decode("latin-1")
    captured = capfd.readouterr()
    seen["stdout"], seen["stderr"] = captured.out, captured.err
    assert len(seen) > 100
    for where, text in seen.items():
        for secret in secrets:
            assert not [trace for trace in traces(secret) if trace in text], (where, secret[:12])
        if where != "secret":
            assert "upstream-credential" not in text, where
    for where, text in seen.items():
        assert str(where).startswith("gateway.db") or "scrypt$" not in text, where


async def test_a_401_says_nothing_of_the_credential(it):
    for credential in ("sk-gw-abcdefghijkl", "gws-abcdefghijkl", "xyz", it.gateway.key[:-1] + "_", "gwt-" + "Q" * 55):
        told = await it.call(None, "GET", "/users", authorization=f"Bearer {credential}")
        assert told.status == 401
        assert credential.removeprefix("sk-gw-").removeprefix("gws-").removeprefix("gwt-") not in str(told.body)


async def test_a_control_character_in_a_credential_leaves_no_trace(it, capfd):
    reader, writer = await asyncio.open_connection("127.0.0.1", it.gateway.port)
    writer.write(b"GET /api/v1/admin/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer gws-canarycanary\x01z\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b" 400 " in answer.splitlines()[0]
    assert b"canary" not in answer
    assert "canary" not in str(capfd.readouterr())


async def test_unknown_wrong_and_revoked_tokens_take_the_same_time(it):
    """Each refusal takes at least its fixed time, which hides what was looked at."""
    team = await it.call("admin", "POST", "/teams", {"name": "t"}, status=201)
    account = await it.call("admin", "POST", "/service-accounts", {"name": "s", "team_id": team["id"]}, status=201)
    path = f"/service-accounts/{account['id']}/tokens"
    made = await it.call("admin", "POST", path, {"name": "t"}, status=201)
    await it.call("admin", "DELETE", f"{path}/{made['id']}", status=204)
    right = it.tokens["member"]
    kinds = {
        "unknown": "gws-" + "A" * 55, "wrong": right[:-1] + ("A" if right[-1] != "A" else "B"),
        "revoked": made["token"], "malformed": "nonsense", "key": it.gateway.key,
    }  # fmt: skip
    took = {}
    for kind, token in kinds.items():
        times = []
        for _ in range(15):
            began = time.perf_counter()
            assert (await it.call(None, "GET", "/users", authorization=f"Bearer {token}")).status == 401
            times.append(time.perf_counter() - began)
        took[kind] = min(times)  # the other ones also tell how busy the machine is
    assert min(took.values()) >= 0.01
    assert max(took.values()) < 2 * min(took.values()), took


def test_the_reference_page_keeps_nothing_in_the_browser():
    from gateway.admin.reference import reference_page

    html = reference_page().html.decode()
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie", html)


async def test_any_bytes_as_a_credential_are_a_wrong_credential(it):
    port = it.gateway.port

    async def status(path, name, value):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + name + b": " + value + b"\r\n\r\n")
        line = await reader.readline()
        writer.close()
        return int(line.split()[1])

    paths = (b"/api/v1/models", b"/api/v1/admin/users", b"/api/v1/usage/me", b"/api/v1/key")
    for value in (b"\xff" * 40, b"sk-gw-" + b"\xe9" * 61, b"' OR 1=1 --", b"%00%s%n", b"\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87", b"x" * 7000):
        for path in paths:
            for name, text in ((b"authorization", b"Bearer " + value), (b"x-api-key", value), (b"authorization", value)):
                assert await status(path, name, text) == 401, (path, name, value)
    right = it.gateway.key.encode()
    assert await status(b"/api/v1/key", b"authorization", b"Bearer " + right) == 200
    assert await status(b"/api/v1/key", b"authorization", b"Bearer " + right + b"\xff") == 401
    assert await status(b"/api/v1/key", b"x-other", b"\xff") == 400
