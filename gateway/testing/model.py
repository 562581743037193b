"""The demo model: a deterministic answer to any OpenAI request, as the objects that an OpenAI server would send.

Pure: no I/O, no clock, no state. The same request gets the same answer. How it goes out, and what goes wrong on
the way, is in `upstream.py`.
"""

import base64
import hashlib
import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

import msgspec

from gateway.testing.behaviour import Behaviour, DemoError
from gateway.testing.calls import Call, calls_for, last_user_text, tool_results
from gateway.testing.sample import sample

Body = Mapping[str, Any]

DIMENSIONS = 256
_MAX_CHOICES = 16
_PIECE = re.compile(r"\s*\S{1,5}|\s+")
_WORDS = (
    "calm", "river", "seven", "lamp", "green", "stone", "early", "light", "paper", "cloud", "amber", "field", "north",
    "song", "glass", "maple", "quiet", "round", "salt", "trail", "union", "vivid", "wheat", "young", "zebra", "birch",
)


class Said(msgspec.Struct, frozen=True):
    """One choice of an answer, in the pieces that a stream sends; a piece is a token."""

    content: tuple[str, ...]
    finish: str
    reasoning: tuple[str, ...] = ()
    calls: tuple[tuple[Call, tuple[str, ...]], ...] = ()

    @property
    def tokens(self) -> int:
        """How many tokens were said."""
        return len(self.content) + len(self.reasoning) + sum(len(pieces) for _, pieces in self.calls)


def chat(body: Body, how: Behaviour, created: int) -> dict[str, Any]:
    """The reply to an unstreamed chat request."""
    said = _chat_choices(body, how)
    choices = [
        {"index": i, "message": _message(one), "logprobs": None, "finish_reason": one.finish}
        for i, one in enumerate(said)
    ]
    reply = {**_head(body, "chatcmpl", "chat.completion", created), "choices": choices}
    return reply if how.no_usage else {**reply, "usage": _usage(chat_tokens(body), said, how)}


def chat_stream(body: Body, how: Behaviour, created: int) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed chat reply: choices interleave; the usage chunk comes last, where it was asked for."""
    said = _chat_choices(body, how)
    head = _head(body, "chatcmpl", "chat.completion.chunk", created)
    usage = _usage(chat_tokens(body), said, how) if _wants_usage(body, how) else None
    null = {} if usage is None else {"usage": None}
    for deltas in zip_longest(*(list(_deltas(one, how)) for one in said)):
        for index, delta in enumerate(deltas):
            if delta is not None:
                yield {**head, "choices": [_choice(index, delta=delta)], **null}
    for index, one in enumerate(said):
        yield {**head, "choices": [_choice(index, one.finish, delta={})], **null}
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


def completion(body: Body, how: Behaviour, created: int) -> dict[str, Any]:
    """The reply to an unstreamed text completion."""
    said = _completion_choices(body, how)
    choices = [_choice(i, one.finish, text="".join(one.content)) for i, one in enumerate(said)]
    reply = {**_head(body, "cmpl", "text_completion", created), "choices": choices}
    return reply if how.no_usage else {**reply, "usage": _usage(_prompt_tokens(body), said, how)}


def completion_stream(body: Body, how: Behaviour, created: int) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed text completion."""
    said = _completion_choices(body, how)
    head = _head(body, "cmpl", "text_completion", created)
    usage = _usage(_prompt_tokens(body), said, how) if _wants_usage(body, how) else None
    null = {} if usage is None else {"usage": None}
    for texts in zip_longest(*(_grouped(one.content, how.chunks) for one in said)):
        for index, text in enumerate(texts):
            if text is not None:
                yield {**head, "choices": [_choice(index, text=text)], **null}
    for index, one in enumerate(said):
        yield {**head, "choices": [_choice(index, one.finish, text="")], **null}
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


