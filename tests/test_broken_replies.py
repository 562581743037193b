"""Replies that break, for every pair of dialect and provider: an error of the right class in the client's own format.

The conversations are the golden ones with a stream; what the upstream sends is cut, spoilt, or replaced.
"""

import json

import pytest
from awsframes import framed, unframed
from test_conversations import CASES, DIALECTS, PROVIDERS, load, stage  # noqa: F401 - a fixture

from gateway import eventstream

PAIRS = sorted({case.rpartition("/")[0] for case in CASES})
STREAMS = [f"{pair}/stream" for pair in PAIRS]
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def as_sent(case, text):
    """The upstream's bytes, and their type."""
    if PROVIDERS[case.split("/")[1]].get("frames"):
        return framed(text), eventstream.CONTENT_TYPE
    return text.encode(), "text/event-stream"


async def answered(stage, case, body, *, status=200, content_type="text/event-stream"):  # noqa: F811
    """The status and text of what the client gets."""
    told = load(case)
    stage.upstream.requests.clear()
    stage.upstream._script.clear()
    stage.upstream.script(body, status=status, content_type=content_type)
    client = told["client"]
    path = (client.get("path") or DIALECTS[case.split("/")[0]]["path"]).replace("{model}", case.replace("/", "%2F"))
    headers = {"authorization": f"Bearer {stage.gw.key}", "content-type": "application/json", **client.get("headers", {})}
    data = json.dumps({**client["body"], "model": case})
    async with stage.gw.client.post(stage.gw.root + path, headers=headers, data=data) as answer:
        raw = await answer.read()
        framed_ = answer.content_type == eventstream.CONTENT_TYPE
        return answer.status, unframed(raw) if framed_ else raw.decode()


def ends_with_an_error(dialect, text):
    """Whether the last thing that a client reads is an error as its dialect has it."""
    if dialect == "bedrock.converse":
        return text.rstrip().rpartition("\n\n")[2].startswith("event: !")
    if dialect == "openai.responses":
        return '"response.failed"' in text and '"response.completed"' not in text
    return '"error"' in text.rstrip().rpartition("\n\n")[2] and "[DONE]" not in text


def cut_at(text, part):
    """The first part of a stream. Some versions of Gemini say in every chunk that it is the last: not here."""
    text = text.replace('"finishReason": "STOP"', '"avgLogprobs": 0')
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    return "\n\n".join(blocks[: max(1, int(len(blocks) * part))]) + "\n\n"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", STREAMS)
async def test_a_stream_that_ends_early_ends_with_an_error(stage, case):  # noqa: F811
    body, kind = as_sent(case, cut_at(load(case)["reply"]["stream"], 0.5))
    status, text = await answered(stage, case, body, content_type=kind)
    assert status == 200, text
    assert ends_with_an_error(case.split("/")[0], text), text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", STREAMS)
async def test_a_page_instead_of_a_stream_is_a_502(stage, case):  # noqa: F811
    for content_type in ("text/html", "application/json"):
        status, text = await answered(stage, case, HTML, content_type=content_type)
        assert status == 502
        told = json.loads(text)
        assert "message" in told or "message" in told["error"]
        assert "<html>" not in text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", STREAMS)
async def test_a_page_called_a_stream_is_an_error_too(stage, case):  # noqa: F811
    """Between two of the same format what comes is passed on as it is, until it turns out to be no whole stream."""
    _, kind = as_sent(case, "")
    status, text = await answered(stage, case, HTML, content_type=kind)
    assert status == 502 or ends_with_an_error(case.split("/")[0], text), text
    assert "<html>" not in text or load(case)["outcome"] == "kept"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", STREAMS)
async def test_a_page_with_an_error_status_keeps_the_status(stage, case):  # noqa: F811
    status, text = await answered(stage, case, HTML, status=502, content_type="text/html")
    assert status == 502
    assert "<html>" not in text
    json.loads(text)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", [case for case in STREAMS if PROVIDERS[case.split("/")[1]].get("frames")])
async def test_a_frame_with_a_bad_checksum_ends_the_stream_with_an_error(stage, case):  # noqa: F811
    data = bytearray(framed(load(case)["reply"]["stream"]))
    data[-5] ^= 1
    status, text = await answered(stage, case, bytes(data), content_type=eventstream.CONTENT_TYPE)
    assert status == 200
    assert ends_with_an_error(case.split("/")[0], text), text
