"""The public page for plugin authors: a change here is a change of the plugin API."""

import ast
from pathlib import Path

import pytest

import gateway

PUBLIC = [
    "About",
    "Attempt",
    "Caller",
    "Conflict",
    "ContentBlocked",
    "Context",
    "Detector",
    "Dialect",
    "Edit",
    "End",
    "Event",
    "Exchange",
    "Filter",
    "Finding",
    "Finish",
    "Forbidden",
    "Gateway",
    "GatewayError",
    "Guardrail",
    "HttpRequest",
    "InternalError",
    "InvalidFields",
    "InvalidRequest",
    "Level",
    "NoSecret",
    "NotFound",
    "ObjectCall",
    "Opaque",
    "Outcome",
    "Peer",
    "Presented",
    "Price",
    "Provider",
    "QuotaExceeded",
    "RateLimited",
    "RateStanding",
    "Record",
    "Redaction",
    "Reply",
    "Request",
    "Route",
    "RouteRequest",
    "Secret",
    "SecretSource",
    "Sink",
    "Stale",
    "Tap",
    "Target",
    "Text",
    "Timeouts",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownModel",
    "UnknownRoute",
    "UnsupportedMedia",
    "UpstreamCut",
    "UpstreamError",
    "UpstreamRefused",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "Usage",
    "Verdict",
    "hookimpl",
]


def test_the_public_names_are_these():
    assert sorted(gateway.__all__) == sorted(PUBLIC)


def test_every_public_name_is_what_type_checkers_see():
    """The imports under TYPE_CHECKING and the names loaded at run time are the same objects."""
    tree = ast.parse(Path(gateway.__file__).read_text())
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("gateway.")
    ]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(seen) == sorted(PUBLIC)
    for name, module in seen.items():
        assert getattr(gateway, name) is getattr(__import__(module, fromlist=[name]), name)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no public name `nothing`"):
        _ = gateway.nothing
