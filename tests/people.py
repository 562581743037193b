"""A gateway with people in it: two tenants, everybody's role in the first, an admin in the second, and their tokens."""

import contextlib
from pathlib import Path

import msgspec
from running import Running, provider, running
from yarl import URL

from gateway.accounts.passwords import Passwords
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import NewUser, Tenant, User
from gateway.accounts.roles import ROLES
from gateway.accounts.services import Accounts
from gateway.testing import FakeUpstream

PLUGINS = [
    {"use": "auth.api_keys", "with": {"refusal_delay": 0}}, {"use": "limiter.requests"}, {"use": "limiter.budget"},
    {"use": "sink.ledger"}, {"use": "admin.api"},
]  # fmt: skip
MODELS = [{"name": "m", "targets": ["up/gpt-4o"]}, {"name": "n", "targets": ["up/gpt-4o-mini"]}]
PASSWORD = "violet-Harbor-kettle-91"
ROOT = Principal(id="root", kind="operator", name="test", role="owner", home="default")


class World:
    """`ids` and `tokens` by name: each role in the tenant `default`, and `foreign`, the admin of `other`."""

    def __init__(self, gateway: Running, accounts: Accounts):
        self.gateway = gateway
        self.accounts = accounts
        self.store = gateway.store
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.sessions: dict[str, str] = {}

    async def person(self, name: str, role: str, tenant: str = "default") -> None:
        user = User(id=name, tenant=tenant, email=f"{name}@example.com", name=name, role=role, created=len(self.ids) + 1)
        await self.store.create_user(NewUser(user=user, password_hash=self.hash))
        self.ids[name] = name
        await self.sign_in(name)

    async def sign_in(self, name: str) -> None:
        """A session without the cost of a password."""
        user = await self.store.one(User, id=name)
        tenant = await self.store.one(Tenant, id=user.tenant)
        opened = await self.accounts.sessions.open(user, tenant, Origin(address="192.0.2.7"), "login")
        self.tokens[name], self.sessions[name] = opened.token, opened.session.id

    async def call(self, who, method, path, body=None, status=None, **headers):
        """Status, headers and decoded body of a request under /api/v1/admin; `who` is a name, a token or nobody."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if who:
            headers["authorization"] = f"Bearer {self.tokens.get(who, who)}"
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            headers.setdefault("content-type", "application/json")
        url = URL(self.gateway.url + "/admin" + path, encoded=True)  # as written: nothing is tidied up
        async with self.gateway.client.request(method, url, data=data, headers=headers) as reply:
            raw = await reply.read()
        is_json = raw and reply.headers["content-type"] in ("application/json", "application/scim+json")
        decoded = msgspec.json.decode(raw) if is_json else raw.decode()
        if status is not None:
            assert reply.status == status, (reply.status, decoded)
        return Told(reply.status, reply.headers, decoded)

    async def chat(self, key: str, model="m", path="/chat/completions"):
        """The status of a request to the data plane."""
        body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "hello"}]})
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        async with self.gateway.client.post(self.gateway.url + path, data=body, headers=headers) as reply:
            await reply.read()
            return reply.status

    async def entries(self, action=None):
        """The audit, newest first."""
        found = [each.entry for each in await self.store.audit_page({}, limit=500)]
        return [entry for entry in found if action in (None, entry.action)]


class Told:
    """An answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __getitem__(self, name):
        return self.body[name]


@contextlib.asynccontextmanager
async def world(directory: Path, *, database: str | None = None, further=(), **options):
    """Everything started, everybody signed in; `options` are those of `admin.api`, `further` more plugins."""
    more = {"database": database} if database else {}
    plugins = [*PLUGINS[:-1], {"use": "admin.api", "with": options}] if options else PLUGINS
    plugins = [*plugins, *further]
    async with FakeUpstream() as upstream, running(
        directory, providers=[provider(upstream)], models=MODELS, plugins=plugins,
        prices=[{"model": "up/*", "input": "1000", "output": "1000"}], **more,
    ) as gateway:  # fmt: skip
        secret = gateway.process.gateway.secret
        made = World(gateway, Accounts(gateway.store, secret, passwords=Passwords(secret, cost=1 << 4)))
        made.upstream = upstream
        made.hash = await Passwords(secret, cost=1 << 4).hash(PASSWORD)
        await gateway.store.create_tenant(Tenant(id="other", name="Other", created=5))
        for role in ROLES:
            await made.person(role, role)
        await made.person("foreign", "admin", "other")
        yield made


