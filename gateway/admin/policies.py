"""Names of guardrail policies, where people choose one for a tenant, a team or a key."""

from msgspec import UNSET, UnsetType

from gateway.errors import InvalidFields, InvalidRequest
from gateway.guardrails.stage import GuardrailStage
from gateway.runtime import Gateway


def check_policy(gateway: Gateway, name: str | UnsetType | None) -> None:
    """Raises `InvalidFields`, with the names there are, for a policy that is none: its requests would get 503."""
    if name is None or name is UNSET:
        return
    books = [each.plugin.book for each in gateway.snapshot.plugins.members if isinstance(each.plugin, GuardrailStage)]
    for book in books:
        try:
            book.check_name(str(name))
        except InvalidRequest:
            names = ", ".join(entry.name for entry in book.entries.values() if entry.shadow_of is None)
            text = f"there is no guardrail policy {str(name)[:64]!r}: there are {names}"
            raise InvalidFields(("guardrail_policy", text)) from None
