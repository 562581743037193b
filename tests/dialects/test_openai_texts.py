"""The texts of requests: whatever a model reads is found, in every role and part; identifiers and media are not."""

import random
from copy import deepcopy

import msgspec
import pytest
from recordings import needs_recordings, openai_recordings

from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.dialects.openai_texts import numbered
from gateway.errors import InvalidRequest

BASE64 = "QUJD" * 100
DATA = "data:text/plain,b"


def request(dialect=None, **body):
    body = {"model": "m", **body}
    return (dialect or Chat()).decode(msgspec.json.encode(body), body)


def message(**fields):
    return {"messages": [{"role": "user", **fields}]}


SCHEMA = {
    "type": "object", "description": "a", "required": ["city"], "additionalProperties": False,
    "properties": {
        "city": {"type": ["string", "null"], "title": "b", "enum": ["c", "d"], "default": "e"},
        "type": {"anyOf": [{"description": "f"}, {"const": "g"}]},
        "required": {"items": {"description": "h", "examples": ["i"]}},
    },
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message(content="a", name="b"), [("a", "content"), ("b", "content")]),
        (message(content=["a", {"type": "text", "text": "b"}]), [("a", "content"), ("b", "content")]),
        (message(role="system", content="a"), [("a", "content")]),
        (message(role="tool", tool_call_id="call_1", content="a"), [("a", "tool_result")]),
        (message(role="tool", content=[{"type": "text", "text": "a"}]), [("a", "tool_result")]),
        (message(role="assistant", refusal="a"), [("a", "refusal")]),
        (message(content=[{"type": "refusal", "refusal": "a"}]), [("a", "refusal")]),
        (message(reasoning="a", reasoning_content="b"), [("a", "reasoning"), ("b", "reasoning")]),
        (message(thinking="a"), [("a", "reasoning")]),
        (message(reasoning_details=[{"text": "a"}, {"summary": "b"}]), [("a", "reasoning"), ("b", "reasoning")]),
        (message(reasoning_details=[{"text": "a", "signature": BASE64, "format": "x"}]), [("a", "reasoning")]),
        (message(reasoning_details=[{"type": "reasoning.encrypted", "data": "QQ==", "id": "rs_1"}]), []),
        (message(function_call={"name": "f", "arguments": "a"}), [("a", "arguments")]),
        (message(tool_calls=[{"id": "x", "type": "function", "function": {"name": "f", "arguments": "a"}}]),
         [("a", "arguments")]),
        (message(tool_calls=[{"id": "x", "custom": {"name": "f", "input": "a"}}]), [("a", "content")]),
        (message(tool_calls=[{"function": {"arguments": {"city": "a"}}}]), [("a", "arguments")]),
        (message(audio={"id": "x", "transcript": "a"}), [("a", "content")]),
        (message(content=[{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]), []),
        (message(content=[{"type": "image_url", "image_url": "data:image/png;base64," + BASE64}]), []),
        (message(content=[{"type": "input_audio", "input_audio": {"data": BASE64}}]), []),
        (message(content=[{"type": "file", "file": {"file_id": "f", "filename": "a.pdf", "file_data": DATA}}]),
         [("a.pdf", "content"), (DATA, "content")]),
        (message(content=[{"type": "document", "source": {"type": "text", "data": "a b"}}]), [("a b", "content")]),
        (message(content=[{"type": "new", "anything": [{"deep": "a"}]}]), [("a", "content")]),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "description": "z"}}]},
         [(text, "tools") for text in "abcdefghiz"]),
        ({"functions": [{"name": "f", "description": "a", "parameters": {"description": "b"}}]},
         [("a", "tools"), ("b", "tools")]),
        ({"tools": [{"type": "custom", "custom": {"name": "f", "description": "a", "format": {"definition": "b"}}}]},
         [("a", "tools"), ("b", "tools")]),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "a",
          "schema": {"properties": {"x": {"description": "b"}}}}}}, [("a", "tools"), ("b", "tools")]),
        ({"prediction": {"type": "content", "content": "a"}}, [("a", "content")]),
        ({"prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]}}, [("a", "content")]),
        ({"documents": [{"title": "a", "text": "b"}], "chat_template": "c"},
         [("a", "document"), ("b", "document"), ("c", "content")]),
        ({"guided_choice": ["a"], "user": "u", "metadata": {"k": "v"}, "tool_choice": {"function": {"name": "f"}}},
         [("a", "content")]),
    ],
)  # fmt: skip
def test_what_the_model_reads_is_found_and_can_be_changed(body, expected):
    """Each text, with its part; changing all changes just these, and the client's body stays as it was."""
    asked = request(**body)
    before = deepcopy(asked.body)
    seen = []
    assert Chat().map_texts(asked, lambda text, part: seen.append((text, part)) or text) is asked
    assert sorted(seen) == sorted(expected)
    assert Chat().texts(asked) == [text for text, _ in seen]
    changed = Chat().map_texts(asked, lambda text, _: f"<{text}>")
    assert asked.body == before
    assert changed.body == msgspec.json.decode(changed.raw)
    if not any("signature" in str(entry) for entry in body.values()):
        assert sorted(Chat().texts(changed)) == sorted(f"<{text}>" for text, _ in expected)


