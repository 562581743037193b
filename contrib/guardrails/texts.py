"""Training texts of our own: attacks, and harmless texts that sound like them. Invented, seeded, many languages.

`texts(seed)` yields (text, labels, family). The templates in texts.toml are our own; nothing is taken from an
evaluation set. The words of abuse are in gateway/detect/words/moderation.toml and are not repeated.
"""

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path

DATA = tomllib.loads((Path(__file__).parent / "texts.toml").read_text("utf-8"))


def texts(seed: int = 7) -> Iterator[tuple[str, frozenset[str], str]]:
    """All families, in one fixed order for a seed."""
    rng = random.Random(seed)
    for family in DATA["family"]:
        labels = frozenset(family.get("labels", ()))
        seen: set[str] = set()
        for template in family["templates"]:
            for _ in range(family.get("each", 6)):
                text = _filled(template, rng)
                if text not in seen:
                    seen.add(text)
                    yield _carried(text, family, rng), labels, family["name"]


def _filled(template: str, rng: random.Random) -> str:
    lists = DATA["lists"]
    for _ in range(4):
        if "{" not in template:
            break
        for name, words in lists.items():
            mark = "{" + name + "}"
            while mark in template:
                template = template.replace(mark, rng.choice(words), 1)
    return template


def _carried(text: str, family: dict, rng: random.Random) -> str:
    """Some stand alone, some inside a document of the same kind that harmless texts stand in."""
    if not family.get("carried") or rng.random() < 0.5:
        return rng.choice((text, text, text.lower(), text.rstrip(".?!"), text.replace("'", "\u2019")))
    before, after = rng.choice(DATA["carriers"]["pairs"])
    return f"{before}{text}{after}"
