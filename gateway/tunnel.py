"""Reaches a provider through an HTTP proxy: a socket on which the proxy passes everything on (CONNECT, RFC 9110).

Only the way through the proxy; TLS and HTTP with the provider itself happen in the tunnel, unseen by the proxy.
"""

import asyncio
import re
import socket
from base64 import b64encode
from urllib.parse import unquote

import msgspec

from gateway.addresses import is_literal
from gateway.errors import UpstreamUnreachable

_URL = re.compile(r"http://(?:([!-9;-?A-~]+):([!-?A-~]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")
_MOST = 16 * 1024


class Proxy(msgspec.Struct, frozen=True):
    """Where a proxy is, and the header that lets us in, if it wants one."""

    host: str
    port: int
    authorization: str = ""

    @property
    def literal(self) -> bool:
        """Whether the host is written as an address."""
        return is_literal(self.host)


def proxy_of(url: str) -> Proxy:
    """`http://[user:password@]host:port`. Raises `ValueError`, without the password."""
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found[4]) < 65536:
        raise ValueError("proxy must be http://host:port or http://user:password@host:port")
    authorization = ""
    if found[1] is not None:
        user = f"{unquote(found[1])}:{unquote(found[2])}"
        authorization = "Basic " + b64encode(user.encode()).decode()
    return Proxy(found[3].strip("[]").lower(), int(found[4]), authorization)


async def tunnel(name: str, proxy: Proxy, address: str, host: str, port: int) -> socket.socket:
    """A socket to `host` through the proxy at `address`. Raises `UpstreamUnreachable` that names the provider."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            status = await _asked(sock, proxy, address, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except OSError:
            raise UpstreamUnreachable(f"The proxy of provider {name} cannot be reached: look at `proxy`.") from None
    except BaseException:
        sock.close()
        raise
    if 200 <= status < 300:
        return sock
    sock.close()
    why = "it wants other credentials" if status == 407 else "may it reach the host of base_url?"
    raise UpstreamUnreachable(f"The proxy of provider {name} answered with status {status}: {why}")


async def _asked(sock: socket.socket, proxy: Proxy, address: str, authority: str) -> int:
    """The proxy's status; 0 for what is no answer."""
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (address, proxy.port))
    head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: ai-gateway\r\n"
    if proxy.authorization:
        head += f"proxy-authorization: {proxy.authorization}\r\n"
    await loop.sock_sendall(sock, (head + "\r\n").encode("latin-1"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(sock, 1)  # no more: what follows the head belongs to the tunnel
        answer += byte
        if not byte or len(answer) > _MOST:
            return 0
    words = answer.split(b" ", 2)
    return int(words[1]) if answer.startswith(b"HTTP/1.") and len(words) > 1 and words[1].isdigit() else 0
