"""What files say is read, what they are is seen by their bytes, and what attacks a reader is refused in time."""

import asyncio
import io
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import PNG, archive, docx, pdf, xlsx

from gateway.files.extract import extract
from gateway.files.kinds import Limits, kind_of
from gateway.files.reader import Reader

LIMITS = Limits()
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (pdf("Card 4111 1111", "second page"), "pdf", ["Card 4111 1111", "second page"]),
        (pdf("seen", note="a note beside it"), "pdf", ["seen", "a note beside it"]),
        (pdf("outer", attached=docx("within")), "pdf", ["outer", "within"]),
        (docx("Num|ber 42", "next"), "docx", ["Number 42\nnext"]),
        (docx("a", **{"word/footnotes.xml": "<w><t>small print</t></w>"}), "docx", ["small print"]),
        (docx("a", **{"word/embeddings/one.xlsx": xlsx()}), "docx", ["second"]),
        (xlsx(), "xlsx", ["Budget", "second\t4711\tinline"]),
        (archive({"ppt/presentation.xml": "<p/>", "ppt/slides/slide1.xml": "<a:p xmlns:a='x'><a:t>Slide</a:t></a:p>"}),
         "pptx", ["Slide"]),
        (b"name,card\nAnn,4711", "text", ["Ann,4711"]),
        ("Grüße".encode("latin-1"), "text", ["Grüße"]),
        ("Grüße".encode("utf-16"), "text", ["Grüße"]),
        ("no mark".encode("utf-16-le"), "text", ["no mark"]),
        (b"<html><b>47</b><i>11</i><!-- hidden --></html>", "markup", ["4711", "hidden"]),
        (b'{"a": 1}', "text", ['{"a": 1}']),
    ],
)  # fmt: skip
def test_the_text_of_a_file_is_read(data, kind, words):
    told = extract(data, LIMITS)
    assert (told.kind, told.reason) == (kind, None)
    assert all(word in told.text for word in words), told.text


def test_pages_are_counted():
    assert extract(pdf("a", "b", "c"), LIMITS).pages == 3
    assert extract(xlsx(), LIMITS).pages == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"), (pdf("a", password="secret"), "encrypted"), (pdf("a")[:200], "damaged"),
        (b"%PDF-1.7 and nothing else", "damaged"), (docx("a")[:-30], "unsupported"),
        (docx("&c;", head=LAUGHS), "damaged"), (docx("&a;", head=OUTSIDE), "damaged"),
        (docx("a").replace(b"<w:", b"<w;"), None), (archive({"other.txt": "x"}), "unsupported"),
        (b"\x00\x01\x02\x03\x80\xff", "unsupported"), (b"{\\rtf1 text}", "unsupported"),
        (pdf("", picture=True), "pictures_only"), (pdf("text", "", picture=True), "pictures_only"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "unsupported"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(data, reason):
    told = extract(data, LIMITS)
    assert told.reason == reason
    assert reason is None or told.text == ""


def test_archives_may_not_grow_without_end():
    bomb = docx("a", **{"word/header1.xml": b"<w>" + b" " * 30_000_000 + b"</w>"})
    assert len(bomb) < 100_000
    assert extract(bomb, LIMITS).reason == "too_large"
    lying = bytearray(bomb)
    with zipfile.ZipFile(io.BytesIO(bomb)) as made:
        size = made.getinfo("word/header1.xml").file_size.to_bytes(4, "little")
    told = extract(bytes(lying).replace(size, (100).to_bytes(4, "little")), LIMITS)
    assert told.reason in ("too_large", "damaged")


def test_files_in_files_end_at_the_limit():
    inner = b"deepest"
    for _ in range(3):
        inner = docx("a", **{"word/embeddings/one.docx": inner})
    assert extract(inner, LIMITS).reason == "nested"
    assert "deepest" in extract(inner, Limits(max_depth=3)).text


@pytest.mark.parametrize(
    ("data", "limits"),
    [(pdf("a", "b"), Limits(max_pages=1)), (b"abc", Limits(max_bytes=2)), (b"abc", Limits(max_characters=2)),
     (pdf("many words"), Limits(max_characters=5))],
)  # fmt: skip
def test_limits_hold(data, limits):
    assert extract(data, limits).reason == "too_large"


@pytest.mark.parametrize(
    ("data", "kind"),
    [(PNG, "image"), (b"\xff\xd8\xff\xe0aaaa", "image"), (b"RIFF1234WEBPVP8 ", "image"), (b"RIFF1234WAVEfmt ", "sound"),
     (b"\0\0\0\x18ftypmp42", "sound"), (b"\0\0\0\x18ftypheic", "image"), (b"ID3\x03", "sound")],
)  # fmt: skip
def test_pictures_and_sound_are_known_by_their_bytes(data, kind):
    assert kind_of(data) == kind


@given(st.binary(max_size=300), st.sampled_from([b"", b"%PDF-1.4\n", b"PK\x03\x04", b"<", b"\xff\xfe"]))
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_the_reader_fail(data, head):
    told = extract(head + data, Limits(ocr=False))
    assert told.reason is not None or isinstance(told.text, str)


def program(directory, monkeypatch, text):
    path = directory / "tesseract"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


async def test_a_picture_is_read_by_tesseract(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, 'cat >/dev/null; echo "seen: $*"; env | grep -c A_CREDENTIAL; true')
    monkeypatch.setenv("A_CREDENTIAL", "x")
    told = await Reader(Limits(languages="eng+deu")).read(PNG)
    assert told.text.split("\n")[:2] == ["seen: stdin stdout -l eng+deu", "0"]
    program(tmp_path, monkeypatch, "cat >/dev/null; exit 1")
    assert (await Reader().read(PNG)).reason == "damaged"


async def test_without_tesseract_a_picture_is_not_readable(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await Reader().read(PNG)).reason == "no_reader"
    assert await Reader(Limits(ocr=False)).read(PNG) == extract(PNG, Limits(ocr=False))


async def test_a_reader_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, f"echo $$ >{tmp_path}/pid; exec sleep 60")
    began = time.monotonic()
    assert (await Reader(Limits(timeout=3)).read(PNG)).reason == "too_slow"
    assert time.monotonic() - began < 30
    process = int((tmp_path / "pid").read_text())
    for _ in range(1000):
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        await asyncio.sleep(0.02)
    pytest.fail("it still runs")


async def test_a_file_is_read_in_a_process_and_once(monkeypatch):
    reader = Reader()
    data = pdf("Card 4711")
    first = await reader.read(data)
    assert "Card 4711" in first.text
    monkeypatch.setattr(reader, "_apart", None)
    assert await reader.read(data) is first
    assert (await Reader(Limits(max_bytes=10)).read(data)).reason == "too_large"
