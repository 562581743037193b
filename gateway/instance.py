"""Which gateway this is among those that share a database or counters: an id, made once in the data directory."""

import contextlib
import secrets
from pathlib import Path

from gateway.store.lock import private_directory


def instance(data_dir: Path) -> str:
    """Sixteen hex digits that stay the same for this data directory."""
    private_directory(data_dir)
    file = data_dir / "instance"
    with contextlib.suppress(FileExistsError), file.open("x") as made:
        made.write(secrets.token_hex(8))
    return file.read_text()
