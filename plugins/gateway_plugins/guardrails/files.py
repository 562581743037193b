"""Has the files of requests read (PDF, office files, tables, pictures), for all guardrails of the policy to judge.

    - use: guardrail.files
      with: {unreadable: block}

By itself it finds nothing in a text: it decides what becomes of files that cannot be read, and of what a policy would
redact in a file. PDF needs `pip install 'ai-gateway[files]'`, text in pictures the program `tesseract`.
"""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import msgspec
import structlog
from msgspec import Meta

from gateway import Finding, hookimpl
from gateway.files.kinds import Limits
from gateway.files.reader import Reader

_log = structlog.get_logger("gateway.guardrails.files")
_MEGABYTE = 1024 * 1024
Act = Literal["block", "warn", "pass"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes of files, and how far they are read."""

    unreadable: Annotated[
        Act, Meta(description="For files that are encrypted, damaged, of an unknown kind or beyond a limit.")
    ] = "block"
    redactions: Annotated[
        Literal["block", "warn"], Meta(description="For what the policy would redact: files cannot be edited.")
    ] = "block"
    links: Annotated[
        Act, Meta(description="For links and ids of files that are elsewhere: they are not fetched.")
    ] = "warn"
    ocr: Annotated[bool, Meta(description="Read pictures, with `tesseract`; without, they pass.")] = True
    languages: Annotated[
        str, Meta(pattern=r"^[a-zA-Z]{3}(_[a-zA-Z]{1,8})?(\+[a-zA-Z]{3}(_[a-zA-Z]{1,8})?){0,9}$",
                  description="For pictures, as `tesseract` names them: eng+deu.")
    ] = "eng"  # fmt: skip
    max_files: Annotated[int, Meta(ge=1, le=1000, description="In one request.")] = 20
    max_megabytes: Annotated[int, Meta(ge=1, le=200)] = 20
    max_pages: Annotated[int, Meta(ge=1, le=100_000, description="Of a PDF.")] = 500
    max_characters: Annotated[int, Meta(ge=1, le=50_000_000)] = 2_000_000
    max_unpacked_megabytes: Annotated[int, Meta(ge=1, le=1000, description="Of an office file.")] = 100
    max_ratio: Annotated[int, Meta(ge=2, le=10_000, description="Times that an office file may grow.")] = 200
    max_depth: Annotated[int, Meta(ge=0, le=5, description="Files inside of files.")] = 2
    timeout: Annotated[float, Meta(gt=0, le=120, description="Seconds for one file, its wait included.")] = 10.0


class Files:
    """Text of PDF, office files, tables and pictures in a message."""

    name = "guardrail.files"
    Config = Options
    hold_back = 1
    apply_to = "input"
    action = "block"

    def __init__(self, config: Options) -> None:
        self.unreadable = config.unreadable
        self.redactions = config.redactions
        self.links = config.links
        self.max_files = config.max_files
        self.reader = Reader(
            Limits(
                max_bytes=config.max_megabytes * _MEGABYTE, max_pages=config.max_pages,
                max_characters=config.max_characters, max_unpacked=config.max_unpacked_megabytes * _MEGABYTE,
                max_ratio=config.max_ratio, max_depth=config.max_depth, timeout=config.timeout, ocr=config.ocr,
                languages=config.languages,
            )
        )  # fmt: skip

    @hookimpl
    async def startup(self, gateway: Any) -> None:  # noqa: ANN401, ARG002 - a `Gateway`
        """Tell what cannot be read here."""
        if find_spec("pypdf") is None:
            _log.warning("PDF files cannot be read: run pip install 'ai-gateway[files]'", unreadable=self.unreadable)
        if self.reader.limits.ocr and shutil.which("tesseract") is None:
            _log.warning(
                "pictures cannot be read: install tesseract, or set ocr: false to let pictures pass",
                unreadable=self.unreadable,
            )

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """Nothing: texts are for the other guardrails."""
        return ()
