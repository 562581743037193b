"""From a configuration to its guardrails at work, with every mistake reported where it stands in the file."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from gateway.config import Config, PluginEntry
from gateway.errors import GatewayError
from gateway.exchange import Caller, Exchange
from gateway.guardrails.book import Book, known
from gateway.guardrails.check import Check
from gateway.guardrails.drafts import Drafts
from gateway.guardrails.policy import Rules, key_of
from gateway.guardrails.stage import GuardrailStage
from gateway.guardrails.stored import StoredPolicies
from gateway.nearest import did_you_mean
from gateway.problems import ConfigError, Path

if TYPE_CHECKING:
    from gateway.dispatch import Member


class Maker(Protocol):
    """Makes a plugin by its ID."""

    def make(self, id: str, options: dict[str, Any]) -> object:  # noqa: A002
        """Raises `ConfigError`."""

    def options(self, id: str) -> type[Struct] | None:  # noqa: A002
        """What its options are. Raises `PluginError`."""


class Builder(Protocol):
    """Makes the plugin of an entry, and takes mistakes."""

    def member(self, path: Path, entry: PluginEntry, name: str) -> "Member | None":
        """`None` where mistakes were reported."""

    def report(self, path: Path, text: str) -> None:
        """A mistake."""


def guardrails(maker: Maker, config: Config, builder: Builder, members: "Sequence[Member]") -> GuardrailStage:
    """The guardrails of the configuration: those among `members`, and policies."""
    names = [(entry.name or entry.use) for entry in config.plugins]
    entries = dict(zip(names, config.plugins, strict=True))
    always: list[Check] = []
    for member in members:
        plugin: Any = member.plugin
        if member.role == "guardrail":
            entry = entries[member.name]
            always.append(Check(member.name, plugin, entry, on_error=entry.on_error))
    rules = Rules(maker.make)
    _policies(config, builder, rules)
    book = Book(config.guardrails, always, rules)
    _names(config, builder, book)
    return GuardrailStage(book, StoredPolicies(book, Drafts(config, maker.options, book)))


def model_policy(config: Config, resolve: Callable[[str, Caller], Any]) -> Callable[[Exchange], str | None]:
    """What finds the policy of a request's model, by any of its names; `provider/model` has that of whom it serves."""
    named = [(target, model.guardrail_policy) for model in config.models for target in model.targets]
    named = [(target, policy) for target, policy in named if policy is not None]
    if not named:
        return lambda _exchange: None

    def find(exchange: Exchange) -> str | None:
        if exchange.request is None or exchange.caller is None:
            return None
        try:
            found = resolve(exchange.request.model, exchange.caller)
        except GatewayError:  # it is refused where models are chosen
            return None
        if found.entry is not None:
            policy: str | None = found.entry.guardrail_policy
            return policy
        return next((policy for target, policy in named if fnmatchcase(found.canonical, target)), None)

    return find


def _policies(config: Config, builder: Builder, rules: Rules) -> None:
    """Make the guardrails of the file's own policies, so that mistakes show now."""
    for number, policy in enumerate(config.guardrails.policies):
        for nth, rule in enumerate(policy.rules):
            path: Path = ("guardrails", "policies", number, "rules", nth)
            if not rule.use.startswith("guardrail."):
                builder.report((*path, "use"), f"`{rule.use}` is no guardrail")
            elif key_of(rule) not in rules.made:
                member = builder.member(path, rule, rule.name or rule.use)
                if member is not None:
                    rules.made[key_of(rule)] = member.plugin


def _names(config: Config, builder: Builder, book: Book) -> None:
    """Check the names of policies, and make those that are sure to be used."""
    settings = config.guardrails
    used: list[tuple[Path, str | None]] = [(("guardrails", "policy"), settings.policy)]
    used += [(("models", n, "guardrail_policy"), model.guardrail_policy) for n, model in enumerate(config.models)]
    used += [
        (("guardrails", "policies", n, "shadow_of"), policy.shadow_of) for n, policy in enumerate(settings.policies)
    ]
    policies = known(settings)
    for path, name in used:
        if name is None:
            continue
        if name not in policies:
            builder.report(path, f"there is no guardrail policy `{name}`{did_you_mean(name, policies)}")
        elif policies[name].shadow_of is not None:
            builder.report(path, f"the guardrail policy `{name}` is a draft: it holds nowhere")
        else:
            _make(path, name, builder, book)


def _make(path: Path, name: str, builder: Builder, book: Book) -> None:
    try:
        book.together((name,))
    except ConfigError as error:
        for problem in error.problems:
            builder.report(path, f"the guardrail policy `{name}` cannot be used: {problem.text}")
    except ValueError as error:
        builder.report(path, f"the guardrail policy `{name}` cannot be used: {error}")
