"""The route table: method and pattern lead to one route object, which carries its permission.

What is not in the table is denied. The caller decides on the route that `match` returned, never on a path.
Paths come as `Incoming.path` gives them: decoded once, save for `%2F` and `%25`, which only a parameter may hold.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gateway.errors import UnknownRoute

PERMISSIONS = frozenset({"public", "key", "loopback"})

_RIGHT = re.compile(r"[a-z][a-z-]*:[a-z][a-z-]*")
_REST = "..."


class MethodNotAllowed(UnknownRoute):
    """The path exists, with other methods; `headers["Allow"]` names them."""

    status = 405
    code = "method_not_allowed"


class Route(msgspec.Struct, frozen=True, eq=False):
    """What a request leads to, and who may: `permission` is `public`, `key`, `loopback` (this machine only), or a right
    such as `keys:write`.
    """

    method: str
    pattern: str
    permission: str
    call: Callable[..., Any]


class RouteTable:
    """All routes of the process, complete before the first request.

    A pattern is an exact path whose segments may be `{name}` (one segment) and whose last one may be `{name...}`
    (the rest, slashes included). The most specific pattern wins: literal, then `{name}`, then `{name...}`.
    """

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._root = _Node()

    def add(self, method: str, pattern: str, permission: str, call: Callable[..., Any]) -> Route:
        """Register a route. Raises `ValueError` for a missing permission, a bad pattern or a duplicate."""
        route = Route(method, pattern, permission, call)
        _check(route)
        names: list[str] = []
        node = self._root
        for segment in pattern[1:].split("/"):
            node = node.child(segment, names)
        if method in node.routes:
            other = node.routes[method][0].pattern
            raise ValueError(f"two routes for {method} {pattern}: one is registered as {other}")
        node.routes[method] = (route, tuple(names))
        if not names:
            self._exact[method, pattern] = route
        return route

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its parameters. Raises `UnknownRoute` (404) or `MethodNotAllowed` (405)."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, {}
        return self._search(method, path)

    def __iter__(self) -> Iterator[Route]:
        yield from (route for node in self._root.walk() for route, _ in node.routes.values())

    def _search(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        allowed: set[str] = set()
        segments = path[1:].split("/") if path.startswith("/") else []
        for node, values in self._root.find(segments, 0):
            found = node.routes.get(method) or (node.routes.get("GET") if method == "HEAD" else None)
            if found is not None:
                route, names = found
                return route, dict(zip(names, map(_decoded, values), strict=True))
            allowed.update(node.routes)
        shown = f"{method} {path[:200]}"
        if not allowed:
            raise UnknownRoute(f"There is no route {shown}. The API lives under /api/v1 and /v1.")
        allow = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
        raise MethodNotAllowed(f"There is no route {shown}; this path takes {allow}.", headers={"Allow": allow})


class _Node:
    """One segment of the patterns' tree."""

    __slots__ = ("literals", "one", "rest", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.one: _Node | None = None
        self.rest: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}

    def child(self, segment: str, names: list[str]) -> "_Node":
        if not segment.startswith("{"):
            return self.literals.setdefault(segment, _Node())
        name = segment[1:-1]
        names.append(name.removesuffix(_REST))
        if name.endswith(_REST):
            self.rest = self.rest or _Node()
            return self.rest
        self.one = self.one or _Node()
        return self.one

    def find(self, segments: list[str], at: int) -> Iterator[tuple["_Node", tuple[str, ...]]]:
        """Nodes that have this path, the most specific first; no deeper than the patterns are."""
        if at == len(segments):
            if self.routes:
                yield self, ()
            return
        segment = segments[at]
        if segment in self.literals:
            yield from self.literals[segment].find(segments, at + 1)
        if self.one is not None and segment:
            for node, values in self.one.find(segments, at + 1):
                yield node, (segment, *values)
        if self.rest is not None and (rest := "/".join(segments[at:])):
            yield self.rest, (rest,)

    def walk(self) -> Iterator["_Node"]:
        yield self
        for child in (*self.literals.values(), self.one, self.rest):
            if child is not None:
                yield from child.walk()


def _check(route: Route) -> None:
    where = f"route {route.method} {route.pattern}"
    if route.permission not in PERMISSIONS and not _RIGHT.fullmatch(str(route.permission)):
        known = ", ".join(sorted(PERMISSIONS))
        raise ValueError(
            f"{where}: permission {route.permission!r} is none of {known}, nor a right such as `keys:write`; "
            "each route needs one"
        )
    if not route.method.isascii() or not route.method.isalpha() or not route.method.isupper():
        raise ValueError(f"{where}: the method must be upper-case letters")
    if not route.pattern.startswith("/") or "%" in route.pattern or "?" in route.pattern:
        raise ValueError(f"{where}: a pattern starts with / and has neither % nor ?")
    segments = route.pattern[1:].split("/")
    names = [segment[1:-1].removesuffix(_REST) for segment in segments if segment.startswith("{")]
    for segment in segments:
        if ("{" in segment or "}" in segment) and not (segment.startswith("{") and segment.endswith("}")):
            raise ValueError(f"{where}: {{name}} must be a whole segment, not a part of {segment!r}")
    if any(not name.isidentifier() for name in names) or len(set(names)) != len(names):
        raise ValueError(f"{where}: parameter names must be different identifiers")
    if any(segment.endswith(_REST + "}") for segment in segments[:-1]):
        raise ValueError(f"{where}: {{name...}} can only be the last segment")


def _decoded(value: str) -> str:
    return value.replace("%2F", "/").replace("%25", "%") if "%" in value else value
