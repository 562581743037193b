"""Whole replies in Gemini's format, and what they share with streams: finish reasons, tokens, log probabilities."""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import Answer, Choice, Part, Reason, TextPart, ToolCall
from gateway.dialects.gemini_citations import citations_of, grounding_of
from gateway.dialects.gemini_fields import BLOCK, FINISH, NAME, camel, word
from gateway.dialects.gemini_parts import MADE, arguments_of, read_part, write_part
from gateway.dialects.gemini_usage import usage_of, write_usage
from gateway.errors import UpstreamCut
from gateway.jsonbody import UNREADABLE, read_lenient

Json = dict[str, Any]

_REASONS: dict[str, Reason] = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "LANGUAGE": "content_filter", "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter", "IMAGE_SAFETY": "content_filter", "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter", "MODEL_ARMOR": "content_filter", "JAILBREAK": "content_filter",
    "FINISH_REASON_UNSPECIFIED": "stop",
}
_WORDS: dict[str, str] = {
    "length": "MAX_TOKENS", "content_filter": "SAFETY", "refusal": "SAFETY", "error": "OTHER",
}


def read_reply(body: bytes, translation: Translation) -> Answer:
    """A whole reply. Raises `UpstreamCut` for what is none."""
    tree = read_lenient(body)
    if tree is UNREADABLE or type(tree) is not dict:
        raise UpstreamCut("The upstream answered with something that is no JSON object.")
    tree = camel(tree)
    choices = tuple(
        _choice(candidate, number, translation) for number, candidate in enumerate(candidates_of(tree))
    )
    feedback = object_in(tree, "promptFeedback")
    if not choices and (blocked := word(feedback.get("blockReason"), BLOCK)):
        choices = (Choice((), "content_filter", blocked),)
    if not choices:
        raise UpstreamCut("The upstream answered with neither candidates nor a reason for none.")
    return Answer(
        dialect=NAME, id=text_in(tree, "responseId"), model=text_in(tree, "modelVersion").removeprefix("models/"),
        choices=choices, usage=usage_of(tree), foreign=_foreign(tree, feedback),
    )


def candidates_of(tree: Json) -> list[Json]:
    """The candidates of a reply or chunk."""
    found = tree.get("candidates")
    return [camel(item) for item in found if type(item) is dict] if type(found) is list else []


def parts_of(candidate: Json) -> list[Json]:
    """The parts of a candidate's content, which may lack both."""
    parts = object_in(candidate, "content").get("parts")
    return [camel(part) for part in parts if type(part) is dict] if type(parts) is list else []


def call_id(translation: Translation, choice: int, number: int) -> str:
    """An id for a call that came without one: unlike any other of its conversation."""
    return f"{MADE}_{translation.request_id[-16:]}_{choice}_{number}"


def reason_of(candidate: Json, *, called: bool) -> tuple[Reason, str]:
    """Why it ended, and Gemini's word for it; ("stop", "") where it has not. Calls are `STOP` there."""
    raw = word(candidate.get("finishReason"), FINISH)
    reason = _REASONS.get(raw, "error" if raw else "stop")
    if called and reason in ("stop", "error"):
        reason = "tool_calls"
    return reason, raw


def finish_word(reason: Reason, raw: str, dialect: str) -> str:
    """Gemini's word for the end of a choice."""
    if dialect == NAME and raw:
        return raw
    return _WORDS.get(reason, "STOP")


def write_reply(answer: Answer, translation: Translation) -> bytes:
    """A whole reply for a client of Gemini's format."""
    own = answer.foreign if answer.dialect == NAME else {}
    if len(answer.choices) == 1 and not answer.choices[0].parts and "promptFeedback" in own:
        tree: Json = {"promptFeedback": own["promptFeedback"]}
    else:
        tree = {"candidates": [_candidate(choice, number, answer) for number, choice in enumerate(answer.choices)]}
    if answer.usage is not None:
        tree["usageMetadata"] = write_usage(answer.usage)
    tree["modelVersion"] = answer.model
    tree["responseId"] = answer.id or translation.request_id
    return msgspec.json.encode(tree)


