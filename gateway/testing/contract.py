"""Suites that every plugin of a role passes. Subclass one in your tests, say how to make the plugin, run pytest:

    class TestRegex(GuardrailContract):
        catches = "4711-0815"

        async def make(self):
            return Regex(Config(patterns=(r"\\d{4}-\\d{4}",), action="redact"))

The tests are coroutines: set `asyncio_mode = "auto"` for pytest-asyncio.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec

from gateway.config import Timeouts
from gateway.dialects.served import SERVED
from gateway.errors import ContentBlocked, InvalidRequest, UpstreamTimeout
from gateway.events import Usage
from gateway.exchange import Attempt, Exchange, Target
from gateway.guardrails.check import Check, Hit
from gateway.hookspecs import Context, Detector, Guardrail, Provider, Sink
from gateway.testing.exchanges import answering, exchange

Role = TypeVar("Role")
_ENDPOINTS = frozenset(served.endpoint for served in SERVED)
_FORMS = frozenset(served.endpoint for served in SERVED if getattr(served.dialect(), "form", False))


class _Contract(Generic[Role]):
    async def make(self) -> Role:
        """A new plugin."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make the plugin")

    @asynccontextmanager
    async def plugin(self) -> AsyncIterator[Role]:
        """The plugin between its `startup` and `shutdown`, which get no gateway: override for one that needs it."""
        made: Any = await self.make()
        if hasattr(made, "startup"):
            await made.startup(None)
        try:
            yield made
        finally:
            if hasattr(made, "shutdown"):
                await made.shutdown(None)


