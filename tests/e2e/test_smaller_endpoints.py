"""Moderations, images, rerank, score, tokenize and Anthropic's messages at vLLM: each passes, is limited and recorded."""

import json

import pytest
import pytest_asyncio
from running import running

from gateway.testing import FakeUpstream

KEY = "upstream-credential-000"
CASES = {
    "moderations": ("/v1/moderations", {"model": "mod", "input": "hi"}, "/v1/moderations", {"id": "modr-1", "model": "mod", "results": [{"flagged": False}]}, (0, 0)),
    "images": (
        "/api/v1/images/generations", {"model": "img", "prompt": "a cat", "n": 1}, "/v1/images/generations",
        {"created": 1, "data": [{"b64_json": "aGk="}], "usage": {"input_tokens": 5, "output_tokens": 400, "total_tokens": 405, "input_tokens_details": {"text_tokens": 5, "image_tokens": 0}}}, (5, 400),
    ),
    "rerank": ("/v2/rerank", {"model": "rank", "query": "q", "documents": ["a", "b"]}, "/v1/rerank", {"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 9}}, (9, 0)),
    "score": ("/score", {"model": "rank", "text_1": "a", "text_2": "b"}, "/v1/score", {"data": [{"index": 0, "score": 1.0}], "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0}}, (4, 0)),
    "tokenize": ("/tokenize", {"model": "rank", "prompt": "hello"}, "/tokenize", {"count": 1, "max_model_len": 8, "tokens": [1]}, (0, 0)),
    "detokenize": ("/v1/detokenize", {"model": "rank", "tokens": [1]}, "/detokenize", {"prompt": "hello"}, (0, 0)),
    "messages": (
        "/v1/messages", {"model": "claude-like", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}, "/v1/messages",
        {"id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}}, (3, 1),
    ),
}


@pytest_asyncio.fixture
async def gw(tmp_path):
    async with FakeUpstream() as upstream:
        providers = [
            {"name": "openai", "use": "provider.openai", "with": {"base_url": upstream.url, "api_key": KEY}},
            {"name": "vllm", "use": "provider.vllm", "with": {"base_url": upstream.url, "api_key": KEY, "messages": True}},
        ]
        targets = {"mod": "openai/mod", "omni-moderation-latest": "openai/omni-moderation-latest", "img": "openai/img", "rank": "vllm/rank", "claude-like": "vllm/claude-like"}
        models = [{"name": name, "targets": [target]} for name, target in targets.items()]
        async with running(tmp_path, providers=providers, models=models) as gw:
            gw.upstream = upstream
            yield gw


async def ask(gw, path, body):
    headers = {"authorization": f"Bearer {gw.key}", "content-type": "application/json"}
    async with gw.client.post(gw.root + path, headers=headers, data=body) as reply:
        return reply.status, await reply.read()


@pytest.mark.parametrize("case", CASES)
async def test_it_passes_byte_for_byte_and_is_recorded(gw, case):
    path, body, at, answer, tokens = CASES[case]
    sent, served = json.dumps(body).encode(), json.dumps(answer).encode()
    gw.upstream.script(served)
    assert await ask(gw, path, sent) == (200, served)
    (request,) = gw.upstream.requests
    assert (request.path, request.body) == (at, sent)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    (row,) = await gw.rows(1)
    assert (row.input, row.output, row.outcome) == (*tokens, "ok")
    assert row.target_model == body["model"]
    assert not row.estimated


async def test_a_moderation_without_a_model_is_the_services_own(gw):
    gw.upstream.script(b'{"results": []}')
    assert (await ask(gw, "/v1/moderations", b'{"input": "x"}'))[0] == 200
    assert gw.upstream.requests[0].body == b'{"input": "x"}'


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"model": "rank"}, "query"), ("/v1/moderations", {"model": "mod"}, "input"),
        ("/tokenize", {"prompt": "x"}, "model"),
    ],
)
async def test_what_is_missing_is_named(gw, path, body, param):
    status, told = await ask(gw, path, json.dumps(body).encode())
    assert (status, json.loads(told)["error"]["param"]) == (400, param)
    assert gw.upstream.requests == []


async def test_a_target_without_the_endpoint_is_never_asked(gw):
    status, told = await ask(gw, "/v1/rerank", b'{"model": "img", "query": "q", "documents": []}')
    assert (status, json.loads(told)["error"]["code"]) == (404, "model_not_found")
    assert gw.upstream.requests == []


async def test_an_upstreams_error_comes_as_it_is(gw):
    error = b'{"error": {"message": "no", "type": "BadRequestError", "param": null, "code": 400}}'
    gw.upstream.script(error, status=400)
    assert await ask(gw, "/score", b'{"model": "rank", "text_1": "a", "text_2": "b"}') == (400, error)


async def test_a_provider_behind_a_proxy_hides_its_password_everywhere(tmp_path):
    """The proxy refuses: the caller is told so, and not with which credential."""
    async with FakeUpstream() as upstream:
        proxy = f"http://me:hunter2secret@127.0.0.1:{upstream.url.rpartition(':')[2].partition('/')[0]}"
        options = {"base_url": "https://far.example/v1", "api_key": KEY, "proxy": proxy}
        providers = [{"name": "far", "use": "provider.openai_compatible", "with": options}]
        async with running(tmp_path, providers=providers, models=[{"name": "m", "targets": ["far/m"]}]) as gw:
            status, told = await ask(gw, "/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}')
    assert status == 502
    assert b"proxy of provider far" in told
    assert b"hunter2" not in told
