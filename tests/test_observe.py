"""Logs are one line a message, never hold a credential, and cannot flood."""

import io
import logging

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import observe
from gateway.config import Logging
from gateway.secrets import _KEYS, scrub


@pytest.fixture
def restored():
    """Puts logging back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(restored):
    """Sets logging up and gives a reader of what was written."""
    stream = io.BytesIO()

    def set_up(**config):
        observe.set_up(Logging(**config), stream)
        return lambda: stream.getvalue().decode().splitlines()

    return set_up


def log(name="gateway.test"):
    """A logger of ours."""
    return structlog.get_logger(name)


def test_json_lines_begin_with_time_level_logger_and_message(lines):
    read = lines(format="json")
    log().warning("it happened", count=3, place={"a": [1]})
    [line] = map(msgspec.json.decode, read())
    assert list(line) == ["time", "level", "logger", "event", "count", "place"]
    assert (line["level"], line["logger"], line["event"], line["place"]) == (
        "warning", "gateway.test", "it happened", {"a": [1]},
    )
    assert line["time"].endswith("+00:00")


def test_the_lines_of_one_of_several_workers_have_its_number(restored):
    stream = io.BytesIO()
    observe.set_up(Logging(format="json"), stream, worker=3)
    log().warning("it happened", count=1)
    line = msgspec.json.decode(stream.getvalue())
    assert list(line) == ["time", "level", "logger", "event", "worker", "count"]
    assert line["worker"] == 3


def test_text_lines_are_for_people(lines):
    read = lines(format="text")
    log().info("it happened", count=3, text="two words")
    [line] = read()
    assert "info     it happened  count=3 text='two words'  (gateway.test)" in line


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_credential_never_shows_wherever_it_stands(lines, form):
    read = lines(format=form)
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    log().info(f"with {key}", field=key, deep={"x": [f"Bearer {key}"]})
    try:
        raise ValueError(f"refused {key}")
    except ValueError:
        log().exception("failed")
    logging.getLogger("aiohttp.server").error("bad header %s", f"Authorization: Bearer {key}")
    text = "\n".join(read())
    assert key not in text
    assert "abcdefghij" not in text
    assert "refused ***" in text


def test_messages_of_libraries_go_the_same_way(lines):
    read = lines(format="json")
    try:
        raise RuntimeError("inner")
    except RuntimeError:
        logging.getLogger("asyncio").exception("Task exception was never %s", "retrieved")
    logging.getLogger("aiohttp.access").info("too chatty")
    [line] = map(msgspec.json.decode, read())
    assert (line["logger"], line["level"], line["event"]) == (
        "asyncio", "error", "Task exception was never retrieved",
    )
    assert "RuntimeError: inner" in line["exception"]


def test_nothing_in_a_value_can_pretend_to_be_another_line(lines):
    read = lines(format="text")
    log().info("path", path="/a\n2026-01-01 error forged\x1b[31m")
    log("gateway.other").info("name\nwith a break")
    assert len(read()) == 2
    assert "\x1b" not in "".join(read())


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels_below_the_configured_one_are_not_written(lines, level, expected):
    read = lines(format="json", level=level)
    for name in ("debug", "info", "warning", "error"):
        getattr(log(), name)("at " + name)
    assert len(read()) == expected


def test_a_message_that_repeats_too_fast_is_dropped_and_counted(lines, monkeypatch):
    read = lines(format="json")
    now = [100.0]
    monkeypatch.setattr(observe.time, "monotonic", lambda: now[0])
    for _ in range(500):
        log().error("the disk is full", number=1)
    log().error("something else")
    assert len(read()) == observe.BURST + 1
    now[0] += observe.SPAN + 1
    log().error("the disk is full")
    assert msgspec.json.decode(read()[-1])["suppressed"] == 500 - observe.BURST


def test_request_lines_are_never_dropped(lines):
    read = lines(format="json")
    for _ in range(100):
        log(observe.REQUESTS).info("request")
    assert len(read()) == 100


def test_what_cannot_be_encoded_is_written_all_the_same(lines):
    read = lines(format="json")
    log().info("odd", huge=1 << 80, half="\ud800", thing=object())
    assert "odd" in msgspec.json.decode(read()[0])["event"]


def test_a_log_that_cannot_be_written_stops_nobody(restored):
    stream = io.BytesIO()
    observe.set_up(Logging(), stream)
    stream.close()
    log().error("nobody hears this")


def test_setting_up_again_replaces_what_was(lines):
    lines(format="text")
    read = lines(format="json", level="error")
    log().info("no")
    logging.getLogger("x").error("once")
    assert len(read()) == 1


def test_a_long_traceback_keeps_its_end(lines):
    read = lines(format="json")

    try:
        raise ValueError("x" * 9000 + " the end")
    except ValueError:
        log().exception("failed")
    text = msgspec.json.decode(read()[0])["exception"]
    assert len(text) < 9000
    assert text.endswith("the end")


@given(st.lists(st.sampled_from([
    "sk-" + "a" * 20, "SK-" + "a" * 20, "gsk_" + "b" * 20, "xai-" + "c" * 20, "AIza" + "d" * 30, "AKIA" + "E" * 16,
    "eyJ" + "f" * 12 + "." + "g" * 12 + ".h", "BEARER " + "i" * 20, "bearer\t" + "j" * 20, "text", " ", "sk-", "é",
])).map("".join))
def test_the_quick_look_before_scrubbing_misses_nothing(text):
    assert scrub(text.encode()) == _KEYS.sub(b"***", text.encode())


def test_a_placeholder_of_a_credential_takes_no_letters_out_of_a_text():
    """`api_key: x` is written for servers that ask for none; what is long enough for a credential goes."""
    text = b"the max of context is exceeded, secret"
    assert scrub(text, "x", "", "ted,") == text
    assert scrub(text, "secret") == b"the max of context is exceeded, ***"
