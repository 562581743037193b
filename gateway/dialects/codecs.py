"""The table of codecs: which dialects can be translated into one another, and where each is. Loaded when first used."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

import msgspec

from gateway.codec import Codec


class Entry(msgspec.Struct, frozen=True):
    """One dialect: only those of a `family` translate into one another; a target is asked at `endpoint`."""

    family: str
    endpoint: str
    home: str


CODECS: Mapping[str, Entry] = MappingProxyType({
    "openai.chat": Entry("conversation", "chat.completions", "gateway.dialects.openai_chat_codec:ChatCodec"),
    "openai.responses": Entry("conversation", "responses", "gateway.dialects.responses_codec:ResponsesCodec"),
    "gemini.generate": Entry("conversation", "generateContent", "gateway.dialects.gemini_codec:GeminiCodec"),
    "gemini.generate.array": Entry("conversation", "generateContent", "gateway.dialects.gemini_codec:GeminiArrayCodec"),
    "anthropic.messages": Entry("conversation", "messages", "gateway.dialects.anthropic_codec:MessagesCodec"),
    "openai.embeddings": Entry(
        "embeddings", "embeddings", "gateway.dialects.openai_embeddings_codec:EmbeddingsCodec"
    ),
    "gemini.embed": Entry("embeddings", "embedContent", "gateway.dialects.gemini_embed:EmbedCodec"),
    "gemini.batchEmbed": Entry("embeddings", "batchEmbedContents", "gateway.dialects.gemini_embed:BatchEmbedCodec"),
    "vertex.predict": Entry("embeddings", "predict", "gateway.dialects.gemini_embed:PredictCodec"),
    "bedrock.titan": Entry("embeddings", "invoke", "gateway.dialects.bedrock_embed:TitanCodec"),
    "bedrock.cohere": Entry("embeddings", "invoke", "gateway.dialects.bedrock_embed:CohereCodec"),
    "bedrock.claude": Entry("conversation", "invoke", "gateway.dialects.bedrock_claude:ClaudeCodec"),
    "bedrock.converse": Entry("conversation", "converse", "gateway.dialects.bedrock_codec:ConverseCodec"),
})


@cache
def codec(dialect: str) -> Codec:
    """The codec of a dialect in the table."""
    module, _, name = CODECS[dialect].home.partition(":")
    made: Codec = getattr(import_module(module), name)()
    return made
