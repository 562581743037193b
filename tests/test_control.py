"""Frames between supervisor and worker arrive whole, in order, and their end is noticed."""

import asyncio
import socket

import pytest
from waiting import PATIENCE

from gateway.control import Channel, Drain, Hurry, Ready, Reloaded, Source, Start, receive_blocking

START = Start(
    slot=1, workers=2, owner="1-ab", config=Source(1, b"server: {}", "gateway.yaml"), data_dir="/data", state="/state",
    secret=b"s" * 32,
)


@pytest.fixture
async def ends():
    ours, theirs = socket.socketpair()
    channels = await Channel.over(ours), await Channel.over(theirs)
    yield channels
    for channel in channels:
        channel.close()


async def test_messages_arrive_in_order(ends):
    one, other = ends
    sent = [START, Source(2, b"x" * 300_000, "gateway.yaml"), Drain(1.5), Hurry(), Ready(), Reloaded(2, "no")]

    async def send():
        return [await one.send(message) for message in sent]

    async def receive():
        return [await other.receive() for _ in sent]

    assert await asyncio.gather(send(), receive()) == [[True] * len(sent), sent]


async def test_the_end_of_the_other_side_is_a_message(ends):
    one, other = ends
    one.close()
    assert await other.receive() is None


async def test_sending_to_nobody_is_no_error(ends):
    one, other = ends
    other.close()
    async with asyncio.timeout(PATIENCE):
        while await one.send(Ready()):
            await asyncio.sleep(0.01)


async def test_the_first_message_can_be_received_without_a_loop():
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    await channel.send(START)
    assert await asyncio.to_thread(receive_blocking, theirs) == START
    channel.close()
    assert await asyncio.to_thread(receive_blocking, theirs) is None
    theirs.close()


def test_a_message_never_shows_its_secrets():
    assert "s" * 32 not in repr(START)
    assert "server:" not in repr(START)


async def test_a_frame_that_claims_to_be_huge_is_refused():
    ours, theirs = socket.socketpair()
    ours.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="control frame"):
        receive_blocking(theirs)
    ours.close()
    theirs.close()
