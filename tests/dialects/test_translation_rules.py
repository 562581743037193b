"""What the codecs of OpenAI chat and Anthropic Messages do where formats, servers and models differ."""

import json
from types import SimpleNamespace

import pytest

from gateway.codec import Translation, safe_id, status_of
from gateway.dialects.anthropic import Messages
from gateway.dialects.codecs import codec
from gateway.dialects.openai_chat import Chat
from gateway.errors import InvalidRequest, UpstreamCut
from gateway.exchange import Target
from gateway.pieces import ChoiceEnd, Delta, Fail, Over, PartBegin, Tokens

CHAT, CLAUDE = codec("openai.chat"), codec("anthropic.messages")
DIALECTS = {"openai.chat": Chat(), "anthropic.messages": Messages()}
USER = {"role": "user", "content": "Hi"}


def translated(to, body, *, client="openai.chat", model="claude-haiku-4-5", most=None, **provider):
    """The body for a target, and the translation."""
    body = {"model": "m", **body}
    request = DIALECTS[client].decode(json.dumps(body).encode(), body)
    translation = Translation("req")
    target = Target(SimpleNamespace(name="target", **provider), model, max_output=most)
    return codec(to).write_request(codec(client).read_request(request), target, translation), translation


def for_claude(model="claude-haiku-4-5", most=None, **body):
    return translated("anthropic.messages", {"messages": [USER], **body}, model=model, most=most)


def read(*chunks, tags=False, done=True):
    """The pieces of a stream of chunks in OpenAI's format."""
    translation = Translation("req")
    translation.think_tags = tags
    reader = CHAT.reader(translation)
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return reader.feed(data + (b"data: [DONE]\n\n" if done else b"")) + reader.end()


def chunk(delta, finish=None, **fields):
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def calls(pieces):
    found = []
    for piece in pieces:
        if isinstance(piece, PartBegin) and piece.kind == "call":
            found.append([piece.id, piece.name, ""])
        elif isinstance(piece, Delta) and found and piece.text:
            found[-1][2] += piece.text
    return found


def function(name="f", arguments=None, **fields):
    return {"type": "function", "function": {"name": name, **({} if arguments is None else {"arguments": arguments})}, **fields}


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        # whole arguments in one fragment, no index
        ([[function(arguments='{"a":1}', id="x")], [function("g", "{}", id="y")]], [["x", "f", '{"a":1}'], ["y", "g", "{}"]]),
        # one server numbers every call 0
        ([[function(arguments="{}", id="x", index=0), function("g", "{}", id="y", index=0)]], [["x", "f", "{}"], ["y", "g", "{}"]]),
        # the first fragment has no arguments, none ever come
        ([[function(id="x", index=0)]], [["x", "f", "{}"]]),
        # arguments as an object
        ([[function(arguments={"a": 1}, id="x", index=0)]], [["x", "f", '{"a":1}']]),
        # the id comes again with each fragment
        ([[function(arguments="{", id="x", index=0)], [{"index": 0, "id": "x", "function": {"arguments": "}"}}]], [["x", "f", "{}"]]),
    ],
)
def test_calls_are_read_however_servers_number_them(deltas, expected):
    pieces = read(*[chunk({"tool_calls": delta}) for delta in deltas], chunk({}, "stop"))
    assert calls(pieces) == expected
    assert [piece.reason for piece in pieces if isinstance(piece, ChoiceEnd)] == ["tool_calls"]


def test_a_call_without_an_id_gets_one_and_mixed_calls_are_refused():
    ((id_, name, _),) = calls(read(chunk({"tool_calls": [function(index=0)]}, "tool_calls")))
    assert id_.startswith("call_req")
    assert name == "f"
    first, second = function(id="x", index=0), function("g", id="y", index=1)
    with pytest.raises(UpstreamCut, match="mixed"):
        read(chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}), chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}))


