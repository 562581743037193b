"""The limits of a tenant, team, user or key, as fields of its object: `null` is not limited."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.records import Limits
from gateway.admin.values import Dollars, Money, nano, shown

Rate = Annotated[int, Meta(ge=1, le=2**53 - 1)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Models = Annotated[tuple[ModelName, ...], Meta(max_length=1000)]

_FIELDS = (
    ("rate_limit", "requests_per_minute"), ("tokens_per_minute", "tokens_per_minute"), ("concurrency", "concurrency"),
)  # fmt: skip


class LimitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """Requests and tokens a minute, running requests, dollars a UTC day and month, and names or patterns of models."""

    rate_limit: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    daily_budget: Dollars | None
    monthly_budget: Dollars | None
    allowed_models: tuple[str, ...] | None


class LimitsGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same where they are set; what is not given stays as it is."""

    rate_limit: Rate | UnsetType | None = UNSET
    tokens_per_minute: Rate | UnsetType | None = UNSET
    concurrency: Rate | UnsetType | None = UNSET
    daily_budget: Money | UnsetType | None = UNSET
    monthly_budget: Money | UnsetType | None = UNSET
    allowed_models: Models | UnsetType | None = UNSET


def limits_shown(limits: Limits) -> dict[str, Any]:
    """The fields of `LimitsShown`."""
    return {
        "rate_limit": limits.requests_per_minute, "tokens_per_minute": limits.tokens_per_minute,
        "concurrency": limits.concurrency, "daily_budget": shown(limits.cost_daily),
        "monthly_budget": shown(limits.cost_monthly), "allowed_models": limits.models,
    }  # fmt: skip


def limits_given(given: LimitsGiven) -> dict[str, Any]:
    """The fields of `Limits` that were given."""
    changes: dict[str, Any] = {
        stored: value for name, stored in _FIELDS if (value := getattr(given, name)) is not UNSET
    }
    if given.daily_budget is not UNSET:
        changes["cost_daily"] = nano(given.daily_budget, "daily_budget")
    if given.monthly_budget is not UNSET:
        changes["cost_monthly"] = nano(given.monthly_budget, "monthly_budget")
    if given.allowed_models is not UNSET:
        changes["models"] = given.allowed_models
    return changes
