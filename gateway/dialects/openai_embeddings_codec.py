"""`openai.embeddings` for translation: OpenAI's clients to other providers, and other clients to OpenAI's format."""

import binascii
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gateway.codec import Failure, Translation
from gateway.conversation import TextPart
from gateway.dialects.embedding_replies import Unstreamed, object_of, objects_in, vector_in
from gateway.dialects.openai_failure import failure_of
from gateway.dialects.openai_usage import usage_of, wire_from
from gateway.embeddings import EmbeddingAnswer, EmbeddingRequest, Input
from gateway.errors import InvalidRequest, UpstreamCut
from gateway.exchange import Request, Target

Json = dict[str, Any]

DIALECT = "openai.embeddings"
_PLACED = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


class EmbeddingsCodec(Unstreamed):
    """See `gateway.codec.Codec`."""

    dialect = DIALECT
    family: Literal["embeddings"] = "embeddings"

    def read_request(self, request: Request) -> EmbeddingRequest:
        """The request in the common form. Raises `InvalidRequest` that names the field."""
        body = request.body
        form = body.get("encoding_format")
        if form not in (None, "float", "base64"):
            raise InvalidRequest("`encoding_format` must be float or base64.", param="encoding_format")
        dimensions = body.get("dimensions")
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise InvalidRequest("`dimensions` must be a positive integer.", param="dimensions")
        user = body.get("user")
        return EmbeddingRequest(
            dialect=DIALECT, model=request.model, inputs=_inputs(body.get("input")), dimensions=dimensions,
            base64=form == "base64", user=user if type(user) is str else "",
            foreign={name: value for name, value in body.items() if name not in _PLACED and value is not None},
        )

    def write_request(self, asked: EmbeddingRequest, target: Target, translation: Translation) -> Json:
        """The body for the target."""
        body: Json = {"model": target.model, "input": _written(asked.inputs), "encoding_format": "float"}
        if asked.dimensions is not None:
            body["dimensions"] = asked.dimensions
        if asked.user:
            body["user"] = asked.user
        for name, given in (("taskType", asked.task), ("title", asked.title)):
            if given:
                translation.drop(name)
        for name, value in asked.foreign.items():
            if asked.dialect == DIALECT:
                body[name] = value
            else:
                translation.drop(name)
        return body

    def read_reply(self, body: bytes, translation: Translation) -> EmbeddingAnswer:  # noqa: ARG002
        """The vectors."""
        tree = object_of(body)
        data = sorted(objects_in(tree, "data"), key=_index)
        wire = wire_from(tree.get("usage"))
        model = tree.get("model")
        return EmbeddingAnswer(
            dialect=DIALECT, model=model if type(model) is str else "", vectors=tuple(map(_vector, data)),
            usage=usage_of(wire) if wire is not None else None,
        )

    def write_reply(self, answer: EmbeddingAnswer, asked: EmbeddingRequest, translation: Translation) -> bytes:  # noqa: ARG002
        """The same for a client, in the encoding that it asked for."""
        tokens = answer.usage.input if answer.usage is not None else 0
        return msgspec.json.encode({
            "object": "list",
            "data": [
                {"object": "embedding", "index": number, "embedding": _base64(vector) if asked.base64 else vector}
                for number, vector in enumerate(answer.vectors)
            ],
            "model": answer.model or asked.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        })

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return failure_of(status, headers, body)


def _inputs(given: object) -> tuple[Input, ...]:
    items: list[Any] = given if type(given) is list else [given]
    if items and all(type(item) is int for item in items):
        return (Input(tokens=tuple(items)),)
    if not items:
        raise InvalidRequest("`input` must not be empty.", param="input")
    return tuple(map(_input, items))


def _input(item: object) -> Input:
    if type(item) is str:
        return Input((TextPart(item),))
    if type(item) is list and item and all(type(token) is int for token in item):
        return Input(tokens=tuple(item))
    raise InvalidRequest("`input` must be a string, tokens, or an array of either.", param="input")


def _written(inputs: tuple[Input, ...]) -> list[Any]:
    found: list[Any] = []
    for each in inputs:
        if each.tokens:
            found.append(list(each.tokens))
        elif (text := each.text) is not None:
            found.append(text)
        else:
            raise InvalidRequest("This model embeds texts only.", param="content")
    return found


def _index(item: Json) -> int:
    index = item.get("index")
    return index if type(index) is int else 0


def _vector(item: Json) -> list[float]:
    packed = item.get("embedding")
    if type(packed) is not str:
        return vector_in(item, "embedding")
    try:
        numbers = array("f", b64decode(packed, validate=True))
    except (ValueError, binascii.Error):
        raise UpstreamCut("The upstream's reply has something that is no vector.") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return list(numbers)


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's clients unpack it."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()
