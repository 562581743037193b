"""Real requests, replies and streams through the codecs: what is read and written again says the same.

What must differ is listed here, each with its reason.
"""

import json
import random
from types import SimpleNamespace

import pytest
from recordings import is_stream, needs_recordings, recordings_of, wire_body

from gateway.codec import Translation
from gateway.conversation import Reasoning
from gateway.dialects.anthropic import Messages
from gateway.dialects.codecs import codec
from gateway.dialects.openai_chat import Chat
from gateway.dialects.responses import Responses
from gateway.dialects.written import effort_of
from gateway.errors import GatewayError, InvalidRequest
from gateway.exchange import Target
from gateway.pieces import ChoiceEnd, Delta, Fail, Over, PartBegin, PartEnd

pytestmark = needs_recordings

DIALECTS = {"anthropic.messages": Messages(), "openai.chat": Chat(), "openai.responses": Responses()}
ENDPOINTS = {"anthropic.messages": ("messages", "messages.count_tokens", "rawPredict", "streamRawPredict"), "openai.chat": ("chat.completions",), "openai.responses": ("responses",)}
ALL = {(dialect, case): recording for dialect, names in ENDPOINTS.items() for case, recording in recordings_of(*names)}
REQUESTS = [
    key for key, recording in ALL.items()
    if isinstance(recording["request"]["body"], dict) and not {"messages", "input"}.isdisjoint(recording["request"]["body"])
]
REPLIES = [key for key, recording in ALL.items() if recording["response"]["status"] == 200 and not is_stream(recording) and recording["endpoint"] != "rawPredict"]
REPLIES = [key for key in REPLIES if ALL[key]["endpoint"] in ("messages", "chat.completions", "responses") and isinstance(ALL[key]["response"].get("body"), dict)]
STREAMS = [key for key, recording in ALL.items() if recording["response"]["status"] == 200 and is_stream(recording)]
# Requests that the services refuse too.
REFUSED = {
    "anthropic.messages.anthropic-completion-error.01801ec0",  # a message without a role
    "azure.chat.completions.rec.9d24027d", "openai.chat.completions.rec.0b5f129c",  # an image that is no base64
    "openai.chat.completions.custom-llm-within-crew.ca1a10c4",  # messages where parts belong
}
# A stream that ends in the middle, or with an error.
NOT_WHOLE = {
    "groq.chat.completions.stream.tool-use-failed-error-streaming-with-text.917a4368",
    "openai.responses.stream.openai-error-1.2f389dd3",
}
# What only a service that keeps responses can do.
KEPT = {"openai.responses.stream.background-mode-streaming-continuation-vcr.eb164daf"}


def asked(dialect, body):
    body = {"model": "m", **body}
    raw = json.dumps(body).encode()
    return DIALECTS[dialect].decode(raw, body)


def target(body, **takes):
    provider = SimpleNamespace(name="same", takes=frozenset(takes))
    return Target(provider, body.get("model", "m"))


@pytest.mark.parametrize("key", [key for key in REQUESTS if key[1] not in REFUSED | KEPT], ids=lambda key: key[1])
def test_a_request_says_the_same_when_written_again(key):
    dialect, _ = key
    body = ALL[key]["request"]["body"]
    both = codec(dialect)
    conversation = both.read_request(asked(dialect, body))
    takes = {"max_tokens": True} if "max_tokens" in body and dialect == "openai.chat" else {}
    names = ("reasoning", "reasoning_content", "reasoning_details")
    takes |= {name: True for message in body.get("messages", ()) for name in names if name in message}
    translation = Translation("req")
    written = both.write_request(conversation, target(body, **takes), translation)
    assert NORMAL[dialect](json.loads(json.dumps(written)), body) == NORMAL[dialect](json.loads(json.dumps(body)), body)
    assert translation.dropped == []


