"""A file is tried with a policy: in base64, as it is, or in a form."""

import base64

import aiohttp
import pytest
from running import PLUGINS, provider, running
from samples import docx, pdf

from gateway.errors import InvalidRequest
from gateway.guardrails.scan import file_of
from gateway.testing import FakeUpstream

RULES = [
    {"use": "guardrail.keywords", "name": "word", "action": "block", "with": {"deny": {"fruit": ["banana"]}}},
    {"use": "guardrail.keywords", "name": "mild", "action": "redact", "with": {"deny": {"veg": ["kale"]}}},
]
READ = {"use": "guardrail.files", "name": "files", "with": {"unreadable": "warn", "redactions": "warn"}}


@pytest.fixture
async def gw(tmp_path):
    settings = {"policy": "mine", "policies": [
        {"name": "mine", "rules": RULES}, {"name": "lax", "rules": [*RULES, READ]},
    ]}
    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[provider(upstream)], models=[{"name": "m", "targets": ["up/m"]}], guardrails=settings,
        plugins=PLUGINS,
    ) as started:
        yield started


async def scanned(gw, data: bytes, **more):
    body = {"data": base64.b64encode(data).decode(), "filename": "a.pdf", **more}
    async with gw.post("/guardrails/scan-base64", json=body) as reply:
        return reply.status, await reply.json()


async def test_a_file_in_base64_is_tried(gw):
    status, told = await scanned(gw, pdf("one banana", "and more"))
    assert status == 200
    assert (told["blocked"], told["processed_text"], told["policy"]) == (True, "", ["mine"])
    assert (told["filename"], told["kind"], told["pages"], told["unreadable"]) == ("a.pdf", "pdf", 2, None)
    assert told["extracted_length"] == len(told["original_text"]) > 15
    assert told["triggered_guardrails"][0]["guardrail"] == "word"
    _, told = await scanned(gw, docx("an apple"))
    assert (told["blocked"], told["kind"], told["triggered_guardrails"]) == (False, "docx", [])


async def test_what_would_be_redacted_blocks_a_file_or_is_told(gw):
    _, told = await scanned(gw, b"some kale")
    assert (told["blocked"], told["actions_taken"]) == (True, ["block"])
    _, told = await scanned(gw, b"some kale", policy="lax")
    assert (told["blocked"], told["actions_taken"], told["processed_text"]) == (False, ["warn"], "some kale")
    assert told["warnings"] == ["mild: veg"]


async def test_a_file_that_cannot_be_read_is_told(gw):
    _, told = await scanned(gw, pdf("a", password="b"))
    assert (told["blocked"], told["unreadable"], told["original_text"]) == (True, "encrypted", "")
    _, told = await scanned(gw, pdf("a")[:150], policy="lax")
    assert (told["blocked"], told["warnings"]) == (False, ["files: file_damaged"])


@pytest.mark.parametrize("body", [{}, {"data": ""}, {"data": 1}, {"data": "YQ==", "policy": "none"}, {"data": "YQ==", "x": 1}])
async def test_what_is_no_such_request_is_refused(gw, body):
    async with gw.post("/guardrails/scan-base64", json=body) as reply:
        assert reply.status in (400, 422)


async def test_data_that_is_no_base64_is_a_damaged_file(gw):
    async with gw.post("/guardrails/scan-base64", json={"data": "@@@"}) as reply:
        assert (await reply.json())["unreadable"] == "damaged"


async def test_a_file_is_tried_as_it_is_and_in_a_form(gw):
    headers = {"content-type": "application/octet-stream"}
    async with gw.post("/guardrails/scan-file?filename=b.pdf&policy=lax", data=pdf("one banana"), headers=headers) as reply:
        told = await reply.json()
    assert (reply.status, told["blocked"], told["filename"], told["policy"]) == (200, True, "b.pdf", ["lax"])
    form = aiohttp.FormData()
    form.add_field("policy", "lax")
    form.add_field("file", pdf("one banana"), filename="c.pdf", content_type="application/pdf")
    async with gw.post("/guardrails/scan-file", data=form) as reply:
        told = await reply.json()
    assert (reply.status, told["blocked"], told["filename"], told["policy"]) == (200, True, "c.pdf", ["lax"])
    async with gw.post("/guardrails/scan-file", data=b"", headers=headers) as reply:
        assert (await reply.json())["unreadable"] == "empty"


async def test_a_file_needs_a_key(gw):
    async with gw.client.post(gw.url + "/guardrails/scan-file", data=b"words") as reply:
        assert reply.status == 401


HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def test_the_bytes_of_a_file_in_a_form_are_not_changed():
    data = b"\r\n--c\r\n\x00\xff\r\n"
    assert file_of(HEAD + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b") == (data, "a", None)


@pytest.mark.parametrize(
    "raw", [b"", b"words", HEAD + b"x", b"--b--", HEAD + b"x\r\n" + HEAD + b"y\r\n--b--", (HEAD + b"x\r\n") * 40 + b"--b--"],
)  # fmt: skip
@pytest.mark.parametrize("boundary", ["; boundary=b", ""])
def test_a_form_that_is_broken_or_has_not_one_file_is_refused(raw, boundary):
    with pytest.raises(InvalidRequest):
        file_of(raw, "multipart/form-data" + boundary)
