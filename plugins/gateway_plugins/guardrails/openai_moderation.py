"""Asks OpenAI's moderation endpoint, or one that speaks its API.

    - use: guardrail.openai_moderation
      action: block
      with: {api_key: "${OPENAI_API_KEY}", thresholds: {violence: 0.8, self-harm: 0.3}}

Findings are of the whole text, with OpenAI's categories and scores; `threshold` holds for those without one of
their own in `thresholds`. The endpoint is free of charge, but knows what is sent to it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Context, Finding, Secret, Verdict, hookimpl
from gateway.judge import Service, ServiceFailure, ServiceOptions

if TYPE_CHECKING:
    from gateway import Gateway

Score = Annotated[float, Meta(ge=0, le=1)]


class Options(ServiceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The endpoint, and from which score on a category counts."""

    api_key: Secret
    base_url: Annotated[str, Meta(pattern=r"^https?://\S+$")] = "https://api.openai.com/v1"
    model: str = "omni-moderation-latest"
    thresholds: Annotated[Mapping[str, Score], Meta(description="Scores by category, such as `hate/threatening`.")] = {}
    threshold: Annotated[Score, Meta(description="For all other categories.")] = 0.5
    apply_to: Literal["input", "output", "both"] = "both"


class _Result(msgspec.Struct):
    category_scores: dict[str, float | None]


class _Answer(msgspec.Struct):
    results: Annotated[list[_Result], Meta(min_length=1)]


class OpenAIModeration:
    """OpenAI's moderation models."""

    name = "guardrail.openai_moderation"
    Config = Options
    hold_back = 0
    repeatable = True
    threshold = 0.0  # what is reported has passed its own

    def __init__(self, options: Options) -> None:
        self._options = options
        self._service = Service(self.name, options)
        self._headers = {"authorization": f"Bearer {options.api_key.reveal()}"}
        self._url = options.base_url.rstrip("/") + "/moderations"
        self.apply_to = options.apply_to

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the process's HTTP client."""
        self._service.bind(gateway)

    async def check(self, text: str, context: Context) -> Verdict:  # noqa: ARG002
        """The categories whose score is high enough, the highest first."""
        told = await self._service.post(self._url, {"model": self._options.model, "input": text}, self._headers)
        try:
            scores = msgspec.convert(told, _Answer).results[0].category_scores
        except msgspec.ValidationError:
            raise ServiceFailure("an answer that is no moderation") from None
        limits, others = self._options.thresholds, self._options.threshold
        found = [(score, name) for name, score in scores.items() if score and score >= limits.get(name, others)]
        found.sort(reverse=True)
        return Verdict(findings=tuple(Finding(0, len(text), name, score) for score, name in found))
