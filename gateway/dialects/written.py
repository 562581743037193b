"""What the writers of all dialects ask of the common form: an effort for a budget, a name for what is dropped."""

from collections.abc import Mapping, Sequence

from gateway.conversation import Foreign, Part, Reasoning, TextPart


def effort_of(reasoning: Reasoning) -> str:
    """The effort that stands for a budget; empty where reasoning is off without a word for it."""
    if reasoning.effort:
        return reasoning.effort
    if reasoning.off or reasoning.budget is None:
        return ""
    return next((effort for most, effort in _EFFORTS if reasoning.budget <= most), "high")


_EFFORTS: Sequence[tuple[int, str]] = ((1024, "minimal"), (4096, "low"), (16384, "medium"))


def is_plain(part: Part) -> bool:
    """Whether it is text with nothing else to it."""
    return type(part) is TextPart and part.cache is None and not part.citations


def foreign_name(part: Foreign) -> str:
    """What to call a part of another dialect when it is dropped."""
    value = part.value
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not kind and isinstance(value, Mapping) and len(value) == 1:
        kind = next(iter(value))  # Gemini's parts and tools have no type, but one field of that name
    return str(kind or part.dialect)[:64]
