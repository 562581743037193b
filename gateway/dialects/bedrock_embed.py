"""Embeddings by InvokeModel: Titan's bodies and Cohere's. Only targets speak them; clients have other formats."""

from collections.abc import Mapping
from typing import Any

from gateway.codec import Failure, Translation
from gateway.dialects.bedrock_failure import failure_of
from gateway.dialects.embedding_replies import object_of, vector_in
from gateway.dialects.openai_embeddings_codec import EmbeddingsCodec
from gateway.embeddings import EmbeddingAnswer, EmbeddingRequest
from gateway.errors import InvalidRequest, UpstreamCut
from gateway.events import Usage
from gateway.exchange import Target

_TASKS = {
    "RETRIEVAL_QUERY": "search_query", "CLASSIFICATION": "classification", "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "search_query",
}


class TitanCodec(EmbeddingsCodec):
    """Amazon's Titan: one text, one vector."""

    dialect = "bedrock.titan"

    def write_request(self, asked: EmbeddingRequest, target: Target, translation: Translation) -> dict[str, Any]:
        """The body for the target."""
        if len(asked.inputs) != 1:
            raise InvalidRequest(f"The model {target.model} takes one input at a time.", param="input")
        _note(asked, translation, task=True)
        translation.model = target.model
        body: dict[str, Any] = {"inputText": _texts(asked)[0]}
        if asked.dimensions is not None:
            body["dimensions"] = asked.dimensions
        return body

    def read_reply(self, body: bytes, translation: Translation) -> EmbeddingAnswer:
        """The vector, and the tokens of the text."""
        tree = object_of(body)
        count = tree.get("inputTextTokenCount")
        usage = Usage(input=int(count)) if isinstance(count, int | float) and 0 <= count < 1 << 53 else None
        return EmbeddingAnswer(
            dialect=self.dialect, model=translation.model, vectors=(vector_in(tree, "embedding"),), usage=usage
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return failure_of(status, headers, body)


class CohereCodec(TitanCodec):
    """Cohere's models: several texts. Their replies tell no tokens."""

    dialect = "bedrock.cohere"

    def write_request(self, asked: EmbeddingRequest, target: Target, translation: Translation) -> dict[str, Any]:
        """The body for the target."""
        _note(asked, translation, task=False)
        translation.model = target.model
        body: dict[str, Any] = {
            "texts": _texts(asked), "input_type": _TASKS.get(asked.task, "search_document"),
            "embedding_types": ["float"],
        }
        if asked.dimensions is not None:
            body["output_dimension"] = asked.dimensions
        return body

    def read_reply(self, body: bytes, translation: Translation) -> EmbeddingAnswer:
        """The vectors, which stand by type or, in older models, alone."""
        found = object_of(body).get("embeddings")
        vectors = found.get("float") if type(found) is dict else found
        if type(vectors) is not list:
            raise UpstreamCut("The upstream's reply has no list of vectors in `embeddings`.")
        made = tuple(vector_in({"vector": vector}, "vector") for vector in vectors)
        return EmbeddingAnswer(dialect=self.dialect, model=translation.model, vectors=made)


def _texts(asked: EmbeddingRequest) -> list[str]:
    texts = [each.text for each in asked.inputs]
    if any(text is None for text in texts):
        raise InvalidRequest("This model embeds texts only, neither tokens nor images.", param="input")
    return [text or "" for text in texts]


def _note(asked: EmbeddingRequest, translation: Translation, *, task: bool) -> None:
    lost = {"user": asked.user, "task": asked.task if task else "", "title": asked.title}
    for name in [*(name for name, value in lost.items() if value), *asked.foreign]:
        translation.drop(name)
