"""The common form -> requests in OpenAI's Responses format, for targets that are asked in it."""

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.codec import Translation, safe_id
from gateway.conversation import (
    Cache,
    Conversation,
    Foreign,
    MediaPart,
    Message,
    Part,
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
from gateway.dialects.responses_items import DIALECT, annotation, custom_input
from gateway.dialects.written import effort_of, foreign_name, is_plain
from gateway.exchange import Target

_MOST_NAME = 64
_TIERS = {"standard_only": "default"}
_KEPT = "reasoning.encrypted_content"
_SAMPLING = ("top_k", "min_p", "seed", "frequency_penalty", "presence_penalty")


def body_of(conversation: Conversation, target: Target, translation: Translation) -> dict[str, Any]:
    """The body for the target; what it cannot carry is told to `translation.drop`. Nothing is left with the target:
    `store` is false unless the caller of the same family wants otherwise."""
    return _Writer(conversation, target, translation).body()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, translation: Translation) -> None:
        self._asked = conversation
        self._target = target
        self._translation = translation
        self._drop = translation.drop
        self._takes: frozenset[str] = frozenset(getattr(target.provider, "takes", ()))
        self._family = conversation.dialect == DIALECT
        self._custom = {tool.name for tool in conversation.tools if isinstance(tool, Tool) and tool.custom}
        self._custom_calls: set[str] = set()
        self._items = 0

    def body(self) -> dict[str, Any]:
        asked = self._asked
        body: dict[str, Any] = {"model": self._target.model, "input": self._input()}
        if asked.stream:
            body["stream"] = True
        if asked.max_output is not None:
            body["max_output_tokens"] = asked.max_output
        self._tools(body)
        self._text(body)
        self._reasoning(body)
        self._sampling(body, asked.sampling)
        self._rest(body)
        return body

    def _rest(self, body: dict[str, Any]) -> None:
        asked = self._asked
        simple = {
            "user": asked.user, "prompt_cache_key": asked.cache_key, "previous_response_id": asked.previous,
            "service_tier": _TIERS.get(asked.service_tier, asked.service_tier),
        }
        body.update({name: value for name, value in simple.items() if value})
        if asked.metadata:
            body["metadata"] = asked.metadata
        if asked.modalities and asked.modalities != ("text",):
            self._drop("modalities")
        body["store"] = asked.foreign.get("store", False) if self._family else bool(asked.store)
        for name, value in asked.foreign.items():
            if name == "include":
                body["include"] = [*body.get("include", ()), *value]
            elif self._family or name in self._takes:
                body[name] = value
            else:
                self._drop(name)

    def _input(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for message in self._asked.messages:
            if message.role == "assistant":
                parts = message.parts
                if len(parts) == 1 and isinstance(call := parts[0], ToolCall):  # as most of a long history are
                    items.append(self._call(call))
                else:
                    items += self._said(message)
            elif message.role == "tool":
                items += [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
            else:
                if message.name:
                    self._drop("name")
                items.append({"role": message.role, "content": self._content(message.parts)})
        return items

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
            return self._cached({"type": "input_text", "text": part.text}, part.cache)
        if isinstance(part, Refusal):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, MediaPart):
            media = self._media(part)
            return media and self._cached(media, part.cache)
        if isinstance(part, Foreign) and part.dialect == DIALECT:
            value: dict[str, Any] = part.value
            return value
        if isinstance(part, Foreign):
            self._drop(foreign_name(part))
        return None

    def _cached(self, written: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
        if cache is not None:
            if self._family or "prompt_cache_breakpoint" in self._takes:
                written["prompt_cache_breakpoint"] = {"mode": "explicit", **({"ttl": cache.ttl} if cache.ttl else {})}
            else:
                self._drop("cache_control")
        return written

    def _media(self, part: MediaPart) -> dict[str, Any] | None:
        source = part.source
        if part.cite:
            self._drop("citations")
        if source.kind == "text":
            head = f"{part.title}\n\n" if part.title else ""
            return {"type": "input_text", "text": head + source.data}
        if part.media == "image" and source.kind in ("base64", "url"):
            link = source.data if source.kind == "url" else data_url(source, "image/png")
            return {"type": "input_image", "image_url": link, "detail": part.detail or "auto"}
        if part.media == "image" and source.kind == "file" and self._family:
            return {"type": "input_image", "file_id": source.data, "detail": part.detail or "auto"}
        if part.media != "document" or (source.kind == "file" and not self._family):
            self._drop(f"{part.media}.{source.kind}")
            return None
        if source.kind == "file":
            return {"type": "input_file", "file_id": source.data}
        if source.kind == "url":
            return {"type": "input_file", "file_url": source.data}
        name = source.name or part.title or "document.pdf"
        return {"type": "input_file", "filename": name, "file_data": data_url(source, "application/pdf")}

    def _said(self, message: Message) -> Iterator[dict[str, Any]]:
        """A turn of the model's as items: texts that follow one another are one message."""
        texts: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                notes = [note for cited in part.citations if (note := annotation(cited, 0, len(part.text))) is not None]
                texts.append({"type": "output_text", "text": part.text, "annotations": notes})
                continue
            if isinstance(part, Refusal):
                texts.append({"type": "refusal", "refusal": part.text})
                continue
            yield from self._message(texts)
            texts = []
            if isinstance(part, ToolCall):
                yield self._call(part)
            elif isinstance(part, Thinking):
                yield from self._thought(part)
            elif isinstance(part, Foreign) and part.dialect == DIALECT:
                yield part.value
            elif isinstance(part, Foreign):
                self._drop(foreign_name(part))
            elif isinstance(part, MediaPart):
                self._drop(f"assistant.{part.media}")
        yield from self._message(texts)

    def _message(self, texts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if not texts:
            return
        if len(texts) == 1 and texts[0]["type"] == "output_text" and not texts[0]["annotations"]:
            yield {"role": "assistant", "content": texts[0]["text"]}
            return
        self._items += 1
        yield {
            "type": "message", "id": f"msg_{self._items}", "role": "assistant", "status": "completed", "content": texts
        }

    def _thought(self, part: Thinking) -> Iterator[dict[str, Any]]:
        if part.origin != DIALECT or not (part.signature or self._family):
            self._drop("reasoning")  # nobody else's can be checked there
            return
        item: dict[str, Any] = {"type": "reasoning", "summary": []}
        if part.text and (part.summary or part.signature):
            item["summary"] = [{"type": "summary_text", "text": part.text}]
        elif part.text:
            item["content"] = [{"type": "reasoning_text", "text": part.text}]
        if part.signature:
            item["encrypted_content"] = part.signature
        yield {**item, "id": part.id} if part.id else item

    def _call(self, call: ToolCall) -> dict[str, Any]:
        id_, name = self._id(call.id), self._translation.named(call.name, _MOST_NAME)
        if call.name in self._custom:
            self._custom_calls.add(call.id)
            return {"type": "custom_tool_call", "call_id": id_, "name": name, "input": custom_input(call.arguments)}
        return {"type": "function_call", "call_id": id_, "name": name, "arguments": call.arguments}

    def _id(self, text: str) -> str:
        return text if self._family else safe_id(text)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        if result.cache is not None:
            self._drop("cache_control")
        output = self._content(result.parts)
        if result.error:
            told = output if type(output) is str else ""
            output = f"Error: {told}" if told else (output or "Error")
        kind = "custom_tool_call_output" if result.id in self._custom_calls else "function_call_output"
        return {"type": kind, "call_id": self._id(result.id), "output": output}

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
        if tool.cache is not None:
            self._drop("cache_control")
        written: dict[str, Any] = {"type": "function", "name": self._translation.named(tool.name, _MOST_NAME)}
        if tool.description:
            written["description"] = tool.description
        if tool.custom:
            return {**written, "type": "custom", **tool.foreign}
        written["parameters"] = tool.schema
        written["strict"] = bool(tool.strict)  # left out it would be true there, and false in all other dialects
        if self._family and tool.strict is None:
            del written["strict"]
        for name in tool.foreign:
            self._drop(f"tools.{name}")
        return written

    def _choice(self, choice: ToolChoice) -> str | dict[str, Any]:
        if choice.mode == "tool":
            return self._chosen(choice.name)
        if choice.names:
            mode = "required" if choice.mode == "required" else "auto"
            return {"type": "allowed_tools", "mode": mode, "tools": [self._chosen(name) for name in choice.names]}
        return choice.mode

    def _chosen(self, name: str) -> dict[str, Any]:
        kind = "custom" if name in self._custom else "function"
        return {"type": kind, "name": self._translation.named(name, _MOST_NAME)}

    def _text(self, body: dict[str, Any]) -> None:
        output, text = self._asked.output, {}
        if output is not None and (output.kind == "json_object" or output.schema is None):
            text["format"] = {"type": "json_object"}
        elif output is not None:
            wanted: dict[str, Any] = {"type": "json_schema", "name": self._translation.named(output.name, _MOST_NAME)}
            wanted["schema"] = output.schema
            if output.description:
                wanted["description"] = output.description
            if output.strict is not None:
                wanted["strict"] = output.strict
            text["format"] = wanted
        if self._asked.verbosity:
            text["verbosity"] = self._asked.verbosity  # type: ignore[assignment]
        if text:
            body["text"] = text

    def _reasoning(self, body: dict[str, Any]) -> None:
        """What the model thinks comes back encrypted, so that a later request can bring it along."""
        reasoning, told = self._asked.reasoning, {}
        if reasoning is not None:
            if effort := "none" if reasoning.off and not reasoning.effort else effort_of(reasoning):
                told["effort"] = effort
            if reasoning.summary or reasoning.show:
                told["summary"] = reasoning.summary or "auto"
        if told:
            body["reasoning"] = told
        thinks = reasoning is not None and not reasoning.off
        if not self._family and (thinks or any(self._is_ours(message) for message in self._asked.messages)):
            body["include"] = [_KEPT]

    def _is_ours(self, message: Message) -> bool:
        return any(isinstance(part, Thinking) and part.origin == DIALECT for part in message.parts)

    def _sampling(self, body: dict[str, Any], sampling: Sampling) -> None:
        plain = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_logprobs": sampling.top_logprobs}
        body.update({name: value for name, value in plain.items() if value is not None})
        for name in _SAMPLING:
            value = getattr(sampling, name)
            if value is not None and (self._family or name in self._takes):
                body[name] = value
            elif value is not None:
                self._drop(name)
        if sampling.logit_bias:
            self._drop("logit_bias")
        if sampling.logprobs:
            body["include"] = [*body.get("include", ()), "message.output_text.logprobs"]
        if sampling.choices != 1:
            self._drop("n")
        if sampling.stop:
            self._drop("stop")
