"""The dry run behind `POST /explain` and `gateway explain`: which stages, limits, targets and prices would apply.

No upstream is called and nothing is taken from any limit. Guardrails are named, not run.
"""

from typing import Any

from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.exchange import Caller, Exchange, Target
from gateway.hookspecs import Dialect
from gateway.money import dollars
from gateway.money.cost import cost_nano
from gateway.money.estimate import input_tokens
from gateway.runtime import Gateway, Snapshot


async def explain(gateway: Gateway, caller: Caller, raw: bytes, body: dict[str, Any]) -> dict[str, Any]:
    """What would happen to the request `body` of this caller. Raises what decoding it raises."""
    snapshot = gateway.snapshot
    endpoint, dialect = _endpoint(body)
    exchange = Exchange("explain", endpoint, dialect, {}, now_ms())
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
    targets = [target for target in resolved.targets if endpoint in target.provider.endpoints]
    told["resolved_as"] = resolved.name
    told["targets"] = [_target(exchange, target) for target in targets[: snapshot.config.max_attempts]]
    told["limits"] = [
        limit for target in targets[:1] for limit in await snapshot.plugins.explain(exchange, target)
    ]
    refused = [limit for limit in told["limits"] if limit.get("would") == "refuse"]
    told["would"] = "refuse" if refused or not targets else "answer"
    return told


def _endpoint(body: dict[str, Any]) -> tuple[str, Dialect]:
    """The endpoint that a body of this shape is for."""
    if "input" in body:
        return "embeddings", Embeddings()
    if "prompt" in body:
        return "completions", Completions()
    return "chat.completions", Chat()


def _stages(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {"name": member.name, "use": member.id, "role": member.role, "hooks": list(member.hooks())}
        for member in snapshot.plugins.members
        if member.role != "provider"
    ]


def _target(exchange: Exchange, target: Target) -> dict[str, Any]:
    request = exchange.request
    assert request is not None
    seen = input_tokens(exchange)
    most = 0 if exchange.endpoint == "embeddings" else (request.max_output or target.max_output or 0) * request.choices
    told: dict[str, Any] = {
        "provider": target.provider.name, "model": target.model, "context_length": target.context_length,
        "estimated_input_tokens": seen, "output_tokens_at_most": most or None, "price": None,
    }
    if target.price is not None:
        told["price"] = {
            "input": dollars(target.price.input * 1000), "output": dollars(target.price.output * 1000),
            "unit": "USD per 1M tokens", "version": target.price.version,
        }
        told["estimated_cost_at_most"] = dollars(cost_nano(target.price, Usage(input=seen, output=most)))
    return told


def _refusal(error: GatewayError) -> dict[str, Any]:
    return {"status": error.status, "code": error.code, "message": error.message}
