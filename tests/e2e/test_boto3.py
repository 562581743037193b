"""AWS's own Python client against the gateway, over plain http: it signs with the gateway's key."""

import asyncio
import warnings

import pytest
import pytest_asyncio
from running import running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]
ASKED = [{"role": "user", "content": [{"text": "call get_weather"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}]}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory):
    demo = [{"name": "demo", "use": "provider.demo"}]
    models = [{"name": "small", "targets": ["demo/demo-small"]}]
    async with running(tmp_path_factory.mktemp("boto3"), providers=demo, models=models) as gw:
        yield gw


def client(gateway, key=None):
    return boto3.client(
        "bedrock-runtime", endpoint_url=gateway.root, region_name="us-east-1", aws_secret_access_key="anything",
        aws_access_key_id=key or gateway.key, config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip


async def test_converse_with_a_tool(gateway):
    aws = client(gateway)
    said = await asyncio.to_thread(lambda: aws.converse(modelId="small", messages=ASKED, toolConfig=TOOLS))
    (block,) = said["output"]["message"]["content"]
    assert (said["stopReason"], block["toolUse"]["name"]) == ("tool_use", "get_weather")
    assert set(block["toolUse"]["input"]) == {"city"}


async def test_converse_stream(gateway):
    aws = client(gateway)

    def run():
        return list(aws.converse_stream(modelId="small", messages=[{"role": "user", "content": [{"text": "Hi"}]}])["stream"])

    events = await asyncio.to_thread(run)
    text = "".join(each["contentBlockDelta"]["delta"]["text"] for each in events if "contentBlockDelta" in each)
    assert text.startswith('You said: "Hi"')
    assert [next(iter(each)) for each in events[-2:]] == ["messageStop", "metadata"]
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0


async def test_its_exceptions_are_those_of_bedrock(gateway):
    aws, stranger = client(gateway), client(gateway, "AKIA0123456789ABCDEF")
    with pytest.raises(aws.exceptions.ResourceNotFoundException):
        await asyncio.to_thread(lambda: aws.converse(modelId="none", messages=ASKED))
    with pytest.raises(aws.exceptions.ClientError, match="UnrecognizedClientException"):
        await asyncio.to_thread(lambda: stranger.converse(modelId="small", messages=ASKED))
