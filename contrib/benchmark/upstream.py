"""A mock upstream far faster than any gateway: asyncio.Protocol and httptools, canned bytes.

`POST .../chat/completions` answers 0.7 kB of JSON; with `"stream": true` it sends chunks of 250 bytes. The body's
`bench` field says how: {"chunks": 200, "pause_ms": 0, "hold": false}.

    python contrib/benchmark/upstream.py PORT
"""

import asyncio
import json
import sys

import httptools
import uvloop

TEXT = "The quick brown fox jumps over the lazy dog. " * 11
REPLY = json.dumps(
    {
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT[:500]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 220, "completion_tokens": 110, "total_tokens": 330},
    },
    separators=(",", ":"),
).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(REPLY), REPLY)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def record(text: str | None, finish: str | None = None) -> bytes:
    """One chunk as OpenAI sends it, about 250 bytes."""
    delta = {"content": text} if text is not None else {}
    chunk = {
        "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": "bench-2026-01-01",
        "service_tier": "default", "system_fingerprint": "fp_0123456789",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], "usage": None,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def framed(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = framed(record("token "))
USAGE = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": "bench",
         "choices": [], "usage": {"prompt_tokens": 220, "completion_tokens": 200, "total_tokens": 420}}
TAIL = b"".join(
    framed(part)
    for part in (record(None, "stop"), b"data: " + json.dumps(USAGE).encode() + b"\n\n", b"data: [DONE]\n\n")
) + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.tasks = set()

    def data_received(self, data):
        self.parser.feed_data(data)

    def connection_lost(self, exc):
        for task in self.tasks:
            task.cancel()

    def on_message_begin(self):
        self.body = b""

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        if b'"stream":true' not in self.body and b'"stream": true' not in self.body:
            self.transport.write(WHOLE)
            return
        how = json.loads(self.body).get("bench", {})
        chunks, pause = how.get("chunks", 200), how.get("pause_ms", 0) / 1000
        if not pause and not how.get("hold"):
            self.transport.write(HEAD)
            for _ in range(chunks):
                self.transport.write(TOKEN)
            self.transport.write(TAIL)
            return
        task = asyncio.get_running_loop().create_task(self.paced(chunks, pause, bool(how.get("hold"))))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def paced(self, chunks, pause, hold):
        self.transport.write(HEAD)
        for _ in range(chunks):
            self.transport.write(TOKEN)
            await asyncio.sleep(pause)
        if hold:
            await asyncio.sleep(3600)
        self.transport.write(TAIL)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
