"""OpenAI Responses requests -> the common form. The other way is in `responses_write.py`.

Source: platform.openai.com/docs/api-reference/responses, and the types of the published SDK.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.conversation import (
    Conversation,
    Foreign,
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
from gateway.dialects.responses_items import CALLS, DIALECT, RESULTS, call_of, part_of, signed, thinking_of
from gateway.errors import InvalidRequest
from gateway.exchange import Request

# Top-level fields that have a place in the common form, or that say nothing to a target.
_PLACED = frozenset({
    "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "tools", "tool_choice",
    "parallel_tool_calls", "text", "reasoning", "temperature", "top_p", "user", "metadata", "service_tier",
    "store", "previous_response_id", "prompt_cache_key", "include", "truncation", "background", "conversation",
    "prompt", "top_logprobs", "safety_identifier", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty",
})
_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id",
    "reasoning", "service_tier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user", "prompt_cache_key", "safety_identifier",
)
_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}
# What `include` may ask for that every reply has, and for which nothing has to be carried.
_ALWAYS = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs", "message.input_image.image_url"})
_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
_NO_STORE = (
    "The provider of this model keeps no responses: {what} cannot be used with it. Send the whole conversation as "
    "`input`."
)


def conversation_of(request: Request) -> Conversation:
    """The request in the common form. Raises `InvalidRequest` that names the field."""
    body = request.body
    _need_no_store(body)
    text = fields.mapping(body, "text", "text")
    include = fields.strings(body.get("include"), "include")
    tools, choice = fields.entries(body, "tools", _tool), _tool_choice(body.get("tool_choice"))
    return Conversation(
        dialect=DIALECT,
        model=request.model,
        messages=_messages(body),
        stream=request.stream,
        include_usage=True,
        max_output=request.max_output,
        tools=tools,
        tool_choice=choice if isinstance(choice, ToolChoice) else None,
        parallel_tools=fields.boolean(body, "parallel_tool_calls") if tools else None,
        output=_output(fields.mapping(text, "format", "text")),
        reasoning=_reasoning(fields.mapping(body, "reasoning", "reasoning")),
        sampling=_sampling(body, include),
        verbosity=fields.text(text, "verbosity", "text"),
        user=fields.text(body, "user", "user") or fields.text(body, "safety_identifier", "safety_identifier"),
        metadata=fields.mapping(body, "metadata", "metadata") or None,
        service_tier=fields.text(body, "service_tier", "service_tier"),
        previous=fields.text(body, "previous_response_id", "previous_response_id"),
        cache_key=fields.text(body, "prompt_cache_key", "prompt_cache_key"),
        foreign=_foreign(body, include, choice),
        echo={name: body[name] for name in _ECHOED if name in body},
    )


def _need_no_store(body: dict[str, Any]) -> None:
    """What only a service that keeps responses can do has no translation."""
    if body.get("background") is True:
        raise InvalidRequest(_NO_STORE.format(what="`background`"), param="background")
    for name in ("conversation", "prompt"):
        if body.get(name) is not None:
            raise InvalidRequest(_NO_STORE.format(what=f"`{name}`"), param=name)


def _foreign(body: dict[str, Any], include: tuple[str, ...], choice: Any) -> dict[str, Any]:  # noqa: ANN401
    foreign = {name: value for name, value in body.items() if name not in _PLACED and value is not None}
    if body.get("store") is True:  # what is not asked to be kept is not kept; this would be missed
        foreign["store"] = True
    if body.get("truncation") == "auto":
        foreign["truncation"] = "auto"
    if more := [name for name in include if name not in _ALWAYS]:
        foreign["include"] = more
    if type(choice) is dict:
        foreign["tool_choice"] = choice
    return foreign


def _messages(body: dict[str, Any]) -> tuple[Message, ...]:
    found: list[Message] = []
    if instructions := body.get("instructions"):
        if type(instructions) is not str:
            raise InvalidRequest("`instructions` must be a string.", param="instructions")
        found.append(Message("system", (TextPart(instructions),)))
    given = body.get("input")
    if type(given) is str:
        if given:
            found.append(Message("user", (TextPart(given),)))
    else:
        found += _turns(fields.objects(given, "input"), continued=body.get("previous_response_id") is not None)
    if not found:
        raise InvalidRequest("`input` must have text or at least one item.", param="input")
    return tuple(found)


def _turns(items: list[dict[str, Any]], *, continued: bool) -> list[Message]:
    """Items as messages: what the model said between two of others' is one turn of its."""
    reader = _Items(continued=continued)
    for number, item in enumerate(items):
        try:
            reader.item(item)
        except InvalidRequest as error:
            fields.place(error, "input", f"[{number}]")
            raise
    reader.end_turn()
    return reader.found


class _Items:
    """Reads items in their order into `found`."""

    def __init__(self, *, continued: bool) -> None:
        self.found: list[Message] = []
        self._continued = continued
        self._said: list[Part] = []
        self._called: set[str] = set()

    def item(self, item: dict[str, Any]) -> None:
        """One item: it ends what the model said, or is added to it."""
        kind = item.get("type") or "message"
        if kind in CALLS:
            call = call_of(item)
            self._called.add(call.id)
            self._said.append(call)
        elif kind in RESULTS:
            self.end_turn()
            self.found.append(Message("tool", (_result(item, self._called, continued=self._continued),)))
        elif kind == "message":
            role = item.get("role")
            if role == "assistant":
                self._said += _content(item)
                return
            self.end_turn()
            if type(role) is not str or role not in _ROLES:
                missing = "`role` is missing." if role is None else f"The role `{str(role)[:64]}` is not known."
                raise InvalidRequest(missing, param="input.role")
            self.found.append(Message(_ROLES[role], tuple(_content(item))))
        elif kind == "reasoning":
            self._said.append(thinking_of(item))
        elif kind == "item_reference":
            raise InvalidRequest(_NO_STORE.format(what="an `item_reference`"), param="input")
        elif type(kind) is str:
            self._said.append(Foreign(DIALECT, item))
        else:
            raise InvalidRequest("Each item of `input` must have a `type`.", param="input.type")

    def end_turn(self) -> None:
        """The model's turn ends, if it had one."""
        if self._said:
            self.found.append(Message("assistant", tuple(signed(self._said))))
            self._said.clear()


