"""OpenAI chat requests -> the common form. The other way is in `openai_chat_write.py`.

Source: platform.openai.com/docs/api-reference/chat; beside it the fields that OpenRouter, LiteLLM, DeepSeek and vLLM
added and that clients use: `reasoning_content`, `reasoning_details`, `thinking_blocks`, `reasoning`, `thinking`,
`cache_control`, `extra_content.google.thought_signature`, `top_k`, `min_p`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.conversation import (
    Cache,
    Conversation,
    Foreign,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Role,
    Sampling,
    Source,
    TextPart,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects import fields
from gateway.dialects.media import inline_of, media_of, source_of
from gateway.errors import InvalidRequest
from gateway.exchange import Request

DIALECT = "openai.chat"
_ROLES: Mapping[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}
_REASONED = frozenset({"reasoning_details", "thinking_blocks", "reasoning_content", "reasoning"})
_CALLING = {"role", "content", "tool_calls"}
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}
# Top-level fields that have a place in the common form.
_PLACED = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "tools", "functions",
    "tool_choice", "function_call", "parallel_tool_calls", "response_format", "reasoning_effort", "reasoning",
    "thinking", "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty", "logit_bias",
    "logprobs", "top_logprobs", "n", "stop", "verbosity", "modalities", "user", "metadata", "service_tier", "store",
    "prompt_cache_key",
})


def conversation_of(request: Request) -> Conversation:
    """The request in the common form. Raises `InvalidRequest` that names the field."""
    body = request.body
    messages = fields.objects(body.get("messages"), "messages")
    if not messages:
        raise InvalidRequest("`messages` must have at least one message.", param="messages")
    return Conversation(
        dialect=DIALECT,
        model=request.model,
        messages=_checked(fields.every(messages, "messages", _message)),
        stream=request.stream,
        include_usage=request.include_usage,
        max_output=request.max_output,
        tools=(*fields.entries(body, "tools", _entry), *fields.entries(body, "functions", _tool)),
        tool_choice=_tool_choice(body),
        parallel_tools=fields.boolean(body, "parallel_tool_calls"),
        output=_output(fields.mapping(body, "response_format", "response_format")),
        reasoning=_reasoning(body),
        sampling=_sampling(body, request.choices),
        verbosity=fields.text(body, "verbosity", "verbosity"),
        modalities=fields.strings(body.get("modalities"), "modalities"),
        user=fields.text(body, "user", "user"),
        metadata=body.get("metadata") and fields.mapping(body, "metadata", "metadata"),
        service_tier=fields.text(body, "service_tier", "service_tier"),
        store=fields.boolean(body, "store"),
        cache_key=fields.text(body, "prompt_cache_key", "prompt_cache_key"),
        foreign={name: value for name, value in body.items() if name not in _PLACED and value is not None},
    )


def _checked(messages: list[Message]) -> tuple[Message, ...]:
    """Every result must have its call before it: no target takes one without."""
    called: set[str] = set()
    for number, message in enumerate(messages):
        for part in message.parts:
            kind = type(part)
            if kind is ToolCall:
                called.add(part.id)  # type: ignore[union-attr]
            elif kind is ToolResult and part.id not in called:  # type: ignore[union-attr]
                raise InvalidRequest(
                    f"The tool result for `{part.id[:64]}` follows no call with this id.",  # type: ignore[union-attr]
                    param=f"messages[{number}].tool_call_id",
                )
    return tuple(messages)


def _message(message: dict[str, Any]) -> Message:
    role, content = message.get("role"), message.get("content")
    if type(role) is not str or not role:
        role = fields.needed(message, "role", "messages.role")
    if type(content) is str and content and len(message) == 2 and role in _ROLES:  # as nearly all are
        return Message(_ROLES[role], (TextPart(content),))
    if role in ("tool", "function"):
        return _result(message, role)
    if role == "assistant" and not content and message.keys() == _CALLING and (calls := _plain_calls(message)):
        return Message("assistant", calls)
    if role not in _ROLES:
        raise InvalidRequest(
            f"The role `{role[:64]}` is not known: use system, developer, user, assistant or tool.",
            param="messages.role",
        )
    parts: list[Part] = []
    if role == "assistant" and not _REASONED.isdisjoint(message):
        parts += thinking_of(message)
    parts += _content(message)
    if role == "assistant":
        if refusal := fields.text(message, "refusal", "messages"):
            parts.append(Refusal(refusal))
        if type(message.get("audio")) is dict:
            parts.append(Foreign(DIALECT, {"audio": message["audio"]}))
        parts += calls_of(message)
    cache = cache_of(message)
    if cache is not None and parts and isinstance(parts[-1], TextPart | MediaPart) and parts[-1].cache is None:
        parts[-1] = msgspec.structs.replace(parts[-1], cache=cache)
    return Message(_ROLES[role], tuple(parts), fields.text(message, "name", "messages"))


def _result(message: dict[str, Any], role: str) -> Message:
    content, call = message.get("content"), message.get("tool_call_id")
    if type(content) is str and type(call) is str and call and content and len(message) == 3:
        return Message("tool", (ToolResult(call, (TextPart(content),)),))
    name = fields.text(message, "name", "messages")
    call = fields.needed(message, "tool_call_id" if role == "tool" else "name", "messages")
    parts = tuple(part for part in _content(message) if isinstance(part, TextPart | MediaPart | Foreign))
    return Message("tool", (ToolResult(call, parts, name, cache=cache_of(message)),))


def cache_of(holder: dict[str, Any]) -> Cache | None:
    """Anthropic's breakpoint, which many clients put into OpenAI's parts."""
    control = holder.get("cache_control")
    return Cache(str(control.get("ttl") or "")) if type(control) is dict else None


def _content(message: dict[str, Any]) -> Iterator[Part]:
    content = message.get("content")
    if type(content) is str:
        if content:
            yield TextPart(content)
        return
    if content is None:
        return
    if type(content) is not list:
        raise InvalidRequest(
            "`content` of a message must be a string or an array of parts.", param="messages.content"
        )
    if len(content) > fields.MAX_PARTS:
        raise InvalidRequest(f"A message has more than {fields.MAX_PARTS} parts.", param="messages.content")
    yield from fields.every(content, "messages.content", _part)


def _part(part: Any) -> Part:  # noqa: ANN401 - whatever the caller sent
    if type(part) is str:
        return TextPart(part)
    if type(part) is not dict:
        raise InvalidRequest("Each part of `content` must be an object.", param="messages")
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text"):
        if part.get("text") is None:
            raise InvalidRequest("`text` is missing.", param="messages.text")
        return TextPart(fields.text(part, "text", "messages"), cache_of(part))
    if kind == "refusal":
        return Refusal(fields.text(part, "refusal", "messages"))
    if kind in ("image_url", "video_url", "audio_url"):
        return _linked(part, kind)
    if kind == "input_audio":
        audio = fields.mapping(part, kind, "messages")
        format_ = fields.text(audio, "format", "messages", "wav")
        data = fields.needed(audio, "data", "messages")
        return MediaPart("audio", inline_of(data, _AUDIO.get(format_, f"audio/{format_[:32]}"), "messages"))
    if kind == "file":
        return _file(part)
    if type(kind) is not str or not kind:
        raise InvalidRequest("Each part of `content` must have a `type`.", param="messages.type")
    return Foreign(DIALECT, part)


def _linked(part: dict[str, Any], kind: str) -> Part:
    given = part.get(kind)
    linked = {"url": given} if type(given) is str else fields.mapping(part, kind, "messages")
    sort = kind.removesuffix("_url")
    source = source_of(fields.needed(linked, "url", "messages"), "messages", image=sort == "image")
    detail = fields.text(linked, "detail", "messages")
    return MediaPart(sort, source, detail=detail, cache=cache_of(part))  # type: ignore[arg-type]


def _file(part: dict[str, Any]) -> Part:
    file = fields.mapping(part, "file", "messages")
    name = fields.text(file, "filename", "messages")
    if known := fields.text(file, "file_id", "messages"):
        return MediaPart("document", Source("file", known, name=name), title=name, cache=cache_of(part))
    data = fields.needed(file, "file_data", "messages")
    if data[:5] != "data:" and "://" not in data[:20]:
        data = f"data:application/pdf;base64,{data}"
    source = msgspec.structs.replace(source_of(data, "messages"), name=name)
    return MediaPart(media_of(source.media_type), source, title=name, cache=cache_of(part))


def _plain_calls(message: dict[str, Any]) -> tuple[ToolCall, ...]:
    """The calls of a message that has nothing else; none if there is more to one of them than its arguments."""
    given, found = message["tool_calls"], []
    if type(given) is not list:
        return ()
    for call in given:
        if type(call) is not dict or len(call) != 3 or call.get("type") != "function":
            return ()
        id_, function = call.get("id"), call.get("function")
        if type(id_) is not str or not id_ or type(function) is not dict or len(function) != 2:
            return ()
        name, arguments = function.get("name"), function.get("arguments")
        if type(name) is not str or not name or type(arguments) is not str:
            return ()
        found.append(ToolCall(id_, name, arguments or "{}"))
    return tuple(found)


def calls_of(message: dict[str, Any]) -> Iterator[ToolCall | Foreign]:
    """The calls of a message, of a request or a reply."""
    for number, call in enumerate(fields.objects(message.get("tool_calls"), "messages.tool_calls")):
        function = call.get("function")
        if type(function) is not dict:
            if "function" in call or type(call.get("type")) is not str:
                raise InvalidRequest(
                    "`function` of a tool call must be an object.", param=f"messages.tool_calls[{number}]"
                )
            yield Foreign(DIALECT, call)
            continue
        arguments = function.get("arguments")
        if arguments is not None and type(arguments) is not str:
            arguments = msgspec.json.encode(arguments).decode()  # some servers send the object itself
        extra = call.get("extra_content")
        google = extra.get("google") if type(extra) is dict else None
        signature = google.get("thought_signature") if type(google) is dict else None
        name, id_ = function.get("name"), call.get("id")
        if type(name) is not str or not name:
            name = fields.needed(function, "name", "messages")
        if type(id_) is not str or not id_:
            id_ = fields.text(call, "id", "messages") or f"call_{number}_{name}"
        yield ToolCall(
            id_, name, arguments or "{}",
            signature if type(signature) is str else "", cache_of(call),
        )
    if legacy := fields.mapping(message, "function_call", "messages"):
        name = fields.needed(legacy, "name", "messages")
        yield ToolCall(name, name, fields.text(legacy, "arguments", "messages") or "{}")


def thinking_of(message: dict[str, Any]) -> list[Thinking]:
    """The reasoning in a message of a request or a reply: signed pieces if there are any, else the plain text."""
    details = message.get("reasoning_details")
    details = [detail for detail in details if type(detail) is dict] if type(details) is list else []
    found = [piece for detail in details if (piece := thinking_detail(detail)) is not None]
    blocks = message.get("thinking_blocks")
    for block in blocks if type(blocks) is list and not found else ():
        if type(block) is dict and block.get("type") == "redacted_thinking":
            found.append(Thinking(signature=str(block.get("data") or ""), redacted=True, origin="anthropic.messages"))
        elif type(block) is dict:
            text, signature = str(block.get("thinking") or ""), str(block.get("signature") or "")
            found.append(Thinking(text, signature, origin="anthropic.messages" if signature else DIALECT))
    plain = next((t for name in ("reasoning_content", "reasoning") if type(t := message.get(name)) is str and t), "")
    if not found:
        return [Thinking(plain, origin=DIALECT)] if plain else []
    if plain and not any(piece.text for piece in found):  # a client that kept the signatures apart from the text
        at = next((number for number, piece in enumerate(found) if not piece.redacted), None)
        if at is not None:
            found[at] = msgspec.structs.replace(found[at], text=plain)
    return found


def thinking_detail(detail: dict[str, Any]) -> Thinking | None:
    """One entry of `reasoning_details`."""
    kind = detail.get("type")
    origin = str(detail.get("format") or DIALECT)
    id_ = str(detail.get("id") or "")
    signature = str(detail.get("signature") or "")
    if kind == "reasoning.encrypted":
        return Thinking(signature=str(detail.get("data") or ""), redacted=True, origin=_origin(origin), id=id_)
    if kind == "reasoning.summary":
        return Thinking(str(detail.get("summary") or ""), signature, origin=_origin(origin), summary=True, id=id_)
    if kind == "reasoning.text":
        return Thinking(str(detail.get("text") or ""), signature, origin=_origin(origin), id=id_)
    return None


def _origin(format_: str) -> str:
    """OpenRouter has names of its own for the formats of signatures."""
    known = {"anthropic-claude-v1": "anthropic.messages", "google-gemini-v1": "gemini.generate"}
    return known.get(format_, format_)


def _entry(tool: dict[str, Any]) -> Tool | Foreign:
    function, kind = tool.get("function"), tool.get("type") or "function"
    if kind == "function":
        if type(function) is not dict:
            raise InvalidRequest("`function` of a tool must be an object.", param="tools.function")
        return _tool(function, cache_of(tool))
    if type(kind) is not str:
        raise InvalidRequest("`type` of a tool must be a string.", param="tools.type")
    return Foreign(DIALECT, tool)


def _tool(function: dict[str, Any], cache: Cache | None = None) -> Tool:
    schema = function.get("parameters")
    if schema is not None and type(schema) is not dict:
        raise InvalidRequest("`parameters` of a function must be a JSON Schema.", param="tools")
    return Tool(
        fields.needed(function, "name", "tools"), fields.text(function, "description", "tools"), schema,
        fields.boolean(function, "strict"), cache or cache_of(function),
    )


def _tool_choice(body: dict[str, Any]) -> ToolChoice | None:
    given = body.get("tool_choice")
    if given is None:
        given = body.get("function_call")
        given = {"type": "function", "function": given} if type(given) is dict else given
    if given is None:
        return None
    if type(given) is str:
        if given not in ("auto", "none", "required"):
            raise InvalidRequest("`tool_choice` must be auto, none, required or a tool.", param="tool_choice")
        return ToolChoice(given)  # type: ignore[arg-type]
    choice = fields.mapping({"tool_choice": given}, "tool_choice", "tool_choice")
    if choice.get("type") == "allowed_tools":
        allowed = fields.mapping(choice, "allowed_tools", "tool_choice")
        tools = [
            fields.mapping(tool, "function", "tool_choice")
            for tool in fields.objects(allowed.get("tools"), "tool_choice")
        ]
        names = tuple(fields.needed(tool, "name", "tool_choice") for tool in tools)
        return ToolChoice("required" if allowed.get("mode") == "required" else "auto", names=names)
    sort = str(choice.get("type") or "function")
    return ToolChoice("tool", fields.needed(fields.mapping(choice, sort, "tool_choice"), "name", "tool_choice"))


def _output(given: dict[str, Any]) -> OutputFormat | None:
    kind = given.get("type")
    if not given or kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat("json_object")
    if kind != "json_schema":
        raise InvalidRequest("`response_format` must be text, json_object or json_schema.", param="response_format")
    asked = fields.mapping(given, "json_schema", "response_format")
    if not asked:
        raise InvalidRequest("`json_schema` is missing.", param="response_format.json_schema")
    schema = asked.get("schema")
    if schema is not None and type(schema) is not dict:
        raise InvalidRequest("`schema` must be a JSON Schema.", param="response_format")
    return OutputFormat(
        "json_schema", fields.text(asked, "name", "response_format", "answer") or "answer", schema,
        fields.boolean(asked, "strict"), fields.text(asked, "description", "response_format"),
    )


def _reasoning(body: dict[str, Any]) -> Reasoning | None:
    effort = fields.text(body, "reasoning_effort", "reasoning_effort")
    given = fields.mapping(body, "reasoning", "reasoning")
    thinking = fields.mapping(body, "thinking", "thinking")
    effort = effort or fields.text(given, "effort", "reasoning")
    budget = fields.integer(given, "max_tokens", 1) or fields.integer(thinking, "budget_tokens", 1)
    off = effort == "none" or given.get("enabled") is False or thinking.get("type") == "disabled"
    show = not given["exclude"] if type(given.get("exclude")) is bool else None
    if not (effort or given or thinking):
        return None
    if not effort and budget is None and not off:
        effort = "medium"
    return Reasoning(effort, budget, off, show, fields.text(given, "summary", "reasoning"))


def _sampling(body: dict[str, Any], choices: int) -> Sampling:
    bias = fields.mapping(body, "logit_bias", "logit_bias")
    return Sampling(
        temperature=fields.number(body, "temperature"), top_p=fields.number(body, "top_p"),
        top_k=fields.integer(body, "top_k"), min_p=fields.number(body, "min_p"), seed=fields.integer(body, "seed"),
        frequency_penalty=fields.number(body, "frequency_penalty"),
        presence_penalty=fields.number(body, "presence_penalty"), logit_bias=bias or None,
        logprobs=fields.boolean(body, "logprobs") or False, top_logprobs=fields.integer(body, "top_logprobs", 0),
        choices=choices, stop=fields.strings(body.get("stop"), "stop"),
    )
