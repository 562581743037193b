"""Where the accounts' changes are made: the store, and the audit entry that goes with each change."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import AuditEntry, Limits, Severity
from gateway.clock import now_ms
from gateway.money import dollars
from gateway.secrets import derive
from gateway.store import Store
from gateway.store.work import Note, Step

# What a difference never shows, whatever it is called with.
_HIDDEN: Final = frozenset({"password_hash", "digest", "sealed"})


class Book:
    """One for a process. `commit` makes changes together with their entry, or not at all."""

    def __init__(self, store: Store, master: bytes) -> None:
        self.store = store
        self.master = master
        self.audit_key = derive(master, "audit")

    def note(
        self, who: Principal | None, origin: Origin, action: str, *, tenant: str | None = None,
        resource: tuple[str, str] = ("", ""), severity: Severity = "info", name: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> Note:
        """The step that writes down what `who` does to `resource` (its type and id)."""
        entry = AuditEntry(
            id=new_id(), ts_ms=now_ms(), tenant=tenant if tenant is not None else who.home if who else "",
            actor=who.id if who else "", actor_kind=who.kind if who else "nobody",
            actor_name=name or (who.name if who else ""), action=action, severity=severity, resource_type=resource[0],
            resource_id=resource[1], address=origin.address, agent=origin.agent, request_id=origin.request_id,
            detail=dict(detail or {}),
        )  # fmt: skip
        return Note(entry, self.audit_key)

    async def commit(self, *steps: Step, bump: bool = True) -> int:
        """Run the steps; `bump` makes every worker look at callers anew."""
        return await self.store.commit(steps, bump=bump)


def difference(before: msgspec.Struct, changes: Mapping[str, object]) -> dict[str, Any]:
    """What `changes` make of an object, as `[before, after]` by field; what stays is left out."""
    found: dict[str, Any] = {}
    for name, after in changes.items():
        if name in _HIDDEN:
            continue
        old = getattr(before, name)
        if isinstance(after, Limits) and isinstance(old, Limits):
            found |= difference(old, {field: getattr(after, field) for field in Limits.__struct_fields__})
        elif old != after:
            found[name] = [_shown(name, old), _shown(name, after)]
    return found


def told(fields: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a new object, for its entry; what is not set is left out."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Limits):
            found |= told({field: getattr(value, field) for field in Limits.__struct_fields__})
        elif value not in (None, "", ()) and name not in _HIDDEN:
            found[name] = _shown(name, value)
    return found


def merged(limits: Limits, changes: Mapping[str, Any]) -> Limits:
    """Limits with some of them changed."""
    return msgspec.structs.replace(limits, **changes)


def with_limits(before: Any, fields: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """The changes of an object with `limits`, those of its limits as one field."""
    changes = {name: value for name, value in fields.items() if getattr(before, name) != value}
    new = merged(before.limits, limits)
    return changes if new == before.limits else {**changes, "limits": new}


def _shown(name: str, value: object) -> object:
    return dollars(value) if name.startswith(("cost_", "amount")) and isinstance(value, int) else value
