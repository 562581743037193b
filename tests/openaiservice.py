"""A small OpenAI service on the loopback with state of its own: files, batches, responses, sound, images."""

import asyncio
import hashlib
import itertools
import json
import re

from aiohttp import web

CREDENTIAL = "upstream-credential-000"
MP3 = b"\xff\xf3\x84\xc4" + bytes(range(256)) * 64


class OpenAIService:
    """`url` is its base URL. `calls` are (method, path with query, headers, body or its size) of every request."""

    def __init__(self):
        self.calls = []
        self.files, self.objects, self.responses = {}, {}, {}
        self.arrived = asyncio.Event()      # bytes of an upload came
        self.taken = 0                      # how many
        self.cut_speech = False
        self.slow_speech = None
        self.transcript = {"text": "hello there", "usage": {"type": "duration", "seconds": 9}}
        self.transcript_type = "application/json"
        self.image_usage = {"input_tokens": 50, "output_tokens": 1056, "total_tokens": 1106, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}
        self._numbers = itertools.count(1)

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/v1/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    def new_id(self, prefix):
        return f"{prefix}{next(self._numbers):04d}{hashlib.sha1(prefix.encode()).hexdigest()[:12]}"

    async def _serve(self, request):
        body = b""
        self.arrived.clear()
        keep = request.headers.get("content-type", "").startswith("application/json")
        digest, size, head = hashlib.sha256(), 0, b""
        async for piece in request.content.iter_any():
            self.arrived.set()
            digest.update(piece)
            size += len(piece)
            self.taken = size
            body = body + piece if keep or size < 1 << 20 else b""
            head = head or piece
        self.calls.append((request.method, request.path_qs, {name.lower(): value for name, value in request.headers.items()}, body, size))
        if request.headers.get("authorization") != f"Bearer {CREDENTIAL}" and "x-api-key" not in request.headers and "api-key" not in request.headers:
            return _error(401, "bad key", "invalid_api_key")
        path = request.match_info["path"]
        name = re.sub(r"[^a-z]+", "_", path.split("/")[0])
        answer = getattr(self, f"_{name}", None)
        if answer is None:
            return _error(404, f"Invalid URL ({request.method} /v1/{path})", "unknown_url")
        tree = json.loads(body) if keep and body else {}
        return await answer(request, path.split("/")[1:], tree, (digest, size, body))

    async def _audio(self, request, rest, tree, upload):
        if rest == ["speech"]:
            return await self._speech(request, tree)
        if b'name="stream"\r\n\r\ntrue' in upload[2]:
            reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await reply.prepare(request)
            for event in (
                {"type": "transcript.text.delta", "delta": "hello "}, {"type": "transcript.text.delta", "delta": "there"},
                {"type": "transcript.text.done", "text": "hello there", "usage": {"type": "tokens", "input_tokens": 30, "input_token_details": {"text_tokens": 0, "audio_tokens": 30}, "output_tokens": 4, "total_tokens": 34}},
            ):
                await reply.write(f"data: {json.dumps(event)}\n\n".encode())
            return reply
        if self.transcript_type != "application/json":
            return web.Response(text=self.transcript, content_type=self.transcript_type)
        return web.json_response(self.transcript)

    async def _speech(self, request, tree):
        if tree.get("stream_format") == "sse":
            reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await reply.prepare(request)
            await reply.write(b'data: {"type":"speech.audio.delta","audio":"aGk="}\n\n')
            await reply.write(b'data: {"type":"speech.audio.done","usage":{"input_tokens":7,"output_tokens":101,"total_tokens":108}}\n\n')
            return reply
        reply = web.StreamResponse(headers={"content-type": "audio/mpeg"})
        await reply.prepare(request)
        await reply.write(MP3[:1000])
        if self.cut_speech:
            request.transport.abort()
            return reply
        if self.slow_speech is not None:
            await self.slow_speech.wait()
        await reply.write(MP3[1000:])
        return reply

    async def _images(self, request, rest, tree, upload):
        text = upload[2].decode("latin-1") if not tree else ""
        if tree.get("stream") or 'name="stream"\r\n\r\ntrue' in text:
            kind = "image_generation" if rest == ["generations"] else "image_edit"
            reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await reply.prepare(request)
            for event in ({"type": f"{kind}.partial_image", "b64_json": "cGFydA==", "partial_image_index": 0}, {"type": f"{kind}.completed", "b64_json": "aGk=", "usage": self.image_usage}):
                await reply.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            return reply
        answer = {"created": 1, "data": [{"b64_json": "aGk="}] * int(tree.get("n", 1))}
        return web.json_response({**answer, "usage": self.image_usage} if self.image_usage else answer)


def _error(status, message, code=None):
    return web.json_response({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}, status=status)
