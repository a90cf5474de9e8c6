"""`trunkline sweep` as a user types it: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clitools import done, fails, invoke, made_up, write_jsonl

from trunkline.cli.sweep import SweepProgress, short_names, shown_value
from trunkline.data.sources import EMBEDDED
from trunkline.events import BatchEnded, EvaluationProgress, StatesProgress
from trunkline.studies.sweep.config import load_sweep
from trunkline.studies.sweep.plan import Plan
from trunkline.studies.sweep.trials import TrialEnded, TrialStarted
from trunkline.trackers import every_minute

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "studies" / "emotion_sweep.yaml"
SWEEP = (
    "data: {train: rows.jsonl, validation: 20%, test: 20%}\n"
    "tasks: {mood: {kind: sequence, label: mood}}\n"
    "sweep:\n"
    "  space: {learning_rate: {low: 1e-3, high: 1e-1, log: true}, method.dim: [16, 32]}\n"
    "  sampler: random\n"
    "  trials: 2\n"
)


@pytest.fixture
def written(tmp_path, tiny_overrides):
    """The arguments of a small sweep in the current folder."""
    write_jsonl(tmp_path / "rows.jsonl", made_up(60))
    (tmp_path / "mine.yaml").write_text(SWEEP)
    small = [one for one in tiny_overrides if "learning_rate" not in one and "epochs" not in one]
    return ["mine.yaml", *small, "training.epochs=1"]


def test_it_prints_the_best_trials_and_the_test_scores_and_goes_on(written):
    first = done("sweep", *written)
    lines = first.stderr.splitlines()
    assert "2 trials for the highest validation accuracy" in lines
    assert [line.split(":")[0] for line in lines if "/2  trial" in line] == ["1/2  trial 0", "2/2  trial 1"]
    assert "training the best settings with seed 0, to be judged on test" in lines
    assert "best settings: sweeps/mine/best.yaml; trunkline fit sweeps/mine/best.yaml" in first.stderr
    assert "learning_rate" in first.stdout and "dim" in first.stdout and "2 trials: 2 complete" in first.stdout
    again = done("sweep", *written, "sweep.trials=3", "sweep.seeds=2", "--json")
    facts = json.loads(again.stdout)
    assert [line.split(":")[0] for line in again.stderr.splitlines() if "/3  trial" in line] == ["3/3  trial 2"]
    assert facts["trials"] == {"total": 3, "complete": 3, "pruned": 0, "failed": 0}
    assert facts["name"] == "mine" and facts["direction"] == "maximize" and facts["metrics"] == {"mood": "accuracy"}
    assert facts["storage"].startswith("sqlite:///") and list(facts["repeated"]) == ["0", "1"]
    assert set(facts["tasks"]["mood"]["test"]["by_seed"]) == {"0", "1"}
    best = done("fit", facts["best"]["config"], "--run-dir", facts["repeated"]["0"], "--json")
    assert json.loads(best.stdout)["tasks"]["mood"]["test"]["accuracy"] == facts["tasks"]["mood"]["test"]["by_seed"]["0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file; expected a YAML config of a sweep"),
        (["mine.yaml", "sweep=null"], "sweep=null': sweep: found null"),
        (["mine.yaml", "sweep.trails=3"], "unknown name 'trails'; did you mean 'trials'"),
        (["mine.yaml", "sweep.space.lr=[1]"], "training.lr"),
        (["mine.yaml", "data.train=other.jsonl"], "other.jsonl"),
        (["mine.yaml", "sweep.storage=postgresql://anna:geheim@127.0.0.1:9/x"], "postgresql://127.0.0.1:9/x cannot be reached"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, written):
    said = fails(2, "sweep", *arguments, *written[1:])
    assert message in said and "geheim" not in said


def test_it_is_no_launch_of_several_processes(written, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "start trunkline sweep several times instead" in fails(2, "sweep", *written)


def test_it_says_how_to_install_optuna(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert fails(2, "sweep", *written) == "trunkline sweep needs Optuna: pip install 'trunkline[sweep]'"


def test_other_names_lead_to_it():
    assert "did you mean sweep" in invoke("tune").stderr


def test_a_long_trial_has_a_line_a_minute_in_a_log(monkeypatch, capsys):
    time = [0.0]
    monkeypatch.setattr(every_minute, "now", lambda: time[0])
    shown = SweepProgress(4)
    for seconds, event in (
        (60, StatesProgress("train", 3, 10)),
        (1, TrialStarted(0, {})),
        (50, BatchEnded(0, 1, 4, {})),
        (9, BatchEnded(0, 2, 4, {})),
        (59, EvaluationProgress("validation", 3, 10)),
        (1, EvaluationProgress("validation", 4, 10)),
        (1, TrialEnded(0, {"method.dim": 8}, "complete", 0.5, 120.0, 1, 4)),
        (59, BatchEnded(0, 1, 4, {})),
        (1, BatchEnded(0, 2, 4, {})),  # of the run with the best settings
    ):
        time[0] += seconds
        shown(event)
    assert capsys.readouterr().err.splitlines() == [
        "layer states of train, 30%; 0 of 4 trials done",
        "trial 0: epoch 1, 50%; 0 of 4 trials done",
        "trial 0: evaluating on validation, 40%; 0 of 4 trials done",
        "1/4  trial 0: dim 8: 0.5000; 2 min; about 6 min left",
        "epoch 1, 50%; 1 of 4 trials done; about 6 min left",
    ]


def test_settings_are_shown_short():
    assert short_names(["training.a", "method.b", "method.a"]) == {
        "training.a": "training.a",
        "method.b": "b",
        "method.a": "method.a",
    }
    assert [shown_value(one) for one in (0.0123456, 12, None, True, "mean", [1, 2])] == [
        "0.0123",
        "12",
        "null",
        "true",
        "mean",
        "[1, 2]",
    ]


def test_the_example_resolves_and_says_what_it_shows():
    config = load_sweep(EXAMPLE)
    header = EXAMPLE.read_text(encoding="utf-8").split("\ntrunk:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert all(len(line) <= 128 for line in EXAMPLE.read_text(encoding="utf-8").splitlines())
    for source in (config.values["data"]["train"], config.values["data"]["test"]):
        assert (EMBEDDED / source.split(":")[0]).is_dir() or source.startswith("../../../shared/")


def test_the_example_runs_in_a_small_form(tmp_path, tiny_trunk_dir):
    rows = [{"text": row["text"], "label": row["mood"]} for row in made_up(90)]
    data = {
        name: str(write_jsonl(tmp_path / f"{name}.jsonl", rows[at : at + 30]))
        for at, name in ((0, "train"), (30, "validation"), (60, "test"))
    }
    overrides = [f"data.{name}={file}" for name, file in data.items()]
    overrides += [
        f"trunk.name={tiny_trunk_dir}",
        "trunk.dtype=fp32",
        "trunk.device=cpu",
        "training.epochs=1",
        "training.batch_tokens=256",
    ]
    overrides += ["method.heads=2", "sweep.trials=1"]
    values = load_sweep(EXAMPLE, overrides)
    values.section.space["method.layers"] = ["0-2", "1-3"]
    values.section.space["method.dim"] = [8, 16]
    assert Plan(values).trials == 1


@pytest.mark.slow
def test_it_loads_no_torch_to_say_that_something_is_missing(written):
    script = (
        "import sys\nsys.modules['optuna'] = None\nfrom trunkline.cli.app import app\n"
        "try:\n    app(['sweep', 'mine.yaml'])\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert result.stdout.split() == ["2", "False"], result.stderr
