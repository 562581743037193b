"""Where clients find each dialect: the paths of its endpoints. What stands behind a path is in `app.py`."""

from collections.abc import Callable

import msgspec

from gateway.dialects.anthropic import CountTokens, Messages
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.hookspecs import Dialect

PREFIXES = ("/api/v1", "/v1")


class Served(msgspec.Struct, frozen=True):
    """POST to any of `paths` is a request for `endpoint`, in the dialect that `dialect()` makes."""

    endpoint: str
    paths: tuple[str, ...]
    dialect: Callable[[], Dialect]


def _under(path: str) -> tuple[str, ...]:
    return tuple(prefix + path for prefix in PREFIXES)


SERVED = (
    Served("chat.completions", _under("/chat/completions"), Chat),
    Served("completions", _under("/completions"), Completions),
    Served("embeddings", _under("/embeddings"), Embeddings),
    Served("messages", (*_under("/messages"), "/anthropic/v1/messages"), Messages),
    Served(
        "messages.count_tokens", (*_under("/messages/count_tokens"), "/anthropic/v1/messages/count_tokens"), CountTokens
    ),
)
