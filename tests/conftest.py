"""What all tests share."""

import pytest

from gateway.accounts.passwords import Passwords


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch, request):
    """Password hashing is slow on purpose; only its own tests need that."""
    if "passwords" not in request.module.__name__:
        monkeypatch.setitem(Passwords.__init__.__kwdefaults__, "cost", 1 << 10)
