"""The HTTP server over real sockets, on both event loops: requests, bodies, answers, errors, stopping."""

import asyncio
import contextvars
import os
import time

import msgspec
import pytest
import structlog
from waiting import PATIENCE, measured, until
from wire import Endless, connected, head, on_both_loops, serving

from gateway.errors import Forbidden, RateLimited
from gateway.httpserver import Answer, Incoming, render_openai

JSON = {"content-type": "application/json"}

GET = head("Host: x")
SECRET = "sk-gw-Zm9vYmFyYmF6cXV4MTIzNDU2"


def post(body: bytes, *lines: str) -> bytes:
    return head("Host: x", f"Content-Length: {len(body)}", *lines, start="POST / HTTP/1.1") + body


async def echo(incoming: Incoming) -> Answer:
    return incoming.reply(200, JSON, await incoming.body(1 << 20))


# Requests and answers.


@on_both_loops
async def test_a_request_arrives_whole_and_its_answer_leaves_in_one_segment():
    seen: list[Incoming] = []

    async def serve(incoming: Incoming) -> Answer:
        seen.append(incoming)
        return incoming.reply(201, {"content-type": "text/plain", "x-a": "b"}, b"hi")

    async with serving(serve) as (_, port), connected(port) as client:
        target = "/v1/models/a%2Fb%20c%25?x=1&y=%20z&x=2"
        await client.send(head("Host: h", "X-Thing: T", start=f"GET {target} HTTP/1.1"))
        first = await client.reader.read(65_536)
    incoming = seen[0]
    assert (incoming.method, incoming.path, incoming.peer) == ("GET", "/v1/models/a%2Fb c%25", "127.0.0.1")
    assert dict(incoming.query) == {"x": "2", "y": " z"}
    assert incoming.headers.get("x-thing") == incoming.headers.get("X-THING") == "T"
    assert first.startswith(b"HTTP/1.1 201 Created\r\n")
    assert first.endswith(b"\r\n\r\nhi")
    names = {line.split(b":")[0].lower() for line in first.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert names == {b"content-type", b"x-a", b"date", b"content-length", b"x-request-id"}


@on_both_loops
async def test_what_a_request_leaves_in_its_context_is_not_there_for_the_next_on_the_connection():
    mark = contextvars.ContextVar("mark", default="none")
    seen: list[str] = []

    async def serve(incoming: Incoming) -> Answer:
        seen.append(mark.get())
        mark.set("first")
        await asyncio.sleep(0)
        seen.append(mark.get())
        return incoming.reply(200, {}, b"")

    async with serving(serve) as (_, port), connected(port) as client:
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[0] == 200
    assert seen == ["none", "first"] * 2


@on_both_loops
async def test_the_safe_view_of_the_headers_has_no_credential():
    views: list[tuple[dict[str, str], list[object]]] = []
    credentials = ["Authorization", "Proxy-Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"]

    async def serve(incoming: Incoming) -> Answer:
        safe = incoming.safe_headers
        views.append((dict(safe), [safe.get(name) for name in credentials]))
        assert len(safe) == 2
        assert "COOKIE" not in safe
        assert safe["HOST"] == "x"
        assert SECRET not in repr(safe)
        return incoming.reply(200, {}, b"")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(head("Host: x", "User-Agent: u", *(f"{name}: {SECRET}" for name in credentials)))
        assert (await client.reply())[0] == 200
    assert views == [({"host": "x", "user-agent": "u"}, [None] * 6)]


@on_both_loops
async def test_a_stream_is_chunked_and_the_connection_stays():
    async def serve(incoming: Incoming) -> Answer:
        assert not incoming.started
        await incoming.start(200, {"content-type": "text/event-stream", "x-accel-buffering": "no"})
        assert incoming.started
        await incoming.write(b"data: 1\n\n")
        await incoming.write(b"")
        return await incoming.finish(b"data: [DONE]\n\n")

    async with serving(serve) as (_, port), connected(port) as client:
        for _ in range(2):
            await client.send(GET)
            status, headers, body = await client.reply()
            assert (status, body) == (200, b"data: 1\n\ndata: [DONE]\n\n")
            assert headers["x-accel-buffering"] == "no"


@on_both_loops
async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection():
    async def serve(incoming: Incoming) -> Answer:
        await incoming.start(200, {"content-type": "text/event-stream"})
        await incoming.write(b"data: 1\n\n")
        return await incoming.finish(b"data: 2\n\n")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(head("Connection: keep-alive", start="GET / HTTP/1.0"))
        answer = await client.rest()
    assert b"Connection: close\r\n" in answer
    assert b"chunked" not in answer
    assert answer.endswith(b"\r\n\r\ndata: 1\n\ndata: 2\n\n")


@on_both_loops
async def test_an_http_1_0_client_may_keep_the_connection_for_whole_answers():
    async with serving(echo) as (_, port), connected(port) as client:
        for _ in range(2):
            await client.send(head("Connection: keep-alive", start="GET / HTTP/1.0"))
            assert (await client.reply())[1]["connection"] == "keep-alive"
        await client.send(head(start="GET / HTTP/1.0"))
        assert b"Connection: close" in await client.rest()


@on_both_loops
@pytest.mark.parametrize("stream", [False, True])
async def test_head_gets_the_head_alone(stream: bool):
    async def serve(incoming: Incoming) -> Answer:
        if not stream:
            return incoming.reply(200, JSON, b"12345")
        await incoming.start(200, JSON)
        await incoming.write(b"123")
        return await incoming.finish(b"45")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(head("Host: x", "Connection: close", start="HEAD / HTTP/1.1"))
        answer = await client.rest()
    assert answer.endswith(b"\r\n\r\n")
    assert (b"Content-Length: 5" in answer) is not stream


@on_both_loops
async def test_a_204_has_no_body_and_no_length():
    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(204, {}, b"ignored")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(GET)
        status, headers, _ = await client.reply()
        await client.send(GET)
        assert (await client.reply())[0] == status == 204
    assert "content-length" not in headers


@on_both_loops
@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_an_answers_header_cannot_break_out_of_its_line(value: str):
    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(200, {"x-a": value}, b"")

    with structlog.testing.capture_logs():
        async with serving(serve) as (_, port), connected(port) as client:
            await client.send(GET)
            status, headers, _ = await client.reply()
    assert status == 500
    assert "x-evil" not in headers


@on_both_loops
async def test_the_server_alone_frames_its_answers():
    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(200, {"Content-Length": "99", "transfer-encoding": "chunked", "Server": "s"}, b"abc")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(GET)
        _, headers, body = await client.reply()
    assert (headers["content-length"], body) == ("3", b"abc")
    assert not {"transfer-encoding", "server"} & set(headers)


# Bodies.


@on_both_loops
async def test_a_body_arrives_whole_however_it_is_cut():
    body = bytes(range(256)) * 40
    pieces = [body[at : at + 999] for at in range(0, len(body), 999)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    request = head("Host: x", "Transfer-Encoding: chunked", start="POST / HTTP/1.1") + chunked
    async with serving(echo) as (_, port), connected(port) as client:
        await client.send(post(body))
        assert (await client.reply())[2] == body
        await client.send(post(body)[:500], post(body)[500:5000], post(body)[5000:])
        assert (await client.reply())[2] == body
        await client.send(request)
        assert (await client.reply())[2] == body
        await client.send(GET)
        assert (await client.reply())[2] == b""


@on_both_loops
async def test_a_body_over_the_limit_is_refused_by_its_declared_length_before_it_is_read():
    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(200, JSON, await incoming.body(1000))

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(head("Host: x", "Content-Length: 1001", start="POST / HTTP/1.1"))
        status, _, body = await client.reply()
    assert status == 413
    assert msgspec.json.decode(body)["error"]["code"] == "request_too_large"


@on_both_loops
async def test_a_chunked_body_over_the_limit_is_refused_while_it_comes():
    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(200, JSON, await incoming.body(1000))

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(head("Host: x", "Transfer-Encoding: chunked", start="POST / HTTP/1.1"))
        for _ in range(3):
            await client.send(b"190\r\n" + b"a" * 400 + b"\r\n")
            await asyncio.sleep(0.01)
        assert (await client.reply())[0] == 413
        await client.send(b"0\r\n\r\n" + GET)
        assert (await client.reply())[0] == 200


@on_both_loops
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused(coding: str):
    async with serving(echo) as (_, port), connected(port) as client:
        await client.send(post(b"x", f"Content-Encoding: {coding}"))
        assert (await client.reply())[0] == 415
        await client.send(post(b"x", "Content-Encoding: Identity"))
        assert (await client.reply())[0] == 200


@on_both_loops
async def test_expect_100_continue_is_answered_when_the_body_is_wanted():
    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(200, JSON, await incoming.body(5))

    async with serving(serve) as (_, port), connected(port) as client:
        lines = ("Host: x", "Expect: 100-Continue")
        await client.send(head(*lines, "Content-Length: 5", start="POST / HTTP/1.1"))
        assert (await client.reply())[0] == 100
        await client.send(b"hello")
        assert (await client.reply())[::2] == (200, b"hello")
        await client.send(head(*lines, "Content-Length: 6", start="POST / HTTP/1.1"))
        started = time.monotonic()
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - started < 10.0, "waits for a body that will not come"


@on_both_loops
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200), ("application/json; charset=utf-8", 200), ('Application/JSON;charset="UTF-8"', 200),
        ("application/vnd.api+json", 200), ("", 200), ("application/json; charset=utf-16", 415), ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415), ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
    ],
)
async def test_only_json_passes_the_content_type_rule(content_type: str, status: int):
    async def serve(incoming: Incoming) -> Answer:
        incoming.check_json()
        return incoming.reply(200, {}, b"")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(post(b"{}", f"Content-Type: {content_type}", "Cookie: session=1"))
        assert (await client.reply())[0] == status


