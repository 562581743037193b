"""Forms (`multipart/form-data`) as they come in: cut into fields without being changed, in pieces of any size. Pure.

The bytes of all pieces together are the body, so that a form can go on untouched. What two readers could read
differently is refused: padded boundaries, a preamble, headers twice, a field's name that is written in two ways.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.errors import InvalidRequest, UnsupportedMedia

MAX_HEAD: Final = 8 * 1024
MAX_FIELDS: Final = 256

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(rb';[ \t]*([A-Za-z0-9*_-]{1,32})=("([^"\r\n\\]|\\["\\])*"|[^\s;",\\]+)[ \t]*')


class Head(msgspec.Struct, frozen=True):
    """A field begins; with a `file` name its value is a file. `raw` are the bytes up to its value."""

    raw: bytes
    name: str
    file: str | None = None


class Data(msgspec.Struct, frozen=True):
    """A piece of the field's value."""

    raw: bytes


class Tail(msgspec.Struct, frozen=True):
    """The form's end."""

    raw: bytes


Piece = Head | Data | Tail


def boundary_of(content_type: str) -> str:
    """The boundary in a `Content-Type`. Raises `UnsupportedMedia` for what is no form, `InvalidRequest` without one."""
    media, _, rest = content_type.partition(";")
    if media.strip().lower() != "multipart/form-data":
        raise UnsupportedMedia("Send a form: Content-Type: multipart/form-data, with its boundary.")
    found = [
        value.strip().strip('"')
        for name, _, value in (part.partition("=") for part in rest.split(";"))
        if name.strip().lower() == "boundary"
    ]
    if len(found) != 1 or _BOUNDARY.fullmatch(found[0]) is None:
        raise InvalidRequest("The Content-Type of the form needs one boundary.", code="invalid_form")
    return found[0]


class FormReader:
    """Reads one form. Raises `InvalidRequest` for what is none."""

    def __init__(self, boundary: str) -> None:
        self._mark = b"--" + boundary.encode()
        self._buffer = b""
        self._fields = 0
        self._in_value = False
        self.done = False

    def feed(self, data: bytes) -> list[Piece]:
        """What these bytes say; what may belong to a boundary waits for the next ones."""
        if self.done:
            if self._buffer or data.strip(b" \t\r\n"):
                raise _broken("something follows its end")
            return [Data(data)] if data else []
        self._buffer += data
        found: list[Piece] = []
        while (piece := self._value() if self._in_value else self._head()) is not None:
            found.append(piece)
            if self.done:
                rest, self._buffer = self._buffer, b""
                found += self.feed(rest)
                break
        return found

    def end(self) -> None:
        """There are no more bytes."""
        if not self.done:
            raise _broken("its last boundary is missing")

    def _value(self) -> Piece | None:
        """The value up to the boundary, which itself is part of what follows."""
        mark = b"\r\n" + self._mark
        at = self._buffer.find(mark)
        if at >= 0:
            self._in_value = False
        else:
            at = len(self._buffer) - len(mark) + 1
            if at <= 0:
                return None
        value, self._buffer = self._buffer[:at], self._buffer[at:]
        return Data(value)

    def _head(self) -> Piece | None:
        lead = self._mark if not self._fields else b"\r\n" + self._mark
        buffer = self._buffer
        if not buffer.startswith(lead[: len(buffer)]):
            raise _broken("it does not begin with its boundary")
        after = buffer[len(lead) : len(lead) + 2]
        if len(after) < 2:
            return None
        if after == b"--" and self._fields:
            self.done = True
            self._buffer = buffer[len(lead) + 2 :]
            return Tail(lead + after)
        if after != b"\r\n":
            raise _broken("a boundary is followed by something else than a line end")
        end = buffer.find(b"\r\n\r\n", len(lead))
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise _broken(f"the headers of a field have more than {MAX_HEAD} bytes")
        if end < 0:
            return None
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise _broken(f"it has more than {MAX_FIELDS} fields")
        self._buffer, self._in_value = buffer[end + 4 :], True
        name, file = _described(buffer[len(lead) + 2 : end])
        return Head(buffer[: end + 4], name, file)


def field_bytes(boundary: str, name: str, value: str, *, first: bool) -> bytes:
    """A field of text with the boundary before it."""
    lead = "" if first else "\r\n"
    return f'{lead}--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def _described(head: bytes) -> tuple[str, str | None]:
    lines = [line.partition(b":") for line in head.split(b"\r\n")]
    if any(not colon or line != line.strip() or b"\n" in value or b"\r" in value for line, colon, value in lines):
        raise _broken("a header of a field is malformed")
    names = [name.lower() for name, _, _ in lines]
    if names.count(b"content-disposition") != 1 or b"content-transfer-encoding" in names:
        raise _broken("a field needs one Content-Disposition, and no transfer encoding")
    value = lines[names.index(b"content-disposition")][2].strip()
    given = _parameters(value)
    name, file = given.get("name"), given.get("filename", given.get("filename*"))
    if name is None or not name:
        raise _broken("a field has no name")
    return name, file


def _parameters(value: bytes) -> Mapping[str, str]:
    if value[:9].lower() != b"form-data":
        raise _broken("a field is not form-data")
    found: dict[str, str] = {}
    at = 9
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            raise _broken("a Content-Disposition is malformed")
        name, text = match[1].decode().lower(), match[2]
        if name in found or name == "name*":
            raise _broken("a Content-Disposition names something twice")
        if text.startswith(b'"'):
            text = text[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
        found[name] = text.decode("utf-8", "replace")
        at = match.end()
    return found


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The form is broken: {why}.", code="invalid_form")
