"""Recorded exchanges with Gemini and Vertex AI, and what is the same in Google's JSON however it is spelt."""

import json
from pathlib import Path

from recordings import SHARED

from gateway.dialects.gemini_fields import BLOCK, FINISH, camel
from gateway.dialects.gemini_schema import accepted, to_json_schema


def recordings(*endpoints):
    """(id, recording) of every exchange with these endpoints."""
    found = []
    for file in sorted(Path(SHARED).glob("recordings/gemini/*.json")):
        recording = json.loads(file.read_text())
        if recording["endpoint"] in endpoints:
            found.append((recording["id"], recording))
    return found


def same_request(body):
    """A request with one spelling for all that Google's servers read alike.

    - names in camel case; enumerations in upper case
    - `Schema` and JSON Schema as JSON Schema; an order of properties is the one they stand in
    - base64 in the usual alphabet, where some SDKs send that of the web
    - left out: empty objects and texts that say nothing, the role of a system instruction, which has only one,
      `candidateCount: 1`, the model's name, which the URL has
    """
    made = {name: value for name, value in camel(body).items() if name != "model"}
    if "systemInstruction" in made:
        made["systemInstruction"] = {"parts": made["systemInstruction"]["parts"]}
    made["contents"] = [_content(content) for content in made["contents"]]
    config = camel(made.pop("generationConfig", {}))
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    if "thinkingConfig" in config:
        thinking = config["thinkingConfig"] = camel(config["thinkingConfig"])
        if "thinkingLevel" in thinking:
            thinking["thinkingLevel"] = thinking["thinkingLevel"].upper()
    own, other = config.pop("responseSchema", None), config.pop("responseJsonSchema", None)
    if own or other:
        config["schema"] = to_json_schema(own) if own else accepted(other)
    if config:
        made["generationConfig"] = config
    if "tools" in made:
        made["tools"] = [_tool(camel(tool)) for tool in made["tools"]]
    return made


def _content(content):
    parts = []
    for part in map(camel, content["parts"]):
        for name in ("functionCall", "functionResponse", "inlineData", "fileData"):
            if name in part:
                part = {**part, name: camel(part[name])}
        if "inlineData" in part:
            data = part["inlineData"]
            part = {**part, "inlineData": {**data, "data": data["data"].replace("-", "+").replace("_", "/")}}
        if "parts" in part.get("functionResponse", {}):
            answer = part["functionResponse"]
            nested = [
                {name: camel(value) if isinstance(value, dict) else value for name, value in camel(item).items()}
                for item in answer["parts"]
            ]
            part = {**part, "functionResponse": {**answer, "parts": nested}}
        parts.append(part)
    return {"role": content.get("role", "user"), "parts": parts}


def _tool(tool):
    made = dict(tool)
    if "functionDeclarations" in made:
        made["functionDeclarations"] = [_declaration(camel(item)) for item in made["functionDeclarations"]]
    return made


def _declaration(given):
    made = {name: value for name, value in given.items() if value != ""}
    own, other = made.pop("parameters", None), made.pop("parametersJsonSchema", None)
    if own or other:
        made["schema"] = to_json_schema(own) if own else accepted(other)
    return made


# What a reply says beside its content, which no other dialect has a place for, and Gemini's native path keeps as bytes.
NOT_KEPT = {"avgLogprobs", "createTime", "trafficType", "tokenId"}


def same_reply(body):
    """A reply without what the common form has no place for, and with words for numbers."""
    made = {name: value for name, value in body.items() if name not in NOT_KEPT}
    made["modelVersion"] = made["modelVersion"].removeprefix("models/")
    made["candidates"] = [
        _candidate(number, candidate) for number, candidate in enumerate(made.get("candidates", ()))
    ]
    if "promptFeedback" in made:
        reason = made["promptFeedback"].get("blockReason")
        made["promptFeedback"]["blockReason"] = BLOCK.get(reason, reason)
    usage = made.pop("usageMetadata", {})
    kept = {
        name: value for name, value in usage.items() if name.endswith("TokenCount") and name != "totalTokenCount"
    }
    kept["promptTokenCount"] = kept.get("promptTokenCount", 0) + kept.pop("toolUsePromptTokenCount", 0)
    made["usageMetadata"] = {name: value for name, value in kept.items() if value}
    return made


def _candidate(number, candidate):
    made = {name: value for name, value in candidate.items() if name not in NOT_KEPT}
    reason = made.get("finishReason")
    made["finishReason"] = FINISH.get(reason, reason)
    made.setdefault("index", number)
    made["content"] = {"role": "model", **made.get("content", {})}
    if "logprobsResult" in made:
        made["logprobsResult"] = json.loads(
            json.dumps(made["logprobsResult"]), object_hook=lambda item: {k: v for k, v in item.items() if k not in NOT_KEPT}
        )
    return made
