"""Which addresses may be connected to, and how names are looked up."""

import asyncio
import ipaddress
import socket

import pytest

from gateway import addresses
from gateway.addresses import Names, forbidden, is_literal

NEVER = [
    "169.254.169.254", "169.254.170.2", "169.254.0.1", "100.100.100.200", "168.63.129.16", "0.0.0.0", "0.1.2.3",
    "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "fe80::1", "fe80::1%eth0", "febf::1", "ff02::1",
    "ff0e::1", "fd00:ec2::254", "fd20:ce::254", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::", "::169.254.169.254", "::ffff:169.254.169.254", "::ffff:0:169.254.169.254",
    "::ffff:224.0.0.1", "::ffff:0.0.0.0", "2001:0:a9fe:a9fe::1", "2001:0:808:808:0:0:5601:5601", "64:ff9b::6464:64c8",
]
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "100.127.255.255", "fc00::1", "fd12:3456::1", "fec0::1", "feff::1", "192.0.0.1", "192.0.2.1", "198.51.100.1",
    "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.88.99.1", "240.0.0.1", "2001:db8::1", "2001:2::1", "3fff::1",
    "2001:10::1", "2001:20::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1",
    "2002:7f00:1::1", "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2001:0:a00:1::1", "100::1", "4000::1",
    "5f00::1", "200::1", "::2:0:0:1",
]
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "198.17.255.255",
    "198.20.0.1", "192.0.1.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e",
    "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("address", NEVER)
def test_metadata_link_local_multicast_and_unspecified_are_never_allowed(address: str, allow_private: bool) -> None:
    assert forbidden(address, allow_private=allow_private)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_in_every_disguise_need_the_owners_word(address: str) -> None:
    assert forbidden(address, allow_private=False)
    assert forbidden(address, allow_private=True) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert forbidden(address, allow_private=False) is None


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "1.1.1.1.1", "①②⑦.0.0.1", "[::1]"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert forbidden(text, allow_private=True) == "not an IP address"
    assert not is_literal(text)


def test_the_guard_is_never_laxer_than_the_standard_library() -> None:
    """Our own table may refuse more than `ipaddress`, never less."""
    for net in (
        *ipaddress._IPv4Constants._private_networks,  # type: ignore[attr-defined]
        *ipaddress._IPv6Constants._private_networks,  # type: ignore[attr-defined]
    ):
        assert forbidden(str(net[0]), allow_private=False), net


class Resolver:
    """Stands in for the system's resolver, and counts."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls = 0

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        self.calls += 1
        await asyncio.sleep(0.01)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]  # type: ignore[attr-defined]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch):
    def install(*answers: object) -> Resolver:
        fake = Resolver(*answers)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fake.getaddrinfo)
        return fake

    return install


async def test_many_ask_for_a_name_and_the_resolver_is_asked_once(resolver) -> None:
    fake = resolver(["192.0.2.1", "192.0.2.2", "192.0.2.1"])
    names = Names()
    found = await asyncio.gather(*(names.lookup("a.example", 1) for _ in range(100)))
    assert set(found) == {("192.0.2.1", "192.0.2.2")}
    assert fake.calls == 1
    assert await names.lookup("a.example", 1) == ("192.0.2.1", "192.0.2.2")
    assert fake.calls == 1
    await names.close()


async def test_an_address_that_answered_is_tried_first(resolver) -> None:
    resolver(["192.0.2.1", "192.0.2.2"])
    names = Names()
    await names.lookup("a.example", 1)
    names.prefer("a.example", 1, "192.0.2.2")
    assert await names.lookup("a.example", 1) == ("192.0.2.2", "192.0.2.1")
    await names.close()


async def test_a_failure_is_not_remembered(resolver) -> None:
    resolver(socket.gaierror(-2, "unknown"), ["192.0.2.1"])
    names = Names()
    with pytest.raises(socket.gaierror):
        await names.lookup("a.example", 1)
    assert await names.lookup("a.example", 1) == ("192.0.2.1",)
    await names.close()


async def test_a_forgotten_or_old_name_is_asked_for_again(resolver, monkeypatch) -> None:
    fake = resolver(["192.0.2.1"], ["192.0.2.2"], ["192.0.2.3"])
    names = Names()
    await names.lookup("a.example", 1)
    names.forget("a.example", 1)
    assert await names.lookup("a.example", 1) == ("192.0.2.2",)
    real = addresses.time.monotonic
    monkeypatch.setattr(addresses.time, "monotonic", lambda: real() + 61)
    assert await names.lookup("a.example", 1) == ("192.0.2.3",)
    assert fake.calls == 3
    monkeypatch.undo()
    await names.close()


async def test_who_leaves_does_not_end_the_lookup_for_the_others(resolver) -> None:
    fake = resolver(["192.0.2.1"])
    names = Names()
    leaver = asyncio.ensure_future(names.lookup("a.example", 1))
    stayer = asyncio.ensure_future(names.lookup("a.example", 1))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == ("192.0.2.1",)
    assert leaver.cancelled()
    assert fake.calls == 1
    await names.close()


async def test_the_number_of_remembered_names_is_bounded(resolver) -> None:
    count = addresses.CACHED_NAMES + 1
    resolver(*[["192.0.2.1"]] * count)
    names = Names()
    await asyncio.gather(*(names.lookup(f"h{i}.example", 1) for i in range(count)))
    assert len(names._known) <= addresses.CACHED_NAMES
    await names.close()


async def test_closing_ends_a_running_lookup_with_an_error_not_a_cancel(resolver) -> None:
    resolver(["192.0.2.1"])
    names = Names()
    asking = asyncio.ensure_future(names.lookup("a.example", 1))
    await asyncio.sleep(0)
    await names.close()
    with pytest.raises(OSError, match="closing"):
        await asking