class GuardrailContract(_Contract[Guardrail | Detector]):
    """What the gateway relies on in a guardrail.

    `catches` is a text that it redacts or blocks in answers wherever it stands, `passes` one that it lets through.
    """

    catches: ClassVar[str]
    passes: ClassVar[str] = "The weather is fine today."

    async def test_it_plays_the_role(self) -> None:
        """It has `scan` or `check`, and a `hold_back` that is a number of characters."""
        async with self.plugin() as plugin:
            assert isinstance(plugin, Guardrail | Detector)
            assert type(plugin.hold_back) is int
            assert plugin.hold_back >= 0
            assert getattr(plugin, "apply_to", "both") in ("input", "output", "both")

    async def test_it_lets_ordinary_text_through(self) -> None:
        """`passes` passes, and so does no text at all."""
        async with self.plugin() as plugin:
            for text in (self.passes, "", " "):
                assert await self._found(plugin, text) == []

    async def test_it_catches(self) -> None:
        """`catches` is caught; what it says does not repeat it, and its places lie in the text."""
        async with self.plugin() as plugin:
            text = f"{self.passes} {self.catches} {self.passes}"
            found = await self._found(plugin, text)
            assert found
            assert all(self.catches not in hit.kind + (hit.text or "") for hit in found)
            assert all(0 <= hit.start < hit.end <= len(text) for hit in found)

    async def test_no_split_of_a_stream_lets_it_out(self) -> None:
        """However an answer is cut into pieces, the client gets what it gets of the whole, or of a block less."""
        text = f"{self.passes} {self.catches} {self.passes}"
        cuts = [[first, second] for first in range(len(text)) for second in (first + 1, (first + len(text)) // 2)]
        cuts += [list(range(step, len(text), step)) for step in range(1, 9)]
        async with self.plugin() as plugin:
            whole, block = await self._left(plugin, [text])
            assert self.catches not in whole + (block or "")
            for cut in cuts:
                left, blocked = await self._left(
                    plugin, [text[start:end] for start, end in pairwise([0, *cut, len(text)])]
                )
                assert blocked == block, f"another verdict when cut at {cut}"
                allowed = text[: text.index(self.catches)]
                assert left == whole or (block and allowed.startswith(left)), f"leaked when cut at {cut}: {left!r}"

    async def test_it_takes_any_text(self) -> None:
        """Odd characters and long texts are judged, many at a time."""
        texts = ["\x00", "\u200b\ufeff", "\U0001f600" * 50, self.passes * 2000, "\r\n\t" * 100] * 4
        async with self.plugin() as plugin:
            found = await asyncio.gather(*(self._found(plugin, text) for text in texts))
            assert all(hit.action != "failed" for hits in found for hit in hits)

    async def _found(self, plugin: Guardrail | Detector, text: str) -> list[Hit]:
        check = Check("guardrail", plugin)
        if check.scan is not None:
            return check.hits(text, "content")
        return await check.judge(text, Context("output", exchange()))

    async def _left(self, plugin: Guardrail | Detector, pieces: list[str]) -> tuple[str, str | None]:
        """What left of a streamed answer, and the refusal that stopped it."""
        left: list[str] = []
        try:
            async for text in answering(plugin, pieces, exchange()):
                left.append(text)  # noqa: PERF401 - what left before a block counts
        except ContentBlocked as blocked:
            return "".join(left), blocked.message
        return "".join(left), None


class ProviderContract(_Contract[Provider]):
    """What the gateway relies on in a provider whose dialect names the model in the body."""

    async def test_it_plays_the_role(self) -> None:
        """It has a name, known endpoints, models, and says how to connect."""
        async with self.plugin() as plugin:
            assert isinstance(plugin, Provider)
            assert plugin.endpoints
            assert plugin.endpoints <= _ENDPOINTS
            assert plugin.models()
            assert plugin.peer(Timeouts()).timeouts is not None

    async def test_it_encodes_every_endpoint(self) -> None:
        """A POST to an absolute URL without a credential in it; JSON with the target's model; the same each time.

        Endpoints that take uploads are left out: their requests are forms.
        """
        async with self.plugin() as plugin:
            for endpoint in plugin.endpoints - _FORMS:
                made = exchange(endpoint=endpoint)
                target = Target(provider=plugin, model="some-model")
                request = plugin.encode(made, target)
                url = urlsplit(request.url)
                assert request.method == "POST"
                assert url.scheme in ("http", "https")
                assert url.hostname
                assert not url.username
                assert all(name == name.lower() and value.isprintable() for name, value in request.headers)
                assert msgspec.json.decode(request.body)["model"] == "some-model"
                assert plugin.encode(exchange(endpoint=endpoint), target) == request

    async def test_unknown_fields_travel(self) -> None:
        """What the gateway does not know reaches the upstream as it came."""
        async with self.plugin() as plugin:
            made = exchange(endpoint=min(plugin.endpoints), x_new_field={"a": [1, 2.50]})
            body = plugin.encode(made, Target(provider=plugin, model="some-model")).body
            assert b'{"a":[1,2.5]}' in body

    async def test_its_credentials_stay_in_headers(self) -> None:
        """No secret shows in a URL or a body."""
        async with self.plugin() as plugin:
            made = exchange(endpoint=min(plugin.endpoints))
            request = plugin.encode(made, Target(provider=plugin, model="some-model"))
            for secret in plugin.secrets():
                assert secret not in request.url
                assert secret.encode() not in request.body


class SinkContract(_Contract[Sink]):
    """What the gateway relies on in a sink: it takes every end that an exchange can have, several at a time."""

    async def test_it_takes_every_exchange(self) -> None:
        """Answered, refused before any attempt, failed upstream, and abandoned by the client."""
        async with self.plugin() as plugin:
            assert isinstance(plugin, Sink)
            await asyncio.gather(*(plugin.on_usage(one) for one in self.exchanges()))

    def exchanges(self) -> list[Exchange]:
        """Finished exchanges, one of each kind."""
        refused = self._finished("refused", 400)
        refused.error = InvalidRequest("No.")
        failed = self._finished("upstream_timeout", 504, Attempt("demo", "demo-small", "upstream_timeout", 504))
        failed.error = UpstreamTimeout("Too slow.")
        answered_ = self._finished("ok", 200, Attempt("demo", "demo-small", "ok", 200, usage=Usage(10, 5), cost=7))
        answered_.usage, answered_.cost = Usage(10, 5), 7
        abandoned = self._finished("client_closed", 200, Attempt("demo", "demo-small", "client_closed", 200))
        abandoned.streamed, abandoned.usage = True, Usage(10, 2, estimated=True)
        return [answered_, refused, failed, abandoned]

    def _finished(self, outcome: Any, status: int, *attempts: Attempt) -> Exchange:  # noqa: ANN401
        made = exchange()
        made.id = f"req-{outcome}"
        made.outcome, made.http_status, made.attempts = outcome, status, list(attempts)
        made.finished = made.started + 0.5
        return made
