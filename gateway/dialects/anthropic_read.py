"""Anthropic Messages requests -> the common form. The other way is in `anthropic_write.py`.

Source: platform.claude.com/docs/en/api/messages, and the types of the published SDK.
"""

from collections.abc import Iterator
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
from gateway.dialects.media import inline_of, link_of, picture_of
from gateway.dialects.seals import unseal
from gateway.errors import InvalidRequest
from gateway.exchange import Request

DIALECT = "anthropic.messages"
CALL_SEAL = "call/"  # a signature that belongs to the call behind it, packed as redacted thinking
_PLACED = frozenset({
    "model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice", "thinking", "output_config",
    "output_format", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier",
})
_encode = msgspec.json.Encoder().encode
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})


def conversation_of(request: Request) -> Conversation:
    """The request in the common form. Raises `InvalidRequest` that names the field."""
    body = request.body
    turns = fields.objects(body.get("messages"), "messages")
    if not turns:
        raise InvalidRequest("`messages` must have at least one message.", param="messages")
    messages = [*_system(body.get("system")), *_messages(turns)]
    metadata = fields.mapping(body, "metadata", "metadata")
    choice = fields.mapping(body, "tool_choice", "tool_choice")
    alone = fields.boolean(choice, "disable_parallel_tool_use")
    config = fields.mapping(body, "output_config", "output_config")
    foreign = {name: value for name, value in body.items() if name not in _PLACED and value is not None}
    foreign.update({f"output_config.{name}": config[name] for name in config if name not in ("effort", "format")})
    return Conversation(
        dialect=DIALECT,
        model=request.model,
        messages=tuple(messages),
        stream=request.stream,
        include_usage=True,
        max_output=request.max_output,
        tools=fields.entries(body, "tools", _tool),
        tool_choice=_choice(choice),
        parallel_tools=None if alone is None else not alone,
        output=_output(
            fields.mapping(config, "format", "output_config") or fields.mapping(body, "output_format", "output_format")
        ),
        reasoning=_reasoning(
            fields.mapping(body, "thinking", "thinking"), fields.text(config, "effort", "output_config")
        ),
        sampling=Sampling(
            temperature=fields.number(body, "temperature"), top_p=fields.number(body, "top_p"),
            top_k=fields.integer(body, "top_k"), stop=fields.strings(body.get("stop_sequences"), "stop_sequences"),
        ),
        user=fields.text(metadata, "user_id", "metadata"),
        metadata={name: value for name, value in metadata.items() if name != "user_id"} or None,
        service_tier=fields.text(body, "service_tier", "service_tier"),
        foreign=foreign,
    )


def _system(given: Any) -> Iterator[Message]:  # noqa: ANN401 - text or blocks
    if type(given) is str:
        if given:
            yield Message("system", (TextPart(given),))
    elif given is not None:
        parts = tuple(fields.every(fields.objects(given, "system"), "system", _block))
        if parts:
            yield Message("system", parts)


def _messages(turns: list[dict[str, Any]]) -> list[Message]:
    called: set[str] = set()
    found: list[Message] = []
    for number, turn in enumerate(turns):
        try:
            found += _turn(turn, called)
        except InvalidRequest as error:
            fields.place(error, "messages", f"[{number}]")
            raise
    return found


def _turn(turn: dict[str, Any], called: set[str]) -> tuple[Message, ...]:
    """A turn as a message, or two: results of tools stand alone."""
    role = turn.get("role")
    if role not in ("user", "assistant", "system"):
        raise InvalidRequest(f"The role `{str(role)[:64]}` is not known.", param="messages.role")
    content = turn.get("content")
    if type(content) is str:
        return (Message(role, (TextPart(content),)),)
    parts = _signed(fields.every(fields.objects(content, "messages.content"), "messages.content", _block))
    if role == "assistant":
        called.update([part.id for part in parts if type(part) is ToolCall])
        return (Message(role, tuple(parts)),)
    results = tuple([part for part in parts if type(part) is ToolResult])
    if not results:
        return (Message(role, tuple(parts)),)
    for result in results:
        if result.id not in called:
            raise InvalidRequest(
                f"The tool result for `{result.id[:64]}` follows no call with this id.", param="messages.content"
            )
    if len(results) == len(parts):
        return (Message("tool", results),)
    return Message("tool", results), Message(role, tuple([part for part in parts if type(part) is not ToolResult]))


def _signed(parts: list[Part]) -> list[Part]:
    """The parts; a call gets the signature that stands packed before it."""
    if Thinking not in map(type, parts):
        return parts
    signature = ""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, Thinking) and part.origin.startswith(CALL_SEAL):
            signature = part.signature
        elif isinstance(part, ToolCall) and signature:
            found.append(msgspec.structs.replace(part, signature=signature))
            signature = ""
        else:
            found.append(part)
    return found


def cache_of(block: dict[str, Any]) -> Cache | None:
    """The breakpoint behind a block."""
    control = block.get("cache_control")
    return Cache(str(control.get("ttl") or "")) if type(control) is dict else None


