"""A configuration file is read whole, or refused with every mistake at its line."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Config
from gateway.configfile import ConfigError, inspect, load, parse, read
from gateway.interpolation import Filled

GOOD = """\
server: {port: 9000}
providers:
  - name: openai
    use: provider.openai
    when: ${OPENAI_API_KEY:-}
    with:
      api_key: ${OPENAI_API_KEY}
  - name: local
    use: provider.openai_compatible
models:
  - name: fast
    targets: [openai/gpt-4o-mini, local/llama]
    aliases: [quick]
  - name: "local/*"
    targets: ["local/*"]
plugins:
  - use: auth.api_keys
  - use: guardrail.regex
    name: strict
prices:
  - {model: "local/*", input: "0", output: "0"}
"""


def problems(text: str, **environ: str) -> list[str]:
    return [str(problem) for problem in inspect(text.encode(), "c.yaml", environ).problems]


def test_a_good_file_gives_its_configuration_bytes_and_lines(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    loaded = load(path, {"OPENAI_API_KEY": "sk-1"})
    assert loaded.config.server.port == 9000
    assert loaded.config.providers[0].with_ == {"api_key": "sk-1"}
    assert loaded.source == GOOD.encode()
    assert loaded.lines.at(("providers", 0, "with", "api_key")) == 7
    assert read(loaded.source, str(path), {"OPENAI_API_KEY": "sk-1"}).config == loaded.config
    assert parse(loaded.source, str(path), {"OPENAI_API_KEY": "sk-1"}) == loaded.config


def test_a_switched_off_provider_needs_none_of_its_variables():
    assert problems(GOOD) == []
    assert parse(GOOD.encode(), "c.yaml", {}).providers[0].when == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:\n  prot: 1", "c.yaml:2: $.server.prot: unknown field `prot`; did you mean `port`?"),
        ("server:\n  port: http", "c.yaml:2: $.server.port: expected a whole number, got text"),
        ("server:\n  port: 70000", "c.yaml:2: $.server.port: expected a whole number <= 65535"),
        ("server: 5", "c.yaml:1: $.server: expected a mapping, got a whole number"),
        ("watch: yes", "c.yaml:1: $.watch: expected true or false, got text"),
        ("- a", "c.yaml:1: $: expected a mapping, got a list"),
        ("just text", "c.yaml:1: $: expected a mapping, got text"),
        (
            "logging:\n  level: inf",
            (
                "c.yaml:2: $.logging.level: `inf` is not allowed here: must be one of debug, info,"
                " warning, error; did you mean `info`?"
            ),
        ),
        (
            "server:\n  workers: many",
            ("c.yaml:2: $.server.workers: `many` is not allowed here: must be one of a whole number, auto"),
        ),
        ("plugins:\n  - name: x", "c.yaml:2: $.plugins[0]: the field `use` is missing"),
        ("plugins:\n  use: x", "c.yaml:1: $.plugins: expected a list, got a mapping"),
        (
            "plugins:\n  - use: a.b\n    wiht: {}",
            "c.yaml:3: $.plugins[0].wiht: unknown field `wiht`; did you mean `with`?",
        ),
        (
            "plugins:\n  - use: a.b\n    on_error: opne",
            (
                "c.yaml:3: $.plugins[0].on_error: `opne` is not allowed here:"
                " must be one of open, closed; did you mean `open`?"
            ),
        ),
        (
            "plugins:\n  - use: a.b\n  - use: a.b",
            "c.yaml:3: $.plugins[1].name: the plugin `a.b` is there twice, first on line 2",
        ),
        ("plugins:\n  - use: a.b\n    name: x y", r"c.yaml:3: $.plugins[0].name: expected text matching regex"),
        (
            "providers:\n  - {name: a, use: b.c}\n  - {name: a, use: b.c}",
            "c.yaml:3: $.providers[1].name: the provider `a` is there twice, first on line 2",
        ),
        (
            "models:\n  - name: m\n    targets: [opnai/x]\nproviders:\n  - {name: openai, use: a.b}",
            "c.yaml:3: $.models[0].targets[0]: no provider is named `opnai`; did you mean `openai`?",
        ),
        (
            "models:\n  - name: m\n    targets: [gpt]",
            "c.yaml:3: $.models[0].targets[0]: `gpt` must be written `provider/model`",
        ),
        (
            "models:\n  - name: m\n    targets:\n      - a/x*\nproviders:\n  - {name: a, use: a.b}",
            "c.yaml:4: $.models[0].targets[0]: a `*` here needs a `*` at the end of the model's name",
        ),
        (
            "models:\n  - name: '*m'\n    targets: [a/x]\nproviders:\n  - {name: a, use: a.b}",
            "c.yaml:2: $.models[0].name: in `*m`, `*` may stand at the end only",
        ),
        (
            (
                "providers:\n  - {name: a, use: a.b}\nmodels:\n  - {name: m, targets: [a/x], aliases: [n]}\n"
                "  - {name: n, targets: [a/x]}"
            ),
            "c.yaml:5: $.models[1].name: the model `n` is there twice, first on line 4",
        ),
        (
            "prices:\n  - {model: nowhere/x, input: '1', output: '1'}",
            "c.yaml:2: $.prices[0].model: no provider is named `nowhere`",
        ),
        (
            "prices:\n  - {model: a/x, input: 1, output: '1'}",
            "c.yaml:2: $.prices[0].input: expected text, got a whole number; put it in quotes",
        ),
        ("data_dir: ${HOME_OF_DATA}", "c.yaml:1: $.data_dir: the variable HOME_OF_DATA is not set"),
        ("a: 1\na: 2", "c.yaml:2: $.a: `a` is given twice, first on line 1"),
    ],
)
def test_a_mistake_is_named_with_line_path_and_nearest_name(text, expected):
    assert any(problem.startswith(expected) for problem in problems(text)), problems(text)
    with pytest.raises(ConfigError):
        parse(text.encode(), "c.yaml", {})


def test_all_mistakes_are_found_at_once_and_in_order():
    text = """\
