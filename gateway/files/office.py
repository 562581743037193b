"""The text of Word, Excel and PowerPoint files of today: XML in a zip archive, unpacked no further than the limits say.

Files inside them are handed back, to be read as files. Pictures inside are not read.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from xml.parsers import expat

from gateway.files.kinds import Limits, UnreadableFile

_READ = re.compile(
    r"word/(?:document|header[0-9]*|footer[0-9]*|footnotes|endnotes|comments)\.xml"
    r"|xl/(?:worksheets/sheet[0-9]+|comments[0-9]*|workbook)\.xml|xl/comments/[a-z0-9]+\.xml"
    r"|ppt/(?:slides/slide|notesSlides/notesSlide|comments/comment)[0-9]+\.xml"
    r"|(?:word|xl|ppt)/(?:charts/chart|diagrams/data|drawings/drawing)[0-9]*\.xml|docProps/(?:core|custom|app)\.xml",
    re.IGNORECASE,
)
_EMBEDDED = re.compile(r"(?:word|xl|ppt)/embeddings/[^/]+", re.IGNORECASE)
_STRINGS = "xl/sharedStrings.xml"
_PAGES = re.compile(r"(?:xl/worksheets/sheet|ppt/slides/slide)[0-9]+\.xml", re.IGNORECASE)
_MOST_PARTS = 10_000
_SMALL = 1024 * 1024
_BREAKS = {"p": "\n", "br": "\n", "cr": "\n", "tab": "\t", "row": "\n", "tc": "\t", "c": "\t", "si": "\n"}


class Unpacked:
    """An archive that is read part by part; all parts together may not grow beyond the limits."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._left = min(limits.max_unpacked, max(_SMALL, len(data) * limits.max_ratio))
        self.names = sorted(set(self._archive.namelist()))
        if len(self.names) > _MOST_PARTS:
            raise UnreadableFile("too_large")

    def read(self, name: str) -> bytes:
        """One part. What the archive says of its size is not believed."""
        info = self._archive.getinfo(name)
        if info.flag_bits & 0x1:
            raise UnreadableFile("encrypted")
        with self._archive.open(info) as part:
            data = part.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise UnreadableFile("too_large")
        return data


def read_office(data: bytes, limits: Limits) -> tuple[str, int, list[bytes]]:
    """The text, how many sheets or slides there are, and the files inside. Raises `UnreadableFile`, and what is damaged
    raises `zipfile.BadZipFile` or `expat.ExpatError`."""
    unpacked = Unpacked(data, limits)
    strings: Sequence[str] = ()
    if _STRINGS in unpacked.names:
        strings = list(_strings(unpacked.read(_STRINGS)))
    texts = [_Words(strings).read(unpacked.read(name)) for name in unpacked.names if _READ.fullmatch(name)]
    inside = [unpacked.read(name) for name in unpacked.names if _EMBEDDED.fullmatch(name)]
    pages = sum(_PAGES.fullmatch(name) is not None for name in unpacked.names)
    return "\n".join(texts), pages, inside


class _Words:
    """The characters of one part of a document, with the ends of paragraphs and cells between them."""

    def __init__(self, strings: Sequence[str] = ()) -> None:
        self._strings = strings
        self._out: list[str] = []
        self._shared = self._in_value = False

    def read(self, data: bytes) -> str:
        """All of them."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.Parse(data, True)
        return "".join(self._out)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name == "c":
            self._shared = attributes.get("t") == "s"
        elif name == "v":
            self._in_value = True
        elif name in ("sheet", "cNvPr", "docPr"):  # names of sheets, and what is said of pictures
            self._out.extend(f"{attributes[key]}\n" for key in ("name", "descr", "title") if attributes.get(key))

    def _end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        self._in_value = self._in_value and name != "v"
        if name in _BREAKS:
            self._out.append(_BREAKS[name])
        elif tag.startswith(("dc:", "cp:", "vt:")):
            self._out.append("\n")

    def _data(self, text: str) -> None:
        if "\n" in text and text.isspace():  # between elements: how the XML is laid out
            return
        if self._in_value and self._shared:
            number = int(text) if text.isdecimal() and len(text) < 10 else -1
            self._out.append(self._strings[number] if 0 <= number < len(self._strings) else "")
        else:
            self._out.append(text)


def _strings(data: bytes) -> Iterator[str]:
    """The texts that cells share, by number."""
    marked = _Marked()
    marked.read(data)
    yield from marked.found


class _Marked(_Words):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def _end(self, tag: str) -> None:
        if tag.rpartition(":")[2] == "si":
            self.found.append("".join(self._out))
            self._out.clear()


def _refuse(*_doctype: object) -> None:
    """No office file has a document type; those that do want to have entities expanded."""
    raise UnreadableFile("damaged")
