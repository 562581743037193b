"""The common form -> Bedrock Converse requests, as the model behind the target takes them (`bedrock_models.py`).

System turns are gathered at the top, turns alternate. What Converse has no field for stands in
`additionalModelRequestFields`, in the words of the model's family. The model and whether it streams are in the URL.
"""

import re
from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import Conversation, OutputFormat, Reasoning, Sampling, Tool, ToolChoice
from gateway.dialects.anthropic_write import ANSWER
from gateway.dialects.bedrock_blocks import MOST_NAME, Blocks
from gateway.dialects.bedrock_models import traits
from gateway.dialects.bedrock_read import DIALECT, MORE
from gateway.dialects.schemas import closed, object_schema
from gateway.dialects.written import effort_of, foreign_name
from gateway.errors import InvalidRequest
from gateway.exchange import Target

_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 49152}
_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
_TIERS = {"priority": "priority", "default": "default", "flex": "flex", "reserved": "reserved",
          "standard_only": "default"}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_MOST_METADATA = 16


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
        self._config: dict[str, Any] = {}
        self._more: dict[str, Any] = {}
        self._thinks = False

    def body(self) -> dict[str, Any]:
        asked, body = self._asked, self._body
        if asked.previous:
            raise InvalidRequest(
                f"The provider {self._target.provider.name} keeps no responses: send the whole conversation instead of "
                "`previous_response_id`.", param="previous_response_id",
            )
        self._translation.model = self._target.model  # a reply does not name it
        blocks = Blocks(self._translation, self._traits, same=self._same)
        tools = self._tools(blocks)  # before the messages: their cache points come first
        system, body["messages"] = blocks.written(asked.messages)
        if system:
            body["system"] = system
        self._cap()
        self._tool_config(tools, blocks)
        self._output(asked.output)
        self._reasoning(asked.reasoning, whole=blocks.thought_before_calls)
        self._sampling(asked.sampling)
        self._rest()
        if self._config:
            body["inferenceConfig"] = self._config
        if self._more:
            body[MORE] = self._more
        return body

    def _cap(self) -> None:
        wanted, most = self._asked.max_output, self._target.max_output
        if wanted is not None:
            self._config["maxTokens"] = wanted if most is None or self._same else min(wanted, most)

    def _tools(self, blocks: Blocks) -> list[dict[str, Any]]:
        asked, tools = self._asked, []
        choice = asked.tool_choice
        wanted = choice.names if choice is not None else ()
        for tool in asked.tools:
            if isinstance(tool, Tool):
                if not wanted or tool.name in wanted:
                    tools.append({"toolSpec": self._tool(tool)})
                    tools += blocks.cached(tool.cache)
            elif tool.dialect == DIALECT:
                tools.append(tool.value)
            else:
                self._drop(foreign_name(tool))
        return tools

    def _tool(self, tool: Tool) -> dict[str, Any]:
        written: dict[str, Any] = {"name": self._translation.named(tool.name, MOST_NAME)}
        if tool.description:
            written["description"] = tool.description
        schema = tool.schema if self._same and tool.schema else object_schema(tool.schema)
        written["inputSchema"] = {"json": schema}
        if tool.strict is not None and self._same:
            written["strict"] = tool.strict
        elif tool.strict:
            if self._traits.schema and closed(schema):
                written["strict"] = True
            else:
                self._drop("strict")
        return {**written, **tool.foreign} if self._same else written

    def _tool_config(self, tools: list[dict[str, Any]], blocks: Blocks) -> None:
        """The tools and the choice. There is no choice `none`: without calls before, the tools are left out for it."""
        choice = self._asked.tool_choice
        off = choice is not None and choice.mode == "none"
        if off and not blocks.called:
            return
        if not tools and blocks.called and not self._same:  # the API wants the tools of a conversation that has calls
            tools = [
                {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}} for name in blocks.called
            ]
        elif off:
            self._drop("tool_choice")
        if not tools:
            return
        config = self._body["toolConfig"] = {"tools": tools}
        if choice is not None and not off and (made := self._choice(choice)) is not None:
            config["toolChoice"] = made
        if self._asked.parallel_tools is False:
            self._drop("parallel_tool_calls")

    def _choice(self, choice: ToolChoice) -> dict[str, Any] | None:
        if choice.mode == "auto":
            return {"auto": {}} if self._traits.forces or self._same else None
        if not (self._traits.forces or self._same):
            self._drop("tool_choice")
            return None
        if choice.mode == "required":
            return {"any": {}}
        return {"tool": {"name": self._translation.named(choice.name, MOST_NAME)}}

    def _output(self, output: OutputFormat | None) -> None:
        """A schema that the model takes, else a tool whose arguments are the answer."""
        if output is None:
            return
        schema = output.schema
        if schema is not None and (self._same or (self._traits.schema and closed(schema))):
            wanted = {"schema": msgspec.json.encode(schema).decode()}
            if output.name:
                wanted["name"] = output.name
            if output.description:
                wanted["description"] = output.description
            self._body.setdefault("outputConfig", {})["textFormat"] = {
                "type": "json_schema", "structure": {"jsonSchema": wanted},
            }
            return
        if not self._traits.forces:
            self._drop("response_format")
            return
        config = self._body.setdefault("toolConfig", {"tools": []})
        name = self._translation.named(output.name or ANSWER, MOST_NAME)
        while any(tool.get("toolSpec", {}).get("name") == name for tool in config["tools"]):
            name += "_"
        self._translation.answer_tool = name
        about = f"{output.description or 'Your answer.'} Call this tool once with your whole answer, in the form that "
        spec = {"name": name, "description": about + "was asked for.", "inputSchema": {
            "json": object_schema(schema or {"type": "object", "additionalProperties": True}),
        }}
        config["toolChoice"] = {"any": {}} if config["tools"] else {"tool": {"name": name}}
        config["tools"] = [*config["tools"], {"toolSpec": spec}]

    def _reasoning(self, reasoning: Reasoning | None, *, whole: bool) -> None:
        """As the model's family wants it told. On Claude a forced tool, or a history of calls without their reasoning,
        rules it out where it is planned by a budget."""
        if reasoning is None:
            return
        style = self._traits.thinking
        if style == "claude":
            self._claude(reasoning, whole=whole)
            return
        effort = effort_of(reasoning)
        if reasoning.off or effort == "none":
            if style == "nova":
                self._more["reasoningConfig"] = {"type": "disabled"}
        elif style == "none" or not effort:
            self._drop("reasoning")
        elif style == "nova":
            self._more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": _EFFORTS.get(effort, effort)}
        else:
            name = "reasoning_effort" if style == "effort" else "reasoning_config"
            self._more[name] = effort if self._same else _EFFORTS.get(effort, effort)

    def _claude(self, reasoning: Reasoning, *, whole: bool) -> None:
        claude = self._traits.claude
        assert claude is not None
        if reasoning.off or reasoning.effort == "none":
            self._more["thinking"] = {"type": "disabled"}
            return
        choice = self._body.get("toolConfig", {}).get("toolChoice", {})
        budgeted = claude.thinking == "budget"
        if not self._same and (choice.keys() & {"any", "tool"} or (budgeted and not whole)):
            self._drop("reasoning")
            return
        shown = {} if reasoning.show is None else {"display": "summarized" if reasoning.show else "omitted"}
        if reasoning.budget is not None and (self._same or budgeted):
            self._budget(reasoning.budget)
        elif not budgeted or self._same:
            effort = effort_of(reasoning)
            if effort:
                effort = "low" if effort == "minimal" else effort
                self._body.setdefault("outputConfig", {})["effort"] = effort
            self._more["thinking"] = {"type": "adaptive", **shown}
            self._thinks = True
        else:
            self._budget(_BUDGETS.get(reasoning.effort, 8192))

    def _budget(self, budget: int) -> None:
        cap = self._config.get("maxTokens")
        if cap is not None and not self._same:
            budget = min(max(budget, _LEAST_BUDGET), cap - max(256, cap // 4))
            if budget < _LEAST_BUDGET:
                self._drop("reasoning")
                return
        self._more["thinking"] = {"type": "enabled", "budget_tokens": budget}
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
        if sampling.temperature is not None:
            self._chosen("temperature", "temperature", sampling.temperature)
        if sampling.top_p is not None:
            self._chosen("top_p", "topP", sampling.top_p)
        if sampling.top_k is not None:
            self._top_k(sampling.top_k)
        stop = [text for text in sampling.stop if text.strip() or self._same]
        if len(stop) != len(sampling.stop):
            self._drop("stop")
        if stop:
            self._config["stopSequences"] = stop

    def _chosen(self, name: str, written: str, value: float) -> None:
        """Temperature or top_p: on Claude refused beside reasoning and by newer models, unless it is the default."""
        claude = self._traits.claude
        if claude is not None and not self._same:
            second = name == "top_p" and "temperature" in self._config and not claude.both
            if self._thinks or not claude.sampling or second:
                if value != 1:
                    self._drop(name)
                return
        if value > 1 and not self._same:
            self._drop(name)
            value = 1
        self._config[written] = value

    def _top_k(self, top_k: int) -> None:
        if self._traits.nova:
            self._more["inferenceConfig"] = {"topK": top_k}
        elif self._same or (self._traits.claude is not None and self._traits.claude.sampling and not self._thinks):
            self._more["top_k"] = top_k
        else:
            self._drop("top_k")

    def _rest(self) -> None:
        asked, body = self._asked, self._body
        metadata = dict(asked.metadata or {})
        if asked.user:
            metadata["user_id"] = asked.user
        if metadata:
            self._metadata(metadata)
        if asked.service_tier in _TIERS:
            body["serviceTier"] = {"type": _TIERS[asked.service_tier]}
        elif asked.service_tier and asked.service_tier != "auto":
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
            elif name.startswith(f"{MORE}."):
                self._more[name.partition(".")[2]] = value
            else:
                body[name] = value

    def _metadata(self, metadata: dict[str, Any]) -> None:
        """Tags for the owner's logs: few, short, of plain signs."""
        taken = {
            name: value for name, value in metadata.items()
            if type(value) is str and _METADATA.fullmatch(name) and _METADATA.fullmatch(value)
        }
        taken = dict(list(taken.items())[:_MOST_METADATA])
        if "user_id" in metadata and "user_id" not in taken:
            self._drop("user")
        if metadata.keys() - taken.keys() - {"user_id"}:
            self._drop("metadata")
        if taken:
            self._body["requestMetadata"] = taken
