"""The HTTP routes of guardrails that an API key may call: what there is, and what a policy would do to a text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gateway.admin.endpoint import Ask, Endpoint, bind
from gateway.admin.fields import NoBody, NoQuery
from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.exchange import Caller, Exchange
from gateway.guardrails.book import PolicyShown
from gateway.guardrails.trial import Trial, trial
from gateway.hookspecs import Route

if TYPE_CHECKING:
    from gateway.guardrails.stage import GuardrailStage

_LONGEST = 1_000_000


class GuardrailShown(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail that is at work: in every request, or by the policies that name it."""

    id: str
    name: str
    description: str
    actions: tuple[str, ...]
    policies: tuple[str, ...]


class Guardrails(msgspec.Struct, frozen=True):
    """All that are at work; `policy` is the one that holds for the caller."""

    guardrails: tuple[GuardrailShown, ...]
    policy: tuple[str, ...]


class Policies(msgspec.Struct, frozen=True):
    """All policies by name."""

    policies: tuple[PolicyShown, ...]


class TestText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text and a policy; without one, the one that holds for the caller."""

    text: Annotated[str, Meta(max_length=_LONGEST)]
    policy: str | None = None
    is_input: bool = True


async def listed(stage: "GuardrailStage", ask: Ask[NoQuery, NoBody]) -> Guardrails:
    """The guardrails at work."""
    found: dict[tuple[str, str], GuardrailShown] = {}
    book = await stage.book_for(ask.caller)
    for check in book.always:
        plugin = check.guardrail
        use = str(getattr(plugin, "id", "") or check.name)
        found[use, check.name] = GuardrailShown(
            id=use, name=check.name, description=_about(plugin), actions=(check.action,), policies=()
        )
    for policy in book.described():
        for rule in policy.rules:
            known = found.get((rule.use, rule.name)) or GuardrailShown(
                id=rule.use, name=rule.name, description=book.about(rule.use), actions=(), policies=()
            )
            found[rule.use, rule.name] = msgspec.structs.replace(
                known, policies=(*known.policies, policy.name),
                actions=tuple(dict.fromkeys((*known.actions, *([rule.action] if rule.action else ())))),
            )  # fmt: skip
    return Guardrails(tuple(found.values()), book.names_for(_exchange(ask.caller), ()))


async def policies(stage: "GuardrailStage", ask: Ask[NoQuery, NoBody]) -> Policies:
    """The policies there are."""
    return Policies((await stage.book_for(ask.caller)).described())


async def test(stage: "GuardrailStage", ask: Ask[NoQuery, TestText]) -> Trial:
    """What a policy does to a text. Judges outside of the gateway are asked."""
    body = ask.body
    book = await stage.book_for(ask.caller)
    names = book.names_for(_exchange(ask.caller), ())
    if body.policy is not None:
        book.check_name(body.policy)
        names = (body.policy,)
    policy = await book.policy(names)
    stand_in = stage.pseudonyms(ask.caller, [body.text]).stand_in if policy.pseudonymises else None
    return await trial(policy, body.text, is_input=body.is_input, caller=ask.caller, stand_in=stand_in)


def routes(stage: "GuardrailStage") -> Iterable[Route]:
    """The routes, with permission `key`."""
    endpoints = (
        Endpoint("GET", "/api/v1/guardrails", "key", listed, "Guardrails at work", answer=Guardrails),
        Endpoint("GET", "/api/v1/guardrails/policies", "key", policies, "Guardrail policies", answer=Policies),
        Endpoint("POST", "/api/v1/guardrails/test", "key", test, "Try a policy on a text", body=TestText, answer=Trial),
    )
    return bind([msgspec.structs.replace(endpoint, tag="guardrails") for endpoint in endpoints], stage)


def _exchange(caller: Caller) -> Exchange:
    made = Exchange("guardrails", "guardrails", Chat(), {}, now_ms())
    made.caller = caller
    return made


def _about(plugin: object) -> str:
    return (type(plugin).__doc__ or "").strip().partition("\n")[0]
