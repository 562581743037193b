"""What the functions of the admin API get beside a request: the accounts, the gateway, and where requests come from."""

from typing import TYPE_CHECKING, Any, Literal

from gateway.accounts.principal import Origin
from gateway.admin.browser import Doors, Place
from gateway.admin.endpoint import Ask
from gateway.runtime import Gateway

if TYPE_CHECKING:
    from gateway.accounts.services import Accounts

Registration = Literal["off", "open", "invite"]


class Admin:
    """One for each configuration."""

    def __init__(
        self, gateway: Gateway, accounts: "Accounts", doors: Doors, *, registration: Registration = "off",
        insecure_http: bool = False,
    ) -> None:
        self.gateway = gateway
        self.accounts = accounts
        self.registration = registration
        self.insecure_http = insecure_http
        self._doors = doors

    def place(self, ask: Ask[Any, Any]) -> Place:
        """How a request travelled."""
        return self._doors.place(ask.request.peer, ask.request.headers)

    def origin(self, ask: Ask[Any, Any]) -> Origin:
        """Where a request came from, for the audit."""
        agent = ask.request.headers.get("user-agent", "")[:200]
        shown = "".join(char if char.isprintable() else "?" for char in agent)
        return Origin(address=self.place(ask).address, agent=shown, request_id=ask.request.request_id)

    def check_origin(self, ask: Ask[Any, Any]) -> None:
        """Refuse what a page of another site made a browser send, where no cookie is needed for it to work."""
        self._doors.check_origin(ask.request.headers, strict=False)
