"""Exports that are added up: by time, model, provider, key, user, team, tenant; and the columns of FOCUS.

FOCUS is the FinOps Foundation's schema of cost and usage (focus.finops.org, version 1.1): one row for each day, tenant,
team, key and model. Columns of our own begin with `x_`, as the schema asks for.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

from gateway.errors import InvalidFields
from gateway.money import dollars
from gateway.reporting.exports import iso
from gateway.reporting.periods import Interval, Period, month_of, starts
from gateway.reporting.sums import names_of
from gateway.store import Store
from gateway.store.reports import By, Sums, Which

# What a group is called in a request -> what the store calls it.
GROUPS: Final[dict[str, By]] = {
    "model": "model", "provider": "provider", "key": "key", "user": "owner", "team": "team", "tenant": "tenant",
    "target_model": "target_model",
}  # fmt: skip
FOCUS: Final = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "CapacityReservationId", "CapacityReservationStatus", "ChargeCategory", "ChargeClass",
    "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory",
    "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity", "CommitmentDiscountStatus",
    "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags", "x_Requests", "x_InputTokens",
    "x_OutputTokens", "x_CachedTokens", "x_EstimatedRequests", "x_UnpricedRequests",
)  # fmt: skip

_SUMS: Final = (
    "total_requests", "successful_requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "total_cost", "unpriced", "estimated",
)  # fmt: skip
_BY_DAY: Final[tuple[By, ...]] = ("tenant", "team", "key", "provider", "model", "target_model")


def read_groups(text: str) -> tuple[list[str], Interval | None]:
    """What `group_by` asks for: groups, and at most one piece of time. Raises `InvalidFields`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    times = [name for name in names if name in get_args(Interval)]
    found = [name for name in names if name in GROUPS]
    if len(times) + len(found) != len(names) or len(times) > 1 or len(set(names)) != len(names) or not names:
        known = ", ".join((*get_args(Interval), *GROUPS))
        raise InvalidFields(("group_by", f"must be some of {known}, with commas between, at most one of them a time"))
    return found, times[0] if times else None  # type: ignore[return-value]


async def grouped_rows(
    store: Store, which: Which, when: Period, groups: Sequence[str], interval: Interval | None
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """The head and the rows of sums by these groups and this piece of time."""
    cuts = starts(when, interval) if interval else [when.start]
    found = await store.usage_sums(which, when.start, when.end, [GROUPS[name] for name in groups], cuts)
    ends = dict(zip(cuts, [*cuts[1:], when.end], strict=True))
    head = (*(("start", "end") if interval else ()), *groups, *_SUMS)
    rows: list[tuple[object, ...]] = []
    for each in sorted(found, key=lambda each: (each.start_ms, each.names)):
        time = _span(when, each.start_ms, ends[each.start_ms]) if interval else ()
        rows.append((
            *time, *each.names, each.requests, each.succeeded, each.input, each.output, each.cached, each.cache_write,
            each.reasoning, dollars(each.cost), each.unpriced, each.estimated,
        ))  # fmt: skip
    return head, rows


async def focus_rows(store: Store, which: Which, when: Period) -> list[tuple[object, ...]]:
    """The rows of FOCUS, in the order of its columns."""
    days = starts(when, "day")
    found = await store.usage_sums(which, when.start, when.end, _BY_DAY, days)
    ends = dict(zip(days, [*days[1:], when.end], strict=True))
    tenants = await names_of(store, "tenant", _distinct(found, 0))
    keys = await names_of(store, "key", _distinct(found, 2))
    return [_focus(each, when, ends[each.start_ms], tenants, keys) for each in found if each.cost or each.succeeded]


def _focus(each: Sums, when: Period, end: int, tenants: dict[str, str], keys: dict[str, str]) -> tuple[object, ...]:
    tenant, team, key, provider, model, target = each.names
    month = month_of(each.start_ms, when.zone)
    cost, tokens = dollars(each.cost), each.input + each.output
    values: dict[str, Any] = {
        "BilledCost": cost, "EffectiveCost": cost, "ListCost": cost, "ContractedCost": cost, "BillingCurrency": "USD",
        "BillingAccountId": tenant, "BillingAccountName": tenants.get(tenant, tenant),
        "BillingPeriodStart": _utc(month.start), "BillingPeriodEnd": _utc(month.end),
        "ChargeCategory": "Usage", "ChargeDescription": f"{target or model} at {provider}",
        "ChargeFrequency": "Usage-Based", "ChargePeriodStart": _utc(each.start_ms), "ChargePeriodEnd": _utc(end),
        "ConsumedQuantity": str(tokens), "ConsumedUnit": "Tokens", "InvoiceIssuerName": provider,
        "PricingCategory": "Standard", "PricingQuantity": str(tokens), "PricingUnit": "Tokens",
        "ProviderName": provider, "PublisherName": provider, "ResourceId": key, "ResourceName": keys.get(key, key),
        "ResourceType": "API key", "ServiceCategory": "AI and Machine Learning", "ServiceName": model,
        "ServiceSubcategory": "Generative AI", "SkuId": f"{provider}/{target}", "SkuPriceId": f"{provider}/{target}",
        "SkuMeter": "Tokens", "SubAccountId": team or None, "SubAccountName": team or None,
        "Tags": "{}", "x_Requests": each.requests, "x_InputTokens": each.input, "x_OutputTokens": each.output,
        "x_CachedTokens": each.cached, "x_EstimatedRequests": each.estimated, "x_UnpricedRequests": each.unpriced,
    }  # fmt: skip
    return tuple(values.get(name) for name in FOCUS)


def _distinct(found: Iterable[Sums], place: int) -> list[str]:
    return list(dict.fromkeys(each.names[place] for each in found))


def _span(when: Period, start: int, end: int) -> tuple[str, str]:
    return when.moment(start).isoformat(), when.moment(end).isoformat()


def _utc(milliseconds: int) -> str:
    return iso(milliseconds)[:19] + "Z"
