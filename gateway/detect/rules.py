"""The table of what is looked for: kinds, their patterns, and what decides about a match.

Numbers of digits alone are not here: one run of digits can be several kinds, see `numbers` and `pii`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.detect import banking, crypto, documents, emails, national_codes, network, postal
from gateway.detect.patterns import Match
from gateway.detect.spans import Span, View

Search = Callable[[int], Iterator[Match]]


class Rule(NamedTuple):
    """`find(view, search)` gives the spans, `search(position)` the matches of `pattern` from there on.

    `trigger` is a simpler pattern that hits wherever the other one does.
    """

    kind: str
    pattern: str
    trigger: str
    find: Callable[[View, Search], Iterator[Span]]


def rules() -> list[Rule]:
    """All of them."""
    dates = r"[0-9]{4}[-./?][0-9]|[0-9][-./ ][0-9]{1,2}[-./ ][0-9]{2}|[ .\-/,](?:19|20)[0-9]{2}|(?:19|20)[0-9]{6}"
    table = [
        Rule("EMAIL", emails.ADDRESS, emails.ADDRESS_TRIGGER, _each(emails.plain)),
        Rule("EMAIL", emails.HIDDEN, emails.HIDDEN_TRIGGER, emails.hidden),
        Rule("EMAIL", emails.SPACED, emails.SPACED_TRIGGER, _each(emails.spaced)),
        Rule("EMAIL", r"@\?", r"@.*\?|\?.*@", lambda view, _: emails.international(view)),
        Rule("IBAN", banking.IBAN, banking.IBAN_TRIGGER, _each(banking.iban)),
        _rule("IBAN", banking.SPACED_IBAN, banking.iban),
        _rule("BANK_ACCOUNT", banking.BIC, banking.bic),
        _rule("BANK_ACCOUNT", banking.IFSC, banking.ifsc),
        _rule("BANK_ACCOUNT", banking.SORT_CODE, banking.sort_code),
        Rule("BANK_ACCOUNT", "[0-9]{6}", "[0-9]{6}", lambda view, _: banking.short_accounts(view)),
        Rule("DATE_OF_BIRTH", documents.DATE, dates, documents.births),
        Rule("PASSPORT", "[0-9]{5}", "[0-9][0-9CFGHJKLMNPRTVWXYZ]{4}", lambda view, _: documents.passports(view)),
        _rule("PASSPORT", documents.MRZ, documents.machine_readable),
        Rule("PASSPORT", documents.LONE_PASSPORT, r"^\s*.?[A-Z][0-9]{8}\b", _each(documents.lone_passport)),
        _rule("IP_ADDRESS", network.V4, network.v4),
        _rule("IP_ADDRESS", network.SPACED_V4, network.spaced_v4),
        Rule("IP_ADDRESS", network.V6, network.V6_TRIGGER, _each(network.v6)),
        _rule("MAC_ADDRESS", network.MAC, network.mac),
        _rule("CRYPTO", crypto.BASE58, crypto.base58),
        _rule("CRYPTO", crypto.BECH32, crypto.segwit),
        _rule("CRYPTO", crypto.ETHEREUM, crypto.shape),
        _rule("CRYPTO", crypto.MONERO, crypto.shape),
        _rule("CRYPTO", crypto.CASH, crypto.shape),
        _rule("CRYPTO", crypto.SOLANA, crypto.solana),
        Rule("ADDRESS", postal.ANGLO, r"[0-9][ ][A-Z]", _each(postal.address)),
        Rule("ADDRESS", postal.CONTINENTAL, r"[ -][0-9]{4,5}[ ]", _each(postal.address)),
        _rule("NAME", postal.NAME, postal.name),
    ]
    table += [_rule("NATIONAL_ID", code.pattern, _coded(code)) for code in national_codes.CODES]
    return table


def _rule(kind: str, pattern: str, judge: Callable[[View, Match], Span | None]) -> Rule:
    return Rule(kind, pattern, pattern, _each(judge))


def _each(judge: Callable[[View, Match], Span | None]) -> Callable[[View, Search], Iterator[Span]]:
    def find(view: View, search: Search) -> Iterator[Span]:
        for match in search(0):
            if (span := judge(view, match)) is not None:
                yield span

    return find


def _coded(code: national_codes.Code) -> Callable[[View, Match], Span | None]:
    return lambda view, match: national_codes.judge(view, code, match)
