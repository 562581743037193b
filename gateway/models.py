"""`/models`: what a caller may use, in OpenAI's shape with what else is known beside it."""

from typing import Any

from gateway.errors import Forbidden, UnknownModel
from gateway.exchange import Caller, Price
from gateway.money import dollars
from gateway.router import Listed, Router

# Model lists have a creation date; ours have none, and clients want a number.
_CREATED = 0
# What the gateway takes for every model; what a model makes of it is known to its provider alone.
_GOOGLES_METHODS = ("generateContent", "countTokens", "embedContent")


def model_list(router: Router, caller: Caller) -> dict[str, Any]:
    """All models of a caller."""
    return {"object": "list", "data": [_shown(line) for line in router.listed(caller)]}


def one_model(router: Router, caller: Caller, name: str) -> dict[str, Any]:
    """One model by name, listed or not. Raises `UnknownModel` also for one that this caller may not use."""
    try:
        found = router.resolve(name, caller)
    except Forbidden as refusal:
        raise UnknownModel(refusal.message, code=refusal.code, param="model") from None
    return _shown(Listed(name, found.targets[0], found.entry, found.canonical))


def anthropic_list(router: Router, caller: Caller) -> dict[str, Any]:
    """All models of a caller in Anthropic's shape, with what else is known beside it; always one page."""
    data = [_of_anthropic(_shown(line)) for line in router.listed(caller)]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}


def anthropic_model(router: Router, caller: Caller, name: str) -> dict[str, Any]:
    """One model in Anthropic's shape."""
    return _of_anthropic(one_model(router, caller, name))


def google_list(router: Router, caller: Caller) -> dict[str, Any]:
    """All models of a caller in Google's shape; always one page."""
    return {"models": [_of_google(_shown(line)) for line in router.listed(caller)]}


def google_model(router: Router, caller: Caller, name: str) -> dict[str, Any]:
    """One model in Google's shape."""
    return _of_google(one_model(router, caller, name))


def _of_google(shown: dict[str, Any]) -> dict[str, Any]:
    limits = {"inputTokenLimit": shown.get("context_length"), "outputTokenLimit": shown.get("max_output_tokens")}
    known = {name: value for name, value in limits.items() if value}
    told = {"name": "models/" + shown["id"], "version": "", "displayName": shown["id"], "description": ""}
    return {**told, **known, "supportedGenerationMethods": list(_GOOGLES_METHODS)}


def _of_anthropic(shown: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in shown.items() if name not in ("object", "created")}
    limits = {"max_input_tokens": shown.get("context_length"), "max_tokens": shown.get("max_output_tokens")}
    told = {"type": "model", "id": shown["id"], "display_name": shown["id"], "created_at": "1970-01-01T00:00:00Z"}
    return {**told, "lifecycle": "active", **limits, **known}


def _shown(line: Listed) -> dict[str, Any]:
    target = line.target
    facts: dict[str, Any] = {
        "id": line.name, "object": "model", "created": _CREATED, "owned_by": target.provider.name,
    }
    if line.entry is not None and line.canonical != line.name:
        facts["alias_of"] = line.canonical
    if target.context_length:
        facts["context_length"] = target.context_length
    if target.max_output:
        facts["max_output_tokens"] = target.max_output
    own = getattr(target.provider, "facts", {}).get(target.model)
    modalities = (line.entry.modalities if line.entry is not None else ()) or getattr(own, "modalities", ())
    if modalities:
        facts["modalities"] = list(modalities)
    if target.price is not None:
        facts["pricing"] = _pricing(target.price)
    return facts


def _pricing(price: Price) -> dict[str, str]:
    """Dollars per million tokens, as decimal strings."""
    return {
        "currency": "USD", "unit": "1M tokens", "version": price.version,
        "input": dollars(price.input * 1000), "output": dollars(price.output * 1000),
        "cached_input": dollars(price.cached * 1000), "cache_write": dollars(price.cache_write * 1000),
    }
