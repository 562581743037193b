"""What goes over the owner's socket: frames (4 bytes length, then JSON), and the calls that are allowed."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.accounts.records import KeyRecord, NewKey, NewUser, Status, Tenant, User
from gateway.errors import GatewayError, NotFound, Stale
from gateway.money.ledger import LedgerRow
from gateway.store import StoreConflict, StoreUnavailable
from gateway.store.once import Once
from gateway.store.work import Step

MAX_FRAME: Final = 64 * 1024 * 1024


class Call(msgspec.Struct, frozen=True):
    """A request: the name of a method and its arguments in order."""

    name: str
    args: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reply: a result, or the `error`'s kind with its `message`."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    message: str = ""


# Each method that the owner runs for others: the types of its arguments, and of what it returns.
CALLS: Final[dict[str, tuple[Any, Any]]] = {
    "create_key": (tuple[NewKey], KeyRecord),
    "revoke_key": (tuple[str, int, str | None], KeyRecord | None),
    "set_key_active": (tuple[str, bool, str | None], KeyRecord | None),
    "touch_keys": (tuple[dict[str, int]], None),
    "create_tenant": (tuple[Tenant], Tenant),
    "set_tenant_active": (tuple[str, bool], Tenant | None),
    "create_user": (tuple[NewUser], User),
    "set_user_status": (tuple[str, Status, str | None], User | None),
    "create_first": (tuple[Tenant, NewUser, NewKey], bool),
    "append": (tuple[str, int, tuple[LedgerRow, ...]], int),
    "forget": (tuple[str], None),
    "rebuild_day": (tuple[int, dict[str, int]], int),
    "rebuilt": (tuple[()], None),
    "commit": (tuple[tuple[Step, ...], bool], int),
    "begin_once": (tuple[str, str, int, int], Once | None),
    "finish_once": (tuple[str, Once], None),
    "extend_once": (tuple[str, int], None),
    "drop_once": (tuple[str], None),
}

_ERRORS: Final[dict[str, Callable[[str], GatewayError]]] = {
    "unavailable": StoreUnavailable, "conflict": StoreConflict, "not_found": NotFound, "stale": Stale,
}


async def read(reader: asyncio.StreamReader) -> bytes:
    """One frame. `IncompleteReadError` at the end, `ValueError` for a frame that is too long."""
    size = int.from_bytes(await reader.readexactly(4))
    if size > MAX_FRAME:
        raise ValueError(f"a frame of {size} bytes is over the limit of {MAX_FRAME}")
    return await reader.readexactly(size)


async def write(writer: asyncio.StreamWriter, value: Call | Answer) -> None:
    """Send one frame."""
    data = msgspec.json.encode(value)
    if len(data) > MAX_FRAME:
        raise ValueError(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME}")
    writer.write(len(data).to_bytes(4) + data)
    await writer.drain()


def refusal(error: GatewayError) -> Answer:
    """An error as an answer."""
    kind = "unavailable"
    for name, type_ in (("conflict", StoreConflict), ("not_found", NotFound), ("stale", Stale)):
        if isinstance(error, type_):
            kind = name
    return Answer(error=kind, message=error.message)


def result(name: str, frame: bytes) -> Any:  # noqa: ANN401 - of the call's own type
    """The result of a call, or its error raised."""
    answer = msgspec.json.decode(frame, type=Answer)
    if answer.error is not None:
        raise _ERRORS.get(answer.error, StoreUnavailable)(answer.message)
    return msgspec.json.decode(answer.result, type=CALLS[name][1])
