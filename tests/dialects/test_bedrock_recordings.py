"""Every recorded exchange with Bedrock's Converse: read, written again, and cut in every way."""

import base64
import contextlib
import copy
import json
import random

import botocore.session
import pytest
from botocore.validate import ParamValidator
from recordings import needs_recordings, recordings_of

from gateway import eventstream
from gateway.codec import Translation
from gateway.dialects.bedrock_codec import ConverseCodec
from gateway.dialects.bedrock_read import DIALECT
from gateway.errors import GatewayError, UpstreamCut
from gateway.exchange import Request, Target
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Tokens

pytestmark = needs_recordings

CODEC = ConverseCodec()
ALL = recordings_of("converse", "converse-stream")
PLAIN = [(name, rec) for name, rec in ALL if not rec["stream"] and rec["response"]["status"] == 200]
ERRORS = [(name, rec) for name, rec in ALL if rec["response"]["status"] >= 400]
STREAMS = [(name, rec) for name, rec in ALL if "body_base64" in rec["response"]]
JUNK = [None, True, -1, 2**63, 1.5, float("inf"), "", "x", [], [None], [[]], {}, {"a": 1}, "9" * 40]


class Provider:
    name = "bedrock"


def translation():
    made = Translation("req_0123456789ab0123456789abcdef")
    made.origin = DIALECT
    return made


def request_of(recording):
    body = recording["request"]["body"]
    cap = body.get("inferenceConfig", {}).get("maxTokens")
    return Request(b"", body, recording["model"], recording["stream"], max_output=cap)


def bytes_of(recording):
    response = recording["response"]
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"])
    return json.dumps(response["body"]).encode()


def ids(cases):
    return [name for name, _ in cases]


def same_request(body):
    """What may differ: the status `success` of a result is the default; a text that a guardrail looks at is text;
    adaptive thinking names its effort; empty lists and objects say nothing; a schema is the same JSON, not text; turns
    of one role that follow each other are one."""
    body = json.loads(json.dumps(body))
    joined = []
    for message in body["messages"]:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1]["content"] += message["content"]
        else:
            joined.append(message)
    body["messages"] = joined
    for message in body["messages"]:
        for number, block in enumerate(message["content"]):
            result = block.get("toolResult", {})
            if result.get("status") == "success":
                del result["status"]
            if "guardContent" in block:
                message["content"][number] = {"text": block["guardContent"]["text"]["text"]}
    if body.get("additionalModelRequestFields", {}).get("thinking", {}).get("type") == "adaptive":
        body.get("outputConfig", {}).pop("effort", None)
    config = body.get("inferenceConfig", {})
    if not config.get("stopSequences", True):
        del config["stopSequences"]
    text = body.get("outputConfig", {}).get("textFormat")
    if text:
        wanted = text["structure"]["jsonSchema"]
        wanted["schema"] = json.loads(wanted["schema"])
    for name in ("inferenceConfig", "outputConfig", "additionalModelRequestFields"):
        if body.get(name) == {}:
            del body[name]
    if body.get("system") == []:
        del body["system"]
    return body


def test_there_are_recordings_of_every_sort():
    assert len(PLAIN) > 8
    assert len(STREAMS) > 8
    assert len(ERRORS) > 2


@pytest.mark.parametrize(("name", "recording"), ALL, ids=ids(ALL))
def test_a_request_is_the_same_after_being_read_and_written(name, recording):
    """Exceptions are listed on `same_request`, each with its reason."""
    told = translation()
    written = CODEC.write_request(CODEC.read_request(request_of(recording)), Target(Provider(), recording["model"]), told)
    assert told.dropped == []
    assert same_request(written) == same_request(recording["request"]["body"])


def blobs(tree, name=""):
    """The JSON of a request as botocore's callers give it: bytes where the model says blob."""
    if isinstance(tree, dict):
        return {key: blobs(value, key) for key, value in tree.items()}
    if isinstance(tree, list):
        return [blobs(item) for item in tree]
    return base64.b64decode(tree) if name in ("bytes", "redactedContent") and isinstance(tree, str) else tree