def normal_chat(body, given):
    """Forms that mean the same: a lone text part and its string, absent and null or empty, older and newer names."""
    body.setdefault("model", "m")
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            content = [part for part in content if part]
            if content and all(set(part) == {"type", "text"} and part["type"] == "text" for part in content) and (len(content) == 1 or message["role"] in ("tool", "assistant")):
                message["content"] = ("\n" if message["role"] == "tool" else "").join(part["text"] for part in content)
        if message.get("content") in ("", None):
            message.pop("content", None)
        for name in ("tool_calls", "refusal", "annotations", "audio", "function_call", "name"):
            if not message.get(name):
                message.pop(name, None)
        if message["role"] == "tool":
            message.pop("name", None)
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            for name in [name for name, value in part.items() if value is None]:
                del part[name]
        if message.get("reasoning_content") == message.get("reasoning"):
            message.pop("reasoning", None)
        for call in message.get("tool_calls", ()):
            call.pop("index", None)
            if "function" not in call:
                continue
            call["function"]["arguments"] = call["function"].get("arguments") or "{}"
        if "reasoning_details" in message:
            message.pop("reasoning", None)
            message.pop("reasoning_content", None)
            for detail in message["reasoning_details"]:
                for name in ("index", "format", "id"):
                    detail.pop(name, None)
        message.pop("annotations", None)
    if isinstance(body.get("thinking"), dict):
        body.pop("thinking")
        body.setdefault("reasoning_effort", "medium")
    for tool in body.get("tools") or ():
        if isinstance(tool.get("function"), dict):
            tool.pop("name", None)  # one client repeats it there
            tool["function"] = {name: value for name, value in tool["function"].items() if value not in (None, "")}
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    if (body.get("response_format") or {}).get("type") == "text":
        body.pop("response_format")
    if body.get("stream") and isinstance(given.get("stream_options"), dict) is False:
        body.pop("stream_options", None)
    if body.get("stream") is False:
        body.pop("stream")
    if body.get("n") == 1:
        body.pop("n")
    if body.get("functions"):  # the older form of tools is written in the newer one
        body["tools"] = [{"type": "function", "function": function} for function in body.pop("functions")]
        if "function_call" in body:
            choice = body.pop("function_call")
            body["tool_choice"] = {"type": "function", "function": choice} if isinstance(choice, dict) else choice
    if isinstance(body.get("reasoning"), dict):  # another form of the same wish
        reasoning = body.pop("reasoning")
        body["reasoning_effort"] = reasoning.get("effort") or effort_of(Reasoning(budget=reasoning.get("max_tokens"))) or "medium"
    return {name: value for name, value in body.items() if value not in (None, [], {}, False)}


def normal_messages(body, given):
    """Forms that mean the same: a lone text block and its string, turns of one role joined, results before the rest."""
    turns = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            if block["type"] == "thinking":
                block.setdefault("signature", "")
            if block["type"] == "tool_result":
                inner = block.get("content")
                if isinstance(inner, str):
                    block["content"] = [{"type": "text", "text": inner}]
                if not block.get("is_error"):
                    block.pop("is_error", None)
                if not block.get("content"):
                    block.pop("content", None)
            if block["type"] == "tool_use":
                block.pop("caller", None)  # who called a tool has no place in the common form
            for name in ("citations", "cache_control"):
                if not block.get(name) or block[name] == {"enabled": False}:
                    block.pop(name, None)
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message["role"], "content": list(blocks)})
    for turn in turns:
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    body["messages"] = turns
    if isinstance(body.get("system"), list) and all(set(block) == {"type", "text"} for block in body["system"]) and len(body["system"]) == 1:
        body["system"] = body["system"][0]["text"]
    for tool in body.get("tools", ()):
        if tool.get("type") == "custom":
            del tool["type"]
        if tool.get("description") == "":
            del tool["description"]
    body.setdefault("model", "m")
    if "max_tokens" not in given:  # counting tokens needs none
        body.pop("max_tokens", None)
    return {name: value for name, value in body.items() if value not in (None, [], {}, False, "")}


