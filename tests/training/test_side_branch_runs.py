"""Runs of side branches that are no sum of layers: they learn, resume to the same bits, and answer the same reloaded."""

from __future__ import annotations

import contextlib

import pytest
import torch
from resuming import count_resumed, note
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.data.sources import read_table
from trunkline.model.bundle import Bundle
from trunkline.training import resumable
from trunkline.training.fit import fit

METHODS = {
    "ladder": {"name": "ladder", "reduction": 2, "heads": 2},
    "routing": {"name": "routing", "vectors": 4, "dim": 16},
}
SCORES = {"mood": "accuracy", "cities": "f1", "topics": "f1_micro", "stars": "pearson"}
TASKS = tuple(SCORES)


def values_of(method, trunk, rows, tasks=TASKS, **training):
    return {**config(trunk, rows, tasks=tasks, **training), "method": METHODS[method]}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_task_learns_on_one_pass(method, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 600)
    result = fit(values_of(method, tiny_trunk_dir, rows, epochs=20, learning_rate=3e-3), run_dir=tmp_path / "run")
    scores = {name: result.tasks[name]["test"][key] for name, key in SCORES.items()}
    assert all(score > 0.8 for score in scores.values()), scores


@pytest.mark.parametrize("method", METHODS)
def test_branches_answer_the_same_from_the_disk_and_together(method, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    result, home = fit(values_of(method, tiny_trunk_dir, rows, epochs=1), run_dir=tmp_path / "run"), tmp_path
    for task in result.tasks.values():
        assert sum(task["layers"].values()) == pytest.approx(1, abs=1e-4) and len(set(task["layers"].values())) > 1
    table = read_table(str(rows)).select(range(20))
    together = Bundle.open(home / "run", device="cpu").predict(table.column("text"))
    for name in TASKS:
        alone = Bundle.open(result.branches[name], device="cpu")
        for one, other in zip(alone.predict(table.column("text")), together, strict=True):
            assert one[name].keys() == other[name].keys()
            if "value" in one[name]:
                assert one[name]["value"] == pytest.approx(other[name]["value"], abs=1e-5)
            else:
                main = next(key for key in ("label", "labels", "spans") if key in one[name])
                assert [str(x)[:8] for x in one[name][main]] == [str(x)[:8] for x in other[name][main]]


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_ends_with_the_same_bits(method, tiny_trunk_dir, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.jsonl", 150)
    values = values_of(method, tiny_trunk_dir, rows, ("mood",), epochs=2, evaluate_every=3)
    whole = fit(values, run_dir=tmp_path / "whole")

    class Stopped(BaseException):
        pass

    monkeypatch.setattr(resumable, "SAVING_SHARE", float("inf"))
    attempts = []
    for after in (5, 9999):
        attempts.append([])

        def tell(event, after=after, told=attempts[-1]):
            told.append(note(event))
            if len([one for one in told if one and one[0] == "batch"]) > after:
                raise Stopped

        with contextlib.suppress(Stopped):
            again = fit(values, run_dir=tmp_path / "stopped", subscribers=[tell])
    assert count_resumed([list(filter(None, told)) for told in attempts]) == 1
    expected, found = (load_file(result.branches["mood"] / "weights.safetensors") for result in (whole, again))
    assert all(torch.equal(expected[key], found[key]) for key in expected) and expected.keys() == found.keys()
    assert whole.summary["history"] == again.summary["history"]
