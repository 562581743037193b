"""Text in pictures, with the real tesseract: drawn here, read there, and found by the guardrails."""

import base64
import shutil
import struct
import zlib

import pytest
from running import PLUGINS, chat, provider, running

from gateway.detect.pii import PersonalData
from gateway.files.kinds import Limits
from gateway.files.reader import Reader
from gateway.testing import FakeUpstream

pytestmark = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="tesseract is not installed: apt-get install tesseract-ocr"
)
# Letters of five by seven dots, a row of dots each five bits.
FONT = {
    "C": "0e 11 10 10 10 11 0e", "A": "0e 11 11 1f 11 11 11", "R": "1e 11 11 1e 14 12 11", "D": "1e 11 11 11 11 11 1e",
    "N": "11 19 15 13 11 11 11", "O": "0e 11 11 11 11 11 0e", "1": "04 0c 04 04 04 04 0e", "4": "02 06 0a 12 1f 02 02",
    "2": "0e 11 01 02 04 08 1f", "5": "1f 10 1e 01 01 11 0e", " ": "00 00 00 00 00 00 00",
}  # fmt: skip
DOT, MARGIN = 8, 40


def picture(*lines: str) -> bytes:
    """A PNG with these lines, black on white."""
    width = 2 * MARGIN + max(map(len, lines)) * 6 * DOT
    blank = b"\xff" * width
    rows = [blank] * MARGIN
    for line in lines:
        glyphs = [[int(bits, 16) for bits in FONT[sign].split()] for sign in line]
        for number in range(7):
            row = bytearray(blank)
            for place, glyph in enumerate(glyphs):
                for column in range(5):
                    if glyph[number] >> (4 - column) & 1:
                        start = MARGIN + (place * 6 + column) * DOT
                        row[start : start + DOT] = bytes(DOT)
            rows += [bytes(row)] * DOT
        rows += [blank] * MARGIN
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    )


CARD = picture("CARD NO", "4111 1111 1111 1111")


async def test_what_is_drawn_is_read_and_found():
    told = await Reader(Limits(timeout=60)).read(CARD)
    assert told.reason is None
    assert "4111 1111 1111 1111" in told.text
    assert [span.kind for span in PersonalData().scan(told.text)] == ["CREDIT_CARD"]


async def test_a_card_number_in_a_picture_is_refused_and_an_empty_picture_is_not(tmp_path):
    rules = [{"use": "guardrail.pii", "action": "redact"}, {"use": "guardrail.files", "with": {"timeout": 60}}]
    settings = {"policy": "files", "policies": [{"name": "files", "rules": rules}]}
    models = [{"name": "m", "targets": ["up/m"]}]
    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[provider(upstream)], models=models, guardrails=settings, plugins=PLUGINS
    ) as gateway:
        for drawn, status in ((CARD, 400), (picture("   "), 200)):
            url = "data:image/png;base64," + base64.b64encode(drawn).decode()
            body = chat()
            body["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": url}}]
            async with gateway.post(json=body) as reply:
                assert reply.status == status, await reply.text()
        assert len(upstream.requests) == 1
