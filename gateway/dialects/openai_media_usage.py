"""What replies about sound and images say of their usage: tokens of several kinds, or seconds."""

import re
from typing import Any, Literal

import msgspec

from gateway.dialects.responses_usage import usage_in
from gateway.events import Special, Usage

Makes = Literal["text", "audio", "image"]

_STAMP = re.compile(rb"-->\s*(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{3})")
_LONGEST_MS = 1000 * 3600 * 1000
_LAST = 4096  # bytes at the end of subtitles in which the last time stands


def media_usage(told: Any, made: Makes) -> Usage | None:  # noqa: ANN401 - any JSON
    """The tokens, by either pair of names, or the length of the sound; `None` where neither is there.

    `made` is what the output tokens are of, where the reply does not say.
    """
    if type(told) is not dict:
        return None
    if told.get("type") == "duration":
        length = duration_ms(told.get("seconds"))
        return Usage(special=Special(audio_ms=length)) if length is not None else None
    read, written = told.get("input_tokens"), told.get("output_tokens")
    if read is None and written is None:
        read, written = told.get("prompt_tokens"), told.get("completion_tokens")
    if type(read) is not int and type(written) is not int:
        return None
    usage = usage_in({"usage": {"input_tokens": read, "output_tokens": written}}) or Usage()
    given, said = _details(told, "input"), _details(told, "output")
    spoken = said.get("audio_tokens", usage.output if made == "audio" else 0)
    drawn = said.get("image_tokens", usage.output if made == "image" else 0)
    return msgspec.structs.replace(
        usage,
        special=Special(
            audio_input=min(given.get("audio_tokens", 0), usage.input),
            image_input=min(given.get("image_tokens", 0), usage.input),
            audio_output=min(spoken, usage.output), image_output=min(drawn, usage.output),
        ),
    )


def duration_ms(told: Any) -> int | None:  # noqa: ANN401
    """Seconds, as a number or as text, in milliseconds, rounded up."""
    if type(told) is str and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", told):
        told = float(told)
    if type(told) not in (int, float) or not 0 <= told * 1000 <= _LONGEST_MS:
        return None
    return -int(-told * 1000 // 1)


def subtitles_ms(body: bytes) -> int:
    """The last end in subtitles (SRT, WebVTT); 0 where there is none."""
    found = _STAMP.findall(body[-_LAST:])
    if not found:
        return 0
    hours, minutes, seconds, millis = found[-1]
    return ((int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(millis)


def _details(told: dict[str, Any], side: str) -> dict[str, int]:
    """The counts beside a total, under either of the names that are in use."""
    found = told.get(f"{side}_tokens_details") or told.get(f"{side}_token_details")
    if type(found) is not dict:
        return {}
    return {name: count for name, count in found.items() if type(count) is int and count >= 0}
