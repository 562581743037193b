"""What is stored of requests that are to be done once: who sent what, as hashes, and how it was answered."""

import msgspec

from gateway.store.database import Transaction


class Once(msgspec.Struct, frozen=True):
    """One request: the hash of its body, and, when it is done, its answer (`None`: not kept)."""

    body: str
    done: bool
    status: int = 0
    headers: dict[str, str] = {}
    answer: str | None = None
    expires: int = 0  # when it is forgotten, in epoch ms; 0: as was said when it began


async def begin(tx: Transaction, name: str, body: str, now: int, expires: int) -> Once | None:
    """Note a request that begins, or return what is stored under this name. What is older than its time is dropped."""
    await tx.rows("DELETE FROM idempotency WHERE expires_at <= $1", now)
    rows = await tx.rows("SELECT body, done, status, headers, answer FROM idempotency WHERE name = $1", name)
    if rows:
        found, done, status, headers, answer = rows[0]
        return Once(found, bool(done), status, msgspec.json.decode(headers), answer)
    await tx.insert(
        "idempotency", ("name", "body", "done", "status", "headers", "answer", "expires_at"),
        [(name, body, 0, 0, "{}", None, expires)],
    )  # fmt: skip
    return None


async def finish(tx: Transaction, name: str, once: Once) -> None:
    """Store how it ended."""
    headers = msgspec.json.encode(once.headers).decode()
    await tx.rows(
        "UPDATE idempotency SET done = 1, status = $2, headers = $3, answer = $4, "
        "expires_at = CASE WHEN $5 > 0 THEN $5 ELSE expires_at END WHERE name = $1",
        name, once.status, headers, once.answer, once.expires,
    )  # fmt: skip


async def extend(tx: Transaction, name: str, expires: int) -> None:
    """It still runs."""
    await tx.rows("UPDATE idempotency SET expires_at = $2 WHERE name = $1 AND done = 0", name, expires)


async def drop(tx: Transaction, name: str) -> None:
    """It changed nothing: forget it."""
    await tx.rows("DELETE FROM idempotency WHERE name = $1", name)
