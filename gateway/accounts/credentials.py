"""Credentials of providers that administrators keep in the database: written, replaced, used, and never read back.

One belongs to a tenant, or (`PLATFORM`) to all of them. What people see is its last four characters and a fingerprint.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.accounts.book import Book, difference, told
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Credential, Tenant
from gateway.accounts.sealing import Sealer
from gateway.clock import now_ms
from gateway.errors import Conflict, InvalidFields, NotFound
from gateway.secrets import Secret
from gateway.store import Page, Store
from gateway.store.work import Remove, change, put

PLATFORM: Final = "*"
_GONE: Final = "There is no credential with this id."
_SHORTEST: Final = 8


def sealer(master: bytes) -> Sealer:
    """What seals and opens credentials of providers, and nothing else."""
    return Sealer(master, "provider-credential")


class Credentials:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store
        self._sealer = sealer(book.master)

    async def page(
        self, who: Principal, *, tenant: str | None = None, provider: str | None = None, limit: int = 100,
        cursor: str = "",
    ) -> Page[Credential]:
        """Credentials that `who` may see, newest first; never their text."""
        where = who.scope("credentials:read", tenant) | ({} if provider is None else {"provider": provider})
        return await self._store.page(Credential, where, limit=limit, cursor=cursor)

    async def get(self, who: Principal, credential: str, permission: str = "credentials:read") -> Credential:
        """One credential. `NotFound` for one that `who` may not see."""
        found = await self._store.one(Credential, **{**who.scope(permission), "id": credential})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def create(
        self, who: Principal, origin: Origin, provider: str, text: Secret, *, name: str = "", tenant: str | None = None
    ) -> Credential:
        """Store a credential for a provider of the configuration. Each tenant has at most one for each."""
        home = str(who.scope("credentials:write", tenant).get("tenant", PLATFORM))
        if home != PLATFORM and await self._store.one(Tenant, id=home) is None:
            raise NotFound("There is no tenant with this id.")
        if await self._store.one(Credential, tenant=home, provider=provider) is not None:
            raise Conflict("There is a credential for this provider: change that one.", code="credential_exists")
        traits = self._traits(text)
        made = Credential(
            id=new_id(), tenant=home, name=name, provider=provider, created_by=who.id, created=now_ms(),
            last_four=traits["last_four"], fingerprint=traits["fingerprint"],
        )  # fmt: skip
        note = self._book.note(
            who, origin, "credential_created", tenant=_tenant(made), resource=("credential", made.id),
            detail=told({"name": name, "provider": provider, "fingerprint": made.fingerprint}),
        )  # fmt: skip
        await self._book.commit(put(made, sealed=self._sealed(text, made)), note)
        return made

    async def update(
        self, who: Principal, origin: Origin, credential: str, *, name: str | None = None, text: Secret | None = None,
        version: int | None = None,
    ) -> Credential:
        """Rename a credential, or replace its text. The next request uses it."""
        before = await self.get(who, credential, "credentials:write")
        changes: dict[str, Any] = {} if name is None else {"name": name}
        shown = {**changes, **({} if text is None else self._traits(text))}
        stored: Mapping[str, Any] = shown if text is None else {**shown, "sealed": self._sealed(text, before)}
        note = self._book.note(
            who, origin, "credential_updated", tenant=_tenant(before), severity="warning" if text else "info",
            resource=("credential", credential), detail=difference(before, shown),
        )  # fmt: skip
        await self._book.commit(change(Credential, {"id": credential}, stored, version=version), note)
        return await self.get(who, credential, "credentials:write")

    async def delete(self, who: Principal, origin: Origin, credential: str, version: int | None = None) -> None:
        """Take a credential away: requests use the configuration's again."""
        before = await self.get(who, credential, "credentials:write")
        note = self._book.note(
            who, origin, "credential_deleted", tenant=_tenant(before), severity="warning",
            resource=("credential", credential), detail={"provider": before.provider, "name": before.name},
        )  # fmt: skip
        await self._book.commit(Remove("credentials", {"id": credential}, version), note)

    def _traits(self, text: Secret) -> dict[str, str]:
        plain = text.reveal()
        if len(plain) < _SHORTEST or not plain.isascii() or not plain.isprintable() or plain != plain.strip():
            raise InvalidFields(("secret", f"needs at least {_SHORTEST} printable ASCII characters, no spaces around"))
        # Of a short one four characters would be too much of it.
        return {"last_four": plain[-4:] if len(plain) >= 16 else "", "fingerprint": self._sealer.fingerprint(plain)}

    def _sealed(self, text: Secret, belongs: Credential) -> str:
        return self._sealer.seal(text.reveal(), "credentials", belongs.id, belongs.tenant)


async def opened(store: Store, sealer: Sealer, tenant: str) -> dict[str, Secret]:
    """The credentials that requests of a tenant use, by provider: its own before the platform's."""
    found: dict[str, Secret] = {}
    page = await store.page(Credential, {"tenant": (tenant, PLATFORM)}, limit=500)
    for each in sorted(page.items, key=lambda each: each.tenant != PLATFORM):
        sealed = await store.secret(Credential, "sealed", id=each.id)
        if sealed is not None:
            found[each.provider] = Secret(sealer.open(sealed, "credentials", each.id, each.tenant))
    return found


def _tenant(credential: Credential) -> str:
    """Whose audit it belongs into."""
    return "" if credential.tenant == PLATFORM else credential.tenant
