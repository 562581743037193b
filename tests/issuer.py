"""An OpenID Connect issuer on loopback with keys of its own: it signs whatever a test wants."""

import hashlib
import hmac
import time
from base64 import b64decode, urlsafe_b64encode
from urllib.parse import unquote_plus, urlencode

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
        self.person: dict = {}         # claims of whoever signs in
        self.client = ("gateway", "a client's secret")
        self.spoilt: dict = {}         # claims that are wrong in the ID token
        self.userinfo: dict | None = None
        self._codes: dict[str, dict] = {}
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
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
        return web.json_response({
            "issuer": self.url, "jwks_uri": f"{self.url}/keys", "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "end_session_endpoint": f"{self.url}/end", **self.metadata,
        })

    async def _authorize(self, request):
        """Nobody is asked: the person is signed in and sent back with a code that counts once."""
        query = request.query
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = f"code-{len(self._codes)}"
        self._codes[code] = dict(query)
        raise web.HTTPFound(f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.url})}")

    async def _token(self, request):
        form = await request.post()
        asked = self._codes.pop(form["code"], None)
        client, _, secret = b64decode(request.headers.get("authorization", " ").partition(" ")[2]).decode().partition(":")
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked is None or (unquote_plus(client), unquote_plus(secret)) != self.client:
            return web.json_response({"error": "invalid_client", "error_description": "no such client"}, status=401)
        if _base64(verifier) != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        claims = {"aud": self.client[0], "nonce": asked["nonce"], **self.person, **self.spoilt}
        return web.json_response({"id_token": self.token(**claims), "access_token": "x", "token_type": "Bearer"})

    async def _userinfo(self, request):
        """What else there is to say of whoever has the access token; `None` breaks it."""
        assert request.headers["authorization"] == "Bearer x"
        return web.Response(status=500) if self.userinfo is None else web.json_response(self.userinfo)

    async def _keys(self, request):
        self._count(request)
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
