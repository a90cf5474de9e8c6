"""Runs that change their trunk: from a config to branches that answer the same from the disk."""

from __future__ import annotations

import contextlib
import json
import shutil

import numpy as np
import pytest
import torch
from mutations import resave
from resuming import count_resumed, note
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.data.sources import read_table
from trunkline.errors import BadInput, TrunklineError
from trunkline.events import StageStarted
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.training import resumable
from trunkline.training.fit import fit
from trunkline.training.sampling import shares
from trunkline.training.stages import Stage
from trunkline.training.transfer import transfer
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedStates

METHODS = {
    "full": {"name": "full"},
    "top": {"name": "full", "top": 1},
    "bitfit": {"name": "bitfit"},
    "layernorm": {"name": "layernorm"},
    "lora": {"name": "lora", "r": 4, "dropout": 0.1},
    "dora": {"name": "lora", "r": 4, "dora": True},
    "ia3": {"name": "ia3"},
    "prompt": {"name": "prompt", "virtual_tokens": 4},
    "prefix": {"name": "prefix", "virtual_tokens": 4},
    "loha": {"name": "peft", "method": "LOHA", "parameters": {"r": 4}},
    "adapter": {"name": "adapter", "reduction": 2},
    "houlsby": {"name": "adapter", "variant": "houlsby", "reduction": 2},
    "adalayers-head": {"name": "lora", "r": 4, "head": {"name": "adalayers", "dim": 16, "heads": 2}},
}


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 400)


def tuned(trunk, rows, method, tasks=("mood", "cities"), **training):
    values = config(trunk, rows, tasks=tasks, **{"epochs": 3, "learning_rate": 3e-3, **training})
    return {**values, "method": METHODS[method] if isinstance(method, str) else method}


def weights_of(result):
    return {name: load_file(path / "weights.safetensors") for name, path in result.branches.items()}


