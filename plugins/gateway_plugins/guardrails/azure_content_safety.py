"""Asks Azure AI Content Safety: harm categories with severities, block lists, and prompt shields for attacks.

    - use: guardrail.azure_content_safety
      with: {endpoint: "https://ours.cognitiveservices.azure.com", api_key: "${AZURE_KEY}", severities: {Hate: 2}}

Findings are of the whole text. Severities go from 0 to 7 (Azure's default form has 0, 2, 4 and 6).
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import Context, Finding, Secret, Verdict, hookimpl
from gateway.judge import Service, ServiceFailure, ServiceOptions

if TYPE_CHECKING:
    from gateway import Gateway

Category = Literal["Hate", "SelfHarm", "Sexual", "Violence"]
Severity = Annotated[int, Meta(ge=1, le=7)]
_LONGEST = 10_000    # characters of one call, as Azure counts them
_OVERLAP = 500
_MOST_PIECES = 32
_NOT_SAID_BY_USERS = ("tool_result", "document", "file")


class Options(ServiceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The resource, and from which severity on a category counts."""

    endpoint: Annotated[str, Meta(pattern=r"^https?://[^/\s]+/?$")]
    api_key: Secret
    api_version: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$")] = "2024-09-01"
    categories: Annotated[tuple[Category, ...], Meta(description="Those that are asked for.")] = (
        "Hate", "SelfHarm", "Sexual", "Violence",
    )
    severity: Annotated[Severity, Meta(description="From here on a category counts.")] = 4
    severities: Annotated[Mapping[Category, Severity], Meta(description="The same for single categories.")] = {}
    blocklists: Annotated[tuple[str, ...], Meta(description="Names of block lists of the resource.")] = ()
    prompt_shield: Annotated[bool, Meta(description="Look for attacks in requests and documents too.")] = True
    apply_to: Literal["input", "output", "both"] = "both"


class _Analysed(msgspec.Struct):
    category: str
    severity: int | None = None


class _Listed(msgspec.Struct):
    blocklistName: str  # noqa: N815 - Azure's


class _Analysis(msgspec.Struct):
    categoriesAnalysis: list[_Analysed] = []  # noqa: N815
    blocklistsMatch: list[_Listed] = []  # noqa: N815


class _Attack(msgspec.Struct):
    attackDetected: bool  # noqa: N815


class _Shield(msgspec.Struct):
    userPromptAnalysis: _Attack | None = None  # noqa: N815
    documentsAnalysis: list[_Attack] = []  # noqa: N815


class AzureContentSafety:
    """A resource of Azure AI Content Safety."""

    name = "guardrail.azure_content_safety"
    Config = Options
    hold_back = 0
    repeatable = True
    threshold = 0.0  # what is reported is severe enough

    def __init__(self, options: Options) -> None:
        self._options = options
        self._service = Service(self.name, options)
        self._headers = {"ocp-apim-subscription-key": options.api_key.reveal()}
        root = options.endpoint.rstrip("/") + "/contentsafety/text:"
        self._analyze = f"{root}analyze?api-version={options.api_version}"
        self._shield = f"{root}shieldPrompt?api-version={options.api_version}"
        self._severities: Mapping[str, int] = dict(options.severities.items())
        self.apply_to = options.apply_to

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the process's HTTP client."""
        self._service.bind(gateway)

    async def check(self, text: str, context: Context) -> Verdict:
        """Ask about one text, a long one in pieces: all at once."""
        if not text.strip():
            return Verdict()
        pieces = list(_pieces(text))
        if len(pieces) > _MOST_PIECES:
            raise ServiceFailure("a text that is too long for it")
        asked = [self._harms(piece) for piece in pieces]
        if self._options.prompt_shield and context.direction == "input" and context.part != "tools":
            asked += [self._attacks(piece, context.part) for piece in pieces]
        told = await asyncio.gather(*asked)
        worst: dict[str, float] = {}
        for kind, score in (found for each in told for found in each):
            worst[kind] = max(score, worst.get(kind, 0.0))
        ordered = sorted(worst.items(), key=lambda found: -found[1])
        return Verdict(findings=tuple(Finding(0, len(text), kind, score) for kind, score in ordered))

    async def _harms(self, text: str) -> list[tuple[str, float]]:
        options = self._options
        body: dict[str, Any] = {"text": text, "categories": options.categories}
        if options.blocklists:
            body |= {"blocklistNames": options.blocklists, "haltOnBlocklistHit": False}
        told = _read(await self._service.post(self._analyze, body, self._headers), _Analysis)
        found = [("blocklist", 1.0)] if told.blocklistsMatch else []
        severities = [(each.category, each.severity or 0) for each in told.categoriesAnalysis]
        return found + [
            (name, min(1.0, severity / 7)) for name, severity in severities
            if severity >= self._severities.get(name, options.severity)
        ]

    async def _attacks(self, text: str, part: str) -> list[tuple[str, float]]:
        document = part in _NOT_SAID_BY_USERS
        body = {"userPrompt": "", "documents": [text]} if document else {"userPrompt": text, "documents": []}
        told = _read(await self._service.post(self._shield, body, self._headers), _Shield)
        found = told.documentsAnalysis if document else [told.userPromptAnalysis] if told.userPromptAnalysis else []
        return [("attack", 1.0)] if any(each.attackDetected for each in found) else []


def _read(told: object, kind: type[Any]) -> Any:  # noqa: ANN401 - of that kind
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError:
        raise ServiceFailure("an answer that is no analysis") from None


def _pieces(text: str) -> Iterator[str]:
    """What one call takes; neighbours overlap, so that a sentence is whole in one of them."""
    if len(text) <= _LONGEST:
        yield text
        return
    for start in range(0, len(text) - _OVERLAP, _LONGEST - _OVERLAP):
        yield text[start : start + _LONGEST]