def test_a_stream_without_its_end_mark_is_complete_when_every_choice_is():
    assert isinstance(read(chunk({"content": "a"}, "stop"), done=False)[-1], Over)
    with pytest.raises(UpstreamCut):
        read(chunk({"content": "a"}), done=False)
    with pytest.raises(UpstreamCut):
        read(done=False)


def test_usage_is_read_wherever_it_stands():
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    for chunks in ([chunk({"content": "a"}, "stop", usage=usage)], [chunk({"content": "a"}, "stop"), {"choices": [], "usage": usage}]):
        (told,) = [piece.usage for piece in read(*chunks) if isinstance(piece, Tokens)]
        assert (told.input, told.output) == (5, 2)


def test_reasoning_in_both_fields_is_read_once():
    pieces = read(chunk({"reasoning": "hm", "reasoning_content": "hm"}), chunk({"content": "a"}, "stop"))
    assert [(piece.part, piece.text) for piece in pieces if isinstance(piece, Delta)] == [(0, "hm"), (1, "a")]


@pytest.mark.parametrize("size", [1, 3, 200])
def test_think_tags_are_reasoning_only_where_configured(size):
    text = "<think>\nLet me see.</think>\n\nIt is <think> 4."
    chunks = [chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    said = {0: "", 1: ""}
    for piece in read(*chunks, chunk({}, "stop"), tags=True):
        if isinstance(piece, Delta):
            said[piece.part] += piece.text
    assert said == {0: "\nLet me see.", 1: "It is <think> 4."} or said == {0: "\nLet me see.", 1: "\n\nIt is <think> 4."}
    plain = "".join(piece.text for piece in read(*chunks, chunk({}, "stop")) if isinstance(piece, Delta))
    assert plain == text
    translation = Translation("r")
    translation.think_tags = True
    body = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
    thought, answer = CHAT.read_reply(body, translation).choices[0].parts
    assert (thought.text, answer.text) == ("Let me see.", "It is <think> 4.")


@pytest.mark.parametrize("error", ["text", {"message": "no"}, {"message": "no", "code": 429}, {"code": "overloaded", "message": "x"}])
def test_an_error_in_a_stream_ends_it(error):
    last = read(chunk({"content": "a"}), {"error": error})[-1]
    assert isinstance(last, Fail)
    assert last.error.message


def test_the_cap_is_the_callers_the_models_or_one_that_the_model_takes():
    assert for_claude(max_tokens=10, most=5000)[0]["max_tokens"] == 10
    assert for_claude(most=5000)[0]["max_tokens"] == 5000
    assert for_claude(max_tokens=9000, most=5000)[0]["max_tokens"] == 5000
    assert for_claude("claude-3-haiku-20240307")[0]["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("effort", "most", "thinking", "dropped"),
    [
        ("low", None, {"type": "enabled", "budget_tokens": 2048}, []),
        ("high", 8000, {"type": "enabled", "budget_tokens": 6000}, []),
        ("high", 1200, None, ["reasoning"]),
        ("none", None, {"type": "disabled"}, []),
    ],
)
def test_effort_becomes_a_budget_that_leaves_room_for_the_answer(effort, most, thinking, dropped):
    fields = {} if most is None else {"max_tokens": most}
    body, translation = for_claude(reasoning_effort=effort, most=64_000, **fields)
    assert body.get("thinking") == thinking
    assert translation.dropped == dropped
    assert thinking is None or body["max_tokens"] > thinking.get("budget_tokens", 0)


def test_reasoning_yields_to_a_forced_tool_and_to_calls_without_their_reasoning():
    tools = [function()]
    body, translation = for_claude(reasoning_effort="low", tools=tools, tool_choice="required")
    assert "thinking" not in body
    assert translation.dropped == ["reasoning"]
    history = [USER, {"role": "assistant", "tool_calls": [function(arguments="{}", id="x")]}, {"role": "tool", "tool_call_id": "x", "content": "1"}]
    body, translation = for_claude(reasoning_effort="low", tools=tools, messages=history)
    assert "thinking" not in body
    assert translation.dropped == ["reasoning"]
    body, translation = for_claude("claude-opus-4-8", reasoning_effort="xhigh", tools=tools, messages=history)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "xhigh"})
    assert translation.dropped == []


