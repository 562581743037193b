"""What every dialect can say, in one form: the requests and whole replies that translation goes through.

Only for exchanges whose two sides speak different dialects; the same dialect on both sides never comes here. Not here:
how a wire format spells these (`dialects/`), who picks the formats (`bridge.py`), streams (`pieces.py`).
"""

from typing import Any, Literal

import msgspec

from gateway.events import Usage

Role = Literal["system", "developer", "user", "assistant", "tool"]
Media = Literal["image", "document", "audio", "video"]
Reason = Literal[
    "stop",            # the model had said all
    "stop_sequence",   # one of the caller's stop strings came
    "length",          # the output cap or the context's end
    "tool_calls",      # it waits for the results of its calls
    "content_filter",  # the provider withheld the rest
    "refusal",         # the model declined
    "pause",           # a long turn of server tools, to be continued by sending it back
    "error",           # a malformed call or another failure under status 200
]


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where the bytes of a media part are. `data` is base64 text, a URL, the provider's file id, or plain text."""

    kind: Literal["base64", "url", "file", "text"]
    data: str
    media_type: str = ""
    name: str = ""


class Cache(msgspec.Struct, frozen=True, gc=False):
    """A prompt-cache breakpoint behind the part that carries it; `ttl` is `5m`, `1h` or empty for the default."""

    ttl: str = ""


class TextPart(msgspec.Struct, frozen=True, gc=False, tag="text"):
    """Text. `citations` are objects in the dialect that `Answer.dialect` or `Conversation.dialect` names."""

    text: str
    cache: Cache | None = None
    citations: tuple[dict[str, Any], ...] = ()
    signature: str = ""


class MediaPart(msgspec.Struct, frozen=True, gc=False, tag="media"):
    """An image, document, sound or film. `detail` is low, high or auto; `cite` asks for citations of a document."""

    media: Media
    source: Source
    detail: str = ""
    title: str = ""
    context: str = ""
    cite: bool = False
    cache: Cache | None = None


class ToolCall(msgspec.Struct, frozen=True, gc=False, tag="call"):
    """The model calls a tool. `arguments` is JSON text as the model wrote it, `{}` for none; `signature` is the
    provider's proof of the thinking behind the call, which must come back with it."""

    id: str
    name: str
    arguments: str = "{}"
    signature: str = ""
    cache: Cache | None = None


class Foreign(msgspec.Struct, frozen=True, gc=False, tag="foreign"):
    """Something that only `dialect` knows (a server tool's block, a computer call): `value` is it, unchanged."""

    dialect: str
    value: Any


class ToolResult(msgspec.Struct, frozen=True, gc=False, tag="result"):
    """What the call `id` gave. `name` is the tool's, where the dialect says it."""

    id: str
    parts: tuple[TextPart | MediaPart | Foreign, ...] = ()
    name: str = ""
    error: bool = False
    cache: Cache | None = None


class Thinking(msgspec.Struct, frozen=True, gc=False, tag="thinking"):
    """The model's reasoning. With `redacted` the text is not readable and `signature` holds the encrypted whole.

    `origin` is the dialect whose provider signed it: a signature goes back to the same origin only. `summary` is true
    where the text only sums up what was thought; `id` is the item's own (Responses).
    """

    text: str = ""
    signature: str = ""
    redacted: bool = False
    origin: str = ""
    summary: bool = False
    id: str = ""


class Refusal(msgspec.Struct, frozen=True, gc=False, tag="refusal"):
    """The model declines, in its own words."""

    text: str


Part = TextPart | MediaPart | ToolCall | ToolResult | Thinking | Refusal | Foreign


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn. Results of tools are parts of a `tool` message, whatever role the dialect gives them."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `schema` is the JSON Schema of its arguments (`None`: no arguments said).

    `foreign` holds what else its dialect says of it, by name. A `custom` tool takes any text: its `schema` is that of
    the one argument `input`, which stands for the text.
    """

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache: Cache | None = None
    foreign: dict[str, Any] = {}
    custom: bool = False


class ToolChoice(msgspec.Struct, frozen=True):
    """`auto`, `none`, `required`, or the one tool `name`; `names` narrows the choice to some of them."""

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str = ""
    names: tuple[str, ...] = ()


class OutputFormat(msgspec.Struct, frozen=True):
    """The answer must be JSON: any object, or one that fits `schema`."""

    kind: Literal["json_object", "json_schema"]
    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str = ""


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model should think: `effort` (none, minimal, low, medium, high, xhigh, max) or a `budget` in tokens.

    `off` says so outright; `show` asks for the text or a summary of it (`None`: the provider's default).
    """

    effort: str = ""
    budget: int | None = None
    off: bool = False
    show: bool | None = None
    summary: str = ""


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are chosen; `None` is the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    choices: int = 1
    stop: tuple[str, ...] = ()


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a chat model. System and developer turns are messages in their place.

    `foreign` holds the top-level fields that have no place here, by their name in `dialect`: a target of the same
    family may take them, any other drops them, by name. `user` is the end user's id as the caller gave it. `echo` are
    the fields that a reply of its dialect repeats, as they came.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    max_output: int | None = None
    tools: tuple[Tool | Foreign, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    sampling: Sampling = Sampling()
    verbosity: str = ""
    modalities: tuple[str, ...] = ()
    user: str = ""
    metadata: dict[str, Any] | None = None
    service_tier: str = ""
    store: bool | None = None
    previous: str = ""
    cache_key: str = ""
    foreign: dict[str, Any] = {}
    echo: dict[str, Any] = {}


class Choice(msgspec.Struct, frozen=True):
    """One answer. `raw_reason` is the provider's own word; `logprobs` are in the shape of OpenAI's chat replies."""

    parts: tuple[Part, ...]
    reason: Reason = "stop"
    raw_reason: str = ""
    stop_sequence: str | None = None
    logprobs: dict[str, Any] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply. `created` is Unix time in seconds, 0 where the dialect does not say."""

    dialect: str
    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int = 0
    service_tier: str = ""
    fingerprint: str = ""
    foreign: dict[str, Any] = {}
