"""The reply by itself: ends, limits, leaving. How its bytes come in is in test_httpclient.py."""

import asyncio

import pytest

from gateway.errors import UpstreamCut
from gateway.reply import UpstreamReply


class Line:
    """Stands in for a connection: delivers when told."""

    def __init__(self) -> None:
        self.reply: UpstreamReply | None = UpstreamReply("p", self, bodiless=False)  # type: ignore[arg-type]
        self.aborted = 0

    def next_piece(self, reply: UpstreamReply, quiet: float | None) -> asyncio.Future[None]:
        reply._waiter = asyncio.get_running_loop().create_future()
        return reply._waiter

    def deliver(self, reply: UpstreamReply, *pieces: bytes, end: bool = False) -> None:
        reply._pieces.extend(pieces)
        reply._size += sum(map(len, pieces))
        if end:
            reply._ended = True
            reply.leave()
        reply.wake()

    def resume(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted += 1


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def reply(line: Line) -> UpstreamReply:
    assert line.reply is not None
    return line.reply


async def test_all_that_is_buffered_comes_in_one_piece(line: Line, reply: UpstreamReply) -> None:
    line.deliver(reply, b"a", b"b", b"c")
    assert await reply.read() == b"abc"


async def test_a_body_up_to_the_limit_is_given(line: Line, reply: UpstreamReply) -> None:
    line.deliver(reply, b"abc", b"de", end=True)
    assert await reply.body(5) == b"abcde"
    assert await reply.body(5) == b""
    assert line.aborted == 0


@pytest.mark.parametrize("end", [True, False])
async def test_a_body_over_the_limit_is_cut(line: Line, reply: UpstreamReply, end: bool) -> None:
    line.deliver(reply, b"abc", b"def", end=end)
    with pytest.raises(UpstreamCut, match="larger than the 5 bytes"):
        await reply.body(5)
    assert line.aborted == (0 if end else 1)


async def test_close_gives_the_connection_up_once(line: Line, reply: UpstreamReply) -> None:
    reply.close()
    reply.close()
    assert line.aborted == 1
    assert line.reply is None
    with pytest.raises(UpstreamCut):
        await reply.read()


async def test_close_after_the_end_leaves_the_connection_alone(line: Line, reply: UpstreamReply) -> None:
    line.deliver(reply, b"x", end=True)
    reply.close()
    assert line.aborted == 0
    assert await reply.read() == b""


async def test_close_wakes_the_reader(reply: UpstreamReply) -> None:
    reading = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0)
    reply.close()
    with pytest.raises(UpstreamCut):
        await reading


async def test_a_cancelled_read_closes_the_connection(line: Line, reply: UpstreamReply) -> None:
    reading = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert line.aborted == 1


async def test_a_read_cancelled_after_the_end_came_costs_nothing(line: Line, reply: UpstreamReply) -> None:
    reading = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0)
    line.deliver(reply, b"x", end=True)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert line.aborted == 0
