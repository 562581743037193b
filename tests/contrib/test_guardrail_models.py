"""The small models that ship: as the card says, small, quick to load; and what trains them is reproducible."""

import hashlib
import importlib.util
import json
import re
import sys
import time
from pathlib import Path

import pytest

from gateway.detect.linear import load

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted((ROOT / "gateway/detect/models").glob("*.msgpack"))


def module(name, monkeypatch):
    """A script of contrib/guardrails, which is no package."""
    folder = ROOT / "contrib/guardrails"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_card_names_the_bytes_that_ship():
    card = (ROOT / "docs/guardrails/models.md").read_text("utf-8")
    named = dict(re.findall(r"\| `(\w+)` \| \d+ kB \| `([0-9a-f]{64})` \|", card))
    assert named == {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in MODELS}


def test_all_models_are_small_and_load_quickly():
    assert sum(path.stat().st_size for path in MODELS) < 2_000_000
    start = time.process_time()
    models = [load(path.stem, signals=path.stem != "injection") for path in MODELS]
    assert time.process_time() - start < 0.3
    assert [model.labels[0] for model in models] == ["injection", "jailbreak", "hate"]


def test_our_own_texts_are_the_same_for_the_same_seed(monkeypatch):
    texts = module("texts", monkeypatch).texts
    one, two, other = list(texts(7)), list(texts(7)), list(texts(8))
    assert one == two != other
    families = {family for _text, _labels, family in one}
    assert len(families) > 25
    assert not any(re.search(r"\{[a-z]+\}", text) for text, _labels, _family in one)
    assert any(labels for _text, labels, _family in one)
    assert any(not labels for _text, labels, _family in one)


def test_training_twice_gives_the_same_bytes(monkeypatch, tmp_path):
    pytest.importorskip("sklearn", reason="training needs contrib/guardrails/requirements.txt")
    for name in ("benign", "finance", "injection", "jailbreak", "moderation", "pii"):
        rows = [
            {"text": f"{word} {name} number {n % 7}", "source": f"source {n % 4}", "label": n % 2 if name in ("injection", "jailbreak") else 0,
             "labels": [], "known": ["hate"], "family": "x"}
            for n, word in enumerate(("please", "never", "ignore", "today") * 20)
        ]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = module("train", monkeypatch)

    def stored():
        rows = train.rows_of("injection", tmp_path)
        space = train.Space("injection", rows)
        scores = train.unseen_scores(space, rows, "injection")
        weights = train.final(space, rows, train.thresholds(rows, scores, "injection"), "injection")
        return train.msgspec.msgpack.encode(weights, order="deterministic")

    first = stored()
    assert first == stored()
    assert len(first) < 1_000_000