def test_a_threshold_that_one_stage_has_chosen_is_not_that_of_the_training_of_another(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    result = fit(
        tuned(tiny_trunk_dir, rows, "bitfit", ("mood", "topics"), epochs=1, regime="sequential"), run_dir=tmp_path / "run"
    )
    stages = [stage for stage in result.summary["stages"] if "topics" in stage["history"][-1]["tasks"]]
    assert [stage["name"] for stage in stages] == ["alone-topics", "2-topics"]
    for stage in stages:
        chosen, (entry,) = stage["tasks"]["topics"]["tuned"], stage["history"]
        assert chosen["threshold"] != 0.5
        assert entry["tasks"]["topics"]["validation"]["f1_micro"] == pytest.approx(chosen["untuned"])


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_its_branches_answer_the_same_from_the_disk(method, tiny_trunk_dir, rows, tmp_path):
    before = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu").fingerprint
    rate = 5e-2 if method in ("prompt", "prefix") else 3e-3  # a trunk of random weights heeds what stands before a text little
    result = fit(tuned(tiny_trunk_dir, rows, method, learning_rate=rate), run_dir=tmp_path / "run")
    losses = [entry["tasks"]["mood"]["validation"]["loss"] for entry in result.summary["history"] if "mood" in entry["tasks"]]
    assert losses[-1] < losses[0]
    # What the run reports of the test split is what the branches, read from the disk, answer.
    branch = load_branch(result.branches["mood"])
    assert branch.source.trunk is not None and branch.trunk.weights == before.weights
    bundle = Bundle.open(tmp_path / "run")
    texts = read_table(str(rows)).columns["text"][:50]
    answers = bundle.predict(texts)
    alone = Bundle.open(result.branches["mood"]).predict(texts)
    assert [answer["mood"]["label"] for answer in answers] == [answer["mood"]["label"] for answer in alone]
    assert bundle.trunk.fingerprint == before  # the trunk itself is what it was
    sizes = {name: sum(value.numel() for value in weights.values()) for name, weights in weights_of(result).items()}
    assert all(result.cost["trained_parameters"][name] <= sizes[name] for name in sizes)


def test_a_fully_tuned_trunk_learns_the_rule(tiny_trunk_dir, rows, tmp_path):
    result = fit(tuned(tiny_trunk_dir, rows, "full", epochs=10, learning_rate=1e-2), run_dir=tmp_path / "run")
    assert result.tasks["mood"]["test"]["accuracy"] > 0.9
    assert result.tasks["cities"]["test"]["f1"] > 0.9


def test_only_what_the_method_names_is_stored(tiny_trunk_dir, rows, tmp_path):
    result = fit(tuned(tiny_trunk_dir, rows, "bitfit", tasks=("cities",)), run_dir=tmp_path / "run")
    changed = [name for name in weights_of(result)["cities"] if name.startswith("trunk.")]
    assert changed and all(name.endswith(".bias") for name in changed)


@pytest.mark.parametrize("states", ["store", "live"])
def test_the_top_block_learns_the_same_from_stored_lower_states(states, tiny_trunk_dir, rows, tmp_path, monkeypatch):
    """Without dropout the two feeds differ by rounding only."""
    scores = {}
    values = tuned(tiny_trunk_dir, rows, "top", tasks=("mood",), states=states, states_dtype="fp32")
    result = fit(values, run_dir=tmp_path / states)
    scores = [entry["tasks"]["mood"]["validation"]["loss"] for entry in result.summary["history"]]
    assert (result.cost["states_bytes"] > 0) == (states == "store")
    other = fit({**values, "training": {**values["training"], "states": "live"}}, run_dir=tmp_path / "other")
    expected = [entry["tasks"]["mood"]["validation"]["loss"] for entry in other.summary["history"]]
    assert np.allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_stored_states_are_refused_where_a_method_leaves_none_to_store(method, tiny_trunk_dir, rows, tmp_path):
    with pytest.raises(BadInput, match=f"training.states: found store, expected auto or live: .*{method}"):
        fit(tuned(tiny_trunk_dir, rows, method, tasks=("mood",), states="store"), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_joint_tasks_share_one_trunk(tiny_trunk_dir, rows, tmp_path):
    values = tuned(tiny_trunk_dir, rows, "full", ("mood", "stars"), regime="joint", epochs=15)
    result = fit(values, run_dir=tmp_path / "run")
    assert result.tasks["mood"]["test"]["accuracy"] > 0.9 and result.tasks["stars"]["test"]["pearson"] > 0.9
    one, *others = weights_of(result).values()
    shared = {name for name in one if name.startswith("trunk.")}
    assert shared and all(torch.equal(one[name], other[name]) for other in others for name in shared)
    assert set(result.cost["trained_parameters"]) == {"mood+stars"}


@pytest.mark.parametrize(
    ("regime", "passes"),
    [("joint", 1), pytest.param("sequential", 1, marks=pytest.mark.slow), pytest.param("separate", 2, marks=pytest.mark.slow)],
)
def test_branches_of_one_changed_trunk_share_its_passes(regime, passes, tiny_trunk_dir, rows, tmp_path, monkeypatch):
    result = fit(tuned(tiny_trunk_dir, rows, "lora", regime=regime, epochs=1), run_dir=tmp_path / "run")
    texts = read_table(str(rows)).columns["text"][:8]
    expected = [
        {name: answer for path in result.branches.values() for name, answer in Bundle.open(path).predict([text])[0].items()}
        for text in texts
    ]
    called = []
    feed = TunedStates.feed
    monkeypatch.setattr(TunedStates, "feed", lambda self, *args: (called.append(id(self.tuned)), feed(self, *args)))
    bundle = Bundle.open(tmp_path / "run")
    assert [bundle.predict([text])[0] for text in texts] == expected
    assert len(called) == passes * len(texts) and len(set(called)) == passes


@pytest.mark.parametrize(
    "mixing", ["temperature", *(pytest.param(name, marks=pytest.mark.slow) for name in ("proportional", "sqrt", "uniform"))]
)
def test_joint_tasks_may_take_turns(mixing, tiny_trunk_dir, rows, tmp_path):
    tasks = ("mood", "stars")
    values = tuned(tiny_trunk_dir, rows, "full", tasks, regime="joint", epochs=5, mixing=mixing, loss_weights="uncertainty")
    result = fit(values, run_dir=tmp_path / "run")
    for task in tasks:
        losses = [entry["tasks"][task]["validation"]["loss"] for entry in result.summary["history"]]
        assert losses[-1] < 0.8 * losses[0]


def test_joint_tasks_may_have_files_of_their_own(tiny_trunk_dir, rows, tmp_path):
    other = write_rows(tmp_path / "other.jsonl", 200, seed=5)
    values = tuned(tiny_trunk_dir, rows, "full", ("mood", "stars"), regime="joint", epochs=8)
    values["tasks"]["stars"]["data"] = {"train": str(other), "validation": "20%", "test": "20%"}
    result = fit(values, run_dir=tmp_path / "run")
    assert result.summary["rows"]["stars/train"] == 120 and result.summary["rows"]["mood/train"] == 240
    assert result.tasks["mood"]["test"]["accuracy"] > 0.8 and result.tasks["stars"]["test"]["pearson"] > 0.8


def test_sampling_takes_each_task_as_often_as_its_mixing_says():
    assert shares(100, np.array([300.0, 100.0])) == [75, 25]
    assert shares(100, np.sqrt([300.0, 100.0])) == [63, 37]
    assert shares(100, np.array([1.0, 1.0])) == [50, 50]
    assert shares(3, np.array([1e6, 1.0])) == [2, 1]


def test_a_sequence_reports_what_is_forgotten(tiny_trunk_dir, rows, tmp_path):
    values = tuned(tiny_trunk_dir, rows, "full", regime="sequential", order=["cities", "mood"], learning_rate=1e-2)
    result = fit(values, run_dir=tmp_path / "run")
    [report] = result.summary["transfer"]
    assert report["order"] == ["cities", "mood"]
    matrix = report["matrix"]
    assert matrix[0][1] is None and all(value is not None for value in (matrix[0][0], *matrix[1]))
    assert report["forgetting"] == pytest.approx(matrix[0][0] - matrix[1][0])
    assert report["backward_transfer"] == pytest.approx(-report["forgetting"])
    alone = fit(tuned(tiny_trunk_dir, rows, "full", tasks=("mood",), learning_rate=1e-2), run_dir=tmp_path / "alone")
    assert report["alone"][1] == alone.tasks["mood"]["test"]["accuracy"]
    assert report["forward_transfer"] == pytest.approx(matrix[1][1] - report["alone"][1])
    # Both branches hold the trunk as the last task has left it, and score what the matrix says.
    one, two = weights_of(result).values()
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("trunk."))
    assert result.tasks["cities"]["test"]["f1"] == matrix[1][0]


def test_fusion_reads_the_adapters_of_every_task(tiny_trunk_dir, rows, tmp_path):
    values = tuned(tiny_trunk_dir, rows, "adapter", regime="fusion")
    result = fit(values, run_dir=tmp_path / "run")
    assert [stage["name"] for stage in result.summary["stages"]] == [
        "adapter-mood", "adapter-cities", "fusion-mood", "fusion-cities",
    ]  # fmt: skip
    for task in ("mood", "cities"):
        shares = result.tasks[task]["attention"]
        assert list(shares) == ["1", "2", "3"]
        assert all(sum(row.values()) == pytest.approx(1) and set(row) == {"mood", "cities"} for row in shares.values())
        own = load_file(tmp_path / "run" / "stages" / f"adapter-{task}" / task / "weights.safetensors")
        fused = load_file(result.branches[task] / "weights.safetensors")
        frozen = {name: value for name, value in fused.items() if f".fused.{task}." in name}
        assert frozen  # as its adapter was, bit for bit
        for name, value in frozen.items():
            assert torch.equal(value, own[name.replace(f".fused.{task}.", ".task.")])
    # A branch answers without the folders of the stages.
    shutil.rmtree(tmp_path / "run" / "stages")
    assert len(Bundle.open(result.branches["mood"]).predict(["good film", "bad film"])) == 2


def test_adapters_of_another_trunk_are_not_fused(tiny_trunk_dir, rows, tmp_path):
    from tiny import tiny_bert

    other = tiny_bert(tmp_path / "other", seed=9)
    result = fit(tuned(other, rows, "adapter", tasks=("mood",), epochs=1), run_dir=tmp_path / "run")
    method = {"name": "fusion", "adapters": {"mood": str(result.branches["mood"])}}
    with pytest.raises(BadInput, match="made for a trunk with"):
        fit(tuned(tiny_trunk_dir, rows, method, tasks=("mood",)), run_dir=tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


STOPPED = [
    *(
        pytest.param(method, "separate", marks=pytest.mark.slow if method in ("full", "bitfit", "top") else ())
        for method in METHODS
    ),
    *(("adapter", regime) for regime in ("sequential", "joint", "fusion")),
]


@pytest.mark.parametrize(("method", "regime"), STOPPED)
def test_a_run_that_was_stopped_is_resumed_and_ends_with_the_same_bits(
    method, regime, tiny_trunk_dir, rows, tmp_path, monkeypatch
):
    values = tuned(tiny_trunk_dir, rows, method, regime=regime, evaluate_every=3, epochs=2)
    values["data"]["rows"] = 150
    whole = fit(values, run_dir=tmp_path / "whole")

    class Stopped(BaseException):
        pass

    monkeypatch.setattr(
        resumable, "SAVING_SHARE", float("inf")
    )  # a checkpoint at each evaluation, however long the last one took
    attempts = []
    stops = (5, 6) if method in ("lora", "adapter") else (5,)  # a second one asks the same of the loop, whatever the method
    for after in (*stops, 9999):
        told = []
        attempts.append(told)

        def tell(event, after=after, told=told):
            told.append(note(event))
            if len([one for one in told if one and one[0] == "batch"]) > after:
                raise Stopped

        with contextlib.suppress(Stopped):
            again = fit(values, run_dir=tmp_path / "stopped", subscribers=[tell])
    assert count_resumed([list(filter(None, told)) for told in attempts]) == len(stops)
    expected, found = weights_of(whole), weights_of(again)
    assert all(torch.equal(expected[task][name], found[task][name]) for task in expected for name in expected[task])
    assert whole.summary["history"] == again.summary["history"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"method": {"name": "full", "top": 9}}, "method.top: found 9 blocks"),
        (
            {"method": {"name": "adalayers", "dim": 16, "heads": 2}, "training": {"regime": "joint"}},
            "does not change the trunk",
        ),
        ({"training": {"regime": "sequential", "order": ["mood", "weather"]}}, "'weather', which is no task"),
        ({"training": {"regime": "sequential", "order": ["mood"]}}, "each of mood, cities once"),
        (
            {"training": {"regime": "joint", "loss_weights": {"moods": 1.0}}},
            "config: training.loss_weights.moods: unknown name 'moods'; did you mean 'mood'?",
        ),
        (
            {"training": {"regime": "joint", "loss_weights": {"mood": -2}}},
            "training.loss_weights.mood: found -2, expected a number",
        ),
        (
            {"training": {"regime": "joint", "loss_weights": {"mood": 0, "cities": 0}}},
            "training.loss_weights: found 0 for every task, expected at least one positive weight",
        ),
        ({"training": {"mixing": "sqrt"}}, "training.regime is separate"),
        ({"training": {"temperature": 3}}, "training.temperature: given, but training.mixing is rows"),
        (
            {"training": {"regime": "joint", "mixing": "sqrt", "temperature": 5}},
            "training.temperature: given, but training.mixing is sqrt; expected it with mixing: temperature only",
        ),
        ({"training": {"order": ["mood", "cities"]}}, "training.regime is separate"),
        ({"method": {"name": "full", "head": "lora"}}, "found the tuner lora"),
        ({"method": {"name": "full", "head": {"name": "probe", "alpha": 3}}}, "method.head.alpha"),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_anything_is_written(change, sentence, tiny_trunk_dir, rows, tmp_path):
    values = tuned(tiny_trunk_dir, rows, change.get("method", "full"))
    values["training"] |= change.get("training", {})
    with pytest.raises(BadInput) as error:
        fit(values, run_dir=tmp_path / "run")
    assert sentence in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_fusion_of_one_task_is_refused(tiny_trunk_dir, rows, tmp_path):
    values = tuned(tiny_trunk_dir, rows, "adapter", ("mood",), regime="fusion")
    with pytest.raises(BadInput, match=r"training.regime: found fusion with one task, expected at least two; .* method fusion"):
        fit(values, run_dir=tmp_path / "run")


def test_fresh_trains_the_stages_anew(tiny_trunk_dir, rows, tmp_path):
    values = tuned(tiny_trunk_dir, rows, "bitfit", epochs=1)
    events: list[str] = []
    for _ in range(2):
        fit(values, run_dir=tmp_path / "run", fresh=True, subscribers=[lambda event: events.append(type(event))])
    assert events.count(StageStarted) == 4


def test_transfer_by_hand():
    class Task:
        monitor = "m"

        def __init__(self, higher):
            self.higher_is_better = higher

    stages = [Stage("alone-b", ("b",), None, final=False)]
    stages += [Stage(f"{i}-{name}", (name,), None, order=0, continues=i > 1) for i, name in enumerate("ab", 1)]
    scored = [{"b": 0.5}, {"a": 0.8}, {"a": 0.6, "b": 0.7}]
    scored = [{name: {"test": {"m": value}} for name, value in row.items()} for row in scored]
    [report] = transfer(stages, scored, {"a": Task(True), "b": Task(True)})
    assert report["matrix"] == [[0.8, None], [0.6, 0.7]] and report["alone"] == [0.8, 0.5]
    means = report["forgetting"], report["backward_transfer"], report["forward_transfer"]
    assert means == pytest.approx((0.2, -0.2, 0.2))
    [errors] = transfer(stages, scored, {"a": Task(False), "b": Task(False)})  # as if the scores were errors
    assert (errors["forgetting"], errors["forward_transfer"]) == pytest.approx((-0.2, -0.2))


def test_a_branch_is_refused_on_another_trunk(tiny_trunk_dir, rows, tmp_path):
    result = fit(tuned(tiny_trunk_dir, rows, "lora", tasks=("mood",)), run_dir=tmp_path / "run")
    described = json.loads((result.branches["mood"] / "branch.json").read_text())
    described["trunk"]["weights"] = "0" * 64
    resave(result.branches["mood"], described)
    with pytest.raises(TrunklineError, match="trained on the encoder"):
        load_branch(result.branches["mood"])


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        (
            "lora",
            [
                ({"targets": ["qury"]}, "method.targets: unknown name 'qury'"),
                ({"head": {"name": "adalayers", "dim": 16, "heads": 3}}, "method.heads: found 3 heads for dim 16"),
            ],
        ),
        ("top", [({"top": 9}, "method.top: found 9 blocks, expected 1 to 3")]),
        ("loha", [({"parameters": {"r": 0}}, "method LOHA: refused by the peft library")]),
        (
            "adapter",
            [
                ({"specs": {}}, "method is missing or malformed (KeyError)"),
                ({"specs": {"task": "small"}}, "method is missing or malformed (ValueError)"),
                ({"specs": {"task": {"output_adapter": "perhaps"}}}, "method.specs.task: "),
                ({"specs": None, "stack_on": "/nowhere"}, "/nowhere: found no adapter"),
            ],
        ),
    ],
)
def test_a_method_that_does_not_fit_its_branch_is_told_with_the_file(method, changes, tiny_trunk_dir, rows, tmp_path):
    path = fit(tuned(tiny_trunk_dir, rows, method, tasks=("mood",), epochs=1), run_dir=tmp_path / "run").branches["mood"]
    described = json.loads((path / "branch.json").read_text())
    for change, sentence in changes:
        resave(path, described | {"method": described["method"] | change})
        with pytest.raises(BadInput) as error:
            load_branch(path)
        assert str(error.value).startswith(f"{path / 'branch.json'}: {sentence}") and "\n" not in str(error.value)
