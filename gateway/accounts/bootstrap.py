"""The very first start: the data directory, the master secret, and the first tenant, user and key."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.accounts import keys
from gateway.accounts.passwords import Passwords, generate
from gateway.accounts.records import NewUser, Tenant, User
from gateway.clock import now_ms
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.secrets import MIN_SECRET_BYTES
from gateway.store import Store
from gateway.store.lock import private_directory

TENANT: Final = "default"
EMAIL: Final = "admin@localhost"

_log = structlog.get_logger("gateway.accounts")


class SecretError(Unavailable):
    """The master secret is too short, or others can read it: the gateway does not start with it."""

    code = "secret_unusable"


class FirstRun(msgspec.Struct, frozen=True):
    """What the first start made. It is printed once and kept nowhere."""

    email: str
    password: str
    key: str

    def __repr__(self) -> str:
        return "FirstRun(***)"


class FirstPassword(msgspec.Struct, frozen=True):
    """The owner's password to be, and its hash, which takes a third of a second: so it is begun early."""

    password: str
    hash: str

    def __repr__(self) -> str:
        return "FirstPassword(***)"


async def first_password(store: Store, master: bytes) -> FirstPassword | None:
    """What `bootstrap` will need; `None` when there is a user already."""
    if await store.count_users():
        return None
    password = generate()
    return FirstPassword(password, await Passwords(master).hash(password))


async def bootstrap(store: Store, master: bytes, prepared: FirstPassword | None = None) -> FirstRun | None:
    """Make the tenant `default`, its owner and a first key, all or none; `None` when there is a user already."""
    prepared = prepared or await first_password(store, master)
    if prepared is None:
        return None
    now = now_ms()
    user = User(id=keys.new_id(), tenant=TENANT, email=EMAIL, name="Administrator", role="owner", created=now)
    key, record = keys.issue(keys.pepper(master), tenant=TENANT, owner=user.id, name="First key", created=now)
    made = await store.create_first(
        Tenant(id=TENANT, name="Default", created=now),
        NewUser(user=user, password_hash=prepared.hash),
        record,
    )
    return FirstRun(EMAIL, prepared.password, key) if made else None


def load_master_secret(config: Config, data_dir: Path) -> bytes:
    """The master secret: `secret` of the configuration, else the file `data_dir/secret`, made at the first start."""
    private_directory(data_dir)
    if config.secret is not None:
        return _long_enough(config.secret.encode(), "`secret` in the configuration")
    path = data_dir / "secret"
    if not path.exists():
        if (data_dir / "gateway.db").exists():
            _log.error("the secret is gone: with a new one no key and no password of before is valid", file=str(path))
        _create(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SecretError(f"The secret file {path} has mode {mode:04o}: others can read it. Run `chmod 600 {path}`.")
    try:
        return _long_enough(path.read_bytes().strip(), f"The secret file {path}")
    except OSError as error:
        raise SecretError(f"The secret file {path} cannot be read: {error.strerror}.") from error


def _long_enough(secret: bytes, where: str) -> bytes:
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretError(
            f"{where} has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed. If keys exist "
            "already, restore the old one from a backup: with another secret none of them is valid."
        )
    return secret


def _create(path: Path) -> None:
    """Complete or not at all, and never over one that another process made at the same moment."""
    part = path.with_name(f"secret.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor with its mode set at creation
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()
