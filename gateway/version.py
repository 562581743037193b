"""Which version this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed


def version() -> str:
    """The installed version, or `unknown` for a checkout that was never installed."""
    try:
        return _installed("ai-gateway")
    except PackageNotFoundError:
        return "unknown"
