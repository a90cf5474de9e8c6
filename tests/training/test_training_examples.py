"""Examples that branches see before training, against numpy on the states themselves; and the runs of such branches."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.branches.examples import Asked
from trunkline.errors import BadInput
from trunkline.events import EpochEnded, quiet
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.model.facts import branch_facts
from trunkline.states.live import LiveStates
from trunkline.training import examples, resumable
from trunkline.training.config import resolve
from trunkline.training.examples import gather, special_ids
from trunkline.training.fit import fit
from trunkline.training.run import Run

LAYERS = (1, 3)
SMALL = {"dim": 16, "heads": 2, "alpha": 4}


@pytest.fixture(scope="module")
def made(tiny_trunk_dir, tmp_path_factory):
    """A run that is not begun, its loop, and by layer the states of each training sequence."""
    folder = tmp_path_factory.mktemp("examples")
    rows = write_rows(folder / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood", "cities", "topics", "stars"), states="live")
    values["tasks"]["cities"]["crf"] = True
    run = Run(resolve(values), quiet)
    loop = run.loop(folder / "run")
    encoded, states = run.groups[0].splits["train"].encoded, {}
    every = np.arange(len(encoded.lengths))
    cut = np.cumsum(encoded.lengths)[:-1]
    LiveStates(run.trunk, encoded).feed(every, LAYERS, lambda layer, own: states.update({layer: np.split(own.numpy(), cut)}))
    return run, loop.sources[0].train, encoded, states


def gathered(made, task, pooling, seed=3):
    run, split, _, _ = made
    special = special_ids(run.trunk.tokenizer)
    return gather(split, run.first[0][task].parts[task], Asked(LAYERS, pooling), seed, special)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "content"])
def test_texts_are_pooled_and_their_labels_beside_them(made, pooling):
    _, split, encoded, states = made
    found = gathered(made, "mood", pooling)
    special = np.isin(encoded.ids, [encoded.ids[0], encoded.ids[-1]])
    content = np.split(~special, np.cumsum(encoded.lengths)[:-1])
    assert all(part[0] == part[-1] == False for part in content), "[CLS] and [SEP]"  # noqa: E712
    pick = {
        "mean": lambda rows, _: rows.mean(0), "cls": lambda rows, _: rows[0], "last": lambda rows, _: rows[-1],
        "content": lambda rows, own: rows[own].mean(0),
    }[pooling]  # fmt: skip
    order = np.random.default_rng(3).permutation(len(encoded.lengths))
    assert order.tolist() != sorted(order)
    for layer in LAYERS:
        expected = np.stack([pick(states[layer][i], content[i]) for i in order])
        np.testing.assert_allclose(found.states[layer], expected, rtol=1e-4, atol=1e-5)
    assert found.targets.tolist() == split.supervision["mood"].targets.values[order].tolist()


def test_words_are_read_from_their_own_rows_and_as_many_texts_as_fit(made, monkeypatch):
    _, split, encoded, states = made
    targets = split.supervision["cities"].targets
    rows = {layer: np.concatenate(states[layer]) for layer in LAYERS}
    order = np.random.default_rng(3).permutation(len(encoded.lengths))
    words = [np.arange(encoded.unit_offsets[i], encoded.unit_offsets[i + 1]) for i in order]
    for room in (None, 40):
        if room is not None:
            monkeypatch.setattr(examples, "LEAST", room)
            monkeypatch.setattr(examples, "MOST_BYTES", 0)
            ends = np.cumsum([len(part) for part in words])
            words = words[: int(np.searchsorted(ends, room, side="right"))]
            assert 1 < len(words) < len(order)
        found, units = gathered(made, "cities", "content"), np.concatenate(words)
        assert found.targets.tolist() == targets.values[units].tolist() and len(units) > 20
        for layer in LAYERS:
            np.testing.assert_allclose(found.states[layer], rows[layer][encoded.unit_rows[units]], rtol=1e-4, atol=1e-5)


def test_a_text_without_a_word_of_its_own_is_the_mean_of_all_its_tokens(made):
    run, split, encoded, states = made
    found = gather(split, run.first[0]["mood"].parts["mood"], Asked(LAYERS, "content"), 3, sorted({*encoded.ids.tolist()}))
    order = np.random.default_rng(3).permutation(len(encoded.lengths))
    np.testing.assert_allclose(found.states[3], np.stack([states[3][i].mean(0) for i in order]), rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_the_task_and_of_words_in_a_chain_one_by_one(made):
    run = made[0]
    numbers = torch.tensor([4, 0, 7])
    for task, outputs in (("mood", 2), ("topics", 3), ("stars", 1), ("cities", 3)):
        found, logits = gathered(made, task, "mean"), torch.randn(3, outputs, requires_grad=True)
        right = found.targets[numbers]
        expected = {
            "mood": lambda x, y: F.cross_entropy(x, y),
            "topics": lambda x, y: F.binary_cross_entropy_with_logits(x, y.float()),
            "stars": lambda x, y: (
                (x[:, 0] - (y - run.tasks["stars"].learned.mean) / run.tasks["stars"].learned.std) ** 2
            ).mean(),
            "cities": lambda x, y: F.cross_entropy(x, y),
        }[task](logits, right)
        loss = found.loss(logits, numbers)
        torch.testing.assert_close(loss.double(), expected.double())
        loss.backward()
        assert logits.grad.abs().sum() > 0


def test_the_draw_depends_on_the_seed(made):
    one, two = gathered(made, "mood", "mean", seed=1), gathered(made, "mood", "mean", seed=2)
    assert not torch.equal(one.states[1], two.states[1])
    assert torch.equal(one.states[1], gathered(made, "mood", "mean", seed=1).states[1])


class _Stop(BaseException):
    pass


RUNS = {
    "variability": ({"name": "variability", **SMALL, "alpha": None}, ("mood", "cities")),
    "adalayers": ({"name": "adalayers", "initial": "variability", **SMALL}, ("mood",)),
    "head2toe": (
        {"name": "head2toe", "selection_steps": 30, "layers": "1-3", "normalisation": "per_feature"},
        ("mood", "cities", "stars"),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_is_found_is_saved_told_and_resumed(name, tiny_trunk_dir, tmp_path, monkeypatch):
    method, tasks = RUNS[name]
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=tasks, epochs=2, evaluate_every=1)
    values["method"] = {key: value for key, value in method.items() if value is not None}
    whole = fit(values, run_dir=tmp_path / "whole")

    def stop(event):
        if isinstance(event, EpochEnded):
            raise _Stop

    monkeypatch.setattr(resumable, "SAVING_SHARE", float("inf"))
    with pytest.raises(_Stop):
        fit(values, run_dir=tmp_path / "other", subscribers=[stop])
    assert (tmp_path / "other" / "checkpoint").is_dir()
    monkeypatch.setattr("trunkline.training.run.examine", None)  # what was found is in the checkpoint
    resumed = fit(values, run_dir=tmp_path / "other")
    what = "features" if name == "head2toe" else "nu"
    told = json.loads((tmp_path / "whole" / "result.json").read_text())["tasks"]
    for task in tasks:
        [(key, found)] = told[task]["by_layer"].items()
        assert key == what and list(found) == (["1", "2", "3"] if name == "head2toe" else ["0", "1", "2", "3"])
        facts = branch_facts(whole.branches[task])
        assert facts["by_layer"] == told[task]["by_layer"] and facts["reads"] == told[task]["reads"]
        if name == "variability":
            assert facts["reads"] == [int(min(found, key=found.get))]
        one, two = (load_file(run.branches[task] / "weights.safetensors") for run in (resumed, whole))
        assert all(torch.equal(one[key], two[key]) for key in two), "a run that was stopped ends with the same bits"
    texts = ["the film was great", "slow paris"]
    together = Bundle.open(tmp_path / "whole", device="cpu").predict(texts)
    for task in tasks:
        [*alone] = Bundle.open(whole.branches[task], device="cpu").predict(texts)
        for row, own in zip(together, alone, strict=True):
            assert row[task].keys() == own[task].keys()
            assert own[task].get("score", 0) == pytest.approx(row[task].get("score", 0), abs=1e-4)
    assert load_branch(whole.branches[tasks[0]]).module.by_layer()


def test_methods_that_compare_classes_refuse_numbers_before_anything_is_written(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    for method, key in (({"name": "variability"}, "name"), ({"name": "adalayers", "initial": "variability"}, "initial")):
        values = config(tiny_trunk_dir, rows, tasks=("stars",)) | {"method": method}
        with pytest.raises(BadInput, match=rf"method\.{key}: found variability, expected"):
            fit(values, run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