def test_signed_reasoning_is_left_out_rather_than_edited():
    details = [{"text": "a secret", "signature": "c2ln"}, {"text": "fine", "signature": "c2ln"}]
    changed = Chat().map_texts(
        request(**message(role="assistant", reasoning_details=details)), lambda text, _: text.replace("secret", "***")
    )
    assert changed.body["messages"][0]["reasoning_details"] == [details[1]]


def test_prompts_and_inputs_are_texts():
    """Of completions the prompts and the suffix, of embeddings the inputs; tokens are no text."""
    assert Completions().texts(request(Completions(), prompt=["a", [1, 2]], suffix="b")) == ["a", "b"]
    assert Completions().texts(request(Completions(), prompt=[1, 2, 3])) == []
    assert Embeddings().texts(request(Embeddings(), input="a", encoding_format="float")) == ["a"]
    changed = Embeddings().map_texts(request(Embeddings(), input=["a", "b"]), lambda text, _: text.upper())
    assert changed.body["input"] == ["A", "B"]


@needs_recordings
@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests_are_read_or_refused(seed):
    """Wrong types anywhere in real requests: no other error than a refusal."""
    odd = [None, 0, -1, 1.5, True, "x", "", [], {}, [None], ["x", 1], {"a": {"b": ["c"]}}]
    for name, endpoint, recording in openai_recordings():
        body = recording["request"].get("body")
        if not isinstance(body, dict) or len(str(body)) > 100_000:
            continue
        dialect = {"chat.completions": Chat, "completions": Completions, "embeddings": Embeddings}[endpoint]()
        dice = random.Random(f"{seed}{name}")
        body = deepcopy(body)
        for _ in range(2):
            holder, key = dice.choice(list(_places(body)))
            holder[key] = deepcopy(dice.choice(odd))
        try:
            asked = dialect.decode(msgspec.json.encode(body), body)
        except InvalidRequest:
            continue
        for text in dialect.texts(dialect.map_texts(asked, lambda text, _: text + "!")):
            assert text.endswith("!")


def _places(tree):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(value)


def test_a_body_that_no_reader_would_let_in_is_refused():
    """The JSON reader stops at 64 levels; whoever comes another way gets the same."""
    deep: list = []
    for _ in range(200):
        deep = [deep, "x"]
    with pytest.raises(InvalidRequest):
        Chat().texts(request(**message(content=deep)))


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ([{"index": 2}, {}, {"index": 2}, {"index": "x"}], [2, 0, 1, 3]), ("x", [0]), ([], []),
        ([{"index": -1}, 7], [0, 1]),
    ],
)
def test_numbers_are_the_indexes_or_free_ones(given, numbers):
    assert [number for number, _ in numbered(given)] == numbers
