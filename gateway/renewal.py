"""A credential that ends: kept, renewed ahead of its end in the background, asked for once however many wait for it.

Where it comes from is told by `ask`; who sends it is the business of its owner.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from gateway.errors import GatewayError, UpstreamError
from gateway.tasks import Tasks

_LEAST = 30.0       # seconds that a credential must still live to be used
_PAUSE = 2.0        # seconds between two tries after a failure
_LONGEST = 86_400.0
_log = structlog.get_logger("gateway.renewal")

T = TypeVar("T")


class Renewed(Generic[T]):
    """One credential of the provider `owner`; `what` names it to a person (`AWS credentials`).

    `ask` gives it with the seconds that it lives (`None`: it does not end). Raises `ValueError` or a `GatewayError`
    that says why there is none, without what is secret. `ahead` is how long before its end it is renewed.
    """

    def __init__(
        self, owner: str, what: str, ask: Callable[[], Awaitable[tuple[T, float | None]]], *, ahead: float = 300.0
    ) -> None:
        self._owner = owner
        self._what = what
        self._ask_for = ask
        self._ahead = ahead
        self._value: T | None = None
        self._until = 0.0
        self._failed_until = 0.0
        self._failure: GatewayError | None = None
        self._asking: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    @property
    def current(self) -> T | None:
        """The credential as it is; `None` before the first."""
        return self._value

    async def get(self) -> T:
        """The credential, valid now. Raises `UpstreamError` where there is none."""
        left = self._until - time.monotonic()
        if self._value is not None and left > _LEAST:
            if left < self._ahead and time.monotonic() >= self._failed_until:
                self._ask()
            return self._value
        if time.monotonic() < self._failed_until and self._failure is not None:
            raise self._failure
        await asyncio.wait((self._ask(),))  # a request that goes away does not end it for the others
        if self._value is None or self._until <= time.monotonic():
            raise self._failure or self._error("its source gave none")
        return self._value

    def forget(self) -> None:
        """It was refused: ask for another one the next time."""
        self._until = 0.0

    async def close(self) -> None:
        """End what runs."""
        await self._tasks.close()

    def _ask(self) -> "asyncio.Task[None]":
        if self._asking is None:
            self._asking = self._tasks.spawn(self._renew(), f"{self._what} of {self._owner}")
        return self._asking

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            value, lives = await self._ask_for()
        except GatewayError as error:
            self._failed(error if isinstance(error, UpstreamError) else self._error(error.message))
        except ValueError as error:
            self._failed(self._error(str(error)))
        else:
            self._value, self._failure = value, None
            self._until = began + (_LONGEST if lives is None else max(0.0, min(lives, _LONGEST)))
        finally:
            self._asking = None

    def _failed(self, error: GatewayError) -> None:
        self._failure, self._failed_until = error, time.monotonic() + _PAUSE
        _log.warning("no credential for a provider", what=self._what, provider=self._owner, reason=error.message)

    def _error(self, why: str) -> UpstreamError:
        return UpstreamError(f"The provider {self._owner} has no {self._what}: {why}", code="upstream_credentials")
