"""Seeded nonsense over a real socket, in front of the demo model: never a 5xx or a traceback, always a row."""

import asyncio
import contextlib
import itertools
import json
import random

import pytest
import pytest_asyncio
from waiting import measured
from wire import connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "u"}}
BASES = {
    "/chat/completions": {
        "model": "demo-small", "stream": False, "stream_options": {"include_usage": True}, "n": 1, "max_tokens": 9,
        "max_completion_tokens": 9, "temperature": 0.5, "top_p": 1, "stop": ["x"], "seed": 3, "user": "u",
        "logit_bias": {"5": 1}, "logprobs": False, "top_logprobs": None, "parallel_tool_calls": True,
        "presence_penalty": 0, "metadata": {"a": "b"}, "response_format": {"type": "json_object"},
        "tools": [TOOL], "tool_choice": "auto", "service_tier": "auto", "store": False,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "t"}, IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
    },
    "/completions": {
        "model": "demo-small", "prompt": ["a", "b"], "stream": False, "max_tokens": 5, "n": 1, "best_of": 1,
        "echo": True, "logprobs": 1, "suffix": "s", "stop": "x", "stream_options": None, "seed": 1,
    },
    "/embeddings": {
        "model": "demo-embed", "input": ["a", [1, 2]], "encoding_format": "float", "dimensions": 8, "user": "u",
    },
}
# What stands in the wrong place: each JSON type, the ends of its range, and texts that readers disagree about.
NASTY = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, 10**40, 0.1, -0.0, 1e308, "", "x",
    "\0",
    "\u2028", "é😀", "null", "x" * 300, [], [None], [[]], [{}], [1, "x"], {}, {"": None}, {"type": None},
    {"type": "json_schema", "json_schema": 5}, {"type": "function", "function": None}, {"role": "user"}, {"$ref": "#"},
]
BYTES = [
    b"", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0000", b"\\ud800", b"\xff", b"\xed\xa0\x80", b"NaN", b"1e999", b"-",
    b",", b":", b"\0", b"/*", b"\r\n\r\n", b"0" * 400, b"[" * 100, b'{"a":' * 70, b'"model":"demo-large",',
    b"\xef\xbb\xbf",
]


def places(value, path=()):
    """The path to every value inside, its own first."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


def replaced(value, path, new):
    """A copy with the value at `path` replaced."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def wrong_types(dice):
    """Every known field, at any depth, with each nasty value in turn."""
    for path, base in BASES.items():
        for place, nasty in itertools.product(places(base), NASTY):
            body = replaced(base, place, nasty)
            if isinstance(body, dict) and dice.random() < 0.3:
                body = {**body, "stream": dice.choice([True, False, None])}
            yield path, json.dumps(body, ensure_ascii=dice.random() < 0.5).encode()


def mutated(dice, count):
    """Valid bodies with bytes changed, cut, doubled, moved or put in."""
    for _ in range(count):
        path, base = dice.choice(list(BASES.items()))
        data = json.dumps(base).encode()
        for _ in range(dice.choice((1, 1, 2, 5))):
            a, b = sorted(dice.choices(range(len(data) + 1), k=2))
            piece = dice.choice([dice.choice(BYTES), dice.randbytes(dice.randrange(4)), data[a:b]])
            data = data[:a] + piece + data[dice.choice((a, min(a + 1, len(data)), b)) :]
        yield path, data


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def watched(demo):
    """The gateway, and the defects that it logs."""
    defects = []
    demo.gw.process._accounting.defect = lambda *told: defects.append(told)
    demo.gw.process._server.defect = lambda *told: defects.append(told)
    yield demo, defects
    assert defects == []


async def still_alive(demo):
    async with demo.gw.post(json={"model": "demo-small", "messages": [{"role": "user", "content": "Hi"}]}) as reply:
        assert reply.status == 200


async def send_all(demo, key, bodies, workers=8):
    """Post each body; returns what was answered with a 5xx, or not in the dialect, and the request ids."""
    bodies, strange, ids = iter(bodies), [], []

    async def work():
        for path, data in bodies:
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            async with demo.gw.client.post(demo.url + path, data=data, headers=headers) as reply:
                got = await reply.read()
            ids.append(reply.headers["x-request-id"])
            fine = reply.status == 200 or (reply.status < 500 and json.loads(got)["error"]["message"])
            if not fine or b"Traceback" in got or b'File "' in got or b'"server_error"' in got:
                strange.append((path, data, reply.status, got[:300]))

    await asyncio.gather(*(work() for _ in range(workers)))
    return strange, ids


async def recorded(demo, key):
    """The ids of all rows of a key."""
    await demo.gw.service._owner._drain.drain_now()
    found, cursor = [], None
    while True:
        page = await demo.gw.store.usage_rows(0, 2**62, cursor=cursor)
        found += [row.id for row in page.items if row.key == key[6:18]]
        if (cursor := page.next) is None:
            return found


