"""The only HTTP client: requests to providers, deadlines, TLS, and the guard on addresses.

Usage: `reply = await upstream.send(peer, request)`, then `reply.read()` until `b""`, or `reply.close()`. No
redirects, no cookies, no compression; a proxy only where a provider names one (`tunnel.py`). What happens on one
connection: `httpclient.py`; which are kept: `pools.py`; which addresses are allowed: `addresses.py`. Every error names
the provider, never its URL or credential.
"""

import asyncio
import errno
import hashlib
import re
import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf

import msgspec

from gateway.addresses import Names, forbidden, is_literal
from gateway.config import Timeouts
from gateway.errors import InternalError, UpstreamUnreachable
from gateway.hookspecs import HttpRequest
from gateway.httpclient import Connection
from gateway.pools import Connections, Key, Pool
from gateway.reply import UpstreamReply
from gateway.tunnel import Proxy, tunnel

__all__ = ["Connections", "Peer", "Upstream", "UpstreamReply"]

_PLANS = 1024
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?([/?][!\"$-~]*)?")
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
_OURS = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
})


class Peer(msgspec.Struct, frozen=True):
    """Where and how to connect for one provider: built once per provider from its configuration.

    `allow_private` admits names that resolve to private addresses; `ca_file` replaces the system's certificate
    authorities; `max_connections` holds for each credential; `keepalive` is how long an idle connection is kept.
    `public` admits public addresses only, also where the host is written as an address: for links of a caller.
    `metadata` admits a cloud's metadata server: for code that asks it for this machine's credentials, never for
    requests of a client. `proxy` is the way out for all connections of this provider.
    """

    name: str
    timeouts: Timeouts
    allow_private: bool = False
    ca_file: str | None = None
    max_connections: int = 4096
    keepalive: float = 55.0
    metadata: bool = False
    public: bool = False
    proxy: Proxy | None = None


