"""What a file is, by its first bytes: neither its name nor the type that a client gives is believed."""

import codecs
import io
import re
import zipfile
from typing import Literal

import msgspec

Kind = Literal["pdf", "docx", "xlsx", "pptx", "image", "sound", "markup", "text", "encrypted", "unknown", "empty"]
Reason = Literal[
    "empty", "damaged", "encrypted", "unsupported", "too_large", "too_slow", "too_many", "nested", "pictures_only",
    "no_reader",
]

_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM")
_SOUNDS = (b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\x1aE\xdf\xa3", b"FORM")
_BRANDS_OF_IMAGES = (b"heic", b"heix", b"mif1", b"avif", b"msf1")
_PARTS: tuple[tuple[str, Kind], ...] = (
    ("word/document.xml", "docx"), ("xl/workbook.xml", "xlsx"), ("ppt/presentation.xml", "pptx"),
)  # fmt: skip
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_PDF_WITHIN = 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file is read: bytes, pages, characters of text, how much it may grow, files in files, seconds."""

    max_bytes: int = 20 * 1024 * 1024
    max_pages: int = 500
    max_characters: int = 2_000_000
    max_unpacked: int = 100 * 1024 * 1024
    max_ratio: int = 200
    max_depth: int = 2
    max_memory: int = 1024 * 1024 * 1024
    timeout: float = 10.0
    ocr: bool = True
    languages: str = "eng"


class FileText(msgspec.Struct, frozen=True):
    """What was read. `reason` says why it could not be (then `text` is empty); `pages` is 0 where there are none."""

    kind: Kind
    text: str = ""
    pages: int = 0
    reason: Reason | None = None


class UnreadableFile(Exception):
    """A file that cannot be read, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def kind_of(data: bytes) -> Kind:
    """What these bytes are."""
    head = data[:32]
    if not data:
        return "empty"
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _office(data)
    if head.startswith(_OLD_OFFICE):
        return "encrypted" if "EncryptedPackage".encode("utf-16-le") in data else "unknown"
    return _picture_or_sound(head) or _text_kind(data)


def decoded(data: bytes) -> str | None:
    """The characters of a plain text; `None` where these are no characters."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decode(data, encoding)
    if data[1:2] == b"\0" or data[:1] == b"\0":
        return _decode(data, "utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    text = _decode(data, "utf-8")
    # What is not UTF-8 is taken for western European if it looks like text: digits and letters are the same elsewhere.
    return text if text is not None else _decode(data, "latin-1")


def _decode(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text


def _office(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "unknown"
    return next((kind for part, kind in _PARTS if part in names), "unknown")


def _picture_or_sound(head: bytes) -> Kind | None:
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in _BRANDS_OF_IMAGES else "sound"
    if head[:4] == b"RIFF":
        return "image" if head[8:12] == b"WEBP" else "sound"
    if head.startswith(_IMAGES):
        return "image"
    return "sound" if head.startswith(_SOUNDS) else None


def _text_kind(data: bytes) -> Kind:
    text = decoded(data)
    if text is None or text.startswith("{\\rtf"):
        return "unknown"
    return "markup" if text[:1024].lstrip("\ufeff \t\r\n").startswith("<") else "text"
