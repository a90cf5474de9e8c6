"""The studies of examples/: they can be planned, and say what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.studies.config import load_study
from trunkline.studies.plan import Plan

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_study_can_be_planned_on_another_trunk(path, tiny_trunk_dir):
    text = path.read_text(encoding="utf-8")
    header = text.split("\ntrunk:")[0]
    assert all(line.startswith("# ") for line in header.splitlines())
    assert any(word in header for word in ("minute", "hour", "day")), "the header says how long it takes"
    assert all(len(line) <= 128 for line in text.splitlines())
    plan = Plan(load_study(path, [f"trunk={tiny_trunk_dir}"]), str(path), path.parent)
    assert plan.total() == len({id(run) for run in plan.searches()}) + len(plan.repeats(dict.fromkeys(plan.cells, 0)))
    for run in plan.searches():
        assert Path(run.config.data.train).is_absolute()
    if path.stem.startswith("d_"):
        layers = [cell.method for cell in plan.cells if cell.method.startswith("layer ")]
        assert layers == [f"layer layer={number}" for number in range(4)]  # of the tiny trunk


def test_a_method_is_left_out_of_regimes_that_it_does_not_have():
    path = next(path for path in EXAMPLES if path.stem == "b_hwu64")
    plan = Plan(load_study(path, ["trunk=minilm"]), str(path), path.parent)
    found = {}
    for cell in plan.cells:
        found.setdefault(cell.method, []).append(cell.regime)
    assert found == {
        "adalayers": ["separate"],
        "full": ["separate", "joint", "sequential"],
        "lora": ["separate", "joint", "sequential"],
        "adapter": ["separate", "joint", "sequential", "fusion"],
    }
    assert "adalayers does not have the regimes joint, sequential, fusion" in plan.findings
