"""What OpenAI and Anthropic keep for their users beside models: the routes, and how requests and replies are read.

Responses, conversations, files, uploads, batches, fine-tuning jobs, vector stores; Anthropic's files and message
batches. A path that is not here is not served. Sending is `visits.py`, whose an id is `objects.py`.

Source: platform.openai.com/docs/api-reference, platform.claude.com/docs/en/api.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from gateway.dialects.anthropic import Messages
from gateway.dialects.media_tap import BinaryTap
from gateway.dialects.openai import NO_PARAMS, Change, OpenAIDialect
from gateway.dialects.responses import Responses
from gateway.events import Usage
from gateway.exchange import Request
from gateway.framing import BINARY
from gateway.hookspecs import Dialect, Tap

Does = Literal["create", "list", "get", "delete", "act", "content"]
Takes = Literal["nothing", "json", "form"]


class ObjectRoute(msgspec.Struct, frozen=True):
    """One route: `kind` is the family, `{id}` in the path an object of it; further parameters are parts of that object.

    `spends` says that it orders work which is billed later.
    """

    method: str
    path: str
    kind: str
    does: Does
    takes: Takes = "nothing"
    spends: bool = False
    api: Literal["openai", "anthropic"] = "openai"

    @property
    def endpoint(self) -> str:
        """The name in the ledger and in metrics: `files.get`, `vector_stores.files.list`."""
        parts = [part for part in self.path.split("/") if part and "{" not in part]
        return ".".join([*parts, *([] if self.does in ("act", "content") else [self.does])])


class ObjectDialect(OpenAIDialect):
    """Requests about objects of OpenAI's API: nothing in them is read but ids, and texts for guardrails."""

    name = "openai.objects"
    generates = False

    def __init__(self, route: ObjectRoute) -> None:
        self.route = route

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """There is no model."""
        return Request(raw, body, "")

    def reported(self, body: bytes) -> Usage | None:  # noqa: ARG002
        """What an object used is billed once, by `visits.py`."""
        return Usage()

    def texts(self, request: Request) -> list[str]:
        """What is searched for; all else are names and ids."""
        return _queries(request.body)

    def map_texts(self, request: Request, change: Change) -> Request:
        """The same, changed."""
        before = _queries(request.body)
        after = [change(text, "content") for text in before]
        if after == before:
            return request
        body = {**request.body, "query": after if type(request.body["query"]) is list else after[0]}
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)


class ResponseDialect(Responses):
    """The same for responses and conversations, whose texts stand as in a response."""

    generates = False

    def __init__(self, route: ObjectRoute) -> None:
        self.route = route

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """There is no model."""
        return Request(raw, body, "")

    def reported(self, body: bytes) -> Usage | None:  # noqa: ARG002
        """See `ObjectDialect.reported`."""
        return Usage()

    def texts(self, request: Request) -> list[str]:
        """Those of the items that are put into a conversation."""
        return super().texts(_as_input(request))

    def map_texts(self, request: Request, change: Change) -> Request:
        """The same, changed."""
        asked = _as_input(request)
        new = super().map_texts(asked, change)
        if new is asked:
            return request
        body = {**request.body, "items": new.body["input"]}
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)


