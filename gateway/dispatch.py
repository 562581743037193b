"""The async dispatcher: one configuration's plugins, and for each hook the calls to make, in order.

Everything is worked out when the configuration is built; a request only walks a tuple. What a failure means
is said on each hook in `hookspecs.py`. Finding and building plugins is in `registry.py`.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import structlog

from gateway.errors import GatewayError, Unavailable
from gateway.exchange import Caller, Exchange, Target
from gateway.hookspecs import PROJECT, Filter, Hooks, Presented, Provider, Reply, Route
from gateway.tasks import resumed, shielded

if TYPE_CHECKING:
    import click

    from gateway.runtime import Gateway

ROLES = ("auth", "limiter", "guardrail", "cache", "provider", "sink", "alert", "admin", "dashboard", "secret", "store")
HOOKS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    name: tuple(inspect.signature(spec).parameters)[1:]
    for name, spec in vars(Hooks).items()
    if hasattr(spec, f"{PROJECT}_spec")
})

SYNC_HOOKS = frozenset(
    name for name in HOOKS if not inspect.iscoroutinefunction(getattr(Hooks, name))
)
_OPEN_ROLES = frozenset({"cache", "sink", "alert"})
_CLOSED_HOOKS = frozenset({"authenticate", "authorize", "before_attempt"})
_SECONDS_BETWEEN_LOGS = 1.0
_log = structlog.get_logger("gateway.plugins")

T = TypeVar("T")
OnFailure = Callable[[str, str], None]
Call = Callable[..., Any]  # a hook's implementation: its arguments depend on the hook


class PluginError(Exception):
    """A plugin could not be started or used; the text names it."""


class Member(msgspec.Struct, frozen=True, eq=False):
    """One configured plugin: `parts` are the objects whose hooks are called, the plugin itself first."""

    name: str
    id: str
    role: str
    parts: tuple[object, ...]
    on_error: Literal["open", "closed"] | None = None

    @property
    def plugin(self) -> object:
        """The plugin itself."""
        return self.parts[0]


def hooks_of(*parts: object) -> tuple[str, ...]:
    """The hooks that some of these objects or classes implement, in the order of a request."""
    return tuple(hook for hook in HOOKS if any(_implements(part, hook) for part in parts))


def by_role(members: Sequence[Member]) -> tuple[Member, ...]:
    """In the order of calls: by role, and inside a role as they were given."""
    return tuple(sorted(members, key=lambda member: ROLES.index(member.role)))


class Plugins:
    """The plugins of one configuration; it does not change after it was made.

    `members` are all of them in the order of calls, `providers` the switched-on ones by name. `on_failure` is
    told of each failure that no caller sees: the plugin's name and the hook's.
    """

    def __init__(
        self,
        members: Sequence[Member] = (),
        *,
        on_failure: OnFailure | None = None,
        trace: bool = False,
    ) -> None:
        self.members = by_role(members)
        self.providers: Mapping[str, Provider] = MappingProxyType({
            member.name: member.plugin
            for member in self.members
            if member.role == "provider" and isinstance(member.plugin, Provider)
        })
        self._started: list[Member] = []
        self._telling_waits = False  # an `on_usage` has been seen to wait for something
        calls = {hook: tuple(_calls(self.members, hook, on_failure or _uncounted, trace)) for hook in HOOKS}
        self._startup = calls["startup"]
        self._shutdown = calls["shutdown"]
        self._authenticate = calls["authenticate"]
        self._authorize = calls["authorize"]
        self._pre_request = calls["pre_request"]
        self._before_attempt = calls["before_attempt"]
        self._after_attempt = calls["after_attempt"]
        self._post_response = calls["post_response"]
        self._on_usage = calls["on_usage"]
        self._explain = calls["explain"]
        self._routes = calls["routes"]
        self._commands = calls["commands"]

    async def authenticate(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller as the first plugin knows it, or `None` if no plugin knows this kind of credential."""
        for call, step in self._authenticate:
            try:
                caller: Caller | None = await call(headers)
                if caller is not None:
                    return _expect(caller, Caller)
            except BaseException as error:
                step.failed(error)
        return None

    async def authorize(self, permission: str, request: Presented) -> object | None:
        """Who has this right, as the first plugin says that knows this kind of credential; `None` if none does."""
        for call, step in self._authorize:
            try:
                principal: object | None = await call(permission, request)
                if principal is not None:
                    return principal
            except BaseException as error:
                step.failed(error)
        return None

    async def pre_request(self, exchange: Exchange) -> Reply | None:
        """Run all `pre_request` hooks; the first reply ends it."""
        for call, step in self._pre_request:
            try:
                reply: Reply | None = await call(exchange)
                if reply is not None:
                    return _expect(reply, Reply)
            except BaseException as error:
                step.failed(error)
        return None

    async def before_attempt(self, exchange: Exchange, target: Target) -> None:
        """Run all `before_attempt` hooks; the first refusal ends it."""
        for call, step in self._before_attempt:
            try:
                await call(exchange, target)
            except BaseException as error:
                step.failed(error)

    async def after_attempt(self, exchange: Exchange, target: Target) -> None:
        """Run all `after_attempt` hooks, whatever single ones do."""
        for call, step in self._after_attempt:
            try:
                await call(exchange, target)
            except BaseException as error:
                step.pass_over(error)

    async def post_response(self, exchange: Exchange) -> list[Filter]:
        """The filters for this reply, in order."""
        filters: list[Filter] = []
        for call, step in self._post_response:
            try:
                made: Filter | None = await call(exchange)
                if made is not None:
                    filters.append(_expect_filter(made))
            except BaseException as error:
                step.failed(error)
        return filters

    async def on_usage(self, exchange: Exchange) -> None:
        """Tell all plugins; one that fails takes nothing from the others, and a cancel waits until all were told.

        A task as a shield would cost more than most of the calls: so they are stepped by hand, which is all that is
        needed where none really waits. Where one does, that is noticed the first time, and shielded from then on.
        """
        work = self._tell(exchange)
        if self._telling_waits:
            await shielded(work)
            return
        try:
            waiting = work.send(None)
        except StopIteration:
            return
        self._telling_waits = True
        await shielded(_to_its_end(work, waiting))

    async def _tell(self, exchange: Exchange) -> None:
        cancelled: asyncio.CancelledError | None = None
        for call, step in self._on_usage:
            try:
                await call(exchange)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and not _is_stray_cancel(error):
                    cancelled = error
                else:
                    step.pass_over(error)
        if cancelled is not None:
            raise cancelled

    async def explain(self, exchange: Exchange, target: Target) -> list[Mapping[str, Any]]:
        """What every plugin says about its limits for this request."""
        told: list[Mapping[str, Any]] = []
        for call, step in self._explain:
            try:
                told.extend(await call(exchange, target))
            except BaseException as error:
                step.pass_over(error)
        return told

    async def startup(self, gateway: "Gateway") -> None:
        """Start all plugins in order. If one fails, those before it are shut down again: `PluginError`."""
        for member in self.members:
            try:
                for call, step in self._startup:
                    if step.member is member:
                        await call(gateway)
            except BaseException as error:
                await self.shutdown(gateway)
                if not isinstance(error, Exception):
                    raise
                raise PluginError(f"the plugin `{member.name}` could not start: {_said(error)}") from error
            self._started.append(member)

    async def shutdown(self, gateway: "Gateway") -> None:
        """Shut down what was started, the last one first. A failure is logged and the others go on."""
        started, self._started = self._started, []
        for call, step in reversed(self._shutdown):
            if any(step.member is member for member in started):
                try:
                    await call(gateway)
                except BaseException as error:
                    step.pass_over(error)

    def routes(self, gateway: "Gateway") -> list[Route]:
        """All routes of plugins. Raises `PluginError` for one that fails, or that takes another one's route."""
        routes: dict[tuple[str, str], Route] = {}
        for call, step in self._routes:
            name = step.member.name
            try:
                made = list(call(gateway))
            except Exception as error:
                raise PluginError(f"the routes of the plugin `{name}` cannot be made: {_said(error)}") from error
            for route in made:
                if not isinstance(route, Route):
                    raise PluginError(f"the plugin `{name}` gives a {type(route).__name__} where a `Route` belongs")
                if ":" in route.permission and not self._authorize:
                    raise PluginError(
                        f"the route {route.method} {route.path} of the plugin `{name}` needs `{route.permission}`, "
                        "and no plugin checks such rights: add `use: admin.api` to `plugins`"
                    )
                if (route.method, route.path) in routes:
                    raise PluginError(f"the plugin `{name}` adds {route.method} {route.path}, which is taken")
                routes[route.method, route.path] = route
        return list(routes.values())

    def commands(self, cli: "click.Group") -> None:
        """Let plugins add their commands. Raises `PluginError` for one that fails."""
        for call, step in self._commands:
            try:
                call(cli)
            except Exception as error:
                raise PluginError(f"the commands of `{step.member.name}` cannot be added: {_said(error)}") from error