class Upstream:
    """All connections to all providers. One for each process; `close` it at the end."""

    def __init__(self) -> None:
        self._pools: dict[Key, Pool] = {}
        self._plans: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], _Plan] = {}
        self._tls: dict[str | None, ssl.SSLContext] = {}
        self._names = Names()
        self._leaving: set[Connection] = set()
        self._closed = False

    async def send(self, peer: Peer, request: HttpRequest) -> UpstreamReply:
        """Send a request and return its reply when the head is there.

        Raises `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamCut`. When a kept connection turns out to be
        closed before it carried any byte of the answer, the request is sent once more on a new one.
        """
        plan = self._plan(peer, request)
        pool = self._pool(peer, plan)
        body = request.body
        varying = _fields(peer, request.varying) if request.varying else b""
        length = b"content-length: %d\r\n\r\n" % len(body) if body else plan.end
        if request.parts is not None:
            return await self._send_parts(peer, request, plan, plan.head + varying)
        head = plan.head + varying + length
        timeouts = peer.timeouts
        now = pool.loop.time()
        total_at = inf if timeouts.total is None else now + timeouts.total
        connection = None if pool.waiting else pool.take()
        retried = False
        while True:
            if connection is None:
                connection = await self._acquire(pool, peer, plan.place, min(now + timeouts.connect, total_at))
            reply = await connection.send(
                peer.name, timeouts, total_at, head, body, bodiless=request.method == "HEAD"
            )
            if reply.failure is None or reply.status:  # a cut after the head is found by reading
                return reply
            if retried or not (reply.unanswered and connection.reused):
                raise reply.failure
            retried, connection = True, None
            pool = self._pool(peer, plan)
            now = pool.loop.time()

    async def _send_parts(self, peer: Peer, request: HttpRequest, plan: "_Plan", head: bytes) -> UpstreamReply:
        """Send a body that cannot be sent twice: over a new connection, which no idle time can have closed."""
        assert request.parts is not None
        pool, timeouts = self._pool(peer, plan), peer.timeouts
        now = pool.loop.time()
        total_at = inf if timeouts.total is None else now + timeouts.total
        connection = await self._acquire(pool, peer, plan.place, min(now + timeouts.connect, total_at))
        length = b"transfer-encoding: chunked" if request.size is None else b"content-length: %d" % request.size
        reply = await connection.send(
            peer.name, timeouts, total_at, head + length + b"\r\n\r\n", b"", bodiless=False, parts=request.parts,
            chunked=request.size is None,
        )
        if reply.failure is not None and not reply.status:
            raise reply.failure
        return reply

    def stats(self) -> Mapping[str, Connections]:
        """Connections by provider name; a provider without any is not there."""
        found: dict[str, Connections] = {}
        for pool in self._pools.values():
            so_far = found.get(pool.name, Connections(0, 0, 0))
            found[pool.name] = Connections(
                so_far.open + pool.open, so_far.idle + len(pool.idle), so_far.waiting + len(pool.waiting)
            )
        return found

    async def close(self) -> None:
        """Close every connection, and wait until the sockets are closed. Running requests end with an error."""
        self._closed = True
        for pool in list(self._pools.values()):
            pool.close()
        await self._names.close()
        for _ in range(1000):  # sockets close within a few turns of the loop
            await asyncio.sleep(0 if not self._leaving else 0.001)
            if not self._leaving:
                return

    def _plan(self, peer: Peer, request: HttpRequest) -> "_Plan":
        """What follows from everything but the body; mostly the same as for an earlier request."""
        key = (peer.name, request.method, request.url, request.headers)
        plan = self._plans.get(key)
        if plan is None or plan.peer is not peer:
            plan = _make_plan(peer, request)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _pool(self, peer: Peer, plan: "_Plan") -> Pool:
        pool = self._pools.get(plan.pool)
        if pool is None:
            pool = Pool(plan.pool, peer.max_connections, peer.keepalive, self._pools, self._leaving)
            self._pools[plan.pool] = pool
        return pool

    async def _acquire(self, pool: Pool, peer: Peer, place: "_Place", deadline: float) -> Connection:
        """A new connection, or one that another request leaves while we wait for our turn."""
        pool.asking += 1
        try:
            if pool.waiting or pool.open >= pool.limit:
                try:
                    async with asyncio.timeout_at(deadline):
                        found = await pool.turn()
                except TimeoutError:
                    raise UpstreamUnreachable(
                        f"All {pool.limit} connections of the gateway to provider {peer.name} are busy: "
                        "raise its max_connections, or send less at a time.", code="upstream_pool_exhausted",
                    ) from None
                if found is not None:
                    return found
            pool.dialing += 1
            try:
                connection = await self._dial(pool, peer, place, deadline)
                if not connection.closed:
                    pool.standing.add(connection)
                return connection
            finally:
                pool.dialing -= 1
        finally:
            pool.asking -= 1
            pool.tidy()

    async def _dial(self, pool: Pool, peer: Peer, place: "_Place", deadline: float) -> Connection:
        """Connect to the first address that answers; each gets its share of the time that is left."""
        via = peer.proxy or place
        addresses = await self._addresses(peer, via, deadline)
        failure: UpstreamUnreachable | None = None
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            budget = (deadline - pool.loop.time()) / left
            try:
                async with asyncio.timeout(budget):
                    connection = await self._open(pool, peer, place, address)
            except UpstreamUnreachable as refusal:
                failure = failure or refusal
            except (OSError, ValueError) as error:  # ValueError: a host that TLS cannot name
                failure = UpstreamUnreachable(_explain(peer, error))
            else:
                self._names.prefer(via.host, via.port, address)
                return connection
        self._names.forget(via.host, via.port)
        raise failure or UpstreamUnreachable(f"Provider {peer.name} has no address.")

    async def _addresses(self, peer: Peer, place: "_Place | Proxy", deadline: float) -> tuple[str, ...]:
        if place.literal:
            return (place.host,)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._names.lookup(place.host, place.port)
        except TimeoutError:
            why = f"could not be resolved within {peer.timeouts.connect:g} s; is the name server reachable?"
        except (OSError, UnicodeError):
            why = "cannot be resolved; is it spelt right, and does the gateway's machine have a name server?"
        where = "base_url" if peer.proxy is None else "proxy"
        raise UpstreamUnreachable(f"The host name in the {where} of provider {peer.name} {why}")

    async def _open(self, pool: Pool, peer: Peer, place: "_Place", address: str) -> Connection:
        """The one place where a connection is opened: to an address that was just checked, never to a name."""
        private = (peer.allow_private or place.named_by_owner or peer.proxy is not None) and not peer.public
        reason = forbidden(address, allow_private=private)
        if reason is not None and not (peer.metadata and reason == "cloud metadata"):
            hint = "" if forbidden(address, allow_private=True) else f"set allow_private: true on provider {peer.name}"
            raise UpstreamUnreachable(
                f"The address of provider {peer.name} is not allowed ({reason}): "
                + (hint or "no setting allows this range")
            )
        tls = self._context(peer) if place.scheme == "https" else None
        loop = pool.loop
        name = place.host if tls is not None else None
        if peer.proxy is not None:
            sock = await tunnel(peer.name, peer.proxy, address, place.host, place.port)
            _, connection = await loop.create_connection(
                lambda: Connection(pool, loop), sock=sock, ssl=tls, server_hostname=name
            )
        else:
            _, connection = await loop.create_connection(
                lambda: Connection(pool, loop), address, place.port, ssl=tls, server_hostname=name
            )
        if self._closed:
            connection.abort()
            raise UpstreamUnreachable("The gateway is shutting down.")
        return connection

    def _context(self, peer: Peer) -> ssl.SSLContext:
        context = self._tls.get(peer.ca_file)
        if context is None:
            try:
                context = ssl.create_default_context(cafile=peer.ca_file)
            except OSError:
                raise UpstreamUnreachable(
                    f"The ca_file of provider {peer.name} cannot be read, or holds no certificate."
                ) from None
            context.set_alpn_protocols(["http/1.1"])
            self._tls[peer.ca_file] = context
        return context