@pytest.mark.parametrize(("name", "recording"), ALL, ids=ids(ALL))
def test_a_written_request_fits_amazons_own_model(name, recording):
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    written = CODEC.write_request(
        CODEC.read_request(request_of(recording)), Target(Provider(), recording["model"]), translation()
    )
    shape = model.operation_model("Converse").input_shape
    report = ParamValidator().validate({"modelId": recording["model"], **blobs(written)}, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(("name", "recording"), PLAIN, ids=ids(PLAIN))
def test_a_reply_is_the_same_after_being_read_and_written(name, recording):
    """But for what only says how the service worked: latency, traces, counts under a second name."""
    answer = CODEC.read_reply(bytes_of(recording), translation())
    written = json.loads(CODEC.write_reply(answer, None, translation()))
    recorded = recording["response"]["body"]
    content = [
        # A citation without content is written with the empty text that it was read with.
        {"citationsContent": {"content": [{"text": ""}], **block["citationsContent"]}} if "citationsContent" in block else block
        for block in recorded["output"]["message"]["content"]
    ]
    got = written["output"]["message"]["content"]
    assert [neutral(block) for block in got] == [neutral(block) for block in content]
    if recorded["stopReason"] != "guardrail_intervened":  # there is one word for withheld answers
        assert written["stopReason"] == recorded["stopReason"]
    for key in ("inputTokens", "outputTokens", "totalTokens"):
        assert written["usage"][key] == recorded["usage"][key]
    for key in ("cacheReadInputTokens", "cacheWriteInputTokens"):
        assert written["usage"].get(key, 0) == recorded["usage"].get(key, 0)


def neutral(block):
    block = json.loads(json.dumps(block))
    for cited in block.get("citationsContent", {}).get("citations", []):
        cited.pop("title", None)
    return block


@pytest.mark.parametrize(("name", "recording"), ERRORS, ids=ids(ERRORS))
def test_an_error_is_read(name, recording):
    response = recording["response"]
    told = CODEC.failure(response["status"], response["headers"], bytes_of(recording))
    expected = {"ValidationException": "invalid_request", "UnrecognizedClientException": "authentication", None: "invalid_request"}
    assert told.kind == expected[told.code]
    assert told.message == response["body"]["message"]


def pieces_of(data, cuts):
    """The pieces of a stream whose bytes come cut at `cuts`."""
    reader = CODEC.reader(translation())
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found.extend(reader.feed(data[start:end]))
    return found + reader.end()


@pytest.mark.parametrize(("name", "recording"), STREAMS, ids=ids(STREAMS))
def test_a_stream_reads_the_same_however_its_bytes_are_cut(name, recording):
    data = bytes_of(recording)
    whole = pieces_of(data, [])
    assert isinstance(whole[0], Begin)
    assert isinstance(whole[-1], Over)
    assert any(isinstance(piece, Tokens) for piece in whole)
    dice = random.Random(name)
    for cut in range(0, len(data), max(1, len(data) // 150)):
        assert pieces_of(data, [cut]) == whole
    assert pieces_of(data[:4000] + data[4000:], list(range(1, len(data), 7))) == whole
    for _ in range(10):
        cuts = sorted(dice.sample(range(1, len(data)), min(30, len(data) - 1)))
        assert pieces_of(data, cuts) == whole


@pytest.mark.parametrize(("name", "recording"), STREAMS, ids=ids(STREAMS))
def test_the_parts_of_a_stream_begin_and_end_in_order(name, recording):
    open_part, last, ended = None, -1, False
    for piece in pieces_of(bytes_of(recording), []):
        if isinstance(piece, PartBegin):
            assert open_part is None
            assert piece.part == last + 1
            open_part = last = piece.part
        elif isinstance(piece, Delta):
            assert piece.part == open_part
        elif isinstance(piece, PartEnd):
            assert piece.part == open_part
            open_part = None
        elif isinstance(piece, ChoiceEnd):
            assert open_part is None
            ended = True
    assert ended


@pytest.mark.parametrize(("name", "recording"), STREAMS, ids=ids(STREAMS))
def test_a_stream_written_for_a_client_says_the_same(name, recording):
    whole = pieces_of(bytes_of(recording), [])
    writer = CODEC.writer(None, translation())
    again = pieces_of(b"".join(writer.feed(piece) for piece in whole), [])
    assert said(again) == said(whole)


def said(pieces):
    """What a stream says in the end: its parts, its finish and its tokens."""
    parts, ends, usage = {}, [], None
    for piece in pieces:
        if isinstance(piece, PartBegin):
            parts[piece.part] = [piece.kind, piece.name, piece.value, piece.signature, ""]
        elif isinstance(piece, Delta):
            parts[piece.part][3] += piece.signature
            parts[piece.part][4] += piece.text
        elif isinstance(piece, ChoiceEnd):
            ends.append(piece.reason)
        elif isinstance(piece, Tokens):
            usage = (piece.usage.input, piece.usage.output, piece.usage.cached, piece.usage.cache_write)
    return list(parts.values()), ends, usage


@pytest.mark.parametrize(("name", "recording"), STREAMS, ids=ids(STREAMS))
def test_a_damaged_or_short_stream_is_an_error_of_the_upstream(name, recording):
    data = bytes_of(recording)
    dice = random.Random(name)
    for _ in range(20):
        damaged = bytearray(data)
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        with pytest.raises(UpstreamCut):
            pieces_of(bytes(damaged), [])
    records = eventstream.split(data)
    for end in (len(records[0]), sum(map(len, records[:-2])), len(data) - 1):
        with pytest.raises(UpstreamCut):
            pieces_of(data[:end], [])


@pytest.mark.parametrize(("name", "recording"), ALL, ids=ids(ALL))
def test_mutated_recordings_raise_errors_of_the_tree_only(name, recording):
    dice = random.Random(name)
    for _ in range(60):
        body = mutated(recording["request"]["body"], dice)
        with contextlib.suppress(GatewayError):
            asked = CODEC.read_request(Request(b"", body if isinstance(body, dict) else {}, "m"))
            CODEC.write_request(asked, Target(Provider(), "anthropic.claude-sonnet-4-6"), translation())
        if "body_base64" in recording["response"]:
            frames = [eventstream.read(record) for record in eventstream.split(bytes_of(recording))]
            changed = dice.randrange(len(frames))
            data = b"".join(
                eventstream.write(
                    json.dumps(mutated(json.loads(frame.payload), dice)).encode() if at == changed else frame.payload,
                    frame.headers,
                )
                for at, frame in enumerate(frames)
            )
        else:
            data = json.dumps(mutated(recording["response"]["body"], dice)).encode()
        told = translation()
        with contextlib.suppress(GatewayError):
            writer = CODEC.writer(None, told)
            reader = CODEC.reader(told)
            for piece in reader.feed(data) + reader.end():
                writer.feed(piece)
        with contextlib.suppress(GatewayError):
            CODEC.write_reply(CODEC.read_reply(data, told), None, told)
        CODEC.failure(400, {}, data)


def mutated(tree, dice):
    """A copy with one to three values replaced."""
    tree = json.loads(json.dumps(tree))
    for _ in range(dice.randint(1, 3)):
        holder = tree
        while isinstance(holder, dict | list) and holder:
            key = dice.choice(list(holder)) if isinstance(holder, dict) else dice.randrange(len(holder))
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner or dice.random() < 0.2:
                holder[key] = copy.deepcopy(dice.choice(JUNK))
                break
            holder = inner
    return tree
