"""Every upstream request of the golden conversations fits the types that the provider publishes with its own SDK."""

import pytest
import yaml
from anthropic.types import message_count_tokens_params, message_create_params
from openai.types.chat import completion_create_params
from sdktypes import problems
from test_conversations import CASES, load

# What a type says too narrowly, each with its reason.
ALLOWED = {
    "anthropic": (
        "body.temperature: unknown", "body.top_p: unknown", "body.top_k: unknown",  # older models take them
        "body.x_new: unknown",  # a client's own, on the native path
    ),
    "vllm": ("body.top_k: unknown", ".reasoning: unknown"),  # vLLM's own
}
TYPES = {
    ("anthropic", False): message_create_params.MessageCreateParamsNonStreaming,
    ("anthropic", True): message_create_params.MessageCreateParamsStreaming,
    ("vllm", False): completion_create_params.CompletionCreateParamsNonStreaming,
    ("vllm", True): completion_create_params.CompletionCreateParamsStreaming,
}
CHECKED = [case for case in CASES if case.split("/")[1] in ALLOWED and "upstream" in load(case)]


@pytest.mark.parametrize("case", CHECKED)
def test_what_is_sent_fits_the_sdks_types(case):
    told, provider = load(case), case.split("/")[1]
    body = told["upstream"]["body"]
    kind = TYPES[provider, body.get("stream", False)]
    if told["upstream"].get("path", "").endswith("count_tokens"):
        kind = message_count_tokens_params.MessageCountTokensParams
    assert [line for line in problems(body, kind) if not line.endswith(ALLOWED[provider])] == []


def test_the_check_finds_mistakes():
    kind = TYPES["anthropic", False]
    body = yaml.safe_load("""
        {model: m, max_tokens: "5", messages: [{role: user, content: [{type: text}]}], tool_choice: {type: any, x: 1}}
    """)
    assert sorted(line.partition(":")[0] for line in problems(body, kind)) == [
        "body.max_tokens", "body.messages[0].content", "body.tool_choice.x",
    ]
