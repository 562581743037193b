"""The demo model: the same request gets the same answer, in the shapes that OpenAI's own replies have."""

import base64
import json
import math
import struct

import pytest

from gateway.testing import model
from gateway.testing.behaviour import Behaviour, DemoError

CALM = Behaviour()
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city"],
}}}  # fmt: skip
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


def ask(text: str = "Hello", **fields: object) -> dict:
    return {"model": "demo-small", "messages": [{"role": "user", "content": text}], **fields}


def reply(how: Behaviour = CALM, **fields: object) -> dict:
    return model.chat(ask(**fields), how, 1)


def joined(chunks: list[dict], index: int = 0) -> tuple[str, list[str], str]:
    """The text, the tool arguments and the finish reason of one choice of a stream."""
    text, calls, finish = "", [], ""
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            text += delta.get("content") or ""
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    calls.append("")
                calls[call["index"]] += call["function"]["arguments"]
            finish = choice["finish_reason"] or finish
    return text, calls, finish


def test_an_answer_is_deterministic_and_holds_what_the_user_said_last() -> None:
    assert reply(text="How are you?") == reply(text="How are you?")
    content = reply(text="How are you?")["choices"][0]["message"]["content"]
    assert '"How are you?"' in content
    assert reply(text="How are you?", seed=2)["choices"][0]["message"]["content"] != content


