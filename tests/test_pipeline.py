"""The request path from socket to socket: what the upstream gets, what the client gets, what the ledger has."""

import asyncio
import json

import pytest
from running import chat, provider, running
from waiting import until

from gateway.testing import FakeUpstream

REPLY = b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}'
PRICES = [{"model": "up/*", "input": "1.00", "output": "2.00"}]


@pytest.fixture
async def upstream():
    async with FakeUpstream() as up:
        yield up


@pytest.fixture
async def gw(tmp_path, upstream):
    models = [{"name": "m", "targets": ["up/real-model"]}, {"name": "same", "targets": ["up/same"]}]
    async with running(tmp_path, providers=[provider(upstream)], models=models, prices=PRICES) as started:
        yield started


async def test_an_unstreamed_reply_is_the_upstreams_bytes_and_one_row(gw, upstream):
    """The reply comes byte for byte, with our headers; usage and cost are exact in the ledger."""
    upstream.script(REPLY)
    async with gw.post(json=chat(temperature=0.5, unknown_field={"x": [1]})) as reply:
        assert await reply.read() == REPLY
        assert reply.status == 200
        assert reply.headers["x-gateway-provider"] == "up"
        assert reply.headers["x-gateway-model"] == "real-model"
        assert reply.headers["x-gateway-cost"] == "0.000020000"
        assert "Server" not in reply.headers
    (row,) = await gw.rows(1)
    assert (row.input, row.output, row.cost, row.outcome, row.http_status) == (10, 5, 20_000, "ok", 200)
    assert row.id == reply.headers["x-request-id"]
    assert [a.outcome for a in row.attempts] == ["ok"]
    sent = upstream.requests[0]
    assert sent.json == {**chat("real-model", temperature=0.5), "unknown_field": {"x": [1]}}
    assert sent.headers["authorization"] == "Bearer upstream-credential-000"
    assert gw.key not in str(sent)


async def test_nothing_changes_in_the_request_when_nothing_must(gw, upstream):
    """With the same model name at the target, the body's bytes arrive as they were sent."""
    upstream.script(REPLY)
    raw = b'{ "model" : "same",\n"messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}], "x":1.0 }\n'
    async with gw.post(data=raw, headers={"content-type": "application/json"}) as reply:
        assert reply.status == 200
    assert upstream.requests[0].body == raw


@pytest.mark.parametrize("header", ["Authorization: Bearer", "x-api-key", "api-key"])
async def test_each_kind_of_header_authenticates(gw, upstream, header):
    """Bearer, x-api-key and api-key carry the key."""
    upstream.script(REPLY)
    name, _, scheme = header.partition(": ")
    headers = {name: f"{scheme} {gw.key}".strip(), "content-type": "application/json"}
    async with gw.client.post(gw.url + "/chat/completions", headers=headers, data=json.dumps(chat())) as reply:
        assert reply.status == 200


