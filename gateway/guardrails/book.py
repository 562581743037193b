"""All policies of one configuration, and which of them hold for a request.

The caller's policy is the one of its innermost level that has one, else the configured one. The model's holds beside
it, and so does what the request asks for: a request can make things stricter, never laxer.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.config import Guardrails, PluginEntry, PolicyEntry
from gateway.errors import Forbidden, InvalidRequest, Unavailable
from gateway.exchange import Exchange
from gateway.guardrails.check import Check
from gateway.guardrails.policy import Policy, Rules, hash_of, shipped
from gateway.nearest import did_you_mean

FIELD = "guardrail_policy"
HEADER = "x-gateway-guardrail-policy"
_REMEMBERED = 256
Source = Literal["configuration", "shipped", "database"]
ModelPolicy = Callable[[Exchange], str | None]


def _nothing(use: str, options: dict[str, Any]) -> Any:  # noqa: ANN401, ARG001
    raise LookupError(f"no guardrail `{use}` can be made here")


class Book:
    """Policies by name, made ready when they are first used. `always` are the checks that hold for every request."""

    def __init__(
        self, settings: Guardrails | None = None, always: Iterable[Check] = (), rules: Rules | None = None,
        entries: Mapping[str, PolicyEntry] | None = None,
    ) -> None:
        self._settings = settings or Guardrails()
        self.always = tuple(always)
        self.rules = rules or Rules(_nothing)
        self._ready: dict[tuple[str, ...], Policy] = {}
        self._starting = asyncio.Lock()
        self._started: list[Any] = []
        self._gateway: Any = None
        self._base: Book | None = None
        self.entries: dict[str, PolicyEntry] = dict(known(self._settings) if entries is None else entries)
        self.model_policy: ModelPolicy = lambda _exchange: None

    def beside(self, entries: Iterable[PolicyEntry]) -> "Book":
        """A book with further policies, that shares what this one has made. This one's names come first."""
        added = {entry.name: entry for entry in entries if entry.name not in self.entries}
        made = Book(self._settings, self.always, Rules(self.rules.make, self.rules), {**added, **self.entries})
        made._base, made._gateway = self, self._gateway
        made.model_policy = self.model_policy
        return made

    @property
    def default(self) -> str | None:
        """The configured policy for callers and models without one."""
        return self._settings.policy

    def names_for(self, exchange: Exchange, requested: Sequence[str]) -> tuple[str, ...]:
        """The policies that hold. Raises `InvalidRequest` for a name that a request made up."""
        for name in requested:
            self.check_name(name)
        if requested and not self._settings.per_request:
            raise Forbidden("Requests may not choose a guardrail policy here.", code="guardrail_policy_not_allowed")
        callers, models = self._callers(exchange) or self._settings.policy, self.model_policy(exchange)
        if not (callers or models or requested):
            return ()
        names = (callers, models, *requested)
        return tuple(dict.fromkeys([name for name in names if name]))

    def check_name(self, name: str) -> None:
        """Raises `InvalidRequest` for a name that no policy in force can have."""
        entry = self.entries.get(name)
        if entry is None or entry.shadow_of is not None:
            text = f"There is no guardrail policy {name[:64]!r}{did_you_mean(name, self.entries)}."
            raise InvalidRequest(text, code="unknown_guardrail_policy", param=FIELD)

    def about(self, use: str) -> str:
        """The first line that a guardrail says of itself, if it has been made."""
        made = next((made for (of, _), made in self.rules.made.items() if of == use), None)
        return (type(made).__doc__ or "").strip().partition("\n")[0] if made is not None else ""

    def ready(self, names: tuple[str, ...]) -> Policy | None:
        """These policies together, if they are ready."""
        return self._ready.get(names)

    async def policy(self, names: tuple[str, ...]) -> Policy:
        """These policies together, ready. Raises `Unavailable` where one does not exist or cannot be made."""
        found = self._ready.get(names)
        if found is None and self._base is not None and self._is_of(self._base, names):
            return await self._base.policy(names)
        return found if found is not None else await self._prepare(names)

    async def startup(self, gateway: Any) -> None:  # noqa: ANN401 - a `Gateway`, or None in tests
        """Start what is made by now, and from now on what is made."""
        self._gateway = gateway
        await self._start_new()

    async def shutdown(self) -> None:
        """Stop what was started, the last one first."""
        while self._started:
            made = self._started.pop()
            if hasattr(made, "shutdown"):
                await made.shutdown(self._gateway)

    @property
    def ends(self) -> bool:
        """Whether something of it wants to be shut down."""
        return any(hasattr(made, "shutdown") for made in self._started)

    def together(self, names: tuple[str, ...]) -> Policy:
        """These policies as one, drafts beside them; made, not started. Raises `LookupError` for an unknown name."""
        chosen = [self.entries[name] for name in names]
        policy = Policy(names, [*self.always, *self.rules.checks(chosen)])
        policy.shadows = tuple(
            Policy((entry.name,), self.rules.checks([entry]))
            for entry in self.entries.values() if entry.shadow_of in names
        )
        return policy

    def described(self) -> tuple["PolicyShown", ...]:
        """Every policy, for people."""
        return tuple(
            PolicyShown(
                name=entry.name, description=entry.description, label=entry.version, hash=hash_of(entry),
                shadow_of=entry.shadow_of, source=self.source_of(entry.name),
                guardrails=tuple(rule.name or rule.use for rule in entry.rules), rules=tuple(map(_shown, entry.rules)),
            )
            for entry in self.entries.values()
        )  # fmt: skip

    def source_of(self, name: str) -> Source:
        """Where a policy comes from."""
        if self._base is not None and name not in self._base.entries:
            return "database"
        return "configuration" if any(entry.name == name for entry in self._settings.policies) else "shipped"

    def _is_of(self, base: "Book", names: Sequence[str]) -> bool:
        """Whether policies are the other book's alone, drafts included."""
        added = [entry for name, entry in self.entries.items() if name not in base.entries]
        return not any(entry.name in names or entry.shadow_of in names for entry in added)

    def _callers(self, exchange: Exchange) -> str | None:
        levels = exchange.caller.levels if exchange.caller is not None else ()
        for level in reversed(levels):
            if level.guardrail_policy:
                return level.guardrail_policy
        return None

    async def _prepare(self, names: tuple[str, ...]) -> Policy:
        async with self._starting:
            if names in self._ready:
                return self._ready[names]
            try:
                # Reading a model's weights takes a while: nobody else waits for it.
                policy = await asyncio.to_thread(self.together, names) if names else self.together(names)
                await self._start_new()
            except Exception as error:
                text = f"The guardrail policy {' with '.join(names)} cannot be used now."
                raise Unavailable(text, code="guardrail_policy_unavailable") from error
            if len(self._ready) >= _REMEMBERED:
                self._ready.clear()
            self._ready[names] = policy
            return policy

    async def _start_new(self) -> None:
        if self._gateway is None:
            return
        for made in self.rules.guardrails:
            if not any(made is each for each in self._started):
                if hasattr(made, "startup"):
                    await made.startup(self._gateway)
                self._started.append(made)


class RuleShown(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a policy; its options are not shown, for they may hold what is secret."""

    use: str
    name: str
    stage: str | None
    action: str | None
    actions: dict[str, str]
    threshold: float | None
    is_async: bool


class PolicyShown(msgspec.Struct, frozen=True, kw_only=True):
    """One policy; `hash` changes with what it does."""

    name: str
    description: str
    label: str
    hash: str
    shadow_of: str | None
    source: Source
    guardrails: tuple[str, ...]
    rules: tuple[RuleShown, ...]


def _shown(rule: PluginEntry) -> RuleShown:
    return RuleShown(
        use=rule.use, name=rule.name or rule.use, stage=rule.stage, action=rule.action, actions=dict(rule.actions),
        threshold=rule.threshold, is_async=rule.async_,
    )


def known(settings: Guardrails) -> dict[str, PolicyEntry]:
    """The policies of a file, and those that ship; one's own of the same name replaces a shipped one."""
    return {**shipped(), **{entry.name: entry for entry in settings.policies}}

