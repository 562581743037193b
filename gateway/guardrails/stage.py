"""The hooks of all guardrails together: requests are checked and edited, replies get a filter, drafts run beside.

Which policy holds is in `book.py`, what a hit means in `notes.py` and `edits.py`.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal

import msgspec
import structlog

from gateway.config import Acting
from gateway.errors import GatewayError, InvalidRequest
from gateway.exchange import Caller, Exchange, Request
from gateway.files.reader import Reader
from gateway.guardrails.book import FIELD, HEADER, Book
from gateway.guardrails.chain import Chain, Place
from gateway.guardrails.check import Check, Hit
from gateway.guardrails.edits import StandIn
from gateway.guardrails.files import check_files, read_files
from gateway.guardrails.notes import decide, note
from gateway.guardrails.policy import Policy
from gateway.guardrails.pseudonyms import Pseudonyms, Restore
from gateway.guardrails.stored import StoredPolicies
from gateway.guardrails.stream import ReplyGuard
from gateway.guardrails.texts import Reading, edited, read_text
from gateway.hookspecs import Detector, Filter, Guardrail, Route, hookimpl
from gateway.secrets import derive
from gateway.tasks import Tasks

_log = structlog.get_logger("gateway.guardrails")
_POLICY, _STAND_INS = "guardrail_policy", "guardrail_pseudonyms"
_MOST_WAITING = 256


class GuardrailStage:
    """What the pipeline calls."""

    name = "guardrails"

    def __init__(self, book: Book, stored: StoredPolicies | None = None) -> None:
        self.book = book
        self.stored = stored
        self.reader = Reader()  # for files that are tried where no guardrail reads files
        self._tasks = Tasks()
        self._waiting = 0
        self._gateway: Any = None
        self._secret: bytes = os.urandom(32)

    @hookimpl
    async def startup(self, gateway: Any) -> None:  # noqa: ANN401 - a `Gateway`, or None in tests
        """Start the guardrails of policies, and take the key of the pseudonyms."""
        self._gateway = gateway
        if gateway is not None:
            self._secret = gateway.secret
        await self.book.startup(gateway)
        if self.stored is not None:
            self.stored.startup(gateway)

    @hookimpl
    async def shutdown(self, gateway: Any) -> None:  # noqa: ANN401, ARG002
        """Stop them."""
        await self._tasks.close()
        if self.stored is not None:
            await self.stored.shutdown()
        await self.book.shutdown()

    async def judges(self, exchange: Exchange) -> bool:
        """Whether a rule may hold for this request: then all of it must be known before it is judged."""
        if HEADER in exchange.headers:
            return True
        policy = await self.book.policy(self.book.names_for(exchange, ()))
        return not policy.is_empty

    @hookimpl
    async def pre_request(self, exchange: Exchange) -> None:
        """Check every text that the model would read; replace what is redacted. Raises `ContentBlocked`."""
        request = exchange.request
        if request is None:
            return
        requested = _requested(exchange, request)
        book = self._known_book(exchange.caller) or await self.book_for(exchange.caller)
        names = book.names_for(exchange, requested)
        policy = book.ready(names) or await book.policy(names)
        exchange.internal[_POLICY] = policy
        if FIELD in request.body:
            request = exchange.request = _without(request, FIELD)
        if policy.names:
            exchange.reply_headers[HEADER] = ",".join(policy.names)
        if policy.is_empty:
            return
        readings = _readings(exchange, request)
        contents = await read_files(policy, request.body)
        if not readings and contents is None:
            return
        places = [reading.place for reading in readings] + (contents.places if contents is not None else [])
        self._beside(policy, exchange, "input", places)
        if contents is not None:
            await check_files(policy, exchange, contents)
        if policy.input.checks and readings:
            await self._check(policy, exchange, request, readings)

    @hookimpl
    async def post_response(self, exchange: Exchange) -> Filter | None:
        """A filter for the reply, if anything judges replies at all."""
        if exchange.internal.get("inner"):  # a judge's own answer is not judged
            return None
        policy: Policy | None = exchange.internal.get(_POLICY)
        if policy is None:
            book = await self.book_for(exchange.caller)
            policy = await book.policy(book.names_for(exchange, ()))
        if policy.is_empty and _STAND_INS not in exchange.internal:
            return None
        chain = policy.output
        stand_ins: Pseudonyms | None = exchange.internal.get(_STAND_INS)
        if stand_ins is not None and stand_ins.originals:
            chain = Chain([*chain.checks, Restore(stand_ins.originals)])
        said = self._said(policy, exchange)
        if not chain.checks and said is None:
            return None
        return ReplyGuard(chain, exchange, lambda hits, part: decide(exchange, hits, "output", part), said)

    @hookimpl
    def routes(self, gateway: Any) -> Iterable[Route]:  # noqa: ANN401, ARG002
        """What an API key may ask of guardrails."""
        from gateway.guardrails import api, scan

        return [*api.routes(self), *scan.routes(self)]

    async def book_for(self, caller: Caller | None) -> Book:
        """The policies there are for a caller: those of the configuration, and of the database."""
        if self.stored is None or caller is None:
            return self.book
        return await self.stored.book(caller.tenant)

    def _known_book(self, caller: Caller | None) -> Book | None:
        return self.stored.known(caller.tenant) if self.stored is not None and caller is not None else None

    def pseudonyms(self, caller: Caller | None, texts: Sequence[str]) -> Pseudonyms:
        """Stand-ins for what is in these texts, with the key of the caller's tenant."""
        tenant = caller.tenant if caller is not None else ""
        return Pseudonyms(derive(self._secret, f"guardrail pseudonyms of {tenant}"), texts)

    async def _check(
        self, policy: Policy, exchange: Exchange, request: Request, readings: Sequence[Reading]
    ) -> None:
        found = await policy.input.examine([reading.place for reading in readings], exchange, "input")
        if not any(found):
            return
        for reading, hits in zip(readings, found, strict=True):
            decide(exchange, hits, "input", reading.part)
        stand_in = self._stand_ins(exchange, request, readings, found) if policy.pseudonymises else None
        changed = {
            (reading.raw, reading.part): new
            for reading, hits in zip(readings, found, strict=True)
            if hits and (new := edited(reading, hits, stand_in)) != reading.raw
        }
        if changed:
            exchange.request = exchange.dialect.map_texts(
                request, lambda text, part: changed.get((text, part), text)
            )

    def _stand_ins(
        self, exchange: Exchange, request: Request, readings: Sequence[Reading], found: Sequence[Sequence[Hit]]
    ) -> StandIn | None:
        if not any(hit.action == "pseudonymise" for hits in found for hit in hits):
            return None
        if request.body.get("previous_response_id") is not None:
            raise InvalidRequest(
                "`previous_response_id` cannot be used here: this policy puts stand-ins in place of personal data, and "
                "keeps none of them. Send the whole conversation.", param="previous_response_id",
            )
        made = exchange.internal[_STAND_INS] = self.pseudonyms(exchange.caller, [reading.text for reading in readings])
        return made.stand_in

    def _beside(self, policy: Policy, exchange: Exchange, direction: str, places: Sequence[Place]) -> None:
        """What delays nobody: checks with `async`, and drafts."""
        for chain, shadow in _background(policy, direction):
            if chain.checks:
                self._spawn(self._note(chain, exchange, direction, places, shadow))

    def _said(self, policy: Policy, exchange: Exchange) -> Callable[[str, str], None] | None:
        if not any(chain.checks for chain, _ in _background(policy, "output")):
            return None
        return lambda text, part: self._beside(policy, exchange, "output", [(text, part)])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._waiting >= _MOST_WAITING:
            work.close()
            _log.warning("guardrails in the background cannot keep up: a text was not checked")
            return
        self._waiting += 1
        self._tasks.spawn(work, "guardrails beside a request").add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:  # noqa: ARG002
        self._waiting -= 1

    async def _note(
        self, chain: Chain, exchange: Exchange, direction: str, places: Sequence[Place], shadow: str
    ) -> None:
        try:
            found = await chain.examine(places, exchange, direction)
        except GatewayError as error:
            _log.warning("a guardrail in the background failed", error=error.code, request_id=exchange.id)
            return
        for hits, (_, part) in zip(found, places, strict=True):
            done = [hit for hit in hits if hit.action not in ("failed", "restore")]
            for rule, action in note(exchange, done, direction, part, shadow=shadow, late=True):
                if self._gateway is not None:
                    self._gateway.metrics.guardrail_triggers.labels(rule, action).inc()
            if len(done) < len(hits):
                _log.warning("a guardrail in the background failed", request_id=exchange.id)


