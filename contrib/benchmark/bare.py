"""The yardstick: the smallest honest proxy on aiohttp's server and client with uvloop, doing nothing else.

    python contrib/benchmark/bare.py PORT UPSTREAM_PORT
"""

import gc
import sys

import aiohttp
import uvloop
from aiohttp import web

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"}


def app(upstream: str) -> web.Application:
    """One route for everything."""

    async def session(app):
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=75)
        timeout = aiohttp.ClientTimeout(total=None)
        app["session"] = aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout)
        yield
        await app["session"].close()

    async def proxy(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
        async with request.app["session"].post(upstream + request.path, data=body, headers=headers) as reply:
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in HOP}
            if "event-stream" not in reply.headers.get("content-type", ""):
                return web.Response(body=await reply.read(), status=reply.status, headers=kept)
            response = web.StreamResponse(status=reply.status, headers=kept)
            await response.prepare(request)
            async for data in reply.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    application = web.Application(client_max_size=64 << 20)
    application.cleanup_ctx.append(session)
    application.router.add_route("*", "/{tail:.*}", proxy)
    return application


if __name__ == "__main__":
    uvloop.install()
    gc.set_threshold(50_000, 20, 50)
    web.run_app(
        app(f"http://127.0.0.1:{sys.argv[2]}"), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None,
        handler_cancellation=True,
    )
