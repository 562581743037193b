"""The two routes of the reference: the document for programs, and the page for people."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from gateway.admin.reference import reference_page
from gateway.hookspecs import Reply, Route, RouteRequest
from gateway.version import version

DOCUMENT: Final = "/api/v1/openapi.json"
PAGE: Final = "/docs"
_HEADERS: Final = MappingProxyType({"x-content-type-options": "nosniff", "cache-control": "no-cache"})


def reference_routes(described: Callable[[], Sequence[Route]]) -> list[Route]:
    """Routes that show the `described` ones. Nothing is put together before somebody asks."""
    kept: dict[str, Reply] = {}

    async def show_document(request: RouteRequest) -> Reply:
        del request
        if "document" not in kept:
            from gateway.admin.openapi import document

            body = msgspec.json.encode(document(described(), version=version()))
            kept["document"] = Reply(200, body, headers=_HEADERS)
        return kept["document"]

    async def show_page(request: RouteRequest) -> Reply:
        del request
        if "page" not in kept:
            page = reference_page()
            headers = {
                **_HEADERS, "content-security-policy": page.policy, "referrer-policy": "no-referrer",
                "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
            }  # fmt: skip
            kept["page"] = Reply(200, page.html, content_type="text/html; charset=utf-8", headers=headers)
        return kept["page"]

    return [Route("GET", DOCUMENT, "public", show_document), Route("GET", PAGE, "public", show_page)]

