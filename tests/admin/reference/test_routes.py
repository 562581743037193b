"""The reference: a valid OpenAPI 3.1 document, and a page that needs no other host and runs no other script."""

import base64
import hashlib
import re

from openapi_spec_validator import OpenAPIV31SpecValidator
from running import running

from gateway.admin.reference import reference_page

PLUGINS = [{"use": "auth.api_keys"}, {"use": "sink.ledger"}, {"use": "admin.api"}]


async def test_the_document_is_valid_and_describes_every_route_that_has_a_description(tmp_path):
    async with running(tmp_path, plugins=PLUGINS) as gateway:
        async with gateway.client.get(gateway.url + "/openapi.json") as reply:
            assert reply.status == 200
            spec = await reply.json()
        routes = gateway.process.gateway.snapshot.plugins.routes(gateway.process.gateway)
    OpenAPIV31SpecValidator(spec).validate()
    described = {(route.path, route.method.lower()) for route in routes if route.about and route.about.listed}
    assert described == {(path, method) for path, methods in spec["paths"].items() for method in methods}
    names = [each["operationId"] for methods in spec["paths"].values() for each in methods.values()]
    assert len(names) == len(set(names))
    for methods in spec["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert {"400", "429", "503"} <= set(operation["responses"])


async def test_the_page_is_public_and_strict(tmp_path):
    async with running(tmp_path, plugins=PLUGINS) as gateway, gateway.client.get(gateway.root + "/docs") as reply:
        assert reply.status == 200
        policy = reply.headers["content-security-policy"]
        html = await reply.text()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"https?://|//[a-z]", html.replace("http://www.w3.org", ""))
    assert not re.search(r"\son[a-z]+=|style=|innerHTML|eval\(", html)


def test_the_policy_has_the_hash_of_each_inline_part():
    page = reference_page()
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.html.decode(), re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in page.policy
