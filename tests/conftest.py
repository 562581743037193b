"""What all tests share."""

import logging
import os

import pytest
import structlog
from hypothesis import HealthCheck, settings

from gateway.accounts.passwords import Passwords

# The same examples in every run, however slow the machine is. Who looks for more: HYPOTHESIS=explore pytest ...
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS", "steady"))


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
