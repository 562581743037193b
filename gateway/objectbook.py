"""What one request about kept objects reveals: ids that were made, what is the tenant's own, and what is to be billed.

Whose each id is, is stored by `objects.py`; what objects say they used, is read by `dialects/object_usage.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.accounts.records import Kept
from gateway.clock import now_ms
from gateway.dialects.object_usage import ResultsTap, Used, batch_usage, response_usage
from gateway.dialects.objects import ObjectRoute
from gateway.events import Usage
from gateway.exchange import Attempt, Exchange, Target
from gateway.hookspecs import Reply
from gateway.money.cost import bill
from gateway.objects import Objects

if TYPE_CHECKING:
    from gateway.runtime import Snapshot

_BATCH_FILES = ("output_file_id", "error_file_id")


class ObjectBook:
    """The books on one exchange. `kept` is the object that it is about, if there is one."""

    def __init__(self, objects: Objects, snapshot: "Snapshot", exchange: Exchange, kept: Kept | None) -> None:
        assert exchange.caller is not None
        assert exchange.target is not None
        self._objects = objects
        self._snapshot = snapshot
        self._exchange = exchange
        self._kept = kept
        self._tenant = exchange.caller.tenant
        self._key = exchange.caller.key
        self._provider = exchange.target.provider
        self._billed = False

    @property
    def has_results(self) -> bool:
        """Whether this may be what a batch made, so that it tells what was used."""
        kept = self._kept
        return kept is not None and (bool(kept.parent) or not kept.metered)

    async def seen(self, route: ObjectRoute, tree: dict[str, Any]) -> None:
        """Note what an answer says: an object that was made, changed, or deleted."""
        if route.does == "create" and type(tree.get("id")) is str:
            self._kept = self._new(route.kind, tree["id"], metered=not route.spends)
            await self._objects.keep(self._kept)
        elif route.does == "delete" and self._kept is not None:
            await self._objects.forget(self._tenant, self._kept.id)
        await self._look(tree)

    async def read(self, exchange: Exchange) -> None:
        """At the end of a relayed answer: bill what it told, once."""
        tap = exchange.internal.pop("tap", None)
        exchange.internal["usage"] = Usage()
        kept = self._kept
        if kept is None or tap is None or not tap.complete or exchange.error is not None:
            return
        if isinstance(tap, ResultsTap):
            if kept.parent:
                kept = (await self._objects.mine(self._tenant, [kept.parent])).get(kept.parent, kept)
            await self._bill(kept, tap.used)
        elif tap.usage is not None:
            await self._bill(kept, {kept.model: tap.usage})

    async def check_mine(self, object_id: str, param: str) -> None:
        """Raise `NotFound` unless it is the tenant's."""
        await self._objects.find(self._tenant, object_id, param)

    async def mine(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of a page that are the tenant's."""
        known = await self._objects.mine(self._tenant, [str(each.get("id")) for each in items])
        found = [each for each in items if str(each.get("id")) in known]
        for each in found:
            await self._look(each)
        return found

    async def has_all(self, found: Sequence[Any], query: str) -> bool:
        """Whether there can be no more of them further on."""
        if query:
            return False
        route: ObjectRoute = self._exchange.dialect.route  # type: ignore[attr-defined]
        return len(found) >= await self._objects.count(self._tenant, route.kind, self._provider.name)

    async def listed(self, envelope: dict[str, Any], items: Sequence[dict[str, Any]]) -> Reply:
        """The list with these items only."""
        ends = {"first_id": items[0].get("id") if items else None, "last_id": items[-1].get("id") if items else None}
        tree = {**envelope, "data": items, **{name: value for name, value in ends.items() if name in envelope}}
        return Reply(200, msgspec.json.encode(tree), usage=Usage())

    async def _look(self, tree: dict[str, Any]) -> None:
        """Objects in an answer that lead to others, or that tell what they used."""
        kind = tree.get("object") or tree.get("type")
        if kind == "batch":
            made = [tree[name] for name in _BATCH_FILES if type(tree.get(name)) is str]
            await self._keep_files(made, str(tree.get("id")))
            await self._bill_id(str(tree.get("id")), batch_usage(tree))
        elif kind == "response":
            await self._bill_id(str(tree.get("id")), response_usage(tree))
        elif kind == "fine_tuning.job":
            made = [each for each in tree.get("result_files") or () if type(each) is str]
            await self._keep_files(made, "")
        elif kind == "upload" and type(tree.get("file")) is dict and type(tree["file"].get("id")) is str:
            await self._keep_files([tree["file"]["id"]], "")

    async def _keep_files(self, ids: Sequence[str], parent: str) -> None:
        """Files that came out of the tenant's own objects. One that has an owner already stays his."""
        known = await self._objects.mine(self._tenant, ids) if ids else {}
        await self._objects.keep(*(self._new("files", each, parent=parent) for each in ids if each not in known))

    async def _bill_id(self, object_id: str, used: Used) -> None:
        if used and self._kept is not None and self._kept.id == object_id:
            await self._bill(self._kept, used)
        elif used:
            known = await self._objects.mine(self._tenant, [object_id])
            if object_id in known:
                await self._bill(known[object_id], used)

    async def _bill(self, kept: Kept, used: Used) -> None:
        """Put what was used on this exchange, if nobody did before: an attempt for each model, the last one the
        exchange's own."""
        if kept.metered or not used or not await self._objects.claim(kept):
            return
        exchange = self._exchange
        if self._billed:  # of several objects in one list each is a line of its own
            self._add(exchange.target, exchange.internal["usage"])
        self._billed = True
        *others, last = [(self._target(kept.model or model), usage) for model, usage in used.items()]
        for target, usage in others:
            self._add(target, usage)
        exchange.target, exchange.internal["usage"] = last

    def _add(self, target: Target | None, usage: Usage) -> None:
        assert target is not None
        exchange = self._exchange
        cost, lines = bill(target.price, usage, exchange.started_ms, 0.0) if target.price is not None else (0, "")
        exchange.cost += cost
        exchange.attempts.append(
            Attempt(
                provider=target.provider.name, model=target.model, outcome="ok", status=200, usage=usage, cost=cost,
                lines=lines,
            )
        )

    def _target(self, model: str) -> Target:
        book = getattr(self._provider, "price_book", None)
        return Target(self._provider, model, self._snapshot.prices.find(self._provider.name, model, book))

    def _new(self, kind: str, object_id: str, *, parent: str = "", metered: bool = True) -> Kept:
        return Kept(
            tenant=self._tenant, id=object_id, kind=kind, provider=self._provider.name, parent=parent,
            key_id=self._key, metered=metered, created=now_ms(),
        )
