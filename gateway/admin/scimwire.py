"""SCIM 2.0 as providers write it: filters, PATCH operations and attributes, read into plain values. No I/O here.

Sources: RFC 7643 (schemas), RFC 7644 (protocol), and what Okta and Entra ID send, which is more than that: paths as
names (`name.givenName`) in values without a path, the words `True` and `False`, values in lists of one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.errors import InvalidRequest, NotFound

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
_TERM: Final = re.compile(
    r'\s*([A-Za-z][A-Za-z0-9.:_-]{0,100}(?:\[[^\]"]{0,40}"[^"]{0,40}"\])?(?:\.[A-Za-z]{1,20})?)\s+([A-Za-z]{2})\s+'
    r'(?:"((?:[^"\\]|\\.){0,320})"|(true|false))\s*', re.IGNORECASE,
)  # fmt: skip
_AND: Final = re.compile(r"\s*and\s", re.IGNORECASE)
_MEMBERS: Final = re.compile(
    r'members\[\s*(value eq "[A-Za-z0-9._-]{1,64}"(?: or value eq "[A-Za-z0-9._-]{1,64}")*)\s*\]', re.IGNORECASE
)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ADDRESS: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_NAMES: Final = ("displayname", "name.formatted", "name.givenname", "name.familyname")
_MOST_TERMS: Final = 5


class Person(msgspec.Struct, frozen=True):
    """What is kept of a user."""

    address: str
    name: str = ""
    external: str | None = None
    active: bool = True


class Circle(msgspec.Struct, frozen=True):
    """What is kept of a group; `members` are ids of users, each once."""

    name: str
    external: str | None = None
    members: tuple[str, ...] = ()


def conditions(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """A filter of `attribute eq value`, joined by `and`, as fields with values; `known` gives an attribute's field."""
    found: dict[str, str] = {}
    position, terms = 0, 0
    while text[position:].strip():
        term, terms = _TERM.match(text, position), terms + 1
        attribute = _plain(term[1]) if term else ""
        if term is None or term[2].lower() != "eq" or attribute not in known or terms > _MOST_TERMS:
            raise InvalidRequest(f'Filters are {next(iter(known))} eq "…", joined by and.', code="invalidFilter")
        value = re.sub(r"\\(.)", r"\1", term[3]) if term[3] is not None else term[4].lower()
        if found.setdefault(known[attribute], value) != value:
            raise InvalidRequest("This filter asks for two values of one attribute.", code="invalidFilter")
        position = term.end()
        if rest := text[position:]:
            joint = _AND.match(rest)
            if joint is None or not rest[joint.end() :].strip():
                raise InvalidRequest("Filters are joined by and.", code="invalidFilter")
            position += joint.end()
    return found


def person(body: Mapping[str, Any], before: Person | None = None) -> Person:
    """A user as a whole (POST, PUT). What is not said of a user who exists stays."""
    given = _flat(body)
    if not isinstance(given.get("username"), str):
        raise InvalidRequest("`userName` must be an e-mail address.", code="invalidValue", param="userName")
    fresh = Person(_address(given["username"]), active=before.active if before else True)
    made = _person(fresh, given)
    return msgspec.structs.replace(made, name=before.name) if before and not made.name else made


def patched_person(before: Person, body: Mapping[str, Any]) -> Person:
    """A user after all operations; attributes that are not kept are passed over."""
    for verb, path, value in _operations(body):
        given = {_plain(path): None if verb == "remove" else value} if path else _flat(value)
        before = _person(before, given)
    return before


def circle(body: Mapping[str, Any], before: Circle | None = None) -> Circle:
    """A group as a whole; without `members` it keeps those that it has."""
    name = body.get("displayName")
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequest("`displayName` is missing.", code="invalidValue", param="displayName")
    members = _ids(body["members"]) if body.get("members") is not None else before.members if before else ()
    return Circle(name[:200], _external(body.get("externalId"), before.external if before else None), members)


def patched_circle(before: Circle, body: Mapping[str, Any]) -> Circle:
    """A group after all operations."""
    for verb, path, value in _operations(body):
        if path:
            before = _circle(before, verb, path, value)
            continue
        for name, each in value.items():
            if _plain(name) in ("displayname", "externalid", "members"):
                before = _circle(before, verb, name, each)
    return before