class _Place(msgspec.Struct, frozen=True):
    """A parsed URL. `literal`: the host is an address. `named_by_owner`: so written that a private one is meant."""

    scheme: str
    host: str
    port: int
    target: str
    authority: str
    literal: bool
    named_by_owner: bool


class _Plan(msgspec.Struct, frozen=True, eq=False):
    """A request without its body: `head` lacks only its end, which is `end` without one; `pool` is the pool's key."""

    peer: Peer
    place: _Place
    pool: Key
    head: bytes
    end: bytes


def _parse(name: str, url: str) -> _Place:
    match = _URL.fullmatch(url)
    if match is None or (match[3] and not 0 < int(match[3]) < 65536):
        raise InternalError(f"The URL of provider {name} is not a plain http:// or https:// URL: look at its base_url.")
    scheme, authority, port, target = match.groups(default="")
    host = authority.strip("[]").lower()
    default = 443 if scheme == "https" else 80
    literal = is_literal(host)
    return _Place(
        scheme=scheme, host=host, port=int(port or default),
        target=target if target.startswith("/") else "/" + target,
        authority=f"{authority}:{port}" if port and int(port) != default else authority,
        literal=literal, named_by_owner=literal or host == "localhost",
    )


def _make_plan(peer: Peer, request: HttpRequest) -> _Plan:
    """Build and check a request's head. The credential in it, as a digest, chooses the pool."""
    place = _parse(peer.name, request.url)
    credential = hashlib.blake2b(digest_size=16)
    if peer.proxy is not None:  # another way out: other connections
        credential.update(f"{peer.proxy.host}:{peer.proxy.port} {peer.proxy.authorization}\n".encode())
    fields: list[tuple[str, str]] = []
    for field, value in request.headers:
        lower = field.lower()
        if lower in _OURS:
            continue
        if lower in _CREDENTIALS:
            # An AWS signature is new for each request; what comes before it says whose it is.
            whose = value.partition(", SignedHeaders")[0] if value.startswith("AWS4-") else value
            credential.update(f"{lower}: {whose}\n".encode())
        fields.append((field, value))
    if not (request.method.isascii() and request.method.isalpha()):
        raise InternalError(f"A request to provider {peer.name} has no proper method.")
    head = (
        f"{request.method} {place.target} HTTP/1.1\r\nhost: {place.authority}\r\nuser-agent: ai-gateway\r\n"
        f"accept-encoding: identity\r\n"
    ).encode("latin-1") + _fields(peer, fields)
    pool = (
        peer.name, place.scheme, place.host, place.port, credential.digest(), peer.allow_private, peer.ca_file
    )
    length = b"content-length: 0\r\n" if request.method in ("POST", "PUT", "PATCH") else b""
    return _Plan(peer, place, pool, head, length + b"\r\n")


def _fields(peer: Peer, fields: Sequence[tuple[str, str]]) -> bytes:
    """Header lines. Raises `InternalError` for what would break out of its line."""
    lines, plain = [], True
    for field, value in fields:
        lines.append(f"{field}: {value}\r\n")
        if not (_plain_name(field) and value.isascii() and value.isprintable()):
            plain = False
    given = "".join(lines)
    if plain:  # nearly always, and sooner said than by the pattern
        return given.encode("latin-1")
    if _FIELDS.fullmatch(given) is None or given.count("\n") != len(lines):
        raise InternalError(f"A header for provider {peer.name} holds a character that HTTP does not allow.")
    return given.encode("latin-1")


@lru_cache(maxsize=256)
def _plain_name(field: str) -> bool:
    return field.isascii() and field.replace("-", "a").isalnum()


def _explain(peer: Peer, error: Exception) -> str:
    """Why there is no connection, and what to look at; without the host, which the error's own text may hold."""
    name = peer.name
    match error:
        case TimeoutError():
            return f"Provider {name} accepted no connection within timeouts.connect, {peer.timeouts.connect:g} s."
        case ConnectionRefusedError():
            return f"Provider {name} refused the connection: is it running, and is the port in its base_url right?"
        case ssl.SSLCertVerificationError() if error.verify_code in (62, 64):
            return f"The certificate of provider {name} is for another host: look at its base_url."
        case ssl.SSLCertVerificationError():
            return (
                f"The certificate of provider {name} is not trusted ({error.verify_message}): "
                "give ca_file if an own authority signed it."
            )
        case ssl.SSLError():
            return f"No TLS connection to provider {name} ({error.reason}): does its base_url need http:// instead?"
        case OSError() if error.strerror and error.errno:
            code = errno.errorcode.get(error.errno, error.errno)
            return f"No connection to provider {name} ({code}): is the network up?"
    return f"No connection to provider {name}: the other side ended it."
