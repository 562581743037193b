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
        self.results = b""                  # of message batches
        self.broken = False                 # every connection is cut
        self.transcript = {"text": "hello there", "usage": {"type": "duration", "seconds": 9}}
        self.transcript_type = "application/json"
        self.image_usage = {"input_tokens": 50, "output_tokens": 1056, "total_tokens": 1106, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}
        self._numbers = itertools.count(1)

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._serve)
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
        if self.broken:
            request.transport.abort()
        if request.headers.get("authorization") != f"Bearer {CREDENTIAL}" and "x-api-key" not in request.headers and "api-key" not in request.headers:
            return _error(401, "bad key", "invalid_api_key")
        path = re.sub(r"^(openai/deployments/[^/]+|openai/v1|openai|v1)/", "", request.match_info["path"])
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


    async def _files(self, request, rest, tree, upload):
        _, size, body = upload
        if request.method == "POST":
            purpose = re.search(rb'name="purpose"\r\n\r\n([a-z-]+)', body)
            made = {"id": self.new_id("file-"), "object": "file", "bytes": size, "purpose": purpose[1].decode() if purpose else "assistants", "filename": "f", "created_at": 1, "status": "processed"}
            content = body.partition(b'name="file"')[2].partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
            self.files[made["id"]] = (made, content)
            return web.json_response(made)
        if not rest:
            return self._page(request, [made for made, _ in self.files.values()])
        if rest[0] not in self.files:
            return _error(404, "No such File object: " + rest[0])
        made, content = self.files[rest[0]]
        if rest[1:] == ["content"]:
            return web.Response(body=content, content_type="application/octet-stream", headers={"content-disposition": 'attachment; filename="f"'})
        if request.method == "DELETE":
            del self.files[rest[0]]
            return web.json_response({"id": rest[0], "object": "file", "deleted": True})
        return web.json_response(made)

    def _page(self, request, items):
        """Newest first, as OpenAI pages."""
        items = items[::-1]
        after = request.query.get("after")
        ids = [each["id"] for each in items]
        start = ids.index(after) + 1 if after in ids else 0
        limit = int(request.query.get("limit", "20"))
        page = items[start : start + limit]
        return web.json_response({
            "object": "list", "data": page, "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None, "has_more": start + limit < len(items),
        })

    async def _kept(self, request, rest, tree, kind, prefix, **fields):
        """Objects that are just kept."""
        known = self.objects.setdefault(kind, {})
        if not rest and request.method == "POST":
            made = {"id": self.new_id(prefix), "object": kind, "created_at": 1, **fields, **tree}
            known[made["id"]] = made
            return web.json_response(made)
        if not rest:
            return self._page(request, list(known.values()))
        if rest[0] not in known:
            return _error(404, f"No {kind} found with id '{rest[0]}'.")
        if request.method == "DELETE" and len(rest) == 1:
            del known[rest[0]]
            return web.json_response({"id": rest[0], "object": f"{kind}.deleted", "deleted": True})
        if len(rest) > 1:
            return None
        known[rest[0]].update(tree)
        return web.json_response(known[rest[0]])

    async def _batches(self, request, rest, tree, upload):
        reply = await self._kept(request, rest, tree, "batch", "batch_", status="validating", request_counts={"total": 1, "completed": 0, "failed": 0})
        if reply is None:
            self.objects["batch"][rest[0]]["status"] = "cancelling"
            return web.json_response(self.objects["batch"][rest[0]])
        return reply

    def finish_batch(self, batch_id, results, **fields):
        """The batch is done: its results are a file of its own."""
        file_id = self.new_id("file-out")
        made = {"id": file_id, "object": "file", "bytes": len(results), "purpose": "batch_output", "filename": "o", "created_at": 2, "status": "processed"}
        self.files[file_id] = (made, results)
        self.objects["batch"][batch_id].update(status="completed", output_file_id=file_id, **fields)
        return file_id

    async def _fine_tuning(self, request, rest, tree, upload):
        reply = await self._kept(request, rest[1:], tree, "fine_tuning.job", "ftjob-", status="queued", trained_tokens=None, result_files=[], hyperparameters={}, organization_id="o", seed=1)
        if reply is None:
            if rest[2] in ("events", "checkpoints"):
                return web.json_response({"object": "list", "data": [], "has_more": False})
            self.objects["fine_tuning.job"][rest[1]]["status"] = "cancelled"
            return web.json_response(self.objects["fine_tuning.job"][rest[1]])
        return reply

    async def _vector_stores(self, request, rest, tree, upload):
        counts = {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}
        reply = await self._kept(request, rest, tree, "vector_store", "vs_", status="completed", usage_bytes=0, file_counts=counts)
        if reply is None and rest[1] == "search":
            return web.json_response({"object": "vector_store.search_results.page", "search_query": [tree["query"]], "data": [], "has_more": False, "next_page": None})
        if reply is None:
            made = {"id": rest[2] if len(rest) > 2 else tree["file_id"], "object": "vector_store.file", "created_at": 1, "status": "completed", "vector_store_id": rest[0], "usage_bytes": 1}
            return web.json_response(made if request.method == "POST" or len(rest) > 2 else {"object": "list", "data": [], "has_more": False})
        return reply

    async def _uploads(self, request, rest, tree, upload):
        reply = await self._kept(request, rest, tree, "upload", "upload_", status="pending", expires_at=9)
        if reply is None and rest[1] == "parts":
            return web.json_response({"id": self.new_id("part_"), "object": "upload.part", "created_at": 1, "upload_id": rest[0]})
        if reply is None:
            made = {"id": self.new_id("file-"), "object": "file", "bytes": 1, "purpose": "batch", "filename": "f", "created_at": 1, "status": "processed"}
            self.files[made["id"]] = (made, b"parts")
            return web.json_response({**self.objects["upload"][rest[0]], "status": "completed", "file": made})
        return reply

    async def _conversations(self, request, rest, tree, upload):
        reply = await self._kept(request, rest, tree, "conversation", "conv_", metadata={})
        return web.json_response({"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}) if reply is None else reply

    async def _responses(self, request, rest, tree, upload):
        if not rest:
            made = _response(self.new_id("resp_"), tree)
            self.responses[made["id"]] = made
            return await self._events(request, made) if tree.get("stream") else web.json_response(made)
        if rest[0] not in self.responses:
            return _error(404, f"Response with id '{rest[0]}' not found.")
        if rest[1:] == ["input_items"]:
            return web.json_response({"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None})
        if rest[1:] == ["cancel"]:
            self.responses[rest[0]].update(status="cancelled")
        if request.method == "DELETE":
            del self.responses[rest[0]]
            return web.json_response({"id": rest[0], "object": "response", "deleted": True})
        found = self.responses[rest[0]]
        return await self._events(request, found) if request.query.get("stream") == "true" else web.json_response(found)

    async def _events(self, request, response):
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for number, (kind, status) in enumerate((("created", "in_progress"), ("completed", "completed"))):
            told = {"type": f"response.{kind}", "sequence_number": number, "response": {**response, "status": status}}
            await reply.write(f"event: {told['type']}\ndata: {json.dumps(told)}\n\n".encode())
        return reply

    async def _messages(self, request, rest, tree, upload):
        """Anthropic's message batches."""
        reply = await self._kept(request, rest[1:], tree, "message_batch", "msgbatch_", type="message_batch", processing_status="in_progress")
        if reply is None and rest[2] == "results":
            return web.Response(body=self.results, content_type="application/x-jsonl")
        if reply is None:
            return web.json_response({**self.objects["message_batch"][rest[1]], "processing_status": "canceling"})
        return reply

    async def _chat(self, request, rest, tree, upload):
        return web.json_response({"id": "c", "object": "chat.completion", "created": 1, "model": tree["model"], "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})


def _response(response_id, tree):
    background = tree.get("background", False)
    said = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hello", "annotations": []}]}]
    return {
        "id": response_id, "object": "response", "created_at": 1, "status": "queued" if background else "completed",
        "background": background, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "model": tree["model"], "output": [] if background else said, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": None if background else USED,
    }


USED = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}


def _error(status, message, code=None):
    return web.json_response({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}, status=status)
