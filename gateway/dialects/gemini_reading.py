"""A request in Gemini's format, read into the common form. The other direction is in `gemini_writing.py`."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.conversation import (
    Conversation,
    Foreign,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects import fields
from gateway.dialects.gemini_fields import (
    LEVELS,
    MODES,
    NAME,
    array,
    camel,
    flag,
    mapping,
    number,
    text,
    whole,
    word,
    wrong,
)
from gateway.dialects.gemini_parts import MADE, read_call, read_media, read_part
from gateway.dialects.gemini_schema import remembered
from gateway.dialects.media import inline_of, link_of, picture_of
from gateway.errors import InvalidRequest
from gateway.exchange import Request

Json = dict[str, Any]

_TOP = frozenset({"model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier"})
_CONFIG = frozenset({
    "temperature", "topP", "topK", "seed", "frequencyPenalty", "presencePenalty", "responseLogprobs", "logprobs",
    "candidateCount", "stopSequences", "maxOutputTokens", "responseMimeType", "responseSchema", "responseJsonSchema",
    "thinkingConfig", "responseModalities",
})  # fmt: skip
_CALLING = frozenset({"mode", "allowedFunctionNames"})
_PART = frozenset({"text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "fileData"})
_encode = msgspec.json.Encoder().encode
_PARTS = "contents.parts"
_KINDS = (("text", str), ("functionCall", dict), ("inlineData", dict), ("fileData", dict))
_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user", "": "user"}
_JSON = "application/json"


def read_request(request: Request) -> Conversation:
    """The request in the common form. Raises `InvalidRequest` that names the field."""
    body = camel(request.body)
    config = mapping(body, "generationConfig", "generationConfig")
    calling = mapping(mapping(body, "toolConfig", "toolConfig"), "functionCallingConfig", "toolConfig")
    mode = word(calling.get("mode"), MODES).upper()
    foreign = _leftovers(body, config, calling)
    return Conversation(
        dialect=NAME,
        model=request.model,
        messages=(*_system(body), *_Contents(foreign).messages(array(body, "contents", "contents"))),
        stream=request.stream,
        include_usage=True,
        max_output=whole(config, "maxOutputTokens", "generationConfig.maxOutputTokens"),
        tools=tuple(_tools(array(body, "tools", "tools"), strict=mode == "VALIDATED")),
        tool_choice=_choice(mode, calling),
        output=_output(config),
        reasoning=_reasoning(config),
        sampling=_sampling(config),
        modalities=tuple(
            word(item, {}).lower()
            for item in array(config, "responseModalities", "generationConfig.responseModalities")
        ),
        service_tier=text(body, "serviceTier", "serviceTier").lower(),
        foreign=foreign,
    )


def _leftovers(body: Json, config: Json, calling: Json) -> Json:
    """What has no place in the common form, by its path."""
    found = {name: value for name, value in body.items() if name not in _TOP}
    tool_config = mapping(body, "toolConfig", "toolConfig")
    for prefix, holder, known in (
        ("generationConfig", config, _CONFIG), ("toolConfig", tool_config, ("functionCallingConfig",)),
        ("toolConfig.functionCallingConfig", calling, _CALLING),
    ):
        found.update({f"{prefix}.{name}": value for name, value in holder.items() if name not in known})
    return found


def _system(body: Json) -> Iterable[Message]:
    given = body.get("systemInstruction")
    if type(given) is str:  # some clients' short form, which Google's servers take
        given = {"parts": [{"text": given}]}
        body = {**body, "systemInstruction": given}
    parts = array(mapping(body, "systemInstruction", "systemInstruction"), "parts", "systemInstruction.parts")
    texts = [TextPart(text(_object(part, "systemInstruction"), "text", "systemInstruction")) for part in parts]
    return (Message("system", tuple(texts)),) if texts else ()


class _Contents:
    """Reads the turns in order: calls without ids get some, which their results are then matched with by name."""

    def __init__(self, foreign: Json) -> None:
        self._foreign = foreign
        self._calls = 0
        self._open: list[tuple[str, str]] = []  # (name, id) of calls without a result yet

    def messages(self, contents: list[Any]) -> list[Message]:
        found: list[Message] = []
        for number_, content in enumerate(contents):
            try:
                self._content(_object(content, "contents"), found)
            except InvalidRequest as error:
                fields.place(error, "contents", f"[{number_}]")
                raise
        return found

    def _content(self, turn: Json, found: list[Message]) -> None:
        role = _ROLES.get(text(turn, "role", "contents.role"))
        if role is None:
            raise InvalidRequest("Please use a valid role: user, model.", param="contents.role")
        parts = array(turn, "parts", "contents.parts")
        if len(parts) > fields.MAX_PARTS:
            raise InvalidRequest(f"A content has more than {fields.MAX_PARTS} parts.", param="contents.parts")
        self._turn(role, parts, found)

    def _turn(self, role: Role, parts: list[Any], found: list[Message]) -> None:
        """One message, or several where results of tools stand beside other parts."""
        group: list[Part] = []
        of: Role = role
        for number_, item in enumerate(parts):
            try:
                given = _object(item, "contents.parts")
                is_result = given.get("functionResponse") is not None
                part = self._result(given) if is_result else self._part(given)
            except InvalidRequest as error:
                fields.place(error, "contents.parts", f"[{number_}]")
                raise
            if group and is_result != (of == "tool"):
                found.append(Message(of, tuple(group)))
                group = []
            of = "tool" if is_result else role
            if part is not None:
                group.append(part)
        if group:
            found.append(Message(of, tuple(group)))

    def _part(self, given: Json) -> Part | None:
        said, call = given.get("text"), given.get("functionCall")
        if type(said) is str and len(given) == 1:
            return TextPart(said) if said else None
        if said is None and type(call) is dict and type(call.get("args")) is dict:
            signature = given.get("thoughtSignature")
            part: Part | None = read_call(
                call, f"{MADE}{self._calls}", signature if type(signature) is str else ""
            )
        else:
            _check(given)
            part = read_part(given, f"{MADE}{self._calls}")
        if isinstance(part, ToolCall):
            if not part.name:
                raise InvalidRequest("A functionCall needs a name.", param="contents.parts.functionCall")
            self._calls += 1
            self._open.append((part.name, part.id))
        elif isinstance(part, MediaPart):
            for name in given.keys() - _PART:
                self._foreign[f"contents.parts.{name}"] = given[name]
            return _sound(part)
        return part

    def _result(self, given: Json) -> ToolResult:
        answer = mapping(given, "functionResponse", "contents.parts.functionResponse")
        name = text(answer, "name", "contents.parts.functionResponse.name")
        call_id = text(answer, "id", "contents.parts.functionResponse.id")
        for number_, (open_name, open_id) in enumerate(self._open):
            if open_id == call_id or (not call_id and open_name == name):
                del self._open[number_]
                call_id = open_id
                break
        if not call_id:
            raise InvalidRequest(
                f"The functionResponse {name!r} answers no functionCall before it.", param="contents.parts"
            )
        response = answer.get("response")
        if response is not None and type(response) is not dict:
            raise wrong("contents.parts.functionResponse.response", dict)
        parts, error = _response(response or {})
        if "parts" not in answer:
            return ToolResult(call_id, parts, name, error)
        media = array(answer, "parts", "contents.parts.functionResponse.parts")
        more = [read_media(_object(item, "contents.parts.functionResponse.parts")) for item in media]
        return ToolResult(call_id, (*parts, *(_sound(part) for part in more if part is not None)), name, error)


def _check(given: Json) -> None:
    """A part says something, and what it says has the type that it must have."""
    if not given:
        raise InvalidRequest("A part holds nothing: it must have a text, a functionCall or data.", param=_PARTS)
    for name, kind in _KINDS:
        value = given.get(name)
        if value is not None and type(value) is not kind:
            raise wrong(f"{_PARTS}.{name}", kind)
    call = given.get("functionCall")
    if call is not None and type(call.get("args", {})) is not dict and call["args"] is not None:
        raise wrong(f"{_PARTS}.functionCall.args", dict)


def _sound(part: MediaPart) -> MediaPart:
    """The same part, if it is what it says."""
    source = part.source
    if source.kind != "base64":
        if not source.data:
            raise InvalidRequest("`fileUri` is missing.", param=f"{_PARTS}.fileData.fileUri")
        if source.kind == "url":
            link_of(source.data, f"{_PARTS}.fileData.fileUri")
        return part
    if not source.media_type:
        raise InvalidRequest("`mimeType` is missing.", param=f"{_PARTS}.inlineData.mimeType")
    check = picture_of if part.media == "image" else inline_of
    found = check(source.data, source.media_type, f"{_PARTS}.inlineData.data")
    return replace(part, source=replace(source, data=found.data, media_type=found.media_type))


def _response(response: Json) -> tuple[tuple[TextPart, ...], bool]:
    """A function's answer as text: JSON, or the text alone of an object that only reports an error."""
    if not response:
        return (), False
    if len(response) == 1 and "error" in response and type(response["error"]) is str:
        return (TextPart(response["error"]),), True
    return (TextPart(_encode(response).decode()),), False


