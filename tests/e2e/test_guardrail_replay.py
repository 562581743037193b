"""`gateway guardrails replay --since`: a draft over the requests whose content was kept, without a text in the report."""

import asyncio

import msgspec
from click.testing import CliRunner
from people import PLUGINS
from running import chat, provider, running
from waiting import until

from gateway.accounts.records import Content, Tenant
from gateway.commands.guardrails import guardrails
from gateway.store.work import change
from gateway.testing import FakeUpstream

DRAFT = """\
name: draft
rules:
  - {use: guardrail.keywords, name: word, action: block, with: {deny: {fruit: [cherry]}}}
"""


async def test_a_draft_is_replayed_over_what_was_kept(tmp_path):
    (tmp_path / "draft.yaml").write_text(DRAFT)
    file = tmp_path / "gateway.yaml"
    file.write_text(f"data_dir: {tmp_path / 'data'}\nguardrails: {{policy: permissive}}\n")

    def call(*args):
        done = CliRunner().invoke(
            guardrails, ["replay", "--config", str(file), "--policy", str(tmp_path / "draft.yaml"), *args]
        )
        return done.exit_code, done.output

    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[provider(upstream)], models=[{"name": "m", "targets": ["up/m"]}], plugins=PLUGINS
    ) as gateway:
        status, told = await asyncio.to_thread(call, "--since", "7d")
        assert (status, "No content" in told) == (1, True)
        await gateway.store.commit([change(Tenant, {"id": "default"}, {"logging": "content"})], bump=True)
        for text in ("one banana", "a red cherry"):
            async with gateway.post(json=chat(text=text)) as reply:
                assert reply.status == 200

        async def kept():
            return len((await gateway.store.page(Content, {})).items) == 2

        await until(kept)
        status, told = await asyncio.to_thread(call, "--since", "7d", "--json")
        assert status == 0, told
        report = msgspec.json.decode(told)
        (ident,) = set(report["lines"]["newly_blocked"])
        assert ident.startswith("req_")
        assert "red" not in told
        entries = [each.entry for each in await gateway.store.audit_page({"action": "content_read"})]
        read = entries[0]
        assert (read.actor_kind, read.detail["purpose"]) == ("operator", "guardrail replay")
        status, told = await asyncio.to_thread(call, "--since", "7d", "--tenant", "nobody")
        assert (status, "No content" in told) == (1, True)
