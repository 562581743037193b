"""What the demo model and the fake upstream can be told to do, and the errors they answer with."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Millis = Annotated[int, Meta(ge=0, le=600_000)]
Place = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=1, le=1_000_000)]
Status = Annotated[int, Meta(ge=400, le=599)]
Seconds = Annotated[float, Meta(ge=0)]


class DemoError(Exception):
    """The upstream answers with an error status instead of a reply."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to answer: fields of `demo` in a request, or of `faults` in YAML. All off by default."""

    delay_ms: Annotated[Millis, Meta(description="Wait before the reply's headers.")] = 0
    chunk_delay_ms: Annotated[Millis, Meta(description="Wait between two records of a stream.")] = 0
    size: Annotated[Size | None, Meta(description="Answer with so many tokens.")] = None
    chunks: Annotated[Size | None, Meta(description="Stream the text in so many records.")] = None
    reasoning: Annotated[bool, Meta(description="Think first, in `reasoning_content`.")] = False
    fail: Annotated[Status | None, Meta(description="Answer with this error status.")] = None
    fail_times: Annotated[
        Place | None, Meta(description="With `fail`: only so many times for the same `user` (or else `seed`).")
    ] = None
    retry_after: Annotated[Seconds | None, Meta(description="With `fail`: seconds in Retry-After.")] = None
    hang: Annotated[
        Literal["before_headers", "before_first", "mid"] | None, Meta(description="Go silent here, for ever.")
    ] = None
    cut_after: Annotated[
        Place | None, Meta(description="Close the connection after so many records (unstreamed: in mid-body).")
    ] = None
    error_mid: Annotated[Place | None, Meta(description="Send an error in the stream after so many records.")] = None
    malformed: Annotated[bool, Meta(description="Send a piece of broken JSON.")] = False
    no_done: Annotated[bool, Meta(description="End a stream without `[DONE]`.")] = False
    no_usage: Annotated[bool, Meta(description="Report no usage.")] = False
    usage: Annotated[
        dict[Literal["prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"], Place] | None,
        Meta(description="Report these numbers instead."),
    ] = None

    def overlaid(self, given: object) -> "Behaviour":
        """This behaviour with the fields of `given` in place of its own. Raises `DemoError` for a wrong field."""
        if given is None:
            return self
        try:
            checked = msgspec.convert(given, Behaviour)
        except msgspec.ValidationError as error:
            raise DemoError(400, f"`demo`: {error}", param="demo") from None
        assert isinstance(given, dict)
        return msgspec.structs.replace(self, **{name: getattr(checked, name) for name in given})
