"""Sound and images through the gateway with OpenAI's own client: admitted, priced, recorded, and never kept whole."""

import asyncio
import io
import resource

import aiohttp
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from openaiservice import CREDENTIAL, MP3, OpenAIService
from running import PLUGINS, running
from waiting import until

from gateway.accounts.keys import issue, pepper
from gateway.accounts.records import Key
from gateway.clock import now_ms
from gateway.store.work import change

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")]

MODELS = ["tts-1", "gpt-4o-mini-tts", "whisper-1", "gpt-4o-transcribe", "gpt-image-1", "dall-e-2"]
PRICES = [
    {"model": "openai/dall-e-2", "input": "0", "output": "0", "per_image": "0.02"},
]
WAV = b"RIFF" + bytes(4000)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def media(tmp_path_factory, gateway_view):
    async with OpenAIService() as service:
        providers = [{"name": "openai", "use": "provider.openai", "with": {"base_url": service.url, "api_key": CREDENTIAL}}]
        models = [{"name": name, "targets": [f"openai/{name}"]} for name in MODELS]
        models.append({"name": "ears", "targets": ["openai/whisper-1"]})
        async with running(tmp_path_factory.mktemp("media"), providers=providers, models=models, prices=PRICES, timeouts={"first_byte": 20, "idle": 20}) as gw:
            view = gateway_view(gw)
            view.service = service
            yield view


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(media):
    async with AsyncOpenAI(base_url=media.url, api_key=media.key, max_retries=0) as made:
        yield made


async def test_speech_streams_as_it_is_made(media, client):
    """The first bytes arrive while the rest is not there yet; characters are billed."""
    media.service.slow_speech = asyncio.Event()
    async with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="x" * 1000) as reply:
        assert reply.headers["content-type"] == "audio/mpeg"
        pieces = reply.iter_bytes(1000)
        assert await anext(pieces) == MP3[:1000]
        media.service.slow_speech.set()
        assert MP3[1000:] == b"".join([piece async for piece in pieces])
    media.service.slow_speech = None
    row = await media.row(reply.headers["x-request-id"])
    assert (row.endpoint, row.outcome, row.streamed) == ("audio.speech", "ok", True)
    assert row.cost == 1000 * 15_000  # nano-dollars: 15 dollars for a million


async def test_speech_in_events_has_its_tokens(media, client):
    async with client.audio.speech.with_streaming_response.create(model="gpt-4o-mini-tts", voice="alloy", input="hi", stream_format="sse") as reply:
        text = await reply.text()
    assert "speech.audio.done" in text
    row = await media.row(reply.headers["x-request-id"])
    assert (row.input, row.output, row.estimated) == (7, 101, False)


async def test_speech_that_is_cut_is_seen_to_be_cut(media):
    """No silent end: the connection breaks, and what was ordered is recorded."""
    media.service.cut_speech = True
    try:
        async with media.gw.post("/audio/speech", {"model": "tts-1", "voice": "a", "input": "cut me"}) as reply:
            request_id = reply.headers["x-request-id"]
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
    finally:
        media.service.cut_speech = False
    row = await media.row(request_id)
    assert (row.outcome, row.cost) == ("upstream_cut", 6 * 15_000)


async def test_leaving_speech_is_recorded(media):
    media.service.slow_speech = asyncio.Event()
    reply = await media.gw.post("/audio/speech", {"model": "tts-1", "voice": "a", "input": "leave"})
    request_id = reply.headers["x-request-id"]
    await reply.content.readany()
    reply.close()
    row = await media.row(request_id)
    assert (row.outcome, row.cost) == ("client_closed", 5 * 15_000)
    media.service.slow_speech.set()
    media.service.slow_speech = None


