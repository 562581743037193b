"""The HTTP server's connections over real sockets: clients that leave, drip, stall or flood, and few files."""

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import time

import msgspec
import pytest
import structlog
from aiohttp.web_protocol import RequestHandler
from waiting import PATIENCE, measured, until
from wire import Client, Endless, connected, head, on_both_loops, serving

from gateway.httpguard import check_library
from gateway.httpserver import Answer, HttpServer, Incoming

JSON = {"content-type": "application/json"}

GET = head("Host: x")


def post(body: bytes, *lines: str) -> bytes:
    return head("Host: x", f"Content-Length: {len(body)}", *lines, start="POST / HTTP/1.1") + body


async def echo(incoming: Incoming) -> Answer:
    return incoming.reply(200, JSON, await incoming.body(1 << 20))


# Clients that leave.


@on_both_loops
@pytest.mark.parametrize("phase", ["before the answer", "in the stream", "in the body"])
@pytest.mark.parametrize("way", ["close", "reset"])
@measured
async def test_serving_is_cancelled_within_a_second_when_the_client_leaves(phase: str, way: str):
    serve = Endless(stream=phase == "in the stream", read=phase == "in the body")
    request = GET if not phase.endswith("body") else post(b"x" * 1000)[:-500]
    async with serving(serve) as (server, port), connected(port) as client:
        await client.send(request)
        await serve.running.wait()
        left = time.monotonic()
        if way == "close":
            client.writer.close()
        else:
            client.writer.transport.abort()
        await until(lambda: serve.cancelled is not None)
        assert serve.cancelled is not None
        assert serve.cancelled - left < 1.0
        await until(lambda: server.requests_in_flight == 0)


@on_both_loops
async def test_a_write_to_a_gone_client_raises_a_connection_error():
    errors: list[BaseException] = []

    async def serve(incoming: Incoming) -> Answer:
        await incoming.start(200, {})
        try:
            while True:
                await incoming.write(b"x" * 1000)
                await asyncio.shield(asyncio.sleep(0.001))
        except (ConnectionError, asyncio.CancelledError) as error:
            errors.append(error)
        try:
            await incoming.write(b"x")
        except ConnectionError as error:
            errors.append(error)
            raise
        raise AssertionError

    with structlog.testing.capture_logs() as logs:
        async with serving(serve) as (_, port), connected(port) as client:
            await client.send(GET)
            await client.reader.read(10)
            client.writer.transport.abort()
            await until(lambda: len(errors) == 2)
    assert isinstance(errors[1], ConnectionResetError)
    assert logs == []


# Deadlines.


@on_both_loops
@measured
async def test_a_connection_that_sends_nothing_is_closed():
    async with serving(echo, header_timeout=0.2) as (_, port), connected(port) as client:
        started = time.monotonic()
        assert await client.rest() == b""
        assert 0.15 < time.monotonic() - started < 5.0


@on_both_loops
@pytest.mark.parametrize("requests_before", [0, 1])
@measured
async def test_the_head_deadline_is_absolute_however_it_drips(requests_before: int):
    """A slow loris that keeps sending a byte is cut at the deadline, with 408."""
    async with serving(echo, header_timeout=0.3) as (server, port), connected(port) as client:
        for _ in range(requests_before):
            await client.send(GET)
            await client.reply()
        started = time.monotonic()
        sending = asyncio.ensure_future(client.send(*(b"G", b"E", b"T", *[b" "] * 100), pause=0.02))
        answer = await client.rest()
        assert 0.2 < time.monotonic() - started < 5.0
        sending.cancel()
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert server.refused["header_timeout"] == 1


@on_both_loops
@measured
async def test_the_head_deadline_does_not_count_idle_time_or_serving():
    async def serve(incoming: Incoming) -> Answer:
        await asyncio.sleep(0.25)
        return incoming.reply(200, {}, b"")

    async with serving(serve, header_timeout=0.15) as (_, port), connected(port) as client:
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[0] == 200
            await asyncio.sleep(0.25)


