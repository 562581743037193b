"""A provider's key that is changed in Vault, in front of workers: it is used soon, and while Vault is away the old one stays."""

import asyncio
import os

import msgspec
import pytest
from processes import PLUGINS, GatewayProcess, client
from vault import FakeVault
from waiting import until

from gateway.testing import FakeUpstream


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_changed_key_is_used_without_a_restart_and_shown_nowhere(tmp_path, workers, monkeypatch):
    with FakeVault() as vault:
        monkeypatch.setitem(os.environ, "TEST_VAULT_TOKEN", "root-token-0000")
        async with FakeUpstream() as upstream:
            options = {"base_url": upstream.url, "api_key": "${vault:ai/openai#api_key}"}
            source = {"use": "secret.vault", "with": {"url": vault.url, "token": "${TEST_VAULT_TOKEN}", "refresh": 1}}
            gateway = GatewayProcess(
                tmp_path, server={"workers": workers},
                providers=[{"name": "up", "use": "provider.openai_compatible", "with": options}],
                models=[{"name": "m", "targets": ["up/gpt-4o"]}], plugins=[*({"use": name} for name in PLUGINS), source],
                prices=[{"model": "up/*", "input": "1", "output": "1"}],
            )  # fmt: skip

            async def carried():
                """The credential that a request goes out with."""
                body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x"}]})
                headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
                async with client() as session, session.post(
                    gateway.url + "/api/v1/chat/completions", data=body, headers=headers
                ) as reply:
                    assert reply.status == 200, await reply.text()
                return upstream.requests[-1].headers["authorization"]

            await asyncio.to_thread(gateway.start)
            try:
                assert await carried() == "Bearer first-value-of-a-key"
                vault.secrets["ai/openai"] = {"api_key": "second-value-of-a-key"}
                await asyncio.to_thread(gateway.wait_for, "configuration reloaded")
                for _ in range(4):  # connections spread over the workers
                    assert await carried() == "Bearer second-value-of-a-key"
                vault.fail = [503] * 1000
                await asyncio.to_thread(gateway.wait_for, "configuration not reloaded.*Vault is sealed")
                assert await carried() == "Bearer second-value-of-a-key"
                vault.fail, vault.secrets["ai/openai"] = [], {"api_key": "third-value-of-a-key"}

                async def third():
                    return await carried() == "Bearer third-value-of-a-key"

                await until(third)
                for text in (gateway.log, gateway.output):
                    assert "-value-of-a-key" not in text
                    assert "root-token-0000" not in text
            finally:
                await asyncio.to_thread(gateway.stop)
                gateway.__exit__()
