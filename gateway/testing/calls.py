"""When the demo model calls tools, which ones, and with what: from the request alone."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.testing.sample import sample

_ASKS = re.compile(r"\b(?:call|use|invoke|run)\b.*\b(?:tools?|functions?)\b", re.IGNORECASE | re.DOTALL)
_SEVERAL = re.compile(r"\b(?:parallel|both|all|each|every)\b", re.IGNORECASE)
_MAX_CALLS = 8


class Call(msgspec.Struct, frozen=True):
    """One tool call; `arguments` is JSON that fits the tool's schema."""

    id: str
    name: str
    arguments: str


def calls_for(body: Mapping[str, Any], choice: int = 0) -> list[Call]:
    """The calls that answer this request: none unless it demands one, or its last text asks for one."""
    functions = _functions(body.get("tools"))
    wanted = _wanted(body, functions)
    if body.get("parallel_tool_calls") is False:
        wanted = wanted[:1]
    return [_call(function, body, choice, number) for number, function in enumerate(wanted[:_MAX_CALLS])]


def last_user_text(body: Mapping[str, Any]) -> str:
    """What the user said last."""
    for message in reversed(body.get("messages") or ()):
        if isinstance(message, dict) and message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def tool_results(body: Mapping[str, Any]) -> list[str]:
    """The tool results that end the conversation."""
    found: list[str] = []
    for message in reversed(body.get("messages") or ()):
        if not isinstance(message, dict) or message.get("role") != "tool":
            break
        found.insert(0, _text(message.get("content")))
    return found


def _wanted(body: Mapping[str, Any], functions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return []
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return [function for function in functions if function["name"] == name][:1]
    text = last_user_text(body)
    named = [function for function in functions if _names(text, function["name"])]
    asked = choice == "required" or (not tool_results(body) and (named or _ASKS.search(text)))
    if not asked:
        return []
    if _SEVERAL.search(text):
        several = named or list(functions)
        return several if len(several) > 1 else [*several, *several]
    return named or [functions[0]]


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _call(function: Mapping[str, Any], body: Mapping[str, Any], choice: int, number: int) -> Call:
    seed = msgspec.json.encode([body.get("messages"), function["name"], choice, number])
    arguments = sample(function.get("parameters") or {"type": "object"})
    return Call(
        id=f"call_demo{hashlib.sha256(seed).hexdigest()[:20]}", name=function["name"],
        arguments=msgspec.json.encode(arguments).decode(),
    )


def _functions(tools: object) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found.append(function)
    return found


def _text(content: object) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
