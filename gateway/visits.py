"""The request path of what clients keep at providers: files, batches, stored responses and the like.

Admission, ledger and errors are those of every request (`pipeline.py`). Here: which provider is asked, that ids are the
tenant's own, lists without what is others', and that what batches and background responses used is billed once. Routes
and formats are in `dialects/objects.py`.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, quote, urlencode

from gateway import relay
from gateway.dialects.object_usage import ResultsTap
from gateway.dialects.objects import Contents, ObjectRoute
from gateway.errors import Forbidden, InvalidRequest, NotFound
from gateway.events import Usage
from gateway.exchange import Exchange, Request, Target
from gateway.guardrails.stage import GuardrailStage
from gateway.hookspecs import ObjectCall, Reply
from gateway.jsonbody import read_lenient, read_object
from gateway.objectbook import ObjectBook
from gateway.objects import Objects
from gateway.pipeline import Pipeline, describe
from gateway.refusals import refused
from gateway.relay import StreamRelay
from gateway.upload import Upload

if TYPE_CHECKING:
    from gateway.accounting import Accounting
    from gateway.accounts.records import Kept
    from gateway.httprequest import Answer, Incoming
    from gateway.runtime import Gateway, Snapshot
    from gateway.upstream import UpstreamReply

PROVIDER = "x-gateway-provider"
_PASSED = ("content-disposition",)
_QUERY = "&=%[]+,:;/?@!$'()*~-._"
_PAGE = 100
_MOST_PAGES = 50


class ObjectPipeline(Pipeline):
    """For routes of `OBJECT_ROUTES` and `ANTHROPIC_ROUTES`."""

    def __init__(self, gateway: "Gateway", accounting: "Accounting", objects: Objects) -> None:
        super().__init__(gateway, accounting)
        self._objects = objects

    async def _receive(self, exchange: Exchange, incoming: "Incoming", params: Mapping[str, str]) -> None:
        self._check_open(exchange)
        route, server = _route(exchange), self._gateway.snapshot.config.server
        exchange.internal.update(params=params, usage=Usage(), expected=Usage())
        raw, body = b"", dict[str, Any]()
        if route.takes == "form":
            length = incoming.headers.get("content-length")
            pieces = incoming.pieces(server.max_upload_bytes)
            content_type = incoming.headers.get("content-type", "")
            exchange.upload = Upload(content_type, pieces, int(length) if length is not None else None)
        elif route.takes == "json":
            raw = await incoming.body(server.max_body_bytes)
            if raw or route.does == "create":
                incoming.check_json()
                body = read_object(raw)
        exchange.request = exchange.dialect.decode(raw, body)

    async def ask_targets(
        self, snapshot: "Snapshot", exchange: Exchange, incoming: "Incoming | None"
    ) -> "Reply | Answer":
        """Ask the provider that keeps the object, or that is to keep it."""
        assert incoming is not None
        route = _route(exchange)
        kept = await self._admitted(snapshot, exchange, route)
        target = cast("Target", exchange.target)
        exchange.overhead = time.monotonic() - exchange.started
        await snapshot.plugins.before_attempt(exchange, target)
        exchange.wire = exchange.dialect.name
        exchange.internal["attempt_started"] = time.monotonic()
        exchange.internal["upstream_status"] = 0
        book = ObjectBook(self._objects, snapshot, exchange, kept)
        if route.does == "list":
            return await self._list(snapshot, exchange, book, incoming.query_text)
        upstream = await self._send_call(snapshot, exchange, _path(route, exchange.internal["params"]), incoming)
        try:
            describe(exchange, target)
            if route.does == "content" or "event-stream" in upstream.headers.get("content-type", ""):
                return await self._relayed(snapshot, exchange, upstream, book, incoming)
            return await self._whole(snapshot, exchange, upstream, book)
        finally:
            upstream.close()

    async def _admitted(self, snapshot: "Snapshot", exchange: Exchange, route: ObjectRoute) -> "Kept | None":
        """Check that what the request is about is the tenant's, and that it may be done; choose the provider."""
        caller, request = exchange.caller, cast("Request", exchange.request)
        assert caller is not None
        kept = None
        if "id" in exchange.internal["params"]:
            kept = await self._objects.find(caller.tenant, exchange.internal["params"]["id"])
            if kept.kind != route.kind:
                raise NotFound(f"There is no object with the id {kept.id!r} here.")
        named = await self._objects.referred(caller.tenant, request.body)
        where = [each.provider for each in ([kept] if kept is not None else [])] + [each.provider for _, each in named]
        if len(set(where)) > 1:
            raise InvalidRequest("The objects of this request are kept by different providers.", code="mixed_providers")
        target = exchange.target = self._target(snapshot, exchange, route, where[0] if where else None)
        if not getattr(target.provider, "unchecked", False):
            await self._check_restricted(snapshot, exchange, route)
        return kept

    def _target(self, snapshot: "Snapshot", exchange: Exchange, route: ObjectRoute, where: str | None) -> Target:
        """The provider: whose the objects are, else the one asked for, else the configured one, else the first."""
        allowed = exchange.caller.providers if exchange.caller is not None else None
        keepers = [
            name for name, provider in snapshot.plugins.providers.items()
            if route.kind in getattr(provider, "keeps", ()) and getattr(provider, "api", "openai") == route.api
            and (allowed is None or name in allowed)
        ]
        asked = where or exchange.headers.get(PROVIDER)
        name = asked or snapshot.config.default_provider
        if name not in keepers:
            if asked or not keepers:
                at = f"The provider `{asked[:64]}`" if asked else "No provider of this gateway"
                raise InvalidRequest(
                    f"{at} keeps no {route.kind.replace('_', ' ')} for this key.", code="not_supported",
                    param=PROVIDER if asked and not where else None,
                )
            name = keepers[0]
        return Target(snapshot.plugins.providers[name], "", free=True)

    async def _check_restricted(self, snapshot: "Snapshot", exchange: Exchange, route: ObjectRoute) -> None:
        """What is in files and batches is not looked at: so it is not for callers whom that would free of a limit."""
        caller = exchange.caller
        assert caller is not None
        why = ""
        if route.takes == "form":
            stages = (member.plugin for member in snapshot.plugins.members)
            if any([await each.judges(exchange) for each in stages if isinstance(each, GuardrailStage)]):
                why = "guardrails hold for it, and what is in files is not judged"
        elif route.spends and any(level.models is not None for level in caller.levels):
            why = "it may use certain models only, and what is in a batch is not checked"
        elif route.spends and any((level.cost_daily, level.cost_monthly) != (None, None) for level in caller.levels):
            why = "it has a cost limit, and what this will cost is not known before"
        if why:
            raise Forbidden(
                f"This key cannot do that: {why}. The owner of the gateway may allow it with `unchecked: true` on the "
                "provider.", code="unchecked_not_allowed",
            )

    async def _send_call(
        self, snapshot: "Snapshot", exchange: Exchange, path: str, incoming: "Incoming", query: str | None = None
    ) -> "UpstreamReply":
        """Send, and return the answer if it is none with an error status."""
        target, request = cast("Target", exchange.target), cast("Request", exchange.request)
        provider: Any = target.provider
        call = ObjectCall(
            kind=_route(exchange).kind, method=_route(exchange).method, path=path, body=request.raw,
            query=quote(incoming.query_text, safe=_QUERY) if query is None else query, upload=exchange.upload,
        )
        peer = snapshot.peers[provider.name]
        upstream = await self._gateway.upstream.send(peer, provider.call(exchange, call))
        exchange.internal["upstream_status"] = upstream.status
        if not 200 <= upstream.status < 300:
            try:
                raise await refused(exchange, upstream, target)
            finally:
                upstream.close()
        return upstream

    async def _whole(
        self, snapshot: "Snapshot", exchange: Exchange, upstream: "UpstreamReply", book: ObjectBook
    ) -> Reply:
        """A JSON answer, after the books are told what is in it."""
        reply = await relay.whole(exchange, upstream)
        exchange.first_byte = time.monotonic()
        tree = read_lenient(reply.body)
        if type(tree) is dict:
            await book.seen(_route(exchange), tree)
        filters = await snapshot.plugins.post_response(exchange)
        return await relay.filtered(exchange, reply, filters) if filters else reply

    async def _relayed(
        self, snapshot: "Snapshot", exchange: Exchange, upstream: "UpstreamReply", book: ObjectBook,
        incoming: "Incoming",
    ) -> "Reply | Answer":
        """An answer that is passed on as it comes: a file, results, the events of a response."""
        route = _route(exchange)
        content_type = upstream.headers.get("content-type", "application/octet-stream")
        if route.does == "content":
            exchange.dialect = Contents(route, ResultsTap() if book.has_results else None)
            exchange.reply_headers["content-type"] = content_type
        exchange.reply_headers |= {name: upstream.headers[name] for name in _PASSED if name in upstream.headers}
        first = await upstream.read()
        if not first:
            return Reply(200, b"", content_type=content_type)
        exchange.first_byte = time.monotonic()
        filters = await snapshot.plugins.post_response(exchange) if route.does != "content" else []
        exchange.internal["on_close"] = book.read
        line = StreamRelay(exchange, incoming, self._accounting, snapshot.config.stream)
        return await line.run(upstream, first, filters)

    async def _list(self, snapshot: "Snapshot", exchange: Exchange, book: ObjectBook, query: str) -> Reply:
        """The tenant's own of all that the provider lists, page by page until there are as many as asked for."""
        asked = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=20))
        for cursor in ("after", "before", "after_id", "before_id"):
            if asked.get(cursor):
                await book.check_mine(asked[cursor], cursor)
        limit = _limit(asked.get("limit"))
        found: list[Any] = []
        envelope: dict[str, Any] = {}
        cursor = "after_id" if _route(exchange).api == "anthropic" else "after"
        for _ in range(_MOST_PAGES):
            asked["limit"] = str(max(limit, _PAGE) if limit <= _PAGE else limit)
            page = await self._page(snapshot, exchange, urlencode(asked))
            envelope = envelope or page
            items = [each for each in page.get("data") or () if type(each) is dict]
            found += await book.mine(items)
            if len(found) > limit or not page.get("has_more") or not items or await book.has_all(found, query):
                envelope["has_more"] = len(found) > limit
                break
            asked[cursor] = str(items[-1].get("id"))
        return await book.listed(envelope, found[:limit])

    async def _page(self, snapshot: "Snapshot", exchange: Exchange, query: str) -> dict[str, Any]:
        incoming = cast("Incoming", None)
        path = _path(_route(exchange), {})
        upstream = await self._send_call(snapshot, exchange, path, incoming, query)
        try:
            reply = await relay.whole(exchange, upstream)
        finally:
            upstream.close()
        describe(exchange, cast("Target", exchange.target))
        exchange.first_byte = exchange.first_byte or time.monotonic()
        page = read_lenient(reply.body)
        return page if type(page) is dict else {}


def _route(exchange: Exchange) -> ObjectRoute:
    route: ObjectRoute = exchange.dialect.route  # type: ignore[attr-defined]
    return route


def _path(route: ObjectRoute, params: Mapping[str, str]) -> str:
    """The path at the provider. Raises `NotFound` for a part that would lead elsewhere."""
    parts = []
    for part in route.path.split("/"):
        if part.startswith("{"):
            value = params[part[1:-1]]
            if value in ("", ".", "..") or len(value) > 256 or not value.isprintable():
                raise NotFound("There is no object with this id.")
            part = quote(value, safe="")  # noqa: PLW2901
        parts.append(part)
    return "/".join(parts)


def _limit(text: str | None) -> int:
    if text is None:
        return 20
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 10_000:
        raise InvalidRequest("`limit` must be an integer from 1 to 10000.", param="limit")
    return int(text)
