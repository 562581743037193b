"""Plugins are found by ID, built from their options, and refused with the line of their mistake."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from gateway.configfile import ConfigError, inspect, read
from gateway.hookspecs import hookimpl
from gateway.registry import GROUP, PluginError, Plugins, Registry, options_of
from gateway.secrets import Secret


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Some options; unknown ones are refused although the struct does not say so."""

    limit: Annotated[int, Meta(ge=1)]
    token: Secret | None = None
    burst: float = 1.5
    labels: dict[str, int] = {}
    extra: dict[str, Any] = {}


class Limiter:
    """A limiter with options."""

    Config = Options

    def __init__(self, config: Options) -> None:
        self.config = config

    @hookimpl
    async def pre_request(self, exchange): ...


class Silent:
    """A sink without options."""

    @hookimpl
    async def on_usage(self, exchange): ...


class Upstream:
    """A provider."""

    endpoints = frozenset({"chat.completions"})
    name = "class"

    class Config(msgspec.Struct):
        """Its key."""

        key: Secret

        def __post_init__(self):
            if not self.key.reveal().startswith("k-"):
                raise ValueError(f"the key {self.key.reveal()} is no key")

    def __init__(self, config):
        self.config = config

    def encode(self, exchange, target): ...
    def peer(self, timeouts): ...
    def models(self): ...
    def secrets(self): ...


class Judge:
    """A guardrail."""

    hold_back = 3

    async def check(self, text, context): ...


class NoEncode:
    endpoints = frozenset()


class SyncJudge:
    hold_back = 3

    def check(self, text, context): ...


class Misspelt:
    @hookimpl
    async def pre_requst(self, exchange): ...


class WrongArgument:
    @hookimpl
    async def pre_request(self, exchnage): ...


class Sync:
    @hookimpl
    def on_usage(self, exchange): ...


class AsyncRoutes:
    @hookimpl
    async def routes(self, gateway): ...


class Unmarked:
    async def pre_request(self, exchange): ...

    @hookimpl
    async def on_usage(self, exchange): ...


class First:
    @hookimpl(tryfirst=True)
    async def on_usage(self, exchange): ...


class Nothing:
    pass


class Future(Silent):
    @hookimpl(optionalhook=True)
    async def on_a_hook_of_a_later_version(self, exchange): ...


class Slots:
    __slots__ = ()

    @hookimpl
    async def on_usage(self, exchange): ...


class Crashing:
    def __init__(self):
        raise RuntimeError("no luck")


CLASSES = {
    "limiter.ours": Limiter, "limiter.misspelt": Misspelt, "limiter.argument": WrongArgument, "sink.silent": Silent,
    "sink.sync": Sync, "sink.unmarked": Unmarked, "sink.first": First, "sink.nothing": Nothing,
    "sink.routes": AsyncRoutes,
    "provider.up": Upstream, "provider.no_encode": NoEncode, "guardrail.judge": Judge, "guardrail.sync": SyncJudge,
    "sink.slots": Slots, "sink.crashing": Crashing, "auth.silent": Silent, "sink.future": Future, "widget.x": Silent,
}  # fmt: skip


@pytest.fixture
def registry():
    entries = [EntryPoint(name=name, value=f"{__name__}:{cls.__name__}", group=GROUP) for name, cls in CLASSES.items()]
    absent = EntryPoint(name="sink.absent", value="no_such_module_here:X", group=GROUP)
    twice = [EntryPoint(name="sink.twice", value=f"{__name__}:{name}", group=GROUP) for name in ("Silent", "First")]
    return Registry([*entries, absent, *twice])


def build(registry, text, **environ) -> Plugins:
    loaded = read(text.encode(), "c.yaml", environ)
    return registry.build(loaded.config, loaded.lines)


def problems(registry, text, **environ) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build(registry, text, **environ)
    return [str(problem) for problem in caught.value.problems]


def test_ids_are_listed_without_importing_anything(registry):
    assert "limiter.ours" in registry.ids()
    assert "sink.absent" in registry.ids()


def test_load_gives_the_class_or_says_why_not(registry):
    assert registry.load("limiter.ours").__name__ == "Limiter"
    with pytest.raises(PluginError, match=r"no plugin `limiter.our` is installed; did you mean `limiter.ours`"):
        registry.load("limiter.our")
    with pytest.raises(PluginError, match=r"`sink.absent` .* cannot be imported: ModuleNotFoundError"):
        registry.load("sink.absent")
    with pytest.raises(PluginError, match="several installed plugins are called"):
        registry.load("sink.twice")


