"""A request in the common form, written for Gemini. What Gemini cannot carry is told by name, never left out silently.

The contents are written in `gemini_contents.py`, the other direction is in `gemini_reading.py`.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import Conversation, MediaPart, OutputFormat, Sampling, Tool, ToolChoice
from gateway.dialects.gemini_contents import LONGEST, write_contents
from gateway.dialects.gemini_fields import NAME
from gateway.dialects.gemini_schema import accepted, ordered, to_schema
from gateway.dialects.written import foreign_name
from gateway.errors import InvalidRequest
from gateway.exchange import Target

Json = dict[str, Any]

_VERSION = re.compile(r"gemini-([0-9]{1,3}(?:\.[0-9]{1,3})?)")
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}
# Whose clients see the reasoning that they ask for, unless they say otherwise.
_SHOWN = frozenset({"openai.chat", "anthropic.messages", "bedrock.converse"})
_LONGEST_REMEMBERED = 16 * 1024  # bytes of a schema
_TIERS = {"flex": "flex", "priority": "priority", "standard": "standard", "default": "standard"}
ANSWER = "give_answer"


def version(model: str) -> float:
    """The generation of a Gemini model by its name, which decides what it takes; the newest where it does not say."""
    match = _VERSION.search(model)
    if match:
        return float(match[1])
    return 1.0 if "gemma" in model or "learnlm" in model else 3.0


def write_request(conversation: Conversation, target: Target, translation: Translation) -> Json:
    """The body for `generateContent` and `streamGenerateContent`. Raises `InvalidRequest` for what cannot be sent."""
    if conversation.previous:
        raise InvalidRequest(
            "Gemini keeps no responses: send the whole conversation instead of `previous_response_id`.",
            param="previous_response_id",
        )
    generation = version(target.model)
    system, contents = write_contents(conversation, generation, translation)
    body: Json = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    config = _sampling(conversation.sampling, translation)
    if conversation.max_output is not None:
        config["maxOutputTokens"] = conversation.max_output
    tools = _tools(conversation, translation)
    calling = _calling(conversation, translation)
    _answer(conversation, generation, config, tools, calling, translation)
    thinking = _thinking(conversation, target.model, generation, translation)
    if thinking:
        config["thinkingConfig"] = thinking
    if (detail := _detail(conversation, translation)) is not None:
        config["mediaResolution"] = detail
    if conversation.modalities:
        config["responseModalities"] = [name.upper() for name in conversation.modalities]
    if tools:
        body["tools"] = tools
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}
    if config:
        body["generationConfig"] = config
    _settings(conversation, target, body, translation)
    return body


def _sampling(given: Sampling, translation: Translation) -> Json:
    config: Json = {
        "temperature": given.temperature, "topP": given.top_p, "topK": given.top_k, "seed": given.seed,
        "frequencyPenalty": given.frequency_penalty, "presencePenalty": given.presence_penalty,
        "responseLogprobs": True if given.logprobs else None,
        "logprobs": given.top_logprobs if given.logprobs else None,
        "candidateCount": given.choices if given.choices > 1 else None,
        "stopSequences": list(given.stop) or None,
    }
    if given.min_p is not None:
        translation.drop("min_p")
    if given.logit_bias:
        translation.drop("logit_bias")
    return {name: value for name, value in config.items() if value is not None}


def _tools(conversation: Conversation, translation: Translation) -> list[Json]:
    declarations: list[Json] = []
    others: list[Json] = []
    for tool in conversation.tools:
        if isinstance(tool, Tool):
            declarations.append(_declaration(tool, translation))
            if tool.cache is not None:
                translation.drop("cache_control")
        elif tool.dialect == NAME:
            others.append(tool.value)
        else:
            translation.drop(foreign_name(tool))
    return [{"functionDeclarations": declarations}, *others] if declarations else others


def _declaration(tool: Tool, translation: Translation) -> Json:
    made: Json = {"name": translation.named(tool.name, LONGEST)}
    if tool.description:
        made["description"] = tool.description
    made.update(_parameters(tool.schema))
    return made


def _parameters(schema: Json | None) -> Json:
    """The schema of a function's arguments, worked out once: clients send the same tools again and again."""
    if not schema:
        return {}
    raw = msgspec.json.encode(schema)
    return _remembered(raw) if len(raw) <= _LONGEST_REMEMBERED else _worked_out(raw)


@lru_cache(512)
def _remembered(raw: bytes) -> Json:
    return _worked_out(raw)  # shared by requests, none of which changes it


def _worked_out(raw: bytes) -> Json:
    """The schema of an object without properties is left out: there are no arguments."""
    schema: Json = msgspec.json.decode(raw)
    if schema.keys() <= {"type", "properties", "$schema"} and not schema.get("properties"):
        return {}
    own = to_schema(schema)
    return {"parametersJsonSchema": accepted(schema)} if own is None else {"parameters": own}


