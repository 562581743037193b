"""`/models`: OpenAI's fields, and beside them what else is known."""

import msgspec
import pytest
from test_router import ANYONE, Facts, Fake, allowed, entry, router

from gateway.config import PriceEntry
from gateway.errors import UnknownModel
from gateway.models import model_list, one_model


class Own(Facts):
    modalities: tuple[str, ...] = ()


def made():
    facts = {"gpt-4o": Own(7, 3, ("text", "image")), "free": Own(9)}
    return router(
        entry("smart", "openai/gpt-4o", aliases=("clever",)), entry("plain", "openai/gpt-4o", modalities=("text",)),
        entry("gpt-*", "openai/gpt-*"), entry("unpriced", "openai/unheard-of"),
        providers=[Fake("openai", price_book="openai", facts=facts, models=("free", "gpt-4o*"))],
        prices=(PriceEntry(model="openai/free", input="0", output="0", cached_input="0"),),
    )


def test_the_list_has_openais_shape():
    """Every line has the four fields that clients read, and an id that works."""
    shown = model_list(made(), ANYONE)
    assert shown["object"] == "list"
    for line in shown["data"]:
        assert (line["object"], line["owned_by"]) == ("model", "openai")
        assert type(line["created"]) is int
        assert one_model(made(), ANYONE, line["id"]) == line
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown


def test_what_is_known_stands_beside():
    """Context, output cap, modalities, price in decimal strings; nothing where nothing is known."""
    shown = {line["id"]: line for line in model_list(made(), ANYONE)["data"]}
    smart = shown["smart"]
    assert (smart["context_length"], smart["max_output_tokens"], smart["modalities"]) == (7, 3, ["text", "image"])
    assert [float(smart["pricing"][name]) for name in ("input", "output", "cached_input")] == [2.5, 10, 1.25]
    assert smart["pricing"]["version"]
    assert shown["plain"]["modalities"] == ["text"]
    assert shown["clever"]["alias_of"] == "smart"
    assert "alias_of" not in smart
    assert "alias_of" not in shown["openai/gpt-4o"]
    assert float(shown["openai/free"]["pricing"]["input"]) == 0
    assert shown["unpriced"].keys() == {"id", "object", "created", "owned_by"}


def test_one_model_may_be_unlisted():
    """What a wildcard or a provider takes can be asked for by its id, slashes included."""
    assert one_model(made(), ANYONE, "gpt-new")["id"] == "gpt-new"
    assert one_model(made(), ANYONE, "openai/gpt-4o-new")["id"] == "openai/gpt-4o-new"


@pytest.mark.parametrize("name", ["nothing", "openai/other", "", "smart", "gpt-4o", "x" * 5000, "gpt-*"])
def test_what_a_key_may_not_use_is_not_there(name):
    """A forbidden model is as unknown as one that does not exist: 404."""
    with pytest.raises(UnknownModel) as caught:
        one_model(made(), allowed("plain"), name)
    assert caught.value.status == 404
    assert len(caught.value.message) < 300
    assert [line["id"] for line in model_list(made(), allowed("plain"))["data"]] == ["plain"]
