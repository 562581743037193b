"""Bedrock Converse requests -> the common form. The other way is in `bedrock_write.py`.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, and botocore's service model.
"""

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
from gateway.dialects.anthropic_read import CALL_SEAL
from gateway.dialects.bedrock_models import media_type
from gateway.dialects.media import inline_of, picture_of
from gateway.dialects.seals import unseal
from gateway.errors import InvalidRequest
from gateway.exchange import Request

DIALECT = "bedrock.converse"
MORE = "additionalModelRequestFields"
_PLACED = frozenset({
    "model", "modelId", "messages", "system", "inferenceConfig", "toolConfig", MORE, "requestMetadata", "serviceTier",
    "outputConfig",
})
_PLAIN = frozenset({"text", "toolUse", "toolResult"})
_encode = msgspec.json.Encoder().encode
_TOOLS = "toolConfig.tools"
_SPEC = frozenset({"name", "description", "inputSchema", "strict"})


def conversation_of(request: Request) -> Conversation:
    """The request in the common form. Raises `InvalidRequest` that names the field."""
    body = request.body
    turns = fields.objects(body.get("messages"), "messages")
    if not turns:
        raise InvalidRequest("`messages` must have at least one message.", param="messages")
    system = _parts(body.get("system"), "system")
    config = fields.mapping(body, "inferenceConfig", "inferenceConfig")
    tools = fields.mapping(body, "toolConfig", "toolConfig")
    output = fields.mapping(body, "outputConfig", "outputConfig")
    more = dict(fields.mapping(body, MORE, MORE))
    reasoning = _reasoning(more, fields.text(output, "effort", "outputConfig"))
    top_k = _top_k(more)
    foreign = {name: value for name, value in body.items() if name not in _PLACED and value is not None}
    foreign.update({f"{MORE}.{name}": value for name, value in more.items()})
    return Conversation(
        dialect=DIALECT,
        model=request.model,
        messages=(*([Message("system", system)] if system else ()), *_messages(turns)),
        stream=request.stream,
        include_usage=True,
        max_output=request.max_output,
        tools=tuple(_tools(tools)),
        tool_choice=_choice(fields.mapping(tools, "toolChoice", "toolConfig")),
        output=_output(fields.mapping(output, "textFormat", "outputConfig")),
        reasoning=reasoning,
        sampling=Sampling(
            temperature=fields.number(config, "temperature"), top_p=fields.number(config, "topP"), top_k=top_k,
            stop=fields.strings(config.get("stopSequences"), "inferenceConfig.stopSequences"),
        ),
        metadata=fields.mapping(body, "requestMetadata", "requestMetadata") or None,
        service_tier=fields.text(fields.mapping(body, "serviceTier", "serviceTier"), "type", "serviceTier"),
        foreign=foreign,
    )


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
    if role not in ("user", "assistant"):
        raise InvalidRequest(f"The role `{str(role)[:64]}` is not known.", param="messages.role")
    parts = _parts(turn.get("content"), "messages.content")
    if role == "assistant":
        called.update([part.id for part in parts if type(part) is ToolCall])
        return (Message(role, parts),)
    results = tuple([part for part in parts if type(part) is ToolResult])
    if not results:
        return (Message(role, parts),)
    for result in results:
        if result.id not in called:
            raise InvalidRequest(
                f"The tool result for `{result.id[:64]}` follows no call with this id.", param="messages.content"
            )
    if len(results) == len(parts):
        return (Message("tool", results),)
    return Message("tool", results), Message(role, tuple([part for part in parts if type(part) is not ToolResult]))


def _parts(given: Any, param: str) -> tuple[Part, ...]:  # noqa: ANN401 - whatever the caller sent
    """Blocks as parts; a cache point belongs to the part before it, a packed signature to the call behind it."""
    parts: list[Part] = []
    signature = ""
    if type(given) is list and len(given) == 1 and type(only := given[0]) is dict and _PLAIN.issuperset(only):
        try:
            return (_part(only, param),)
        except InvalidRequest as error:
            fields.place(error, param, "[0]")
            raise
    for number, block in enumerate(fields.objects(given, param)):
        if "cachePoint" in block and parts and getattr(parts[-1], "cache", 0) is None:
            parts[-1] = msgspec.structs.replace(parts[-1], cache=cache_of(block))
            continue
        try:
            part = _part(block, param)
        except InvalidRequest as error:
            fields.place(error, param, f"[{number}]")
            raise
        if isinstance(part, Thinking) and part.origin.startswith(CALL_SEAL):
            signature = part.signature
            continue
        if isinstance(part, ToolCall) and signature:
            part, signature = msgspec.structs.replace(part, signature=signature), ""
        parts.append(part)
    return tuple(parts)


