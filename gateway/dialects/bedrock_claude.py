"""Claude by InvokeModel: Anthropic's bodies with a version in them, its events in base64 in AWS's frames."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from gateway import sse
from gateway.codec import Failure, Translation
from gateway.conversation import Conversation
from gateway.dialects.anthropic_codec import MessagesCodec
from gateway.dialects.anthropic_reader import MessagesReader
from gateway.dialects.bedrock_failure import failure_of, in_stream
from gateway.errors import UpstreamCut
from gateway.eventstream import Splitter
from gateway.exchange import Target
from gateway.jsonbody import read_lenient
from gateway.pieces import Fail, Over, Piece


class ClaudeCodec(MessagesCodec):
    """See `gateway.codec.Codec`. Only targets speak it."""

    dialect = "bedrock.claude"

    def write_request(self, conversation: Conversation, target: Target, translation: Translation) -> dict[str, Any]:
        """The body for the target: the model and whether it streams are in the URL, flags in the body."""
        translation.origin = MessagesCodec.dialect  # whose signatures these are, whatever carries them
        body = super().write_request(conversation, target, translation)
        body.pop("model", None)
        body.pop("stream", None)
        flags = [flag for flag in translation.headers.pop("anthropic-beta", "").split(",") if flag]
        if flags:
            body["anthropic_beta"] = flags
        return {"anthropic_version": "bedrock-2023-05-31", **body}

    def reader(self, translation: Translation) -> "ClaudeReader":  # type: ignore[override]
        """For one stream of a provider."""
        return ClaudeReader(translation)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return failure_of(status, headers, body)


class ClaudeReader:
    """One stream: Anthropic's events, taken out of the frames."""

    def __init__(self, translation: Translation) -> None:
        self._frames = Splitter()
        self._reader = MessagesReader(translation)
        self._over = False

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes."""
        out: list[Piece] = []
        for frame in self._frames.feed(data):
            if self._over:
                break
            error = in_stream(frame)
            out += [Fail(error)] if error is not None else self._reader.feed(sse.write(_event(frame.payload)))
            self._over = bool(out) and type(out[-1]) in (Fail, Over)
        return out

    def end(self) -> list[Piece]:
        """The rest. Raises `UpstreamCut` unless `message_stop` came."""
        return [] if self._over else self._reader.end()


def _event(payload: bytes) -> bytes:
    tree = read_lenient(payload)
    held = tree.get("bytes") if type(tree) is dict else None
    try:
        return b64decode(held, validate=True) if type(held) is str else b"{}"
    except ValueError:
        raise UpstreamCut("The upstream sent a frame that does not hold base64.") from None
