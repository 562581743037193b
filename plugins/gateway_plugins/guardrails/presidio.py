"""Asks a Presidio analyzer for personal data.

    - use: guardrail.presidio
      action: redact
      with: {url: "http://presidio:3000", allow_private: true, language: en, entities: [PERSON, LOCATION]}

Presidio finds names and places, which patterns cannot; it takes tens of milliseconds for a page.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import Context, Finding, Verdict, hookimpl
from gateway.judge import Service, ServiceFailure, ServiceOptions

if TYPE_CHECKING:
    from gateway import Gateway


class Options(ServiceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the analyzer is, and what it looks for."""

    url: Annotated[str, Meta(pattern=r"^https?://\S+$", description="Without `/analyze`.")]
    language: str = "en"
    entities: Annotated[tuple[str, ...], Meta(description="Kinds to look for; all that it knows without.")] = ()
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.35
    apply_to: Literal["input", "output", "both"] = "both"
    hold_back: Annotated[
        int, Meta(ge=0, le=10_000, description="Characters of a stream that are kept back; 0 buffers answers.")
    ] = 0


class _Entity(msgspec.Struct):
    start: int
    end: int
    entity_type: str
    score: float = 1.0


class Presidio:
    """Microsoft's Presidio, run by oneself."""

    name = "guardrail.presidio"
    Config = Options
    action = "redact"
    threshold = 0.0  # the analyzer has applied its own
    repeatable = True

    def __init__(self, options: Options) -> None:
        self._service = Service(self.name, options)
        self._url = options.url.rstrip("/") + "/analyze"
        self._asked: dict[str, Any] = {"language": options.language, "score_threshold": options.score_threshold}
        if options.entities:
            self._asked["entities"] = list(options.entities)
        self.apply_to = options.apply_to
        self.hold_back = options.hold_back

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the process's HTTP client."""
        self._service.bind(gateway)

    async def check(self, text: str, context: Context) -> Verdict:  # noqa: ARG002
        """The entities in one text."""
        told = await self._service.post(self._url, {**self._asked, "text": text}, {})
        try:
            entities = msgspec.convert(told, list[_Entity])
        except msgspec.ValidationError:
            raise ServiceFailure("an answer that is no list of entities") from None
        return Verdict(findings=tuple(Finding(e.start, e.end, e.entity_type, e.score) for e in entities))
