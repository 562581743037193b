"""What all tests share."""

import logging
import os

import pytest
import structlog
from hypothesis import HealthCheck, settings

from gateway.accounts.passwords import Passwords
from gateway.store import sqlite

# The same examples in every run, however slow the machine is. Who looks for more: HYPOTHESIS=explore pytest ...
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS", "steady"))


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """What a killed process wrote is kept by the kernel: only a power cut would show that it is not on the disk yet."""
    quick = tuple(line.replace("synchronous = FULL", "synchronous = OFF") for line in sqlite._WRITE)
    assert quick != sqlite._WRITE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "_WRITE", quick)
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch, request):
    """Password hashing is slow on purpose; only its own tests need that."""
    if "passwords" not in request.module.__name__:
        monkeypatch.setitem(Passwords.__init__.__kwdefaults__, "cost", 1 << 10)


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A command under test sets logging up for its process, which here is the one of all tests."""
    structlog.reset_defaults()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level
