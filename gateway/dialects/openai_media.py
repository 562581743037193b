"""OpenAI's endpoints for sound and images: speech, transcriptions, translations, and images that are made or edited.

The same on both sides. What a request may cost before its reply tells is guessed here: from the text, from the size of
the upload, from the size and quality of the images.

Source: platform.openai.com/docs/api-reference/audio and /images.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.dialects.media_tap import BinaryTap, EventTap
from gateway.dialects.openai import NO_PARAMS, Change, OpenAIDialect, common
from gateway.dialects.openai_media_usage import Makes, duration_ms, media_usage, subtitles_ms
from gateway.errors import InvalidRequest
from gateway.events import Event, Special, Usage
from gateway.exchange import Request
from gateway.framing import BINARY, Framing
from gateway.jsonbody import UNREADABLE, read_lenient

_BYTES_PER_SECOND = 4_000      # of sound, in what is uploaded: about 32 kbit/s
_LEAST_BYTES_PER_SECOND = 1_500
_CHARACTERS_PER_SECOND = 15    # of speech
_SPEECH_TOKENS = 21            # in a second of sound that is made
_HEARD_TOKENS = 10             # in a second of sound that is read
# Tokens of an image that is made, by its quality: the dearest of the common sizes.
_IMAGE_TOKENS: Mapping[str, int] = {"low": 600, "medium": 1_700, "standard": 1_700}
_IMAGE_TOKENS_MOST = 7_000
_IMAGE_READ = 6_600


class MediaDialect(OpenAIDialect):
    """What they have in common. `form` says that requests are forms, `needs` which fields must be there.

    `judged` are the fields with text that a model reads.
    """

    generates = False
    form = False
    needs: tuple[str, ...] = ()
    judged: tuple[str, ...] = ("prompt",)
    default_model = ""
    makes: Makes = "text"
    ends: frozenset[str] = frozenset()

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check the fields that decide something; of a form they are all texts."""
        for name in self.needs:
            if body.get(name) in (None, ""):
                raise InvalidRequest(f"`{name}` is missing.", param=name)
        for name in self.judged:
            if type(body.get(name, "")) is not str:
                raise InvalidRequest(f"`{name}` must be a string.", param=name)
        read: dict[str, Any] = {name: body[name] for name in ("model", "stream", "n") if name in body}
        if self.form:
            read |= {"stream": body.get("stream", "").lower() in ("true", "1")} | _count(body)
        request = common(raw, {**read, "model": read.get("model") or self.default_model})
        return msgspec.structs.replace(request, body=body, include_usage=True)

    def variant(self, request: Request) -> "MediaDialect":  # noqa: ARG002
        """The dialect of the reply to this request, where a field chooses among several."""
        return self

    def forecast(self, request: Request, size: int) -> tuple[Usage, Usage]:
        """What a request of `size` bytes will likely use, and the most that it can."""
        raise NotImplementedError

    def changes(self, request: Request, model: str, cap: int | None) -> dict[str, Any]:  # noqa: ARG002
        """The model's name."""
        return {} if request.model == model else {"model": model}

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> EventTap:  # type: ignore[override]  # noqa: ARG002
        """For one stream."""
        return EventTap(self.ends, request.choices, self.makes, scrub)

    def reported(self, body: bytes) -> Usage | None:
        """The usage of a whole reply; of what is no JSON there may be none."""
        tree = read_lenient(body)
        return media_usage(tree.get("usage"), self.makes) if type(tree) is dict else None

    def texts(self, request: Request) -> list[str]:
        """The fields that a model reads."""
        return [request.body[name] for name in self.judged if request.body.get(name)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each of them changed."""
        new = {name: change(request.body[name], "content") for name in self.judged if request.body.get(name)}
        if all(request.body[name] == text for name, text in new.items()):
            return request
        body = {**request.body, **new}
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:  # noqa: ARG002
        """Images and sound hold no text."""
        return body


class Speech(MediaDialect):
    """POST /audio/speech: text in, sound out as it is made."""

    name = "openai.speech"
    makes = "audio"
    framing = BINARY
    needs = ("input", "model")
    judged = ("input", "instructions")

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:
        """Sound always comes as a stream."""
        return msgspec.structs.replace(super().decode(raw, body, params), stream=True)

    def variant(self, request: Request) -> "MediaDialect":
        """`stream_format: sse` sends the sound in events."""
        return SPEECH_EVENTS if request.body.get("stream_format") == "sse" else self

    def forecast(self, request: Request, size: int) -> tuple[Usage, Usage]:  # noqa: ARG002
        """By the text's length."""
        characters = len(request.body["input"])
        read = (characters + len(request.body.get("instructions") or "")) // 4 + 1
        spoken = characters * _SPEECH_TOKENS // _CHARACTERS_PER_SECOND + 1
        special = Special(characters=characters, audio_output=spoken)
        likely = Usage(input=read, output=spoken, special=special, estimated=True)
        more = msgspec.structs.replace(special, audio_output=2 * spoken)
        return likely, msgspec.structs.replace(likely, input=4 * read, output=2 * spoken, special=more)

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> BinaryTap:  # type: ignore[override]  # noqa: ARG002
        """Bytes are sound."""
        return BinaryTap()


class SpeechEvents(Speech):
    """The same in events: `speech.audio.delta`, then `speech.audio.done` with the usage."""

    framing: Framing = OpenAIDialect.framing
    ends = frozenset({"speech.audio.done"})

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> EventTap:  # type: ignore[override]
        """As for any events; what the usage counts are tokens, beside the characters."""
        return MediaDialect.tap(self, request, whole=whole, scrub=scrub)


SPEECH_EVENTS = SpeechEvents()


class Transcriptions(MediaDialect):
    """POST /audio/transcriptions and /audio/translations: a form with sound in, text out in one of five forms."""

    name = "openai.transcriptions"
    form = True
    needs = ("model",)
    ends = frozenset({"transcript.text.done"})
    repeats = True  # the last record has the whole text once more

    def forecast(self, request: Request, size: int) -> tuple[Usage, Usage]:  # noqa: ARG002
        """By the size of the sound."""
        return _heard(size // _BYTES_PER_SECOND, 8), _heard(size // _LEAST_BYTES_PER_SECOND + 1, 12)

    def reported(self, body: bytes) -> Usage | None:
        """Tokens or seconds, where the reply tells them; else the length that its form shows."""
        tree = read_lenient(body)
        if type(tree) is not dict:
            shown = subtitles_ms(body)
            return Usage(special=Special(audio_ms=shown), estimated=True) if shown else None
        length = duration_ms(tree.get("duration"))
        said = Usage(special=Special(audio_ms=length)) if length else None
        return media_usage(tree.get("usage"), self.makes) or said

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:
        """The text, also in segments; words of a text that was changed are left out."""
        tree = read_lenient(body)
        if type(tree) is not dict:
            return change(body.decode("utf-8", "replace"), "content").encode() if tree is UNREADABLE else body
        before = msgspec.json.encode(tree)
        for holder in (tree, *(each for each in tree.get("segments") or () if type(each) is dict)):
            if type(holder.get("text")) is str:
                holder["text"] = change(holder["text"], "content")
        if msgspec.json.encode(tree) == before:
            return body
        tree.pop("words", None)
        return msgspec.json.encode(tree)

    def events(self, record: bytes) -> list[Event]:
        """What one record says."""
        return EventTap.events(record)

    def encode(self, event: Event) -> bytes:
        """A changed piece in its record."""
        return EventTap.encode(event)

    stopped = None  # type: ignore[assignment]  # what a guardrail stops ends with the error


class Images(MediaDialect):
    """POST /images/generations."""

    name = "openai.images"
    makes = "image"
    needs: tuple[str, ...] = ("prompt", "model")
    ends = frozenset({"image_generation.completed"})

    def reported(self, body: bytes) -> Usage | None:
        """The tokens, and how many images there are."""
        tree = read_lenient(body)
        if type(tree) is not dict:
            return None
        made = tree.get("data")
        count = len(made) if type(made) is list else 0
        usage = media_usage(tree.get("usage"), self.makes)
        if usage is None:
            return None
        return msgspec.structs.replace(usage, special=msgspec.structs.replace(usage.special or Special(), images=count))

    def forecast(self, request: Request, size: int) -> tuple[Usage, Usage]:
        """By the number of images, and their quality."""
        count = request.choices
        quality = request.body.get("quality")
        each = _IMAGE_TOKENS.get(quality if type(quality) is str else "", _IMAGE_TOKENS_MOST)
        read = len(request.body.get("prompt") or "") // 4 + 1
        seen = _IMAGE_READ if self.form else 0
        special = Special(images=count, image_input=seen // 8, image_output=each * count)
        likely = Usage(input=read + seen // 8, output=each * count, special=special, estimated=True)
        # A form may hold several images; each has some kilobytes at least.
        most = min(16, size // 2_000 + 1) * seen
        return likely, Usage(
            input=4 * read + most, output=(each + 500) * count,
            special=Special(images=count, image_input=most, image_output=(each + 500) * count),
        )


class ImageEdits(Images):
    """POST /images/edits: a form with images."""

    name = "openai.images.edits"
    form = True
    ends = frozenset({"image_edit.completed"})


class ImageVariations(Images):
    """POST /images/variations: a form with an image and no text."""

    name = "openai.images.variations"
    form = True
    needs = ()
    judged = ()
    default_model = "dall-e-2"


def _heard(seconds: int, words: int) -> Usage:
    heard = _HEARD_TOKENS * seconds
    special = Special(audio_ms=1000 * seconds, audio_input=heard)
    return Usage(input=heard, output=words * seconds, special=special, estimated=True)


def _count(body: Mapping[str, Any]) -> dict[str, int]:
    """`n` of a form, which is text there."""
    text = body.get("n")
    if not text:
        return {}
    if re.fullmatch(r"[0-9]{1,3}", text) is None:
        raise InvalidRequest("`n` must be an integer.", param="n")
    return {"n": int(text)}