def embeddings(body: Body, how: Behaviour) -> dict[str, Any]:
    """Unit vectors: texts that share words lie near each other."""
    inputs = _inputs(body.get("input"), "input")
    size = body.get("dimensions", DIMENSIONS)
    if type(size) is not int or not 1 <= size <= 4096:
        raise DemoError(400, "`dimensions` must be an integer from 1 to 4096.", param="dimensions")
    encode = _base64 if body.get("encoding_format") == "base64" else list
    data = [
        {"object": "embedding", "index": i, "embedding": encode(_vector(one, size))} for i, one in enumerate(inputs)
    ]
    reply = {"object": "list", "data": data, "model": body.get("model")}
    if how.no_usage:
        return reply
    tokens = (how.usage or {}).get("prompt_tokens", sum(_tokens_of(one) for one in inputs))
    return {**reply, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def tokens(text: str) -> int:
    """About four bytes a token, as the demo counts what it reads."""
    return math.ceil(len(text.encode()) / 4)


def chat_tokens(body: Body) -> int:
    """The tokens of a chat request: its texts, and three for each message."""
    messages = [message for message in body.get("messages") or () if isinstance(message, dict)]
    texts = [part for message in messages for part in _texts(message.get("content"))]
    extra = [msgspec.json.encode(message["tool_calls"]).decode() for message in messages if message.get("tool_calls")]
    extra += [msgspec.json.encode(tool).decode() for tool in body.get("tools") or ()]
    return 3 * len(messages) + sum(map(tokens, texts + extra))


def _chat_choices(body: Body, how: Behaviour) -> list[Said]:
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise DemoError(400, "`messages` must be an array with at least one message.", param="messages")
    if not isinstance(body.get("tools") or [], list):
        raise DemoError(400, "`tools` must be an array.", param="tools")
    return [_chat_choice(body, how, index) for index in range(_count(body))]


def _chat_choice(body: Body, how: Behaviour, index: int) -> Said:
    calls = calls_for(body, index)
    reasoning = _pieces(f"The user said {tokens(last_user_text(body))} tokens. I should echo them.")
    said = Said(
        content=() if calls else _pieces(_content(body, how, index)), reasoning=reasoning if how.reasoning else (),
        calls=tuple((call, _pieces(call.arguments)) for call in calls),
        # A call that the request forces by name finishes with "stop", as OpenAI's does.
        finish="tool_calls" if calls and not isinstance(body.get("tool_choice"), dict) else "stop",
    )
    return _limited(_stopped(said, body), body.get("max_completion_tokens") or body.get("max_tokens"))


def _content(body: Body, how: Behaviour, index: int) -> str:
    size = how.size if how.size is not None else how.chunks
    if size is not None:
        return " ".join(_words(body, index, size))
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema")
        if not isinstance(schema, dict):
            raise DemoError(400, "`json_schema` must be an object.", param="response_format")
        return msgspec.json.encode(sample(schema.get("schema"))).decode()
    said = last_user_text(body)
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        return msgspec.json.encode({"echo": said}).decode()
    if results := tool_results(body):
        return f"The tool answered: {'; '.join(results)}"
    return f'You said: "{said}". I am a demo model, so that is all I know: {" ".join(_words(body, index, 4))}.'


def _completion_choices(body: Body, how: Behaviour) -> list[Said]:
    said = []
    for index, prompt in enumerate(one for one in _inputs(body.get("prompt"), "prompt") for _ in range(_count(body))):
        text = prompt if isinstance(prompt, str) else f"{len(prompt)} tokens"
        asked = {"model": body.get("model"), "seed": body.get("seed"), "messages": [{"role": "user", "content": text}]}
        content = (text if body.get("echo") is True else "") + " " + _content(asked, how, index)
        one = _stopped(Said(_pieces(content), "stop"), body)
        said.append(_limited(one, body.get("max_tokens", 16)))
    return said


def _stopped(said: Said, body: Body) -> Said:
    stop = body.get("stop")
    stops = [one for one in (stop if isinstance(stop, list) else [stop]) if isinstance(one, str) and one]
    text = "".join(said.content)
    ends = [at for one in stops if (at := text.find(one)) >= 0]
    return msgspec.structs.replace(said, content=_pieces(text[: min(ends)])) if ends else said


def _limited(said: Said, cap: object) -> Said:
    if type(cap) is not int or cap < 0 or said.tokens <= cap:
        return said
    room = cap - len(said.reasoning[:cap])
    calls = []
    for call, pieces in said.calls:
        calls.append((call, pieces[:room]))
        room -= len(pieces[:room])
    return Said(said.content[:room] if not calls else (), "length", said.reasoning[:cap], tuple(calls))


def _message(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant", "content": None if said.calls else "".join(said.content), "refusal": None,
        "annotations": [],
    }
    if said.reasoning:
        message["reasoning_content"] = "".join(said.reasoning)
    if said.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(pieces)}}
            for call, pieces in said.calls
        ]
    return message


