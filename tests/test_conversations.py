"""Golden conversations: each file in tests/conversations is one exchange between a client and a provider, both ways.

What the files hold is in tests/conversations/README.md; adding a case needs no code.
"""

import json
from functools import cache
from pathlib import Path
from urllib.parse import quote

import awsframes
import pytest
import pytest_asyncio
import yaml
from running import running

from gateway import eventstream
from gateway.testing import FakeUpstream

HOME = Path(__file__).parent / "conversations"
PROVIDERS = yaml.safe_load((HOME / "providers.yaml").read_text())
DIALECTS = yaml.safe_load((HOME / "dialects.yaml").read_text())
CASES = {str(file.relative_to(HOME).with_suffix("")): file for file in sorted(HOME.glob("*/*/*.yaml"))}
PLUGINS = [{"use": "auth.api_keys"}, {"use": "limiter.budget"}, {"use": "sink.ledger"}]
MATTER = ("openai", "azure_openai", "anthropic", "gemini", "bedrock", "vllm")
KEYS = {"about", "feature", "outcome", "model", "entry", "client", "upstream", "reply", "answer", "warnings", "recorded"}


@cache
def load(case):
    told = yaml.load(CASES[case].read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert set(told) <= KEYS
    assert told["outcome"] in ("kept", "converted", "warned", "refused")
    assert told["about"]
    assert told["feature"]
    return told


def configured(upstream):
    """A model for each case, and the providers in front of the fake upstream."""
    root = upstream.url.removesuffix("/v1")
    providers = [
        {"name": name, "use": entry["use"], "with": json.loads(json.dumps(entry["with"]).replace("{upstream}", root))}
        for name, entry in PROVIDERS.items()
    ]
    models = []
    for case in CASES:
        told, name = load(case), case.split("/")[1]
        models.append(
            {"name": case, "targets": [f"{name}/{told.get('model', PROVIDERS[name]['model'])}"], **told.get("entry", {})}
        )
    return {"providers": providers, "models": models}


class Stage:
    def __init__(self, gw, upstream):
        self.gw = gw
        self.upstream = upstream


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory):
    async with (
        FakeUpstream() as upstream,
        running(tmp_path_factory.mktemp("conversations"), plugins=PLUGINS, **configured(upstream)) as gw,
    ):
        yield Stage(gw, upstream)


def records(text):
    """(event, data) of each record of a stream; comments are none."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        event = next((line[6:].strip() for line in lines if line.startswith("event:")), "")
        data = "\n".join(line[5:].strip() for line in lines if line.startswith("data:"))
        found.append({"event": event, "data": data if data == "[DONE]" else json.loads(data)})
    return found


def same(wanted, got, where=""):
    """Compare, with `*` for anything; what differs is named by its path."""
    if wanted == "*":
        return
    if isinstance(wanted, dict) and isinstance(got, dict):
        assert sorted(wanted) == sorted(got), f"at {where or 'the top'}: {got}"
        for key, value in wanted.items():
            same(value, got[key], f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list):
        assert len(wanted) == len(got), f"at {where or 'the top'}: {json.dumps(got)}"
        for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
            same(one, other, f"{where}[{number}]")
    else:
        assert wanted == got, f"at {where or 'the top'}"


async def exchange(stage, case):
    """Run one case: the upstream's requests, and the reply with its body."""
    told = load(case)
    reply = told.get("reply", {})
    stage.upstream.requests.clear()
    stage.upstream._script.clear()
    served = reply["stream"].encode() if "stream" in reply else json.dumps(reply.get("body")).encode()
    content_type = "text/event-stream" if "stream" in reply else "application/json"
    if "stream" in reply and PROVIDERS[case.split("/")[1]].get("frames"):
        served, content_type = awsframes.framed(reply["stream"]), eventstream.CONTENT_TYPE
    headers = dict(reply.get("headers", {}))
    content_type = headers.pop("content-type", content_type)
    stage.upstream.script(served, status=reply.get("status", 200), content_type=content_type, headers=headers)
    client = told["client"]
    path = client.get("path") or DIALECTS[case.split("/")[0]]["path"]
    body = client["body"] if "{model}" in path else {**client["body"], "model": case}
    path = path.replace("{model}", quote(case, safe=""))
    headers = {"authorization": f"Bearer {stage.gw.key}", "content-type": "application/json", **client.get("headers", {})}
    async with stage.gw.client.post(stage.gw.root + path, headers=headers, data=json.dumps(body)) as answer:
        raw = await answer.read()
        text = awsframes.unframed(raw) if answer.content_type == eventstream.CONTENT_TYPE else raw.decode()
    return list(stage.upstream.requests), answer, text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_a_conversation_is_carried(stage, case):
    """The upstream gets the request as it must, and the client its answer."""
    told = load(case)
    sent, answer, text = await exchange(stage, case)
    wanted = told["answer"]
    assert answer.status == wanted.get("status", 200), text
    if "upstream" in told:
        (request,) = sent
        same(told["upstream"]["body"], request.json, "upstream")
        if "path" in told["upstream"]:
            assert request.path == told["upstream"]["path"]
        for name, value in told["upstream"].get("headers", {}).items():
            same(value, request.headers.get(name), name)
    else:
        assert sent == []
    assert answer.headers.get("x-gateway-warnings") == told.get("warnings")
    for name, value in wanted.get("headers", {}).items():
        same(value, answer.headers.get(name), name)
    if "stream" in wanted:
        same(records(wanted["stream"]), records(text), "answer")
    else:
        same(wanted["body"], json.loads(text), "answer")


@pytest.mark.parametrize(("dialect", "provider"), [(dialect, provider) for dialect in DIALECTS for provider in MATTER])
def test_every_pair_shows_what_matters(dialect, provider):
    """At least twelve cases for each pair, of the features that conversations are made of."""
    features = {load(case)["feature"] for case in CASES if case.startswith(f"{dialect}/{provider}/")}
    wanted = {
        "text", "stream", "tools", "parallel tools", "tool result", "image", "structured output", "thinking", "cache",
        "error", "length", "refusal",
    }
    assert wanted <= features, f"missing: {sorted(wanted - features)}"
