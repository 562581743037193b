"""Google's embeddings: `embedContent`, `batchEmbedContents`, and for Vertex AI `predict`, as dialects and as codecs."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gateway.codec import Failure, Translation
from gateway.conversation import MediaPart, TextPart
from gateway.dialects import gemini_errors
from gateway.dialects.embedding_replies import Unstreamed, object_of, objects_in, vector_in
from gateway.dialects.gemini import Change, GeminiDialect
from gateway.dialects.gemini_fields import array, camel, mapping, text, whole, wrong
from gateway.dialects.gemini_parts import read_part, write_part
from gateway.embeddings import EmbeddingAnswer, EmbeddingRequest, Input
from gateway.errors import InvalidRequest
from gateway.events import Usage
from gateway.exchange import Request, Target

Json = dict[str, Any]

_PLACED = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})


class GeminiEmbed(GeminiDialect):
    """`embedContent` for clients of Google's API: one vector. Only the input is billed."""

    name = "gemini.embed"
    generates = False

    def reported(self, body: bytes) -> Usage | None:
        """The input's tokens, which not every model tells."""
        tree = msgspec.json.decode(body)
        return _usage(tree) if type(tree) is dict else None

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:  # noqa: ARG002
        """Vectors have no text."""
        return body


class GeminiBatchEmbed(GeminiEmbed):
    """`batchEmbedContents`: several."""

    name = "gemini.batchEmbed"

    def changes(self, request: Request, model: str, cap: int | None) -> Json:
        """The model's name, which each of the requests repeats."""
        requests = request.body.get("requests")
        if request.model == model or type(requests) is not list:
            return {}
        renamed = [{**each, "model": f"models/{model}"} if type(each) is dict else each for each in requests]
        return {**super().changes(request, model, cap), "requests": renamed}


class EmbedCodec(Unstreamed):
    """See `gateway.codec.Codec`."""

    dialect = "gemini.embed"
    family: Literal["embeddings"] = "embeddings"

    def read_request(self, request: Request) -> EmbeddingRequest:
        """The request in the common form."""
        return _asked([camel(request.body)], self.dialect, request.model)

    def write_request(self, asked: EmbeddingRequest, target: Target, translation: Translation) -> Json:
        """The body for the target: one input only."""
        if len(asked.inputs) != 1:
            raise InvalidRequest(f"The model {target.model} takes one input at a time.", param="input")
        _note(asked, translation)
        return _request(asked, asked.inputs[0])

    def read_reply(self, body: bytes, translation: Translation) -> EmbeddingAnswer:  # noqa: ARG002
        """The vector."""
        tree = object_of(body)
        return _answer(self.dialect, tree, [vector_in(tree.get("embedding"), "values")])

    def write_reply(self, answer: EmbeddingAnswer, asked: EmbeddingRequest, translation: Translation) -> bytes:  # noqa: ARG002
        """The same for a client."""
        return _reply({"embedding": {"values": answer.vectors[0] if answer.vectors else []}}, answer)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return gemini_errors.failure(status, headers, body)


class BatchEmbedCodec(EmbedCodec):
    """The same for several inputs."""

    dialect = "gemini.batchEmbed"

    def read_request(self, request: Request) -> EmbeddingRequest:
        """The request in the common form. All of its parts must ask for the same."""
        requests = array(camel(request.body), "requests", "requests")
        if not requests or not all(type(each) is dict for each in requests):
            raise InvalidRequest("`requests` must be an array of objects.", param="requests")
        return _asked([camel(each) for each in requests], self.dialect, request.model)

    def write_request(self, asked: EmbeddingRequest, target: Target, translation: Translation) -> Json:
        """The body for the target."""
        _note(asked, translation)
        model = {"model": f"models/{target.model}"}
        return {"requests": [{**model, **_request(asked, each)} for each in asked.inputs]}

    def read_reply(self, body: bytes, translation: Translation) -> EmbeddingAnswer:  # noqa: ARG002
        """The vectors."""
        tree = object_of(body)
        return _answer(self.dialect, tree, [vector_in(each, "values") for each in objects_in(tree, "embeddings")])

    def write_reply(self, answer: EmbeddingAnswer, asked: EmbeddingRequest, translation: Translation) -> bytes:  # noqa: ARG002
        """The same for a client."""
        return _reply({"embeddings": [{"values": vector} for vector in answer.vectors]}, answer)


