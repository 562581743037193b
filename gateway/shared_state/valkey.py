"""Shared state of several machines: a Valkey or Redis server (5 or later). `lua/` counts by the rules of `counters.py`.

Each operation is one script, hence atomic, on the server's clock. Amounts are exact up to 2^53: nine million dollars a
budget. What happens while the server is away is in `fallback.py`; here its absence is `StateAway`.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.shared_state import Ask, Granted, Refused, Standing
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

STALE_AFTER = 15.0  # seconds without a beat after which a worker counts as dead

_TIMEOUT = 1.0      # seconds for one operation: a request waits for it
_LOOK_EVERY = 0.25  # seconds between two looks at the generations
_STEPS = 60
_MICRO = 1_000_000
_MONEY = frozenset({"budget", "rolling"})


class StateAway(ConnectionError):
    """The server does not answer, or not in time. Whether it did what was asked is not known."""


class ValkeyState:
    """Counters on a server that many processes share. `owner` names this process, for its holds, among all of them.

    `machine` tells apart processes of one name; `prefix` keeps apart what shares a server. `clock` (microseconds)
    replaces the server's, for tests.
    """

    def __init__(
        self,
        url: str,
        owner: str,
        *,
        machine: str = "",
        prefix: str = "gateway",
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.owner = owner
        self._machine = machine
        self._me = self._name(owner)
        self.owners = 1  # processes that live, as far as known
        self._redis = Redis.from_url(
            _address(url), socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._prefix = f"{{{prefix}}}:"  # one slot of a cluster
        self._clock = clock
        self._scripts: dict[str, AsyncScript] = {}
        self._generations: dict[str, int] = {}
        self._tasks = Tasks()
        self._looking = False

    async def take(self, hold: str, asks: Sequence[Ask]) -> Granted | Refused:
        """Take all asks in one atomic step, or none."""
        _check(hold, asks)
        answer = await self._run("take", self._me, hold, *_told(asks))
        standings = _standings(asks, answer)
        if answer[0]:
            return Granted(standings)
        return Refused(_longest(asks, standings), standings)

    async def settle(self, hold: str, actual: Mapping[str, int] | None = None, *, again: bool = False) -> bool:
        """Give a hold back; False if it is not open. `again`: there was no answer to that within the last minute."""
        used = (part for key, amount in (actual or {}).items() for part in (key, str(amount)))
        return bool(await self._run("settle", self._me, hold, "1" if again else "0", *used))

    async def peek(self, asks: Sequence[Ask]) -> tuple[Standing, ...]:
        """How the counters stand."""
        return _standings(asks, await self._run("take", self._me, "?", *_told(asks)))

    async def charge(self, asks: Sequence[Ask], amount: int | None = None) -> None:
        """Add to what is spent without a hold."""
        if any(ask.kind not in _MONEY for ask in asks):
            raise ValueError("only money can be charged without a hold")
        if asks:
            told = (
                part for ask in asks
                for part in (
                    ask.kind, ask.key, str(ask.amount if amount is None else amount), _keep(ask), _length(ask),
                    str(int(ask.age * _MICRO)),
                )
            )
            await self._run("charge", *told)

    async def seed(self, budgets: Mapping[str, int]) -> None:
        """Raise what is spent to the ledger's sums; what other gateways have counted since stays."""
        await self._call("seed", *(part for key, spent in budgets.items() for part in (key, str(max(0, spent)))))

    async def ready(self) -> bool:
        """Whether it was seeded since it began with nothing."""
        return bool(await self._reach(self._redis.exists(self._prefix + "seeded")))

    async def spent(self, key: str) -> tuple[int, int]:
        """(spent, reserved) of one budget."""
        row = await self._reach(self._redis.hmget(f"{self._prefix}budget:{key}", ["s", "r"]))
        return int(row[0] or 0), int(row[1] or 0)

    def generation(self, name: str) -> int:
        """The number that `bump` raises, as of a quarter of a second ago."""
        return self._generations.get(name, 0)

    async def bump(self, name: str) -> int:
        """Raise a generation."""
        number = int(await self._reach(self._redis.hincrby(self._prefix + "generations", name, 1)))
        self._generations[name] = number
        return number

    async def beat(self) -> None:
        """Say that this process lives, and keep looking at the generations."""
        if not self._looking:
            self._looking = True
            self._tasks.spawn(self._look(), "look at the generations")
        self.owners = max(1, int(await self._run("beat", self._me)))

    async def release_owner(self, owner: str) -> int:
        """Give back all holds of a dead worker."""
        return int(await self._run("sweep", self._name(owner), "release"))

    async def sweep(self) -> int:
        """Give back the holds of all processes that stopped beating."""
        return int(await self._run("sweep", self._me, str(int(STALE_AFTER * _MICRO))))

    async def totals(self) -> Mapping[str, int]:
        """`open_holds` and `reserved`."""
        owners = await self._reach(self._redis.zrange(self._prefix + "owners", 0, -1))
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(self._prefix + "reserved")
        for owner in {*owners, self._me.encode()}:
            pipe.hlen(f"{self._prefix}holds:{owner.decode()}")
        reserved, *holds = await self._reach(pipe.execute())
        return {"open_holds": sum(holds), "reserved": int(reserved or 0)}

    async def close(self) -> None:
        """Let go of the connections."""
        await self._tasks.close()
        await self._redis.aclose()

    async def refresh(self) -> None:
        """See the generations as they are now."""
        found = await self._reach(self._redis.hgetall(self._prefix + "generations"))
        self._generations = {name.decode(): int(number) for name, number in found.items()}

    def _name(self, owner: str) -> str:
        return f"{self._machine}/{owner}" if self._machine else owner

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(StateAway):  # `beat` reports it, `fallback.py` answers meanwhile
                await self.refresh()
            await asyncio.sleep(_LOOK_EVERY)

    async def _run(self, script: str, *args: str) -> Any:  # noqa: ANN401 - as the script answers
        return await self._call(script, "" if self._clock is None else str(self._clock()), *args)

    async def _call(self, script: str, *args: str) -> Any:  # noqa: ANN401
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(_source(script))
        return await self._reach(self._scripts[script](keys=[self._prefix], args=list(args)))

    async def _reach(self, call: Any) -> Any:  # noqa: ANN401 - an awaitable of the client's many types
        try:
            return await call
        except exceptions.ResponseError as error:
            if str(error) == "OPEN":
                raise ValueError("the hold is open already") from None
            if str(error) == "EMPTY":
                raise StateAway("the shared state's server has lost its memory and is not seeded yet") from None
            raise StateAway(f"the shared state's server refuses: {error}") from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            with contextlib.suppress(exceptions.RedisError, OSError):
                # The others that wait in the pool are as dead, and each would look like a server that is away again.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StateAway(f"the shared state's server is away: {error or type(error).__name__}") from error


