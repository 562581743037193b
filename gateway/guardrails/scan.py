"""The routes that judge one file by a policy: `scan-base64` takes it in JSON, `scan-file` as it is or in a form."""

from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gateway.admin.endpoint import Ask, Endpoint, bind
from gateway.admin.fields import NoQuery, read_query
from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.errors import InvalidRequest
from gateway.exchange import Caller, Exchange
from gateway.files.kinds import FileText
from gateway.guardrails.files import PART, bytes_of, unread
from gateway.guardrails.trial import Trial, Triggered, trial
from gateway.hookspecs import About, Reply, Route, RouteRequest

if TYPE_CHECKING:
    from gateway.guardrails.stage import GuardrailStage

_FORM = "multipart/form-data"
_MOST_PARTS = 16
_LARGEST = 1024 * 1024 * 1024  # what is too large, the reader says, and before it the limit of all bodies
Name = Annotated[str, Meta(max_length=255)]


class ScanBase64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file in base64, and a policy; without one, the one that holds for the caller."""

    data: Annotated[str, Meta(min_length=1)]
    filename: Name = ""
    policy: str | None = None


class ScanQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes with a file that is sent as it is."""

    filename: Name = ""
    policy: str | None = None


class FileTrial(Trial, frozen=True, kw_only=True):
    """The outcome for a file: `original_text` is what was read. `unreadable` says why nothing was."""

    filename: str
    kind: str
    pages: int
    extracted_length: int
    unreadable: str | None = None


async def scan_base64(stage: "GuardrailStage", ask: Ask[NoQuery, ScanBase64]) -> FileTrial:
    """What a policy does to a file in JSON."""
    body = ask.body
    data = bytes_of(body.data, _LARGEST)
    return await _scan(stage, ask.caller, data, body.filename, body.policy)


def routes(stage: "GuardrailStage") -> Iterable[Route]:
    """The routes, with permission `key`."""
    endpoint = Endpoint(
        "POST", "/api/v1/guardrails/scan-base64", "key", scan_base64, "Try a policy on a file in base64",
        tag="guardrails", body=ScanBase64, answer=FileTrial,
    )  # fmt: skip

    async def scan_file(request: RouteRequest) -> Reply:
        query = read_query(request.query, ScanQuery)
        data, name, policy = file_of(await request.raw(), request.headers.get("content-type", ""))
        assert request.caller is not None
        told = await _scan(stage, request.caller, data, query.filename or name, query.policy or policy)
        return Reply(200, msgspec.json.encode(told), "application/json")

    about = About(summary="Try a policy on a file", tag="guardrails", query=ScanQuery, answer=FileTrial)
    return [
        *bind([endpoint], stage), Route("POST", "/api/v1/guardrails/scan-file", "key", scan_file, about),
    ]


def file_of(raw: bytes, content_type: str) -> tuple[bytes, str, str | None]:
    """The file of a body, its name and the policy that is sent with it. Raises `InvalidRequest` for a broken form."""
    said = Message()
    said["content-type"] = content_type
    if said.get_content_type() != _FORM:
        return raw, "", None
    boundary = said.get_boundary("")
    pieces = (b"\r\n" + raw).split(b"\r\n--" + boundary.encode("latin-1", "replace"), _MOST_PARTS)
    if not boundary or len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise InvalidRequest("The form is not complete: send it as multipart/form-data, with its boundary.")
    parts = [_part(piece) for piece in pieces[1:-1]]
    files = [(content, name) for field, name, content in parts if name is not None or field == "file"]
    policy = next((content for field, name, content in parts if field == "policy" and name is None), None)
    if len(files) != 1:
        raise InvalidRequest("Send exactly one file, in the field `file`.", param="file")
    content, name = files[0]
    return content, (name or "")[:255], policy.decode("utf-8", "replace") if policy else None


def _part(piece: bytes) -> tuple[str, str | None, bytes]:
    """The field, the file's name if it is a file, and what it holds."""
    head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    fields = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
    return str(fields.get_param("name", "", "content-disposition")), fields.get_filename(), content


async def _scan(
    stage: "GuardrailStage", caller: Caller, data: bytes | FileText, filename: str, named: str | None
) -> FileTrial:
    exchange = Exchange("guardrails", "guardrails", Chat(), {}, now_ms())
    exchange.caller = caller
    book = await stage.book_for(caller)
    names = book.names_for(exchange, ())
    if named is not None:
        book.check_name(named)
        names = (named,)
    policy = await book.policy(names)
    reader = getattr(policy.file_checks[0].guardrail, "reader", stage.reader) if policy.file_checks else stage.reader
    told = await reader.read(data) if isinstance(data, bytes) else data
    outcome = await trial(policy, told.text, part=PART, caller=caller)
    fields: Mapping[str, object] = msgspec.structs.asdict(outcome)
    made = FileTrial(
        **fields, filename=filename, kind=told.kind, pages=told.pages, extracted_length=len(told.text),  # type: ignore[arg-type]
        unreadable=told.reason,
    )  # fmt: skip
    return made if told.reason is None else _unread(made, unread(policy, told.reason))


def _unread(made: FileTrial, hits: Mapping[str, str]) -> FileTrial:
    """With what becomes of a file that cannot be read: actions by guardrail."""
    kind, actions = f"file_{made.unreadable}", tuple(dict.fromkeys(hits.values()))
    return msgspec.structs.replace(
        made, blocked="block" in actions, actions_taken=actions,
        warnings=tuple(f"{name}: {kind}" for name, action in hits.items() if action == "warn"),
        triggered_guardrails=tuple(Triggered(name, action, (kind,), ()) for name, action in hits.items()),
    )  # fmt: skip
