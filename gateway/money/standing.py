"""What the standing of budgets says: which of them stand against a request, what is left, and how that is told.

Pure; taking and giving back is in `limiter.budget`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.clock import now_ms
from gateway.errors import QuotaExceeded
from gateway.limits import NO_RETRY, title
from gateway.money import dollars
from gateway.money.budgets import Budget, moment
from gateway.shared_state import Standing


def over(budgets_: Sequence[Budget], standings: Sequence[Standing], amount: int) -> list[Budget]:
    """The budgets that stand against a request of this cost."""
    return [
        budget for budget, standing in zip(budgets_, standings, strict=False)
        if budget.limit is not None and standing.used + amount > budget.limit
    ]


def left(budgets_: Sequence[Budget], standings: Sequence[Standing]) -> int:
    """What is left of the tightest limit, in nano-dollars; of those that only warn, where no other is."""
    left = warned = 1 << 62
    for budget, standing in zip(budgets_, standings, strict=False):
        if budget.limit is not None:
            if (free := budget.limit - standing.used) < left:
                left = free
        elif budget.policy is not None and budget.policy.action == "warn":
            warned = min(warned, budget.policy.amount - standing.used)
    return max(0, left if left < 1 << 62 else warned if warned < 1 << 62 else 0)


def blocks(budget: Budget) -> bool:
    """Whether it refuses what does not fit, and leads nowhere else."""
    return budget.policy is None or budget.policy.action == "block"


def exceeded(budget: Budget, standing: Standing, amount: int) -> QuotaExceeded:
    """Which limit, how much of it is left, and when it starts anew."""
    named = f"budget `{budget.policy.name}`" if budget.policy is not None else "cost limit"
    used = dollars(standing.used)
    text = (
        f"The {budget.period} {named} of {title(budget.level)} is ${dollars(standing.limit)}, with ${used} spent or "
        f"reserved by running requests and ${dollars(standing.remaining)} left; this request may cost "
        f"${dollars(amount)}. "
    )
    if budget.ends_ms:
        resets = f"{moment(budget.ends_ms):%Y-%m-%dT%H:%M:%SZ}"
        wait: float | None = max(1.0, (budget.ends_ms - now_ms()) / 1000)
        text += f"The limit starts anew at {resets}."
    else:
        wait = standing.retry_after
        resets = f"{moment(now_ms() + round((wait or 0) * 1000)):%Y-%m-%dT%H:%M:%SZ}" if wait is not None else ""
        text += f"Enough of it is free again at {resets}." if resets else "It is more than the whole limit."
    error = QuotaExceeded(text, headers=NO_RETRY, retry_after=wait)
    error.details = {
        "limit": dollars(standing.limit), "remaining": dollars(standing.remaining), "period": budget.period,
        "level": budget.level.kind, **({"budget": budget.policy.id} if budget.policy is not None else {}),
        **({"resets_at": resets} if resets else {}),
    }  # fmt: skip
    return error


def entry(budget: Budget, amount: int, standing: Standing) -> Mapping[str, Any]:
    """One budget in a dry run; money in dollars."""
    limit = budget.shown_limit or 0
    left = limit - standing.used - amount
    would = "pass" if left >= 0 else budget.policy.action if budget.policy is not None else "refuse"
    return {
        "limit": f"cost_{budget.period}", "level": budget.level.kind, "name": _named(budget),
        "max": dollars(limit), "used": dollars(standing.used), "remaining": dollars(max(0, limit - standing.used)),
        "reserve": dollars(amount), "left": dollars(max(0, left)), "would": "refuse" if would == "block" else would,
    }  # fmt: skip


def _named(budget: Budget) -> str:
    return budget.policy.name if budget.policy is not None else budget.level.name or budget.level.id