def only(
    name: str, guardrail: Guardrail | Detector, on_error: Literal["open", "closed"] | None = None,
    entry: Acting | None = None,
) -> GuardrailStage:
    """The hooks of one guardrail alone, for tests of it."""
    return GuardrailStage(Book(always=[Check(name, guardrail, entry or Acting(), on_error=on_error)], entries={}))


def _background(policy: Policy, direction: str) -> list[tuple[Chain, str]]:
    """The chains that run beside, and the draft each is of."""
    if direction == "input":
        return [(policy.background_input, ""), *((s.input, s.names[0]) for s in policy.shadows)]
    return [(policy.background_output, ""), *((s.output, s.names[0]) for s in policy.shadows)]


def _requested(exchange: Exchange, request: Request) -> list[str]:
    """The policies that a request asks for, by header and by field. Raises `InvalidRequest` for what is no name."""
    names: list[str] = []
    given = exchange.headers.get(HEADER)
    if given is not None and given.strip():
        names.append(given.strip())
    if (field := request.body.get(FIELD)) is not None:
        if type(field) is not str or not field:
            raise InvalidRequest(f"`{FIELD}` must be the name of a policy.", param=FIELD)
        names.append(field)
    return names


def _without(request: Request, field: str) -> Request:
    body = {name: value for name, value in request.body.items() if name != field}
    return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)


def _readings(exchange: Exchange, request: Request) -> list[Reading]:
    """Every text once."""
    found: dict[tuple[str, str], Reading] = {}

    def note_text(text: str, part: str) -> str:
        if text and (text, part) not in found:
            found[text, part] = read_text(text, part)
        return text

    exchange.dialect.map_texts(request, note_text)
    return list(found.values())