def test_an_instance_knows_its_name_id_role_and_policy(registry):
    made = build(registry, "plugins: [{use: limiter.ours, name: strict, on_error: open, with: {limit: 3}}]")
    member = made.members[0]
    assert (member.name, member.id, member.role, member.on_error) == ("strict", "limiter.ours", "limiter", "open")
    plugin = member.plugin
    assert (plugin.name, plugin.id, plugin.role, plugin.on_error) == ("strict", "limiter.ours", "limiter", "open")
    assert plugin.config.limit == 3


def test_the_same_plugin_may_stand_twice_under_two_names(registry):
    text = "plugins: [{use: limiter.ours, with: {limit: 1}}, {use: limiter.ours, name: second, with: {limit: 2}}]"
    made = build(registry, text)
    assert [(member.name, member.plugin.config.limit) for member in made.members if member.role == "limiter"] == [
        ("limiter.ours", 1),
        ("second", 2),
    ]


def test_providers_are_built_by_name_and_switched_off_ones_are_not(registry):
    text = """\
providers:
  - {name: one, use: provider.up, with: {key: k-1}}
  - {name: off, use: provider.up, when: "${NO:-}", with: {key: "${NO}"}}
  - {name: "on", use: provider.up, when: "${YES:-}", with: {key: "${YES}"}}
"""
    made = build(registry, text, YES="k-2")
    assert list(made.providers) == ["one", "on"]
    assert made.providers["on"].name == "on"
    assert made.providers["on"].config.key.reveal() == "k-2"


def test_options_from_outside_become_numbers_secrets_and_plain_text(registry):
    text = """\
plugins:
  - use: limiter.ours
    with: {limit: "${L}", token: "${T}", burst: "${B}", labels: {a: "${L}"}, extra: {a: ["${T}"]}}
"""
    config = build(registry, text, L="7", T="123", B="2").members[0].plugin.config
    assert (config.limit, config.token.reveal(), config.burst, config.labels) == (7, "123", 2.0, {"a": 7})
    assert type(config.extra["a"][0]) is str
    assert type(config.token.reveal()) is str


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "use: limiter.our",
            "c.yaml:2: $.plugins[0].use: no plugin `limiter.our` is installed; did you mean `limiter.ours`",
        ),
        ("use: widget.x", "c.yaml:2: $.plugins[0].use: `widget.x` starts with no role; roles are auth, limiter"),
        ("use: provider.up", "c.yaml:2: $.plugins[0].use: `provider.up` is a provider: it belongs under `providers`"),
        ("use: limiter.ours", "c.yaml:2: $.plugins[0].with: the field `limit` is missing"),
        (
            "use: limiter.ours\n    with:\n      limit: 0",
            "c.yaml:4: $.plugins[0].with.limit: expected a whole number >= 1",
        ),
        (
            "use: limiter.ours\n    with:\n      limit: x",
            "c.yaml:4: $.plugins[0].with.limit: expected a whole number, got text",
        ),
        (
            "use: limiter.ours\n    with:\n      limit: 1\n      limt: 1",
            "c.yaml:5: $.plugins[0].with.limt: unknown field `limt`; did you mean `limit`?",
        ),
        (
            "use: limiter.ours\n    with:\n      limit: 1\n      token: 5",
            "c.yaml:5: $.plugins[0].with.token: expected text",
        ),
        (
            "use: limiter.ours\n    with:\n      limit: 1\n      labels:\n        a: 1\n        b: x",
            "c.yaml:7: $.plugins[0].with.labels.b: expected a whole number, got text",
        ),
        (
            "use: sink.silent\n    with: {a: 1}",
            "c.yaml:3: $.plugins[0].with.a: unknown field `a`: this plugin has no options",
        ),
        (
            "use: sink.absent",
            "c.yaml:2: $.plugins[0].use: the plugin `sink.absent` (no_such_module_here:X) cannot be imported",
        ),
        (
            "use: limiter.misspelt",
            "the method `pre_requst` is marked with `@hookimpl` but is no hook; did you mean `pre_request`?",
        ),
        (
            "use: limiter.argument",
            "the hook `pre_request` has no argument `exchnage`: it has (exchange); did you mean `exchange`?",
        ),
        ("use: sink.sync", "the hook `on_usage` must be `async def`"),
        ("use: sink.routes", "the hook `routes` must be a plain `def`"),
        ("use: sink.unmarked", "the method `pre_request` has a hook's name but is not marked with `@hookimpl`"),
        ("use: sink.first", "uses `tryfirst` of `@hookimpl`: the order is set by role and YAML alone"),
        ("use: sink.nothing", "a sink needs the hook `on_usage`"),
        ("use: auth.silent", "an auth plugin needs the hook `authenticate`"),
        ("use: guardrail.sync", "a guardrail's `check` must be `async def`"),
        ("use: sink.slots", "cannot be named"),
        ("use: sink.crashing", "cannot be made: RuntimeError: no luck"),
    ],
)
def test_a_wrong_plugin_or_option_is_named_with_its_line(registry, entry, said):
    found = problems(registry, f"plugins:\n  - {entry}")
    assert len([problem for problem in found if said in problem]) == 1, found


