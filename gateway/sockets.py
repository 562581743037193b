"""Listening sockets: one for each worker slot, and how their address is shown."""

import errno
import socket
import sys
import time
from contextlib import ExitStack
from typing import Final

BACKLOG: Final = 1024
_PATIENCE: Final = 1.0  # seconds for a gateway that is just going away to free the port


class AddressUnavailable(OSError):
    """The gateway cannot listen where it should; the text says what to do."""


def bind(host: str, port: int, count: int = 1) -> tuple[socket.socket, ...]:
    """`count` sockets on one address, bound but not listening yet; with port 0 all get the same free port.

    Several sockets share the port (SO_REUSEPORT) and the kernel deals connections out among them. Where it cannot
    (anywhere but on Linux) there is one socket, `count` times: workers then compete for its connections.
    """
    with ExitStack() as opened:
        first = opened.enter_context(_free(host, port))
        if count > 1 and sys.platform == "linux":
            address = first.getsockname()
            opened.close()
            shared = [opened.enter_context(_bound(first.family, address, shared=True)) for _ in range(count)]
        else:
            shared = [first, *(opened.enter_context(first.dup()) for _ in range(count - 1))]
        opened.pop_all()
    return tuple(shared)


def close_door(sock: socket.socket) -> None:
    """Let the other sockets of the address have all new connections, until somebody listens on this one again.

    Those that wait in its queue are lost. Where workers share one socket there is nothing to close.
    """
    # A socket that does not listen must not be shut down: later connections would inherit that, and end at once.
    if sys.platform == "linux" and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.shutdown(socket.SHUT_RD)


def url(host: str, sock: socket.socket) -> str:
    """The address to type into a client on this machine."""
    port: int = sock.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
    shown = reachable.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _free(host: str, port: int) -> socket.socket:
    """A socket that has the address for itself: a gateway that listens there already is found, sharing or not."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return _bound(family, address, shared=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > give_up:
                raise AddressUnavailable(error.errno, _reason(host, port, error)) from None
        time.sleep(0.05)


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(host: str, port: int, error: OSError) -> str:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program: stop it, or choose another `server.port`"
    if error.errno == errno.EACCES:
        return f"{where} needs rights that this user does not have: choose a `server.port` above 1023"
    return f"cannot listen on {where} (`server.host`, `server.port`): {error.strerror}"