class AnthropicObjectDialect(Messages):
    """The same with Anthropic's errors."""

    name = "anthropic.objects"
    generates = False

    def __init__(self, route: ObjectRoute) -> None:
        self.route = route

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """There is no model."""
        return Request(raw, body, "")

    def texts(self, request: Request) -> list[str]:
        """Those of each request of a batch."""
        return [text for each in _inner(request) for text in super(AnthropicObjectDialect, self).texts(each)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The same, changed."""
        inner = _inner(request)
        new = [super(AnthropicObjectDialect, self).map_texts(each, change) for each in inner]
        if all(one is other for one, other in zip(new, inner, strict=True)):
            return request
        entries = iter(new)
        listed = [
            {**entry, "params": next(entries).body} if _is_entry(entry) else entry
            for entry in request.body["requests"]
        ]
        body = {**request.body, "requests": listed}
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)

    def reported(self, body: bytes) -> Usage | None:  # noqa: ARG002
        """See `ObjectDialect.reported`."""
        return Usage()


class Contents(ObjectDialect):
    """An answer of any type, relayed as it comes under the eyes of one tap."""

    framing = BINARY

    def __init__(self, route: ObjectRoute, tap: Tap | None = None) -> None:
        super().__init__(route)
        self._tap = tap or BinaryTap()

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> Tap:  # type: ignore[override]  # noqa: ARG002
        """The one that it was made with."""
        return self._tap


def dialect_of(route: ObjectRoute) -> Dialect:
    """How errors, texts and replies of a route are written."""
    if route.api == "anthropic":
        return AnthropicObjectDialect(route)
    return ResponseDialect(route) if route.kind in ("responses", "conversations") else ObjectDialect(route)


def _queries(body: Mapping[str, Any]) -> list[str]:
    query = body.get("query")
    if type(query) is list and all(type(each) is str for each in query):
        return list(query)
    return [query] if type(query) is str else []


def _as_input(request: Request) -> Request:
    items = request.body.get("items")
    return Request(b"", {"input": items if type(items) is list else []}, "")


def _inner(request: Request) -> list[Request]:
    listed = request.body.get("requests")
    return [Request(b"", each["params"], "") for each in listed if _is_entry(each)] if type(listed) is list else []


def _is_entry(entry: Any) -> bool:  # noqa: ANN401
    return type(entry) is dict and type(entry.get("params")) is dict


def _family(kind: str, *, path: str = "", create: Takes = "json", spends: bool = False) -> list[ObjectRoute]:
    path = path or f"/{kind}"
    return [
        ObjectRoute("POST", path, kind, "create", create, spends),
        ObjectRoute("GET", path, kind, "list"),
        ObjectRoute("GET", path + "/{id}", kind, "get"),
    ]


def _acts(kind: str, path: str, *names: str) -> list[ObjectRoute]:
    return [ObjectRoute("POST", f"{path}/{{id}}/{name}", kind, "act", "json") for name in names]


def _parts(kind: str, path: str, name: str, *methods: tuple[str, str, Does, Takes]) -> list[ObjectRoute]:
    return [ObjectRoute(method, f"{path}/{{id}}/{name}{rest}", kind, does, takes)
            for method, rest, does, takes in methods]


_LIST: tuple[str, str, Does, Takes] = ("GET", "", "get", "nothing")
_ADD: tuple[str, str, Does, Takes] = ("POST", "", "act", "json")
_ONE: tuple[str, str, Does, Takes] = ("GET", "/{part}", "get", "nothing")
_EDIT: tuple[str, str, Does, Takes] = ("POST", "/{part}", "act", "json")
_DROP: tuple[str, str, Does, Takes] = ("DELETE", "/{part}", "act", "nothing")

OBJECT_ROUTES: tuple[ObjectRoute, ...] = (
    ObjectRoute("GET", "/responses/{id}", "responses", "get"),
    ObjectRoute("DELETE", "/responses/{id}", "responses", "delete"),
    *_acts("responses", "/responses", "cancel"),
    *_parts("responses", "/responses", "input_items", _LIST),
    ObjectRoute("POST", "/conversations", "conversations", "create", "json"),
    ObjectRoute("GET", "/conversations/{id}", "conversations", "get"),
    ObjectRoute("POST", "/conversations/{id}", "conversations", "act", "json"),
    ObjectRoute("DELETE", "/conversations/{id}", "conversations", "delete"),
    *_parts("conversations", "/conversations", "items", _LIST, _ADD, _ONE, _DROP),
    *_family("files", create="form"),
    ObjectRoute("DELETE", "/files/{id}", "files", "delete"),
    ObjectRoute("GET", "/files/{id}/content", "files", "content"),
    ObjectRoute("POST", "/uploads", "uploads", "create", "json"),
    *_parts("uploads", "/uploads", "parts", ("POST", "", "act", "form")),
    *_acts("uploads", "/uploads", "complete", "cancel"),
    *_family("batches", spends=True),
    *_acts("batches", "/batches", "cancel"),
    *_family("fine_tuning", path="/fine_tuning/jobs", spends=True),
    *_acts("fine_tuning", "/fine_tuning/jobs", "cancel", "pause", "resume"),
    *_parts("fine_tuning", "/fine_tuning/jobs", "events", _LIST),
    *_parts("fine_tuning", "/fine_tuning/jobs", "checkpoints", _LIST),
    *_family("vector_stores"),
    ObjectRoute("POST", "/vector_stores/{id}", "vector_stores", "act", "json"),
    ObjectRoute("DELETE", "/vector_stores/{id}", "vector_stores", "delete"),
    *_acts("vector_stores", "/vector_stores", "search"),
    *_parts("vector_stores", "/vector_stores", "files", _LIST, _ADD, _ONE, _EDIT, _DROP),
    *_parts("vector_stores", "/vector_stores", "files", ("GET", "/{part}/content", "get", "nothing")),
    *_parts("vector_stores", "/vector_stores", "file_batches", _ADD, _ONE),
    *_parts("vector_stores", "/vector_stores", "file_batches", ("POST", "/{part}/cancel", "act", "json")),
    *_parts("vector_stores", "/vector_stores", "file_batches", ("GET", "/{part}/files", "get", "nothing")),
)

_A: Literal["anthropic"] = "anthropic"
_BATCHES = "message_batches"
ANTHROPIC_ROUTES: tuple[ObjectRoute, ...] = (
    ObjectRoute("POST", "/messages/batches", _BATCHES, "create", "json", spends=True, api=_A),
    ObjectRoute("GET", "/messages/batches", _BATCHES, "list", api=_A),
    ObjectRoute("GET", "/messages/batches/{id}", _BATCHES, "get", api=_A),
    ObjectRoute("DELETE", "/messages/batches/{id}", _BATCHES, "delete", api=_A),
    ObjectRoute("POST", "/messages/batches/{id}/cancel", _BATCHES, "act", "json", api=_A),
    ObjectRoute("GET", "/messages/batches/{id}/results", _BATCHES, "content", api=_A),
    ObjectRoute("POST", "/files", "files", "create", "form", api=_A),
    ObjectRoute("GET", "/files", "files", "list", api=_A),
    ObjectRoute("GET", "/files/{id}", "files", "get", api=_A),
    ObjectRoute("DELETE", "/files/{id}", "files", "delete", api=_A),
    ObjectRoute("GET", "/files/{id}/content", "files", "content", api=_A),
)
