"""Which targets a name leads to, for whom, and what `/models` lists."""

import time

import msgspec
import pytest

from gateway.config import Config, ModelEntry, PriceEntry, ProviderEntry
from gateway.errors import Forbidden, UnknownModel
from gateway.exchange import Caller, Level
from gateway.money.prices import PriceBook
from gateway.router import Router


class Facts(msgspec.Struct):
    context_length: int
    max_output: int | None = None


class Fake:
    """A provider as the router sees it."""

    endpoints = frozenset({"chat.completions"})

    def __init__(self, name, models=("*",), price_book=None, facts=None):
        self.name = name
        self.price_book = price_book
        self.facts = facts or {}
        self._models = models

    def models(self):
        return self._models


ANYONE = Caller(tenant="t", key="k", levels=(Level("tenant", "t"), Level("key", "k")))


def allowed(*models, tenant=None):
    return Caller(tenant="t", key="k", levels=(Level("tenant", "t", models=tenant), Level("key", "k", models=models)))


def entry(name, *targets, **more):
    return ModelEntry(name=name, targets=targets, **more)


def router(*models, providers=None, off=(), prices=(), **config):
    providers = providers or [
        Fake("openai", price_book="openai"), Fake("vllm", models=("meta-llama/*", "llama3:8b")),
        Fake("demo", models=("small",))
    ]
    entries = tuple(ProviderEntry(name=each.name, use="provider.x") for each in providers)
    entries += tuple(ProviderEntry(name=name, use="provider.x", when="") for name in off)
    made = Config(providers=entries, models=tuple(models), prices=prices, **config)
    return Router(made, {each.name: each for each in providers}, PriceBook(prices))


def leads(made, name, caller=ANYONE):
    return [f"{target.provider.name}|{target.model}" for target in made.resolve(name, caller).targets]


@pytest.mark.parametrize(
    ("name", "targets", "canonical"),
    [
        ("smart", ["openai|gpt-4o", "demo|small"], "smart"), ("clever", ["openai|gpt-4o", "demo|small"], "smart"),
        ("gpt-4o", ["openai|gpt-4o"], "gpt-4o"), ("gpt-4o-mini", ["vllm|meta-llama/o-mini"], "gpt-4o-mini"),
        ("gpt-4-turbo", ["demo|small"], "gpt-4-turbo"), ("gpt-", ["openai|gpt-"], "gpt-"),
        ("oai-5", ["openai|gpt-5"], "gpt-5"), ("openai/gpt-4o", ["openai|gpt-4o"], "openai/gpt-4o"),
        ("openai:gpt-4o", ["openai|gpt-4o"], "openai/gpt-4o"), ("demo/small", ["demo|small"], "demo/small"),
        ("vllm/meta-llama/Llama-3:free", ["vllm|meta-llama/Llama-3:free"], "vllm/meta-llama/Llama-3:free"),
        ("vllm:llama3:8b", ["vllm|llama3:8b"], "vllm/llama3:8b"),
        ("vllm/llama3:8b", ["vllm|llama3:8b"], "vllm/llama3:8b"),
        ("meta-llama/Llama-3", ["vllm|meta-llama/Llama-3"], "meta-llama/Llama-3"),
        ("llama3:8b", ["vllm|llama3:8b"], "llama3:8b"), ("openai/own", ["demo|small"], "openai/own"),
    ],
)  # fmt: skip
def test_names_lead_to_targets(name, targets, canonical):
    """A configured name, an alias, the wildcard with the longest beginning, `provider/model`; then the parts stay."""
    made = router(
        entry("smart", "openai/gpt-4o", "demo/small", aliases=("clever",)),
        entry("gpt-*", "openai/gpt-*", aliases=("oai-*",)), entry("gpt-4-*", "demo:small"),
        entry("gpt-4*", "vllm/meta-llama/*"),
        entry("gpt-4o", "openai/gpt-4o"), entry("meta-llama/Llama-3", "vllm/meta-llama/Llama-3"),
        entry("llama3:8b", "vllm/llama3:8b"), entry("openai/own", "demo/small"),
    )  # fmt: skip
    assert leads(made, name) == targets
    assert made.resolve(name, ANYONE).canonical == canonical
    assert made.resolve(name, ANYONE) is made.resolve(name, ANYONE)