@pytest.mark.parametrize("key", ["", "Bearer nope", "Bearer sk-gw-" + "a" * 61, "Basic abc"])
async def test_a_wrong_key_is_401_without_an_echo(gw, upstream, key):
    """In OpenAI's shape, nothing of the credential in it, no upstream touched, no row stored."""
    headers = {"authorization": key} if key else {}
    async with gw.client.post(gw.url + "/chat/completions", headers=headers, json=chat()) as reply:
        assert reply.status == 401
        error = (await reply.json())["error"]
        assert error["code"] == "invalid_api_key"
        assert "aaaa" not in error["message"]
    assert not upstream.requests
    assert await gw.rows() == []
    async with gw.client.get(gw.root + "/metrics") as metrics:
        assert "ai_gateway_unauthenticated_total 1.0" in await metrics.text()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400), (b'{"model":"m","model":"n"}', "application/json", 400), (b"[]", "application/json", 400),
        (b'{"model":NaN}', "application/json", 400), (b'{"model":"\xff"}', "application/json", 400),
        (b'{"model":7}', "application/json", 400), (b'{"messages":[]}', "application/json", 400),
        (b'{"model":"m","messages":"x"}', "application/json", 400), (b'{"model":"m","stream":"yes"}', "application/json", 400),
        (b'{"model":"m","messages":[7]}', "application/json", 400), (b'{"model":"m","max_tokens":"x"}', "application/json", 400),
        (b'{"model":"nope","messages":[]}', "application/json", 404), (b"{}", "text/plain", 415),
        (b'{"model":"m","messages":[]}', "multipart/form-data; boundary=x", 415),
        (b'{"x":"' + b"a" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_bad_input_is_a_clear_refusal_and_a_row(tmp_path, upstream, body, content_type, status):
    """Never a 5xx: a status, an OpenAI error, and one refused row."""
    models = [{"name": "m", "targets": ["up/m"]}]
    server = {"max_body_bytes": 65_536}
    async with running(tmp_path, providers=[provider(upstream)], models=models, server=server, direct_models=False) as gw:
        headers = {"content-type": content_type} if content_type else {}
        async with gw.post(data=body, headers=headers) as reply:
            assert reply.status == status
            error = (await reply.json())["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert reply.headers["x-request-id"]
        (row,) = await gw.rows(1)
        assert (row.outcome, row.http_status, row.cost) == ("refused", status, 0)


async def test_an_unknown_model_names_the_nearest(gw):
    """404 with a hint, as OpenAI's clients expect it."""
    async with gw.post(json=chat("sam")) as reply:
        assert reply.status == 404
        error = (await reply.json())["error"]
        assert error["code"] == "model_not_found"
        assert "`same`" in error["message"]


async def test_curl_without_a_content_type_works(gw, upstream):
    """`curl -d` sends JSON under a form's type: accepted because a header authenticates."""
    upstream.script(REPLY)
    async with gw.post(data=json.dumps(chat()), headers={"content-type": "application/x-www-form-urlencoded"}) as reply:
        assert reply.status == 200


async def test_upstream_errors_keep_status_code_and_retry_after(gw, upstream):
    """An OpenAI-shaped error passes as it came, without our credential in it."""
    body = b'{"error":{"message":"slow down upstream-credential-000","type":"tokens","param":null,"code":"rate_limit_exceeded"}}'
    upstream.script(body, status=429, headers={"retry-after": "7"})
    async with gw.post(json=chat()) as reply:
        assert reply.status == 429
        assert reply.headers["retry-after"] == "7"
        assert await reply.read() == body.replace(b"upstream-credential-000", b"***")
    (row,) = await gw.rows(1)
    assert (row.outcome, row.http_status, row.cost) == ("upstream_error", 429, 0)


@pytest.mark.parametrize(("body", "kind"), [(b"<html>bad</html>", "text/html"), (b'{"detail":"no"}', "application/json"), (b"", "")])
async def test_other_error_bodies_are_put_into_the_dialects_shape(gw, upstream, body, kind):
    """HTML, foreign JSON and nothing become an OpenAI error with the upstream's status."""
    upstream.script(body, status=503, content_type=kind or "text/plain")
    async with gw.post(json=chat()) as reply:
        assert reply.status == 503
        assert (await reply.json())["error"]["message"]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"not json", b""])
async def test_a_reply_that_is_no_json_is_a_502(gw, upstream, body):
    """An upstream that answers HTML with status 200 has failed."""
    upstream.script(body, content_type="text/html")
    async with gw.post(json=chat()) as reply:
        assert reply.status == 502
        assert (await reply.json())["error"]["code"] == "upstream_cut"


async def test_a_failing_target_falls_through_to_the_next(tmp_path):
    """429, 500 and a dead port lead on; each try is in the row; at most three are made."""
    async with FakeUpstream() as bad, FakeUpstream() as good, FakeUpstream() as dead:
        entries = [provider(bad, "bad"), provider(good, "good"), provider(dead, "dead")]
        await dead.close()
        models = [
            {"name": "m", "targets": ["bad/a", "dead/b", "good/c"]},
            {"name": "long", "targets": ["bad/a", "dead/b", "bad/c", "good/d"]},
        ]
        async with running(tmp_path, providers=entries, models=models) as gw:
            bad.script(b'{"error":{"message":"no"}}', status=500)
            good.script(REPLY)
            async with gw.post(json=chat()) as reply:
                assert reply.status == 200
                assert reply.headers["x-gateway-attempts"] == "3"
                assert reply.headers["x-gateway-provider"] == "good"
            (row,) = await gw.rows(1)
            assert [(a.provider, a.outcome) for a in row.attempts] == [
                ("bad", "upstream_error"), ("dead", "upstream_error"), ("good", "ok"),
            ]
            bad.script(b"{}", status=500)
            bad.script(b'{"error":{"message":"last"}}', status=503)
            async with gw.post(json=chat("long")) as reply:
                assert reply.status == 503
            assert len((await gw.rows(2))[-1].attempts) == 3


