"""Azure AI Content Safety against a fake that answers as its published API does."""

import msgspec
import pytest
from aiohttp import web
from judging import Metrics

from gateway import ContentBlocked, Context, Secret, Unavailable
from gateway.config import Acting
from gateway.guardrails.stage import only
from gateway.testing import exchange
from gateway.upstream import Upstream
from gateway_plugins.guardrails.azure_content_safety import AzureContentSafety, Options


def analysis(**severities):
    names = ("Hate", "SelfHarm", "Sexual", "Violence")
    return {"blocklistsMatch": [], "categoriesAnalysis": [{"category": n, "severity": severities.get(n, 0)} for n in names]}


@pytest.fixture
async def azure():
    """A fake of the resource: `analysis` and `attacks` are what it says, `seen` what it got."""

    class Azure:
        def __init__(self):
            self.analysis, self.attacks, self.status, self.seen = analysis(), (False, False), 200, []

        async def serve(self, request):
            body = msgspec.json.decode(await request.read())
            self.seen.append((request.path, dict(request.query), request.headers["Ocp-Apim-Subscription-Key"], body))
            prompt, document = self.attacks
            shield = {
                "userPromptAnalysis": {"attackDetected": prompt and bool(body.get("userPrompt"))},
                "documentsAnalysis": [{"attackDetected": document} for _ in body.get("documents", ())],
            }
            answer = self.analysis if request.path.endswith(":analyze") else shield
            return web.Response(status=self.status, body=msgspec.json.encode(answer))

    fake, app = Azure(), web.Application()
    app.router.add_post("/{path:.*}", fake.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    fake.upstream, fake.metrics = Upstream(), Metrics()
    yield fake
    await fake.upstream.close()
    await runner.cleanup()


def made(azure, **options):
    given = {"endpoint": azure.url, "api_key": Secret("azure-key"), "allow_private": True, **options}
    return AzureContentSafety(Options(**given))


async def sent(azure, guardrail, text="hello", on_error="closed", **entry):
    await guardrail.startup(azure)
    asked = exchange(text)
    await only("judge", guardrail, on_error, Acting(**entry)).pre_request(asked)
    return asked.request.body["messages"][0]["content"]


async def category(azure, guardrail, **options):
    with pytest.raises(ContentBlocked) as caught:
        await sent(azure, guardrail, **options)
    return caught.value.details["category"]


async def test_harms_and_attacks_are_asked_for_at_once(azure):
    assert await sent(azure, made(azure, blocklists=("ours",))) == "hello"
    seen = {path: (query, key, body) for path, query, key, body in azure.seen}
    version = {"api-version": "2024-09-01"}
    assert seen["/contentsafety/text:analyze"] == (version, "azure-key", {
        "text": "hello", "categories": ["Hate", "SelfHarm", "Sexual", "Violence"], "blocklistNames": ["ours"],
        "haltOnBlocklistHit": False,
    })  # fmt: skip
    assert seen["/contentsafety/text:shieldPrompt"] == (version, "azure-key", {"userPrompt": "hello", "documents": []})
    assert azure.metrics.judge_calls.values == {("guardrail.azure_content_safety", "ok"): 2}


async def test_a_category_counts_from_its_severity_on(azure):
    azure.analysis = analysis(Hate=4, Violence=2)
    assert await category(azure, made(azure)) == "Hate"
    assert await category(azure, made(azure, severity=6, severities={"Violence": 2})) == "Violence"
    assert await sent(azure, made(azure, severity=6)) == "hello"
    azure.analysis = {"blocklistsMatch": [
        {"blocklistName": "ours", "blocklistItemId": "1", "blocklistItemText": "hell"},
    ], "categoriesAnalysis": []}  # fmt: skip
    assert await category(azure, made(azure, blocklists=("ours",))) == "blocklist"


async def test_an_attack_is_found_in_prompts_and_in_what_tools_answer(azure):
    azure.attacks = (True, False)
    assert await category(azure, made(azure)) == "attack"
    assert await sent(azure, made(azure, prompt_shield=False)) == "hello"
    azure.attacks = (False, True)
    guardrail = made(azure)
    await guardrail.startup(azure)
    verdict = await guardrail.check("do it", Context("input", exchange(), "tool_result"))
    assert [found.kind for found in verdict.findings] == ["attack"]
    assert azure.seen[-1][3] == {"userPrompt": "", "documents": ["do it"]}
    azure.seen.clear()
    assert not (await guardrail.check("do it", Context("output", exchange()))).findings
    assert [path for path, *_ in azure.seen] == ["/contentsafety/text:analyze"]


async def test_a_long_text_is_asked_about_in_pieces_and_an_endless_one_not_at_all(azure):
    text = "a" * 9_000 + "the end of it" + "b" * 9_000
    assert await sent(azure, made(azure, prompt_shield=False), text) == text
    pieces = [body["text"] for *_, body in azure.seen]
    assert max(map(len, pieces)) <= 10_000
    assert any("the end of it" in piece for piece in pieces)
    assert pieces[-1].endswith("b")
    with pytest.raises(Unavailable):
        await sent(azure, made(azure), "c" * 400_000)


@pytest.mark.parametrize(("status", "told"), [(500, {}), (401, {}), (429, {}), (200, [1]), (200, {"categoriesAnalysis": 3})])
async def test_its_failure_is_what_on_error_says(azure, status, told):
    azure.status, azure.analysis = status, told
    with pytest.raises(Unavailable):
        await sent(azure, made(azure))
    assert await sent(azure, made(azure), on_error="open") == "hello"
    assert azure.metrics.judge_calls.values.keys() <= {
        ("guardrail.azure_content_safety", "failed"), ("guardrail.azure_content_safety", "ok"),
    }  # fmt: skip