def _content(item: dict[str, Any]) -> Iterator[Part]:
    content = item.get("content")
    if type(content) is str:
        if content:
            yield TextPart(content)
        return
    yield from fields.every(fields.objects(content, "input.content"), "input.content", part_of)


def _result(item: dict[str, Any], called: set[str], *, continued: bool) -> ToolResult:
    call = fields.needed(item, "call_id", "input")
    if call not in called and not continued:
        raise InvalidRequest(f"The tool result for `{call[:64]}` follows no call with this id.", param="input.call_id")
    output = item.get("output")
    if type(output) is str and output and item.get("status") != "incomplete":
        return ToolResult(call, (TextPart(output),))
    if type(output) is list:
        parts = tuple(_content({"content": output}))
    elif type(output) is str or output is None:
        parts = (TextPart(output),) if output else ()
    else:
        parts = (TextPart(msgspec.json.encode(output).decode()),)
    kept = tuple(part for part in parts if not isinstance(part, ToolCall | ToolResult))
    return ToolResult(call, kept, error=item.get("status") == "incomplete")  # type: ignore[arg-type]


def _tool(tool: dict[str, Any]) -> Tool | Foreign:
    kind = tool.get("type")
    if kind == "function":
        schema = tool.get("parameters")
        if schema is not None and type(schema) is not dict:
            raise InvalidRequest("`parameters` of a function must be a JSON Schema.", param="tools")
        return Tool(
            fields.needed(tool, "name", "tools"), fields.text(tool, "description", "tools"), schema,
            fields.boolean(tool, "strict"),
        )
    if kind == "custom":
        format_ = fields.mapping(tool, "format", "tools")
        foreign = {"format": format_} if format_.get("type", "text") != "text" else {}
        return Tool(
            fields.needed(tool, "name", "tools"), fields.text(tool, "description", "tools"), _CUSTOM,
            foreign=foreign, custom=True,
        )
    if type(kind) is not str or not kind:
        raise InvalidRequest("Each of `tools` must have a `type`.", param="tools.type")
    return Foreign(DIALECT, tool)


def _tool_choice(given: Any) -> ToolChoice | dict[str, Any] | None:  # noqa: ANN401 - whatever the caller sent
    """The choice; a choice of a tool that only OpenAI has is returned as it is."""
    if given is None:
        return None
    if type(given) is str:
        if given not in ("auto", "none", "required"):
            raise InvalidRequest("`tool_choice` must be auto, none, required or a tool.", param="tool_choice")
        return ToolChoice(given)  # type: ignore[arg-type]
    choice = fields.mapping({"tool_choice": given}, "tool_choice", "tool_choice")
    if choice.get("type") == "allowed_tools":
        tools = fields.objects(choice.get("tools"), "tool_choice")
        names = tuple(name for tool in tools if (name := fields.text(tool, "name", "tool_choice")))
        return ToolChoice("required" if choice.get("mode") == "required" else "auto", names=names)
    if choice.get("type") in ("function", "custom"):
        return ToolChoice("tool", fields.needed(choice, "name", "tool_choice"))
    return choice


def _output(given: dict[str, Any]) -> OutputFormat | None:
    kind = given.get("type")
    if not given or kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat("json_object")
    if kind != "json_schema":
        raise InvalidRequest("`text.format` must be text, json_object or json_schema.", param="text")
    schema = given.get("schema")
    if schema is not None and type(schema) is not dict:
        raise InvalidRequest("`schema` must be a JSON Schema.", param="text")
    return OutputFormat(
        "json_schema", fields.text(given, "name", "text", "answer") or "answer", schema,
        fields.boolean(given, "strict"), fields.text(given, "description", "text"),
    )


def _reasoning(given: dict[str, Any]) -> Reasoning | None:
    effort = fields.text(given, "effort", "reasoning")
    summary = fields.text(given, "summary", "reasoning") or fields.text(given, "generate_summary", "reasoning")
    if not effort and not summary:
        return None
    return Reasoning(effort, off=effort == "none", show=True if summary else None, summary=summary)


def _sampling(body: dict[str, Any], include: tuple[str, ...]) -> Sampling:
    """The standard's few fields, and those of vLLM's server beside them."""
    most = fields.integer(body, "top_logprobs", 0)
    wanted = "message.output_text.logprobs" in include
    return Sampling(
        temperature=fields.number(body, "temperature"), top_p=fields.number(body, "top_p"),
        top_k=fields.integer(body, "top_k"), min_p=fields.number(body, "min_p"), seed=fields.integer(body, "seed"),
        frequency_penalty=fields.number(body, "frequency_penalty"),
        presence_penalty=fields.number(body, "presence_penalty"),
        logprobs=wanted or bool(most), top_logprobs=most if most or wanted else None,
    )
