"""Every upstream request of the golden conversations fits the types that the provider publishes with its own SDK."""

import base64

import botocore.session
import pytest
import yaml
from anthropic.types import message_count_tokens_params, message_create_params
from botocore.validate import ParamValidator
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from sdktypes import problems
from test_conversations import CASES, load

# What a type says too narrowly, each with its reason.
ALLOWED = {
    "anthropic": (
        "body.temperature: unknown", "body.top_p: unknown", "body.top_k: unknown",  # older models take them
        "body.x_new: unknown",  # a client's own, on the native path
    ),
    "vllm": ("body.top_k: unknown", ".reasoning: unknown"),  # vLLM's own
    "openai": (),
    "azure_openai": (),
}
TYPES = {
    ("anthropic", False): message_create_params.MessageCreateParamsNonStreaming,
    ("anthropic", True): message_create_params.MessageCreateParamsStreaming,
    ("vllm", False): completion_create_params.CompletionCreateParamsNonStreaming,
    ("vllm", True): completion_create_params.CompletionCreateParamsStreaming,
    ("azure_openai", False): completion_create_params.CompletionCreateParamsNonStreaming,
    ("azure_openai", True): completion_create_params.CompletionCreateParamsStreaming,
    ("openai", False): response_create_params.ResponseCreateParamsNonStreaming,
    ("openai", True): response_create_params.ResponseCreateParamsStreaming,
}
RESPONSES = {False: TYPES["openai", False], True: TYPES["openai", True]}
# What a client sends to a provider of its own format goes as it came.
AS_IT_CAME = {"openai.chat/azure_openai", "openai.chat/vllm", "openai.responses/openai", "openai.responses/vllm", "bedrock.converse/bedrock"}
CHECKED = [
    case for case in CASES
    if case.split("/")[1] in ALLOWED and case.rpartition("/")[0] not in AS_IT_CAME and "upstream" in load(case)
]


@pytest.mark.parametrize("case", CHECKED)
def test_what_is_sent_fits_the_sdks_types(case):
    told, provider = load(case), case.split("/")[1]
    body = told["upstream"]["body"]
    kind = TYPES[provider, body.get("stream", False)]
    if told["upstream"].get("path", "").endswith("count_tokens"):
        kind = message_count_tokens_params.MessageCountTokensParams
    if told["upstream"].get("path", "").endswith("/responses"):
        kind = RESPONSES[body.get("stream", False)]
    assert [line for line in problems(body, kind) if not line.endswith(ALLOWED[provider])] == []


def blobs(tree):
    """As botocore's callers give it: bytes where the service's model has a blob."""
    if isinstance(tree, list):
        return [blobs(item) for item in tree]
    if isinstance(tree, dict):
        return {
            name: base64.b64decode(value) if name in ("bytes", "redactedContent") and isinstance(value, str) else blobs(value)
            for name, value in tree.items()
        }
    return tree


BEDROCK = [
    case for case in CASES
    if case.split("/")[1] == "bedrock" and case.rpartition("/")[0] not in AS_IT_CAME
    and "/converse" in load(case).get("upstream", {}).get("path", "")
]


@pytest.mark.parametrize("case", BEDROCK)
def test_what_is_sent_to_bedrock_fits_its_service_model(case, service):
    sent = load(case)["upstream"]
    operation = "ConverseStream" if sent["path"].endswith("-stream") else "Converse"
    shape = service.operation_model(operation).input_shape
    report = ParamValidator().validate({"modelId": "m", **blobs(sent["body"])}, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.fixture(scope="module")
def service():
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def test_the_check_finds_mistakes():
    kind = TYPES["anthropic", False]
    body = yaml.safe_load("""
        {model: m, max_tokens: "5", messages: [{role: user, content: [{type: text}]}], tool_choice: {type: any, x: 1}}
    """)
    assert sorted(line.partition(":")[0] for line in problems(body, kind)) == [
        "body.max_tokens", "body.messages[0].content", "body.tool_choice.x",
    ]
