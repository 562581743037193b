"""An endpoint: a route with structs for what it takes and gives, served by a function of both.

    async def create(keys: Keys, ask: Ask[NoQuery, NewKey]) -> KeyMade: ...

    ROUTES = (Endpoint("POST", "/api-keys", "keys:write", create, "Create a key", body=NewKey, answer=KeyMade),)

`bind` makes routes of such a table for a plugin's `routes` hook. Permission, reading, idempotency, ETags and the form
of answers are the same for all of them, and done here.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from gateway.admin.errors import REPLY_HEADERS
from gateway.admin.fields import NoBody, NoQuery, read_body, read_query
from gateway.errors import InvalidFields, NotFound
from gateway.exchange import Caller
from gateway.hookspecs import About, Reply, Route, RouteRequest

if TYPE_CHECKING:
    from gateway.admin.idempotency import Idempotency

PREFIX = "/api/v1/admin"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ETAG = re.compile(r'"[0-9]{1,18}"')

Q = TypeVar("Q")
B = TypeVar("B")


class Ask(msgspec.Struct, Generic[Q, B], frozen=True):
    """One request to an endpoint: its query and body as structs, and the request itself."""

    query: Q
    body: B
    request: RouteRequest

    @property
    def principal(self) -> Any:  # noqa: ANN401 - what `authorize` of the plugin in charge returned
        """Who asks, on a route with a named permission."""
        return self.request.principal

    @property
    def caller(self) -> Caller:
        """Who asks, on a route for API keys."""
        assert self.request.caller is not None
        return self.request.caller

    def id(self, name: str = "id") -> str:
        """An id in the path. Raises `NotFound` for what can be none."""
        value = self.request.params[name]
        if not _ID.fullmatch(value):
            raise NotFound("There is nothing with this id.")
        return value

    @property
    def version(self) -> int | None:
        """The version that the caller has read, as `If-Match` says; `None` where any will do."""
        text = self.request.headers.get("if-match", "*").strip(" \t")
        if text == "*":
            return None
        if not _ETAG.fullmatch(text):
            raise InvalidFields(("If-Match", 'must be the ETag of an answer, such as "3", or *'))
        return int(text[1:-1])


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with more than a body: headers, another status, or `parts` that are streamed."""

    value: Any = None
    status: int | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    parts: AsyncIterator[bytes] | None = None


Serve = Callable[[Any, Any], Awaitable[Any]]


class Endpoint(msgspec.Struct, frozen=True):
    """One line of a table of endpoints; see `About` for what is not said here.

    `path` stands under /api/v1/admin unless it begins with /api/ itself. `secret` marks an answer with a credential in
    it: it is shown once, and kept nowhere. `aliases` are further methods and paths with the same meaning.
    """

    method: str
    path: str
    permission: str
    call: Serve
    summary: str
    tag: str = ""
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    answer: type | None = None
    status: int = 200
    media: tuple[str, ...] = ("application/json",)
    errors: tuple[int, ...] = ()
    secret: bool = False
    aliases: tuple[tuple[str, str], ...] = ()


class Items(msgspec.Struct, Generic[Q], frozen=True):
    """A page of a list; `next_cursor` leads to the next one, and is `null` on the last."""

    items: tuple[Q, ...]
    next_cursor: str | None = None


def bind(endpoints: Iterable[Endpoint], services: object, idempotency: "Idempotency | None" = None) -> list[Route]:
    """The routes of these endpoints, whose functions get `services` as first argument."""
    routes = []
    for endpoint in endpoints:
        call = _serving(endpoint, services, idempotency)
        about = About(
            summary=endpoint.summary, tag=endpoint.tag, query=None if endpoint.query is NoQuery else endpoint.query,
            body=endpoint.body, answer=endpoint.answer, status=endpoint.status, media=endpoint.media,
            errors=endpoint.errors, body_required=endpoint.body is not None and _needs_body(endpoint.body),
        )  # fmt: skip
        routes.append(Route(endpoint.method, _whole(endpoint.path), endpoint.permission, call, about))
        for method, path in endpoint.aliases:
            # What is outside of the admin API, or another method of a path, is shown: it would seem to be refused.
            outside = path.startswith("/api/")
            other = msgspec.structs.replace(about, listed=outside or path == endpoint.path, deprecated=not outside)
            routes.append(Route(method, _whole(path), endpoint.permission, call, other))
    return routes


def _serving(
    endpoint: Endpoint, services: object, idempotency: "Idempotency | None"
) -> Callable[[RouteRequest], Awaitable[Reply]]:
    takes = endpoint.body or NoBody

    async def call(request: RouteRequest) -> Reply:
        query = read_query(request.query, endpoint.query)
        raw = b"" if request.method in ("GET", "HEAD") else await request.body()
        ask: Ask[Any, Any] = Ask(query, read_body(raw, takes), request)

        async def serve() -> Reply:
            return _reply(endpoint, await endpoint.call(services, ask))

        key = request.headers.get("idempotency-key")
        if key is None or idempotency is None or request.method != "POST":
            return await serve()
        return await idempotency.once(key, request, raw, serve, secret=endpoint.secret)

    return call


def _reply(endpoint: Endpoint, result: object) -> Reply:
    done = result if isinstance(result, Done) else Done(value=result)
    headers = {**REPLY_HEADERS, **done.headers}
    version = getattr(done.value, "version", None)
    if isinstance(version, int):
        headers["etag"] = f'"{version}"'
    status = done.status or endpoint.status
    body = b"" if done.value is None else msgspec.json.encode(done.value)
    return Reply(status, body, content_type=endpoint.media[0], headers=headers, parts=done.parts)


def _needs_body(struct: type[msgspec.Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(struct))


def _whole(path: str) -> str:
    return path if path.startswith("/api/") or not path.startswith("/") else PREFIX + path
