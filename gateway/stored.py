"""The request path of what may refer to things that providers keep: responses, and files in messages.

They must be the tenant's own, and the provider that has them is the one that is asked. Responses that a provider stores
are noted, so that they can be asked for later (`visits.py`).
"""

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.accounts.records import Kept
from gateway.clock import now_ms
from gateway.dialects.object_usage import RUNNING
from gateway.errors import InvalidRequest, NotFound
from gateway.events import Usage
from gateway.exchange import Exchange, Target
from gateway.hookspecs import Reply
from gateway.objects import Objects
from gateway.pipeline import Pipeline
from gateway.relay import StreamRelay

if TYPE_CHECKING:
    from gateway.accounting import Accounting
    from gateway.httprequest import Answer, Incoming
    from gateway.runtime import Gateway, Snapshot


class _Made(msgspec.Struct, gc=False):
    """What matters of a response when it is made."""

    id: str = ""
    status: str = ""
    background: bool | None = None


_made = msgspec.json.Decoder(_Made).decode


class KeepingPipeline(Pipeline):
    """For POST /responses, and for messages of dialects that can name files."""

    def __init__(self, gateway: "Gateway", accounting: "Accounting", objects: Objects) -> None:
        super().__init__(gateway, accounting)
        self._objects = objects

    def ask_targets(
        self, snapshot: "Snapshot", exchange: Exchange, incoming: "Incoming | None"
    ) -> "Coroutine[Any, Any, Reply | Answer]":
        """As any request, but of the provider that has what the request refers to."""
        if exchange.endpoint != "responses" and exchange.request is not None and not _may_refer(exchange.request.raw):
            return super().ask_targets(snapshot, exchange, incoming)  # nearly always, and then at no cost
        return self._ask_keeper(snapshot, exchange, incoming)

    async def _ask_keeper(
        self, snapshot: "Snapshot", exchange: Exchange, incoming: "Incoming | None"
    ) -> "Reply | Answer":
        caller, request = exchange.caller, exchange.request
        assert caller is not None
        assert request is not None
        if _may_refer(request.raw) and (keepers := _keepers(snapshot, exchange)):
            where = await self._where(caller.tenant, request.body, snapshot.config.unknown_objects == "refuse")
            if where is not None and where not in keepers:
                raise InvalidRequest(
                    f"What this request refers to is kept by another provider than those of `{request.model[:256]}`.",
                    code="mixed_providers", param="model",
                )
            if where is not None:
                exchange.caller = msgspec.structs.replace(caller, providers=(where,))
        if exchange.endpoint == "responses" and request.body.get("store") is not False:
            exchange.internal["on_close"] = self._note
        return await super().ask_targets(snapshot, exchange, incoming)

    def _attempt(
        self, snapshot: "Snapshot", exchange: Exchange, target: Target, line: StreamRelay
    ) -> "Coroutine[Any, Any, Reply | Answer]":
        attempt = super()._attempt(snapshot, exchange, target, line)
        return self._noted(exchange, attempt) if "on_close" in exchange.internal else attempt

    async def _noted(self, exchange: Exchange, attempt: "Coroutine[Any, Any, Reply | Answer]") -> "Reply | Answer":
        reply = await attempt
        if isinstance(reply, Reply) and exchange.bridge is None:
            made = exchange.internal["made"] = _read(reply.body)
            if made.status in RUNNING:
                exchange.internal["usage"] = Usage()  # it is billed when it has ended, to whoever sees that
        return reply

    async def _where(self, tenant: str, body: Mapping[str, Any], strict: bool) -> str | None:
        try:
            named = await self._objects.referred(tenant, body, strict=strict)
        except NotFound as error:
            if error.param != "previous_response_id":
                raise
            raise InvalidRequest(
                f"Previous response with id '{str(body['previous_response_id'])[:256]}' not found.",
                param="previous_response_id", code="previous_response_not_found",
            ) from None
        return named[0][1].provider if named else None

    async def _note(self, exchange: Exchange) -> None:
        """At the end, before the client can know the id: whose the response is, and where."""
        target, caller = exchange.target, exchange.caller
        if exchange.bridge is not None or target is None or caller is None:
            return
        if "responses" not in getattr(target.provider, "keeps", ()):
            return
        made: _Made | None = exchange.internal.get("made")
        tap = exchange.internal.get("tap")
        if made is None and tap is not None:
            made = _Made(tap.response_id, "completed" if tap.done else "in_progress", tap.background)
        if made is None or not made.id:
            return
        running = made.status in RUNNING and bool(made.background)
        if running and tap is not None:
            exchange.internal.pop("tap")
            exchange.internal["usage"] = Usage()
        await self._objects.keep(Kept(
            tenant=caller.tenant, id=made.id, kind="responses", provider=target.provider.name, model=target.model,
            key_id=caller.key, metered=not running, created=now_ms(),
        ))


def _may_refer(raw: bytes) -> bool:
    """Whether a reference may stand in a body: a part of each of `REFERENCES`, or an escape that may hide a name."""
    # What is not there is found out sooner from the end, and of one byte sooner still.
    if raw.rfind(b"_id") >= 0 or raw.rfind(b'_file"') >= 0:
        return True
    if raw.rfind(b'"conversation"') >= 0 or raw.rfind(b'"container"') >= 0:
        return True
    return b"\\" in raw and b"\\u00" in raw


def _keepers(snapshot: "Snapshot", exchange: Exchange) -> set[str]:
    """The providers of the model that keep anything."""
    assert exchange.request is not None
    assert exchange.caller is not None
    resolved = snapshot.router.resolve(exchange.request.model, exchange.caller)
    return {target.provider.name for target in resolved.targets if getattr(target.provider, "keeps", ())}


def _read(body: bytes) -> _Made:
    try:
        return _made(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Made()