def normal_responses(body, given):
    """Forms that mean the same: text and its list of one, items with and without `type`, ids and states of items."""
    body.setdefault("model", "m")
    if instructions := body.pop("instructions", None):
        body["input"] = [{"role": "system", "content": instructions}, *turns_of(body["input"])]
    items = []
    for item in turns_of(body["input"]):
        item = {name: value for name, value in item.items() if value is not None and name not in ("status", "phase")}
        if item.get("type", "message") == "message":
            item.pop("type", None)
            item.pop("id", None)
            if isinstance(item["content"], str):
                kind = "output_text" if item["role"] == "assistant" else "input_text"
                item["content"] = [{"type": kind, "text": item["content"]}]
            for part in item["content"]:
                for name in ("annotations", "logprobs", "prompt_cache_breakpoint"):
                    part.pop(name, None)
                if part["type"] == "input_image":
                    part.setdefault("detail", "auto")
        if item.get("type") in ("function_call", "message"):
            item.pop("id", None)
        if item.get("type") == "reasoning" and item.get("encrypted_content"):
            item.pop("content", None)  # the encrypted text says the same
        items.append(item)
    body["input"] = items
    for tool in body.get("tools") or ():
        if not tool.get("description"):
            tool.pop("description", None)
        if not given.get("store"):
            body.pop("store", None)
    body.pop("store", None) if not given.get("store") else None
    if body.get("parallel_tool_calls") and not body.get("tools"):
        body.pop("parallel_tool_calls")
    if body.get("truncation") == "disabled":
        body.pop("truncation")
    if (body.get("text") or {}).get("format") == {"type": "text"}:
        body["text"].pop("format")
    if isinstance(body.get("reasoning"), dict):
        body["reasoning"] = {name: value for name, value in body["reasoning"].items() if value is not None}
    include = [name for name in body.pop("include", None) or () if name != "reasoning.encrypted_content"]
    body["include"] = sorted(include)
    return {name: value for name, value in body.items() if value not in (None, [], {}, False)}


def turns_of(given):
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


NORMAL = {"openai.chat": normal_chat, "anthropic.messages": normal_messages, "openai.responses": normal_responses}


@pytest.mark.parametrize("key", REPLIES, ids=lambda key: key[1])
def test_a_reply_says_the_same_when_written_again(key):
    dialect, _ = key
    data = wire_body(ALL[key]["response"])
    both, translation = codec(dialect), Translation("req")
    translation.origin = dialect
    answer = both.read_reply(data, translation)
    written = json.loads(both.write_reply(answer, SimpleNamespace(), translation))
    given = json.loads(data)
    assert written["id"] == (given.get("id") or written["id"])
    assert written["model"] == given["model"]
    SAID[dialect](given, written)


def said_chat(given, written):
    for one, other in zip(given["choices"], written["choices"], strict=True):
        message, again = one["message"], other["message"]
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        assert content == (again["content"] or "")
        assert (message.get("refusal") or None) == again["refusal"]
        calls = called(message)
        assert [call[1:] for call in calls] == [call[1:] for call in called(again)]
        assert all(one == other or not one for (one, *_), (other, *_) in zip(calls, called(again), strict=True))
        reason = one["finish_reason"]
        assert other["finish_reason"] == ("tool_calls" if calls else {"eos": "stop", "function_call": "tool_calls"}.get(reason, reason))
        assert one.get("logprobs") == other["logprobs"]
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        assert thought == again.get("reasoning_content", "") or message.get("reasoning_details") or type(message["content"]) is list


def called(message):
    """(id, name, arguments) of each function called, in the older form too."""
    found = [(call["id"], call["function"]["name"], call["function"]["arguments"] or "{}") for call in message.get("tool_calls") or () if "function" in call]
    if message.get("function_call"):
        found.append(("", message["function_call"]["name"], message["function_call"]["arguments"]))
    return found


def said_messages(given, written):
    def plain(blocks):
        kept = []
        for block in blocks:
            block = {name: value for name, value in block.items() if name != "caller" and value is not None}
            if "citations" in block:
                block["citations"] = len(block["citations"])
            kept.append(block)
        return kept

    assert plain(given["content"]) == plain(written["content"])
    assert written["stop_reason"] == given["stop_reason"]
    assert written["stop_sequence"] == given["stop_sequence"]
    for name in ("input_tokens", "output_tokens"):
        assert written["usage"][name] == given["usage"][name]
    for name in ("cache_read_input_tokens", "cache_creation_input_tokens"):
        assert written["usage"][name] == given["usage"].get(name, 0)


