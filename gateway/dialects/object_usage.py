"""What kept objects say they used: a response when it has ended, a batch in itself or line by line in its results."""

from typing import Any, Final

import msgspec

from gateway.dialects import anthropic_usage, openai_usage, responses_usage
from gateway.dialects.media_tap import BinaryTap
from gateway.dialects.usage_sums import plus
from gateway.events import Usage
from gateway.jsonbody import read_lenient

MAX_LINE: Final = 32 * 1024 * 1024
RUNNING: Final = frozenset({"queued", "in_progress", "validating", "finalizing", "cancelling"})
Used = dict[str, Usage]


def ended(tree: dict[str, Any]) -> bool:
    """Whether a response or a batch will not change any more."""
    return tree.get("status") not in RUNNING


def response_usage(tree: dict[str, Any]) -> Used:
    """Of a response that has ended."""
    usage = responses_usage.usage_in(tree) if ended(tree) else None
    return {} if usage is None else {str(tree.get("model") or "")[:256]: usage}


def batch_usage(tree: dict[str, Any]) -> Used:
    """Of a batch that has ended, where it tells its sum and its model."""
    told, model = tree.get("usage"), tree.get("model")
    if not ended(tree) or type(told) is not dict or type(model) is not str or not told.get("total_tokens"):
        return {}
    usage = responses_usage.usage_in({"usage": told})
    return {} if usage is None else {model[:256]: msgspec.structs.replace(usage, tier="batch")}


class ResultsTap(BinaryTap):
    """Results as they pass, one JSON object a line. `used` is complete when `complete` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.used: Used = {}
        self._tail = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> bytes:
        """Everything goes on; what each line used is added up."""
        *lines, tail = data.split(b"\n")
        for line in lines:
            if not self._too_long:
                self._read(bytes(self._tail) + line)
            self._tail.clear()
            self._too_long = False
        if not self._too_long:
            self._tail += tail
        if len(self._tail) > MAX_LINE:
            self._tail.clear()
            self._too_long = True
        return data

    def rest(self) -> bytes:
        """The last line may lack its end."""
        self._read(bytes(self._tail))
        self._tail.clear()
        return super().rest()

    def _read(self, line: bytes) -> None:
        tree = read_lenient(line) if line.strip() else None
        if type(tree) is not dict:
            return
        reply = _reply_in(tree)
        usage = _usage_of(reply) if reply is not None else None
        if reply is not None and usage is not None:
            model = str(reply.get("model") or "")[:256]
            usage = msgspec.structs.replace(usage, tier="batch")
            self.used[model] = plus(self.used[model], usage) if model in self.used else usage


def _reply_in(tree: dict[str, Any]) -> dict[str, Any] | None:
    """The reply to one request of a batch, as OpenAI (`response.body`) and Anthropic (`result.message`) have it."""
    for outer, inner in (("response", "body"), ("result", "message")):
        holder = tree.get(outer)
        reply = holder.get(inner) if type(holder) is dict else None
        if type(reply) is dict:
            return reply
    return None


def _usage_of(reply: dict[str, Any]) -> Usage | None:
    told = reply.get("usage")
    if type(told) is not dict:
        return None
    if reply.get("type") == "message":
        return anthropic_usage.reported(msgspec.json.encode(reply))
    if "input_tokens" in told:
        return responses_usage.usage_in(reply)
    wire = openai_usage.wire_from(told)
    return None if wire is None else openai_usage.usage_of(wire)