class _Step:
    """One implementation's place in a hook: who it is, and what its failure means."""

    __slots__ = ("_next_log", "_unlogged", "closed", "hook", "member", "on_failure")

    def __init__(self, member: Member, hook: str, on_failure: OnFailure) -> None:
        self.member = member
        self.hook = hook
        self.on_failure = on_failure
        self.closed = hook in _CLOSED_HOOKS or member.role not in _OPEN_ROLES
        if member.on_error is not None:
            self.closed = member.on_error == "closed"
        self._next_log = 0.0
        self._unlogged = 0

    def failed(self, error: BaseException) -> None:
        """A refusal goes on to the caller; anything else counts, and if this plugin is closed, ends the request."""
        if isinstance(error, GatewayError):
            raise error
        self.pass_over(error)
        if self.closed:
            raise Unavailable(f"the plugin `{self.member.name}` failed", code="plugin_failed") from error

    def pass_over(self, error: BaseException) -> None:
        """Log and count, and go on; what ends the task itself is no failure of the plugin."""
        if not isinstance(error, Exception) and not _is_stray_cancel(error):
            raise error
        self.on_failure(self.member.name, self.hook)
        now = time.monotonic()
        if now < self._next_log:  # a traceback costs more than a request: a broken plugin must not slow all down
            self._unlogged += 1
            return
        _log.error(
            "plugin failed",
            plugin=self.member.name,
            id=self.member.id,
            hook=self.hook,
            refused=self.closed,
            not_logged_before=self._unlogged,
            exc_info=error,
        )
        self._next_log = now + _SECONDS_BETWEEN_LOGS
        self._unlogged = 0


