"""Small files, made as they are needed."""

import io
import zipfile

from pypdf import PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject, StreamObject, TextStringObject

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cfc000000301010018dd8db00000000049454e44ae426082"
)


def pdf(*pages: str, password: str = "", picture: bool = False, attached: bytes = b"", note: str = "") -> bytes:
    """A PDF with a line of text on each page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject({
            NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        })
        resources = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
        if picture:
            resources[NameObject("/XObject")] = DictionaryObject({NameObject("/Im0"): DictionaryObject()})
        page[NameObject("/Resources")] = resources
        stream = StreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
        if note:
            page[NameObject("/Annots")] = ArrayObject([DictionaryObject({
                NameObject("/Type"): NameObject("/Annot"), NameObject("/Subtype"): NameObject("/Text"),
                NameObject("/Contents"): TextStringObject(note),
                NameObject("/Rect"): ArrayObject([NumberObject(n) for n in (0, 0, 9, 9)]),
            })])
    if attached:
        writer.add_attachment("inside", attached)
    if password:
        writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def archive(parts: dict[str, str | bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return out.getvalue()


def docx(*paragraphs: str, head: str = "", **parts: str | bytes) -> bytes:
    """A Word file; a `|` in a paragraph begins another run, as a change of fonts does."""
    runs = "".join(
        "<w:p>" + "".join(f"<w:r><w:t>{run}</w:t></w:r>" for run in text.split("|")) + "</w:p>" for text in paragraphs
    )
    document = f'<?xml version="1.0"?>{head}<w:document xmlns:w="{WORD}"><w:body>{runs}</w:body></w:document>'
    return archive({"[Content_Types].xml": "<Types/>", "word/document.xml": document, **parts})


def xlsx() -> bytes:
    """A sheet with one shared text, a number and an inline text."""
    sheet = (
        '<worksheet><sheetData><row><c t="s"><v>1</v></c><c><v>4711</v></c>'
        '<c t="inlineStr"><is><t>inline</t></is></c></row></sheetData></worksheet>'
    )
    strings = "<sst><si><t>first</t></si><si><r><t>sec</t></r><r><t>ond</t></r></si></sst>"
    book = '<workbook><sheets><sheet name="Budget"/></sheets></workbook>'
    return archive({"xl/workbook.xml": book, "xl/sharedStrings.xml": strings, "xl/worksheets/sheet1.xml": sheet})
