"""All of the accounts in one place, for whoever serves them: the admin API, the command line."""

from gateway.accounts.apikeys import ApiKeys
from gateway.accounts.audit import Audit
from gateway.accounts.book import Book
from gateway.accounts.budgets import Budgets
from gateway.accounts.contents import Contents
from gateway.accounts.credentials import Credentials
from gateway.accounts.invitations import Invitations
from gateway.accounts.passwords import Passwords
from gateway.accounts.policies import Policies
from gateway.accounts.serviceaccounts import ServiceAccounts
from gateway.accounts.sessions import IDLE_MS, LIFETIME_MS, Sessions
from gateway.accounts.sso import SignOn
from gateway.accounts.teams import Teams
from gateway.accounts.tenants import Tenants
from gateway.accounts.users import Users
from gateway.store import Store


class Accounts:
    """One for a process."""

    def __init__(
        self, store: Store, master: bytes, *, idle_ms: int = IDLE_MS, lifetime_ms: int = LIFETIME_MS,
        passwords: Passwords | None = None,
    ) -> None:
        passwords = passwords or Passwords(master)
        self.book = Book(store, master)
        self.sessions = Sessions(self.book, passwords, idle_ms=idle_ms, lifetime_ms=lifetime_ms)
        self.invitations = Invitations(self.book, passwords, self.sessions)
        self.tenants = Tenants(self.book)
        self.teams = Teams(self.book)
        self.users = Users(self.book, passwords)
        self.keys = ApiKeys(self.book)
        self.service_accounts = ServiceAccounts(self.book)
        self.credentials = Credentials(self.book)
        self.policies = Policies(self.book)
        self.contents = Contents(self.book)
        self.audit = Audit(self.book)
        self.budgets = Budgets(self.book)
        self.sign_on = SignOn(self.book, self.sessions)
