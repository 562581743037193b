"""Measures the built-in guardrails on labelled texts and writes docs/guardrails/quality.md.

    make guardrail-eval    # or: python contrib/guardrails/evaluate.py [--data DIR] [--only guardrail.pii] [--print]

The data is not part of the project (`--data`, default ../shared/guardrail-data; its README says what is in it). What is
measured here is development data: the authors have seen it, so figures on unseen texts are lower. Every guardrail runs
with its default options. Latency is the processor time of one text of 500 tokens (2000 characters) after a warm-up.
"""

import argparse
import collections
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/guardrails/quality.md"
CORE = ("EMAIL", "PHONE", "US_SSN", "CREDIT_CARD", "IBAN", "IP_ADDRESS")
OTHER = ("US_ITIN", "BANK_ACCOUNT", "DATE_OF_BIRTH", "NATIONAL_ID", "PASSPORT", "CRYPTO")
MODERATION = ("hate", "harassment", "sexual", "violence", "self_harm", "illegal")
SAMPLE, REPEATS = 2000, 400
NONE = "\u2013"
Row = dict  # a line of the data, as its README describes it
Scan = Callable[[str], Sequence]


def main() -> None:
    """Measure, print, write the page."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--data", type=Path, default=ROOT.parent / "shared/guardrail-data")
    options.add_argument("--only", action="append", default=[], help="a guardrail's ID; can be given several times")
    options.add_argument("--print", action="store_true", help="print only, write no page")
    chosen = options.parse_args()
    if not (chosen.data / "pii.jsonl").is_file():
        sys.exit(f"no labelled texts in {chosen.data}: give their directory with --data")
    data = {path.stem: load(path) for path in sorted(chosen.data.glob("*.jsonl"))}
    lines = ["# Quality of the guardrails", "", *ABOUT.strip().splitlines(), ""]
    for plugin in measured():
        if chosen.only and plugin not in chosen.only:
            continue
        scan = detector(plugin)
        if scan is None:
            lines += [f"## {plugin}", "", "Not installed here.", ""]
            continue
        lines += [f"## {plugin}", "", *REPORTS[plugin](scan, data), "", *latency(scan, data), ""]
    print("\n".join(lines))
    if not chosen.print and not chosen.only:
        PAGE.write_text("\n".join(lines).rstrip() + "\n")


def measured() -> Iterable[str]:
    """The IDs of the guardrails that can be measured."""
    return REPORTS


def load(path: Path) -> list[Row]:
    """The rows of one file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def detector(plugin: str) -> Scan | None:
    """The plugin's `scan` with its default options; `None` if it is not there."""
    found = {entry.name: entry.value for entry in entry_points(group="ai_gateway.plugins")}
    if plugin not in found:
        return None
    module, _, name = found[plugin].partition(":")
    cls = getattr(importlib.import_module(module), name)
    return cls(cls.Config()).scan


def covered(start: int, end: int, spans: Sequence[tuple[int, int]]) -> float:
    """How much of the characters from `start` to before `end` lies in the spans."""
    hit = bytearray(end - start)
    for low, high in spans:
        for at in range(max(low, start), min(high, end)):
            hit[at - start] = 1
    return sum(hit) / max(1, end - start)


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """How often a positive text scores higher than a negative one; ties count half."""
    if not positive or not negative:
        return float("nan")
    ranks: dict[float, list[int]] = collections.defaultdict(lambda: [0, 0])
    for score in positive:
        ranks[score][0] += 1
    for score in negative:
        ranks[score][1] += 1
    below = won = 0.0
    for score in sorted(ranks):
        plus, minus = ranks[score]
        won += plus * (below + minus / 2)
        below += minus
    return won / (len(positive) * len(negative))