@pytest.mark.parametrize("call", ["transcriptions", "translations"])
async def test_sound_goes_in_and_text_comes_out(media, client, call):
    raw = await getattr(client.audio, call).with_raw_response.create(model="ears", file=("a.wav", WAV, "audio/wav"), prompt="names: Bo")
    assert raw.parse().text == "hello there"
    row = await media.row(raw.headers["x-request-id"])
    assert (row.endpoint, row.target_model, row.cost) == (f"audio.{call}", "whisper-1", 900_000)  # 9 s of 0.006 $/min
    body = media.service.calls[-1][3]
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in body
    assert WAV in body
    assert media.service.calls[-1][2]["authorization"] == f"Bearer {CREDENTIAL}"


async def test_a_transcript_streams(media, client):
    stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", WAV), stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    row = await media.row(stream.response.headers["x-request-id"])
    assert (row.input, row.output, row.cost) == (30, 4, 30 * 6000 + 4 * 10_000)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1\n00:00:00,000 --> 00:00:07,500\nhi\n", 7500), ("WEBVTT\n\n00:00.000 --> 01:02.000\nhi\n", 62_000), ("only text", 1000)],
)
async def test_subtitles_show_how_long_the_sound_was(media, client, text, ms):
    """Plain text shows nothing: then the size of the upload says about how long it was."""
    before = media.service.transcript
    media.service.transcript, media.service.transcript_type = text, "text/plain"
    try:
        raw = await client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=("a.wav", WAV), response_format="vtt")
    finally:
        media.service.transcript, media.service.transcript_type = before, "application/json"
    assert raw.text == text
    row = await media.row(raw.headers["x-request-id"])
    assert (row.cost, row.estimated) == (ms * 100, True)


def form(*fields, boundary="xBOUNDx"):
    """A form as bytes: (name, value) or (name, value, filename)."""
    parts = []
    for name, value, *file in fields:
        extra = f'; filename="{file[0]}"\r\nContent-Type: audio/wav' if file else ""
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


async def send(media, body, path="/audio/transcriptions", boundary="xBOUNDx", **headers):
    headers = {"content-type": f"multipart/form-data; boundary={boundary}", **headers}
    async with media.gw.post(path, data=body, headers=headers) as reply:
        return reply.status, await reply.json()


async def test_the_model_may_stand_behind_the_file(media):
    """As curl and Node write it; then the form is held, up to the size of other bodies."""
    status, told = await send(media, form(("file", WAV, "a.wav"), ("model", b"ears"), ("language", b"en")))
    assert (status, told["text"]) == (200, "hello there")
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in media.service.calls[-1][3]
    assert media.service.calls[-1][4] == int(media.service.calls[-1][2]["content-length"])


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ([("file", WAV, "a.wav")], 400, "model"),
        ([("model", b"ears"), ("model", b"tts-1"), ("file", WAV, "a.wav")], 400, "model"),
        ([("model", b"ears"), ("file", WAV, "a.wav"), ("model", b"tts-1")], 400, "model"),
        ([("model", b"nobody"), ("file", WAV, "a.wav")], 404, "model"),
        ([("model", b"\xff\xfe"), ("file", WAV, "a.wav")], 400, None),
    ],
)
async def test_a_form_without_one_model_is_refused(media, fields, status, param):
    calls = len(media.service.calls)
    got, told = await send(media, form(*fields))
    assert (got, told["error"]["param"]) == (status, param)
    assert len([call for call in media.service.calls[calls:] if call[3]]) == 0


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (form(("model", b"ears")), "multipart/form-data", 400),
        (form(("model", b"ears")), "multipart/form-data; boundary=other", 400),
        (form(("model", b"ears"))[:-6], "multipart/form-data; boundary=xBOUNDx", 400),
        (form(("model", b"ears"), ("file", WAV, "a"))[:-6], "multipart/form-data; boundary=xBOUNDx", 400),
        (b"", "multipart/form-data; boundary=xBOUNDx", 400),
        (b'{"model": "ears"}', "application/json", 415),
        (b"x" * 20_000, "multipart/form-data; boundary=xBOUNDx", 400),
        (b"--xBOUNDx\r\n" + b"h" * 20_000, "multipart/form-data; boundary=xBOUNDx", 400),
        (form(("model", b"m" * 1_000_000), ("prompt", b"p" * 100_000)), "multipart/form-data; boundary=xBOUNDx", 400),
    ],
)
async def test_a_broken_form_is_refused(media, body, content_type, status):
    async with media.gw.post("/audio/transcriptions", data=io.BytesIO(body), headers={"content-type": content_type}) as reply:
        told = await reply.json()
    assert (reply.status, told["error"]["type"]) == (status, "invalid_request_error")


