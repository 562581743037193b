"""The text of a PDF, with its form fields, notes and the files attached to it. Scanned pages have none: it is told."""

import io
from collections.abc import Iterator
from typing import Any

from gateway.files.kinds import Limits, UnreadableFile


def read_pdf(data: bytes, limits: Limits) -> tuple[str, int, list[bytes]]:
    """The text, the number of pages, and the files attached. Raises `UnreadableFile`, and for what is damaged anything.

    A page that has pictures and no text makes the whole file unreadable: what it says is not known.
    """
    try:
        from pypdf import PasswordType, PdfReader
    except ImportError:
        raise UnreadableFile("no_reader") from None
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise UnreadableFile("encrypted")
    count = len(reader.pages)
    if count > limits.max_pages:
        raise UnreadableFile("too_large")
    texts: list[str] = []
    room = limits.max_characters
    for page in reader.pages:
        text = "\n".join([page.extract_text(), *_notes(page)])
        if not text.strip() and _has_picture(page):
            raise UnreadableFile("pictures_only")
        room -= len(text)
        if room < 0:
            raise UnreadableFile("too_large")
        texts.append(text)
    texts.extend(str(value) for value in (reader.metadata or {}).values() if isinstance(value, str))
    texts.extend(str(field.get("/V")) for field in (reader.get_fields() or {}).values() if field.get("/V"))
    inside = [one for content in reader.attachments.values() for one in content]
    return "\n".join(texts), count, inside


def _notes(page: Any) -> Iterator[str]:  # noqa: ANN401 - a page of pypdf
    for reference in page.get("/Annots") or ():
        note = reference.get_object()
        said = note.get("/Contents") if hasattr(note, "get") else None
        if isinstance(said, str):
            yield said


def _has_picture(page: Any) -> bool:  # noqa: ANN401
    resources = page.get("/Resources")
    drawn = resources.get_object().get("/XObject") if resources is not None else None
    return bool(drawn is not None and drawn.get_object())
