"""Recognises financial advice, asked for or given, and confidential material: by deeds and marks, not by topic alone.

Both judge a whole text by which signals it has. The signals stand in words/finance.toml and words/confidential.toml.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from gateway.detect.linear import windows
from gateway.detect.phrases import plain
from gateway.detect.signals import Signals

_ASKS = {"#ask_should", "#ask_money", "#ask_good", "#ask_pick", "#ask_future", "#ask_share", "#ask_wealth"}
_GIVES = {"#give_you", "#give_order", "#give_share"}
_OTHER_TALK = {"#knowledge", "#service", "#story"}
_MARKS = {
    "#banner", "#strictly", "#confidential_matter", "#this_is", "#spread", "#internal", "#privileged", "#mnpi",
    "#embargo", "#secret", "#others",
}  # fmt: skip


class FinancialAdvice:
    """How surely a text asks for personal financial advice, or gives it."""

    def __init__(self) -> None:
        self._signals = Signals("finance")

    def score(self, text: str) -> float:
        """From 0 to 1; 0.5 is advice."""
        return _worst(text, self._signals, _advice)


class Confidential:
    """How surely a text is confidential material."""

    def __init__(self) -> None:
        self._signals = Signals("confidential")

    def score(self, text: str) -> float:
        """From 0 to 1; 0.5 is confidential."""
        return _worst(text, self._signals, _confidential)


def _worst(text: str, signals: Signals, judge: Callable[[AbstractSet[str]], float]) -> float:
    return max(judge(frozenset(signals.found(window))) for window in windows(plain(text).text))


def _advice(seen: AbstractSet[str]) -> float:
    """A deed and something to invest in; a question of knowledge or service, or a story, speaks against it."""
    deeds = len(seen & (_ASKS | _GIVES))
    about = "#asset" in seen
    deeds += about and bool(seen & {"#ask_time", "#ask_which", "#give_promise", "#foreign"})
    deeds += bool(seen & {"#debt"}) or {"#retire", "#ask_personal"} <= seen or {"#tax", "#ask_personal"} <= seen
    if not deeds or not (about or seen & {"#ask_money", "#ask_share", "#ask_wealth", "#debt", "#retire", "#foreign"}):
        return 0.2 if about else 0.0
    points = 0.45 + 0.15 * deeds + 0.1 * ("#ask_personal" in seen)
    against = len(seen & _OTHER_TALK) - bool({"#ask_personal", "#knowledge"} <= seen)
    return min(1.0, max(0.0, points - 0.25 * max(0, against)))


def _confidential(seen: AbstractSet[str]) -> float:
    """Marks of confidentiality; figures strengthen them, talk about confidentiality weakens them."""
    marks = len(seen & _MARKS)
    if not marks:
        return 0.0
    return min(1.0, max(0.0, 0.45 + 0.15 * marks + 0.1 * ("#figures" in seen) - 0.35 * ("#talk" in seen)))