def read_logprobs(result: Json) -> Json | None:
    """Log probabilities in the shape of OpenAI's chat replies."""
    chosen, top = result.get("chosenCandidates"), result.get("topCandidates")
    if type(chosen) is not list:
        return None
    others = top if type(top) is list else []
    content = []
    for number, item in enumerate(chosen):
        entry = _token(item)
        beside = object_at(others, number).get("candidates")
        entry["top_logprobs"] = [_token(other) for other in beside] if type(beside) is list else []
        content.append(entry)
    return {"content": content, "refusal": None}


def write_logprobs(logprobs: Json) -> Json:
    """The same in Gemini's shape."""
    entries = logprobs.get("content")
    entries = [entry for entry in entries if type(entry) is dict] if type(entries) is list else []
    return {
        "chosenCandidates": [_chosen(entry) for entry in entries],
        "topCandidates": [{"candidates": list(map(_chosen, entry.get("top_logprobs") or ()))} for entry in entries],
    }


def object_in(holder: Json, name: str) -> Json:
    """The object in a field, leniently."""
    value = holder.get(name)
    return camel(value) if type(value) is dict else {}


def text_in(holder: Json, name: str) -> str:
    """The string in a field, leniently."""
    value = holder.get(name)
    return value if type(value) is str else ""


def object_at(items: list[Any], number: int) -> Json:
    """The object at a place of a list, leniently."""
    value = items[number] if number < len(items) else None
    return value if type(value) is dict else {}


def _choice(candidate: Json, number: int, translation: Translation) -> Choice:
    parts: list[Part] = []
    called = 0
    for given in parts_of(candidate):
        part = read_part(given, call_id(translation, number, called))
        if isinstance(part, ToolCall):
            called += 1
            if part.name == translation.answer_tool != "":
                part = TextPart(part.arguments, signature=part.signature)
                called -= 1
            else:
                part = msgspec.structs.replace(part, name=translation.called(part.name))
        if part is not None:
            parts.append(part)
    reason, raw = reason_of(candidate, called=called > 0)
    return Choice(
        tuple(_cited(parts, candidate)), reason, raw,
        logprobs=read_logprobs(object_in(candidate, "logprobsResult")),
    )


def _cited(parts: list[Part], candidate: Json) -> Iterable[Part]:
    """The parts, each text with the citations that stand in it."""
    if "groundingMetadata" not in candidate and "citationMetadata" not in candidate:
        return parts
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    found = iter(citations_of(candidate, texts))
    return [
        msgspec.structs.replace(part, citations=tuple(next(found))) if isinstance(part, TextPart) else part
        for part in parts
    ]


def _foreign(tree: Json, feedback: Json) -> Json:
    found = {"promptFeedback": feedback} if feedback else {}
    for candidate in candidates_of(tree)[:1]:
        for name in ("groundingMetadata", "urlContextMetadata", "finishMessage", "safetyRatings"):
            if name in candidate:
                found[name] = candidate[name]
    return found


def _candidate(choice: Choice, number: int, answer: Answer) -> Json:
    made: Json = {"content": {"role": "model"}, "index": number}
    finish = finish_word(choice.reason, choice.raw_reason, answer.dialect)
    parts = []
    for part in choice.parts:
        if isinstance(part, ToolCall) and arguments_of(part.arguments) is None:
            finish = "MALFORMED_FUNCTION_CALL"
            made["finishMessage"] = f"Malformed function call: {part.name}({part.arguments[:1000]})"
        elif (written := write_part(part)) is not None:
            parts.append(written)
    if parts:
        made["content"]["parts"] = parts
    made["finishReason"] = finish
    if choice.logprobs is not None:
        made["logprobsResult"] = write_logprobs(choice.logprobs)
    if answer.dialect == NAME:
        made.update({name: value for name, value in answer.foreign.items() if name != "promptFeedback" and not number})
    elif grounding := grounding_of(choice.parts):
        made["groundingMetadata"] = grounding
    return made


def _token(item: Any) -> Json:  # noqa: ANN401
    given = camel(item) if type(item) is dict else {}
    token = text_in(given, "token")
    value = given.get("logProbability")
    return {
        "token": token, "logprob": value if type(value) in (int, float) else 0.0, "bytes": list(token.encode()),
    }


def _chosen(entry: Any) -> Json:  # noqa: ANN401
    given = entry if type(entry) is dict else {}
    return {"token": text_in(given, "token"), "logProbability": given.get("logprob", 0.0)}