def test_a_message_has_the_keys_of_a_real_one() -> None:
    whole = reply()
    assert whole["object"] == "chat.completion"
    assert list(whole["choices"][0]) == ["index", "message", "logprobs", "finish_reason"]
    assert {"role", "content", "refusal", "annotations"} == set(whole["choices"][0]["message"])
    usage = whole["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize("fields", [
    {}, {"n": 3}, {"max_tokens": 4}, {"stop": " am"}, {"response_format": {"type": "json_object"}},
    {"tools": [WEATHER, CLOCK], "tool_choice": "required"},
    {"text": "use all tools", "tools": [WEATHER, CLOCK]},
    {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 3},
])  # fmt: skip
def test_a_stream_says_what_the_whole_reply_says(fields: dict) -> None:
    whole = reply(**fields)
    chunks = list(model.chat_stream(ask(**fields, stream_options={"include_usage": True}), CALM, 1))
    for choice in whole["choices"]:
        message = choice["message"]
        text, calls, finish = joined(chunks, choice["index"])
        assert text == (message["content"] or "")
        assert calls == [call["function"]["arguments"] for call in message.get("tool_calls", ())]
        assert finish == choice["finish_reason"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_a_stream_has_the_chunks_of_a_real_one() -> None:
    chunks = list(model.chat_stream(ask(stream_options={"include_usage": True}), CALM, 1))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert chunks[-2]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert chunks[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert all("usage" not in chunk for chunk in model.chat_stream(ask(), CALM, 1))


def test_tool_fragments_are_as_real_ones() -> None:
    chunks = list(model.chat_stream(ask(tools=[WEATHER], tool_choice="required"), CALM, 1))
    first, second = (chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:3])
    assert set(first) == {"index", "id", "type", "function"}
    assert first["function"] == {"name": "get_weather", "arguments": ""}
    assert set(second) == {"index", "function"}
    assert chunks[0]["choices"][0]["delta"]["content"] is None


@pytest.mark.parametrize(("text", "fields", "names", "finish"), [
    ("Hello", {}, [], "stop"),
    ("Please call a tool", {}, ["get_weather"], "tool_calls"),
    ("I want get_time now", {}, ["get_time"], "tool_calls"),
    ("use both tools", {}, ["get_weather", "get_time"], "tool_calls"),
    ("use both tools", {"parallel_tool_calls": False}, ["get_weather"], "tool_calls"),
    ("Hello", {"tool_choice": "required"}, ["get_weather"], "tool_calls"),
    ("call a tool", {"tool_choice": "none"}, [], "stop"),
    ("Hello", {"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"], "stop"),
])  # fmt: skip
def test_tools_are_called_when_asked_for(text: str, fields: dict, names: list[str], finish: str) -> None:
    choice = reply(text=text, tools=[WEATHER, CLOCK], **fields)["choices"][0]
    calls = choice["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names
    assert choice["finish_reason"] == finish
    assert len({call["id"] for call in calls}) == len(calls)
    assert (choice["message"]["content"] is None) == bool(names)


def test_arguments_fit_the_schema_and_results_are_answered() -> None:
    body = ask("call get_weather", tools=[WEATHER])
    call = model.chat(body, CALM, 1)["choices"][0]["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "demo city", "days": 2}
    body["messages"] += [
        {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    choice = model.chat(body, CALM, 1)["choices"][0]
    assert choice["message"]["content"] == "The tool answered: sunny"
    assert choice["finish_reason"] == "stop"


def test_structured_output_is_an_instance_of_the_schema() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {
        "enum": ["a", "b"]}}}, "required": ["name", "tags"]}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    content = reply(response_format=wanted)["choices"][0]["message"]["content"]
    assert json.loads(content) == {"name": "demo name", "tags": ["a"]}


def test_the_output_cap_and_stop_strings_hold() -> None:
    capped = reply(max_completion_tokens=3)
    assert capped["choices"][0]["finish_reason"] == "length"
    assert capped["usage"]["completion_tokens"] == 3
    stopped = reply(text="one two", stop=["two", "never"])["choices"][0]
    assert stopped["message"]["content"] == 'You said: "one '
    assert stopped["finish_reason"] == "stop"


def test_size_and_chunks_are_exact() -> None:
    assert reply(Behaviour(size=500))["usage"]["completion_tokens"] == 500
    chunks = list(model.chat_stream(ask(), Behaviour(size=100, chunks=7), 1))
    assert sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in chunks) == 7


def test_reasoning_comes_first_and_is_counted() -> None:
    whole = reply(Behaviour(reasoning=True))
    assert whole["choices"][0]["message"]["reasoning_content"]
    details = whole["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < whole["usage"]["completion_tokens"]


def test_reported_usage_can_be_told_or_left_out() -> None:
    told = Behaviour(usage={"prompt_tokens": 1000, "cached_tokens": 900})
    assert reply(told)["usage"]["prompt_tokens_details"]["cached_tokens"] == 900
    assert "usage" not in reply(Behaviour(no_usage=True))
    chunks = list(model.chat_stream(ask(stream_options={"include_usage": True}), Behaviour(no_usage=True), 1))
    assert all("usage" not in chunk for chunk in chunks)


def test_text_completions_answer_each_prompt() -> None:
    body = {"model": "demo-small", "prompt": ["one", "two"], "max_tokens": 50, "echo": True}
    whole = model.completion(body, CALM, 1)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["choices"][1]["text"].startswith("two")
    chunks = list(model.completion_stream(body, CALM, 1))
    for index in (0, 1):
        text = "".join(c["text"] for chunk in chunks for c in chunk["choices"] if c["index"] == index)
        assert text == whole["choices"][index]["text"]
    assert model.completion({"model": "m", "prompt": [1, 2, 3]}, CALM, 1)["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(("value", "count"), [("text", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2, 3]], 2)])
def test_embeddings_take_every_kind_of_input(value: object, count: int) -> None:
    found = model.embeddings({"model": "demo-embed", "input": value}, CALM)
    assert [one["index"] for one in found["data"]] == list(range(count))
    for one in found["data"]:
        assert math.isclose(sum(x * x for x in one["embedding"]), 1.0, abs_tol=1e-9)


def test_embeddings_in_base64_are_the_same_numbers() -> None:
    body = {"model": "demo-embed", "input": "some words", "dimensions": 8}
    plain = model.embeddings(body, CALM)["data"][0]["embedding"]
    packed = model.embeddings({**body, "encoding_format": "base64"}, CALM)["data"][0]["embedding"]
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(plain, abs=1e-6)


def test_texts_that_share_words_are_nearer() -> None:
    def near(a: str, b: str) -> float:
        data = model.embeddings({"input": [a, b]}, CALM)["data"]
        return sum(x * y for x, y in zip(data[0]["embedding"], data[1]["embedding"], strict=True))

    assert near("red apple pie", "red apple tart") > near("red apple pie", "quick brown fox") + 0.3


@pytest.mark.parametrize(("call", "body", "param"), [
    (model.chat, {"messages": []}, "messages"), (model.chat, {"messages": [{}], "n": 99}, "n"),
    (model.completion, {"prompt": ""}, None), (model.completion, {"prompt": []}, "prompt"),
])  # fmt: skip
def test_bad_requests_are_refused_with_the_field(call, body: dict, param: str | None) -> None:
    if param is None:
        with pytest.raises(DemoError):
            call({**body, "prompt": [""]}, CALM, 1)
        return
    with pytest.raises(DemoError) as caught:
        call(body, CALM, 1)
    assert caught.value.status == 400
    assert caught.value.body["error"]["param"] == param


def test_bad_embedding_requests_are_refused() -> None:
    for body in ({"input": []}, {"input": "a", "dimensions": 0}, {"input": None}, {"input": [""]}):
        with pytest.raises(DemoError):
            model.embeddings(body, CALM)