def test_sampling_is_kept_to_what_the_model_takes():
    body, translation = for_claude(temperature=0.3, top_p=0.9)
    assert (body["temperature"], "top_p" in body, translation.dropped) == (0.3, False, ["top_p"])
    body, translation = for_claude("claude-3-5-sonnet-20241022", temperature=0.3, top_p=0.9)
    assert (body["temperature"], body["top_p"], translation.dropped) == (0.3, 0.9, [])
    body, translation = for_claude("claude-opus-5", temperature=0.3, top_p=1)
    assert ("temperature" in body, "top_p" in body, translation.dropped) == (False, False, ["temperature"])


def test_a_conversation_is_brought_into_the_form_that_the_api_takes():
    """Empty texts go, turns of one role join, a beginning of the answer loses its trailing blanks."""
    body, _ = for_claude(messages=[
        {"role": "user", "content": ""}, USER, {"role": "user", "content": [{"type": "text", "text": "there"}, {"type": "text", "text": " "}]},
        {"role": "assistant", "content": "The answer is \n"},
    ])
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "The answer is"},
    ]
    body, _ = for_claude(messages=[{"role": "system", "content": "Say hello."}])
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}] or body["messages"][0]["content"] == "Say hello."
    with pytest.raises(InvalidRequest):
        for_claude(messages=[{"role": "user", "content": ""}])


def test_calls_in_the_history_bring_their_tools():
    history = [USER, {"role": "assistant", "tool_calls": [function(arguments="{}", id="x")]}, {"role": "tool", "tool_call_id": "x", "content": "1"}]
    body, _ = for_claude(messages=history)
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == {"type": "none"}


def test_more_than_four_breakpoints_are_too_many():
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    body, translation = for_claude(messages=[{"role": "user", "content": [part] * 6}])
    assert sum("cache_control" in block for block in body["messages"][0]["content"]) == 4
    assert translation.dropped == ["cache_control"]


def test_a_choice_among_some_tools_leaves_only_these():
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function("g")]}}
    body, _ = for_claude(tools=[function("f"), function("g")], tool_choice=allowed)
    assert [tool["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == {"type": "any"}


def test_a_json_answer_beside_tools_lets_the_model_choose_between_them():
    schema = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object", "properties": {}}}}
    body, translation = for_claude("claude-3-5-haiku-20241022", tools=[function("f")], response_format=schema)
    assert [tool["name"] for tool in body["tools"]] == ["f", "f_"]
    assert body["tool_choice"] == {"type": "any"}
    assert translation.answer_tool == "f_"
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    reply = json.dumps({"content": [block], "stop_reason": "tool_use"}).encode()
    assert CLAUDE.read_reply(reply, translation).choices[0].reason == "tool_calls"


@pytest.mark.parametrize("open_", [{}, {"minLength": 3}, {"type": "object"}, {"oneOf": []}])
def test_a_schema_that_the_model_cannot_promise_becomes_a_tool(open_):
    inner = {"type": "string", **open_} if "minLength" in open_ else open_ or {"type": "object", "properties": {}}
    schema = {"type": "object", "properties": {"a": inner}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body, _ = for_claude(response_format=wanted)
    assert "output_config" not in body
    assert body["tools"][0]["input_schema"] == schema


def test_signatures_go_back_to_their_own_provider_only():
    """Another provider's reasoning reaches Anthropic's client packed, comes back, and goes to that provider alone."""
    translation = Translation("req")
    translation.origin = "gemini.generate"
    writer = CLAUDE.writer(SimpleNamespace(include_usage=True), translation)
    pieces = [
        PartBegin("thinking", 0), Delta(0, "hm"), Delta(0, signature="c2ln"), PartBegin("call", 1, id="x", name="f", signature="Y2FsbA=="),
        Delta(1, "{}"), ChoiceEnd("tool_calls"), Over(),
    ]
    events = [json.loads(line[6:]) for line in b"".join(writer.feed(piece) for piece in pieces).split(b"\n") if line.startswith(b"data: ")]
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == ["thinking", "redacted_thinking", "tool_use"]
    signature = next(event["delta"]["signature"] for event in events if event.get("delta", {}).get("type") == "signature_delta")
    blocks[0] |= {"thinking": "hm", "signature": signature}
    history = {"max_tokens": 5, "messages": [USER, {"role": "assistant", "content": blocks}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "1"}]}]}
    body = {"model": "m", **history}
    conversation = CLAUDE.read_request(DIALECTS["anthropic.messages"].decode(b"", body))
    thought, call = conversation.messages[1].parts
    assert (thought.text, thought.signature, thought.origin) == ("hm", "c2ln", "gemini.generate")
    assert (call.id, call.signature) == ("x", "Y2FsbA==")
    sent, translation = translated("openai.chat", history, client="anthropic.messages", model="gpt")
    assert "c2ln" not in json.dumps(sent)
    assert translation.dropped == ["reasoning_content"]


