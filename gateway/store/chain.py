"""The chain of audit entries: each is linked to the one before it by a keyed hash. Proving it: `accounts/audit.py`."""

import hashlib
import hmac
from typing import Final

import msgspec

from gateway.accounts.records import AuditEntry
from gateway.store.database import Transaction

FIRST_MAC: Final = "0" * 64


async def append(tx: Transaction, entry: AuditEntry, key: bytes) -> None:
    """Append an entry to the chain."""
    # The head first: whoever writes at the same time waits for its row, whatever the database.
    ((seq, before),) = await tx.rows("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, mac")
    digest = entry_digest(key, entry)
    columns = ("seq", *AuditEntry.__struct_fields__, "digest", "mac", "pruned")
    fields = msgspec.structs.asdict(entry) | {"detail": msgspec.json.encode(entry.detail).decode()}
    mac = chained(key, seq, before, digest)
    await tx.insert("audit", columns, [(seq, *fields.values(), digest, mac, 0)])
    await tx.rows("UPDATE audit_head SET mac = $1 WHERE id = 1", mac)


def entry_digest(key: bytes, entry: AuditEntry) -> str:
    """A keyed hash of all that an entry says."""
    return hmac.digest(key, msgspec.json.encode(entry), hashlib.sha256).hex()


def chained(key: bytes, seq: int, before: str, digest: str) -> str:
    """The link of one entry to the one before it."""
    return hmac.digest(key, f"{seq}|{before}|{digest}".encode(), hashlib.sha256).hex()


def emptied(key: bytes, seq: int, digest: str) -> str:
    """The mark of an entry that is empty because its time is over."""
    return hmac.digest(key, f"emptied|{seq}|{digest}".encode(), hashlib.sha256).hex()
