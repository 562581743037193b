"""The route table of one process and what stands behind each route; the only module between HTTP and the pipeline."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import explain
from gateway.accounting import Accounting
from gateway.admin.errors import error_reply
from gateway.dialects.anthropic import Messages
from gateway.dialects.gemini import GeminiDialect
from gateway.dialects.objects import ANTHROPIC_ROUTES, OBJECT_ROUTES, ObjectRoute, dialect_of
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_media import MediaDialect
from gateway.dialects.served import ANTHROPIC, CALLED, GOOGLE, GOOGLE_MODELS, PREFIXES, SERVED, Called
from gateway.dispatch import Plugins
from gateway.errors import GatewayError, Unauthenticated, UnknownRoute
from gateway.exchange import Caller
from gateway.hookspecs import Dialect
from gateway.jsonbody import read_object
from gateway.media import MediaPipeline
from gateway.models import anthropic_list, anthropic_model, google_list, google_model, model_list, one_model
from gateway.objects import Objects
from gateway.pipeline import Pipeline
from gateway.pluginroutes import PluginRoutes
from gateway.refusals import rendered
from gateway.repeats import HEADER, Repeats
from gateway.routes import RouteTable
from gateway.runtime import Gateway
from gateway.stored import KeepingPipeline
from gateway.visits import ObjectPipeline

if TYPE_CHECKING:
    from gateway.httprequest import Answer, Incoming

_KEY_IN_URL = (
    "Send the API key in the header x-goog-api-key (or Authorization: Bearer), not in the URL: proxies and logs on the "
    "way keep URLs. Google's own clients do so by default. Replace this key if it was sent over a network."
)
# What answers with the errors of the admin API: it, and what a key may ask beside using models.
ADMIN = ("/api/v1/admin/", "/api/v1/guardrails", "/api/v1/key", "/api/v1/usage/")
# Endpoints whose requests may name what is kept.
_REFERRING = frozenset({"responses", "responses.compact", "responses.input_tokens", "chat.completions", "messages"})

Call = Callable[["Incoming", Mapping[str, str]], Awaitable["Answer"]]


class App:
    """Every route with its permission; what is not in the table does not exist."""

    def __init__(self, gateway: Gateway, pipeline: Pipeline, accounting: Accounting) -> None:
        self._gateway = gateway
        self._pipeline = pipeline
        self._accounting = accounting
        self._media = MediaPipeline(gateway, accounting)
        objects = Objects(gateway.store)
        self._keeping = KeepingPipeline(gateway, accounting, objects)
        self._visits = ObjectPipeline(gateway, accounting, objects)
        self._repeats = Repeats(gateway)
        self.ready: Callable[[], bool] = lambda: False
        self._openai = Chat()
        self._messages = Messages()
        self._google = GeminiDialect()
        self._routes = RouteTable()
        self._add_data_plane()
        self._add_operations()
        self._plugin_routes = PluginRoutes(gateway, pipeline)
        self._plugin_routes.add_to(self._routes)

    def renew(self, plugins: Plugins) -> None:
        """A new configuration runs: its plugins answer their routes from now on."""
        self._plugin_routes.renew(plugins)

    async def serve(self, incoming: "Incoming") -> "Answer":
        """Answer one request: the matched route decides, never the path's text."""
        try:
            route, params = self._routes.match(incoming.method, incoming.path)
            call: Call = route.call
            return await call(incoming, params)
        except GatewayError as error:
            google = _is_google(incoming)
            return incoming.reply(*self.render_error(error, incoming.request_id, incoming.path, google=google))

    def render_error(
        self, error: GatewayError, request_id: str, path: str, *, google: bool = False
    ) -> tuple[int, dict[str, str], bytes]:
        """An error outside of an exchange, in the envelope of the admin API or of the dialect that the path is for."""
        if path.startswith(ADMIN):
            return error_reply(error, request_id)
        dialect: Dialect = self._messages if path.startswith(ANTHROPIC) else self._openai
        if google or path.startswith(GOOGLE):
            dialect = self._google
        return rendered(dialect, error, request_id)

    async def close(self) -> None:
        """End what still runs for clients that have left."""
        await self._repeats.close()

    def _add_data_plane(self) -> None:
        for served in SERVED:
            dialect: Dialect = served.dialect()
            pipeline = self._media if isinstance(dialect, MediaDialect) else self._pipeline
            pipeline = self._keeping if served.endpoint in _REFERRING else pipeline
            for path in served.paths:
                self._routes.add("POST", path, "key", self._exchange(pipeline, served.endpoint, dialect))
        self._add_objects()
        for called in CALLED:
            for path in called.paths:
                self._routes.add("POST", path + "/{call...}", "key", self._called(called))
        self._routes.add("GET", ANTHROPIC + "/v1/models", "key", self._models)
        self._routes.add("GET", ANTHROPIC + "/v1/models/{id...}", "key", self._model)
        for path in GOOGLE_MODELS:
            self._routes.add("GET", path, "key", self._models)
            self._routes.add("GET", path + "/{id...}", "key", self._model)
        for prefix in PREFIXES:
            self._routes.add("GET", prefix + "/models", "key", self._models)
            self._routes.add("GET", prefix + "/models/{id...}", "key", self._model)
            self._routes.add("POST", prefix + "/explain", "key", self._explain)

    def _add_objects(self) -> None:
        """Two APIs have some paths in common: there Anthropic's clients are known by their header."""
        calls = {(each.method, each.path): self._visit(each) for each in OBJECT_ROUTES}
        theirs = {(each.method, each.path): self._visit(each) for each in ANTHROPIC_ROUTES}
        for (method, path), call in (calls | theirs).items():
            other = theirs.get((method, path), call)
            for prefix in PREFIXES:
                self._routes.add(method, prefix + path, "key", _by_client(calls.get((method, path), other), other))
            if (method, path) in theirs:
                self._routes.add(method, f"{ANTHROPIC}/v1{path}", "key", other)

    def _visit(self, route: ObjectRoute) -> Call:
        return self._exchange(self._visits, route.endpoint, dialect_of(route))

    def _add_operations(self) -> None:
        self._routes.add("GET", "/", "public", self._index)
        self._routes.add("GET", "/health", "public", self._healthy)
        self._routes.add("GET", "/health/live", "public", self._live)
        self._routes.add("GET", "/health/ready", "public", self._ready)
        self._routes.add("GET", "/metrics", "public", self._metrics)

    def _called(self, called: Called) -> Call:
        """A route whose last segment is `{model}:{action}`."""
        served = {name: (action.endpoint, action.dialect()) for name, action in called.actions.items()}

        async def call(incoming: "Incoming", params: Mapping[str, str]) -> "Answer":
            model, _, action = params["call"].rpartition(":")
            form = incoming.query.get("alt")
            found = served.get(f"{action}?alt={form}") or served.get(action)
            if found is None or not model:
                names = ", ".join(name for name in called.actions if "?" not in name)
                unknown = UnknownRoute(f"The path must end in a model and one of: {names}.")
                return incoming.reply(*self.render_error(unknown, incoming.request_id, incoming.path, google=True))
            endpoint, dialect = found
            if "key" in incoming.query:
                error = Unauthenticated(_KEY_IN_URL)
                body = dialect.error(error, incoming.request_id)
                return incoming.reply(error.status, {"content-type": "application/json"}, body)
            return await self._exchange(self._pipeline, endpoint, dialect)(incoming, {"model": model, "action": action})

        return call

    def _exchange(self, pipeline: Pipeline, endpoint: str, dialect: Dialect) -> Call:
        # Not a coroutine of its own: every wait of every request would pass through it.
        def call(incoming: "Incoming", params: Mapping[str, str]) -> Awaitable["Answer"]:
            if HEADER in incoming.headers and incoming.method == "POST":
                return self._repeats.serve(pipeline, endpoint, dialect, incoming, params)
            return pipeline.serve(endpoint, dialect, incoming, params)

        return call

    async def _caller(self, incoming: "Incoming", scope: str) -> Caller:
        caller = await self._pipeline.authenticate(self._gateway.snapshot, incoming.headers)
        caller.need(scope)
        return caller

    async def _models(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        caller = await self._lister(incoming)
        snapshot = self._gateway.snapshot
        await self._gateway.catalogue.look(snapshot.plugins.providers, snapshot.peers)
        shape = anthropic_list if "anthropic-version" in incoming.headers else model_list
        shape = google_list if _is_google(incoming) else shape
        return _json(incoming, 200, shape(snapshot.router, caller))

    async def _model(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":
        caller = await self._lister(incoming)
        shape = anthropic_model if "anthropic-version" in incoming.headers else one_model
        shape = google_model if _is_google(incoming) else shape
        return _json(incoming, 200, shape(self._gateway.snapshot.router, caller, params["id"]))

    async def _lister(self, incoming: "Incoming") -> Caller:
        if "key" in incoming.query and _is_google(incoming):
            raise Unauthenticated(_KEY_IN_URL)
        return await self._caller(incoming, "models")

    async def _explain(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        caller = await self._caller(incoming, "explain")
        incoming.check_json()
        raw = await incoming.body(self._gateway.snapshot.config.server.max_body_bytes)
        told = await explain.explain(self._gateway, caller, raw, read_object(raw), self._accounting.estimator)
        return _json(incoming, 200, told)

    async def _index(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        return _json(incoming, 200, {"name": "AI Gateway", "api": "/api/v1", "health": "/health/ready"})

    async def _healthy(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        return _json(incoming, 200, {"status": "healthy"})  # the address and the word that other gateways have

    async def _live(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        return _json(incoming, 200, {"status": "alive"})

    async def _ready(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        ready = self.ready() and self._gateway.journal.has_room()
        return _json(incoming, 200 if ready else 503, {"status": "ready" if ready else "not ready"})

    async def _metrics(self, incoming: "Incoming", params: Mapping[str, str]) -> "Answer":  # noqa: ARG002
        self._accounting.show()
        body, content_type = self._gateway.metrics.render()
        return incoming.reply(200, {"content-type": content_type}, body)


def _by_client(call: Call, anthropics: Call) -> Call:
    async def choose(incoming: "Incoming", params: Mapping[str, str]) -> "Answer":
        return await (anthropics if "anthropic-version" in incoming.headers else call)(incoming, params)

    return choose


def _is_google(incoming: "Incoming") -> bool:
    """Whether this is a client of Google's API: by its address, else by the headers that only such clients send."""
    headers = incoming.headers
    return incoming.path.startswith(GOOGLE) or "x-goog-api-key" in headers or "x-goog-api-client" in headers


def _json(incoming: "Incoming", status: int, value: dict[str, Any]) -> "Answer":
    return incoming.reply(status, {"content-type": "application/json"}, msgspec.json.encode(value))
