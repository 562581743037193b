"""What tenants keep at providers (responses, files, batches, …): whose each id is, where it is, and if it was billed.

Nobody reaches an id that his tenant has not made: it does not exist for him. What the objects hold stays there.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.accounts.records import Kept
from gateway.errors import InvalidRequest, NotFound, Unavailable
from gateway.store.tables import fields_of, values_of
from gateway.store.work import Put, Remove, change

if TYPE_CHECKING:
    from gateway.store import Store

_REMEMBERED: Final = 10_000
_MAX_ID: Final = 256
# Fields that name an object, wherever they stand in a request: alone or in a list.
REFERENCES: Final = frozenset({
    "previous_response_id", "response_id", "conversation", "conversation_id", "file_id", "file_ids", "input_file_id",
    "training_file", "validation_file", "vector_store_id", "vector_store_ids", "container",
})
_log = structlog.get_logger("gateway.objects")


class Objects:
    """One for each process."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._known: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    async def find(self, tenant: str, object_id: str, param: str | None = None) -> Kept:
        """The tenant's object. Raises `NotFound`, also for one of another tenant."""
        found = self._known.get((tenant, object_id))
        if found is None and 0 < len(object_id) <= _MAX_ID and "\0" not in object_id:
            found = await self._store.one(Kept, tenant=tenant, id=object_id)
        if found is None:
            raise NotFound(f"There is no object with the id {object_id[:_MAX_ID]!r}.", param=param)
        self._remember(found)
        return found

    async def keep(self, *objects: Kept) -> None:
        """Note what was made. While the database is away it is known to this process only, and the log says so."""
        fresh = [each for each in objects if (each.tenant, each.id) not in self._known]
        for each in fresh:
            self._remember(each)
        if not fresh:
            return
        try:
            await self._store.commit([_put(each) for each in fresh])
        except Unavailable:
            _log.error("made at a provider, not recorded: its ids will not be found", ids=[each.id for each in fresh])

    async def forget(self, tenant: str, object_id: str) -> None:
        """It was deleted at its provider."""
        self._known.pop((tenant, object_id), None)
        await self._store.commit([Remove("objects", {"tenant": tenant, "id": object_id}, one=False)])

    async def claim(self, kept: Kept) -> bool:
        """Whether the caller is the one who bills this object: true once, whoever asks."""
        where = {"tenant": kept.tenant, "id": kept.id, "metered": False}
        won = await self._store.commit([change(Kept, where, {"metered": True}, one=False, quiet=True)])
        self._known.pop((kept.tenant, kept.id), None)
        return bool(won)

    async def mine(self, tenant: str, ids: Iterable[str]) -> dict[str, Kept]:
        """Those of the ids that are the tenant's."""
        wanted = tuple(each for each in ids if 0 < len(each) <= _MAX_ID and "\0" not in each)
        found: dict[str, Kept] = {}
        for start in range(0, len(wanted), 500):
            page = await self._store.page(Kept, {"tenant": tenant, "id": wanted[start : start + 500]}, limit=500)
            found |= {each.id: each for each in page.items}
        return found

    async def count(self, tenant: str, kind: str, provider: str) -> int:
        """How many of a kind there are."""
        return await self._store.count(Kept, {"tenant": tenant, "kind": kind, "provider": provider})

    async def referred(
        self, tenant: str, body: Any, *, strict: bool = True  # noqa: ANN401 - any JSON value
    ) -> list[tuple[str, Kept]]:
        """The tenant's objects that a request's body names, each with its field.

        Raises `NotFound` for one of another tenant, and if `strict` for one that was not made here at all;
        `InvalidRequest` where they are at several providers.
        """
        found: list[tuple[str, Kept]] = []
        for field, object_id in references(body):
            try:
                found.append((field, await self.find(tenant, object_id, field)))
            except NotFound:
                if strict or await self._store.one(Kept, id=object_id) is not None:
                    raise
        if len({kept.provider for _, kept in found}) > 1:
            named = ", ".join(f"{kept.id} at {kept.provider}" for _, kept in found)
            raise InvalidRequest(f"These objects are kept by different providers: {named}.", code="mixed_providers")
        return found

    def _remember(self, kept: Kept) -> None:
        if not kept.metered:
            return  # that changes
        if len(self._known) >= _REMEMBERED:
            self._known.popitem(last=False)
        self._known[kept.tenant, kept.id] = kept


def references(body: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """The ids in a body, each with its field: `{"conversation": {"id": …}}` too."""
    found: list[tuple[str, str]] = []
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if type(value) is list:
            waiting += value
        elif type(value) is dict:
            for name, item in value.items():
                if name in REFERENCES:
                    found += [(name, each) for each in _ids(item)]
                if type(item) in (dict, list):
                    waiting.append(item)
    return found


def _put(kept: Kept) -> Put:
    """A provider that gives an id again has made the object anew."""
    return Put("objects", values_of(fields_of(kept)), replace=("tenant_id", "id"))


def _ids(item: Any) -> list[str]:  # noqa: ANN401
    if type(item) is dict:
        item = item.get("id")
    if type(item) is list:
        return [each for each in item if type(each) is str and each]
    return [item] if type(item) is str and item else []
