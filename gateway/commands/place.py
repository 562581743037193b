"""Where a command finds the gateway's data: the options `--config` and `--data-dir`, and the store there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from gateway.commands import config_option, find_config
from gateway.config import Config
from gateway.configfile import ConfigError, load_place
from gateway.errors import GatewayError
from gateway.observe import aside
from gateway.store import Store
from gateway.store.opening import SQLITE, command_store
from gateway.store.sqlite import DATABASE

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Place(msgspec.Struct, frozen=True):
    """A data directory, and a configuration of which only `data_dir`, `secret` and `database` were read; `file` is
    where it was read from."""

    config: Config
    data_dir: Path
    file: Path | None = None

    def run(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Run `work` with the store of this place; its errors become the command's."""

        async def with_store() -> T:
            store = await command_store(self.config, self.data_dir)
            try:
                return await work(store)
            finally:
                await store.close()

        aside()
        if self.config.database == SQLITE and not (self.data_dir / DATABASE).exists():
            raise click.ClickException(
                f"{self.data_dir} holds no gateway's data. Start the gateway once, or name its directory with "
                "--data-dir, or its configuration with --config."
            )
        try:
            return asyncio.run(with_store())
        except GatewayError as error:
            raise click.ClickException(error.message) from error


def at_place(command: Command) -> Command:
    """Adds the two options to a command, which gets them as its first argument, a `Place`."""

    def place(config: Path | None, data_dir: Path | None, **options: object) -> object:
        try:
            file = find_config(config)
            loaded = Config() if file is None else load_place(file)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error
        return command(Place(loaded, data_dir or Path(loaded.data_dir), file), **options)

    place.__name__, place.__doc__ = command.__name__, command.__doc__
    place.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    data_dir = click.option(
        "--data-dir", type=click.Path(path_type=Path), help="The gateway's data directory: else the configuration's."
    )
    return config_option(data_dir(place))  # type: ignore[return-value]
