"""Listening sockets: one port for all slots, and a clear word when the address is taken."""

import contextlib
import socket
import sys

import pytest

from gateway import sockets
from gateway.sockets import AddressUnavailable, bind, close_door, url


@contextlib.contextmanager
def bound(*arguments):
    found = bind(*arguments)
    try:
        yield found
    finally:
        for sock in found:
            sock.close()


def test_port_0_is_resolved_once_for_all_slots():
    with bound("127.0.0.1", 0, 3) as found:
        ports = {sock.getsockname()[1] for sock in found}
        assert len(found) == 3
        assert len(ports) == 1
        assert 0 not in ports


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux deals connections out")
def test_each_slot_has_a_queue_of_its_own():
    with bound("127.0.0.1", 0, 2) as found, contextlib.ExitStack() as clients:
        for sock in found:
            sock.listen()
            sock.setblocking(False)
        for _ in range(64):
            clients.enter_context(socket.create_connection(found[0].getsockname()))
        for sock in found:
            accepted, _ = sock.accept()
            accepted.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux deals connections out")
def test_a_closed_door_leaves_all_connections_to_the_others_until_it_is_opened_again():
    with bound("127.0.0.1", 0, 2) as (one, other), contextlib.ExitStack() as clients:

        def accepted():
            for _ in range(64):
                clients.enter_context(socket.create_connection(one.getsockname()))
            found = []
            for sock in (one, other):
                found.append(0)
                with contextlib.suppress(BlockingIOError):
                    while sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        client = clients.enter_context(sock.accept()[0])
                        found[-1] += 1
                        client.setblocking(False)
                        with pytest.raises(BlockingIOError):
                            client.recv(1)  # nothing yet, and no end
            return found

        close_door(one)
        for sock in (one, other):
            sock.listen(256)
            sock.setblocking(False)
        assert all(accepted())
        close_door(one)
        close_door(one)
        assert accepted() == [0, 64]
        one.listen(256)
        assert all(accepted())


def test_a_port_that_somebody_listens_on_is_refused_even_if_he_shares_it(monkeypatch):
    monkeypatch.setattr(sockets, "_PATIENCE", 0.1)
    with bound("127.0.0.1", 0, 2) as found:
        found[0].listen()
        port = found[0].getsockname()[1]
        for count in (1, 2):
            with pytest.raises(AddressUnavailable, match=f"127.0.0.1:{port} is in use by another program"):
                bind("127.0.0.1", port, count)


def test_an_address_that_this_machine_does_not_have_is_named():
    with pytest.raises(AddressUnavailable, match=r"192\.0\.2\.1:0 .*`server.host`"):
        bind("192.0.2.1", 0)


def test_the_url_can_be_typed_into_a_client():
    with bound("127.0.0.1", 0) as (sock,):
        port = sock.getsockname()[1]
        assert url("127.0.0.1", sock) == f"http://127.0.0.1:{port}"
        assert url("0.0.0.0", sock) == f"http://127.0.0.1:{port}"
        assert url("::", sock) == f"http://[::1]:{port}"
        assert url("fd00::1", sock) == f"http://[fd00::1]:{port}"
        assert url("localhost", sock) == f"http://localhost:{port}"
