"""The accounts as the command line reaches them: whoever can read the master secret is the platform's owner.

What is done here is in the audit under the name of the system's user.
"""

import getpass
import platform
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from gateway.accounts.bootstrap import load_master_secret
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import User
from gateway.accounts.services import Accounts
from gateway.commands.place import Place
from gateway.store import Page, Store

T = TypeVar("T")


class Session:
    """One run of a command: the services, and who asks from where."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.who = Principal(id="cli", kind="operator", name=_user(), role="owner", home="default")
        self.origin = Origin(agent=f"gateway command line on {platform.node() or 'this machine'}")

    async def user(self, named: str) -> User:
        """A user by id or address."""
        if "@" not in named:
            return await self.accounts.users.get(self.who, named)
        found = await self.accounts.book.store.find_user(named)
        if found is None:
            raise click.ClickException(f"There is no user with the address {named}.")
        return found


def run(place: Place, work: Callable[[Session], Awaitable[T]]) -> T:
    """Run `work` beside a running gateway or without one; its errors become the command's."""

    async def with_store(store: Store) -> T:
        return await work(Session(Accounts(store, load_master_secret(place.config, place.data_dir))))

    return place.run(with_store)


async def everything(page: Callable[[str], Awaitable[Page[T]]], most: int) -> list[T]:
    """The items of all pages, up to `most`. `page` takes a cursor."""
    found: list[T] = []
    cursor = ""
    while len(found) < most:
        part = await page(cursor)
        found += part.items
        if part.next is None:
            break
        cursor = part.next
    return found[:most]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "operator"