def _calling(conversation: Conversation, translation: Translation) -> Json:
    choice = conversation.tool_choice
    functions = [tool for tool in conversation.tools if isinstance(tool, Tool)]
    if conversation.parallel_tools is False and functions:
        translation.drop("parallel_tool_calls")
    if choice is None and not any(tool.strict for tool in functions):
        return {}
    choice = choice or ToolChoice("auto")
    if not functions:
        return {"mode": "AUTO"} if choice.mode == "auto" else {}
    made: Json = {}
    match choice.mode:
        case "auto":
            made["mode"] = "VALIDATED" if all(tool.strict for tool in functions) else "AUTO"
        case "none":
            made["mode"] = "NONE"
        case "required":
            made["mode"] = "ANY"
        case "tool":
            made["mode"] = "ANY"
            made["allowedFunctionNames"] = [translation.named(choice.name, LONGEST)]
    if choice.names and choice.mode != "none":
        made["allowedFunctionNames"] = [translation.named(name, LONGEST) for name in choice.names]
        if made["mode"] == "AUTO":
            made["mode"] = "VALIDATED"  # the other mode that lets the model choose, and takes names
    return made


def _answer(
    conversation: Conversation, generation: float, config: Json, tools: list[Json], calling: Json,
    translation: Translation,
) -> None:
    """Structured output: as Gemini's own, or, where a model has no such output beside tools, through a forced call."""
    output = conversation.output
    if output is None:
        return
    declared = tools[0].get("functionDeclarations") if tools else None
    if declared and generation < 3 and calling.get("mode") != "NONE":
        if output.schema is None:
            translation.drop("response_format")
            return
        declared.append({
            "name": ANSWER, "description": output.description or "Give the final answer to the user by calling this.",
            **_parameters(output.schema),
        })
        translation.answer_tool = ANSWER
        if calling.get("mode") != "ANY":
            calling["mode"] = "ANY"
        if "allowedFunctionNames" in calling:
            calling["allowedFunctionNames"] = [*calling["allowedFunctionNames"], ANSWER]
        return
    config.update(_format(output))


def _format(output: OutputFormat) -> Json:
    made: Json = {"responseMimeType": "application/json"}
    if output.schema is not None:
        own = to_schema(output.schema)
        if own is None:
            made["responseJsonSchema"] = accepted(output.schema)
        else:
            made["responseSchema"] = ordered(own)
    return made


def _thinking(conversation: Conversation, model: str, generation: float, translation: Translation) -> Json:
    given = conversation.reasoning
    if given is None:
        return {}
    off = given.off or given.effort == "none"
    if generation < 2.5:
        if not off and (given.effort or given.budget or given.show):
            translation.drop("reasoning")
        return {}
    show = given.show
    if show is None and not off and conversation.dialect in _SHOWN:
        show = True
    made: Json = {} if show is None else {"includeThoughts": show}
    pro = "pro" in model
    if off and generation < 3:
        made["thinkingBudget"] = 128 if pro else 0  # the larger models cannot be told not to think
    elif off:
        made["thinkingLevel"] = "LOW" if pro else "MINIMAL"
    elif given.budget is not None:
        made["thinkingBudget"] = min(given.budget, 32768 if pro or generation >= 3 else 24576)
    elif generation < 3 and given.effort in _BUDGETS:
        made["thinkingBudget"] = min(_BUDGETS[given.effort], 32768 if pro else 24576)
    elif given.effort in _LEVELS:
        level = _LEVELS[given.effort]
        made["thinkingLevel"] = "LOW" if pro and level == "MINIMAL" else level
    elif given.effort:
        translation.drop("reasoning")
    return made


def _detail(conversation: Conversation, translation: Translation) -> str | None:
    """One resolution holds for all media: carried if the caller wants the same for each."""
    wanted = {
        part.detail for message in conversation.messages for part in message.parts
        if isinstance(part, MediaPart) and part.detail in ("low", "high")
    }
    if len(wanted) > 1:
        translation.drop("detail")
    return f"MEDIA_RESOLUTION_{wanted.pop().upper()}" if len(wanted) == 1 else None


def _settings(conversation: Conversation, target: Target, body: Json, translation: Translation) -> None:
    """What says how the request is served, and what only Gemini knows."""
    tier = conversation.service_tier
    if tier in _TIERS:
        if not getattr(target.provider, "vertex", False):
            body["serviceTier"] = _TIERS[tier]
        elif tier in ("flex", "priority"):
            translation.headers["x-vertex-ai-llm-shared-request-type"] = tier
    elif tier not in ("", "auto"):
        translation.drop("service_tier")
    for name, given in (
        ("user", conversation.user), ("metadata", conversation.metadata), ("store", conversation.store),
        ("verbosity", conversation.verbosity), ("prompt_cache_key", conversation.cache_key),
    ):
        if given:
            translation.drop(name)
    for name, value in conversation.foreign.items():
        if conversation.dialect == NAME:
            _put(body, name, value)
        else:
            translation.drop(name)


def _put(body: Json, path: str, value: Any) -> None:  # noqa: ANN401
    if path.startswith("contents."):
        return
    *holders, name = path.split(".")
    for holder in holders:
        body = body.setdefault(holder, {})
    body[name] = value
