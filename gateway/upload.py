"""A form on its way from a client to a target: its fields are read as they pass, files are never kept whole.

Only the beginning is held, until enough is known to decide where the form goes; `read_all` holds it to its end. What
is sent is what came, but for the fields that are changed on the way.
"""

from collections.abc import AsyncIterator, Mapping

from gateway.errors import InvalidRequest
from gateway.multipart import Data, FormReader, Head, Piece, boundary_of, field_bytes

MAX_TEXT = 1024 * 1024
# What is decided by: two readers must not see two values.
_ONCE = frozenset({
    "model", "stream", "response_format", "n", "prompt", "size", "quality", "purpose", "input", "instructions",
    "guardrail_policy",
})


class Upload:
    """One form. `fields` are the texts seen so far, by name; `files` how many files have begun."""

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes], length: int | None) -> None:
        self.boundary = boundary_of(content_type)
        self.content_type = content_type
        self.fields: dict[str, list[str]] = {}
        self.files = 0
        self.whole = False               # all of it is held
        self.complete = False            # all of it was sent
        self.sent = False                # what was not held is on its way, or has gone: it cannot be sent again
        self._pieces = pieces
        self._length = length
        self._reader = FormReader(self.boundary)
        self._held: list[Piece] = []
        self._size = 0                   # of what is held
        self._text = 0
        self._name: str | None = None    # of the text that is being read
        self._value = bytearray()

    async def read_head(self) -> None:
        """Hold the form up to its first file, or to its end."""
        while not self.files and not self.whole:
            await self._read()

    async def read_all(self, limit: int, why: str) -> None:
        """Hold the form to its end. Raises `InvalidRequest`, which says `why`, for one of more than `limit` bytes."""
        while not self.whole:
            if self._size > limit:
                raise InvalidRequest(why, code="form_not_streamable")
            await self._read()

    def size(self, changes: Mapping[str, str]) -> int | None:
        """How many bytes will be sent, where that is known."""
        total = self._size if self.whole else self._length
        if total is None:
            return None
        for name, new in changes.items():
            for old in self.fields.get(name, ()):
                total += len(new.encode()) - len(old.encode())
            if name not in self.fields:
                total += len(self._added(name, new))
        return total

    async def parts(self, changes: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The body with these fields changed, or put in front where they are missing; a whole one as often as asked."""
        for name, new in changes.items():
            if name not in self.fields:
                yield self._added(name, new)
        skipping = False
        for piece in self._held:
            skipping, data = _changed(piece, changes, skipping)
            if data:
                yield data
        self.complete = self.whole
        if self.whole:
            return
        self.sent = True
        async for data in self._pieces:
            if ready := b"".join([piece.raw for piece in self._take(data)]):
                yield ready
        self._reader.end()
        self._end_text()
        self.complete = True

    def _added(self, name: str, value: str) -> bytes:
        return field_bytes(self.boundary, name, value, first=True) + b"\r\n"

    async def _read(self) -> None:
        data = await anext(self._pieces, b"")
        if not data:
            self._reader.end()
            self._end_text()
            self.whole = True
            return
        self._size += len(data)
        self._held += self._take(data)

    def _take(self, data: bytes) -> list[Piece]:
        found = self._reader.feed(data)
        for piece in found:
            if not isinstance(piece, Data):
                self._end_text()
                if isinstance(piece, Head):
                    self._begin(piece)
            elif self._name is not None:
                self._text += len(piece.raw)
                if self._text > MAX_TEXT:
                    raise InvalidRequest(f"The texts of the form have more than {MAX_TEXT} bytes.", code="invalid_form")
                self._value += piece.raw
        return found

    def _begin(self, head: Head) -> None:
        if head.file is not None:
            self.files += 1
        elif head.name in _ONCE and head.name in self.fields:
            raise InvalidRequest(
                f"The form has the field `{head.name}` twice.", param=head.name, code="invalid_form"
            )
        else:
            self._name = head.name

    def _end_text(self) -> None:
        if self._name is not None:
            try:
                value = self._value.decode()
            except UnicodeDecodeError:
                raise InvalidRequest(f"The field `{self._name[:64]}` is not UTF-8.", code="invalid_form") from None
            self.fields.setdefault(self._name, []).append(value)
        self._name = None
        self._value.clear()


def _changed(piece: Piece, changes: Mapping[str, str], skipping: bool) -> tuple[bool, bytes]:
    """Whether the data that follows is replaced, and the bytes for this piece."""
    if isinstance(piece, Head):
        new = changes.get(piece.name) if piece.file is None else None
        return new is not None, piece.raw if new is None else piece.raw + new.encode()
    if isinstance(piece, Data):
        return skipping, b"" if skipping else piece.raw
    return False, piece.raw
