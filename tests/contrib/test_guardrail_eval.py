"""The evaluation of guardrails counts what it says it counts; it needs no data of others to be tested."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest

from gateway import Finding

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def evaluate():
    spec = importlib.util.spec_from_file_location("guardrail_evaluate", ROOT / "contrib/guardrails/evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finds(word, kind, score=0.9):
    def scan(text):
        at = text.find(word)
        return [Finding(at, at + len(word), kind, score)] if at >= 0 else []

    return scan


def test_the_area_under_the_curve(evaluate):
    assert evaluate.auc([3, 2], [1, 0]) == 1
    assert evaluate.auc([0], [1]) == 0
    assert evaluate.auc([1, 1], [1]) == 0.5
    assert math.isnan(evaluate.auc([], [1]))


def test_the_average_precision(evaluate):
    assert evaluate.average_precision([3, 2], [1]) == 1
    assert evaluate.average_precision([1], [2]) == 0.5
    assert evaluate.average_precision([1], [1]) == 0.5


def test_spans_count_when_covered_enough(evaluate):
    pii = [
        {"id": "1", "source": "s", "text": "a@b.de here", "spans": [{"start": 0, "end": 6, "type": "EMAIL"}]},
        {"id": "2", "source": "s", "text": "hidden x", "spans": [{"start": 0, "end": 6, "type": "EMAIL", "obf": "z"}]},
        {"id": "3", "source": "s", "text": "nothing", "spans": []},
    ]
    benign = [{"id": "4", "source": "b", "text": "a@b.de", "pii_spans": [], "pii_ignore": []}]
    lines = evaluate.span_report(finds("a@b.de", "EMAIL"), {"pii": pii, "benign": benign}, {"mails": ("EMAIL",)})
    assert "| mails | 1.000 | 0.500 | 0.667 | 1.000 | 0.000 | 0.750 | 0.00 % of 1 | 100.00 % of 1 |" in lines
    assert "| EMAIL | 0.500 of 2 |" in lines


def test_whole_texts_count_by_their_score(evaluate):
    rows = [{"source": "s", "text": "bad", "label": 1}, {"source": "s", "text": "good", "label": 0}]
    lines = evaluate.text_report(finds("bad", "x"), {"t": rows, "benign": rows}, "t", evaluate.attack)
    assert "| s | 1.000 of 1 | 1.000 | 1.000 | 1.000 | 1.000 | 0.00 % of 1 |" in lines
    assert lines[-1].endswith("50.00 % of 2 |")


def test_the_installed_detectors_are_measured(evaluate):
    assert evaluate.detector("guardrail.pii")("write to a@example.org")[0].kind == "EMAIL"
    assert evaluate.detector("guardrail.nowhere") is None


def test_a_run_prints_the_report(evaluate, tmp_path, capsys, monkeypatch):
    row = {"id": "1", "source": "s", "text": "mail a@example.org " * 300, "spans": [], "pii_spans": [], "pii_ignore": []}
    for name in ("pii", "benign"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--data", str(tmp_path), "--only", "guardrail.pii"])
    evaluate.main()
    said = capsys.readouterr().out
    assert "## guardrail.pii" in said
    assert "ms" in said
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="no labelled texts"):
        evaluate.main()
