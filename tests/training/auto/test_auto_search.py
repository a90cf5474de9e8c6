"""The search of `method: auto` against the same candidates trained one by one, and what becomes of its result."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
import yaml
from autotools import FAMILY, auto_config, use_family
from safetensors.torch import load_file
from synthetic import write_rows

from trunkline import Bundle, fit
from trunkline.events import RoundEnded, SearchEnded, SearchStarted, quiet
from trunkline.training.auto.budget import TOTAL
from trunkline.training.auto.choosing import chosen
from trunkline.training.auto.search import entrant
from trunkline.training.config import load_config, resolve
from trunkline.training.members import loop_of, opened
from trunkline.training.run import Run
from trunkline.training.single_layers import fit_single_layers


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 150)


@pytest.fixture(scope="module")
def found(tiny_trunk_dir, rows, tmp_path_factory):
    """The result of a run of two tasks, its config, and the events."""
    folder, told = tmp_path_factory.mktemp("auto"), []
    values = auto_config(tiny_trunk_dir, rows, tasks=("mood", "cities"), epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(folder / "cache"))
        use_family(patch)
        result = fit(values, run_dir=folder / "run", progress=False, subscribers=[told.append])
    return SimpleNamespace(result=result, values=values, told=told, auto=result.summary["auto"], folder=folder)


def alone(run, task, one, ends, share, folder):
    """By the steps `ends`, the best rank of a candidate that is trained by itself; without any halving."""
    made = entrant(run, task, one)
    learner = made.member.learners[task]
    learner.share = share
    seen = {}

    def cut(step, learners):
        if step in ends:
            seen[step] = list(learner.progress.best_rank), learner.progress.best_score
            learner.progress.stopped |= step == ends[-1]

    # Linear ones are judged after each epoch, too.
    looks = SimpleNamespace(
        due=lambda step, learners, ends_epoch: [made.key] if step in ends or (one.linear and ends_epoch) else []
    )
    looks.cut = cut
    training = run.config.training.model_copy(update={"evaluate_every": "epoch"})
    config = run.config.model_copy(update={"training": training})
    read = opened(run, [made.member], folder / "checkpoint")
    loop_of(run, config, [made.member], read, folder / "checkpoint", "a" * 64, halving=looks).run()
    return seen


@pytest.mark.parametrize("task", ["mood", "cities"])
def test_the_search_is_what_comes_of_training_all_candidates_one_by_one(task, found, tmp_path):
    own = found.auto["tasks"][task]
    rows = {row["name"]: row for row in own["candidates"]}
    assert sorted(name for name, row in rows.items() if row["of"]) == sorted(one.name for one in FAMILY)
    assert not own["left_out"]
    run = Run(resolve(found.values), quiet)
    started = next(event for event in found.told if isinstance(event, SearchStarted))
    total, best = started.steps * started.epochs, []
    for kind, ends in own["steps"].items():
        names = [row["name"] for row in own["candidates"] if row["kind"] == kind and row["of"]]
        assert ends == sorted(set(ends)) and ends[-1] <= total
        seen = {
            one.name: alone(run, task, one, ends, ends[-1] / total, tmp_path / f"{number}")
            for number, one in enumerate(FAMILY)
            if one.name in names
        }
        left = list(names)
        for number, end in enumerate(ends):
            for name in left:
                assert rows[name]["by_round"][number] == pytest.approx(seen[name][end][1], abs=1e-6), (name, number)
            kept = 1 if end == ends[-1] else math.ceil(len(left) / 2)
            order = sorted(left, key=lambda name, end=end: seen[name][end][0], reverse=True)
            for name in order[kept:]:
                assert rows[name]["rounds"] == number and len(rows[name]["by_round"]) == number + 1
            left = [name for name in left if name in order[:kept]]
        assert rows[left[0]]["rounds"] == len(ends)
        best += left
    linear, deep = best
    if rows[linear]["validation"] <= rows[deep]["validation"]:  # after nearly all of its training
        best = [deep]
        assert "linear" not in own["finalists"]
    else:
        assert own["finalists"]["linear"] == linear
    assert own["finalists"]["deep"] == deep
    more = [name for kind, name in own["finalists"].items() if kind not in own["steps"]]
    assert list(own["finalists"])[-len(more) :] == [f"deep {number}" for number in range(2, 2 + len(more))]
    best += more  # which ones: test_auto_finalists.py
    trained = {name: rows[name]["trained"] for name in best}
    assert {name for name, row in rows.items() if "trained" in row} == set(best)
    assert trained[own["chosen"]] == max(trained.values())


def test_the_result_is_the_run_of_the_method_that_was_chosen(found, tiny_trunk_dir, rows, tmp_path):
    for task in ("mood", "cities"):
        own = found.auto["tasks"][task]
        row = next(row for row in own["candidates"] if row["name"] == own["chosen"])
        values = {**found.values, "method": row["method"]}
        values["training"] = {**values["training"], "learning_rate": row["learning_rate"]}
        plain = fit(values, run_dir=tmp_path / task, progress=False)
        ours, theirs = (load_file(one.branches[task] / "weights.safetensors") for one in (found.result, plain))
        # Rounding alone moves the bias of attention's keys, which changes no answer.
        kept = [key for key in theirs if not key.endswith("in_proj_bias")]
        assert ours.keys() == theirs.keys()
        torch.testing.assert_close({k: ours[k] for k in kept}, {k: theirs[k] for k in kept}, rtol=1e-4, atol=1e-5)
        summary, expected = found.result.tasks[task], plain.tasks[task]
        assert summary["method"] == expected["method"] == row["method"]["name"]
        assert summary.keys() == expected.keys()
        for split in ("validation", "test"):
            assert summary[split]["loss"] == pytest.approx(expected[split]["loss"], rel=1e-3)
        assert found.result.cost["trained_parameters"][task] == plain.cost["trained_parameters"][task]
        branch = json.loads((found.result.branches[task] / "branch.json").read_text())
        assert branch["method"] == row["method"]
    assert {entry["step"] for entry in found.result.summary["history"]} == {e["step"] for e in plain.summary["history"]}
    assert all(entry["tasks"].keys() <= {"mood", "cities"} for entry in found.result.summary["history"])


def test_what_is_told_of_it(found):
    started = [event for event in found.told if isinstance(event, SearchStarted)]
    assert [event.candidates for event in started] == [{"mood": len(FAMILY), "cities": len(FAMILY)}]
    for task in ("mood", "cities"):
        for kind, ends in found.auto["tasks"][task]["steps"].items():
            rounds = [event for event in found.told if isinstance(event, RoundEnded)]
            ended = [event for event in rounds if (event.task, event.kind) == (task, kind)]
            assert [event.round for event in ended] == list(range(1, len(ends) + 1))
            count = sum(row["kind"] == kind for row in found.auto["tasks"][task]["candidates"] if row["of"])
            for event in ended:
                assert event.count == count and len(event.left) == (1 if event.round == len(ends) else math.ceil(count / 2))
                count = len(event.left)
    [ended] = [event for event in found.told if isinstance(event, SearchEnded)]
    assert ended.finalists == {task: own["finalists"] for task, own in found.auto["tasks"].items()}
    assert "auto chose" in repr(found.result)


def test_it_answers_and_is_found_again(found):
    bundle = Bundle.open(found.result.path)
    assert bundle.predict(["a good film in paris"])[0].keys() >= {"mood", "cities"}
    again = fit(found.values, run_dir=found.result.path, progress=False)
    assert again.summary == found.result.summary
    assert yaml.safe_load((found.result.path / "config.yaml").read_text())["method"] == {"name": "auto"}
    assert not (found.result.path / "checkpoint").exists() and not (found.result.path / "search" / "checkpoint").exists()


def test_single_layers_are_compared_with_what_was_chosen(found):
    own = found.auto["tasks"]["mood"]
    row = next(row for row in own["candidates"] if row["name"] == own["chosen"])
    config = chosen(load_config(found.result.path / "config.yaml"), found.result.path, "mood")
    assert config.method.model_dump(mode="json") == row["method"]
    assert config.training.learning_rate == row["learning_rate"]
    assert list(fit_single_layers(found.result.path, "mood").scores) == [0, 1, 2, 3]


def test_what_the_search_leaves_of_the_budget_trains_more_candidates(found):
    started = next(event for event in found.told if isinstance(event, SearchStarted))
    total, more = started.steps * started.epochs, []
    for own in found.auto["tasks"].values():
        spent = 0.0
        for row in own["candidates"]:
            ends = own["steps"][row["kind"]]
            compared = ends[min(row["rounds"], len(ends) - 1)] / total if row["of"] else 0
            spent += row["cost"] * (compared + ("trained" in row))
        assert spent <= TOTAL  # in fits of AdaLayers, but for what reading and judging cost
        rows = {row["name"]: row for row in own["candidates"]}
        more += [rows[name] for kind, name in own["finalists"].items() if kind not in own["steps"]]
    assert more and all(row["kind"] == "deep" and "trained" in row for row in more)
