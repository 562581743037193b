"""Names of the configuration, where people choose some for a tenant, a team or a key: policies, providers."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from gateway.errors import InvalidFields, InvalidRequest, Unavailable
from gateway.guardrails.stage import GuardrailStage
from gateway.guardrails.stored import StoredPolicies
from gateway.runtime import Gateway


async def check_policy(gateway: Gateway, name: str | UnsetType | None, tenant: str = "") -> None:
    """Raises `InvalidFields`, with the names there are, for a policy that is none: its requests would get 503."""
    if name is None or name is UNSET:
        return
    book = await policies(gateway).book(tenant)
    try:
        book.check_name(str(name))
    except InvalidRequest:
        names = ", ".join(entry.name for entry in book.entries.values() if entry.shadow_of is None)
        text = f"there is no guardrail policy {str(name)[:64]!r}: there are {names}"
        raise InvalidFields(("guardrail_policy", text)) from None


def check_providers(gateway: Gateway, names: Sequence[str] | UnsetType | None) -> None:
    """Raises `InvalidFields`, with the names there are, for a provider that the configuration does not have."""
    known = [entry.name for entry in gateway.snapshot.config.providers]
    for name in () if names is None or names is UNSET else names:
        if name not in known:
            text = f"there is no provider {name[:64]!r}: there are {', '.join(known)}"
            raise InvalidFields(("allowed_providers", text))


def policies(gateway: Gateway) -> StoredPolicies:
    """The policies of the configuration that runs, and of the database beside them."""
    for member in gateway.snapshot.plugins.members:
        if isinstance(member.plugin, GuardrailStage) and member.plugin.stored is not None:
            return member.plugin.stored
    raise Unavailable("There are no guardrails here.")
