"""The tables of a study, of made-up facts: floors first, intervals, several sizes, at the width of a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trunkline.cli.show_study import best_runs, plan, tables


def cell(method, validation, test, **more):
    task = {"validation": validation, "test": test, "deviation": None, "interval": None, "by_seed": []}
    if test is not None:
        task |= more.pop("task", {})
    cost = {"trained_parameters": 12_345, "seconds": 3.04, "stacked": 1}
    return {
        "method": method, "trunk": "minilm", "size": "all", "regime": "separate", "settings": None, "failed": {},
        "tasks": {"mood": task}, "cost": cost, **more,
    }  # fmt: skip


def facts(**more):
    probe = {"trained_parameters": 5, "seconds": 41.2, "stacked": 16}
    seeds = [{"seed": 0, "validation": 0.91, "run": "runs/a"}, {"seed": 1, "validation": 0.93, "run": "runs/b"}]
    cells = [
        cell("adalayers", 0.92, 0.9, task={"interval": [0.88, 0.92], "by_seed": seeds}, settings={"learning_rate": 0.01}),
        cell("lora", 0.915, 0.91, task={"deviation": 0.01}, settings={"learning_rate": 0.0005},
             cost={"trained_parameters": 1_234_567, "seconds": 123.4, "stacked": 1}),
        cell("probe", 0.5, 0.4, settings={"learning_rate": 0.1}, cost=probe),
        cell("broken", None, None, tasks={}, cost=None, failed={"broken, seed 0": "the loss is nan"}),
        cell("TF-IDF with logistic regression", 0.8, 0.79, cost={"trained_parameters": 999, "seconds": 0.5}),
    ]  # fmt: skip
    methods = {one["method"]: {"floor": one["method"].startswith("TF")} for one in cells}
    tasks = {"mood": {"kind": "sequence", "metric": "f1", "higher_is_better": True, "positive": "good"}}
    place = {"task": "mood", "trunk": "minilm", "size": "all", "regime": "separate"}
    below = [{**place, "sentence": "probe does not beat TF-IDF with logistic regression on mood"}]
    return {"cells": cells, "methods": methods, "tasks": tasks, "below_floor": below, "finished": True, **more}


def printed(parts, width):
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None, force_terminal=True)
    for part in parts:
        console.print(part)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_floors_come_first_and_every_number_is_whole(width):
    lines = printed(tables(facts()), width)
    assert lines[0] == "mood: f1 (good)" and all(len(line) <= width for line in lines)
    rows = [line.split() for line in lines[2:]]
    first = [row[0] for row in rows if row]
    assert first.index("TF-IDF") < first.index("adalayers") < first.index("lora") < first.index("probe")
    found = {row[0]: row for row in reversed(rows) if row}
    assert found["adalayers"][1:] == ["0.01", "0.9200", "0.9000", "[0.880,", "0.920]", "3.0", "12,345"]
    assert found["lora"][1:] == ["0.0005", "0.9150", "0.9100", "±", "0.0100", "123", "1.23M"]
    assert found["probe"][-3:] == ["41", "(16)", "5"] and found["broken"][1:] == ["-", "failed", "-", "-"]
    text = " ".join(lines)
    assert "(n): it was trained together with others" in text and "probe does not beat TF-IDF" in text
    assert lines[-1] == "failed: broken, seed 0: the loss is nan"


def test_several_sizes_have_a_table_each_and_settings_their_names():
    given = facts()
    smaller = [
        {**one, "size": "8 per class", "settings": {"learning_rate": 0.1, "method.dim": 64}} for one in given["cells"][:2]
    ]
    given["cells"] += smaller
    lines = printed(tables(given), 120)
    assert [line for line in lines if line.startswith("mood")] == [
        "mood: f1 (good), size all",
        "mood: f1 (good), size 8 per class",
    ]
    assert any("learning_rate 0.1, dim 64" in line for line in lines)


def test_the_best_run_is_that_of_the_best_method_on_validation():
    given = facts()
    assert best_runs(given) == {"mood": ("adalayers", "runs/b")}
    given["tasks"]["mood"]["higher_is_better"] = False
    assert best_runs(given) == {}  # a probe, whose runs are not known here


def test_a_plan_has_its_runs_units_and_needs():
    one = {"trunk": "minilm", "size": "all", "regime": "separate"}
    planned = {
        "cells": [
            {"method": "probe", **one, "settings": [{"learning_rate": 0.1}, {"learning_rate": 0.2}], "seeds": [0, 1, 2]},
            {"method": "lora", **one, "size": "1000", "settings": [{}], "seeds": [0]},
        ],
        "units": [{"runs": ["probe, seed 0", "probe, seed 1", "layer"], **one, "seeds": [0, 1], "seconds": 95.0},
                  {"runs": ["lora, seed 0"], **one, "size": "1000", "seeds": [0], "seconds": None}],
        "runs": 5, "done": 1, "seconds": 95.0, "disk_bytes": {"states": 2_000_000, "runs": 30_000}, "memory_bytes": 1.2e9,
        "path": "studies/x", "floors": {"seconds": 0.0, "not_estimated": None}, "timing": {"seconds": 0.0, "unknown": 0},
    }  # fmt: skip
    rows = [line.split() for line in printed(plan(planned), 80)]
    assert ["probe", "all", "2", "3", "4"] in rows and ["lora", "1000", "1", "1", "1"] in rows
    assert ["probe,", "layer", "all", "0,", "1", "3", "2", "min"] in rows and [
        "lora,",
        "seed",
        "0",
        "1000",
        "0",
        "1",
        "unknown",
    ] in rows
    text = [" ".join(line.split()) for line in printed(plan(planned), 120)]
    assert "time 1 of 5 runs done; about 2 min and what 1 run of unknown time will take, if no run ends early" in text
    assert "on disk 30.0 KB in studies/x; 2.0 MB of new layer states" in text and "memory about 1.2 GB at the peak" in text
    planned["floors"]["seconds"], planned["timing"]["seconds"] = 12.0, 300.0
    text = [" ".join(line.split()) for line in printed(plan(planned), 180)]
    [time] = [line for line in text if line.startswith("time ")]
    assert time.endswith("if no run ends early; of that 12 s for simple baselines and 5 min for timing predictions")


def test_of_several_tables_a_sentence_about_a_baseline_names_its_own():
    given = facts()
    given["cells"].append({**given["cells"][2], "size": "8 per class"})
    about = {
        "task": "mood",
        "trunk": "minilm",
        "regime": "separate",
        "sentence": "probe is worse than TF-IDF for mood (-9.00 points)",
    }
    given["below_floor"] = [{**about, "size": size} for size in ("all", "8 per class")]
    assert [line for line in printed(tables(given), 120) if "worse" in line] == [
        "size all: probe is worse than TF-IDF for mood (-9.00 points)",
        "size 8 per class: probe is worse than TF-IDF for mood (-9.00 points)",
    ]


def test_of_several_tables_a_run_that_failed_names_its_own():
    given = facts()
    given["cells"].append({**given["cells"][3], "size": "8 per class"})
    assert printed(tables(given), 120)[-2:] == [
        "failed: size all, broken, seed 0: the loss is nan",
        "failed: size 8 per class, broken, seed 0: the loss is nan",
    ]
