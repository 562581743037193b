"""The store: one interface for tenants, users, keys and the ledger, whatever the database.

`sqlite.py` implements it in the process that owns the database file, `owner.py` in all others. Parameters carry
the tenant wherever a tenant could ask. Nothing here is on the hot path.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import msgspec

from gateway.accounts.records import KeyRecord, NewKey, NewUser, Status, Team, Tenant, User
from gateway.errors import InvalidRequest, Unavailable
from gateway.money.ledger import LedgerRow

if TYPE_CHECKING:
    from gateway.store.accountrecords import Audited
    from gateway.store.database import Row
    from gateway.store.once import Once
    from gateway.store.reports import By, Sums, Which
    from gateway.store.work import Step

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)

GroupBy = Literal["model", "provider", "key", "tenant", "day"]
OnChange = Callable[[str], Awaitable[object]]


class StoreUnavailable(Unavailable):
    """The database is locked, slow, full, or its owner is away. Nothing is wrong with the request: try later."""

    code = "store_unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=1)


class StoreConflict(InvalidRequest):
    """The value exists already, or refers to a tenant or user that does not exist."""

    status = 409
    code = "conflict"


class SchemaError(Unavailable):
    """The database was made by another version of the gateway and cannot be used by this one."""

    code = "schema_mismatch"


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items of a list; `next` is the cursor of those that follow, `None` at the end."""

    items: tuple[T, ...]
    next: str | None = None


class UsageGroup(msgspec.Struct, frozen=True):
    """Usage added up: `group` is a model, provider, key, tenant or UTC day, or empty for all together.

    `succeeded` counts outcome `ok`; `cost` is in nano-dollars; `unpriced` and `estimated` count the exchanges whose
    cost is not the provider's word.
    """

    group: str
    requests: int
    succeeded: int
    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    cost: int
    unpriced: int
    estimated: int


class Spending(msgspec.Struct, frozen=True):
    """What exchanges in one step of time cost, by the names that a budget may be about."""

    step: int
    model: str
    provider: str
    target_model: str
    cost: int


class Spent(msgspec.Struct, frozen=True):
    """Nano-dollars spent on a UTC day and in its month."""

    daily: int
    monthly: int


