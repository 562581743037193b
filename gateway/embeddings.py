"""What every dialect can say of embeddings, in one form: a request for vectors, and the vectors.

The counterpart of `conversation.py` for codecs of the family `embeddings`. Not here: how a wire format spells these.
"""

from typing import Any

import msgspec

from gateway.conversation import MediaPart, TextPart
from gateway.events import Usage


class Input(msgspec.Struct, frozen=True):
    """What one vector is asked for: parts (mostly one text), or a text as `tokens` of the model."""

    parts: tuple[TextPart | MediaPart, ...] = ()
    tokens: tuple[int, ...] = ()

    @property
    def text(self) -> str | None:
        """Its text; `None` if it is more than that, or tokens."""
        if self.tokens or not all(isinstance(part, TextPart) for part in self.parts):
            return None
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one vector for each input. `task` says what for (`RETRIEVAL_QUERY`), in Google's words.

    `base64` asks for float32 in base64 instead of numbers. `foreign` is as in `Conversation`.
    """

    dialect: str
    model: str
    inputs: tuple[Input, ...]
    dimensions: int | None = None
    base64: bool = False
    task: str = ""
    title: str = ""
    user: str = ""
    foreign: dict[str, Any] = {}


class EmbeddingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors, in the order of the inputs."""

    dialect: str
    model: str
    vectors: tuple[list[float], ...]
    usage: Usage | None = None
