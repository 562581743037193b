"""The common form -> Anthropic Messages requests, as the model behind the target takes them (`anthropic_models.py`).

System turns are gathered at the top, turns alternate, results come first in theirs. What is asked in a way that a model
lacks is asked in another: reasoning effort as a budget, a JSON answer as a tool that must be called.
"""

from typing import Any

from gateway.codec import Translation
from gateway.conversation import Conversation, OutputFormat, Reasoning, Sampling, Tool, ToolChoice
from gateway.dialects.anthropic_blocks import Blocks, cache_written
from gateway.dialects.anthropic_models import traits
from gateway.dialects.anthropic_read import DIALECT
from gateway.dialects.schemas import closed, object_schema
from gateway.dialects.written import effort_of, foreign_name
from gateway.errors import InvalidRequest
from gateway.exchange import Target

_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 49152}
_EFFORTS = {"minimal": "low"}
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_CALLED = {"auto": "auto", "required": "any", "none": "none"}
_MOST_NAME = 128
ANSWER = "answer"


def body_of(conversation: Conversation, target: Target, translation: Translation) -> dict[str, Any]:
    """The body for the target; what it cannot carry is told to `translation.drop`."""
    return _Writer(conversation, target, translation).body()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, translation: Translation) -> None:
        self._asked = conversation
        self._target = target
        self._translation = translation
        self._drop = translation.drop
        self._traits = traits(target.model)
        self._same = conversation.dialect == DIALECT
        self._body: dict[str, Any] = {}
        self._thinks = False

    def body(self) -> dict[str, Any]:
        asked, body = self._asked, self._body
        if asked.previous:
            raise InvalidRequest(
                f"The provider {self._target.provider.name} keeps no responses: send the whole conversation instead of "
                "`previous_response_id`.", param="previous_response_id",
            )
        body["model"] = self._target.model
        body["max_tokens"] = self._cap()
        blocks = Blocks(self._translation, same=self._same)
        system, messages = blocks.written(asked.messages)
        if system:
            body["system"] = system
        body["messages"] = messages
        if asked.stream:
            body["stream"] = True
        self._tools(blocks)
        self._output(asked.output)
        self._reasoning(asked.reasoning, whole=blocks.thought_before_calls)
        self._sampling(asked.sampling)
        self._rest()
        if blocks.betas:
            self._translation.headers["anthropic-beta"] = ",".join(sorted(blocks.betas))
        return body

    def _cap(self) -> int:
        most = self._target.max_output
        wanted = self._asked.max_output
        if wanted is None:
            return most or self._traits.output
        return wanted if most is None or self._same else min(wanted, most)

    def _tools(self, blocks: Blocks) -> None:
        asked, tools = self._asked, []
        wanted = asked.tool_choice.names if asked.tool_choice is not None else ()
        for tool in asked.tools:
            if isinstance(tool, Tool):
                if not wanted or tool.name in wanted:
                    tools.append(self._tool(tool))
            elif tool.dialect == DIALECT:
                tools.append(tool.value)
            else:
                self._drop(foreign_name(tool))
        if not tools and blocks.called and not self._same:  # the API wants the tools of a conversation that has calls
            self._body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in blocks.called]
            self._body["tool_choice"] = {"type": "none"}
        if tools:
            self._body["tools"] = tools
            self._choice(asked.tool_choice)

    def _tool(self, tool: Tool) -> dict[str, Any]:
        written: dict[str, Any] = {"name": self._translation.named(tool.name, _MOST_NAME)}
        if tool.description:
            written["description"] = tool.description
        written["input_schema"] = tool.schema if self._same and tool.schema else object_schema(tool.schema)
        if tool.strict is not None and self._same:
            written["strict"] = tool.strict
        elif tool.strict:
            if self._traits.schema and closed(written["input_schema"]):
                written["strict"] = True
            else:
                self._drop("strict")
        if tool.cache is not None:
            written["cache_control"] = cache_written(tool.cache)
        return {**written, **tool.foreign} if self._same else written

    def _choice(self, choice: ToolChoice | None) -> None:
        parallel = self._asked.parallel_tools
        if choice is None and parallel is None:
            return
        written: dict[str, Any] = {"type": "auto"}
        if choice is not None:
            written = {"type": _CALLED.get(choice.mode, "tool")}
            if choice.mode == "tool":
                written["name"] = self._translation.named(choice.name, _MOST_NAME)
        if parallel is not None and written["type"] != "none":
            written["disable_parallel_tool_use"] = not parallel
        self._body["tool_choice"] = written

    def _output(self, output: OutputFormat | None) -> None:
        """A schema that the model takes, else a tool whose arguments are the answer."""
        if output is None:
            return
        schema = output.schema
        promised = self._same or (self._traits.schema and closed(schema))
        if schema is not None and output.kind == "json_schema" and promised:
            self._body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
            return
        name = self._translation.named(output.name or ANSWER, _MOST_NAME)
        while any(tool.get("name") == name for tool in self._body.get("tools", ())):
            name += "_"
        self._translation.answer_tool = name
        about = output.description or "Your answer."
        tool = {
            "name": name, "input_schema": object_schema(schema or {"type": "object", "additionalProperties": True}),
            "description": f"{about} Call this tool once with your whole answer, in the form that was asked for.",
        }
        others = self._body.get("tools", [])
        if self._body.get("tool_choice", {}).get("type") == "none":
            others = []
        self._body["tools"] = [*others, tool]
        self._body["tool_choice"] = (
            {"type": "any"} if others else {"type": "tool", "name": name, "disable_parallel_tool_use": True}
        )

    def _reasoning(self, reasoning: Reasoning | None, *, whole: bool) -> None:
        """Effort and budget stand for one another. A forced tool, or a history of calls without their reasoning, rule
        reasoning out on models that plan it by a budget."""
        if reasoning is None:
            return
        if reasoning.off:
            if self._traits.thinking != "none":
                self._body["thinking"] = {"type": "disabled"}
            return
        style = self._traits.thinking
        forced = self._body.get("tool_choice", {}).get("type") in ("any", "tool")
        if style == "none" or ((forced or (style == "budget" and not whole)) and not self._same):
            self._drop("reasoning")
            return
        if reasoning.budget is not None and (self._same or style == "budget"):
            self._budget(reasoning.budget, reasoning)
        elif style == "adaptive" or self._same:
            effort = effort_of(reasoning)
            if effort:
                config = self._body.setdefault("output_config", {})
                config["effort"] = _EFFORTS.get(effort, effort)
            self._body["thinking"] = {"type": "adaptive", **_display(reasoning)}
            self._thinks = True
        else:
            self._budget(_BUDGETS.get(reasoning.effort, 8192), reasoning)

    def _budget(self, budget: int, reasoning: Reasoning) -> None:
        cap = self._body["max_tokens"]
        if self._same:
            self._body["thinking"] = {"type": "enabled", "budget_tokens": budget, **_display(reasoning)}
            return
        if self._asked.max_output is None and cap <= budget:
            cap = self._body["max_tokens"] = budget + cap
        budget = min(max(budget, _LEAST_BUDGET), cap - max(256, cap // 4))
        if budget < _LEAST_BUDGET:
            self._drop("reasoning")
            return
        self._body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        self._thinks = True

    def _sampling(self, sampling: Sampling) -> None:
        lost = {
            "min_p": sampling.min_p, "seed": sampling.seed, "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty, "logit_bias": sampling.logit_bias,
            "logprobs": sampling.logprobs or None, "top_logprobs": sampling.top_logprobs,
            "n": sampling.choices if sampling.choices > 1 else None,
        }
        for name, value in lost.items():
            if value is not None and value != 0:
                self._drop(name)
        asked = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        for name, value in asked.items():
            if value is not None:
                self._chosen(name, value)
        stop = [text for text in sampling.stop if text.strip()]
        if len(stop) != len(sampling.stop):
            self._drop("stop")
        if stop:
            self._body["stop_sequences"] = stop

    def _chosen(self, name: str, value: float) -> None:
        """Temperature and the like: refused beside reasoning and by newer models, unless it is the default."""
        if self._same:
            self._body[name] = value
            return
        default = name != "top_k" and value == 1
        second = name == "top_p" and "temperature" in self._body and not self._traits.both
        if self._thinks or not self._traits.sampling or second:
            if not default:
                self._drop(name)
        elif name == "temperature" and value > 1:
            self._body[name] = 1
            self._drop(name)
        else:
            self._body[name] = value

    def _rest(self) -> None:
        asked, body = self._asked, self._body
        if asked.user:
            body["metadata"] = {"user_id": asked.user}
        if asked.metadata and self._same:
            body.setdefault("metadata", {}).update(asked.metadata)
        elif asked.metadata:
            self._drop("metadata")
        if asked.service_tier in _TIERS:
            body["service_tier"] = _TIERS[asked.service_tier]
        elif asked.service_tier:
            self._drop("service_tier")
        if asked.modalities and asked.modalities != ("text",):
            self._drop("modalities")
        others = {"verbosity": asked.verbosity, "store": asked.store, "prompt_cache_key": asked.cache_key}
        for name, value in others.items():
            if value and value != "medium":
                self._drop(name)
        for name, value in asked.foreign.items():
            if not self._same:
                self._drop(name)
            elif name.startswith("output_config."):
                body.setdefault("output_config", {})[name.partition(".")[2]] = value
            else:
                body[name] = value


def _display(reasoning: Reasoning) -> dict[str, str]:
    return {} if reasoning.show is None else {"display": "summarized" if reasoning.show else "omitted"}
