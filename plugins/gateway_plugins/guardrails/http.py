"""Asks any HTTP service about each text.

    - use: guardrail.http
      name: our-judge
      on_error: closed
      with: {url: "https://judge.example.com/check", headers: {authorization: "Bearer ${JUDGE_KEY}"}, timeout: 2}

It gets `{"text", "direction", "part", "request_id", "tenant", "model"}`, and answers with an `action` (pass, warn,
redact, block), a `reason`, and for redact a new `text` or `redactions` (`start`, `end`, `text`, counted in characters).
Or it leaves the action to the policy: `{"findings": [{"start", "end", "kind", "score"}]}`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Context, Secret, Verdict, hookimpl
from gateway.judge import Service, ServiceFailure, ServiceOptions

if TYPE_CHECKING:
    from gateway import Gateway


class Options(ServiceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the service is, and what it is asked about."""

    url: Annotated[str, Meta(pattern=r"^https?://\S+$")]
    headers: Mapping[str, Secret] = {}
    apply_to: Literal["input", "output", "both"] = "both"
    hold_back: Annotated[
        int, Meta(ge=0, le=100_000, description="Characters of a stream that a match can span; 0 buffers answers.")
    ] = 0
    repeatable: Annotated[bool, Meta(description="The same text gets the same answer: ask once.")] = True


class HttpJudge:
    """An external judge of one's own."""

    name = "guardrail.http"
    Config = Options

    def __init__(self, options: Options) -> None:
        self._options = options
        self._headers = {name.lower(): value.reveal() for name, value in options.headers.items()}
        self._service = Service(self.name, options)
        self.apply_to = options.apply_to
        self.hold_back = options.hold_back
        self.repeatable = options.repeatable

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the process's HTTP client."""
        self._service.bind(gateway)

    async def check(self, text: str, context: Context) -> Verdict:
        """Ask about one text."""
        exchange = context.exchange
        told = {
            "text": text, "direction": context.direction, "part": context.part, "request_id": exchange.id,
            "tenant": exchange.caller.tenant if exchange.caller else "",
            "model": exchange.request.model if exchange.request else "",
        }
        answer = await self._service.post(self._options.url, told, self._headers)
        try:
            return msgspec.convert(answer, Verdict)
        except msgspec.ValidationError:
            raise ServiceFailure("an answer that is no verdict") from None