@cache
def _source(name: str) -> str:
    folder = Path(__file__).with_name("lua")
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


def _address(url: str) -> str:
    """`valkey://` and `valkeys://` as the client calls them."""
    scheme, _, rest = url.partition("://")
    return f"{ {'valkey': 'redis', 'valkeys': 'rediss'}.get(scheme, scheme)}://{rest}"


def _check(hold: str, asks: Sequence[Ask]) -> None:
    for ask in asks:
        if ask.amount < 0 or (not hold and ask.kind != "window"):
            raise ValueError(f"{ask} is negative, or needs a hold by which it is given back")
    if len({ask.key for ask in asks}) != len(asks):
        raise ValueError(f"hold {hold!r} asks twice for one key: {', '.join(ask.key for ask in asks)}")


def _longest(asks: Sequence[Ask], standings: Sequence[Standing]) -> int:
    """The failed ask that blocks longest."""
    index, longest = 0, -1.0
    for i, (ask, standing) in enumerate(zip(asks, standings, strict=True)):
        if standing.used + ask.amount > ask.limit:
            wait = math.inf if standing.retry_after is None else standing.retry_after
            if wait > longest:
                index, longest = i, wait
    return index


def _told(asks: Sequence[Ask]) -> list[str]:
    """Six arguments of the script for each ask."""
    told: list[str] = []
    for ask in asks:
        told += (ask.kind, ask.key, str(ask.limit), str(ask.amount), _length(ask), _keep(ask))
    return told


def _length(ask: Ask) -> str:
    return str(max(1, -int(-ask.span * _MICRO // _STEPS)))


def _keep(ask: Ask) -> str:
    return str(int(ask.keep * 1000)) if ask.keep else "0"


def _standings(asks: Sequence[Ask], answer: Sequence[Any]) -> tuple[Standing, ...]:
    return tuple(
        Standing(
            ask.key, ask.limit, int(answer[at]), int(answer[at + 1]) / _MICRO,
            int(answer[at + 2]) / _MICRO if int(answer[at + 2]) >= 0 else None,
        )
        for ask, at in zip(asks, range(1, len(answer), 3), strict=True)
    )
