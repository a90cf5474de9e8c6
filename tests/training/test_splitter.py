"""What the trackers of runs that are trained together are told, against what `fit` tells them of each run alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import config, write_rows

from trunkline import fit
from trunkline.events import BatchEnded, EpochEnded, Evaluated, Finding, Preparing, quiet
from trunkline.training.config import resolve
from trunkline.training.splitter import Splitter
from trunkline.training.stacked import fit_stacked

TIMES = {"time", "seconds", "evaluation_seconds", "bytes", "cost", "environment"}


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def comparable(value: object) -> object:
    """Without times, paths by their last part, and numbers equal to those that differ by rounding."""
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-3, abs=1e-4)
    return plain(value)


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


@pytest.fixture(scope="module")
def configs(tiny_trunk_dir, tmp_path_factory):
    """One run that never stops, one that stops early with each of its two tasks at a time of its own, one that fails."""
    rows = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 80)
    values = config(tiny_trunk_dir, rows, precision="fp32", states_dtype="fp32", data_seed=3)
    values |= {"trackers": ["jsonl"], "method": {"name": "single_layer", "layer": 2, "dim": 8, "heads": 2, "dropout": 0.0}}

    def varied(**training):
        return resolve({**values, "training": {**values["training"], "epochs": 3, "evaluate_every": 1, **training}})

    return {
        "whole": varied(),
        "stopping": varied(patience=1, learning_rate=0.3, seed=5),
        "broken": varied(learning_rate=1e30, clip_norm=None),
    }


@pytest.fixture(scope="module")
def together(configs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    fit_stacked(configs, {name: folder / name for name in configs}, folder / "checkpoint", quiet)
    return folder


@pytest.mark.parametrize("name", ["whole", "stopping"])
def test_a_run_of_a_stack_is_told_what_fit_would_tell_it(name, configs, together, tmp_path):
    fit(configs[name], run_dir=tmp_path / name, progress=False)
    ours, theirs = (
        [line for line in lines_of(folder) if not line["event"].startswith(("States", "Checkpoint", "TimeEstimated"))]
        for folder in (together / name, tmp_path / name)
    )
    assert [line["event"] for line in ours] == [line["event"] for line in theirs]
    for own, other in zip(ours, theirs, strict=True):
        if own["event"] == "RunEnded":
            assert own["outcome"] == other["outcome"] == "finished"
            own, other = own["summary"]["history"], other["summary"]["history"]
        elif own["event"] == "EpochEnded":  # the rest counts the whole stack, which may train on after a run has stopped
            own, other = ({key: line[key] for key in ("event", "epoch", "epochs")} for line in (own, other))
        assert plain(own) == comparable(other)


def test_one_run_stops_early_and_one_fails(together):
    count = {name: [line["event"] for line in lines_of(together / name)] for name in ("whole", "stopping", "broken")}
    assert count["whole"].count("Evaluated") > count["stopping"].count("Evaluated") > 0
    [failed] = [line for line in lines_of(together / "broken") if line["event"] == "RunEnded"]
    assert failed["outcome"] == "failed" and count["broken"][0] == "RunStarted" and count["broken"][-1] == "RunEnded"


def test_each_run_gets_its_own_part_and_nothing_once_it_is_over():
    whole, seen, state = [], {"a": [], "b": []}, {"a": "training", "b": "training"}
    told = Splitter(whole.append, {name: own.append for name, own in seen.items()})
    told.begin({}, state.get)
    events = [
        Preparing("reading"),
        BatchEnded(0, 1, 2, {"a/x": 1.0, "b/x": 2.0, "b/y": 3.0}),
        BatchEnded(0, 2, 2, {}),  # nothing in it is labelled; both train still
        Evaluated(2, 1, {"a/x": {"best": True}, "b/x": {"best": False}}),
        EpochEnded(1, 2, 1.0, 1.0, 5),
    ]
    for event in events:
        told(event)
    later = [BatchEnded(1, 1, 2, {"a/x": 1.0, "b/x": 1.0}), Evaluated(3, 2, {"a/x": {"best": False}, "b/x": {"best": False}})]
    for event in later:
        told(event)
    state["b"] = "stopped"  # in the midst of an epoch, which still ends for it
    last = [BatchEnded(1, 2, 2, {"a/x": 1.0}), Evaluated(4, 2, {"a/x": {"best": False}}), EpochEnded(2, 3, 1.0, 1.0, 5)]
    over = [BatchEnded(2, 1, 2, {"a/x": 1.0}), Evaluated(5, 3, {"a/x": {"best": False}}), EpochEnded(3, 3, 1.0, 1.0, 5)]
    for event in [*last, *over]:
        told(event)
    assert whole == [*events, *later, *last, *over]
    assert seen["b"] == [
        events[0],
        BatchEnded(0, 1, 2, {"x": 2.0, "y": 3.0}),
        events[2],
        Evaluated(2, 1, {"x": {"best": False}}),
        events[4],
        BatchEnded(1, 1, 2, {"x": 1.0}),
        Evaluated(3, 2, {"x": {"best": False}}),
        last[-1],
    ]
    assert [type(event) for event in seen["a"]] == [type(event) for event in whole]
    assert seen["a"][-3].losses == {"x": 1.0}


def test_what_several_runs_find_is_told_of_the_stack_once():
    whole, seen = [], {"a": [], "b": []}
    told = Splitter(whole.append, {name: own.append for name, own in seen.items()})
    for name in "ab":
        told.of(name)(Finding("the same rows"))
    assert whole == [Finding("the same rows")] and seen == {"a": whole, "b": whole}
    told.leave_out("a")
    told(Preparing("more"))
    assert len(seen["a"]) == 1 and len(seen["b"]) == 2