async def _to_its_end(work: Coroutine[Any, Any, None], waiting: object) -> None:
    await resumed(work, waiting)


def _is_stray_cancel(error: BaseException) -> bool:
    """A cancel from inside the plugin, such as awaiting a task that was cancelled: nobody cancelled this task."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


def _calls(
    members: Sequence[Member], hook: str, on_failure: OnFailure, trace: bool
) -> Iterator[tuple[Call, _Step]]:
    for member in members:
        for part in member.parts:
            if _implements(part, hook):
                call = _in_spec_order(getattr(part, hook), hook)
                yield (_traced(call, member, hook) if trace else call), _Step(member, hook, on_failure)


def _implements(part: object, hook: str) -> bool:
    return hasattr(getattr(part, hook, None), f"{PROJECT}_impl")


def _in_spec_order(method: Call, hook: str) -> Call:
    """An implementation may leave arguments out or name them in another order."""
    spec = HOOKS[hook]
    names = argument_names(method)
    if names == spec:
        return method
    order = tuple(spec.index(name) for name in names)
    return lambda *values: method(*(values[index] for index in order))


def argument_names(method: Call) -> tuple[str, ...]:
    """The arguments that a hook's implementation asks for: those without a default."""
    return tuple(
        parameter.name
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )


def _traced(call: Call, member: Member, hook: str) -> Call:
    """The same call, logged with its time and the kind of its result: never a value, which may be private."""

    def note(began: float, result: str) -> None:
        microseconds = round((time.perf_counter() - began) * 1e6)
        _log.info("plugin call", plugin=member.name, hook=hook, microseconds=microseconds, result=result)

    async def traced(*arguments: object) -> object:
        began = time.perf_counter()
        try:
            result: object = await call(*arguments)
        except BaseException as error:
            note(began, f"raised {type(error).__name__}")
            raise
        note(began, "none" if result is None else type(result).__name__)
        return result

    return traced if hook not in SYNC_HOOKS else call


def _expect(value: object, type_: type[T]) -> T:
    if not isinstance(value, type_):
        raise TypeError(f"a {type(value).__name__} came back where a {type_.__name__} belongs")
    return value


def _expect_filter(value: Filter) -> Filter:
    if not (hasattr(value, "feed") and hasattr(value, "flush")):
        raise TypeError(f"a {type(value).__name__} came back where a filter (`feed`, `flush`) belongs")
    return value


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _uncounted(plugin: str, hook: str) -> None:
    """Failures are in the log only."""