def _block(block: dict[str, Any]) -> Part:
    kind = block.get("type")
    if kind == "text":
        if len(block) == 2 and type(text := block.get("text")) is str:
            return TextPart(text)
        if block.get("text") is None:
            raise InvalidRequest("`text` is missing.", param="messages.text")
        citations = block.get("citations")
        cited = tuple(fields.objects(citations, "messages")) if citations else ()
        return TextPart(fields.text(block, "text", "messages"), cache_of(block), cited)
    if kind in ("image", "document"):
        return _media(block, kind)
    if kind == "tool_use":
        arguments, call, name = block.get("input"), block.get("id"), block.get("name")
        if arguments is not None and type(arguments) is not dict:
            raise InvalidRequest("`input` of a tool_use block must be an object.", param="messages")
        if type(call) is not str or type(name) is not str or not call or not name:
            call, name = fields.needed(block, "id", "messages"), fields.needed(block, "name", "messages")
        return ToolCall(call, name, _encode(arguments or {}).decode(), "", None if len(block) == 4 else cache_of(block))
    if kind == "tool_result":
        return _result(block)
    if kind == "thinking":
        known = unseal(fields.text(block, "signature", "messages"), DIALECT)
        return Thinking(fields.text(block, "thinking", "messages"), known.signature, origin=known.origin)
    if kind == "redacted_thinking":
        known = unseal(fields.text(block, "data", "messages"), DIALECT)
        return Thinking(signature=known.signature, redacted=True, origin=known.origin)
    if type(kind) is not str or not kind:
        raise InvalidRequest("Each block of `content` must have a `type`.", param="messages")
    return Foreign(DIALECT, block)


def _result(block: dict[str, Any]) -> ToolResult:
    content, call = block.get("content"), block.get("tool_use_id")
    if type(content) is str and type(call) is str and call and len(block) == 3:
        return ToolResult(call, (TextPart(content),))
    parts: list[Part] = []
    if type(content) is str:
        parts.append(TextPart(content))
    else:
        parts += fields.every(fields.objects(content, "messages.content"), "messages.content", _block)
    kept = tuple(part for part in parts if isinstance(part, TextPart | MediaPart | Foreign))
    if len(kept) != len(parts):
        raise InvalidRequest("A tool result can hold texts, images and documents.", param="messages")
    return ToolResult(
        fields.needed(block, "tool_use_id", "messages"), kept, error=block.get("is_error") is True,
        cache=cache_of(block),
    )


def _media(block: dict[str, Any], kind: str) -> Part:
    source = fields.mapping(block, "source", "messages")
    sort = source.get("type")
    title = fields.text(block, "title", "messages")
    if sort == "base64":
        data, said = fields.needed(source, "data", "messages"), fields.needed(source, "media_type", "messages")
        found = (picture_of if kind == "image" else inline_of)(data, said, "messages.source")
    elif sort == "url":
        found = link_of(fields.needed(source, "url", "messages"), "messages.source")
    elif sort == "file":
        found = Source("file", fields.needed(source, "file_id", "messages"))
    elif sort == "text":
        found = Source("text", fields.text(source, "data", "messages"), "text/plain")
    elif sort == "content":
        return Foreign(DIALECT, block)
    else:
        raise InvalidRequest(f"`source` of a block of the type {kind} must be base64, url or file.", param="messages")
    citations = block.get("citations")
    return MediaPart(
        kind, found, title=title, context=fields.text(block, "context", "messages"),  # type: ignore[arg-type]
        cite=type(citations) is dict and citations.get("enabled") is True, cache=cache_of(block),
    )


def _tool(tool: dict[str, Any]) -> Tool | Foreign:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        if type(kind) is not str:
            raise InvalidRequest("`type` of a tool must be a string.", param="tools.type")
        return Foreign(DIALECT, tool)
    schema = fields.mapping(tool, "input_schema", "tools")
    foreign = {name: value for name, value in tool.items() if name not in _TOOL and value is not None}
    return Tool(
        fields.needed(tool, "name", "tools"), fields.text(tool, "description", "tools"), schema or None,
        fields.boolean(tool, "strict"), cache_of(tool), foreign,
    )


def _choice(given: dict[str, Any]) -> ToolChoice | None:
    kind = given.get("type")
    if not given:
        return None
    if kind == "tool":
        return ToolChoice("tool", fields.needed(given, "name", "tool_choice"))
    known = {"auto": "auto", "any": "required", "none": "none"}
    if kind not in known:
        raise InvalidRequest("`tool_choice` must be auto, any, tool or none.", param="tool_choice")
    return ToolChoice(known[kind])  # type: ignore[arg-type]


def _output(given: dict[str, Any]) -> OutputFormat | None:
    if not given:
        return None
    if given.get("type") != "json_schema":
        raise InvalidRequest("The output's format must be json_schema.", param="output_config")
    return OutputFormat("json_schema", schema=fields.mapping(given, "schema", "output_config"), strict=True)


def _reasoning(thinking: dict[str, Any], effort: str) -> Reasoning | None:
    if not thinking and not effort:
        return None
    kind = thinking.get("type")
    if thinking and kind not in ("enabled", "disabled", "adaptive"):
        raise InvalidRequest("`type` of `thinking` must be enabled, disabled or adaptive.", param="thinking.type")
    display = thinking.get("display")
    return Reasoning(
        effort=effort or ("medium" if kind == "adaptive" else ""),
        budget=fields.integer(thinking, "budget_tokens", 1), off=kind == "disabled",
        show={"summarized": True, "omitted": False}.get(display) if type(display) is str else None,
    )
