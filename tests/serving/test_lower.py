"""Tuned branches beside side branches: they begin on the states of the frozen pass, and answer as alone."""

from __future__ import annotations

import pytest
from bundletools import TEXTS, make
from tiny import tiny_bert

from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.request import Request
from trunkline.training.fit import fit
from trunkline.trunk.load import load_trunk

ROWS = [{"text": f"{word} film", "label": "ab"[i % 2]} for i, word in enumerate("good bad so slow".split() * 4)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A side branch, a branch that changed the upper two of three blocks, and one that changed them all."""
    place = tmp_path_factory.mktemp("tuned")
    folder = tiny_bert(place / "tiny-bert")
    trunk = load_trunk(folder, dtype="fp32", device="cpu")
    runs = []
    for name, method in (("upper", {"name": "full", "top": 2}), ("whole", {"name": "lora"})):
        config = {
            "trunk": {"name": str(folder), "max_length": 12, "dtype": "fp32"},
            "data": {"train": ROWS, "validation": ROWS},
            "tasks": {name: {"kind": "sequence", "label": "label"}},
            "method": method,
            "training": {"epochs": 1, "learning_rate": 1e-2, "precision": "fp32"},
        }
        runs.append(fit(config, run_dir=place / name, progress=False).path)
    opened = Bundle.open(runs, trunk=trunk)
    for name in ("mood", "other"):
        opened.add(name, make(trunk, "sequence", max_length=12 if name == "mood" else 10))
    return opened


def counted(bundle, name, monkeypatch):
    """How many rows the blocks of a branch's changed trunk, lowest first, are run on."""
    found = []
    for block in bundle.branches[name].source.taps.blocks:
        number = len(found)
        found.append(0)
        forward = block.forward

        def count(hidden_states, *args, number=number, forward=forward, **kwargs):
            found[number] += len(hidden_states)
            return forward(hidden_states, *args, **kwargs)

        monkeypatch.setattr(block, "forward", count)
    return found


def test_lower_blocks_are_run_once_for_all(bundle, monkeypatch):
    expected = bundle.predict_written(TEXTS)
    assert bundle.branches["upper"].source.can_begin_above  # found out once, by a small pass
    with Engine(bundle) as engine:
        upper, whole = counted(bundle, "upper", monkeypatch), counted(bundle, "whole", monkeypatch)
        answer = engine.answer(Request(TEXTS))
        assert upper == [0, len(TEXTS), len(TEXTS)] and whole == [len(TEXTS)] * 3
        for found, right in zip(answer.predictions, expected, strict=True):
            for name in bundle.branches:
                assert found[name]["label"] == right[name]["label"]
                assert list(found[name]["scores"].values()) == pytest.approx(list(right[name]["scores"].values()), abs=1e-4)
        # texts of which the frozen pass has not computed the states: all blocks are run, whichever way
        mixed = engine.submit(Request(TEXTS[:2], tasks=["upper"])), engine.submit(Request(TEXTS[2:4], tasks=["mood", "upper"]))
        shown = [row["upper"]["scores"] for future in mixed for row in future.result(60).predictions]
        for found, right in zip(shown, expected, strict=False):
            assert list(found.values()) == pytest.approx(list(right["upper"]["scores"].values()), abs=1e-4)


def test_no_pass_disturbs_another(bundle, monkeypatch):
    """A pass that begins above and a whole one, at once on one changed trunk."""
    expected = [row["upper"] for row in bundle.only("upper").predict_written(TEXTS)]
    source = bundle.branches["upper"].source
    begin, during = type(source).beginning_at, []

    def beginning(self, state):
        found = begin(self, state)
        during.append([row["upper"] for row in bundle.only("upper").predict_written(TEXTS)])
        return found

    monkeypatch.setattr(type(source), "beginning_at", beginning)
    with Engine(bundle) as engine:
        assert engine.answer(Request(TEXTS, tasks=["mood", "upper"])).predictions
    assert during and all(shown == expected for shown in during)
