"""What the SCIM service can do and what its resources look like: the discovery documents of RFC 7643, 5 to 8."""

from typing import Any, Final

from gateway.admin.scimwire import GROUP, USER

_SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:Schema"
_TYPE: Final = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


def document(path: str, base: str) -> dict[str, Any] | None:
    """The document at a path such as `/Schemas`; `None` where there is none. `base` is the service's own address."""
    kind, _, name = path.strip("/").partition("/")
    if kind == "ServiceProviderConfig":
        return None if name else _abilities(base)
    parts = _types(base) if kind == "ResourceTypes" else _schemas(base)
    if not name:
        found = list(parts.values())
        listed = {"totalResults": len(found), "startIndex": 1, "itemsPerPage": len(found), "Resources": found}
        return {"schemas": [_LIST], **listed}
    return next((each for key, each in parts.items() if key.lower() == name.lower()), None)


def _abilities(base: str) -> dict[str, Any]:
    no = {"supported": False}
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"], "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": 200}, "changePassword": no, "sort": no, "etag": no,
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "Bearer token", "description": "The admin token of a service account.",
            "primary": True,
        }],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }  # fmt: skip


def _types(base: str) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "schemas": [_TYPE], "id": name, "name": name, "endpoint": f"/{name}s", "schema": schema,
            "description": description, "schemaExtensions": [],
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{name}"},
        }
        for name, schema, description in (("User", USER, "A person"), ("Group", GROUP, "A team"))
    }  # fmt: skip


def _schemas(base: str) -> dict[str, dict[str, Any]]:
    user = [
        _attribute("userName", "string", "The e-mail address, which is unique", required=True, uniqueness="server"),
        _attribute("displayName", "string", "The name that is shown"),
        _attribute("name", "complex", "The same name, in parts", sub=[
            _attribute("formatted", "string", "The whole"), _attribute("givenName", "string", "The first word"),
            _attribute("familyName", "string", "The rest"),
        ]),
        _attribute("active", "boolean", "Whether the person may come in"),
        _attribute("emails", "complex", "The same address", many=True, mutability="readOnly", sub=[
            _attribute("value", "string", "The address"), _attribute("type", "string", "work"),
            _attribute("primary", "boolean", "true"),
        ]),
        _attribute("roles", "complex", "The role here", many=True, mutability="readOnly", sub=[
            _attribute("value", "string", "Its name"),
        ]),
        _attribute("externalId", "string", "What the directory calls the person", exact=True),
    ]  # fmt: skip
    group = [
        _attribute("displayName", "string", "The team's name", required=True, uniqueness="server"),
        _attribute("members", "complex", "Who is in it", many=True, sub=[
            _attribute("value", "string", "A user's id", mutability="immutable", exact=True),
            _attribute("type", "string", "User", mutability="immutable"),
            _attribute("$ref", "reference", "The user", mutability="immutable"),
        ]),
        _attribute("externalId", "string", "What the directory calls the group", exact=True),
    ]  # fmt: skip
    return {
        id_: {
            "schemas": [_SCHEMA], "id": id_, "name": id_.rpartition(":")[2], "description": description,
            "attributes": attributes, "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{id_}"},
        }
        for id_, description, attributes in ((USER, "A person", user), (GROUP, "A team", group))
    }  # fmt: skip


def _attribute(
    name: str, kind: str, description: str, *, required: bool = False, many: bool = False, exact: bool = False,
    mutability: str = "readWrite", uniqueness: str = "none", sub: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name, "type": kind, "multiValued": many, "description": description, "required": required,
        "caseExact": exact, "mutability": mutability, "returned": "default", "uniqueness": uniqueness,
    }  # fmt: skip
    if sub is not None:
        found["subAttributes"] = sub
    return found