def _deltas(said: Said, how: Behaviour) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if said.calls else "", "refusal": None}
    for text in said.reasoning:
        yield {"reasoning_content": text}
    for text in _grouped(said.content, how.chunks):
        yield {"content": text}
    for index, (call, pieces) in enumerate(said.calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        for text in pieces:
            yield {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def _choice(index: int, finish: str | None = None, **said: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"index": index, **said, "logprobs": None, "finish_reason": finish}


def _head(body: Body, prefix: str, kind: str, created: int) -> dict[str, Any]:
    mark = hashlib.sha256(msgspec.json.encode(body)).hexdigest()[:24]
    return {
        "id": f"{prefix}-demo{mark}", "object": kind, "created": created, "model": body.get("model"),
        "service_tier": "default", "system_fingerprint": "fp_demo",
    }


def _usage(read: int, said: Sequence[Said], how: Behaviour) -> dict[str, Any]:
    told = how.usage or {}
    read = told.get("prompt_tokens", read)
    written = told.get("completion_tokens", sum(one.tokens for one in said))
    thought = told.get("reasoning_tokens", sum(len(one.reasoning) for one in said))
    return {
        "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": told.get("cached_tokens", 0), "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def _wants_usage(body: Body, how: Behaviour) -> bool:
    options = body.get("stream_options")
    return not how.no_usage and isinstance(options, dict) and options.get("include_usage") is True


def _count(body: Body) -> int:
    count = body.get("n") or 1
    if type(count) is not int or not 1 <= count <= _MAX_CHOICES:
        raise DemoError(400, f"`n` must be an integer from 1 to {_MAX_CHOICES}.", param="n")
    return count


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(_PIECE.findall(text))


def _grouped(pieces: Sequence[str], count: int | None) -> list[str]:
    """The pieces as `count` texts of about the same length."""
    if count is None or count >= len(pieces):
        return list(pieces)
    marks = [len(pieces) * i // count for i in range(count + 1)]
    return ["".join(pieces[a:b]) for a, b in pairwise(marks)]


def _words(body: Body, index: int, count: int) -> list[str]:
    seed = f"{body.get('model')}|{body.get('seed')}|{index}|{last_user_text(body)}"
    return [_WORDS[byte % len(_WORDS)] for byte in hashlib.shake_128(seed.encode()).digest(count)]


def _inputs(value: object, name: str) -> list[str | list[int]]:
    """A text, texts, tokens, or lists of tokens, as a list of inputs."""
    if isinstance(value, str) or (isinstance(value, list) and value and all(type(one) is int for one in value)):
        value = [value]
    if not isinstance(value, list) or not value or not all(isinstance(one, str | list) and one for one in value):
        raise DemoError(400, f"`{name}` must be a text or tokens, or an array of them, and not empty.", param=name)
    return value


def _tokens_of(one: str | list[int]) -> int:
    return tokens(one) if isinstance(one, str) else len(one)


def _prompt_tokens(body: Body) -> int:
    return sum(_tokens_of(one) for one in _inputs(body.get("prompt"), "prompt"))


def _texts(content: object) -> list[str]:
    if isinstance(content, list):
        return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return [content] if isinstance(content, str) else []


def _vector(one: str | list[int], size: int) -> list[float]:
    words = one.lower().split()[:512] if isinstance(one, str) else [str(token) for token in one[:512]]
    total = [0] * size
    for word in words or [""]:
        for i, byte in enumerate(hashlib.shake_128(word.encode()).digest(size)):
            total[i] += byte - 128
    length = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / length for value in total]


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()