async def test_a_form_goes_on_while_it_comes(media):
    """The target has the beginning before the client sent the end."""
    go_on = asyncio.Event()
    body = form(("model", b"ears"), ("file", WAV * 200, "a.wav"))

    async def pieces():
        yield body[:100_000]
        await go_on.wait()
        yield body[100_000:]

    media.service.arrived.clear()
    asked = asyncio.ensure_future(send(media, pieces()))
    await asyncio.wait_for(media.service.arrived.wait(), 20)
    go_on.set()
    assert (await asked)[0] == 200


async def test_two_hundred_megabytes_are_not_kept(media):
    """Memory stays flat; both with a length and in chunks."""
    piece, count = b"s" * (1 << 20), 200
    head = form(("model", b"ears"), ("file", b"", "a.wav"))[:-len("\r\n--xBOUNDx--\r\n")]

    async def pieces():
        yield head
        for _ in range(count):
            yield piece
        yield b"\r\n--xBOUNDx--\r\n"

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, _ = await send(media, pieces())
    assert status == 200
    assert media.service.taken > 200 << 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60 * 1024, f"{grown} KiB more"


async def test_a_client_that_leaves_in_the_middle_pays_nothing(media):
    """The target never had the whole sound: it is cut off too, and the row says who ended it."""
    rows = len(await media.rows_of(media.key, 0))
    body = form(("model", b"ears"), ("file", WAV * 200, "a.wav"))
    _, writer = await asyncio.open_connection("127.0.0.1", media.gw.port)
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {media.key}\r\n"
        f"Content-Type: multipart/form-data; boundary=xBOUNDx\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    media.service.arrived.clear()
    writer.write(head.encode() + body[:200_000])
    await asyncio.wait_for(media.service.arrived.wait(), 20)
    writer.transport.abort()
    row = (await media.rows_of(media.key, rows + 1))[-1]
    assert (row.endpoint, row.outcome, row.cost) == ("audio.transcriptions", "client_closed", 0)
    await until(lambda: not media.gw.process._accounting.active)


async def test_images_are_made_edited_and_varied(media, client):
    raw = await client.images.with_raw_response.generate(model="gpt-image-1", prompt="a cat", n=2, quality="low")
    assert len(raw.parse().data) == 2
    row = await media.row(raw.headers["x-request-id"])
    assert (row.input, row.output) == (50, 1056)
    assert row.cost == 10 * 5000 + 40 * 10_000 + 1056 * 40_000
    raw = await client.images.with_raw_response.edit(model="gpt-image-1", image=[("a.png", b"png1"), ("b.png", b"png2")], prompt="more", mask=("m.png", b"mask"))
    assert raw.parse().data[0].b64_json == "aGk="
    assert (await media.row(raw.headers["x-request-id"])).endpoint == "images.edits"
    sent = media.service.calls[-1][3]
    assert sent.count(b"filename=") == 3


async def test_images_that_tell_no_tokens_are_counted(media, client):
    usage, media.service.image_usage = media.service.image_usage, None
    try:
        raw = await client.images.with_raw_response.create_variation(image=("a.png", b"png1"), model="dall-e-2")
        raw = await client.images.with_raw_response.generate(model="dall-e-2", prompt="x", n=3)
    finally:
        media.service.image_usage = usage
    assert (await media.row(raw.headers["x-request-id"])).cost == 3 * 20_000_000