def cache_of(block: dict[str, Any]) -> Cache:
    """The breakpoint that a cache point is."""
    point = block.get("cachePoint")
    return Cache(str(point.get("ttl") or "") if type(point) is dict else "")


def _part(block: dict[str, Any], param: str) -> Part:
    if not block:
        raise InvalidRequest("Each block of `content` must hold one of the known kinds of content.", param=param)
    if type(text := block.get("text")) is str:
        return TextPart(text)
    if len(block) == 1:
        (kind, value), = block.items()
    else:
        kind = next((name for name, value in block.items() if value is not None), "")
        value = block.get(kind)
    if type(value) is not dict:
        raise InvalidRequest("Each block of `content` must hold one of the known kinds of content.", param=param)
    if kind == "toolUse" and "type" not in value:
        return _call(value)
    if kind == "toolResult" and "type" not in value:
        return _result(value)
    if kind == "reasoningContent":
        return _thinking(value)
    if kind in ("image", "document", "video", "audio"):
        return _media(kind, value) or Foreign(DIALECT, block)
    if kind == "guardContent":
        guarded = fields.mapping(value, "text", param)
        if guarded:
            return TextPart(fields.text(guarded, "text", param))
        image = fields.mapping(value, "image", param)
        return _media("image", image) or Foreign(DIALECT, block)
    if kind == "citationsContent":
        said = "".join(fields.text(entry, "text", param) for entry in fields.objects(value.get("content"), param))
        return TextPart(said, citations=tuple(fields.objects(value.get("citations"), param)))
    return Foreign(DIALECT, block)


def _call(value: dict[str, Any]) -> ToolCall:
    given = value.get("input")
    if given is not None and type(given) is not dict:
        raise InvalidRequest("`input` of a toolUse block must be an object.", param="messages")
    call, name = value.get("toolUseId"), value.get("name")
    if type(call) is not str or type(name) is not str or not call or not name:
        call, name = fields.needed(value, "toolUseId", "messages"), fields.needed(value, "name", "messages")
    return ToolCall(call, name, _encode(given or {}).decode())


def _result(value: dict[str, Any]) -> ToolResult:
    parts: list[TextPart | MediaPart | Foreign] = []
    content, call = value.get("content"), value.get("toolUseId")
    if type(content) is list and len(content) == 1 and type(call) is str and call and len(value) == 2:
        only = content[0]
        if type(only) is dict and len(only) == 1 and type(only.get("text")) is str:
            return ToolResult(call, (TextPart(only["text"]),))
    for block in fields.objects(value.get("content"), "messages"):
        if "json" in block:
            parts.append(TextPart(msgspec.json.encode(block["json"]).decode()))
            continue
        part = _part(block, "messages")
        if not isinstance(part, TextPart | MediaPart | Foreign):
            raise InvalidRequest("A tool result can hold texts, JSON, images and documents.", param="messages")
        parts.append(part)
    return ToolResult(
        fields.needed(value, "toolUseId", "messages"), tuple(parts), error=value.get("status") == "error"
    )


def _thinking(value: dict[str, Any]) -> Thinking:
    redacted = fields.text(value, "redactedContent", "messages")
    if redacted:
        known = unseal(redacted, DIALECT)
        return Thinking(signature=known.signature, redacted=True, origin=known.origin)
    said = fields.mapping(value, "reasoningText", "messages")
    known = unseal(fields.text(said, "signature", "messages"), DIALECT)
    return Thinking(fields.text(said, "text", "messages"), known.signature, origin=known.origin)


def _media(kind: str, value: dict[str, Any]) -> MediaPart | None:
    """An image, document, film or sound; `None` for one that only Bedrock can reach."""
    source = fields.mapping(value, "source", "messages")
    mime = media_type(kind, fields.text(value, "format", "messages"))
    if type(source.get("bytes")) is str:
        data = source["bytes"]
        found = (picture_of if kind == "image" else inline_of)(data, mime, "messages.source.bytes")
    elif kind == "document" and type(source.get("text")) is str:
        found = Source("text", source["text"], mime)
    elif "s3Location" in source or "content" in source:
        return None
    else:
        raise InvalidRequest(f"`source` of a block of the kind {kind} must have `bytes`.", param="messages")
    citations = value.get("citations")
    return MediaPart(
        kind, found, title=fields.text(value, "name", "messages"),  # type: ignore[arg-type]
        context=fields.text(value, "context", "messages"),
        cite=type(citations) is dict and citations.get("enabled") is True,
    )