def test_a_bare_star_comes_last():
    """`provider/model` is more exact than a catch-all, and less than a wildcard that names the provider."""
    made = router(entry("*", "demo/small"), entry("openai/o*", "vllm/meta-llama/o*"))
    assert leads(made, "openai/gpt-4o") == ["openai|gpt-4o"]
    assert leads(made, "openai/o3") == ["vllm|meta-llama/o3"]
    assert leads(made, "anything/at:all") == ["demo|small"]
    assert leads(router(entry("*", "openai/*")), "gpt-9") == ["openai|gpt-9"]


def test_a_name_beats_an_alias_and_the_first_alias_wins():
    made = router(
        entry("a", "openai/a", aliases=("b", "c")), entry("b", "demo/small"), entry("d", "demo/small", aliases=("c",))
    )
    assert leads(made, "b") == ["demo|small"]
    assert leads(made, "c") == ["openai|a"]


@pytest.mark.parametrize(
    "name",
    ["nothing", "openai/", "/gpt", ":x", "demo/large", "vllm/other", "nobody/gpt", "gpt-*", "openai/*", "\x00",
     "x" * 256],
)
def test_what_leads_nowhere_is_unknown(name):
    """Also a model that the provider's list lacks, and a name with a star in it."""
    with pytest.raises(UnknownModel) as caught:
        router(entry("gpt-*", "openai/gpt-*")).resolve(name, ANYONE)
    assert caught.value.status == 404
    assert len(caught.value.message) < 400


def test_provider_names_can_be_switched_off():
    with pytest.raises(UnknownModel):
        router(direct_models=False).resolve("openai/gpt-4o", ANYONE)


def test_the_nearest_names_are_those_that_the_key_may_use():
    made = router(entry("gpt-small", "openai/a"), entry("gpt-smart", "openai/b"), direct_models=False)
    with pytest.raises(UnknownModel, match="Did you mean `gpt-smart`, `gpt-small`"):
        made.resolve("gpt-smarf", ANYONE)
    with pytest.raises(UnknownModel) as caught:
        made.resolve("gpt-smarf", allowed("gpt-small"))
    assert "gpt-smart" not in caught.value.message


def test_targets_of_switched_off_providers_are_skipped():
    """With all of them off, the error says which."""
    made = router(
        entry("a", "groq/x", "demo/small"), entry("b", "groq/x", "azure/y", "groq/z"), entry("c-*", "groq/*"),
        off=("groq", "azure"),
    )
    assert leads(made, "a") == ["demo|small"]
    with pytest.raises(UnknownModel, match=r"switched off, for its providers `groq` and `azure`: `when` is empty"):
        made.resolve("b", ANYONE)
    for name in ("c-1", "groq/llama", "groq:llama"):
        with pytest.raises(UnknownModel, match="its provider `groq`"):
            made.resolve(name, ANYONE)
    assert {line.name for line in made.listed(ANYONE)}.isdisjoint({"b", "c-1"})
    with pytest.raises(Forbidden):
        made.resolve("b", allowed("a"))


