"""What programs on langchain-openai and LiteLLM do; prints one JSON object. `../test_python_clients.py` judges it.

`demo-small` is a model of OpenAI's format, `claude` one of Anthropic's: the clients are not to see the difference.
"""

import json
import os

import litellm
import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

BASE, ROOT, KEY, LIMITED = (os.environ[name] for name in ("BASE_URL", "ROOT_URL", "API_KEY", "LIMITED_KEY"))
HELLO = "Say hello"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
litellm.suppress_debug_info = True


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def chain(model: str, **options: object) -> ChatOpenAI:
    """LangChain's model."""
    return ChatOpenAI(model=model, **{"base_url": BASE, "api_key": KEY, "max_retries": 0, **options})


def chain_chat() -> dict:
    """A whole answer and a streamed one."""
    whole = chain("demo-small").invoke(HELLO)
    parts = list(chain("demo-small", stream_usage=True).stream(HELLO))
    streamed = parts[0]
    for part in parts[1:]:
        streamed += part
    usages = [message.usage_metadata["total_tokens"] for message in (whole, streamed)]
    return {"text": whole.content, "streamed": streamed.content, "parts": len(parts), "usages": usages}


def chain_structured() -> dict:
    """An object that fits a schema."""
    return chain("demo-small").with_structured_output(Person, method="json_schema").invoke(HELLO).model_dump()


def chain_embeddings() -> list[int]:
    """Sizes of two vectors."""
    model = OpenAIEmbeddings(model="demo-embed", base_url=BASE, api_key=KEY, check_embedding_ctx_length=False)
    return [len(vector) for vector in model.embed_documents(["a", "b"])]


def chain_claude() -> dict:
    """A conversation with a tool, then a stream."""
    model = chain("claude").bind_tools([TOOL])
    asked = [HumanMessage("What is the weather in Paris?")]
    called = model.invoke(asked)
    (call,) = called.tool_calls
    told = model.invoke([*asked, called, ToolMessage("18 C", tool_call_id=call["id"])])
    streamed = "".join(part.content for part in chain("claude").stream(HELLO))
    return {"call": [call["name"], call["args"]], "text": told.content, "streamed": streamed}


def chain_responses() -> str:
    """Through OpenAI's newer API."""
    return chain("demo-small", use_responses_api=True).invoke(HELLO).text


def lite(model: str, **options: object) -> object:
    """A completion by LiteLLM."""
    given = {"api_base": BASE, "api_key": KEY, "messages": [{"role": "user", "content": HELLO}], "num_retries": 0}
    return litellm.completion(model=model, **{**given, **options})


def lite_chat() -> dict:
    """A whole answer and a streamed one."""
    whole = lite("openai/demo-small")
    parts = list(lite("openai/demo-small", stream=True, stream_options={"include_usage": True}))
    streamed = litellm.stream_chunk_builder(parts)
    usages = [answer.usage.total_tokens for answer in (whole, streamed)]
    texts = [answer.choices[0].message.content for answer in (whole, streamed)]
    return {"text": texts[0], "streamed": texts[1], "parts": len(parts), "usages": usages}


def lite_embeddings() -> list[int]:
    """Sizes of two vectors."""
    answer = litellm.embedding(
        model="openai/demo-embed", input=["a", "b"], api_base=BASE, api_key=KEY, encoding_format="float"
    )
    return [len(item["embedding"]) for item in answer.data]


def lite_claude() -> dict:
    """A conversation with a tool, then a stream."""
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    called = lite("openai/claude", messages=asked, tools=[TOOL]).choices[0]
    (call,) = called.message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 C"}
    told = lite("openai/claude", messages=[*asked, called.message.model_dump(), result], tools=[TOOL]).choices[0]
    streamed = "".join(part.choices[0].delta.content or "" for part in lite("openai/claude", stream=True))
    arguments = json.loads(call.function.arguments)
    return {"call": [call.function.name, arguments], "text": told.message.content, "streamed": streamed}


def lite_as_anthropic() -> str:
    """LiteLLM as a client of Anthropic's API, in front of a model of OpenAI's format."""
    return lite("anthropic/demo-small", api_base=ROOT, max_tokens=50).choices[0].message.content


def raised(ask) -> list:
    """What an error is to the client: the first of its classes that is one of OpenAI's, and the status."""
    try:
        ask()
    except openai.APIStatusError as error:
        known = [each.__name__ for each in type(error).__mro__ if each.__module__.startswith("openai")]
        return [known[0], error.status_code]
    return ["nothing", 0]


def errors() -> dict:
    """Both clients, wrong in three ways."""
    found = {}
    for name, ask in (
        ("chain", lambda model, key: chain(model, api_key=key).invoke(HELLO)),
        ("lite", lambda model, key: lite("openai/" + model, api_key=key)),
    ):
        found[name] = {
            "key": raised(lambda ask=ask: ask("demo-small", "sk-gw-wrong")),
            "model": raised(lambda ask=ask: ask("no-such-model", KEY)),
            "limit": raised(lambda ask=ask: [ask("demo-small", LIMITED) for _ in range(2)]),
        }
    return found


SCENARIOS = (
    chain_chat, chain_structured, chain_embeddings, chain_claude, chain_responses,
    lite_chat, lite_embeddings, lite_claude, lite_as_anthropic, errors,
)  # fmt: skip

if __name__ == "__main__":
    print(json.dumps({scenario.__name__: scenario() for scenario in SCENARIOS}))
