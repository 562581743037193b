"""Every recorded exchange with Gemini's models: read, written again, and cut in every way."""

import contextlib
import copy
import json
import random

import pytest
from geminis import recordings, same_reply, same_request
from recordings import needs_recordings

from gateway.codec import Translation
from gateway.dialects.gemini_codec import GeminiCodec
from gateway.dialects.gemini_fields import NAME
from gateway.errors import GatewayError, InvalidRequest
from gateway.exchange import Request, Target
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Tokens

pytestmark = needs_recordings

CODEC = GeminiCodec()
ALL = recordings("generateContent", "streamGenerateContent")
INVALID = {"gemini.generateContent.generate-content-invalid-role.3f9be47b"}  # its role is the mistake it shows
PLAIN = [(name, rec) for name, rec in ALL if not rec["stream"] and rec["response"]["status"] == 200]
ERRORS = [(name, rec) for name, rec in ALL if rec["response"]["status"] >= 400]
STREAMS = [(name, rec) for name, rec in ALL if rec["stream"]]


class Provider:
    name = "gemini"


def translation():
    made = Translation("req_0123456789ab0123456789abcdef")
    made.origin = NAME
    return made


def request_of(recording):
    return Request(b"", recording["request"]["body"], recording["model"], recording["stream"])


def bytes_of(recording):
    response = recording["response"]
    return response["body_text"].encode() if response.get("body_text") else json.dumps(response["body"]).encode()


def ids(cases):
    return [name for name, _ in cases]


def test_there_are_recordings_of_every_sort():
    assert len(PLAIN) > 8
    assert len(STREAMS) > 10
    assert len(ERRORS) > 4


@pytest.mark.parametrize(("name", "recording"), ALL, ids=ids(ALL))
def test_a_request_is_the_same_after_being_read_and_written(name, recording):
    """Exceptions are listed on `same_request`, each with its reason."""
    if name in INVALID:
        with pytest.raises(InvalidRequest, match="valid role"):
            CODEC.read_request(request_of(recording))
        return
    told = translation()
    written = CODEC.write_request(CODEC.read_request(request_of(recording)), Target(Provider(), recording["model"]), told)
    assert told.dropped == []
    assert same_request(written) == same_request(recording["request"]["body"])


@pytest.mark.parametrize(("name", "recording"), PLAIN, ids=ids(PLAIN))
def test_a_reply_is_the_same_after_being_read_and_written(name, recording):
    told = translation()
    answer = CODEC.read_reply(bytes_of(recording), told)
    asked = CODEC.read_request(request_of(recording))
    written = json.loads(CODEC.write_reply(answer, asked, told))
    recorded = json.loads(json.dumps(recording["response"]["body"]))
    assert same_reply(written) == same_reply(recorded)


@pytest.mark.parametrize(("name", "recording"), ERRORS, ids=ids(ERRORS))
def test_an_error_is_read(name, recording):
    response = recording["response"]
    told = CODEC.failure(response["status"], response["headers"], bytes_of(recording))
    expected = {400: "invalid_request", 403: "authentication", 404: "not_found", 429: "rate_limit"}
    assert told.kind == expected[response["status"]]
    assert told.message == response["body"]["error"]["message"]
    assert told.code == response["body"]["error"]["status"]


def pieces_of(data, cuts):
    """The pieces of a stream whose bytes come cut at `cuts`; texts of one part joined, as they are cut alike."""
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
    dice = random.Random(name)
    step = max(1, len(data) // 400)
    for cut in range(0, len(data), step):
        assert pieces_of(data, [cut]) == whole
    assert pieces_of(data, list(range(1, len(data)))) == whole
    for _ in range(20):
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
    """Read, written for a client, and read again: the same pieces, though not in the same chunks."""
    for array in (False, True):
        writer = type(CODEC).writer(CODEC, None, translation())
        writer._array = array
        whole = pieces_of(bytes_of(recording), [])
        out = b"".join(writer.feed(piece) for piece in whole)
        assert said(pieces_of(out, [])) == said(whole)


def said(pieces):
    """What a stream says in the end: its parts, its finish and its tokens. Citations are told apart from the text."""
    parts, ends, usage = {}, [], None
    for piece in pieces:
        if isinstance(piece, PartBegin):
            parts[piece.part] = [piece.kind, piece.name, piece.value, piece.signature, ""]
        elif isinstance(piece, Delta):
            parts[piece.part][3] += piece.signature
            parts[piece.part][4] += piece.text
        elif isinstance(piece, ChoiceEnd):
            ends.append((piece.reason, piece.raw_reason))
        elif isinstance(piece, Tokens):
            usage = (piece.usage.input, piece.usage.output, piece.usage.cached, piece.usage.reasoning)
    return list(parts.values()), ends, usage


@pytest.mark.parametrize(("name", "recording"), ALL, ids=ids(ALL))
def test_mutated_recordings_raise_errors_of_the_tree_only(name, recording):
    dice = random.Random(name)
    for _ in range(60):
        body = mutated(recording["request"]["body"], dice)
        try:
            conversation = CODEC.read_request(Request(b"", body if isinstance(body, dict) else {}, "gemini-2.5-pro"))
            CODEC.write_request(conversation, Target(Provider(), "gemini-3-flash"), translation())
        except GatewayError:
            pass
        damaged = bytearray(bytes_of(recording))
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.choice(b'{}[],:"\\0 x\xff\r\n')
        reply = mutated(recording["response"].get("body") or {}, dice)
        for data in (bytes(damaged), json.dumps(reply).encode(), b"data: " + json.dumps(reply).encode() + b"\r\n\r\n"):
            read_anyhow(data)


def read_anyhow(data):
    told = translation()
    try:
        reader = CODEC.reader(told)
        writer = CODEC.writer(None, told)
        for piece in reader.feed(data) + reader.end():
            writer.feed(piece)
    except GatewayError:
        pass
    with contextlib.suppress(GatewayError):
        CODEC.write_reply(CODEC.read_reply(data, told), None, told)
    CODEC.failure(400, {}, data)


JUNK = [None, True, -1, 2**63, 1.5, float("inf"), "", "x", [], [None], [[]], {}, {"a": 1}, "9" * 40]


def mutated(tree, dice):
    """A copy with one to three values replaced or taken away."""
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