watch: maybe
providers:
  - use: provider.demo
  - {name: ok, use: provider.demo, whem: x}
models:
  - {name: m, targets: [ok/a, missing/b], context_length: long}
plugins:
  - {use: 5}
  - {use: x.y, with: {key: "${UNSET}"}}
"""
    assert [problem.split(":")[1] for problem in problems(text)] == ["1", "3", "4", "6", "8", "9"]


def test_one_mistake_in_a_provider_does_not_make_its_targets_unknown():
    text = "providers:\n  - {name: a, use: 5}\nmodels:\n  - {name: m, targets: [a/x]}"
    assert len(problems(text)) == 1


def test_a_variable_becomes_a_number_where_the_schema_wants_one():
    text = (
        "server: {port: '${P}', workers: '${W}', uvloop: '${U}', header_timeout: '${H}'}\n"
        "data_dir: ${D}\nsecret: ${S:-}"
    )
    config = parse(text.encode(), "c.yaml", {"P": "81", "W": "auto", "U": "false", "H": "2.5", "D": "123"})
    assert (config.server.port, config.server.workers, config.server.uvloop) == (81, "auto", False)
    assert (config.server.header_timeout, config.data_dir, config.secret) == (2.5, "123", None)
    assert parse(text.encode(), "c.yaml", {"P": "81", "W": "4", "U": "true", "H": "2", "D": "x"}).server.workers == 4


def test_a_part_of_a_text_never_becomes_a_number():
    assert "expected a whole number" in problems("server: {port: '8${P}'}", P="1")[0]


@pytest.mark.parametrize(
    "text",
    [
        "server: {port: '${X}'}",
        "logging: {level: '${X}'}",
        "secret: ${X}",
        "plugins: ['${X}']",
        "server: ${X}",
        "providers: [{name: '${X}', use: a.b}, {name: '${X}', use: a.b}]",
        "plugins: [{use: a.b, on_error: '${X}'}]",
        "models: [{name: m, targets: ['${X}']}]",
        "models: [{name: m, targets: ['${X}/y']}]",
        "models: [{name: 'a*${X}', targets: [a/b]}]",
        "prices: [{model: '${X}', input: '${X}', output: '${X}'}]",
        "watch: x${X}",
        "timeouts: {idle: '${X}'}",
        "${X}",
    ],
)
@pytest.mark.parametrize("value", ["hunter2 hunter2", "hunter2'\"\\\n\u00e9", "hunter2"])
def test_no_error_repeats_a_value_from_outside(text, value):
    found = problems(text, X=value)
    assert not any("hunter2" in problem for problem in found)
    assert found or "providers" not in text


def test_a_configuration_holds_plain_text_outside_of_options():
    """What came from outside stays marked under `with` only, where options are decoded later."""
    config = parse(GOOD.encode(), "c.yaml", {"OPENAI_API_KEY": "sk-1"})
    assert type(config.providers[0].when) is str
    assert type(config.providers[0].with_["api_key"]) is Filled
    msgspec.json.encode(config.server)


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 70000), st.text("ab*/${}.-", max_size=8), st.just("openai/x")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "use", "with", "targets", "aliases", "port", "model", "zz"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*Config.__struct_fields__, "zz"]), _values, max_size=4))
def test_any_tree_gives_a_configuration_or_problems(value):
    """JSON is YAML: whatever stands in the fields, nothing is raised."""
    inspected = inspect(msgspec.json.encode(value), "c.yaml", {})
    assert (inspected.config is None) == bool(inspected.problems)
    assert all(problem.path.startswith("$") for problem in inspected.problems)


def test_prices_of_one_model_may_follow_each_other_in_time_on_days_that_exist():
    text = """\
providers: [{name: p, use: provider.vllm, with: {base_url: "http://127.0.0.1:1/v1"}}]
prices:
  - {model: p/m, input: "1", output: "1"}
  - {model: p/m, input: "1", output: "1", since: "2026-07-01"}
  - {model: p/m, input: "1", output: "1", since: "2026-02-30"}
  - {model: p/m, input: "1", output: "1", since: "2026-07-01"}
"""
    assert problems(text) == [
        "c.yaml:5: $.prices[2].since: there is no day `2026-02-30`",
        "c.yaml:6: $.prices[3].model: the price for `p/m from 2026-07-01 on` is there twice, first on line 4",
    ]