async def test_a_wrong_type_in_any_field_is_no_defect(watched):
    """Refused by the gateway or by the model with a 4xx, or served; each leaves one row."""
    demo, _ = watched
    key = await demo.new_key()
    strange, ids = await send_all(demo, key, wrong_types(random.Random(1)))
    assert strange == []
    assert sorted(await recorded(demo, key)) == sorted(ids)
    await still_alive(demo)


async def test_broken_bodies_are_refused(watched):
    demo, _ = watched
    key = await demo.new_key()
    strange, ids = await send_all(demo, key, mutated(random.Random(2), 2000))
    assert strange == []
    assert sorted(await recorded(demo, key)) == sorted(ids)
    await still_alive(demo)


METHODS = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "P0ST", "", "A" * 50]
PATHS = [
    "/", "/v1/chat/completions", "/api/v1/chat/completions?x=%ff", "/v1/models", "/v1/models/%00", "/v1/models/a%2Fb",
    "//v1/chat/completions", "/v1/../v1/models", "http://other/v1/models", "*", "x", "/%", "/%zz", "/é", "/metrics",
    "/health/ready", "/v1/chat/completions/", "/" + "a" * 9000, "/v1/models?" + "&".join("abc") * 60,
]
FIELDS = [
    "Host: a", "Host: a\r\nHost: b", "Content-Length: 5", "Content-Length: -1", "Content-Length: 5, 6",
    "Content-Length: x", "Content-Length: 99999999999999999999", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked", "Connection: close", "Connection: upgrade\r\nUpgrade: websocket",
    "Upgrade: h2c", "Expect: 100-continue", "Expect: x",
    "Authorization: Bearer \x01", "Authorization: Basic YTpi", "Authorization:", "X-Api-Key: é", "Cookie: a=b",
    "Content-Type: application/json", "Content-Type: text/html", "Content-Type: \xff", "Content-Encoding: gzip",
    "Accept-Encoding: *;q=0", ": empty", "No colon", " folded: x", "X-" + "y" * 9000 + ": z", "Range: bytes=0-1",
    "Bad\0: x",
]
BODIES = [
    b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"-1\r\n", b"0\r\nX: y\r\n\r\n", b'{"model":1}', b"\0" * 99,
]


def raw_request(dice, key):
    """A request, or what looks a little like one: each part is right more often than not."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.randrange(1, 300))
    method, path = dice.choice([("POST", PATHS[1]), ("GET", PATHS[3]), (dice.choice(METHODS), dice.choice(PATHS))])
    version = dice.choice(["HTTP/1.1"] * 9 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9", "", "HTCPCP/1.0"])
    fields = dice.choice([["Host: a"]] * 5 + [[]]) + dice.choice([[f"Authorization: Bearer {key}"]] * 2 + [[]])
    fields += dice.sample(FIELDS, dice.choice((0, 0, 0, 1, 1, 3)))
    body = dice.choice([b"", b'{"model":"demo-small","messages":[]}', dice.choice(BODIES)])
    if body:
        fields += dice.choice([[f"Content-Length: {len(body)}"]] * 4 + [["Content-Length: 400"], []])
    dice.shuffle(fields)
    ends = dice.choice(["\r\n"] * 12 + ["\n", "\r", "\n\r"])
    text = ends.join([f"{method} {path} {version}", *fields, "", ""])
    data = text.encode(dice.choice(["latin-1", "utf-8"]), "replace") + body
    if dice.random() < 0.1:
        at = dice.randrange(len(data))
        data = data[:at] + dice.randbytes(2) + data[at:]
    return data


@measured
async def test_raw_nonsense_is_answered_or_cut_and_never_echoed(watched):
    """Whatever comes back is HTTP with a status below 500, and the connection ends once the client has ended."""
    demo, _ = watched
    key, dice, answered = await demo.new_key(), random.Random(3), []

    async def one(data):
        async with connected(demo.gw.port) as client:
            await client.send(*([data] if dice.random() < 0.8 else [data[:50], data[50:]]), pause=0.001)
            got = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                got = await asyncio.wait_for(client.reader.read(65_536), 0.05)  # an unfinished request gets no answer
            if client.writer.can_write_eof():
                client.writer.write_eof()
            return got + await client.rest()

    async def work(count):
        for _ in range(count):
            data = raw_request(dice, key)
            got = await one(data)
            assert got == b"" or got.startswith(b"HTTP/1.1 "), data
            assert got == b"" or 100 <= int(got[9:12]) < 500, (data, got)
            assert b"Traceback" not in got, data
            assert key.encode() not in got, data

            answered.append(got[9:12])

    await asyncio.wait_for(asyncio.gather(*(work(100) for _ in range(8))), 100)
    assert {b"", b"200", b"400", b"401", b"404", b"405"} <= set(answered)
    await still_alive(demo)
    assert demo.gw.process._server.requests_in_flight == 0
