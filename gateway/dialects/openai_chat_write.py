"""The common form -> requests in OpenAI's chat format, for OpenAI itself and for all that speak its API.

What a server takes beyond the standard is said by its provider (`takes`): `top_k`, `min_p`, `max_tokens` (the older
name of the cap), `reasoning_content` in the history, `video_url`, `cache_control`.
"""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.codec import Translation, safe_id
from gateway.conversation import (
    Cache,
    Conversation,
    Foreign,
    MediaPart,
    Message,
    Part,
    Reasoning,
    Refusal,
    Sampling,
    TextPart,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.media import data_url
from gateway.dialects.openai_chat_read import DIALECT
from gateway.dialects.written import effort_of, foreign_name, is_plain
from gateway.errors import InvalidRequest
from gateway.exchange import Target

_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_MOST_NAME = 64
_TIERS = {"standard_only": "default"}


def body_of(conversation: Conversation, target: Target, translation: Translation) -> dict[str, Any]:
    """The body for the target; what it cannot carry is told to `translation.drop`."""
    return _Writer(conversation, target, translation).body()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, translation: Translation) -> None:
        self._asked = conversation
        self._target = target
        self._translation = translation
        self._drop = translation.drop
        self._takes: frozenset[str] = frozenset(getattr(target.provider, "takes", ()))
        self._family = conversation.dialect == DIALECT
        translation.think_tags = bool(getattr(target.provider, "think_tags", False))

    def body(self) -> dict[str, Any]:
        asked = self._asked
        if asked.previous:
            raise InvalidRequest(
                f"The provider {self._target.provider.name} keeps no responses: send the whole conversation instead of "
                "`previous_response_id`.", param="previous_response_id",
            )
        body: dict[str, Any] = {"model": self._target.model, "messages": self._messages()}
        if asked.stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        if asked.max_output is not None:
            cap = asked.max_output
            body["max_tokens" if "max_tokens" in self._takes else "max_completion_tokens"] = cap
        self._tools(body)
        self._output(body)
        self._reasoning(body, asked.reasoning)
        self._sampling(body, asked.sampling)
        self._rest(body)
        return body

    def _rest(self, body: dict[str, Any]) -> None:
        asked = self._asked
        simple = {
            "verbosity": asked.verbosity, "user": asked.user, "prompt_cache_key": asked.cache_key,
            "service_tier": _TIERS.get(asked.service_tier, asked.service_tier),
        }
        body.update({name: value for name, value in simple.items() if value})
        if asked.modalities and asked.modalities != ("text",):
            body["modalities"] = list(asked.modalities)
        if asked.metadata:
            body["metadata"] = asked.metadata
        if asked.store is not None:
            body["store"] = asked.store
        for name, value in asked.foreign.items():
            if self._family or name in self._takes:
                body[name] = value
            else:
                self._drop(name)

    def _messages(self) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        pictures: list[dict[str, Any]] = []
        for message in self._asked.messages:
            if message.role != "tool" and pictures:
                written.append({"role": "user", "content": pictures})
                pictures = []
            if message.role == "assistant":
                written.append(self._assistant(message))
            elif message.role == "tool":
                written += self._results(message, pictures)
            else:
                written.append(self._turn(message))
        if pictures:
            written.append({"role": "user", "content": pictures})
        return written

    def _turn(self, message: Message) -> dict[str, Any]:
        """A system, developer or user turn. Only OpenAI itself knows developers; to others they are the system."""
        role = message.role
        if role == "developer" and not (self._family or "developer" in self._takes):
            role = "system"
        turn: dict[str, Any] = {"role": role, "content": self._content(message.parts)}
        if message.name:
            turn["name"] = message.name
        return turn

    def _content(self, parts: Iterable[Part]) -> str | list[dict[str, Any]]:
        parts = tuple(parts)
        if len(parts) == 1 and is_plain(part := parts[0]):
            return part.text  # type: ignore[union-attr]
        content = [written for part in parts if (written := self._part(part)) is not None]
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            return str(content[0]["text"])
        return content or ""

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, TextPart):
            if part.citations:
                self._drop("citations")
            return self._cached({"type": "text", "text": part.text}, part.cache)
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if isinstance(part, MediaPart):
            return self._media(part)
        if isinstance(part, Foreign):
            if part.dialect == DIALECT:
                value: dict[str, Any] = part.value
                return value
            self._drop(foreign_name(part))
        return None

    def _cached(self, written: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
        if cache is not None:
            if self._family or "cache_control" in self._takes:
                written["cache_control"] = {"type": "ephemeral", **({"ttl": cache.ttl} if cache.ttl else {})}
            else:
                self._drop("cache_control")
        return written

    def _media(self, part: MediaPart) -> dict[str, Any] | None:
        source = part.source
        if part.cite:
            self._drop("citations")
        if source.kind == "text":
            head = f"{part.title}\n\n" if part.title else ""
            return self._cached({"type": "text", "text": head + source.data}, part.cache)
        if part.media == "image" and source.kind in ("base64", "url"):
            link = {"url": source.data if source.kind == "url" else data_url(source, "image/png")}
            if part.detail:
                link["detail"] = part.detail
            return self._cached({"type": "image_url", "image_url": link}, part.cache)
        if part.media == "audio" and source.kind == "base64" and (format_ := _FORMATS.get(source.media_type)):
            return {"type": "input_audio", "input_audio": {"data": source.data, "format": format_}}
        if part.media == "video" and "video_url" in self._takes and source.kind in ("base64", "url"):
            link = {"url": source.data if source.kind == "url" else data_url(source)}
            return {"type": "video_url", "video_url": link}
        if part.media == "document":
            return self._document(part)
        self._drop(f"{part.media}.{source.kind}")
        return None

    def _document(self, part: MediaPart) -> dict[str, Any] | None:
        source = part.source
        if source.kind == "base64" and source.media_type.startswith("text/"):
            try:
                text = b64decode(source.data, validate=False).decode()
            except ValueError:
                raise InvalidRequest("A document of text does not hold base64 of UTF-8.", param="messages") from None
            return self._cached({"type": "text", "text": f"{part.title}\n\n{text}" if part.title else text}, part.cache)
        file: dict[str, Any] = {}
        if name := source.name or part.title:
            file["filename"] = name
        if source.kind == "base64":
            file.setdefault("filename", "document.pdf")
            file["file_data"] = data_url(source, "application/pdf")
        elif source.kind == "file" and self._family:
            file["file_id"] = source.data
        else:
            self._drop(f"document.{source.kind}")
            return None
        return self._cached({"type": "file", "file": file}, part.cache)

    def _assistant(self, message: Message) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": "assistant"}
        if len(message.parts) == 1 and is_plain(part := message.parts[0]) and not message.name:
            return {"role": "assistant", "content": part.text}  # type: ignore[union-attr]
        if (simple := self._calling(message)) is not None:
            return simple
        foreign = [part for part in message.parts if isinstance(part, Foreign) and not _in_content(part)]
        said = [
            part for part in message.parts
            if isinstance(part, TextPart | MediaPart | Refusal) or (isinstance(part, Foreign) and _in_content(part))
        ]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        refusal = "".join(part.text for part in said if isinstance(part, Refusal))
        said = [part for part in said if not isinstance(part, Refusal)]
        thought = [part for part in message.parts if isinstance(part, Thinking)]
        if thought:
            self._thought(turn, thought)
        for part in foreign:
            if part.dialect == DIALECT and "audio" in part.value:
                turn["audio"] = part.value["audio"]
            elif part.dialect == DIALECT:
                turn.setdefault("tool_calls", []).append(part.value)
            else:
                self._drop(foreign_name(part))
        content = self._content(said) if said else ""
        if isinstance(content, list) and not self._family:  # several servers take only a string here
            content = "".join(part.get("text", "") for part in content)
        turn["content"] = content or (None if calls or refusal or "tool_calls" in turn else "")
        if refusal:
            turn["refusal"] = refusal
        if calls:
            turn["tool_calls"] = [self._call(call) for call in calls] + turn.get("tool_calls", [])
        if message.name:
            turn["name"] = message.name
        return turn

    def _calling(self, message: Message) -> dict[str, Any] | None:
        """A turn of nothing but calls, perhaps with a text before them, as most of a long history are."""
        text: str | None = None
        calls = []
        for part in message.parts:
            if type(part) is ToolCall:
                calls.append(self._call(part))
            elif text is None and not calls and is_plain(part):
                text = part.text  # type: ignore[union-attr]
            else:
                return None
        if not calls or message.name:
            return None
        return {"role": "assistant", "content": text or None, "tool_calls": calls}

    def _thought(self, turn: dict[str, Any], thought: Sequence[Thinking]) -> None:
        if "reasoning_details" in self._takes:
            turn["reasoning_details"] = [detail_of(part, number) for number, part in enumerate(thought)]
            return
        field = next((name for name in ("reasoning_content", "reasoning") if name in self._takes), "")
        if field or self._family:
            text = "".join(part.text for part in thought if not part.redacted)
            if text:
                turn[field or "reasoning_content"] = text
        if not field or any(part.redacted for part in thought):
            self._drop("reasoning_content")

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function = {"name": self._translation.named(call.name, _MOST_NAME), "arguments": call.arguments}
        written: dict[str, Any] = {"id": safe_id(call.id, 40), "type": "function", "function": function}
        if call.signature and "extra_content" in self._takes:
            written["extra_content"] = {"google": {"thought_signature": call.signature}}
        return written if call.cache is None else self._cached(written, call.cache)

    def _results(self, message: Message, pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One message for each result. Pictures have no place in it: they follow in a user's turn."""
        written = []
        for result in message.parts:
            if not isinstance(result, ToolResult):
                continue
            if len(result.parts) == 1 and is_plain(part := result.parts[0]) and not result.error and not result.cache:
                text = part.text  # type: ignore[union-attr]
                written.append({"role": "tool", "tool_call_id": safe_id(result.id, 40), "content": text})
                continue
            texts: list[dict[str, Any]] = []
            others: list[dict[str, Any]] = []
            for part in result.parts:
                if (made := self._part(part)) is not None:
                    (texts if made.get("type") == "text" else others).append(made)
            text = "\n".join(str(part["text"]) for part in texts)
            if result.error:
                text = f"Error: {text}" if text else "Error"
            if others and not text:
                text = "The result is in the next message."
            turn = {"role": "tool", "tool_call_id": safe_id(result.id, 40), "content": text}
            written.append(self._cached(turn, result.cache))
            if others:
                pictures += [{"type": "text", "text": f"Result of the call {safe_id(result.id, 40)}:"}, *others]
        return written

    def _tools(self, body: dict[str, Any]) -> None:
        asked = self._asked
        tools = []
        for tool in asked.tools:
            if isinstance(tool, Tool):
                tools.append(self._tool(tool))
            elif tool.dialect == DIALECT:
                tools.append(tool.value)
            else:
                self._drop(foreign_name(tool))
        if not tools:
            return
        body["tools"] = tools
        if asked.parallel_tools is not None:
            body["parallel_tool_calls"] = asked.parallel_tools
        if asked.tool_choice is not None:
            body["tool_choice"] = self._choice(asked.tool_choice)

    def _tool(self, tool: Tool) -> dict[str, Any]:
        function: dict[str, Any] = {"name": self._translation.named(tool.name, _MOST_NAME)}
        if tool.description:
            function["description"] = tool.description
        if tool.schema is not None:
            function["parameters"] = tool.schema
        if tool.strict is not None:
            function["strict"] = tool.strict
        for name in tool.foreign:
            self._drop(f"tools.{name}")
        return self._cached({"type": "function", "function": function}, tool.cache)

    def _choice(self, choice: ToolChoice) -> str | dict[str, Any]:
        if choice.mode == "tool":
            return {"type": "function", "function": {"name": self._translation.named(choice.name, _MOST_NAME)}}
        if choice.names:
            names = [self._translation.named(name, _MOST_NAME) for name in choice.names]
            tools = [{"type": "function", "function": {"name": name}} for name in names]
            mode = "required" if choice.mode == "required" else "auto"
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
        return choice.mode

    def _output(self, body: dict[str, Any]) -> None:
        output = self._asked.output
        if output is None:
            return
        if output.kind == "json_object" or output.schema is None:
            body["response_format"] = {"type": "json_object"}
            return
        wanted: dict[str, Any] = {"name": self._translation.named(output.name, _MOST_NAME), "schema": output.schema}
        if output.description:
            wanted["description"] = output.description
        if output.strict is not None:
            wanted["strict"] = output.strict
        body["response_format"] = {"type": "json_schema", "json_schema": wanted}

    def _reasoning(self, body: dict[str, Any], reasoning: Reasoning | None) -> None:
        if reasoning is None:
            return
        if effort := effort_of(reasoning):
            body["reasoning_effort"] = effort

    def _sampling(self, body: dict[str, Any], sampling: Sampling) -> None:
        plain = {
            "temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed,
            "frequency_penalty": sampling.frequency_penalty, "presence_penalty": sampling.presence_penalty,
            "logit_bias": sampling.logit_bias, "top_logprobs": sampling.top_logprobs,
        }
        body.update({name: value for name, value in plain.items() if value is not None})
        for name, value in (("top_k", sampling.top_k), ("min_p", sampling.min_p)):
            if value is not None and (self._family or name in self._takes):
                body[name] = value
            elif value is not None:
                self._drop(name)
        if sampling.logprobs:
            body["logprobs"] = True
        if sampling.choices != 1:
            body["n"] = sampling.choices
        if sampling.stop:
            body["stop"] = list(sampling.stop)


def _in_content(part: Foreign) -> bool:
    """Whether it stood in a message's content: neither its sound nor a call."""
    return part.dialect == DIALECT and "audio" not in part.value and "id" not in part.value


def detail_of(part: Thinking, number: int) -> dict[str, Any]:
    """A piece of reasoning as an entry of `reasoning_details`."""
    if part.redacted:
        detail: dict[str, Any] = {"type": "reasoning.encrypted", "data": part.signature}
    elif part.summary:
        detail = {"type": "reasoning.summary", "summary": part.text}
    else:
        detail = {"type": "reasoning.text", "text": part.text}
    if part.signature and not part.redacted:
        detail["signature"] = part.signature
    if part.id:
        detail["id"] = part.id
    return {**detail, "format": part.origin or DIALECT, "index": number}
