"""Which addresses may be connected to, and the cached look-up of names.

`ipaddress.is_global` is no guard (it calls 6to4, NAT64 and site-local forms of private addresses global), so the
table is our own, and an IPv4 address inside an IPv6 one is judged by itself. Who asks, and when: `upstream.py`,
for each address, just before it connects to it.
"""

import asyncio
import ipaddress
import socket
import time

from gateway.tasks import Tasks

CACHED_NAMES = 256
CACHED_SECONDS = 60.0

# Never a model provider, whatever the configuration says.
_NEVER = tuple((ipaddress.ip_network(net), reason) for net, reason in (
    ("169.254.169.254/32", "cloud metadata"),
    ("169.254.170.2/32", "cloud metadata"),
    ("100.100.100.200/32", "cloud metadata"),
    ("168.63.129.16/32", "cloud metadata"),
    ("192.0.0.192/32", "cloud metadata"),
    ("fd00:ec2::/32", "cloud metadata"),
    ("fd20:ce::254/128", "cloud metadata"),
    ("0.0.0.0/8", "unspecified"),
    ("::/128", "unspecified"),
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("64:ff9b:1::/48", "local NAT64"),
))

# Allowed where the owner's file says so.
_PRIVATE = tuple((ipaddress.ip_network(net), reason) for net, reason in (
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("10.0.0.0/8", "private"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("fc00::/7", "private"),
    ("fec0::/10", "private (site-local)"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("192.0.0.0/24", "reserved"),
    ("192.88.99.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("198.18.0.0/15", "benchmark"),
    ("240.0.0.0/4", "reserved"),
    ("2001:2::/48", "benchmark"),
    ("2001:10::/28", "reserved"),
    ("2001:20::/28", "reserved"),
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
))

_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_EMBEDDING_LAST_32_BITS = tuple(ipaddress.ip_network(net) for net in (
    "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "::/96",
))


def is_literal(host: str) -> bool:
    """Whether a host is written as an address, in the form that no resolver is asked for."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def forbidden(address: str, *, allow_private: bool) -> str | None:
    """Why this address may not be connected to, or `None` when it may.

    `allow_private` admits loopback, private and reserved ranges; never link-local, metadata, multicast or
    unspecified addresses.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    for judged in (ip, *_embedded(ip)):
        for network, reason in _NEVER if allow_private else _NEVER + _PRIVATE:
            if judged in network:
                return reason
    if isinstance(ip, ipaddress.IPv6Address) and not allow_private and ip not in _GLOBAL_V6 and not _embedded(ip):
        return "reserved"
    return None


def _embedded(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(ip, ipaddress.IPv4Address) or int(ip) <= 1:
        return []
    found = [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) for net in _EMBEDDING_LAST_32_BITS if ip in net]
    if ip.sixtofour is not None:
        found.append(ip.sixtofour)
    if ip.teredo is not None:
        found.extend(ip.teredo)
    return found


class Names:
    """Host names to addresses, as the system resolves them, kept for a minute. One look-up at a time for a name."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}
        self._running: dict[tuple[str, int], asyncio.Task[tuple[str, ...] | Exception]] = {}
        self._tasks = Tasks()

    async def lookup(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of a host, best first. Raises what the resolver raises."""
        known = self._known.get((host, port))
        if known is not None and known[0] > time.monotonic():
            return known[1]
        task = self._running.get((host, port))
        if task is None:
            task = self._running[host, port] = self._tasks.spawn(self._resolve(host, port), "name look-up")
        await asyncio.wait((task,))  # a caller that goes away does not end it for the others
        found = OSError("closing") if task.cancelled() else task.result()
        if isinstance(found, Exception):
            raise found
        return found

    def prefer(self, host: str, port: int, address: str) -> None:
        """This address answered: try it first the next time."""
        known = self._known.get((host, port))
        if known is not None and known[1][0] != address and address in known[1]:
            rest = tuple(other for other in known[1] if other != address)
            self._known[host, port] = (known[0], (address, *rest))

    def forget(self, host: str, port: int) -> None:
        """None of its addresses answered: ask again the next time."""
        self._known.pop((host, port), None)

    async def close(self) -> None:
        """End running look-ups."""
        await self._tasks.close()

    async def _resolve(self, host: str, port: int) -> tuple[str, ...] | Exception:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that is too long
            return error
        finally:
            del self._running[host, port]
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses:
            return OSError("no address")
        if len(self._known) >= CACHED_NAMES:
            self._known.clear()
        self._known[host, port] = (time.monotonic() + CACHED_SECONDS, addresses)
        return addresses
