"""What clients keep at a provider, with OpenAI's own client: each tenant sees its own, and pays once for what it used."""

import asyncio
import io
import json

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from openaiservice import CREDENTIAL, USED, OpenAIService
from recordings import SHARED, needs_recordings
from running import PLUGINS, running

from gateway.accounts.keys import issue, pepper
from gateway.accounts.records import Key, Limits, Tenant
from gateway.clock import now_ms
from gateway.store.work import change
from gateway.testing import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRICES = [{"model": "openai/gpt-4o", "input": "2", "output": "8", "variants": {"batch": {"input": "1", "output": "4"}}}]
LINES = [{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": []}}]
JSONL = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)


class Kit:
    """The gateway, the service behind it, and clients of two tenants."""

    def __init__(self, view, service):
        self.view, self.service, self.clients = view, service, []

    async def tenant(self, name, **limits):
        gateway = self.view.gw.process.gateway
        if await gateway.store.get_tenant(name) is None:
            await gateway.store.create_tenant(Tenant(id=name, name=name, created=now_ms()))
        text, record = issue(pepper(gateway.secret), tenant=name, created=now_ms(), limits=Limits(**limits))
        await gateway.store.create_key(record)
        return self.client(text)

    def client(self, key, **options):
        made = AsyncOpenAI(base_url=self.view.url, api_key=key, max_retries=0, **options)
        self.clients.append(made)
        return made

    async def row(self, raw):
        return await self.view.row(raw.headers["x-request-id"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def kit(tmp_path_factory, gateway_view):
    async with OpenAIService() as service:
        providers = [
            {"name": "openai", "use": "provider.openai", "with": {"base_url": service.url, "api_key": CREDENTIAL}},
            {"name": "second", "use": "provider.openai", "with": {"base_url": service.url, "api_key": CREDENTIAL, "keeps": ["files"], "unchecked": True}},
            {"name": "plain", "use": "provider.openai_compatible", "with": {"base_url": service.url, "api_key": CREDENTIAL}},
        ]
        models = [{"name": "gpt-4o", "targets": ["openai/gpt-4o"]}, {"name": "chatty", "targets": ["plain/gpt-4o"]}, {"name": "both", "targets": ["second/gpt-4o", "openai/gpt-4o"]}]
        directory = tmp_path_factory.mktemp("objects")
        async with running(directory, providers=providers, models=models, prices=PRICES, timeouts={"first_byte": 20, "idle": 20}) as gw:
            made = Kit(gateway_view(gw), service)
            yield made
            for client in made.clients:
                await client.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mine(kit):
    return await kit.tenant("mine")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def theirs(kit):
    return await kit.tenant("theirs")


async def test_files(kit, mine, theirs):
    """Made, listed, read and deleted; for another tenant there are none."""
    raw = await mine.files.with_raw_response.create(file=("f.jsonl", JSONL), purpose="batch")
    made = raw.parse()
    row = await kit.row(raw)
    assert (row.endpoint, row.outcome, row.provider, row.cost, row.unpriced) == ("files.create", "ok", "openai", 0, False)
    other = await theirs.files.create(file=("g.jsonl", b"theirs"), purpose="batch")
    assert [each.id async for each in mine.files.list()] == [made.id]
    assert [each.id async for each in theirs.files.list()] == [other.id]
    assert (await mine.files.retrieve(made.id)).purpose == "batch"
    content = await mine.files.content(made.id)
    assert content.content == JSONL
    assert content.response.headers["content-disposition"] == 'attachment; filename="f"'
    for call in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
        calls = len(kit.service.calls)
        with pytest.raises(openai.NotFoundError):
            await call(made.id)
        assert len(kit.service.calls) == calls
    assert (await mine.files.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await mine.files.retrieve(made.id)


async def test_a_long_list_is_filtered_page_by_page(kit, theirs):
    """Own files among many others', on pages of any size."""
    own = await kit.tenant("lister")
    made = []
    for number in range(5):
        made.append((await own.files.create(file=("f", b"own"), purpose="batch")).id)
        for _ in range(30):
            kit.service.files[kit.service.new_id("file-")] = ({"id": kit.service.new_id("file-"), "object": "file", "bytes": 1, "purpose": "batch", "filename": "x", "created_at": number}, b"")
    made.reverse()
    assert [each.id async for each in own.files.list()] == made
    assert [each.id async for each in own.files.list(limit=2)] == made
    page = await own.files.list(limit=2)
    assert [each.id for each in page.data] == made[:2]
    assert page.has_more
    assert [each.id for each in (await own.files.list(limit=10, after=made[3])).data] == made[4:]
    with pytest.raises(openai.NotFoundError):
        await own.files.list(after=next(iter(kit.service.files)))
    with pytest.raises(openai.BadRequestError):
        await own.files.list(limit=0)


async def test_a_batch_is_billed_once_at_its_tier(kit, mine, theirs):
    """By its results, when they are fetched; the file that they are in is the tenant's."""
    file = await mine.files.create(file=("f.jsonl", JSONL), purpose="batch")
    ask = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    with pytest.raises(openai.NotFoundError) as caught:
        await theirs.batches.create(**ask)
    assert caught.value.param == "input_file_id"
    batch = await mine.batches.create(**ask)
    assert (await mine.batches.retrieve(batch.id)).status == "validating"
    with pytest.raises(openai.NotFoundError):
        await theirs.batches.retrieve(batch.id)
    results = b"".join(
        json.dumps({"id": "r", "custom_id": str(n), "response": {"status_code": 200, "body": {"model": "gpt-4o", "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}}, "error": None}).encode() + b"\n"
        for n in range(3)
    )
    kit.service.finish_batch(batch.id, results)
    with pytest.raises(openai.NotFoundError):  # nobody has seen yet that it is the tenant's
        await mine.files.content(kit.service.objects["batch"][batch.id]["output_file_id"])
    raw = await mine.batches.with_raw_response.retrieve(batch.id)
    done = raw.parse()
    assert (await kit.row(raw)).cost == 0
    with pytest.raises(openai.NotFoundError):
        await theirs.files.content(done.output_file_id)
    raw = await mine.files.with_raw_response.content(done.output_file_id)
    assert raw.content == results
    row = await kit.row(raw)
    assert (row.input, row.output, row.cost, row.target_model, row.estimated) == (300, 30, 300 * 1000 + 30 * 4000, "gpt-4o", False)
    raw = await mine.files.with_raw_response.content(done.output_file_id)
    row = await kit.row(raw)
    assert (row.input, row.cost, row.unpriced) == (0, 0, False)
    assert [each.id async for each in mine.batches.list()] == [batch.id]
    assert [each.id async for each in theirs.batches.list()] == []


async def test_a_batch_that_tells_its_sum_is_billed_when_that_is_seen(kit, mine):
    """Once, though it is asked for by many at the same time, and listed."""
    file = await mine.files.create(file=("f.jsonl", JSONL), purpose="batch")
    batch = await mine.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert (await mine.batches.cancel(batch.id)).status == "cancelling"
    line = {"custom_id": "1", "response": {"status_code": 200, "body": {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}}}
    usage = {**USED, "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    kit.service.finish_batch(batch.id, json.dumps(line).encode(), model="gpt-4o", usage=usage)
    raws = await asyncio.gather(*(mine.batches.with_raw_response.retrieve(batch.id) for _ in range(5)), mine.batches.with_raw_response.list())
    raws.append(await mine.files.with_raw_response.content((await mine.batches.retrieve(batch.id)).output_file_id))
    assert sum([(await kit.row(raw)).cost for raw in raws]) == 1000 * 1000 + 100 * 4000


async def test_results_that_broke_off_are_billed_when_they_come_whole(kit, mine):
    file = await mine.files.create(file=("f.jsonl", JSONL), purpose="batch")
    batch = await mine.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    one = json.dumps({"response": {"body": {"model": "gpt-4o", "usage": {"prompt_tokens": 10, "completion_tokens": 1}}}, "pad": "x" * 5000}).encode() + b"\n"
    output = kit.service.finish_batch(batch.id, one * 2000)
    await mine.batches.retrieve(batch.id)
    async with mine.files.with_streaming_response.content(output) as reply:
        await anext(reply.iter_bytes(1000))
        first = reply.headers["x-request-id"]
    row = await kit.view.row(first)
    assert (row.outcome, row.cost) == ("client_closed", 0)
    raw = await mine.files.with_raw_response.content(output)
    assert (await kit.row(raw)).cost == 2000 * (10 * 1000 + 4000)


async def test_two_hundred_megabytes_go_up_in_a_stream(kit, mine):
    """A file of any size, and the rest of a form behind it."""
    def pieces():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(200):
            yield b"z" * (1 << 20)
        yield b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'

    async def feed():
        for piece in pieces():
            yield piece

    headers = {"authorization": f"Bearer {mine.api_key}", "content-type": "multipart/form-data; boundary=b"}
    async with kit.view.gw.client.post(kit.view.url + "/files", data=feed(), headers=headers) as reply:
        assert reply.status == 200
    assert kit.service.calls[-1][4] > 200 << 20


async def test_a_file_over_the_limit_is_refused(tmp_path):
    async with OpenAIService() as service:
        providers = [{"name": "openai", "use": "provider.openai", "with": {"base_url": service.url, "api_key": CREDENTIAL}}]
        async with running(tmp_path, providers=providers, server={"max_upload_bytes": 100_000}) as gw, AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.files.create(file=("f", b"x" * 200_000), purpose="batch")
            assert caught.value.status_code == 413
            assert service.files == {}


async def test_uploads_in_parts_make_a_file(mine, theirs):
    upload = await mine.uploads.create(bytes=1, filename="f", mime_type="text/plain", purpose="batch")
    part = await mine.uploads.parts.create(upload.id, data=b"part")
    done = await mine.uploads.complete(upload.id, part_ids=[part.id])
    assert (await mine.files.retrieve(done.file.id)).id == done.file.id
    with pytest.raises(openai.NotFoundError):
        await theirs.uploads.cancel(upload.id)


async def test_fine_tuning_and_vector_stores(mine, theirs):
    file = await mine.files.create(file=("f.jsonl", JSONL), purpose="fine-tune")
    job = await mine.fine_tuning.jobs.create(model="gpt-4o", training_file=file.id)
    assert [each.id async for each in mine.fine_tuning.jobs.list()] == [job.id]
    assert [each async for each in mine.fine_tuning.jobs.list_events(job.id)] == []
    assert (await mine.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
    store = await mine.vector_stores.create(name="s", file_ids=[file.id])
    assert (await mine.vector_stores.files.create(store.id, file_id=file.id)).id == file.id
    assert (await mine.vector_stores.update(store.id, name="t")).name == "t"
    assert [each async for each in mine.vector_stores.search(store.id, query="q")] == []
    theirs_file = await theirs.files.create(file=("f", b"x"), purpose="assistants")
    for refused in (
        theirs.fine_tuning.jobs.retrieve(job.id), theirs.vector_stores.retrieve(store.id),
        theirs.vector_stores.search(store.id, query="q"), theirs.vector_stores.create(file_ids=[file.id]),
        mine.vector_stores.files.create(store.id, file_id=theirs_file.id),
        theirs.fine_tuning.jobs.create(model="gpt-4o", training_file=file.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await refused
    assert (await mine.vector_stores.delete(store.id)).deleted


async def test_stored_responses(kit, mine, theirs):
    made = await mine.responses.create(model="gpt-4o", input="hi")
    again = await mine.responses.retrieve(made.id)
    assert again.output_text == "hello"
    assert (await mine.responses.input_items.list(made.id)).data == []
    raw = await mine.responses.with_raw_response.retrieve(made.id)
    row = await kit.row(raw)
    assert (row.endpoint, row.input, row.cost, row.outcome) == ("responses.get", 0, 0, "ok")
    after = await mine.responses.create(model="gpt-4o", input="go on", previous_response_id=made.id)
    for refused in (theirs.responses.retrieve(made.id), theirs.responses.delete(made.id), theirs.responses.cancel(made.id), theirs.responses.input_items.list(made.id)):
        with pytest.raises(openai.NotFoundError):
            await refused
    calls = len(kit.service.calls)
    with pytest.raises(openai.BadRequestError) as caught:
        await theirs.responses.create(model="gpt-4o", input="steal", previous_response_id=made.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    assert len(kit.service.calls) == calls
    await mine.responses.delete(after.id)
    with pytest.raises(openai.NotFoundError):
        await mine.responses.retrieve(after.id)


async def test_a_streamed_response_is_found_at_once(mine):
    async with mine.responses.stream(model="gpt-4o", input="hi") as stream:
        done = await stream.get_final_response()
    assert (await mine.responses.retrieve(done.id)).id == done.id


async def test_a_response_that_is_not_stored_is_not_found(kit, mine):
    made = await mine.responses.create(model="gpt-4o", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        await mine.responses.retrieve(made.id)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_background_response_is_billed_once_when_it_has_ended(kit, mine, stream):
    raw = await mine.responses.with_raw_response.create(model="gpt-4o", input="hi", background=True)
    made = raw.parse()
    assert made.status == "queued"
    row = await kit.row(raw)
    assert (row.cost, row.input, row.estimated) == (0, 0, False)
    raw = await mine.responses.with_raw_response.retrieve(made.id)
    assert (await kit.row(raw)).cost == 0
    kit.service.responses[made.id].update(status="completed", usage=USED)
    raws = await asyncio.gather(*(mine.responses.with_raw_response.retrieve(made.id) for _ in range(4)))
    rows = [await kit.row(raw) for raw in raws]
    assert sum(row.cost for row in rows) == 10 * 2000 + 5 * 8000
    assert sorted(row.input for row in rows) == [0, 0, 0, 10]
    if stream:
        cancelled = await mine.responses.create(model="gpt-4o", input="hi", background=True)
        assert (await mine.responses.cancel(cancelled.id)).status == "cancelled"


async def test_conversations(mine, theirs):
    talk = await mine.conversations.create(metadata={"a": "b"})
    assert (await mine.conversations.retrieve(talk.id)).id == talk.id
    assert (await mine.conversations.items.list(talk.id)).data == []
    await mine.responses.create(model="gpt-4o", input="hi", conversation=talk.id)
    with pytest.raises(openai.NotFoundError):
        await theirs.responses.create(model="gpt-4o", input="hi", conversation={"id": talk.id})
    await mine.conversations.delete(talk.id)
    with pytest.raises(openai.NotFoundError):
        await mine.conversations.retrieve(talk.id)


@pytest.mark.parametrize("escaped", [False, True])
async def test_nobody_reads_anothers_file_in_a_message(kit, mine, theirs, escaped):
    """Also where the field's name is written with escapes."""
    file = await mine.files.create(file=("f", b"secret"), purpose="user_data")
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": file.id}}]}]}
    raw = json.dumps(body).replace("file_id", "file\\u005fid" if escaped else "file_id")
    for client, status in ((mine, 200), (theirs, 404)):
        headers = {"authorization": f"Bearer {client.api_key}", "content-type": "application/json"}
        async with kit.view.gw.client.post(kit.view.url + "/chat/completions", data=io.BytesIO(raw.encode()), headers=headers) as reply:
            assert reply.status == status


async def test_the_provider_is_chosen_by_header_by_id_or_is_the_first(kit, mine):
    raw = await mine.files.with_raw_response.create(file=("f", b"x"), purpose="batch", extra_headers={"x-gateway-provider": "second"})
    assert raw.headers["x-gateway-provider"] == "second"
    file = raw.parse()
    raw = await mine.files.with_raw_response.retrieve(file.id)
    assert raw.headers["x-gateway-provider"] == "second"
    for name in ("nobody", "plain"):
        with pytest.raises(openai.BadRequestError) as caught:
            await mine.files.create(file=("f", b"x"), purpose="batch", extra_headers={"x-gateway-provider": name})
        assert (caught.value.code, caught.value.param) == ("not_supported", "x-gateway-provider")
    with pytest.raises(openai.BadRequestError):  # the switch of the owner
        await mine.vector_stores.create(extra_headers={"x-gateway-provider": "second"})
    first = await mine.files.create(file=("f", b"x"), purpose="batch")
    with pytest.raises(openai.BadRequestError) as caught:  # objects of two providers
        await mine.vector_stores.create(file_ids=[file.id, first.id])
    assert caught.value.code == "mixed_providers"


async def test_a_model_is_asked_of_the_provider_that_has_the_file(kit, mine):
    """`both` would ask `second` first; the file is at `openai`."""
    file = await mine.files.create(file=("f", b"x"), purpose="user_data")
    part = {"role": "user", "content": [{"type": "input_file", "file_id": file.id}]}
    raw = await mine.responses.with_raw_response.create(model="both", input=[part])
    assert raw.headers["x-gateway-provider"] == "openai"
    file = await mine.files.create(file=("f", b"x"), purpose="user_data", extra_headers={"x-gateway-provider": "second"})
    part = {"role": "user", "content": [{"type": "input_file", "file_id": file.id}]}
    with pytest.raises(openai.BadRequestError) as caught:
        await mine.responses.create(model="gpt-4o", input=[part])
    assert caught.value.code == "mixed_providers"


async def test_what_was_made_elsewhere_can_be_named_unless_the_owner_refuses_it(kit, mine, tmp_path):
    """An organisation has things from before the gateway; what another tenant made here is refused all the same."""
    assert await mine.responses.create(model="gpt-4o", input="hi", previous_response_id="resp_from_before")
    providers = [{"name": "openai", "use": "provider.openai", "with": {"base_url": kit.service.url, "api_key": CREDENTIAL}}]
    models = [{"name": "m", "targets": ["openai/m"]}]
    async with running(tmp_path, providers=providers, models=models, unknown_objects="refuse") as gw, AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="m", input="hi", previous_response_id="resp_from_before")
        with pytest.raises(openai.NotFoundError) as caught:
            await client.responses.create(model="m", input="hi", tools=[{"type": "file_search", "vector_store_ids": ["vs_1"]}])
        assert caught.value.param == "vector_store_ids"


async def test_a_target_without_stored_responses_says_so(mine):
    made = await mine.responses.create(model="gpt-4o", input="hi")
    with pytest.raises(openai.BadRequestError) as caught:
        await mine.responses.create(model="chatty", input="hi", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"


@pytest.mark.parametrize("limits", [{"models": ("gpt-4o",)}, {"cost_daily": 10**12}])
async def test_a_limited_key_starts_no_batch(kit, limits):
    """What is in its file would be free of the limit; the message names what the owner may set."""
    client = await kit.tenant("limited", **limits)
    file = await client.files.create(file=("f", JSONL), purpose="batch")
    with pytest.raises(openai.PermissionDeniedError, match="unchecked: true"):
        await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    with pytest.raises(openai.PermissionDeniedError):
        await client.fine_tuning.jobs.create(model="gpt-4o", training_file=file.id)


async def test_scopes_and_rate_limits_hold(kit):
    client = await kit.tenant("scoped", requests_per_minute=2)
    store = kit.view.gw.process.gateway.store
    await store.commit([change(Key, {"id": client.api_key[6:18]}, {"scopes": ("files",)})], bump=True)
    with pytest.raises(openai.PermissionDeniedError):
        await client.batches.list()
    await client.files.list()
    await client.files.list()
    with pytest.raises(openai.RateLimitError):
        await client.files.list()
    with pytest.raises(openai.AuthenticationError):
        await kit.client("sk-gw-wrong").files.list()


@pytest.mark.parametrize("path", ["/files/%2e%2e", "/files/..%2Fmodels", "/files/a%00b", "/files/" + "x" * 300, "/responses/resp_%0a", "/batches/%20"])
async def test_ids_that_would_lead_elsewhere_are_not_found(kit, mine, path):
    from yarl import URL

    calls = len(kit.service.calls)
    headers = {"authorization": f"Bearer {mine.api_key}"}
    async with kit.view.gw.client.get(URL(kit.view.url + path, encoded=True), headers=headers) as reply:
        assert reply.status in (400, 404)
        assert "error" in await reply.json()
    assert len(kit.service.calls) == calls


async def test_errors_of_the_provider_come_as_they_are_and_a_dead_one_is_a_502(kit, mine):
    file = await mine.files.create(file=("f", b"x"), purpose="batch")
    del kit.service.files[file.id]
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await mine.files.retrieve(file.id)
    kit.service.broken = True
    try:
        with pytest.raises(openai.InternalServerError) as caught:
            await mine.files.retrieve(file.id)
        with pytest.raises(openai.InternalServerError):
            await mine.files.create(file=("f", b"x" * 1000), purpose="batch")
    finally:
        kit.service.broken = False
    assert caught.value.status_code == 502
    row = (await kit.view.row(caught.value.request_id))
    assert (row.outcome, row.provider) == ("upstream_cut", "openai")


async def test_guardrails_keep_files_out_unless_the_owner_says_otherwise(tmp_path):
    async with OpenAIService() as service:
        options = {"base_url": service.url, "api_key": CREDENTIAL}
        providers = [{"name": "openai", "use": "provider.openai", "with": options}, {"name": "open", "use": "provider.openai", "with": {**options, "unchecked": True}}]
        plugins = [*PLUGINS, {"use": "guardrail.pii", "action": "redact"}]
        async with running(tmp_path, providers=providers, plugins=plugins, models=[{"name": "m", "targets": ["openai/m"]}]) as gw, AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0) as client:
            with pytest.raises(openai.PermissionDeniedError):
                await client.files.create(file=("f", b"x"), purpose="batch")
            assert await client.files.create(file=("f", b"x"), purpose="batch", extra_headers={"x-gateway-provider": "open"})
            made = await client.responses.create(model="m", input="hi")
            service.responses[made.id]["output"][0]["content"][0]["text"] = "mail joe.doe@example.com"
            assert "joe.doe" not in (await client.responses.retrieve(made.id)).output_text
            await client.conversations.create(items=[{"role": "user", "content": "I am joe.doe@example.com"}])
            assert b"joe.doe" not in service.calls[-1][3]


async def test_a_stored_response_can_be_streamed_again(kit, mine):
    """The events pass as they come; a background response that ends there is billed there, once."""
    made = await mine.responses.create(model="gpt-4o", input="hi", background=True)
    kit.service.responses[made.id].update(status="completed", usage=USED)
    costs = []
    for _ in range(2):
        stream = await mine.responses.retrieve(made.id, stream=True)
        assert [event.type async for event in stream] == ["response.created", "response.completed"]
        row = await kit.view.row(stream.response.headers["x-request-id"])
        assert (row.endpoint, row.streamed, row.outcome) == ("responses.get", True, "ok")
        costs.append(row.cost)
    assert costs == [10 * 2000 + 5 * 8000, 0]


@needs_recordings
@pytest.mark.parametrize(
    ("name", "path", "usage"),
    [("compact.openai-responses-compact-messages.a6d08b6d", "/responses/compact", True), ("input_tokens.responses-count-tokens-with-tools.b4533a96", "/responses/input_tokens", False)],
)
async def test_compaction_and_counting_pass_as_recorded(tmp_path, name, path, usage):
    recording = json.loads((SHARED / f"recordings/openai/openai.responses.{name}.json").read_text())
    asked, told = recording["request"]["body"], json.dumps(recording["response"]["body"]).encode()
    async with FakeUpstream() as upstream:
        upstream.script(told)
        providers = [{"name": "openai", "use": "provider.openai", "with": {"base_url": upstream.url, "api_key": CREDENTIAL}}]
        models = [{"name": asked["model"], "targets": [f"openai/{asked['model']}"]}]
        async with running(tmp_path, providers=providers, models=models) as gw:
            async with gw.post(path, asked) as reply:
                assert await reply.read() == told
            assert (upstream.requests[0].path, upstream.requests[0].json) == ("/v1" + path, asked)
            (row,) = await gw.rows(1)
            assert (row.cost > 0, row.estimated) == (usage, False)