def _tools(config: dict[str, Any]) -> list[Tool | Foreign]:
    found: list[Tool | Foreign] = []
    for number, entry in enumerate(fields.objects(config.get("tools"), _TOOLS)):
        if not entry or ("toolSpec" in entry and type(entry["toolSpec"]) is not dict):
            raise InvalidRequest("Each of `tools` must hold a `toolSpec`.", param=f"{_TOOLS}[{number}]")
        if "toolSpec" in entry:
            found.append(_tool(entry["toolSpec"], f"{_TOOLS}[{number}].toolSpec"))
        elif "cachePoint" in entry and found and isinstance(last := found[-1], Tool) and last.cache is None:
            found[-1] = msgspec.structs.replace(last, cache=cache_of(entry))
        else:
            found.append(Foreign(DIALECT, entry))
    return found


def _tool(spec: dict[str, Any], param: str) -> Tool:
    schema = fields.mapping(fields.mapping(spec, "inputSchema", param), "json", param)
    foreign = {name: value for name, value in spec.items() if name not in _SPEC and value is not None}
    return Tool(
        fields.needed(spec, "name", param), fields.text(spec, "description", param), schema or None,
        fields.boolean(spec, "strict"), None, foreign,
    )


def _choice(given: dict[str, Any]) -> ToolChoice | None:
    if not given:
        return None
    if "tool" in given:
        tool = fields.mapping(given, "tool", "toolConfig")
        return ToolChoice("tool", fields.needed(tool, "name", "toolConfig"))
    if "any" in given:
        return ToolChoice("required")
    if "auto" in given:
        return ToolChoice("auto")
    raise InvalidRequest("`toolChoice` must be auto, any or tool.", param="toolConfig")


def _output(given: dict[str, Any]) -> OutputFormat | None:
    if not given:
        return None
    structure = fields.mapping(given, "structure", "outputConfig")
    wanted = fields.mapping(structure, "jsonSchema", "outputConfig")
    try:
        schema = msgspec.json.decode(fields.needed(wanted, "schema", "outputConfig"))
    except (msgspec.DecodeError, RecursionError):
        schema = None
    if type(schema) is not dict:
        raise InvalidRequest("The schema in `outputConfig` is not the text of a JSON object.", param="outputConfig")
    return OutputFormat(
        "json_schema", fields.text(wanted, "name", "outputConfig"), schema, True,
        fields.text(wanted, "description", "outputConfig"),
    )


def _reasoning(more: dict[str, Any], effort: str) -> Reasoning | None:
    """How much to think, as the families ask for it; what is understood is taken out of `more`."""
    thinking, config = more.get("thinking"), more.get("reasoning_config")
    nova = more.get("reasoningConfig")
    if type(config) is dict and "thinking" not in more:  # the older name for Claude
        thinking = config
        del more["reasoning_config"]
    elif type(thinking) is dict:
        del more["thinking"]
    if type(thinking) is dict:
        kind, display = thinking.get("type"), thinking.get("display")
        return Reasoning(
            effort=effort or ("medium" if kind == "adaptive" else ""),
            budget=fields.integer(thinking, "budget_tokens", 1), off=kind == "disabled",
            show={"summarized": True, "omitted": False}.get(display) if type(display) is str else None,
        )
    if type(nova) is dict:
        del more["reasoningConfig"]
        effort = fields.text(nova, "maxReasoningEffort", MORE)
        return Reasoning(effort=effort, off=nova.get("type") == "disabled")
    for name in ("reasoning_effort", "reasoning_config"):
        if type(told := more.get(name)) is str:
            del more[name]
            return Reasoning(effort=told, off=told in ("none", "disabled"))
    return Reasoning(effort=effort) if effort else None


def _top_k(more: dict[str, Any]) -> int | None:
    config = more.get("inferenceConfig")  # Nova's
    if type(config) is dict and config.keys() == {"topK"}:
        del more["inferenceConfig"]
        return fields.integer(config, "topK")
    for name in ("top_k", "topK"):
        if type(more.get(name)) is int:
            return int(more.pop(name))
    return None