@pytest.mark.parametrize(
    ("models", "name", "may"),
    [
        (("smart",), "smart", True), (("smart",), "clever", True), (("clever",), "clever", True),
        (("clever",), "smart", False),
        (("gpt-*",), "gpt-4o", True), (("gpt-4o",), "gpt-4o", True), (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-?",), "gpt-5", True), (("gpt-?",), "gpt-55", False), (("gpt-5",), "oai-5", True),
        (("oai-*",), "gpt-5", False),
        (("openai/*",), "openai/gpt-4o", True), (("openai/*",), "openai:gpt-4o", True),
        (("openai/*",), "gpt-4o", False),
        (("openai/gpt-4o",), "openai:gpt-4o", True), (("openai/gpt-4o",), "openai/gpt-4o-mini", False),
        (("openai:gpt-4o",), "openai/gpt-4o", False), (("*",), "openai/gpt-4o", True), ((), "smart", False),
        (("GPT-*",), "gpt-4o", False), (("gpt-[45]*",), "gpt-4o", True), (("a", "b", "smart"), "clever", True),
    ],
)  # fmt: skip
def test_a_key_may_use_what_it_was_given(models, name, may):
    """The name as asked, or the configured name (`provider/model` for direct ones) that it stands for."""
    made = router(entry("smart", "demo/small", aliases=("clever",)), entry("gpt-*", "openai/gpt-*", aliases=("oai-*",)))
    for caller in (allowed(*models), allowed("*", tenant=models)):
        if may:
            assert made.resolve(name, caller)
        else:
            with pytest.raises(Forbidden, match=f"may not use the model `{name}`"):
                made.resolve(name, caller)
        assert (name in {line.name for line in made.listed(caller)}) <= may


def test_every_level_must_allow():
    made = router(entry("a", "demo/small"), entry("b", "demo/small"))
    with pytest.raises(Forbidden):
        made.resolve("a", allowed("a", "b", tenant=("b",)))
    assert [line.name for line in made.listed(allowed("a", "b", tenant=("b",)))] == ["b"]


def test_the_list_has_each_name_once_and_tells_the_truth():
    """Names, aliases, wildcards through the price book, direct names; each with the target that a request would get."""
    made = router(
        entry("smart", "openai/gpt-4o", aliases=("clever",)), entry("gpt-*", "openai/gpt-*"),
        entry("gpt-4*", "demo/small"), entry("off", "groq/x"), entry("team-*", "demo/small"), off=("groq",),
    )
    lines = list(made.listed(ANYONE))
    names = [line.name for line in lines]
    assert len(names) == len(set(names))
    assert {"smart", "clever", "gpt-4o", "gpt-3.5-turbo", "openai/gpt-4o", "vllm/llama3:8b", "demo/small"} <= set(names)
    assert not any("*" in name for name in names)
    assert "off" not in names
    for line in lines:
        found = made.resolve(line.name, ANYONE)
        assert found.targets[0].provider is line.target.provider
        assert found.targets[0].model == line.target.model
        assert found.canonical == line.canonical
    assert made._known.keys().isdisjoint(made._exact)


def test_facts_come_from_the_entry_then_the_provider_then_the_table():
    providers = [Fake("openai", price_book="openai", facts={"gpt-4o": Facts(7, 3), "free": Facts(9)})]
    made = router(
        entry("a", "openai/gpt-4o"), entry("b", "openai/gpt-4o", context_length=5, max_output_tokens=2),
        entry("c", "openai/gpt-4o-mini"), entry("d", "openai/free"), providers=providers,
        prices=(PriceEntry(model="openai/free", input="0", output="0"),),
    )
    facts = {name: made.resolve(name, ANYONE).targets[0] for name in "abcd"}
    assert [(facts[name].context_length, facts[name].max_output) for name in "abd"] == [(7, 3), (5, 2), (9, None)]
    assert facts["c"].context_length == 128_000
    assert [facts[name].free for name in "abcd"] == [False, False, False, True]
    assert facts["a"].price.input == 2_500_000


def test_made_up_names_take_bounded_memory():
    made = router(entry("gpt-*", "openai/gpt-*"))
    for number in range(10_000):
        made.resolve(f"gpt-{number}", ANYONE)
        made.resolve(f"openai/x{number}", ANYONE)
    assert len(made._known) <= 4096
    assert {made.resolve(f"gpt-{number}", ANYONE).name for number in range(9)} == {"gpt-*"}
    assert made.resolve("openai/x1", ANYONE).name == "openai/*"


def test_a_known_name_costs_a_look_up():
    """Generous: it is some tenths of a microsecond on an idle machine."""
    made = router(entry("gpt-*", "openai/gpt-*"), entry("smart", "openai/gpt-4o"))
    caller = allowed("gpt-*", "smart", tenant=None)
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(200):
            made.resolve("smart", caller)
        best = min(best, (time.perf_counter() - began) / 200)
    assert best < 10e-6


def test_what_has_no_price_is_refused_where_only_what_can_be_billed_is_served():
    priced = PriceEntry(model="demo/*", input="0", output="0")
    models = (entry("both", "vllm/meta-llama/x", "demo/small"), entry("none", "vllm/meta-llama/x"))
    made = router(*models, prices=(priced,), unpriced="refuse")
    assert leads(made, "both") == ["demo|small"]
    with pytest.raises(Forbidden, match="no price") as refused:
        made.resolve("none", ANYONE)
    assert (refused.value.status, refused.value.code) == (403, "model_not_priced")
    listed = {line.name for line in made.listed(ANYONE)}
    assert "both" in listed
    assert "none" not in listed
    flagged = router(*models, prices=(priced,))
    assert leads(flagged, "none") == ["vllm|meta-llama/x"]
    assert "none" in {line.name for line in flagged.listed(ANYONE)}