def _tools(tools: list[Any], *, strict: bool) -> Iterable[Tool | Foreign]:
    for item in tools:
        tool = _object(item, "tools")
        for declaration in array(tool, "functionDeclarations", "tools.functionDeclarations"):
            yield _declared(_object(declaration, "tools.functionDeclarations"), strict=strict)
        rest = {name: value for name, value in tool.items() if name != "functionDeclarations"}
        if rest:
            yield Foreign(NAME, rest)


def _declared(given: Json, *, strict: bool) -> Tool:
    where = "tools.functionDeclarations"
    schema = given.get("parametersJsonSchema")
    if schema is None and (own := given.get("parameters")) is not None:
        schema = remembered(own) if type(own) is dict else own
    if schema is not None and type(schema) is not dict:
        raise wrong(f"{where}.parameters", dict)
    name = text(given, "name", f"{where}.name")
    if not name:
        raise InvalidRequest("A function declaration needs a name.", param=f"{where}.name")
    return Tool(name, text(given, "description", f"{where}.description"), schema, True if strict else None)


def _choice(mode: str, calling: Json) -> ToolChoice | None:
    where = "toolConfig.functionCallingConfig"
    names = tuple(
        name for name in array(calling, "allowedFunctionNames", where) if type(name) is str
    )
    match mode:
        case "ANY" if len(names) == 1:
            return ToolChoice("tool", names[0])
        case "ANY":
            return ToolChoice("required", names=names)
        case "NONE":
            return ToolChoice("none")
        case "AUTO" | "VALIDATED":
            return ToolChoice("auto", names=names)
        case "" | "MODE_UNSPECIFIED":
            return None
    raise InvalidRequest(f"`{where}.mode` must be AUTO, ANY, NONE or VALIDATED.", param=f"{where}.mode")


