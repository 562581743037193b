"""Files in requests of every dialect are judged as texts are; what cannot be read is refused unless options say else."""

import base64

import pytest
from running import PLUGINS, chat, provider, running
from samples import PNG, docx, pdf

from gateway.config import Acting
from gateway.errors import ContentBlocked
from gateway.guardrails.book import Book
from gateway.guardrails.check import Check
from gateway.guardrails.files import files_in
from gateway.guardrails.stage import GuardrailStage
from gateway.testing import FakeUpstream, exchange
from gateway_plugins.guardrails.files import Files, Options
from gateway_plugins.guardrails.keywords import Keywords
from gateway_plugins.guardrails.keywords import Options as Words


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url(data: bytes, kind: str = "application/pdf") -> str:
    return f"data:{kind};base64,{b64(data)}"


def with_file(data: bytes, **more) -> dict:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": url(data), **more}}
    return {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Read this"}, part]}]}


async def judged(body: dict, action: str = "block", entry: Acting | None = None, **options):
    files = Check("files", Files(Options(**options)), entry or Acting())
    words = Check("words", Keywords(Words(deny={"fruit": ("banana",)})), Acting(action=action))
    made = exchange(body=body)
    await GuardrailStage(Book(always=[files, words], entries={})).pre_request(made)
    return made


BANANA = pdf("one banana")


@pytest.mark.parametrize("data", [BANANA, docx("one ban|ana"), b"a,b\nbanana,1", b"<p>ban<b>ana</b></p>"])
async def test_what_a_policy_forbids_is_refused_in_a_file(data):
    with pytest.raises(ContentBlocked) as refused:
        await judged(with_file(data))
    assert refused.value.details == {"guardrail": "words", "category": "fruit"}
    assert "a file in it" in refused.value.message
    assert "banana" not in refused.value.message


async def test_what_is_allowed_passes_unchanged():
    body = with_file(pdf("one apple"))
    made = await judged(body)
    assert made.request.body == body
    assert made.warnings == []


async def test_a_data_url_may_be_percent_encoded():
    link = {"type": "image_url", "image_url": {"url": "data:text/plain,one%20ban%61na"}}
    with pytest.raises(ContentBlocked, match="words"):
        await judged({"model": "m", "messages": [{"role": "user", "content": [link]}]})


@pytest.mark.parametrize("action", ["redact", "mask"])
async def test_what_would_be_redacted_is_refused_or_told(action):
    with pytest.raises(ContentBlocked):
        await judged(with_file(BANANA), action)
    made = await judged(with_file(BANANA), action, redactions="warn")
    assert made.warnings == ["guardrail words: fruit (input)"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [(pdf("a", password="x"), "file_encrypted"), (BANANA[:150], "file_damaged"), (b"\x00\x01\x02\xff", "file_unsupported"),
     (pdf("", picture=True), "file_pictures_only")],
)  # fmt: skip
async def test_a_file_that_cannot_be_read_is_refused_told_or_passed(data, kind):
    with pytest.raises(ContentBlocked) as refused:
        await judged(with_file(data))
    assert refused.value.details == {"guardrail": "files", "category": kind}
    assert (await judged(with_file(data), unreadable="warn")).warnings == [f"guardrail files: {kind} (input)"]
    assert (await judged(with_file(data), unreadable="pass")).warnings == []


async def test_a_rule_that_only_warns_refuses_nothing():
    made = await judged(with_file(b"\x00\x01\x02\xff"), "redact", Acting(action="warn"))
    assert made.warnings == ["guardrail files: file_unsupported (input)"]


async def test_too_many_files_are_not_readable():
    body = with_file(pdf("a"))
    body["messages"].append(with_file(b"b")["messages"][0])
    with pytest.raises(ContentBlocked, match="file_too_many"):
        await judged(body, max_files=1)


async def test_links_are_told_and_not_fetched():
    link = {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [link]}]}
    assert (await judged(body)).warnings == ["guardrail files: file_link (input)"]
    assert (await judged(body, links="pass")).warnings == []
    with pytest.raises(ContentBlocked):
        await judged(body, links="block")


async def test_base64_that_is_none_is_a_damaged_file():
    body = with_file(b"")
    body["messages"][0]["content"][1]["file"]["file_data"] = "data:application/pdf;base64,@@@"
    with pytest.raises(ContentBlocked, match="file_damaged"):
        await judged(body)


IMAGE = b64(PNG)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": url(PNG, "image/png")}},
        {"type": "input_image", "image_url": url(PNG, "image/png")},
        {"type": "input_file", "filename": "a", "file_data": IMAGE},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
        {"type": "tool_result", "content": [{"type": "document", "source": {"type": "base64", "media_type": "x/y", "data": IMAGE}}]},
        {"inlineData": {"mimeType": "image/png", "data": IMAGE}},
        {"inline_data": {"mime_type": "image/png", "data": IMAGE}},
    ],
)
def test_files_are_found_in_all_dialects(part):
    assert [found.data for found in files_in({"anything": [{"content": [part]}]})] == [IMAGE]


@pytest.mark.parametrize(
    "part",
    [{"type": "file", "file": {"file_id": "file-1"}}, {"fileData": {"fileUri": "gs://a/b", "mimeType": "x/y"}},
     {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
     {"type": "document", "source": {"type": "file", "file_id": "file_1"}}],
)  # fmt: skip
def test_links_are_found(part):
    assert [found.data for found in files_in([part])] == [""]


@pytest.mark.parametrize(
    "part", [{"type": "text", "text": "data:text/plain;base64,aGk="}, {"name": "url", "arguments": "{}"},
             {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}],
)  # fmt: skip
def test_texts_are_no_files(part):
    assert list(files_in({"messages": [part]})) == []


def test_a_text_has_nothing_for_it():
    assert Files(Options()).scan("one banana") == ()


async def test_a_pdf_with_a_forbidden_word_never_reaches_the_provider(tmp_path):
    rules = [{"use": "guardrail.files"}, {"use": "guardrail.keywords", "with": {"deny": {"fruit": ["banana"]}}}]
    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[provider(upstream)], models=[{"name": "m", "targets": ["up/m"]}], plugins=PLUGINS,
        guardrails={"policy": "mine", "policies": [{"name": "mine", "rules": rules}]},
    ) as gw:
        async with gw.post(json=with_file(BANANA)) as reply:
            assert reply.status == 400
            assert (await reply.json())["error"]["code"] == "content_policy_violation"
            assert reply.headers["x-gateway-guardrail"] == "guardrail.keywords;action=block"
        source = {"type": "base64", "media_type": "application/pdf", "data": b64(BANANA)}
        body = {"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": [{"type": "document", "source": source}]}]}
        async with gw.client.post(gw.root + "/v1/messages", json=body, headers={"x-api-key": gw.key}) as reply:
            assert reply.status == 400
            assert "a file in it" in await reply.text()
        assert upstream.requests == []
        async with gw.post(json=with_file(pdf("one apple"))) as reply:
            assert reply.status == 200
        async with gw.post(json=chat()) as reply:
            assert reply.status == 200
