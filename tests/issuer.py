"""An OpenID Connect issuer on loopback with keys of its own: it signs whatever a test wants."""

import hmac
import time
from base64 import urlsafe_b64encode

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jws
from joserfc.jwk import RSAKey


class FakeIssuer:
    """Serves metadata and keys; `asked` counts the requests by path."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})]
        self.asked: dict[str, int] = {}
        self.metadata: dict = {}
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/keys", self._keys)
        self._server = TestServer(app)

    async def __aenter__(self):
        await self._server.start_server()
        self.url = str(self._server.make_url("")).rstrip("/")
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    def rotate(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": f"key-{time.monotonic_ns()}", "use": "sig"})]

    def claims(self, **changes) -> dict:
        now = int(time.time())
        given = {"iss": self.url, "sub": "somebody", "aud": "ai-gateway", "iat": now, "exp": now + 300, **changes}
        return {name: value for name, value in given.items() if value is not None}

    def token(self, *, alg="RS256", key=None, header=None, **claims) -> str:
        key = key or self.keys[0]
        head = {"alg": alg, "kid": getattr(key, "kid", None), "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return jws.serialize_compact(head, msgspec.json.encode(self.claims(**claims)), key, algorithms=[alg])

    def signed_with_the_public_key(self, **claims) -> str:
        """As if the public key's text were a shared secret: the attack on careless verifiers."""
        parts = [_base64(msgspec.json.encode(part)) for part in ({"alg": "HS256", "kid": "one", "typ": "JWT"}, self.claims(**claims))]
        public = self.keys[0].as_pem(private=False)
        return ".".join([*parts, _base64(hmac.digest(public, ".".join(parts).encode(), "sha256"))])

    def _count(self, request) -> None:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1

    async def _metadata(self, request):
        self._count(request)
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.metadata})

    async def _keys(self, request):
        self._count(request)
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
