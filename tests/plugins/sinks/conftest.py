"""What the tests of sinks share: finished exchanges, and a place to record them."""

import pytest

from gateway.events import Usage
from gateway.exchange import Attempt, Caller, Exchange, Price, Request, Target
from gateway.metrics import Metrics
from gateway.money.journal import Journal

SECRET = "the text of the request"


class Demo:
    """As much of a provider as sinks read."""

    name = "demo"


class Place:
    """As much of a `Gateway` as sinks need."""

    def __init__(self, directory):
        self.metrics = Metrics(directory)
        self.journal = Journal(directory / "journal", 0, fsync_ms=5, max_bytes=1 << 30)

    async def start(self, sink):
        """The sink, started here."""
        if hasattr(sink, "startup"):
            await sink.startup(self)
        return sink

    def series(self):
        """All series of the metrics page that are not zero."""
        page = self.metrics.render()[0].decode()
        lines = (line.rpartition(" ") for line in page.splitlines() if line[0] != "#")
        return {name.removeprefix("ai_gateway_"): float(value) for name, _, value in lines if float(value)}


@pytest.fixture
def place(tmp_path):
    """A place of its own."""
    made = Place(tmp_path)
    yield made
    made.journal.stop()


@pytest.fixture
def exchange():
    """Makes a finished exchange that went well, apart from the changes."""
    return _exchange


@pytest.fixture
def refused():
    """Makes one that a limiter or another stage refused before any target."""
    return lambda error: _exchange(
        target=None, usage=None, cost=0, attempts=[], first_byte=None, outcome="refused", error=error,
        http_status=error.status,
    )


@pytest.fixture
def target():
    """Makes a target without a price."""
    return lambda free: Target(Demo, "m", None, free=free)


def _exchange(name="r1", **changes):
    made = Exchange(name, "chat.completions", None, {"x": SECRET}, 1_790_000_000_000)
    made.caller = Caller("acme", "k1", key_name="first")
    made.request = Request(raw=SECRET.encode(), body={"messages": SECRET}, model="alias", stream=True)
    made.model = "small"
    made.target = Target(Demo, "demo-small", Price(1_000_000, 2_000_000, 500_000, 1_000_000, "v1"))
    made.usage = Usage(input=100, output=50, cached=40, reasoning=10)
    made.cost, made.http_status, made.streamed = 182_500, 200, True
    made.attempts.append(Attempt("demo", "demo-small", "ok", 200, usage=made.usage, cost=182_500))
    made.first_byte, made.finished, made.overhead = made.started + 0.2, made.started + 1.0, 0.0004
    for field, value in changes.items():
        setattr(made, field, value)
    return made