async def test_an_image_streams(media, client):
    stream = await client.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=1)
    assert [event.type async for event in stream] == ["image_generation.partial_image", "image_generation.completed"]
    row = await media.row(stream.response.headers["x-request-id"])
    assert (row.output, row.streamed, row.estimated) == (1056, True, False)
    stream = await client.images.edit(model="gpt-image-1", image=("a.png", b"png"), prompt="a cat", stream=True)
    assert [event.type async for event in stream][-1] == "image_edit.completed"


async def test_a_budget_is_reserved_for_what_it_may_cost(media):
    """A key with a cent left cannot order an image of high quality, nor an hour of sound; it can speak a word."""
    key = await media.new_key(cost_daily=10_000_000)
    async with AsyncOpenAI(base_url=media.url, api_key=key, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError):
            await client.images.generate(model="gpt-image-1", prompt="x", quality="high")
        with pytest.raises(openai.RateLimitError):
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV * 400))
        assert (await client.audio.speech.create(model="tts-1", voice="a", input="word")).content == MP3
    assert {row.outcome for row in await media.rows_of(key, 3)} == {"refused", "ok"}


async def test_a_key_for_chat_makes_no_images(media):
    gateway = media.gw.process.gateway
    text, record = issue(pepper(gateway.secret), tenant="default", created=now_ms())
    await gateway.store.create_key(record)
    await gateway.store.commit([change(Key, {"id": record.id}, {"scopes": ("audio",)})], bump=True)
    async with AsyncOpenAI(base_url=media.url, api_key=text, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.images.generate(model="gpt-image-1", prompt="x")
        assert (await client.audio.speech.create(model="tts-1", voice="a", input="word")).content == MP3


async def test_guardrails_judge_what_forms_and_speech_say(tmp_path):
    """Also text behind the file; then the form is held, and its text may be changed."""
    async with OpenAIService() as service:
        providers = [{"name": "openai", "use": "provider.openai", "with": {"base_url": service.url, "api_key": CREDENTIAL}}]
        plugins = [*PLUGINS, {"use": "guardrail.regex", "with": {"patterns": ["forbidden"], "apply_to": "input"}}, {"use": "guardrail.pii", "action": "redact"}]
        models = [{"name": name, "targets": [f"openai/{name}"]} for name in MODELS]
        async with running(tmp_path, providers=providers, models=models, plugins=plugins, server={"max_body_bytes": 100_000}) as gw:
            async with gw.post("/audio/speech", {"model": "tts-1", "voice": "a", "input": "a forbidden word"}) as reply:
                assert (reply.status, (await reply.json())["error"]["code"]) == (400, "content_policy_violation")
            late = form(("model", b"whisper-1"), ("file", WAV, "a"), ("prompt", b"forbidden"))
            headers = {"content-type": "multipart/form-data; boundary=xBOUNDx"}
            async with gw.post("/audio/transcriptions", data=late, headers=headers) as reply:
                assert reply.status == 400
            assert service.calls == []
            mail = form(("model", b"whisper-1"), ("file", WAV, "a"), ("prompt", b"ask joe.doe@example.com"))
            async with gw.post("/audio/transcriptions", data=mail, headers=headers) as reply:
                assert reply.status == 200
            assert b"joe.doe" not in service.calls[-1][3]
            large = form(("model", b"whisper-1"), ("file", WAV * 50, "a"))
            async with gw.post("/audio/transcriptions", data=large, headers=headers) as reply:
                assert (reply.status, (await reply.json())["error"]["code"]) == (400, "form_not_streamable")
            service.transcript = {"text": "call joe.doe@example.com", "duration": 3.0}
            async with gw.post("/audio/transcriptions", data=form(("model", b"whisper-1"), ("file", WAV, "a")), headers=headers) as reply:
                assert "joe.doe" not in (await reply.json())["text"]
