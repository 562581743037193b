"""Budgets as people make and change them. What they count and refuse is in `gateway/money`."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.accounts.book import Book, difference, told
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Key, ServiceAccount, Team, Tenant, User
from gateway.clock import now_ms
from gateway.errors import Forbidden, InvalidFields, NotFound
from gateway.money.policies import BudgetPolicy
from gateway.store import Page
from gateway.store.work import Remove, change, put

_GONE: Final = "There is no budget with this id."
# A change of these makes it count something else: it begins anew, with what the ledger has of that.
_COUNTED: Final = ("scope", "scope_id", "period", "rolling", "models", "providers")


class Budgets:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store

    async def page(
        self, who: Principal, *, tenant: str | None = None, search: str = "", limit: int = 100, cursor: str = "",
        **equal: object,
    ) -> Page[BudgetPolicy]:
        """Budgets that `who` may see, newest first."""
        where = who.scope("budgets:read", tenant)
        where |= {name: each for name, each in equal.items() if each is not None}
        return await self._store.page(BudgetPolicy, where, search=search, limit=limit, cursor=cursor)

    async def get(self, who: Principal, budget: str, permission: str = "budgets:read") -> BudgetPolicy:
        """One budget. `NotFound` for one that `who` may not see."""
        found = await self._store.one(BudgetPolicy, **{**who.scope(permission), "id": budget})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def zone(self, tenant: str) -> str:
        """The time zone in which a tenant's windows begin."""
        found = await self._store.one(Tenant, id=tenant)
        return found.time_zone if found is not None else "UTC"

    async def create(
        self, who: Principal, origin: Origin, fields: Mapping[str, Any], tenant: str | None = None
    ) -> BudgetPolicy:
        """Make a budget. `fields` are those of `BudgetPolicy`."""
        where, now = who.scope("budgets:write", tenant), now_ms()
        home = str(where.get("tenant", tenant or who.home))
        if await self._store.one(Tenant, id=home) is None:
            raise NotFound("There is no tenant with this id.")
        values = {"scope": "tenant", "scope_id": home, **fields}
        made = BudgetPolicy(
            id=new_id(), tenant=home, created=now, since=now, created_by=who.id, platform=who.tenant is None, **values
        )
        await self._check(made)
        note = self._book.note(
            who, origin, "budget_created", tenant=home, resource=("budget", made.id), detail=told(values)
        )
        await self._book.commit(put(made), note)
        return made

    async def update(
        self, who: Principal, origin: Origin, budget: str, fields: Mapping[str, Any], version: int | None
    ) -> BudgetPolicy:
        """Change a budget. One that now counts something else begins anew."""
        before = await self._own(who, budget)
        changes = {name: value for name, value in fields.items() if getattr(before, name) != value}
        if any(name in changes for name in _COUNTED) or changes.get("enabled"):
            changes["since"] = max(now_ms(), before.since + 1)
        after = BudgetPolicy(**{**{name: getattr(before, name) for name in before.__struct_fields__}, **changes})
        await self._check(after)
        note = self._book.note(
            who, origin, "budget_updated", tenant=before.tenant, resource=("budget", budget),
            detail=difference(before, {name: value for name, value in changes.items() if name != "since"}),
        )  # fmt: skip
        await self._book.commit(change(BudgetPolicy, {"id": budget}, changes, version=version), note)
        return await self.get(who, budget, "budgets:write")

    async def delete(self, who: Principal, origin: Origin, budget: str, version: int | None) -> None:
        """Take a budget away: from then on it refuses nothing."""
        before = await self._own(who, budget)
        note = self._book.note(
            who, origin, "budget_deleted", tenant=before.tenant, resource=("budget", budget),
            detail={"name": before.name},
        )  # fmt: skip
        await self._book.commit(Remove("budgets", {"id": budget}, version), note)

    async def _own(self, who: Principal, budget: str) -> BudgetPolicy:
        found = await self.get(who, budget, "budgets:write")
        if found.platform and who.tenant is not None:
            raise Forbidden(
                "This budget was set by the platform: only its owners can change it.", code="set_by_platform"
            )
        return found

    async def _check(self, budget: BudgetPolicy) -> None:
        if budget.action == "tier_down" and not budget.tier_down_to:
            raise InvalidFields(("tier_down_to", "names the cheaper model, which `tier_down` needs"))
        if budget.scope == "tenant":
            if budget.scope_id != budget.tenant:
                raise InvalidFields(("scope_id", "is the tenant itself where the scope is the tenant"))
            return
        kinds: tuple[type[Team | User | ServiceAccount | Key], ...]
        kinds = {"team": (Team,), "user": (User, ServiceAccount), "key": (Key,)}[budget.scope]
        for kind in kinds:
            if await self._store.one(kind, id=budget.scope_id, tenant=budget.tenant) is not None:
                return
        raise InvalidFields(("scope_id", f"is no {budget.scope} of this tenant"))