@on_both_loops
@pytest.mark.parametrize("coding", ["", "chunked"])
@measured
async def test_what_comes_after_a_head_is_its_body_and_no_head_however_long_it_is(coding: str):
    """Also its last piece: the connection stays open, is idle for longer than a head may take, and serves the next."""
    body = b"x" * 200_000
    framing = f"Content-Length: {len(body)}" if not coding else "Transfer-Encoding: chunked"
    sent = body if not coding else b"30d40\r\n" + body + b"\r\n0\r\n\r\n"
    async with serving(echo, header_timeout=0.4, keepalive_timeout=20) as (server, port), connected(port) as client:
        for _ in range(2):
            await client.send(head("Host: x", framing, start="POST / HTTP/1.1"), sent[:1000], sent[1000:], pause=0.05)
            status, headers, got = await client.reply()
            assert (status, headers.get("connection"), got) == (200, None, body)
        await asyncio.sleep(1.5)
        await client.send(GET[:-4], b"\r\n\r\n")
        assert (await client.reply())[0] == 200
        await client.send(head("Host: x", "Content-Length: 4", start="POST / HTTP/1.1"), b"bodyGET / HT")
        assert (await client.reply())[0] == 200
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
    assert server.refused["header_timeout"] == 1


@on_both_loops
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@measured
async def test_a_dripping_body_is_cut_at_its_deadline(framing: str):
    async with serving(echo, body_timeout=0.3) as (_, port), connected(port) as client:
        await client.send(head("Host: x", framing, start="POST / HTTP/1.1"))
        started = time.monotonic()
        piece = b"a" if "Length" in framing else b"1\r\na\r\n"
        sending = asyncio.ensure_future(client.send(*[piece] * 100, pause=0.02))
        status, headers, body = await client.reply()
        assert 0.2 < time.monotonic() - started < 5.0
        sending.cancel()
    assert (status, headers["connection"]) == (408, "close")
    assert msgspec.json.decode(body)["error"]["code"] == "request_timeout"


@on_both_loops
@measured
async def test_an_idle_connection_is_closed_after_the_keepalive_time():
    async with serving(echo, keepalive_timeout=0.3) as (_, port), connected(port) as client:
        for _ in range(3):
            await client.send(GET)
            await client.reply()
            await asyncio.sleep(0.15)
        started = time.monotonic()
        assert await client.rest() == b""
        assert time.monotonic() - started < 5.0


@on_both_loops
@measured
async def test_a_client_that_stops_reading_is_cut_and_serving_ends():
    ended: list[BaseException] = []

    async def serve(incoming: Incoming) -> Answer:
        await incoming.start(200, {})
        try:
            while True:
                await incoming.write(b"x" * 65_536)
        except BaseException as error:
            ended.append(error)
            raise

    async with serving(serve, write_timeout=0.3) as (server, port), connected(port) as client:
        await client.send(GET)
        started = time.monotonic()
        await until(lambda: bool(ended))
        assert 0.2 < time.monotonic() - started < 10.0
        assert isinstance(ended[0], asyncio.CancelledError | ConnectionError)
        assert server.refused["write_timeout"] == 1


@on_both_loops
@measured
async def test_a_slow_reader_that_makes_progress_is_not_cut():
    size = 12_000_000

    async def serve(incoming: Incoming) -> Answer:
        return incoming.reply(200, {}, b"x" * size)

    async with serving(serve, write_timeout=0.25) as (_, port), connected(port) as client:
        await client.send(GET)
        got = 0
        started = time.monotonic()
        while got < size:
            piece = await client.reader.read(262_144)
            assert piece, f"cut after {got} bytes"
            got += len(piece)
            await asyncio.sleep(0.02)
        assert time.monotonic() - started > 0.5


# Abuse.


@on_both_loops
async def test_ten_thousand_pipelined_requests_keep_their_order_and_little_memory():
    """R-99."""
    count, most = 10_000, 0
    server: HttpServer

    async def serve(incoming: Incoming) -> Answer:
        nonlocal most
        most = max(most, sum(len(connection._messages) for connection in server._connections))
        return incoming.reply(200, {}, incoming.path.encode())

    async with serving(serve) as (server, port), connected(port) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        block = b"".join(head("Host: x", start=f"GET /{number} HTTP/1.1") for number in range(count))
        sending = asyncio.ensure_future(client.send(block))
        for number in range(count):
            assert (await client.reply())[2] == b"/%d" % number
        await sending
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert most <= 64
    assert grown < 20_000, f"{grown} KiB more"


