"""Plugins' routes: who may call each, what it gets to see, and how its answer or error leaves. Not what it does."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import structlog

from gateway.admin.errors import error_reply
from gateway.cookies import read_cookie
from gateway.dispatch import PluginError, Plugins
from gateway.errors import Forbidden, GatewayError, InternalError, InvalidRequest, Unauthenticated, UnsupportedMedia
from gateway.exchange import Caller
from gateway.hookspecs import Reply, Route
from gateway.jsonbody import read_object
from gateway.pipeline import Pipeline
from gateway.routes import RouteTable
from gateway.runtime import Gateway

if TYPE_CHECKING:
    from gateway.httprequest import Answer, Incoming

Call = Callable[["Incoming", Mapping[str, str]], Awaitable["Answer"]]

_FORM = "application/x-www-form-urlencoded"
_LOOPBACK = ("127.", "::1")
_log = structlog.get_logger("gateway.pluginroutes")


class PluginRoutes:
    """The routes of the plugins that run now; a reload puts the new plugins' in their places."""

    def __init__(self, gateway: Gateway, pipeline: Pipeline) -> None:
        self._gateway = gateway
        self._pipeline = pipeline
        self._routes: dict[tuple[str, str], Route] = {}

    def add_to(self, table: RouteTable) -> None:
        """Register the routes. Raises `PluginError` for one that cannot be, as one without a permission."""
        self.renew(self._gateway.snapshot.plugins)
        for route in self._routes.values():
            try:
                table.add(route.method, route.path, route.permission, self._call(route.method, route.path))
            except ValueError as error:
                raise PluginError(str(error)) from None

    def renew(self, plugins: Plugins) -> None:
        """The routes of these plugins answer from now on."""
        self._routes = {(route.method, route.path): route for route in plugins.routes(self._gateway)}

    def _call(self, method: str, path: str) -> Call:
        async def call(incoming: "Incoming", params: Mapping[str, str]) -> "Answer":
            return await self._serve(self._routes[method, path], incoming, params)

        return call

    async def _serve(self, route: Route, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":
        use = self._gateway.snapshot.use
        use.enter()  # a reload lets the plugin go only when its last request has ended
        try:
            request = await self._admitted(route, incoming, params)
            return await _send(incoming, await route.call(request))
        except GatewayError as error:
            if route.about is None or incoming.started:
                raise
            return incoming.reply(*error_reply(error, incoming.request_id))
        except Exception as error:
            if route.about is None or incoming.started or isinstance(error, ConnectionError):
                raise
            _log.exception("a route failed", request_id=incoming.request_id, route=f"{route.method} {route.path}")
            failed = InternalError("The gateway failed; its log has the reason.")
            return incoming.reply(*error_reply(failed, incoming.request_id))
        finally:
            use.leave()

    async def _admitted(self, route: Route, incoming: "Incoming", params: Mapping[str, str]) -> "_Request":
        """The request as its route sees it, once its permission is proven."""
        snapshot, permission = self._gateway.snapshot, route.permission
        caller: Caller | None = None
        principal: object | None = None
        if permission == "key":
            caller = await self._pipeline.authenticate(snapshot, incoming.headers)
        elif permission == "loopback":
            if not incoming.peer.startswith(_LOOPBACK):
                raise Forbidden("This route answers on this machine only.")
        elif permission != "public":
            principal = await snapshot.plugins.authorize(permission, incoming)
            if principal is None:
                raise Unauthenticated(
                    "Sign in: send `Authorization: Bearer` with the token of POST /api/v1/admin/auth/login.",
                    code="unauthenticated",
                )
        return _Request(incoming, params, caller, principal, snapshot.config.server.max_body_bytes)


class _Request:
    """A request as a plugin's route sees it: no credential in its headers."""

    def __init__(
        self, incoming: "Incoming", params: Mapping[str, str], caller: Caller | None, principal: object | None,
        limit: int,
    ) -> None:
        self.method = incoming.method
        self.path = incoming.path
        self.peer = incoming.peer
        self.request_id = incoming.request_id
        self.headers = incoming.safe_headers
        self.params = params
        self.caller = caller
        self.principal: Any = principal
        self._incoming = incoming
        self._limit = limit

    @property
    def query(self) -> Mapping[str, str]:
        """The query's fields, decoded."""
        return self._incoming.query

    async def json(self) -> dict[str, Any]:
        """The body as one strict JSON object."""
        return read_object(await self.body())

    async def body(self) -> bytes:
        """The body as it came; one that says it is no JSON is refused."""
        body = await self._incoming.body(self._limit)
        if body:
            self._incoming.check_json()
        return body

    async def form(self) -> Mapping[str, str]:
        """The fields of a form."""
        if self._incoming.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise UnsupportedMedia("Send a form: application/x-www-form-urlencoded.")
        try:
            text = (await self._incoming.body(self._limit)).decode()
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
        except ValueError:
            raise InvalidRequest("The form is not UTF-8, or has more than 100 fields.") from None

    async def raw(self) -> bytes:
        """The body as it came, of any type."""
        return await self._incoming.body(self._limit)

    def cookie(self, name: str) -> str | None:
        """One cookie of the request."""
        return read_cookie(self._incoming.headers, name)


async def _send(incoming: "Incoming", reply: Reply) -> "Answer":
    headers = {"content-type": reply.content_type, **reply.headers}
    if reply.parts is None:
        return incoming.reply(reply.status, headers, reply.body)
    await incoming.start(reply.status, {"x-request-id": incoming.request_id, **headers})
    await incoming.write(reply.body)
    async for part in reply.parts:
        await incoming.write(part)
    return await incoming.finish()
