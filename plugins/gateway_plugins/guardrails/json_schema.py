"""Answers must be JSON, and fit a schema if one is given.

    - use: guardrail.json_schema
      with:
        schema: {type: object, required: [answer], properties: {answer: {type: string}}}

Answers are held back until they are complete. A code fence around the JSON is allowed unless `fences` is false.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.jsonschema import Schema


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an answer must be."""

    schema: Annotated[Mapping[str, Any] | None, Meta(description="JSON Schema; without it any JSON will do.")] = None
    fences: Annotated[bool, Meta(description="Allow a code fence around the JSON.")] = True
    apply_to: Literal["input", "output", "both"] = "output"


class JsonSchema:
    """A detector of answers that are `not_json`, or whose JSON does not fit (`schema`)."""

    name = "guardrail.json_schema"
    Config = Options
    hold_back = 0

    def __init__(self, options: Options) -> None:
        self._schema = Schema(options.schema) if options.schema is not None else None
        self._fences = options.fences
        self.apply_to = options.apply_to

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """At most one finding, of the whole text."""
        if part != "content" or not text.strip():
            return ()
        body = text.strip()
        if self._fences and body.startswith("```") and body.endswith("```") and "\n" in body:
            body = body.partition("\n")[2].removesuffix("```")
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return [Finding(0, len(text), "not_json")]
        fits = self._schema is None or self._schema.fits(value)
        return () if fits else [Finding(0, len(text), "schema")]
