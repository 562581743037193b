"""Opens the shared state of several machines. What one machine uses, its processes open themselves."""

import secrets
from pathlib import Path

from gateway.errors import Unavailable
from gateway.instance import instance
from gateway.shared_state import SharedState

AUTO = "auto"


def server_state(url: str, data_dir: Path, owner: str) -> SharedState:
    """The state on the server at `url`, for the process `owner` of the gateway that lives in `data_dir`.

    Connects when it is first used. Raises `Unavailable` where the client library is not installed.
    """
    try:
        from gateway.shared_state.fallback import CoordinatedState
        from gateway.shared_state.valkey import ValkeyState
    except ModuleNotFoundError as error:
        raise Unavailable(
            "`shared_state` names a server, and the client for it is not installed: pip install 'ai-gateway[redis]'"
        ) from error
    return CoordinatedState(ValkeyState(url, owner, machine=instance(data_dir)))


def life(owner: str) -> str:
    """A name for one life of a process: what an earlier one held is given back when that one is silent for long."""
    return f"{owner}-{secrets.token_hex(4)}"