class Accounts(Protocol):
    """Tenants, users and keys. Changes are told to every worker before the call returns."""

    async def find_key(self, key_id: str) -> KeyRecord | None:
        """A key with its tenant and owner, revoked and expired ones included: one query."""

    async def list_keys(
        self, tenant: str | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> Page[KeyRecord]:
        """Keys of a tenant (`None`: of all), newest first."""

    async def create_key(self, new: NewKey) -> KeyRecord:
        """Store a key. `StoreConflict` for an unknown tenant, or an owner who is not of this tenant."""

    async def revoke_key(self, key_id: str, at_ms: int, tenant: str | None = None) -> KeyRecord | None:
        """Revoke for good; `None` if this tenant (`None`: anybody) has no such key. Again is not an error."""

    async def set_key_active(self, key_id: str, active: bool, tenant: str | None = None) -> KeyRecord | None:
        """Switch a key off or on."""

    async def touch_keys(self, used: Mapping[str, int]) -> None:
        """Note when keys were last used; an older time never replaces a newer one."""

    async def create_tenant(self, tenant: Tenant) -> Tenant:
        """Store a tenant. `StoreConflict` if the id is taken."""

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """One tenant."""

    async def list_tenants(self, *, limit: int = 100, cursor: str | None = None) -> Page[Tenant]:
        """All tenants by id."""

    async def set_tenant_active(self, tenant_id: str, active: bool) -> Tenant | None:
        """Switch a tenant, and with it all its keys, off or on."""

    async def create_user(self, new: NewUser) -> User:
        """Store a user. `StoreConflict` if the address is taken or the tenant unknown."""

    async def find_user(self, email: str) -> User | None:
        """A user by address, in any case."""

    async def password_hash(self, user_id: str) -> str | None:
        """The user's password record, for `Passwords.verify` only."""

    async def set_user_status(self, user_id: str, status: Status, tenant: str | None = None) -> User | None:
        """Change a user's status; keys of a user who is not active are refused."""

    async def count_users(self, tenant: str | None = None) -> int:
        """How many users there are."""

    async def create_first(self, tenant: Tenant, user: NewUser, key: NewKey) -> bool:
        """Store the first tenant, user and key in one step; false, and nothing stored, if there is a user already."""


class LedgerStore(Protocol):
    """Finished exchanges, and what they add up to."""

    async def append(self, journal: str, position: int, rows: Sequence[LedgerRow]) -> int:
        """Store rows and the journal's position in one transaction; returns how many were new.

        A row whose id is there already changes nothing, so that repeating is safe.
        """

    async def position(self, journal: str) -> int:
        """How far a journal was appended; 0 for an unknown one."""

    async def forget(self, journal: str) -> None:
        """The journal's file is gone: drop its position."""

    async def usage_summary(
        self,
        start_ms: int,
        end_ms: int,
        group_by: GroupBy | None = None,
        *,
        tenant: str | None = None,
        key: str | None = None,
        owner: str | None = None,
    ) -> tuple[UsageGroup, ...]:
        """Usage from `start_ms` until before `end_ms`, dearest group first (days in order)."""

    async def usage_rows(
        self,
        start_ms: int,
        end_ms: int,
        *,
        cursor: str | None = None,
        limit: int = 500,
        tenant: str | None = None,
    ) -> Page[LedgerRow]:
        """Exchanges with their attempts, oldest first, page by page: for exports of any size."""

    async def budget_sums(self, day: str, month: str) -> Mapping[tuple[str, str], Spent]:
        """Spent on `day` (`2026-01-31`) and in `month` (`2026-01`), by `("key", id)` and `("tenant", id)`."""

    async def level_sums(self, tenant: str, day_ms: int, month_ms: int) -> Mapping[tuple[str, str], Spent]:
        """The same of one tenant's levels, since these moments: for days that do not begin at midnight UTC."""

    async def spending(
        self, start_ms: int, end_ms: int, step_ms: int, scope: Mapping[str, str], before_ms: int | None = None
    ) -> Sequence[Spending]:
        """What was spent from `start_ms` until before `end_ms`, in steps; by a `tenant`, and its `team`, `owner` or
        `key`. With `before_ms` only of exchanges that had ended by then."""



class UsageStore(Protocol):
    """Reports, and the roll-ups that they read: the ledger added up per hour and day."""

    async def usage_row(self, request_id: str) -> LedgerRow | None:
        """One exchange with its attempts."""

    async def usage_sums(
        self, which: "Which", start_ms: int, end_ms: int, by: "By | Sequence[By] | None" = None,
        starts: Sequence[int] = (),
    ) -> "tuple[Sums, ...]":
        """Usage from `start_ms` until before `end_ms`, of each group that has any; by group, then by time.

        `starts` cuts the time into pieces, each from one of them to the next: the first is `start_ms`.
        """

    async def usage_values(
        self, which: "Which", start_ms: int, end_ms: int, *, cursor: str = "", limit: int = 5000
    ) -> "tuple[Sequence[Row], str | None]":
        """Exchanges as `ledger.COLUMNS` and the number of their attempts, oldest first, and the cursor of the next."""

    async def usage_page(
        self, which: "Which", start_ms: int, end_ms: int, *, cursor: str = "", limit: int = 500
    ) -> Page[LedgerRow]:
        """The same with the attempts themselves."""

    async def rollups_since(self) -> Mapping[str, int]:
        """From which hour (since 1970) on each tenant's roll-ups can be built from the ledger."""

    async def rollup_days(self) -> Sequence[int]:
        """The UTC days (since 1970) that the ledger or its roll-ups have anything of."""

    async def rollups_missing(self) -> bool:
        """Whether the ledger is older than its roll-ups."""

    async def rebuild_day(self, day: int, since: dict[str, int]) -> int:
        """Build one UTC day's roll-ups anew, for each tenant from its hour in `since` on; how many rows there are."""

    async def rebuilt(self) -> None:
        """Every day has been built: `rollups_missing` is false from now on."""


class AccountStore(Protocol):
    """Objects of accounts by kind (a struct of `accounts/records.py`); the conditions' names are in `tables.py`."""

    async def commit(self, steps: Sequence["Step"], bump: bool = False) -> int:
        """Run all steps or none (see `work.py`); `bump` tells every worker that callers may have changed."""

    async def one(self, kind: type[R], **where: object) -> R | None:
        """The object that `where` describes, if there is one."""

    async def secret(self, kind: type[R], column: str, **where: object) -> str | None:
        """A stored hash, to compare a credential with: for nothing else."""

    async def page(
        self, kind: type[R], where: Mapping[str, object], *, search: str = "", limit: int = 100, cursor: str = ""
    ) -> Page[R]:
        """Objects, newest first, a page at a time."""

    async def part(self, kind: type[R], where: Mapping[str, object], skip: int, limit: int) -> tuple[R, ...]:
        """Objects, oldest first, without the first `skip`: for protocols that count."""

    async def count(self, kind: type[R], where: Mapping[str, object]) -> int:
        """How many there are."""

    async def teams_of(self, user: str) -> tuple[str, ...]:
        """The ids of the teams that a user is a member of."""

    async def members(self, team: Team) -> tuple[str, ...]:
        """The ids of a team's members, in the order in which they came."""

    async def login_failures(self, names: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
        """Failures, time of the last one, and time until which no more tries are taken, by name."""

    async def audit_page(
        self, where: Mapping[str, Any], *, limit: int = 100, before: int | None = None, after: int | None = None
    ) -> "tuple[Audited, ...]":
        """Audit entries: newest first, or from `after` on oldest first."""

    async def audit_head(self) -> tuple[int, str]:
        """The number and the link of the last entry that was written."""

    async def audit_counts(self, where: Mapping[str, Any], by: str) -> dict[str, int]:
        """How many entries there are, by `action`, `severity` or `actor_name`."""

    async def begin_once(self, name: str, body: str, now: int, expires: int) -> "Once | None":
        """Note a request that begins, in one step; or return what is stored under this name."""

    async def finish_once(self, name: str, once: "Once") -> None:
        """Store how it ended."""

    async def extend_once(self, name: str, expires: int) -> None:
        """It still runs: it is not forgotten before `expires`."""

    async def drop_once(self, name: str) -> None:
        """It changed nothing: forget it, so that it can be tried again."""


class Store(Accounts, AccountStore, LedgerStore, UsageStore, Protocol):
    """The whole interface. Every method raises `StoreUnavailable` while the database cannot be used."""

    async def ping(self) -> None:
        """Return if the database answers."""

    async def close(self) -> None:
        """Finish what is under way and release files."""
