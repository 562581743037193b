"""What every conversation must fulfil before it is translated, whatever dialect it came in. Each error names the
field as its dialect calls it. The shape of single fields is checked where they are read.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.conversation import Conversation, Tool, ToolCall, ToolChoice
from gateway.errors import InvalidRequest

_EFFORTS = frozenset({"", "none", "minimal", "low", "medium", "high", "xhigh", "max"})
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class _Fields(msgspec.Struct, frozen=True):
    """Where a dialect has the turns, the choice of a tool, the effort, and the arguments of calls."""

    turns: str
    choice: str
    effort: str
    arguments: str


_FIELDS: Mapping[str, _Fields] = MappingProxyType({
    "openai.chat": _Fields("messages", "tool_choice", "reasoning_effort", "messages.tool_calls.function.arguments"),
    "openai.responses": _Fields("input", "tool_choice", "reasoning.effort", "input.arguments"),
    "anthropic.messages": _Fields("messages", "tool_choice", "output_config.effort", "messages.content.input"),
    "gemini.generate": _Fields(
        "contents", "toolConfig.functionCallingConfig", "generationConfig.thinkingConfig.thinkingLevel",
        "contents.parts.functionCall.args",
    ),
    "bedrock.converse": _Fields(
        "messages", "toolConfig.toolChoice", "additionalModelRequestFields", "messages.content.toolUse.input"
    ),
})
_ARGUMENTS = "arguments"


def check(asked: Conversation) -> None:
    """Raise `InvalidRequest` for a conversation that no target could answer as it is meant."""
    names = _FIELDS[asked.dialect]
    if not any(message.parts for message in asked.messages):
        raise InvalidRequest("No message has any content.", param=names.turns)
    if asked.tool_choice is not None:
        _check_choice(asked, asked.tool_choice, names.choice)
    if asked.reasoning is not None and asked.reasoning.effort not in _EFFORTS:
        raise InvalidRequest(
            f"`{names.effort}` must be none, minimal, low, medium, high, xhigh or max.", param=names.effort
        )


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """A call's arguments for a target that wants them as an object. Raises `InvalidRequest` for other text."""
    try:
        return _decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise InvalidRequest(
            f"The arguments of the call `{call.id[:64]}` of the tool `{call.name[:64]}` are not a JSON object.",
            param=_ARGUMENTS,
        ) from None


def renamed(error: InvalidRequest, dialect: str) -> None:
    """Put the caller's own name of a field into an error that a writer raised, which knows only the common form."""
    names = _FIELDS.get(dialect)
    if names is not None and error.param in ("messages", _ARGUMENTS):
        error.param = names.turns if error.param == "messages" else names.arguments


def _check_choice(asked: Conversation, choice: ToolChoice, param: str) -> None:
    wanted = {choice.name, *choice.names} - {""}
    if not asked.tools and (wanted or choice.mode in ("required", "tool")):
        raise InvalidRequest("A tool must be called, but the request has no tools.", param=param)
    known = {tool.name for tool in asked.tools if isinstance(tool, Tool)}
    if len(known) == len(asked.tools) and (unknown := wanted - known):
        raise InvalidRequest(f"The tool `{min(unknown)[:64]}` to be called is not among the tools.", param=param)
