"""What a run says of its own training: losses that did not fall, scores that were never defined."""

from __future__ import annotations

import pytest
from synthetic import config, write_rows

from trunkline.training.fit import fit
from trunkline.training.outcome import training_findings


class Known:
    monitor = "m"


def history(losses, scores=None):
    scores = scores or [0.5] * len(losses)
    return [
        {"step": i, "tasks": {"a": {"validation": {"m": score}, **({} if loss == "" else {"train_loss": loss})}}}
        for i, (loss, score) in enumerate(zip(losses, scores, strict=True))
    ]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([4.34, 4.33, 4.32], True),
        ([4.34, 4.0, 4.5], True),  # it rose
        ([4.34, 4.3, 4.0], False),
        ([0.001, 0.0001], False),
        ([4.3], False),  # nothing to compare with
        ([None, 4.3, 4.3], True),  # a joint task that no batch taught before the first evaluation
        (["", "", ""], False),  # of a run from before training losses were kept
        ([-2.0, -2.01], True),
        ([-2.0, -3.0], False),
    ],
)
def test_a_training_loss_that_did_not_fall_is_told(losses, said):
    found = training_findings(history(losses), {"a": Known()})
    assert len(found) == said and all("learning_rate" in one and "'a'" in one for one in found)


def test_a_score_that_was_defined_once_is_not_told():
    assert training_findings(history([3.0, 1.0], [None, 0.2]), {"a": Known()}) == []
    [said] = training_findings(history([3.0, 1.0], [None, None]), {"a": Known()})
    assert "m of task 'a' was undefined at each of 2 evaluations" in said
    assert training_findings([], {"a": Known()}) == []


def test_a_run_that_learns_nothing_says_so(tiny_trunk_dir, tmp_path):
    rows, told = write_rows(tmp_path / "rows.jsonl", 60), []
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=6, learning_rate=1e-9, batch_tokens=64)
    still = fit(values, run_dir=tmp_path / "still", subscribers=[told.append])
    [said] = [finding for finding in still.summary["findings"] if finding.startswith("training: ")]
    assert "the loss of task 'mood' hardly fell" in said and "learning_rate" in said
    assert said in [event.text for event in told if hasattr(event, "text")]
    values["training"]["learning_rate"] = 0.01
    moving = fit(values, run_dir=tmp_path / "moving")
    assert not [finding for finding in moving.summary["findings"] if finding.startswith("training: ")]


def test_training_losses_are_means_over_the_batches_between_two_evaluations(tiny_trunk_dir, tmp_path):
    rows, batches = write_rows(tmp_path / "rows.jsonl", 80), []
    values = config(tiny_trunk_dir, rows, epochs=2, evaluate_every=3, batch_tokens=64)

    def hear(event):
        if hasattr(event, "losses"):
            batches.append({name: float(loss) for name, loss in event.losses.items()})

    found = fit(values, run_dir=tmp_path / "run", subscribers=[hear]).summary["history"]
    assert len(found) > 3
    start = 0
    for entry in found:
        for name, task in entry["tasks"].items():
            own = [losses[name] for losses in batches[start : entry["step"]] if name in losses]
            assert task["train_loss"] == pytest.approx(sum(own) / len(own), rel=1e-9)
        start = entry["step"]