class PredictCodec(EmbedCodec):
    """Vertex AI's `predict`, for its text embedding models. No client speaks it to the gateway."""

    dialect = "vertex.predict"

    def write_request(self, asked: EmbeddingRequest, target: Target, translation: Translation) -> Json:  # noqa: ARG002
        """The body for the target."""
        _note(asked, translation)
        beside = {name: value for name, value in (("task_type", asked.task), ("title", asked.title)) if value}
        body: Json = {"instances": [{"content": _text(each), **beside} for each in asked.inputs]}
        if asked.dimensions is not None:
            body["parameters"] = {"outputDimensionality": asked.dimensions}
        return body

    def read_reply(self, body: bytes, translation: Translation) -> EmbeddingAnswer:  # noqa: ARG002
        """The vectors, and the tokens that stand with each."""
        found = [each.get("embeddings") for each in objects_in(object_of(body), "predictions")]
        counts = [_tokens(each) for each in found]
        known = [count for count in counts if count is not None]
        return EmbeddingAnswer(
            dialect=self.dialect, model="", vectors=tuple(vector_in(each, "values") for each in found),
            usage=Usage(input=sum(known)) if known else None,
        )


def _asked(requests: list[Json], dialect: str, model: str) -> EmbeddingRequest:
    settings = [{name: value for name, value in each.items() if name not in ("content", "model")} for each in requests]
    if any(each != settings[0] for each in settings):
        raise InvalidRequest(
            "All `requests` must have the same settings, or be sent to a model of Google's.", param="requests"
        )
    first = requests[0]
    return EmbeddingRequest(
        dialect=dialect, model=model, inputs=tuple(map(_input, requests)),
        dimensions=whole(first, "outputDimensionality", "outputDimensionality"),
        task=text(first, "taskType", "taskType"), title=text(first, "title", "title"),
        foreign={name: value for name, value in first.items() if name not in _PLACED},
    )


def _input(request: Json) -> Input:
    found: list[TextPart | MediaPart] = []
    for each in array(mapping(request, "content", "content"), "parts", "content.parts"):
        if type(each) is not dict:
            raise wrong("content.parts", dict)
        part = read_part(camel(each), "")
        if not isinstance(part, TextPart | MediaPart):
            raise InvalidRequest("Only texts and media can be embedded.", param="content.parts")
        found.append(part)
    if not found:
        raise InvalidRequest("`content` must have a part.", param="content")
    return Input(tuple(found))


def _request(asked: EmbeddingRequest, each: Input) -> Json:
    if each.tokens:
        raise InvalidRequest("Google's models take texts, not tokens.", param="input")
    made: Json = {"content": {"parts": [part for part in map(write_part, each.parts) if part is not None]}}
    for name, value in (
        ("taskType", asked.task), ("title", asked.title), ("outputDimensionality", asked.dimensions)
    ):
        if value:
            made[name] = value
    return made


def _text(each: Input) -> str:
    found = each.text
    if found is None:
        raise InvalidRequest("This model embeds texts only, not tokens or media.", param="input")
    return found


def _note(asked: EmbeddingRequest, translation: Translation) -> None:
    if asked.user:
        translation.drop("user")
    for name in asked.foreign:
        translation.drop(name)


def _answer(dialect: str, tree: Json, vectors: list[list[float]]) -> EmbeddingAnswer:
    return EmbeddingAnswer(dialect=dialect, model="", vectors=tuple(vectors), usage=_usage(tree))


def _usage(tree: Json) -> Usage | None:
    meta = tree.get("usageMetadata")
    count = meta.get("promptTokenCount") if type(meta) is dict else None
    return Usage(input=count) if type(count) is int and 0 <= count < 1 << 53 else None


def _tokens(embeddings: Any) -> int | None:  # noqa: ANN401
    statistics = embeddings.get("statistics") if type(embeddings) is dict else None
    count = statistics.get("token_count") if type(statistics) is dict else None
    if type(count) is float and count.is_integer():
        count = int(count)
    return count if type(count) is int and 0 <= count < 1 << 53 else None


def _reply(made: Json, answer: EmbeddingAnswer) -> bytes:
    if answer.usage is not None:
        made["usageMetadata"] = {"promptTokenCount": answer.usage.input, "totalTokenCount": answer.usage.input}
    return msgspec.json.encode(made)