def test_a_client_that_kept_signatures_apart_from_the_text_gets_both_back():
    details = [{"type": "reasoning.text", "text": "", "signature": "sig", "format": "anthropic.messages", "index": 0}]
    history = [USER, {"role": "assistant", "content": "4", "reasoning_content": "Two and two.", "reasoning_details": details}, USER]
    body, _ = for_claude(messages=history)
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Two and two.", "signature": "sig"}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "image_url", "image_url": {"url": "data:text/plain;base64,AAAA"}}, "type"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}, "base64"),
        ({"type": "image_url", "image_url": {"url": "file.png"}}, "link"),
        ({"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zz4="}}, "JPEG"),
        ({"type": "image_url"}, "url"), ({"type": "file", "file": {}}, "file_data"),
    ],
)
def test_what_is_no_image_is_refused(part, message):
    with pytest.raises(InvalidRequest, match=message) as refusal:
        for_claude(messages=[{"role": "user", "content": [part]}])
    assert refusal.value.param.startswith("messages")


def test_sound_and_film_have_no_place_at_anthropic():
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    _, translation = for_claude(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, sound]}])
    assert translation.dropped == ["audio.audio/wav"]


def test_ids_and_names_fit_every_target_and_stay_apart():
    long = "x" * 100
    assert safe_id("call_1") == "call_1"
    assert len(safe_id(long, 40)) == 40
    assert safe_id(long, 40) != safe_id(long + "y", 40)
    translation = Translation("r")
    sent = {name: translation.named(name, 64) for name in ("a.b", "a_b", "a b", long)}
    assert len(set(sent.values())) == 4
    assert {translation.called(value) for value in sent.values()} == set(sent)


def test_the_status_of_a_translated_error():
    assert [status_of(kind, status) for kind, status in (
        ("overloaded", 529), ("authentication", 400), ("invalid_request", 422), ("server", 500), ("server", 529), ("quota", 402), ("rate_limit", 429),
    )] == [503, 401, 422, 500, 500, 429, 429]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"null", b'{"error":7}', b'{"error":{"message":7,"type":[]}}', b'{"detail":"Invalid API Key"}'])
@pytest.mark.parametrize("dialect", ["openai.chat", "anthropic.messages"])
def test_any_error_body_is_read(dialect, body):
    for status in (400, 401, 404, 418, 429, 500, 503, 599):
        told = codec(dialect).failure(status, {"retry-after": "soon"}, body)
        assert told.kind
        assert told.retry_after is None