async def test_a_bad_request_is_not_tried_elsewhere(tmp_path):
    """What the upstream calls the caller's fault (400) would fail everywhere."""
    async with FakeUpstream() as bad, FakeUpstream() as good:
        models = [{"name": "m", "targets": ["bad/a", "good/b"]}]
        async with running(tmp_path, providers=[provider(bad, "bad"), provider(good, "good")], models=models) as gw:
            bad.script(b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}', status=400)
            async with gw.post(json=chat()) as reply:
                assert reply.status == 400
            assert not good.requests


async def test_a_client_that_leaves_closes_the_upstream_within_a_second(gw, upstream):
    """Before the head: the upstream's connection ends, and the row says why."""
    upstream.script(REPLY, pause=30, ending="hang")
    request = asyncio.ensure_future(gw.post(json=chat(demo={"delay_ms": 30_000}))._coro)
    await until(lambda: upstream.requests)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert await until(lambda: not upstream.open) < 4  # not the upstream's five seconds
    (row,) = await gw.rows(1)
    assert row.outcome == "client_closed"


async def test_the_gateway_says_what_it_would_do(gw, upstream):
    """`/explain` names stages, target, price and limits, and calls nobody."""
    async with gw.post("/explain", json=chat(max_tokens=100)) as reply:
        told = await reply.json()
    assert told["would"] == "answer"
    assert told["targets"][0]["provider"] == "up"
    assert told["targets"][0]["price"]["input"] == "1"
    assert [stage["use"] for stage in told["stages"]][0] == "auth.api_keys"
    assert not upstream.requests
    async with gw.post("/explain", json=chat("sam")) as reply:
        told = await reply.json()
    assert told["would"] == "refuse"
    assert "`same`" in told["refusal"]["message"]


async def test_models_lists_what_the_key_may_use(gw):
    """OpenAI's list with facts beside it; one model by name; unknown ones are 404."""
    async with gw.get("/models") as reply:
        listed = await reply.json()
    assert [model["id"] for model in listed["data"]] == ["m", "same"]
    assert listed["data"][0]["pricing"]["output"] == "2"
    async with gw.get("/models/up/any-name") as reply:
        assert (await reply.json())["owned_by"] == "up"
    async with gw.get("/models/none") as reply:
        assert reply.status == 404


async def test_the_open_routes_are_few_and_plain(gw):
    """Health, metrics and the index need no key and hold no secret; anything else does."""
    for path in ("/", "/health", "/health/live", "/health/ready", "/metrics"):
        async with gw.client.get(gw.root + path) as reply:
            assert reply.status == 200
            assert gw.key not in await reply.text()
    for path in ("/api/v1/models", "/v1/models"):
        async with gw.client.get(gw.root + path) as reply:
            assert reply.status == 401
    async with gw.client.get(gw.root + "/api/v1/nothing") as reply:
        assert reply.status == 404
    async with gw.client.get(gw.root + "/v1/chat/completions") as reply:
        assert reply.status == 405


CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'


async def test_an_upstreams_own_error_in_a_stream_is_the_last_word(gw, upstream):
    """It is passed on without its credential, no second error follows, and the row has its code."""
    failure = b'data: {"error":{"message":"no sk-abcdefghijklmnopqrstuvwx","code":"overloaded"}}\n\n'
    upstream.script(CHUNK, failure, content_type="text/event-stream", ending="cut")
    async with gw.post(json=chat(stream=True)) as reply:
        data = await reply.read()
    assert data == CHUNK + failure.replace(b"sk-abcdefghijklmnopqrstuvwx", b"***")
    (row,) = await gw.rows(1)
    assert (row.outcome, row.error) == ("upstream_error", "overloaded")


