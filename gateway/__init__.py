"""AI Gateway: what a plugin may import. Everything else in this package can change without notice.

A name is loaded when it is first used, so that the command line starts at once.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Timeouts
    from gateway.errors import (
        Conflict,
        ContentBlocked,
        Forbidden,
        GatewayError,
        InternalError,
        InvalidFields,
        InvalidRequest,
        NotFound,
        QuotaExceeded,
        RateLimited,
        Stale,
        TooLarge,
        Unauthenticated,
        Unavailable,
        UnknownModel,
        UnknownRoute,
        UnsupportedMedia,
        UpstreamCut,
        UpstreamError,
        UpstreamRefused,
        UpstreamTimeout,
        UpstreamUnreachable,
    )
    from gateway.events import End, Event, Finish, Opaque, Record, Text, Usage
    from gateway.exchange import Attempt, Caller, Edit, Exchange, Level, Outcome, Price, Request, Target
    from gateway.hookspecs import (
        About,
        Context,
        Detector,
        Dialect,
        Filter,
        Finding,
        Guardrail,
        HttpRequest,
        NoSecret,
        ObjectCall,
        Presented,
        Provider,
        RateStanding,
        Redaction,
        Reply,
        Route,
        RouteRequest,
        SecretSource,
        Sink,
        Tap,
        Verdict,
        hookimpl,
    )
    from gateway.runtime import Gateway
    from gateway.secrets import Secret
    from gateway.upstream import Peer

__all__ = [
    "About", "Attempt", "Caller", "Conflict", "ContentBlocked", "Context", "Detector", "Dialect", "Edit", "End",
    "Event", "Exchange", "Filter", "Finding", "Finish", "Forbidden", "Gateway", "GatewayError", "Guardrail",
    "HttpRequest", "InternalError", "InvalidFields", "InvalidRequest", "Level", "NoSecret", "NotFound",
    "ObjectCall", "Opaque",
    "Outcome", "Peer", "Presented", "Price", "Provider", "QuotaExceeded", "RateLimited", "RateStanding", "Record",
    "Redaction", "Reply", "Request", "Route", "RouteRequest", "Secret", "SecretSource", "Sink", "Stale", "Tap",
    "Target", "Text", "Timeouts", "TooLarge", "Unauthenticated", "Unavailable", "UnknownModel", "UnknownRoute",
    "UnsupportedMedia", "UpstreamCut", "UpstreamError", "UpstreamRefused", "UpstreamTimeout", "UpstreamUnreachable",
    "Usage", "Verdict", "hookimpl",
]  # fmt: skip

_HOMES = ("errors", "events", "exchange", "hookspecs", "secrets", "config", "runtime", "upstream")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            found = vars(importlib.import_module(f"gateway.{home}"))
            if name in found:
                globals()[name] = found[name]
                return found[name]
    raise AttributeError(f"module `gateway` has no public name `{name}`")