def said_responses(given, written):
    def plain(item):
        kept = {name: value for name, value in item.items() if name not in ("id", "phase", "namespace") and value is not None}
        if item["type"] == "reasoning":
            texts = [part["text"] for part in item["summary"]] or [part["text"] for part in item.get("content") or ()]
            return {"type": "reasoning", "text": "\n\n".join(texts), "sealed": item.get("encrypted_content") or ""}
        if item["type"] == "function_call":
            return {name: kept[name] for name in ("type", "call_id", "name", "arguments")}
        if item["type"] == "message":
            return [
                (part["type"], part.get("text") or part.get("refusal"), part.get("logprobs") or [],
                 [note["type"] for note in part.get("annotations") or ()])
                for part in item["content"]
            ]
        return kept

    assert [plain(item) for item in given["output"]] == [plain(item) for item in written["output"]]
    assert (written["status"], written["incomplete_details"]) == (given["status"], given.get("incomplete_details"))
    for name in ("input_tokens", "output_tokens"):
        assert written["usage"][name] == given["usage"][name]


SAID = {"openai.chat": said_chat, "anthropic.messages": said_messages, "openai.responses": said_responses}


def pieces_of(dialect, chunks):
    reader = codec(dialect).reader(Translation("req"))
    out = []
    for chunk in chunks:
        out += reader.feed(chunk)
    return [*out, *reader.end()]