async def test_half_a_record_does_not_leave_where_whole_records_do(gw, upstream):
    """With the usage chunk to take out, what is cut in the middle is dropped before the error."""
    upstream.script(CHUNK, b'data: {"id":"c","cho', content_type="text/event-stream")
    async with gw.post(json=chat(stream=True)) as reply:
        data = await reply.read()
    assert data.startswith(CHUNK + b'data: {"error":')
    (row,) = await gw.rows(1)
    assert (row.outcome, row.estimated) == ("upstream_cut", True)


async def test_a_client_finds_the_name_that_it_gave_its_request(gw, upstream):
    """A proper x-request-id comes back; the ledger's own id stands beside it."""
    upstream.script(REPLY)
    async with gw.post(json=chat(), headers={"x-request-id": "my-trace.1"}) as reply:
        assert reply.headers["x-request-id"] == "my-trace.1"
        ours = reply.headers["x-gateway-request-id"]
    (row,) = await gw.rows(1)
    assert row.id == ours


async def test_an_answer_without_usage_costs_an_estimate(gw, upstream):
    """What was said is counted, so that it costs about what its streamed twin would."""
    upstream.script(b'{"choices":[{"index":0,"message":{"content":"' + b"word " * 200 + b'"},"finish_reason":"stop"}]}')
    async with gw.post(json=chat()) as reply:
        assert reply.status == 200
    (row,) = await gw.rows(1)
    assert row.estimated
    assert row.output >= 200


async def test_a_target_is_tried_once_however_often_it_is_named(tmp_path):
    """Repeating a target in a model's list repeats nothing."""
    async with FakeUpstream() as bad:
        models = [{"name": "m", "targets": ["up/a", "up/a", "up/a"]}]
        async with running(tmp_path, providers=[provider(bad)], models=models) as gw:
            bad.script(b"{}", status=500)
            async with gw.post(json=chat()) as reply:
                assert reply.status == 500
            assert len(bad.requests) == 1


async def test_an_error_under_status_200_is_counted_as_one(gw, upstream):
    """Some upstreams answer so; the client gets it without credentials, and nothing is billed."""
    upstream.script(b'{"error":{"message":"no upstream-credential-000 today","code":"quota"}}')
    async with gw.post(json=chat()) as reply:
        assert reply.status == 200
        assert await reply.read() == b'{"error":{"message":"no *** today","code":"quota"}}'
    (row,) = await gw.rows(1)
    assert (row.outcome, row.error, row.cost, row.output) == ("upstream_error", "quota", 0, 0)
    assert row.attempts[0].outcome == "upstream_error"


async def test_a_reply_that_has_an_empty_error_beside_it_is_a_reply(gw, upstream):
    said = REPLY.replace(b'"usage"', b'"error":{"code":0},"no_usage"')
    upstream.script(said)
    async with gw.post(json=chat()) as reply:
        assert await reply.read() == said
    (row,) = await gw.rows(1)
    assert row.outcome == "ok"


async def test_a_key_in_place_of_a_model_is_not_stored(gw):
    async with gw.post(json=chat("sk-abcdefghijklmnopqrstuvwx")) as reply:
        assert reply.status == 404
    (row,) = await gw.rows(1)
    assert row.model == "***"


async def test_a_request_that_a_limit_refuses_is_counted_under_its_model(tmp_path, upstream):
    """And what a client made up is `other`: labels stay bounded."""
    plugins = [{"use": "auth.api_keys"}, {"use": "limiter.requests", "with": {"per_key": 1}}, {"use": "sink.prometheus"}]
    models = [{"name": "m", "targets": ["up/real-model"], "aliases": ["nick"]}]
    async with running(tmp_path, providers=[provider(upstream)], models=models, plugins=plugins) as gw:
        upstream.script(REPLY)
        for model in ("m", "nick", "made-up"):
            async with gw.post(json=chat(model)) as reply:
                assert reply.status == (200 if model == "m" else 429)
        async with gw.client.get(gw.root + "/metrics") as metrics:
            page = await metrics.text()
    line = 'ai_gateway_requests_total{endpoint="chat.completions",model="%s",provider="none",status="429"} 1.0'
    assert line % "m" in page
    assert line % "other" in page