def _output(config: Json) -> OutputFormat | None:
    schema = config.get("responseJsonSchema")
    if schema is None and (own := config.get("responseSchema")) is not None:
        schema = remembered(own) if type(own) is dict else own
    if schema is not None and type(schema) is not dict:
        raise wrong("generationConfig.responseSchema", dict)
    if schema is not None:
        return OutputFormat("json_schema", schema=schema)
    kind = text(config, "responseMimeType", "generationConfig.responseMimeType")
    if kind in ("", "text/plain"):
        return None
    if kind != _JSON:
        raise InvalidRequest(
            f"`generationConfig.responseMimeType` must be text/plain or {_JSON}, or be sent to a model of Gemini.",
            param="generationConfig.responseMimeType",
        )
    return OutputFormat("json_object")


def _reasoning(config: Json) -> Reasoning | None:
    where = "generationConfig.thinkingConfig"
    given = mapping(config, "thinkingConfig", where)
    if not given:
        return None
    budget = whole(given, "thinkingBudget", f"{where}.thinkingBudget")
    level = word(given.get("thinkingLevel"), LEVELS).lower()
    return Reasoning(
        effort=level if level != "thinking_level_unspecified" else "",
        budget=budget if budget is not None and budget > 0 else None,  # -1: as the model likes, which is the default
        off=budget == 0,
        show=flag(given, "includeThoughts", f"{where}.includeThoughts"),
    )


def _sampling(config: Json) -> Sampling:
    def get(name: str) -> float | None:
        return number(config, name, f"generationConfig.{name}")

    def count(name: str) -> int | None:
        return whole(config, name, f"generationConfig.{name}")

    stop = array(config, "stopSequences", "generationConfig.stopSequences")
    if not all(type(item) is str for item in stop):
        raise wrong("generationConfig.stopSequences", list)
    return Sampling(
        temperature=get("temperature"), top_p=get("topP"), top_k=count("topK"), seed=count("seed"),
        frequency_penalty=get("frequencyPenalty"), presence_penalty=get("presencePenalty"),
        logprobs=flag(config, "responseLogprobs", "generationConfig.responseLogprobs") is True,
        top_logprobs=count("logprobs"), choices=count("candidateCount") or 1, stop=tuple(stop),
    )


def _object(value: object, path: str) -> Json:
    if type(value) is not dict:
        raise wrong(path, dict)
    return camel(value)
