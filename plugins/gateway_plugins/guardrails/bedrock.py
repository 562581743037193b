"""Asks a guardrail of Amazon Bedrock (the ApplyGuardrail API), whatever model answers.

    - use: guardrail.bedrock
      with: {guardrail_id: gr1abcd2efgh, version: "3", region: eu-central-1}

What it blocks is refused, what it anonymises is redacted here, with labels of ours. Credentials are found as by
`provider.bedrock`: an API key, an access key, or what AWS's own tools would find.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import Context, GatewayError, HttpRequest, Redaction, Secret, Verdict, hookimpl
from gateway.awscredentials import Chain, region_of
from gateway.awssigv4 import Credentials, signed
from gateway.clock import now_ms
from gateway.config import Dollars
from gateway.guardrails.actions import label
from gateway.judge import Service, ServiceFailure, ServiceOptions
from gateway.renewal import Renewed

if TYPE_CHECKING:
    from gateway import Gateway

_REGION = re.compile(r"[a-z0-9-]{2,40}")
_DONE = ("BLOCKED", "ANONYMIZED")


class Options(ServiceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which guardrail, where, and whose credentials."""

    guardrail_id: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,64}$", description="Its ID, not its ARN.")]
    version: Annotated[str, Meta(pattern=r"^([1-9][0-9]{0,7}|DRAFT)$")] = "DRAFT"
    region: Annotated[str, Meta(description="Such as `us-east-1`; else AWS_REGION, or the profile's.")] = ""
    base_url: Annotated[str, Meta(description="Instead of the region's public address.")] = ""
    api_key: Annotated[Secret | None, Meta(description="A Bedrock API key, sent as a bearer token.")] = None
    access_key_id: Annotated[str, Meta(description="An access key; else the credentials that AWS's tools find.")] = ""
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    profile: Annotated[str, Meta(description="A profile of the shared AWS files.")] = ""
    prices: Annotated[
        Mapping[str, Dollars], Meta(description="Dollars for 1000 text units, such as `contentPolicyUnits: \"0.15\"`.")
    ] = {}
    apply_to: Literal["input", "output", "both"] = "both"


class _Hit(msgspec.Struct):
    """A topic, filter, word or entity: each kind has some of these fields."""

    action: str = "NONE"
    name: str = ""
    type: str = ""
    match: str = ""


class _Answer(msgspec.Struct):
    action: Literal["NONE", "GUARDRAIL_INTERVENED"]
    assessments: list[dict[str, Any]] = []
    usage: dict[str, int] = {}


class BedrockGuardrail:
    """A guardrail that is defined at AWS."""

    name = "guardrail.bedrock"
    Config = Options
    hold_back = 0
    repeatable = True

    def __init__(self, options: Options) -> None:
        if bool(options.access_key_id) != bool(options.secret_access_key):
            raise ValueError("access_key_id and secret_access_key belong together")
        self._region = options.region or region_of(os.environ, options.profile)
        if not _REGION.fullmatch(self._region):
            raise ValueError("region is empty or no region; set it, or AWS_REGION")
        host = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        root = options.base_url.rstrip("/") or f"https://bedrock-runtime.{self._region}.{host}"
        self._url = f"{root}/guardrail/{options.guardrail_id}/version/{options.version}/apply"
        self._options = options
        self._service = Service(self.name, options)
        self._prices = {unit: float(price) / 1000 for unit, price in options.prices.items()}
        self._found: Renewed[Credentials] | None = None
        self._fixed = None if options.secret_access_key is None else Credentials(
            options.access_key_id, options.secret_access_key.reveal(),
            options.session_token.reveal() if options.session_token else "",
        )  # fmt: skip
        self.apply_to = options.apply_to

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the process's HTTP client; the first text looks for credentials."""
        self._service.bind(gateway)
        options = self._options
        if options.api_key is None and self._fixed is None:
            chain = Chain(
                self.name, gateway.upstream, os.environ, region=self._region, profile=options.profile,
                ca_file=options.ca_file,
            )
            self._found = Renewed(self.name, "AWS credentials", chain.ask)

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """End a renewal that runs."""
        if self._found is not None:
            await self._found.close()

    async def check(self, text: str, context: Context) -> Verdict:
        """Ask about one text."""
        if not text.strip():
            return Verdict()
        source = "INPUT" if context.direction == "input" else "OUTPUT"
        body = msgspec.json.encode({"source": source, "content": [{"text": {"text": text}}]})
        told = await self._service.send(await self._request(body))
        try:
            answer = msgspec.convert(told, _Answer)
            hits = list(_hits(answer))
        except (msgspec.ValidationError, AttributeError, TypeError):
            raise ServiceFailure("an answer that is no assessment") from None
        self._service.count_cost(sum(answer.usage.get(unit, 0) * price for unit, price in self._prices.items()))
        return _verdict(text, hits) if answer.action != "NONE" else Verdict()

    async def _request(self, body: bytes) -> HttpRequest:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._options.api_key is not None:
            headers["authorization"] = f"Bearer {self._options.api_key.reveal()}"
        else:
            headers |= signed(
                "POST", self._url, headers, body, credentials=await self._credentials(), region=self._region,
                service="bedrock", now=now_ms() / 1000,
            )  # fmt: skip
        return HttpRequest("POST", self._url, tuple(headers.items()), body)

    async def _credentials(self) -> Credentials:
        if self._fixed is not None:
            return self._fixed
        if self._found is None:
            raise ServiceFailure("the guardrail was not started")
        try:
            return await self._found.get()
        except GatewayError as error:
            raise ServiceFailure(f"no credentials: {error.code}") from None


def _hits(answer: _Answer) -> Iterator[_Hit]:
    """What was found by which of the guardrail's policies, and acted on: lists of hits, however they are called."""
    for assessment in answer.assessments:
        for policy in assessment.values():
            for found in policy.values() if isinstance(policy, dict) else ():
                if isinstance(found, list):
                    hits = msgspec.convert(found, list[_Hit])
                    yield from (hit for hit in hits if hit.action in _DONE)


def _verdict(text: str, hits: list[_Hit]) -> Verdict:
    blocked = next((hit for hit in hits if hit.action == "BLOCKED"), None)
    if blocked is not None or not hits:
        return Verdict(action="block", reason=_kind(blocked) if blocked else "intervened")
    spans = sorted({(at, at + len(hit.match), _kind(hit)) for hit in hits for at in _places(text, hit.match)})
    if not spans:  # it hides something that it does not show
        return Verdict(action="block", reason=_kind(hits[0]))
    edits, end = [], 0
    for start, stop, kind in spans:
        if start >= end:
            edits.append(Redaction(start, stop, label(kind)))
            end = stop
    return Verdict(action="redact", redactions=tuple(edits), reason=_kind(hits[0]))


def _kind(hit: _Hit) -> str:
    """Never a matched word: a topic's name, or the type of a filter or entity."""
    kind = hit.name if hit.type in ("DENY", "") else hit.type
    return "".join(sign for sign in kind if sign.isalnum() or sign in " _-")[:40] or "word"


def _places(text: str, match: str) -> Iterator[int]:
    at = text.find(match) if match else -1
    while at >= 0:
        yield at
        at = text.find(match, at + len(match))