def average_precision(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The mean precision over the positives, from the highest score down; ties in the worst order."""
    ranked = sorted([(-score, 1) for score in positive] + [(-score, 0) for score in negative])
    hits, total = 0, 0.0
    for place, (_, label) in enumerate(ranked, 1):
        hits += label
        total += hits / place if label else 0
    return total / max(1, len(positive))


def span_report(scan: Scan, data: dict[str, list[Row]], groups: dict[str, Sequence[str]]) -> list[str]:
    """For guardrails that say where: per group of kinds, then per source and kind."""
    found = {row["id"]: [(f.start, f.end, f.kind, f.score) for f in scan(row["text"])] for row in data["pii"]}
    ordinary = {row["id"]: [(f.start, f.end, f.kind, f.score) for f in scan(row["text"])] for row in data["benign"]}
    head = "| | precision | recall | F1 | plain | disguised | AUC | hard negatives | ordinary documents |"
    lines = [head, "|---" * 9 + "|"]
    for name, kinds in groups.items():
        lines.append(f"| {name} | {' | '.join(span_figures(data, found, ordinary, frozenset(kinds)))} |")
    lines += ["", "Recall by source and kind:", "", "| | " + " | ".join(sources(data["pii"])) + " |"]
    lines.append("|---" * (1 + len(sources(data["pii"]))) + "|")
    for kind in [kind for kinds in groups.values() for kind in kinds]:
        cells = [recall_of(data["pii"], found, kind, source) for source in sources(data["pii"])]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def span_figures(data: dict[str, list[Row]], found: dict, ordinary: dict, kinds: frozenset[str]) -> list[str]:
    """One row of the table: a true span counts when 80 % of it is covered, a found one when half of it is true."""
    right = total = flagged = negatives = wrong = 0
    hits: dict[bool, list[int]] = {True: [0, 0], False: [0, 0]}
    scores: dict[bool, list[float]] = {True: [], False: []}
    for row in data["pii"]:
        mine = [span for span in found[row["id"]] if span[2] in kinds]
        truth = [(gold["start"], gold["end"]) for gold in row["spans"]]
        for gold in row["spans"]:
            if gold["type"] in kinds:
                cell = hits["obf" in gold]
                cell[0] += covered(gold["start"], gold["end"], [span[:2] for span in mine]) >= 0.8
                cell[1] += 1
        total += len(mine)
        right += sum(covered(start, end, truth) >= 0.5 for start, end, *_ in mine)
        if not truth:
            negatives += 1
            flagged += bool(mine)
        if not truth or any(gold["type"] in kinds for gold in row["spans"]):
            scores[bool(truth)].append(max((span[3] for span in mine), default=0.0))
    for row in data["benign"]:
        known = [(span["start"], span["end"]) for span in row["pii_spans"] + row["pii_ignore"]]
        wrong += any(covered(span[0], span[1], known) < 0.3 for span in ordinary[row["id"]] if span[2] in kinds)
    recall = (hits[True][0] + hits[False][0]) / max(1, hits[True][1] + hits[False][1])
    precision = right / max(1, total)
    figures = [precision, recall, 2 * precision * recall / max(1e-9, precision + recall)]
    disguised = share(*hits[True]) if hits[True][1] else NONE
    return [
        *(f"{figure:.3f}" for figure in figures), share(*hits[False]), disguised,
        f"{auc(scores[True], scores[False]):.3f}", percent(flagged, negatives), percent(wrong, len(data["benign"])),
    ]


def recall_of(rows: Sequence[Row], found: dict, kind: str, source: str) -> str:
    """Recall of one kind in one source, with the number of its spans."""
    hit = count = 0
    for row in rows:
        for gold in row["spans"] if row["source"] == source else ():
            if gold["type"] == kind:
                count += 1
                hit += covered(gold["start"], gold["end"], [span[:2] for span in found[row["id"]]]) >= 0.8
    return f"{share(hit, count)} of {count}" if count else NONE


def text_report(scan: Scan, data: dict[str, list[Row]], file: str, label: Callable[[Row], bool | None]) -> list[str]:
    """For guardrails that judge a whole text; `label` gives the truth, `None` for a row to leave out."""
    judged = [(row, label(row), score_of(scan, row["text"])) for row in data[file]]
    ordinary = [score_of(scan, row["text"]) for row in data["benign"]]
    return ["| source | recall | precision | F1 | AUC | average precision | false positives |", "|---" * 7 + "|", *(
        figures_of(name, [entry for entry in judged if name in ("all", entry[0]["source"])], ordinary)
        for name in ("all", *sources([row for row in data[file] if label(row) is not None]))
    ), f"| ordinary documents | | | | | | {percent(sum(s >= 0.5 for s in ordinary), len(ordinary))} |"]


def figures_of(name: str, judged: Sequence[tuple[Row, bool | None, float]], ordinary: Sequence[float]) -> str:
    """One row: the negatives of a source are its hard ones; a source without any is ranked against ordinary texts."""
    positive = [score for _, truth, score in judged if truth]
    negative = [score for _, truth, score in judged if truth is False]
    against = negative or ordinary
    hit, false = sum(score >= 0.5 for score in positive), sum(score >= 0.5 for score in negative)
    recall, precision = hit / max(1, len(positive)), hit / max(1, hit + false)
    f1 = 2 * recall * precision / max(1e-9, recall + precision)
    cells = [NONE] * 5
    if positive:
        cells = [f"{share(hit, len(positive))} of {len(positive)}", f"{precision:.3f}", f"{f1:.3f}",
                 f"{auc(positive, against):.3f}", f"{average_precision(positive, against):.3f}"]
    return f"| {name} | {' | '.join(cells)} | {percent(false, len(negative)) if negative else NONE} |"


def moderation_report(scan: Scan, data: dict[str, list[Row]]) -> list[str]:
    """One table a category, on the rows for which it is known."""
    lines: list[str] = []
    for category in MODERATION:
        def by_kind(text: str, category: str = category) -> list:
            return [found for found in scan(text) if found.kind.lower() == category]

        def truth(row: Row, category: str = category) -> bool | None:
            return category in row["labels"] if category in row["known"] else None

        lines += [f"### {category}", "", *text_report(by_kind, data, "moderation", truth), ""]
    return lines[:-1]


def latency(scan: Scan, data: dict[str, list[Row]]) -> list[str]:
    """The time for 500 tokens of ordinary text, and of text full of what is looked for."""
    lines = ["| 500 tokens | p50 | p99 |", "|---|---|---|"]
    for name, file in (("ordinary", "benign"), ("a personal value in every line", "pii")):
        whole = "\n".join(row["text"] for row in data[file])
        step = max(1, (len(whole) - SAMPLE) // REPEATS)
        texts = [whole[at : at + SAMPLE] for at in range(0, len(whole) - SAMPLE, step)]
        for text in texts:
            scan(text)
        spent = []
        for text in texts:
            began = time.thread_time()
            scan(text)
            spent.append((time.thread_time() - began) * 1000)
        cuts = statistics.quantiles(spent, n=100)
        lines.append(f"| {name} | {cuts[49]:.2f} ms | {cuts[98]:.2f} ms |")
    return lines


def score_of(scan: Scan, text: str) -> float:
    """The highest score of all findings; 0 without any."""
    return max((found.score for found in scan(text)), default=0.0)


def sources(rows: Sequence[Row]) -> list[str]:
    """The sources, in the order in which they first appear."""
    return list(dict.fromkeys(row["source"] for row in rows))


def share(part: int, whole: int) -> str:
    """A fraction with three digits."""
    return f"{part / max(1, whole):.3f}"


def percent(part: int, whole: int) -> str:
    """A fraction in percent, with how many it is of."""
    return f"{100 * part / max(1, whole):.2f} % of {whole}"


def attack(row: Row) -> bool:
    """Whether a row of injections or jailbreaks is one."""
    return row["label"] == 1


def finance(label: str) -> Callable[[Scan, dict[str, list[Row]]], list[str]]:
    """The report for one label of the finance file."""
    return lambda scan, data: text_report(scan, data, "finance", lambda row: label in row["labels"])


REPORTS: dict[str, Callable[[Scan, dict[str, list[Row]]], list[str]]] = {
    "guardrail.pii": lambda scan, data: span_report(scan, data, {"six core kinds": CORE, "other kinds": OTHER}),
    "guardrail.secrets": lambda scan, data: span_report(scan, data, {"secrets": ("SECRET",)}),
    "guardrail.prompt_injection": lambda scan, data: text_report(scan, data, "injection", attack),
    "guardrail.jailbreak": lambda scan, data: text_report(scan, data, "jailbreak", attack),
    "guardrail.moderation": moderation_report,
    "guardrail.financial_advice": finance("financial_advice"),
    "guardrail.confidential": finance("confidential"),
}
ABOUT = """
Written by `make guardrail-eval`; how it is measured is in `contrib/guardrails/evaluate.py`. The texts are development
data: those who wrote the guardrails have seen them, so expect less on texts of your own, and measure there. "Hard
negatives" and the false positives of a source are texts made to look like what is searched for; "ordinary documents"
are 3702 questions, instructions, forum posts and source files. Times are processor times of one core, after a warm-up.

A true span counts as found when four fifths of it are covered; a found span is right when half of it is true. Texts are
judged at a score of 0.5; AUC and average precision need no threshold.

The models of `guardrail.prompt_injection`, `guardrail.jailbreak` and `guardrail.moderation` were trained on parts of
these very texts: what they reach on sources that they have not seen is in [their card](models.md).
"""

if __name__ == "__main__":
    main()