def flag(value: object) -> bool:
    """Some providers send the word, some a list with it."""
    value = _only(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    if not isinstance(value, bool):
        raise InvalidRequest("`active` must be true or false.", code="invalidValue", param="active")
    return value


def shown(resource: Mapping[str, Any], only: str, without: str) -> dict[str, Any]:
    """A resource with the attributes that were asked for (`attributes`, `excludedAttributes`)."""
    wanted = {_plain(each).partition(".")[0] for each in only.split(",") if each.strip()}
    refused = {_plain(each).partition(".")[0] for each in without.split(",") if each.strip()}
    return {
        name: value for name, value in resource.items()
        if name in ("schemas", "id") or ((not wanted or name.lower() in wanted) and name.lower() not in refused)
    }  # fmt: skip


def _person(before: Person, given: Mapping[str, Any]) -> Person:
    address, active = before.address, before.active
    if given.get("username") is not None:
        address = _address(_only(given["username"]))
    if given.get("active") is not None:
        active = flag(given["active"])
    external = _external(given["externalid"], None) if "externalid" in given else before.external
    return Person(address, _name(before.name, given)[:200], external, active)


def _name(before: str, given: Mapping[str, Any]) -> str:
    """One name out of many: the shown one, or the whole one, or the two parts, of which one may come alone."""
    said = {name: text for name in _NAMES if isinstance(text := _only(given.get(name)), str)}
    for whole in _NAMES[:2]:
        if said.get(whole):
            return said[whole]
    first, _, last = before.partition(" ")
    parts = (said.get("name.givenname", first), said.get("name.familyname", last))
    return " ".join(part for part in parts if part) if said else before


def _circle(before: Circle, verb: str, path: str, value: object) -> Circle:
    name = _plain(path)
    if name == "displayname" and verb != "remove":
        text = _only(value)
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequest("`displayName` must be a text.", code="invalidValue", param="displayName")
        return msgspec.structs.replace(before, name=text[:200])
    if name == "externalid":
        return msgspec.structs.replace(before, external=_external(None if verb == "remove" else value, None))
    chosen = _MEMBERS.fullmatch(path.strip())
    if chosen is None and (name != "members" or "[" in path):
        raise InvalidRequest("This path of a group cannot be changed.", code="invalidPath")
    named = tuple(_QUOTED.findall(chosen[1])) if chosen else _ids(value) if value is not None else ()
    if verb == "remove":
        gone = set(named) if chosen or value is not None else set(before.members)
        kept = tuple(each for each in before.members if each not in gone)
    else:
        kept = tuple(dict.fromkeys((*(before.members if verb == "add" else ()), *named)))
    return msgspec.structs.replace(before, members=kept)


def _operations(body: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Verb, path and value of each operation; without a path the value is an object."""
    given = next((value for name, value in body.items() if name.lower() == "operations"), None)
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidRequest("`Operations` must be a list of objects.", code="invalidSyntax")
    found = []
    for each in given:
        verb, path, value = str(each.get("op", "")).lower(), each.get("path"), each.get("value")
        if verb not in ("add", "remove", "replace") or not isinstance(path, str | None):
            raise InvalidRequest("An operation is add, remove or replace; a path is text.", code="invalidSyntax")
        if not path and verb == "remove":
            raise InvalidRequest("An operation `remove` needs a path.", code="noTarget")
        if not path and not isinstance(value, dict):
            raise InvalidRequest("An operation without a path needs an object as value.", code="invalidValue")
        found.append((verb, path or "", value))
    return found


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes by name in lower case; those of `name` as `name.givenname`."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        key = _plain(name)
        if key == "name" and isinstance(value, dict):
            found |= {f"name.{part.lower()}": each for part, each in value.items()}
        else:
            found[key] = value
    return found


def _plain(path: str) -> str:
    """A path in lower case, without the schema before it and without the choice in brackets."""
    path = path.strip()
    for schema in (USER, GROUP):
        if path.lower().startswith(schema.lower() + ":"):
            path = path[len(schema) + 1 :]
    return re.sub(r"\[[^\]]{0,100}\]", "", path).lower()


def _only(value: object) -> object:
    """What a list of one value, or an object with a `value`, holds."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.get("value") if isinstance(value, dict) else value


def _address(value: object) -> str:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value) or not value.isprintable():
        raise InvalidRequest("`userName` must be an e-mail address.", code="invalidValue", param="userName")
    return value.lower()


def _external(value: object, default: str | None) -> str | None:
    value = _only(value)
    return value[:200] if isinstance(value, str) and value else default


def _ids(members: object) -> tuple[str, ...]:
    given: Sequence[object] = members if isinstance(members, list) else [members]
    named = [each.get("value") if isinstance(each, dict) else each for each in given]
    if not all(isinstance(each, str) and _ID.fullmatch(each) for each in named):
        raise NotFound("A member is no id of a user.")
    return tuple(dict.fromkeys(str(each) for each in named))
