"""The dry run behind `POST /explain` and `gateway explain`: which stages, limits, targets and prices would apply.

No upstream is called and nothing is taken from any limit. Guardrails are named, not run. A plugin's entry with a
`target` (`provider/model`) speaks of that target only; every other entry speaks of the request.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.bridge import wire_for
from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.dispatch import hooks_of
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.exchange import Caller, Exchange, Target
from gateway.hookspecs import Dialect
from gateway.money import dollars
from gateway.money.cost import cost_nano
from gateway.money.estimate import Estimator, input_tokens
from gateway.runtime import Gateway, Snapshot


async def explain(
    gateway: Gateway, caller: Caller, raw: bytes, body: dict[str, Any], estimator: Estimator | None = None
) -> dict[str, Any]:
    """What would happen to the request `body` of this caller. Raises what decoding it raises.

    `estimator` is the process's own, which has learned from traffic; a new one guesses a quarter token a byte.
    """
    snapshot = gateway.snapshot
    endpoint, dialect = _endpoint(body)
    exchange = Exchange("explain", endpoint, dialect, {}, now_ms())
    exchange.internal["estimator"] = estimator or Estimator()
    exchange.caller = caller
    exchange.request = dialect.decode(raw, body)
    told: dict[str, Any] = {
        "endpoint": endpoint,
        "caller": {"tenant": caller.tenant, "key": caller.key, "key_name": caller.key_name},
        "model": exchange.request.model,
        "stages": _stages(snapshot),
    }
    try:
        resolved = snapshot.router.resolve(exchange.request.model, caller)
    except GatewayError as error:
        return {**told, "would": "refuse", "refusal": _refusal(error)}
    exchange.model = resolved.name
    targets = [
        target for target in resolved.targets
        if wire_for(endpoint, dialect.name, target.provider, target.model) is not None
    ]
    if not targets:
        told["refusal"] = {"status": 404, "code": "model_not_found", "message": f"No target serves {endpoint}."}
    shown = [_target(exchange, target) for target in targets]
    limits = await _limits(snapshot, exchange, targets)
    for target in shown:
        target["would"] = _would(limit for limit in limits if limit.get("target") == _name(target))
    whole = _would(limit for limit in limits if "target" not in limit)
    # A refused target is passed over, as in the request path; only those that were tried count as attempts.
    some = any(target["would"] == "pass" for target in shown)
    told |= {"resolved_as": resolved.name, "max_attempts": snapshot.config.max_attempts, "limits": limits}
    return {**told, "targets": shown, "would": "answer" if some and whole == "pass" else "refuse"}


def _endpoint(body: dict[str, Any]) -> tuple[str, Dialect]:
    """The endpoint that a body of this shape is for."""
    if "input" in body:
        return "embeddings", Embeddings()
    if "prompt" in body:
        return "completions", Completions()
    return "chat.completions", Chat()


def _stages(snapshot: Snapshot) -> list[dict[str, Any]]:
    members = [member for member in snapshot.plugins.members if member.role != "provider"]
    # Guardrails have one set of hooks, which is no plugin.
    theirs = [part for member in members if member.id == "guardrails" for part in member.parts]
    return [
        {
            "name": member.name, "use": member.id, "role": member.role,
            "hooks": list(hooks_of(*member.parts, *(theirs if member.role == "guardrail" else ()))),
        }
        for member in members if member.id != "guardrails"
    ]  # fmt: skip


async def _limits(snapshot: Snapshot, exchange: Exchange, targets: Iterable[Target]) -> list[Mapping[str, Any]]:
    """What the plugins say of each target; what holds for all of them is listed once."""
    found: list[Mapping[str, Any]] = []
    for target in targets:
        exchange.target = target
        found += [limit for limit in await snapshot.plugins.explain(exchange, target) if limit not in found]
    return found


def _would(limits: Iterable[Mapping[str, Any]]) -> str:
    return "refuse" if any(limit.get("would") == "refuse" for limit in limits) else "pass"


def _name(target: Mapping[str, Any]) -> str:
    return f"{target['provider']}/{target['model']}"


def _target(exchange: Exchange, target: Target) -> dict[str, Any]:
    request = exchange.request
    assert request is not None
    seen = input_tokens(exchange)
    caps = [cap for cap in (request.max_output, target.max_output) if cap is not None]
    most = 0 if exchange.endpoint == "embeddings" else min(caps) * request.choices if caps else None
    told: dict[str, Any] = {
        "provider": target.provider.name, "model": target.model, "context_length": target.context_length,
        "estimated_input_tokens": seen, "output_tokens_at_most": most, "price": None,
    }
    if target.price is not None:
        told["price"] = {
            "input": dollars(target.price.input * 1000), "output": dollars(target.price.output * 1000),
            "unit": "USD per 1M tokens", "version": target.price.version,
        }
        told["estimated_input_cost"] = dollars(cost_nano(target.price, Usage(input=seen)))
        if most is not None:
            told["estimated_cost_at_most"] = dollars(cost_nano(target.price, Usage(input=seen, output=most)))
    return told


def _refusal(error: GatewayError) -> dict[str, Any]:
    return {"status": error.status, "code": error.code, "message": error.message}