@on_both_loops
@pytest.mark.parametrize("credential", ["Authorization: Bearer k", "X-Api-Key: k", "Api-Key: k"])
async def test_curls_form_type_passes_when_a_header_authenticates(credential: str):
    async def serve(incoming: Incoming) -> Answer:
        incoming.check_json()
        return incoming.reply(200, {}, b"")

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(post(b"{}", "Content-Type: application/x-www-form-urlencoded", credential))
        assert (await client.reply())[0] == 200


# Errors.


@on_both_loops
async def test_an_exception_becomes_500_and_one_log_line_with_no_credential():
    async def serve(incoming: Incoming) -> Answer:
        incoming.request_id = "req_mine"
        raise ValueError(f"cannot use {incoming.headers['authorization']} and plain-credential-7")

    with structlog.testing.capture_logs() as logs:
        async with serving(serve) as (_, port), connected(port) as client:
            await client.send(head("Host: x", f"Authorization: Bearer {SECRET}", "X-Api-Key: plain-credential-7"))
            status, headers, body = await client.reply()
    assert (status, headers["x-request-id"]) == (500, "req_mine")
    error = msgspec.json.decode(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert b"Traceback" not in body
    assert len(logs) == 1
    assert logs[0]["request_id"] == "req_mine"
    assert "ValueError: cannot use ***" in logs[0]["traceback"]
    assert SECRET not in str(logs)
    assert "plain-credential-7" not in str(logs)


@on_both_loops
async def test_a_refusal_keeps_its_status_code_and_retry_after():
    async def serve(incoming: Incoming) -> Answer:
        raise RateLimited("slow down", retry_after=1.2, headers={"x-limit": "5"})

    async with serving(serve) as (_, port), connected(port) as client:
        await client.send(GET)
        status, headers, body = await client.reply()
    assert (status, headers["retry-after"], headers["x-limit"]) == (429, "2", "5")
    assert msgspec.json.decode(body)["error"] == {
        "message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded",
    }


@on_both_loops
async def test_a_failure_inside_a_stream_cuts_it_so_that_no_client_takes_it_for_whole():
    async def serve(incoming: Incoming) -> Answer:
        await incoming.start(200, {})
        await incoming.write(b"data: 1\n\n")
        await asyncio.sleep(0.05)
        raise ValueError("broken")

    with structlog.testing.capture_logs() as logs:
        async with serving(serve) as (_, port), connected(port) as client:
            await client.send(GET)
            answer = await client.rest()
    assert answer.endswith(b"9\r\ndata: 1\n\n\r\n")
    assert len(logs) == 1


@on_both_loops
async def test_serving_that_returns_no_answer_is_a_500():
    async def serve(incoming: Incoming) -> Answer:
        return None  # type: ignore[return-value]

    with structlog.testing.capture_logs() as logs:
        async with serving(serve) as (_, port), connected(port) as client:
            await client.send(GET)
            assert (await client.reply())[0] == 500
    assert "not an Answer" in logs[0]["traceback"]


@on_both_loops
async def test_the_log_stays_small_under_a_flood():
    """F15: thousands of bad requests and defects are a few lines a second, and the lines say how many were left out."""
    async def serve(incoming: Incoming) -> Answer:
        raise ValueError("always")

    with structlog.testing.capture_logs() as logs:
        async with serving(serve) as (server, port):
            for _ in range(40):
                async with connected(port) as client:
                    await client.send(b"nonsense\r\n\r\n")
                    await client.rest()
                async with connected(port) as client:
                    await client.send(GET)
                    await client.reply()
            assert server.refused["bad_request"] == 40
            lines = len(logs)
            await asyncio.sleep(1.0)
            async with connected(port) as client:
                await client.send(GET)
                await client.reply()
    assert lines <= 12
    assert logs[-1]["left_out"] > 10


def test_an_own_error_shape_can_be_given():
    status, headers, body = render_openai(Forbidden("no", param="model"), "req_1", "/")
    assert (status, headers["x-request-id"]) == (403, "req_1")
    assert msgspec.json.decode(body)["error"]["param"] == "model"


# Stopping.


@on_both_loops
async def test_stop_closes_idle_connections_and_lets_the_busy_ones_finish():
    release = asyncio.Event()

    async def serve(incoming: Incoming) -> Answer:
        if incoming.path == "/slow":
            await release.wait()
        return incoming.reply(200, {}, b"done")

    async with serving(serve) as (server, port), connected(port) as idle, connected(port) as busy:
        await idle.send(GET)
        await idle.reply()
        await busy.send(head("Host: x", start="GET /slow HTTP/1.1"))
        await until(lambda: server.requests_in_flight == 1)
        await server.stop()
        assert await idle.rest() == b""
        with pytest.raises(OSError):  # noqa: PT012  # the refusal can show at connect or at read
            async with connected(port) as late:
                await late.send(GET)
                await late.reply()
        assert not await server.wait_idle(0.1)
        release.set()
        status, headers, body = await busy.reply()
        assert (status, headers["connection"], body) == (200, "close", b"done")
        assert await server.wait_idle(PATIENCE)


@on_both_loops
async def test_stop_serves_a_request_that_is_already_in_the_socket():
    async with serving(echo) as (server, port), connected(port) as client:
        await client.send(GET)
        await client.reply()
        os.write(client.writer.transport.get_extra_info("socket").fileno(), post(b"hello"))
        await server.stop()
        status, headers, body = await client.reply()
        assert (status, headers["connection"], body) == (200, "close", b"hello")


@on_both_loops
@pytest.mark.parametrize("sent", [GET[:-4], post(b"hello")[:-2]], ids=["half a head", "half a body"])
@measured
async def test_stop_does_not_wait_for_a_request_that_is_not_complete(sent: bytes):
    async with serving(echo) as (server, port), connected(port) as client:
        await client.send(sent)
        await asyncio.sleep(0.05)
        await server.stop()
        status, headers, body = await client.reply()
        assert (status, headers["connection"]) == (503, "close")
        assert b"stopping" in body
        assert await server.wait_idle(PATIENCE)


@on_both_loops
async def test_stop_takes_the_rest_of_a_body_that_is_already_in_the_socket():
    async with serving(echo) as (server, port), connected(port) as client:
        await client.send(post(b"hello")[:-2])
        await until(lambda: server.requests_in_flight == 1)
        os.write(client.writer.transport.get_extra_info("socket").fileno(), b"lo")
        await server.stop()
        assert (await client.reply())[::2] == (200, b"hello")


@on_both_loops
async def test_close_aborts_what_is_left():
    serve = Endless(stream=True)
    async with serving(serve) as (server, port), connected(port) as client:
        await client.send(GET)
        await serve.running.wait()
        await server.stop()
        await server.close()
        assert serve.cancelled is not None
        await client.rest()
