"""What the terminal shows when the gateway has started. The first start's secrets are here and nowhere else."""

from typing import TYPE_CHECKING

import msgspec

from gateway.config import Config

if TYPE_CHECKING:
    from gateway.accounts.bootstrap import FirstRun

_DEMO = "demo-small"


def banner(url: str, config: Config, first: "FirstRun | None") -> str:
    """One line; at the very first start also the administrator, the key and a first request."""
    line = f"AI Gateway is running: {url} (API: {url}/api/v1)\n"
    if first is None:
        return line
    return (
        f"{line}\n"
        "This is its first start. What follows is shown this once: keep it.\n\n"
        f"email: {first.email}\n"
        f"password: {first.password}\n"
        f"key: {first.key}\n\n"
        f"A first request:\n\n{_curl(url, config, first.key)}\n"
    )


def _curl(url: str, config: Config, key: str) -> str:
    body = msgspec.json.encode({"model": _model(config), "messages": [{"role": "user", "content": "Hello!"}]}).decode()
    quoted = body.replace("'", "'\\''")
    return (
        f"curl {url}/api/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{quoted}'\n"
    )


def _model(config: Config) -> str:
    """The demo model if it is configured, else the first model with a whole name."""
    names = [model.name for model in config.models if "*" not in model.name]
    return _DEMO if _DEMO in names or not names else names[0]
