"""API keys of the gateway, in `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`; AWS clients may sign
with one.

    plugins:
      - use: auth.api_keys

A key that was seen before costs one hash and no query, until any key or tenant changes. Every refusal takes the
same time and says nothing of the key that was presented.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import structlog
from msgspec import Meta

from gateway import Caller, GatewayError, Level, Unauthenticated, hookimpl
from gateway.accounts import keys
from gateway.accounts.records import KeyRecord, KeyState, Team, Tenant, User, state
from gateway.clock import now_ms
from gateway.secrets import derive
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway import Gateway

_WRONG: Final = "Incorrect API key provided."
_TWO: Final = "Two different credentials were sent. Send one API key, in one header."
_REASONS: Final[Mapping[KeyState, str]] = {
    "revoked": "This API key was revoked.",
    "expired": "This API key has expired.",
    "disabled": "This API key is disabled.",
    "tenant disabled": "The organisation of this API key is disabled.",
    "owner not active": "The owner of this API key is not active.",
    "owner without right": "The owner of this API key no longer has the right to use the gateway.",
}
_NO_DIGEST: Final = "0" * 64
_log = structlog.get_logger("gateway.auth")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing has to be set."""

    refusal_delay: Annotated[float, Meta(ge=0, le=5, description="Seconds that every refusal takes at least.")] = 0.01
    cached_keys: Annotated[int, Meta(ge=1, description="Keys that a worker remembers.")] = 100_000
    last_used_every: Annotated[float, Meta(gt=0, le=3600, description="Seconds between writes of `last_used`.")] = 30.0


class _Known(msgspec.Struct, frozen=True, gc=False):
    """A verified key: valid while the generation is this one, and until it expires."""

    caller: Caller
    generation: int
    expires_at: int


class ApiKeys:
    """Finds the caller of a key."""

    Config = Options

    def __init__(self, config: Options) -> None:
        self._config = config
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[tuple[str, int], asyncio.Task[KeyRecord | None]] = {}
        self._used: dict[str, int] = {}
        self._tasks = Tasks()

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the store and the keys of this gateway's digests."""
        self._store = gateway.store
        self._state = gateway.state
        self._pepper = keys.pepper(gateway.secret)
        # Keyed as an HMAC is, at a quarter of its cost.
        self._keyed = blake2b(key=derive(gateway.secret, "api-key-cache"))
        self._tasks.spawn(self._note_used(), "last_used of keys")

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002 - the hook's signature
        """Store what is not stored yet of `last_used`."""
        await self._tasks.close()
        await self._store_used()

    @hookimpl
    async def authenticate(self, headers: Mapping[str, str]) -> Caller | None:
        """See `Hooks.authenticate`."""
        arrived = time.monotonic()
        try:
            key = _presented(headers)
            if key is None:
                return None
            hashed = self._keyed.copy()
            hashed.update(key.encode())
            name = hashed.digest()
            generation = self._state.generation("auth")
            known = self._known.get(name)
            if known is None or known.generation != generation:
                return await self._verify(key, name, generation)
            now = now_ms()
            if now >= known.expires_at:
                raise Unauthenticated(_REASONS["expired"])  # noqa: TRY301 - delayed below, as every refusal
        except Unauthenticated:
            # One millisecond more: timers of some loops count whole milliseconds, and round down.
            await asyncio.sleep(max(0.0, arrived + self._config.refusal_delay - time.monotonic()) + 0.001)
            raise
        self._known.move_to_end(name)
        self._used[known.caller.key] = now
        return known.caller

    async def _verify(self, key: str, name: bytes, generation: int) -> Caller:
        """Ask the store, at most once. The generation was read before: a change meanwhile makes the answer stale."""
        self._known.pop(name, None)
        parsed = keys.parse(key)
        if parsed is None:
            raise Unauthenticated(_WRONG)
        key_id, secret = parsed
        record = await self._record(key_id, generation)
        expected = _NO_DIGEST if record is None else record.digest
        if not keys.matches(expected, keys.digest(self._pepper, secret)) or record is None:
            raise Unauthenticated(_WRONG)
        now = now_ms()
        standing = state(record, now)
        if standing != "active":
            raise Unauthenticated(_REASONS[standing])
        caller = _caller(record)
        if len(self._known) >= self._config.cached_keys:
            self._known.popitem(last=False)
        self._known[name] = _Known(caller, generation, record.expires_at or sys.maxsize)
        self._used[record.id] = now
        return caller

    async def _record(self, key_id: str, generation: int) -> KeyRecord | None:
        """One query for all that ask for the same key at the same time."""
        asked = (key_id, generation)
        task = self._asking.get(asked)
        if task is None:
            task = self._asking[asked] = asyncio.get_running_loop().create_task(self._store.find_key(key_id))
            task.add_done_callback(lambda done: self._answered(asked, done))
        return await asyncio.shield(task)

    def _answered(self, asked: tuple[str, int], task: asyncio.Task[KeyRecord | None]) -> None:
        del self._asking[asked]
        if not task.cancelled():
            task.exception()  # everybody who asked may have gone: then nobody else looks at it

    async def _note_used(self) -> None:
        while True:
            await asyncio.sleep(self._config.last_used_every)
            await self._store_used()

    async def _store_used(self) -> None:
        used, self._used = self._used, {}
        try:
            await self._store.touch_keys(used)
        except GatewayError as error:
            self._used = used | self._used
            _log.warning("last_used of keys could not be stored; it is tried again", reason=error.message)


def _presented(headers: Mapping[str, str]) -> str | None:
    """The key in the headers; `None` when there is none of this kind."""
    found = headers.get("authorization", "")
    found = found[7:].strip(" \t") if found[:7].lower() == "bearer " else _signer(found)
    for other in (headers.get("x-api-key"), headers.get("api-key"), headers.get("x-goog-api-key")):
        if other and other != found:
            if found:
                raise Unauthenticated(_TWO)
            found = other
    if not found.startswith(keys.PREFIX):
        return None
    if len(found) != keys.LENGTH or not found.isascii():
        raise Unauthenticated(_WRONG)
    return found


def _signer(found: str) -> str:
    """The key that an AWS client signs with: over plain http it sends no bearer token. The signature is not looked at,
    since the id alone is the whole credential, as in any other header.
    """
    if not found.startswith("AWS4-HMAC-SHA256 "):
        return ""
    signer = found.partition("Credential=")[2].partition("/")[0]
    return signer if signer.startswith(keys.PREFIX) else ""


def _caller(key: KeyRecord) -> Caller:
    owner, team = key.owner or key.service_account, key.team
    return Caller(
        tenant=key.tenant.id, key=key.id, key_name=key.name, owner="" if owner is None else owner.id,
        environment=key.environment, levels=tuple(_levels(key)), team="" if team is None else team.id,
        scopes=key.scopes, providers=key.tenant.providers, logging=key.logging or key.tenant.logging,
    )  # fmt: skip


def _levels(key: KeyRecord) -> Iterator[Level]:
    """Also those without limits: what is spent is counted for a limit that is set later."""
    zone = key.tenant.time_zone
    yield _level("tenant", key.tenant, zone)
    if key.team is not None:
        yield _level("team", key.team, zone)
    if key.owner is not None:
        yield _level("user", key.owner, zone)
    yield _level("key", key, zone)


def _level(kind: str, of: Tenant | Team | User | KeyRecord, zone: str) -> Level:
    policy = None if isinstance(of, User) else of.guardrail_policy
    limits = msgspec.structs.asdict(of.limits)
    return Level(kind=kind, id=of.id, name=of.name, guardrail_policy=policy, zone=zone, **limits)
