"""The OpenAPI 3.1 document of all described routes, made of the structs that validate. No prose is written here."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.admin.errors import ErrorBody
from gateway.hookspecs import About, Route

_PARAMETER = re.compile(r"\{(\w+)(?:\.\.\.)?\}")
_REF = "#/components/schemas/{name}"
_ALWAYS = (400, 429, 503)
_WRITES = (409, 413, 415)
Json = dict[str, Any]


def document(routes: Iterable[Route], *, version: str) -> Json:
    """The document. Routes without a description, and most aliases, are not in it."""
    listed = [(route, route.about) for route in routes if route.about is not None and route.about.listed]
    schemas = _Schemas(about for _, about in listed)
    paths: Json = {}
    for route, about in sorted(listed, key=lambda each: (each[1].tag, each[0].path, each[0].method)):
        path = paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        path[route.method.lower()] = _operation(route, about, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AI Gateway", "version": version, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(sorted(about.tag for _, about in listed))],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _SECURITY},
    }


class _Schemas:
    """The schemas of all structs: `components` by name, and `of` what refers to them."""

    def __init__(self, abouts: Iterable[About]) -> None:
        types: list[Any] = [ErrorBody]
        for about in abouts:
            types += [each for each in (about.body, about.answer, about.query) if each is not None]
        unique = list(dict.fromkeys(types))
        found, self.components = msgspec.json.schema_components(unique, ref_template=_REF)
        self._by_type = dict(zip(unique, found, strict=True))

    def of(self, type_: Any) -> Json:  # noqa: ANN401 - a type form
        """A schema, mostly a reference."""
        schema: Json = self._by_type[type_]
        return schema

    def fields(self, struct: type[msgspec.Struct]) -> Json:
        """The object schema of a struct."""
        schema = self.of(struct)
        whole: Json = self.components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return whole


def _operation(route: Route, about: About, schemas: _Schemas) -> Json:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_ID}
        for name in _PARAMETER.findall(route.path)
    ]
    if about.query is not None:
        parameters += _query(schemas.fields(about.query))
    writes = route.method in ("POST", "PUT", "PATCH", "DELETE")
    if route.method == "POST" and ":" in route.permission:
        parameters.append(_header("Idempotency-Key", "Done once, however often it is sent within 24 hours.", _ONCE))
    if route.method in ("PATCH", "PUT", "DELETE") and 412 in about.errors:
        parameters.append(_header("If-Match", "The `ETag` that was read: 412 if it has changed since.", _VERSION))
    operation: Json = {
        "operationId": _name(route), "summary": about.summary, "tags": [about.tag], "parameters": parameters,
        "security": _security(route.permission), "x-permission": route.permission,
        "responses": _responses(route, about, schemas, writes=writes),
    }  # fmt: skip
    if about.deprecated:
        operation["deprecated"] = True
    if about.body is not None:
        content = {"application/json": {"schema": schemas.of(about.body)}}
        operation["requestBody"] = {"required": about.body_required, "content": content}
    return operation


def _responses(route: Route, about: About, schemas: _Schemas, *, writes: bool) -> Json:
    good: Json = {"description": HTTPStatus(about.status).phrase}
    if about.answer is not None:
        good["content"] = {media: {"schema": schemas.of(about.answer)} for media in about.media}
    elif about.status != 204:
        good["content"] = {media: {} for media in about.media}
    statuses = {*_ALWAYS, *about.errors, *(_WRITES if writes else ())}
    statuses |= {401, 403} if route.permission != "public" else set()
    statuses |= {404} if "{" in route.path else set()
    statuses |= {422} if writes or about.query is not None else set()
    statuses |= {422}  # unknown fields of a query
    error = {"application/json": {"schema": schemas.of(ErrorBody)}}
    bad = {str(s): {"description": HTTPStatus(s).phrase, "content": error} for s in sorted(statuses)}
    return {str(about.status): good, **bad}


def _query(schema: Json) -> list[Json]:
    required = schema.get("required", ())
    parameters = []
    for name, field in schema.get("properties", {}).items():
        shown = {key: value for key, value in field.items() if key != "description"}
        one: Json = {"name": name, "in": "query", "required": name in required, "schema": shown}
        if "description" in field:
            one["description"] = field["description"]
        parameters.append(one)
    return parameters


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _security(permission: str) -> Sequence[Json]:
    if permission == "public":
        return []
    return [{"apiKey": []}, {"apiKeyHeader": []}] if permission == "key" else [{"token": []}, {"cookie": []}]


def _name(route: Route) -> str:
    """`get_api_keys_id` for GET /api/v1/admin/api-keys/{id}; where API keys have a route of that name, with `admin`."""
    path = route.path.removeprefix("/api/v1")
    path = path if path.startswith(("/admin/guardrails/", "/admin/usage/")) else path.removeprefix("/admin")
    return re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_")


_PATH_ID: Json = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$"}
_ONCE: Json = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
_VERSION: Json = {"type": "string", "pattern": "^(\\*|\"[0-9]{1,18}\")$"}
_LICENSE: Json = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SECURITY: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "The `access_token` of a login, or an admin token."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-gateway", "description": "What browsers get."},
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, `sk-gw-…`."},
    "apiKeyHeader": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same."},
}