def cut(data, dice, most):
    at, found = 0, []
    while at < len(data):
        size = dice.randint(1, most)
        found.append(data[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("key", STREAMS, ids=lambda key: key[1])
def test_a_stream_reads_the_same_at_every_split(key):
    """Whole, byte by byte (each split there is), and cut at random."""
    dialect, case = key
    data = wire_body(ALL[key]["response"])
    whole = pieces_of(dialect, [data])
    assert whole
    whole = comparable(whole)
    assert comparable(pieces_of(dialect, [data[at : at + 1] for at in range(len(data))])) == whole
    dice = random.Random(case)
    for most in (2, 5, 40, 700, 5000):
        assert comparable(pieces_of(dialect, cut(data, dice, most))) == whole


def comparable(pieces):
    """Pieces with errors as their texts: two errors are never equal."""
    return [str(piece.error) if isinstance(piece, Fail) else piece for piece in pieces]


@pytest.mark.parametrize("key", [key for key in STREAMS if key[1] not in NOT_WHOLE], ids=lambda key: key[1])
def test_the_pieces_of_a_stream_are_well_formed(key):
    """Parts are numbered in order, begin before they speak, end before the choice does, and the reply ends."""
    dialect, _ = key
    pieces = pieces_of(dialect, [wire_body(ALL[key]["response"])])
    assert isinstance(pieces[-1], Over)
    for choice in {piece.choice for piece in pieces if isinstance(piece, PartBegin)}:
        open_, number, ended = None, 0, False
        for piece in pieces:
            if getattr(piece, "choice", None) != choice:
                continue
            assert not ended
            if isinstance(piece, PartBegin):
                assert (open_, piece.part) == (None, number)
                open_, number = piece.part, number + 1
            elif isinstance(piece, Delta):
                assert piece.part == open_
            elif isinstance(piece, PartEnd):
                assert piece.part == open_
                open_ = None
            elif isinstance(piece, ChoiceEnd):
                ended = True
        assert ended
        assert open_ is None


@pytest.mark.parametrize("client", ["openai.chat", "anthropic.messages", "openai.responses"])
@pytest.mark.parametrize("key", [key for key in STREAMS if key[1] not in NOT_WHOLE], ids=lambda key: key[1])
def test_a_stream_says_the_same_in_either_dialect(key, client):
    """Read, written for a client of either dialect, and read again: the same texts, calls, reasons and usage."""
    dialect, _ = key
    pieces = pieces_of(dialect, [wire_body(ALL[key]["response"])])
    translation = Translation("req")
    translation.origin = dialect
    writer = codec(client).writer(SimpleNamespace(include_usage=True), translation)
    again = pieces_of(client, [b"".join(writer.feed(piece) for piece in pieces)])
    first_only = client != "openai.chat"
    assert spoken(again, first_only) == spoken(pieces, first_only)


def spoken(pieces, first_only):
    """What a stream says: the texts by kind, the calls, and the reason of each choice."""
    said, kinds = {}, {}
    for piece in pieces:
        choice = getattr(piece, "choice", 0)
        if first_only and choice:
            continue
        if isinstance(piece, PartBegin):
            kinds[choice, piece.part] = piece.kind if piece.kind != "refusal" else "text"
            if piece.kind == "call":
                said.setdefault((choice, "calls"), []).append([piece.id, piece.name, ""])
        elif isinstance(piece, Delta) and piece.text:
            kind = kinds[choice, piece.part]
            if kind == "call":
                said[choice, "calls"][-1][2] += piece.text
            else:
                said[choice, kind] = said.get((choice, kind), "") + piece.text
        elif isinstance(piece, ChoiceEnd):
            reason = {"stop_sequence": "stop", "refusal": "content_filter", "pause": "stop"}.get(piece.reason, piece.reason)
            said[choice, "reason"] = reason if not (reason == "content_filter" and piece.raw_reason == "stop") else "stop"
    return said


@pytest.mark.parametrize("key", REQUESTS[::3] + STREAMS[::3] + REPLIES[::3], ids=lambda key: key[1])
def test_mutated_recordings_end_in_errors_of_the_tree_only(key):
    """Bytes and values changed at random: a reader raises an error of the tree, or reads; never anything else."""
    dialect, case = key
    both, dice = codec(dialect), random.Random(case)
    recording = ALL[key]
    data = wire_body(recording["response"])
    for _ in range(30):
        changed = mutated(data, dice)
        attempt(lambda: both.read_reply(changed, Translation("r")))  # noqa: B023
        attempt(lambda: pieces_of(dialect, cut(changed, dice, 3000)))  # noqa: B023
        attempt(lambda: both.failure(500, {}, changed))  # noqa: B023
        if isinstance(recording["request"]["body"], dict):
            body = twisted(recording["request"]["body"], dice)
            attempt(lambda: both.write_request(both.read_request(asked(dialect, body)), target(body), Translation("r")))  # noqa: B023
            for other in DIALECTS:
                attempt(lambda: codec(other).write_request(both.read_request(asked(dialect, body)), Target(SimpleNamespace(name="x"), "m"), Translation("r")))  # noqa: B023


def attempt(call):
    try:
        call()
    except GatewayError as error:
        assert error.message  # noqa: PT017


def mutated(data, dice):
    changed = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(changed) or 1)
        kind = dice.randrange(4)
        if kind == 0 and changed:
            changed[at] = dice.randrange(256)
        elif kind == 1:
            del changed[at : at + dice.randrange(1, 40)]
        elif kind == 2:
            changed[at:at] = dice.choice([b"null", b"[]", b"{}", b'"', b"\n\n", b"1e999", b"-1", b"\xff", b"true"])
        else:
            end = at + dice.randrange(1, 400)
            changed[at:at] = changed[at:end]
    return bytes(changed)


def twisted(value, dice, depth=0):
    """A value of another type in random places."""
    if dice.random() < 0.02 and depth:
        return dice.choice([None, 7, -1, 1.5, "", "x", [], {}, [[]], [{}], {"type": "text"}, True])
    if isinstance(value, dict):
        return {name: twisted(item, dice, depth + 1) for name, item in value.items() if dice.random() > 0.01}
    if isinstance(value, list):
        return [twisted(item, dice, depth + 1) for item in value]
    return value


@pytest.mark.parametrize("key", [key for key in REQUESTS if key[1] in REFUSED], ids=lambda key: key[1])
def test_what_the_services_refused_is_refused_here_too(key):
    assert ALL[key]["response"]["status"] == 400
    with pytest.raises(InvalidRequest) as refusal:
        codec(key[0]).read_request(asked(key[0], ALL[key]["request"]["body"]))
    assert refusal.value.param.startswith("messages")
