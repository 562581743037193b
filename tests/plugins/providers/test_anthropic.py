"""Anthropic: its address, credential, version and flags."""

import pytest

from gateway import Secret, Target
from gateway.testing import ProviderContract, exchange
from gateway_plugins.providers.anthropic import Anthropic, Options


def made(**options):
    return Anthropic(Options(**{"api_key": Secret("sk-ant-secret"), **options}))


class TestAnthropic(ProviderContract):
    async def make(self) -> Anthropic:
        return made(auth_token=Secret("token-secret"))


def test_it_needs_a_credential():
    for key in (None, Secret("")):
        with pytest.raises(ValueError, match="api_key is empty; set `when:"):
            made(api_key=key)
    assert made(api_key=None, auth_token=Secret("t")).secrets() == ["t"]


def test_a_request_has_the_credential_and_the_version():
    plugin = made()
    sent = plugin.encode(exchange(endpoint="messages"), Target(plugin, "claude-haiku-4-5"))
    assert sent.url == "https://api.anthropic.com/v1/messages"
    assert dict(sent.headers)["x-api-key"] == "sk-ant-secret"
    assert "authorization" not in dict(sent.headers)
    assert dict(sent.varying)["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in dict(sent.varying)


def test_the_clients_version_and_known_flags_go_on():
    plugin = made(betas=("files-*", "context-1m-2025-08-07"))
    headers = {"anthropic-version": "2024-01-01", "anthropic-beta": "files-api-2025-04-14, unknown-1,files-api-2025-04-14"}
    one = exchange(endpoint="messages", headers=headers)
    sent = dict(plugin.encode(one, Target(plugin, "m")).varying)
    assert sent["anthropic-version"] == "2024-01-01"
    assert sent["anthropic-beta"] == "files-api-2025-04-14"
    assert one.warnings == ["dropped=anthropic-beta:unknown-1"]


def test_counting_has_its_own_address():
    plugin = made(base_url="https://claude.example/")
    sent = plugin.encode(exchange(endpoint="messages.count_tokens"), Target(plugin, "m"))
    assert sent.url == "https://claude.example/v1/messages/count_tokens"


def test_a_bearer_token_stands_for_a_key():
    plugin = made(api_key=None, auth_token=Secret("tok"))
    sent = plugin.encode(exchange(endpoint="messages"), Target(plugin, "m"))
    assert dict(sent.headers)["authorization"] == "Bearer tok"
    assert "x-api-key" not in dict(sent.headers)