@on_both_loops
async def test_a_megabyte_in_chunks_of_one_byte_is_cut_long_before_it_costs_two_seconds():
    """R-96; a few kilobytes in such chunks are read."""
    request = head("Host: x", "Transfer-Encoding: chunked", start="POST / HTTP/1.1")
    async with serving(echo) as (_, port), connected(port) as client:
        await client.send(request + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
        assert (await client.reply())[::2] == (200, b"a" * 5000)
        flood = request + b"1\r\na\r\n" * (1 << 20) + b"0\r\n\r\n"
        started = time.process_time()
        sending = asyncio.ensure_future(client.send(flood))
        status, headers, _ = await client.reply()
        assert time.process_time() - started < 0.7
        assert (status, headers["connection"]) == (400, "close")
        client.writer.transport.abort()
        await sending


@on_both_loops
async def test_an_endless_head_is_cut_at_64_kib_even_byte_by_byte():
    """R-98."""
    async with serving(echo) as (server, port), connected(port) as client:
        lines = [f"A{number}: {'b' * 1000}\r\n".encode() for number in range(100)]
        sending = asyncio.ensure_future(client.send(GET[:-2], *lines, pause=0.0))
        answer = await client.rest()
        await sending
        assert server.refused["bad_request"] == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


@on_both_loops
async def test_connections_over_the_limit_get_503_and_are_counted():
    async with serving(echo, max_connections=3) as (server, port):
        clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(3)]
        await until(lambda: server.open_connections == 3)
        async with connected(port) as client:
            answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert server.refused["too_many_connections"] == 1
        await clients[0].send(GET)
        assert (await clients[0].reply())[0] == 200
        for client in clients:
            client.writer.close()
        await until(lambda: server.open_connections == 0)
        async with connected(port) as client:
            await client.send(GET)
            assert (await client.reply())[0] == 200


FEW_FILES = """
import asyncio, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from gateway.config import Server
from gateway.httpserver import HttpServer
import uvloop

async def serve(incoming):
    return incoming.reply(200, {}, b"ok")

async def main():
    server = HttpServer(serve, Server())
    sock = socket.create_server(("127.0.0.1", 0))
    await server.listen(sock)
    print(sock.getsockname()[1], flush=True)
    if sys.argv[2] == "hungry":  # something else in the process takes the files that the server left free
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        taken = []
        try:
            while True:
                taken.append(socket.socket())
        except OSError:
            print("full", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if sys.argv[2] == "hungry":
        for one in taken:
            one.close()
        print("free", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await server.close()

asyncio.Runner(loop_factory=getattr(sys.modules[sys.argv[1]], "new_event_loop")).run(main())
"""


@pytest.mark.parametrize(
    ("loop_name", "appetite"), [("asyncio", "modest"), ("asyncio", "hungry"), ("uvloop", "hungry")]
)
def test_many_connections_against_few_files_neither_crash_it_nor_flood_the_log(loop_name: str, appetite: str):
    """F15: 120 connections against 64 files; afterwards it serves as before."""
    arguments = [sys.executable, "-c", FEW_FILES, loop_name, appetite]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(arguments, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines: list[str] = []

        def expect(what: str) -> str:
            while what not in (line := process.stdout.readline()):
                lines.append(line)
                assert line, lines
            return line

        def go_on() -> None:
            process.stdin.write("\n")
            process.stdin.flush()

        while not (line := process.stdout.readline()).strip().isdigit():
            lines.append(line)
        port = int(line)
        if appetite == "hungry":
            go_on()
            expect("full")
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(120)]
        time.sleep(0.4)
        for client in clients:
            client.close()
        if appetite == "hungry":
            go_on()
            expect("free")
        time.sleep(0.2)
        assert b" 200 OK" in asked(port)
        go_on()
        lines += process.stdout.readlines()
    assert process.returncode == 0
    text = "".join(lines)
    assert len(lines) < 200, text[:2000]
    assert len(text) < 12_000


def asked(port: int) -> bytes:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(head("Host: x", "Connection: close"))
            with contextlib.suppress(OSError):
                if b" 200 " in (answer := client.recv(4096)):
                    return answer
        time.sleep(0.1)
    return b"no answer"


# The library underneath.


def test_an_aiohttp_without_a_needed_name_is_refused_by_name():
    check_library()
    with pytest.raises(RuntimeError, match=r"aiohttp 3\..*RequestHandler\._no_such_name"):
        check_library({RequestHandler: ("_no_such_name", "start")})
