"""OpenAI itself: its address, and whose account pays."""

import pytest

from gateway import Secret, Target
from gateway.testing import ProviderContract, exchange
from gateway_plugins.providers.openai import OpenAI, Options


def made(**options):
    return OpenAI(Options(**{"api_key": Secret("sk-upstream-secret"), **options}))


class TestOpenAI(ProviderContract):
    async def make(self) -> OpenAI:
        return made(organization="org-1", project="proj_1")


def test_it_needs_a_key():
    """Without one the provider is switched off by `when`, never called without a credential."""
    for key in (None, Secret("")):
        with pytest.raises(ValueError, match="api_key is empty; set `when:"):
            made(api_key=key)


def test_the_account_is_named_where_configured():
    plugin = made(organization="org-1")
    sent = plugin.encode(exchange(), Target(plugin, "gpt-4o"))
    assert sent.url == "https://api.openai.com/v1/chat/completions"
    assert dict(sent.headers)["openai-organization"] == "org-1"
    assert "openai-project" not in dict(sent.headers)
    assert dict(made(project="p").encode(exchange(), Target(plugin, "m")).headers)["openai-project"] == "p"


def test_only_models_of_openais_own_that_know_no_chat_are_asked_by_responses():
    """Not every name that ends in `-pro`: behind another `base_url` stand other models."""
    plugin = made()
    for model in ("o1-pro", "o3-pro-2025-06-10", "gpt-5-pro", "gpt-5.1-codex-max", "o4-mini-deep-research"):
        assert "chat.completions" not in plugin.spoken(model)[0], model
    for model in ("gpt-4o", "deepseek-v4-pro", "gemini-2.5-pro", "my-codex"):
        assert "chat.completions" in plugin.spoken(model)[0], model


def test_an_account_with_a_line_end_is_refused():
    with pytest.raises(ValueError, match="the header 'openai-project'"):
        made(project="p\r\nx: y")


def test_its_prices_are_known():
    assert made().price_book == "openai"
