"""The public test kit for plugin authors.

`exchange()` and `caller()` build what a hook gets; `answered()` streams an answer through a guardrail;
`FakeUpstream` is a provider that answers, or fails as told; `contract.py` has suites that a plugin passes by
subclassing. pytest loads `fixtures.py` as soon as the gateway is installed, hence names are loaded at first use.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.testing.behaviour import Behaviour
    from gateway.testing.contract import GuardrailContract, ProviderContract, SinkContract
    from gateway.testing.exchanges import answered, answering, caller, exchange
    from gateway.testing.upstream import FakeUpstream, Received

__all__ = [
    "Behaviour", "FakeUpstream", "GuardrailContract", "ProviderContract", "Received", "SinkContract", "answered",
    "answering", "caller", "exchange",
]  # fmt: skip

_HOMES = ("exchanges", "behaviour", "upstream", "contract")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            found = vars(importlib.import_module(f"gateway.testing.{home}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module `gateway.testing` has no name `{name}`")
