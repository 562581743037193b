"""Token counts as Gemini reports them in `usageMetadata`, and as clients of its format read them.

Thoughts are beside the candidates' tokens, pages that tools fetched beside the prompt's; the cached ones are inside.
"""

from typing import Any

from gateway.dialects.gemini_fields import camel, word
from gateway.events import Special, Usage

Json = dict[str, Any]

_LARGEST = 1 << 53
_DETAILS = (
    ("promptTokensDetails", "input"), ("cacheTokensDetails", "cached"), ("candidatesTokensDetails", "output"),
)
_TIERS = frozenset({"flex", "priority", "batch"})


def usage_of(tree: Json) -> Usage | None:
    """The tokens of a reply or chunk (its names in camel case); `None` where it has no numbers."""
    meta = tree.get("usageMetadata")
    if type(meta) is not dict:
        return None
    if "promptTokenCount" not in meta:
        meta = camel(meta)
    prompt, said = _count(meta, "promptTokenCount"), _count(meta, "candidatesTokenCount")
    thoughts = _count(meta, "thoughtsTokenCount")
    if prompt is None and said is None and thoughts is None:
        return None
    read = (prompt or 0) + (_count(meta, "toolUsePromptTokenCount") or 0)
    tier = word(meta.get("serviceTier"), {}).lower() if "serviceTier" in meta else ""
    return Usage(
        input=read, output=(said or 0) + (thoughts or 0),
        cached=min(_count(meta, "cachedContentTokenCount") or 0, read), reasoning=thoughts or 0,
        special=_special(meta, tree), tier=tier if tier in _TIERS else "",
    )


def write_usage(usage: Usage) -> Json:
    """The same numbers as Gemini tells them."""
    made = {
        "promptTokenCount": usage.input, "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
    }
    if usage.cached:
        made["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        made["thoughtsTokenCount"] = usage.reasoning
    return made


def _special(meta: Json, tree: Json) -> Special | None:
    """Sound, images and searches, which have prices of their own."""
    found: dict[str, int] = {}
    for name, kind in _DETAILS:
        details = meta.get(name)
        for item in details if type(details) is list else ():
            modality = item.get("modality") if type(item) is dict else None
            if modality in ("AUDIO", "IMAGE") and (count := _count(item, "tokenCount")):
                found[f"{modality.lower()}_{kind}"] = count
    if searches := _searches(tree):
        found["searches"] = searches
    return Special(**found) if found else None


def _searches(tree: Json) -> int:
    """Searches are billed by query, of models before the third generation by request."""
    candidates = tree.get("candidates")
    first = candidates[0] if type(candidates) is list and candidates else None
    meta = first.get("groundingMetadata") if type(first) is dict else None
    queries = meta.get("webSearchQueries") if type(meta) is dict else None
    if type(queries) is not list or not queries:
        return 0
    model = tree.get("modelVersion")
    return 1 if type(model) is str and ("gemini-2" in model or "gemini-1" in model) else len(queries)


def _count(meta: Json, name: str) -> int | None:
    value = meta.get(name)
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if type(value) is int and 0 <= value <= _LARGEST else None
