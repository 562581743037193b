"""The log sink writes the listed fields of an exchange, never its content."""

import msgspec
import structlog

from gateway.errors import RateLimited
from gateway_plugins.sinks.log import LogSink


async def test_a_line_of_log_has_the_listed_fields_and_no_content(place, exchange):
    with structlog.testing.capture_logs() as logged:
        sink = await place.start(LogSink())
        await sink.on_usage(exchange())
    [line] = logged
    assert set(line) == {
        "event", "log_level", "id", "tenant", "key", "endpoint", "model", "provider", "target_model", "outcome",
        "status", "streamed", "attempts", "input", "output", "estimated", "cost", "ttfb_ms", "duration_ms",
        "overhead_ms", "error",
    }
    assert (line["cost"], line["duration_ms"], line["ttfb_ms"]) == ("0.0001825", 1000.0, 200.0)
    assert "the text of the request" not in msgspec.json.encode(line).decode()


async def test_a_refused_exchange_is_logged_with_its_error(place, refused):
    with structlog.testing.capture_logs() as logged:
        sink = await place.start(LogSink())
        await sink.on_usage(refused(RateLimited("no")))
    assert (logged[0]["error"], logged[0]["provider"], logged[0]["cost"]) == ("rate_limit_exceeded", None, "0")
