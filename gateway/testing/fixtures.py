"""Fixtures for plugin tests; pytest loads them as soon as the gateway is installed."""

from collections.abc import AsyncIterator

import pytest


@pytest.fixture
async def fake_upstream() -> AsyncIterator[object]:
    """A running `gateway.testing.upstream.FakeUpstream`."""
    from gateway.testing.upstream import FakeUpstream  # here, so that test runs without it stay light

    async with FakeUpstream() as upstream:
        yield upstream