@pytest.mark.parametrize("use", ["limiter.misspelt", "sink.sync", "guardrail.sync"])
def test_a_plugin_that_breaks_the_contract_is_named_with_its_file(registry, use):
    (problem,) = problems(registry, f"plugins: [{{use: {use}}}]")
    assert __file__ in problem


def test_a_provider_that_is_none_is_refused(registry):
    (problem,) = problems(registry, "providers: [{name: a, use: provider.no_encode}]")
    assert problem.endswith("is wrong: a provider needs `encode`, `models`, `peer`, `secrets`")
    (problem,) = problems(registry, "providers: [{name: a, use: sink.silent}]")
    assert problem.endswith("`sink.silent` is no provider: it belongs under `plugins`")


def test_a_plugins_own_error_about_its_options_repeats_no_value_from_outside(registry):
    text = "providers:\n  - {name: a, use: provider.up, with: {key: '${K}'}}"
    assert problems(registry, text, K="hunter2") == ["c.yaml:2: $.providers[0].with: the key *** is no key"]


def test_a_guardrail_becomes_hooks_of_its_own_stage(registry):
    made = build(registry, "plugins: [{use: guardrail.judge}]")
    book = next(member.plugin.book for member in made.members if member.id == "guardrails")
    assert [check.name for check in book.together(()).checks] == ["guardrail.judge"]


def test_a_hook_of_a_later_version_may_be_optional(registry):
    assert len(build(registry, "plugins: [{use: sink.future}]").members) == 2


def test_all_mistakes_of_all_plugins_are_found_at_once(registry):
    text = "plugins:\n  - use: limiter.ours\n  - use: sink.sync\n  - use: nothing.like\n  - use: sink.silent"
    assert [problem.split(":")[1] for problem in problems(registry, text)] == ["2", "3", "4"]


def test_a_configuration_without_a_file_has_problems_without_a_line(registry):
    config = read(b"plugins: [{use: sink.sync}]", "c.yaml", {}).config
    with pytest.raises(ConfigError, match=r"^configuration: \$\.plugins\[0\]\.use: "):
        registry.build(config)


def test_a_file_with_other_mistakes_still_has_its_plugins_examined(registry):
    text = (
        "watch: maybe\nproviders:\n  - {name: off, use: provider.up, when: '', with: {kye: x}}\n"
        "plugins: [{use: sink.sync}]"
    )
    found = registry.examine(inspect(text.encode(), "c.yaml", {}))
    assert {problem.path for problem in found} == {"$.plugins[0].use", "$.providers[0].with", "$.providers[0].with.kye"}


def test_tracing_is_switched_on_by_the_environment(registry, monkeypatch):
    config = read(b"plugins: [{use: sink.silent}]", "c.yaml", {}).config
    monkeypatch.setenv("GATEWAY_TRACE_PLUGINS", "1")
    assert registry.build(config)._on_usage[0][0].__name__ == "traced"
    monkeypatch.setenv("GATEWAY_TRACE_PLUGINS", "0")
    assert registry.build(config)._on_usage[0][0].__name__ == "on_usage"


def test_the_options_of_a_class_are_its_own_before_inherited_ones():
    class Child(Limiter):
        pass

    assert options_of(Limiter) is Options
    assert options_of(Child) is Options
    assert options_of(Upstream) is Upstream.Config
    assert options_of(Silent) is None


def test_only_configured_plugins_are_imported():
    """A fresh interpreter builds a registry and loads one plugin; no other plugin's module is there afterwards."""
    code = (
        "import sys; from gateway.registry import Registry; r = Registry(); r.load('provider.openai_compatible'); "
        "print(sorted(m for m in sys.modules if m.startswith('gateway_plugins.') and m.count('.') == 2))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['gateway_plugins.providers.openai_compatible']"
