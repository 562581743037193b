"""Where clients find each dialect: the paths of its endpoints. What stands behind a path is in `app.py`."""

from collections.abc import Callable, Mapping

import msgspec

from gateway.dialects.anthropic import CountTokens, Messages
from gateway.dialects.bedrock import Converse, ConverseStream
from gateway.dialects.gemini import GeminiArray, GeminiCount, GeminiDialect
from gateway.dialects.gemini_embed import GeminiBatchEmbed, GeminiEmbed
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.dialects.openai_media import ImageEdits, Images, ImageVariations, Speech, Transcriptions
from gateway.dialects.openai_others import Detokenize, Moderations, Rerank, Score, Tokenize
from gateway.dialects.responses import Responses, ResponsesCompact, ResponsesCount
from gateway.hookspecs import Dialect

PREFIXES = ("/api/v1", "/v1")
ANTHROPIC = "/anthropic"  # for clients that put their own /v1 behind it


class Served(msgspec.Struct, frozen=True):
    """POST to any of `paths` is a request for `endpoint`, in the dialect that `dialect()` makes."""

    endpoint: str
    paths: tuple[str, ...]
    dialect: Callable[[], Dialect]


class Called(msgspec.Struct, frozen=True):
    """POST to `{path}/{model}:{action}` for any of `paths`, as Google's API has it: what an action's name leads to.

    The query may say in what form a stream is wanted (`alt`): an action with `?alt=…` behind it is meant for that one.
    """

    paths: tuple[str, ...]
    actions: Mapping[str, Served]


def _under(path: str) -> tuple[str, ...]:
    return tuple(prefix + path for prefix in PREFIXES)


def _models(action: str) -> tuple[str, ...]:
    return tuple(f"{prefix}/model/{{model}}{action}" for prefix in ("", "/bedrock", *PREFIXES))


SERVED = (
    Served("chat.completions", _under("/chat/completions"), Chat),
    Served("completions", _under("/completions"), Completions),
    Served("embeddings", _under("/embeddings"), Embeddings),
    Served("responses", _under("/responses"), Responses),
    Served("responses.compact", _under("/responses/compact"), ResponsesCompact),
    Served("responses.input_tokens", _under("/responses/input_tokens"), ResponsesCount),
    Served("moderations", _under("/moderations"), Moderations),
    Served("images.generations", _under("/images/generations"), Images),
    Served("images.edits", _under("/images/edits"), ImageEdits),
    Served("images.variations", _under("/images/variations"), ImageVariations),
    Served("audio.speech", _under("/audio/speech"), Speech),
    Served("audio.transcriptions", _under("/audio/transcriptions"), Transcriptions),
    Served("audio.translations", _under("/audio/translations"), Transcriptions),
    Served("rerank", (*_under("/rerank"), "/rerank", "/v2/rerank"), Rerank),
    Served("score", (*_under("/score"), "/score"), Score),
    Served("tokenize", (*_under("/tokenize"), "/tokenize"), Tokenize),
    Served("detokenize", (*_under("/detokenize"), "/detokenize"), Detokenize),
    Served("messages", (*_under("/messages"), ANTHROPIC + "/v1/messages"), Messages),
    Served(
        "messages.count_tokens",
        (*_under("/messages/count_tokens"), ANTHROPIC + "/v1/messages/count_tokens"),
        CountTokens,
    ),
    Served("converse", _models("/converse"), Converse),
    Served("converse", _models("/converse-stream"), ConverseStream),
)

# Google's clients put a version of their own behind the address that they are given.
_BASES = ("", "/gemini", "/api/v1", "/v1")
_VERSIONS = ("v1", "v1beta", "v1alpha")
_MODELS = tuple(f"{base}/{version}/models" for base in _BASES for version in _VERSIONS)
# Where only clients of Google's API go: there, lists of models and errors of the routes are in its form.
GOOGLE = ("/gemini/", *(f"{base}/{version}/" for base in _BASES for version in _VERSIONS if base or version != "v1"))
GOOGLE_MODELS = tuple(path for path in _MODELS if path.startswith(GOOGLE))
_GENERATE = Served("generateContent", (), GeminiDialect)
CALLED = (
    Called(("/api/v1/models", *_MODELS), {
        "generateContent": _GENERATE,
        "streamGenerateContent": Served("generateContent", (), GeminiArray),
        "streamGenerateContent?alt=sse": _GENERATE,
        "countTokens": Served("countTokens", (), GeminiCount),
        "embedContent": Served("embedContent", (), GeminiEmbed),
        "batchEmbedContents": Served("batchEmbedContents", (), GeminiBatchEmbed),
    }),
)
