"""A Vault on loopback, in a thread of its own: tokens, AppRole and Kubernetes logins, and one key-value engine of version 2."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeVault:
    """`secrets` by path; `asked` are the requests as (method, path); `fail` is a list of statuses to answer first."""

    def __init__(self):
        self.secrets = {"ai/openai": {"api_key": "first-value-of-a-key", "number": 7, "deep": {"x": 1}}}
        self.deleted = set()
        self.tokens = {"root-token-0000"}
        self.namespace = None
        self.asked = []
        self.fail = []
        self.renewed = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(*fake.answer("GET", self, {}))

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                self.answer(*fake.answer("POST", self, json.loads(raw) if raw else {}))

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method, request, body):
        path = request.path.removeprefix("/v1/")
        self.asked.append((method, path))
        if self.fail:
            return self.fail.pop(0), {"errors": ["Vault is sealed"]}
        if self.namespace is not None and request.headers.get("x-vault-namespace") != self.namespace:
            return 404, {"errors": ["no handler for route"]}
        if path == "auth/approle/login":
            if (body.get("role_id"), body.get("secret_id")) != ("the-role", "the-secret-id"):
                return 400, {"errors": ["invalid role or secret ID"]}
            return self.signed_in()
        if path == "auth/kubernetes/login":
            if (body.get("role"), body.get("jwt")) != ("gateway", "the-pods-token"):
                return 403, {"errors": ["permission denied"]}
            return self.signed_in()
        token = request.headers.get("x-vault-token", "")
        if token not in self.tokens:
            return 403, {"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}
        if path == "auth/token/revoke-self":
            self.tokens.discard(token)
            return 204, {}
        if path == "auth/token/renew-self":
            self.renewed += 1
            return 200, {"auth": {"client_token": token, "lease_duration": 3600, "renewable": True}}
        return self.read(path)

    def signed_in(self):
        made = f"hvs.made-{len(self.asked)}"
        self.tokens.add(made)
        return 200, {"auth": {"client_token": made, "lease_duration": 1200, "renewable": True, "policies": ["default"]}}

    def read(self, path):
        mount, _, name = path.partition("/data/")
        if mount == "kv1":
            return 200, {"data": {"api_key": "flat"}}
        if mount != "secret":
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        metadata = {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": False, "version": 1}
        if name in self.deleted:
            return 404, {"data": {"data": None, "metadata": {**metadata, "deletion_time": "2026-02-02T00:00:00Z"}}}
        if name not in self.secrets:
            return 404, {"errors": []}
        return 200, {"data": {"data": self.secrets[name], "metadata": metadata}, "lease_duration": 0, "renewable": False}
