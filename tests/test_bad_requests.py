"""What clients send by mistake: in every dialect, to targets of another one, the answer is a 400 that names the field.

To a target of the client's own dialect the bytes go as they came, unless the gateway itself must read them.
"""

import json

import msgspec
import pytest

from gateway.bridge import Bridge
from gateway.dialects.anthropic import Messages
from gateway.dialects.bedrock import Converse
from gateway.dialects.gemini import GeminiDialect
from gateway.dialects.openai_chat import Chat
from gateway.dialects.responses import Responses
from gateway.errors import InvalidRequest
from gateway.exchange import Exchange, Target

HELLO = "aGVsbG8gd29ybGQ="  # text
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}


def user(*parts, text="content", role="user"):
    return {"role": role, text: list(parts)}


def said(**fields):
    return {"messages": [{"role": "user", "content": "Hi"}], **fields}


def image(url):
    return {"messages": [user({"type": "image_url", "image_url": url})]}


def calling(*calls):
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": list(calls)}]}


CHAT = [
    ("role", {"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ("no role", {"messages": [{}]}, "messages[0].role"),
    ("none", {"messages": []}, "messages"),
    ("no content", {"messages": [{"role": "user", "content": None}]}, "messages"),
    ("second role", {"messages": [{"role": "user", "content": "x"}, {"role": "king", "content": "x"}]}, "messages[1].role"),
    ("tool 7", said(tools=[7]), "tools[0]"),
    ("tool without function", said(tools=[{"type": "function", "function": FUNCTION}, {}]), "tools[1].function"),
    ("tool without name", said(tools=[{"type": "function", "function": {}}]), "tools[0]"),
    ("tool schema", said(tools=[{"type": "function", "function": {"name": "f", "parameters": "x"}}]), "tools[0]"),
    ("tool type", said(tools=[{"type": 7}]), "tools[0].type"),
    ("choice of no tool", said(tools=[{"type": "function", "function": FUNCTION}],
                               tool_choice={"type": "function", "function": {"name": "g"}}), "tool_choice"),
    ("choice without tools", said(tool_choice="required"), "tool_choice"),
    ("result without call", {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "x", "content": "r"}]},
     "messages[1].tool_call_id"),
    ("result without id", {"messages": [{"role": "tool", "content": "r"}]}, "messages[0]"),
    ("broken arguments", calling(CALL), "messages.tool_calls.function.arguments"),
    ("call 7", calling(7), "messages[1].tool_calls[0]"),
    ("call without function", calling({}), "messages[1].tool_calls[0]"),
    ("no base64", image({"url": "data:image/png;base64,!!!"}), "messages[0].content[0]"),
    ("padding", image({"url": "data:image/png;base64,iVBORw0KGgoAA"}), "messages[0].content[0]"),
    ("no image", image({"url": f"data:image/png;base64,{HELLO}"}), "messages[0].content[0]"),
    ("text as an image", image({"url": f"data:text/plain;base64,{HELLO}"}), "messages[0].content[0]"),
    ("no url", image({}), "messages[0].content[0]"),
    ("ftp", image({"url": "ftp://host/x.png"}), "messages[0].content[0]"),
    ("image 7", image(7), "messages[0].content[0]"),
    ("sound", {"messages": [user({"type": "input_audio", "input_audio": {"data": "!!", "format": "wav"}})]}, "messages[0].content[0]"),
    ("file", {"messages": [user({"type": "file", "file": {"file_data": "!!"}})]}, "messages[0].content[0]"),
    ("part", {"messages": [user({"type": "text", "text": "x"}, {})]}, "messages[0].content[1].type"),
    ("part type", {"messages": [user({"type": 7})]}, "messages[0].content[0].type"),
    ("text", {"messages": [user({"type": "text", "text": 7})]}, "messages[0].content[0]"),
    ("no text", {"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
    ("parts", {"messages": [user(*[{"type": "text", "text": "x"}] * 20_001)]}, "messages[0].content"),
    ("messages", {"messages": [{"role": "user", "content": "x"}] * 20_001}, "messages"),
    ("effort", said(reasoning_effort="king"), "reasoning_effort"),
    ("no schema", said(response_format={"type": "json_schema"}), "response_format.json_schema"),
    ("stop", said(stop=[7]), "stop"),
]
BLOCK = "messages[0].content[0]"


def source(**fields):
    return {"messages": [user({"type": "image", "source": fields})]}


CLAUDE = [
    ("role", {"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ("none", {"messages": []}, "messages"),
    ("tool 7", said(tools=[7]), "tools[0]"), ("tool", said(tools=[{}]), "tools[0]"),
    ("schema", said(tools=[{"name": "f", "input_schema": 7}]), "tools[0]"),
    ("result without call", {"messages": [user({"type": "tool_result", "tool_use_id": "x", "content": "r"})]}, "messages[0].content"),
    ("result without id", {"messages": [user({"type": "tool_result", "content": "r"})]}, BLOCK),
    ("arguments", {"messages": [{"role": "user", "content": "x"},
                                user({"type": "tool_use", "id": "c", "name": "f", "input": "x"}, role="assistant")]}, "messages[1].content[0]"),
    ("no base64", source(type="base64", media_type="image/png", data="!!!"), f"{BLOCK}.source"),
    ("no image", source(type="base64", media_type="image/png", data=HELLO), f"{BLOCK}.source"),
    ("text", source(type="base64", media_type="text/plain", data=HELLO), f"{BLOCK}.source"),
    ("no type", source(type="base64", data=HELLO), BLOCK),
    ("link", source(type="url", url="junk"), f"{BLOCK}.source"),
    ("no source", {"messages": [user({"type": "image"})]}, BLOCK),
    ("document", {"messages": [user({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "!"}})]},
     f"{BLOCK}.source"),
    ("block", {"messages": [user({"type": "text", "text": "x"}, {})]}, "messages[0].content[1]"),
    ("no text", {"messages": [user({"type": "text"})]}, f"{BLOCK}.text"),
    ("blocks", {"messages": [user(*[{"type": "text", "text": "x"}] * 20_001)]}, "messages[0].content"),
    ("system", said(system=[{"type": "text", "text": "x"}, {}]), "system[1]"),
    ("thinking", said(thinking={"type": "king"}), "thinking.type"),
    ("choice", said(tools=[{"name": "f", "input_schema": {}}], tool_choice={"type": "tool", "name": "g"}), "tool_choice"),
]
PART = "contents[0].parts[0]"


def part(*parts):
    return {"contents": [user(*parts, text="parts")]}


GOOGLE = [
    ("role", {"contents": [user({"text": "x"}, text="parts", role="king")]}, "contents[0].role"),
    ("none", {}, "contents"), ("nothing", {"contents": [{}]}, "contents"), ("7", {"contents": [7]}, "contents[0]"),
    ("part 7", part(7), PART), ("empty part", part({"text": "x"}, {}), "contents[0].parts[1]"), ("text", part({"text": 7}), f"{PART}.text"),
    ("result", part({"functionResponse": {"name": "f", "response": {}}}), PART),
    ("call", part({"functionCall": {}}), f"{PART}.functionCall"), ("call 7", part({"functionCall": 7}), f"{PART}.functionCall"),
    ("arguments", part({"functionCall": {"name": "f", "args": "x"}}), f"{PART}.functionCall.args"),
    ("no base64", part({"inlineData": {"mimeType": "image/png", "data": "!!!"}}), f"{PART}.inlineData.data"),
    ("no image", part({"inlineData": {"mimeType": "image/png", "data": HELLO}}), f"{PART}.inlineData.data"),
    ("no type", part({"inline_data": {"data": HELLO}}), f"{PART}.inlineData.mimeType"),
    ("data 7", part({"inlineData": 7}), f"{PART}.inlineData"),
    ("no file", part({"fileData": {}}), f"{PART}.fileData.fileUri"),
    ("link", part({"fileData": {"mimeType": "image/png", "fileUri": "junk"}}), f"{PART}.fileData.fileUri"),
    ("parts", part(*[{"text": "x"}] * 20_001), "contents[0].parts"),
    ("tools", {**part({"text": "x"}), "tools": [7]}, "tools"),
    ("choice", {**part({"text": "x"}), "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "toolConfig.functionCallingConfig"),
]


def block(*blocks):
    return {"messages": [user(*blocks)]}


AMAZON = [
    ("role", {"messages": [user({"text": "x"}, role="king")]}, "messages[0].role"), ("none", {}, "messages"),
    ("block", block({"text": "x"}, {}), "messages[0].content[1]"), ("kind", block({"king": 1}), BLOCK), ("text", block({"text": 7}), BLOCK),
    ("result", block({"toolResult": {"toolUseId": "x", "content": []}}), "messages[0].content"),
    ("arguments", {"messages": [user({"text": "x"}), user({"toolUse": {"toolUseId": "c", "name": "f", "input": "x"}}, role="assistant")]},
     "messages[1].content[0]"),
    ("no base64", block({"image": {"format": "png", "source": {"bytes": "!!!"}}}), f"{BLOCK}.source.bytes"),
    ("no image", block({"image": {"format": "png", "source": {"bytes": HELLO}}}), f"{BLOCK}.source.bytes"),
    ("no bytes", block({"image": {}}), BLOCK),
    ("tool", {**block({"text": "x"}), "toolConfig": {"tools": [{"toolSpec": {"name": "f"}}, {}]}}, "toolConfig.tools[1]"),
    ("tool 7", {**block({"text": "x"}), "toolConfig": {"tools": [{"toolSpec": 7}]}}, "toolConfig.tools[0]"),
    ("spec", {**block({"text": "x"}), "toolConfig": {"tools": [{"toolSpec": {}}]}}, "toolConfig.tools[0].toolSpec"),
    ("choice", {**block({"text": "x"}), "toolConfig": {"toolChoice": {"any": {}}}}, "toolConfig.toolChoice"),
]


def item(*items):
    return {"input": [{"role": "user", "content": "x"}, *items]}


ITEM = "input[0].content[0]"
RESPONSES = [
    ("role", {"input": [{"role": "king", "content": "x"}]}, "input[0].role"), ("empty", item({}), "input[1].role"), ("none", {}, "input"),
    ("type", item({"type": 7}), "input[1].type"), ("tool", {**item(), "tools": [{}]}, "tools[0].type"),
    ("result", item({"type": "function_call_output", "call_id": "x", "output": "r"}), "input[1].call_id"),
    ("result without id", item({"type": "function_call_output", "output": "r"}), "input[1]"),
    ("broken arguments", item({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}), "input.arguments"),
    ("no base64", {"input": [user({"type": "input_image", "image_url": "data:image/png;base64,!!!"})]}, ITEM),
    ("no image", {"input": [user({"type": "input_image", "image_url": f"data:image/png;base64,{HELLO}"})]}, ITEM),
    ("no url", {"input": [user({"type": "input_image"})]}, ITEM), ("part", {"input": [user({})]}, ITEM),
    ("file", {"input": [user({"type": "input_file", "filename": "x.pdf", "file_data": "!!"})]}, ITEM),
    ("parts", {"input": [user(*[{"type": "input_text", "text": "x"}] * 20_001)]}, "input[0].content"),
    ("effort", {**item(), "reasoning": {"effort": "king"}}, "reasoning.effort"),
    ("choice", {**item(), "tool_choice": "required"}, "tool_choice"),
]
WIRES = ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate", "bedrock.converse")
DIALECTS = {
    "chat": (Chat, "chat.completions", CHAT, {"model": "m"}),
    "responses": (Responses, "responses", RESPONSES, {"model": "m"}),
    "claude": (Messages, "messages", CLAUDE, {"model": "m", "max_tokens": 9}),
    "google": (GeminiDialect, "generateContent", GOOGLE, {}),
    "amazon": (Converse, "converse", AMAZON, {}),
}
AS_TEXT = ("openai.chat", "openai.responses")  # these targets take a call's arguments as the text that it is
CASES = [
    pytest.param(name, wire, body, param, id=f"{name}-{wire}-{about}")
    for name, (dialect, _, cases, _) in DIALECTS.items()
    for about, body, param in cases
    for wire in WIRES
    if wire != dialect().name and not (about == "broken arguments" and wire in AS_TEXT)
]


class Provider:
    name = "up"


def refused(dialect, endpoint, wire, body):
    """The error, and whether the gateway must read the field whatever the target is."""
    exchange = Exchange("req_1", endpoint, dialect, {}, 0)
    exchange.wire = wire
    raw = msgspec.json.encode(body)
    try:
        exchange.request = dialect.decode(raw, msgspec.json.decode(raw), {"model": "m"})
    except InvalidRequest as error:
        return error, True
    with pytest.raises(InvalidRequest) as refusal:
        Bridge(exchange, Target(Provider(), "claude-haiku-4-5"), refuse=False)
    return refusal.value, False


@pytest.mark.parametrize(("name", "wire", "body", "param"), CASES)
def test_a_mistake_is_refused_by_its_field(name, wire, body, param):
    """Translation tells the exact place; what every target's request is read for, at least its outermost field."""
    made, endpoint, _, more = DIALECTS[name]
    dialect = made()
    error, always = refused(dialect, endpoint, wire, {**more, **body})
    assert error.status == 400
    assert error.param in ({param, param.partition("[")[0], param.partition(".")[0]} if always else {param})
    assert json.dumps(error.message)[1:-1] in json.dumps(json.loads(dialect.error(error, "req_1")))


def test_the_field_stands_in_the_text_where_the_dialect_has_no_place_for_it():
    error = InvalidRequest("The data is not valid base64.", param="messages[0].content[1].source")
    claude = json.loads(Messages().error(error, "req_1"))["error"]
    assert claude == {"type": "invalid_request_error", "message": "messages.0.content.1.source: The data is not valid base64."}
    assert json.loads(Converse().error(error, "req_1")) == {
        "message": "messages[0].content[1].source: The data is not valid base64."
    }


def test_base64_of_the_web_is_put_into_the_usual_alphabet():
    """Google's own SDK sends it; other services refuse it."""
    body = part({"inlineData": {"mimeType": "image/jpeg", "data": "_9j_4AAQ-w=="}})
    raw = msgspec.json.encode(body)
    exchange = Exchange("req_1", "generateContent", GeminiDialect(), {}, 0)
    exchange.wire = "anthropic.messages"
    exchange.request = exchange.dialect.decode(raw, body, {"model": "m"})
    (turn,) = Bridge(exchange, Target(Provider(), "claude-haiku-4-5"), refuse=False).body["messages"]
    assert turn["content"][0]["source"] == {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ+w=="}
