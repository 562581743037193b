"""Reads one cookie of a request. Setting cookies is the business of whoever sets them."""

from collections.abc import Mapping


def read_cookie(headers: Mapping[str, str], name: str) -> str | None:
    """The cookie's value, or `None`; of two with this name `None` too: one of them is forged."""
    found = [
        value.strip() for field in headers.get("cookie", "").split(";")
        for key, sign, value in [field.partition("=")] if sign and key.strip() == name
    ]  # fmt: skip
    return found[0].strip('"') if len(found) == 1 else None
