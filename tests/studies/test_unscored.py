"""What has no value or no interval is said once, in words, with its method and the reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from studyfacts import facts
from synthetic import write_rows

from trunkline.cli.show_study import tables
from trunkline.studies.compare import compare
from trunkline.studies.config import Cell
from trunkline.studies.facts import read_facts
from trunkline.studies.outcomes import Outcome, Repeat
from trunkline.studies.report.quality import quality
from trunkline.studies.report.results import Results
from trunkline.studies.statistics import Answers
from trunkline.studies.statistics.undefined import why_undefined
from trunkline.studies.unscored import unscored
from trunkline.tasks.metrics import multilabel_metrics, regression_metrics


def of_numbers(metric, true, predicted):
    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    return Answers("regression", metric, [], true, predicted, np.ones(len(true), bool))


def of_labels(true):
    """Two labels, average precision."""
    true = np.asarray(true, bool)
    scores = np.random.default_rng(0).random(true.shape)
    return Answers("multilabel", "average_precision", ["x", "y"], true, scores > 0.5, np.ones(len(true), bool), scores=scores)


UNDEFINED = [
    (of_numbers("pearson", [1, 2, 3], [5, 5, 5]), "it answers the same number to all test rows"),
    (of_numbers("spearman", [4, 4, 4], [1, 2, 3]), "all test rows have the same number"),
    (of_numbers("pearson", [4], [1]), "there is one test row"),
    (of_numbers("r2", [4], [1]), "there is one test row"),
    (of_labels([[False, False]] * 3), "no test row has a label"),
]


@pytest.mark.parametrize(("answers", "why"), UNDEFINED)
def test_why_a_metric_has_no_value(answers, why):
    true, predicted = answers.true, answers.predicted
    if answers.kind == "regression":
        assert regression_metrics(true, predicted)[answers.metric] is None
    else:
        assert multilabel_metrics(true, predicted, answers.scores, ["x", "y"])[answers.metric] is None
    assert why_undefined(answers) == why


def test_a_metric_with_a_value_has_no_reason():
    assert why_undefined(of_numbers("pearson", [1, 2, 3], [1, 3, 2])) == ""
    assert why_undefined(of_labels([[True, False], [False, False]])) == ""


def outcome(method, result=None):
    cell = Cell.__new__(Cell)
    object.__setattr__(cell, "method", method)
    return Outcome(cell, {}, [], [Repeat(0, Path(method), result or {})])


def cell_of(test, validation=0.5, no_interval=""):
    return {"tasks": {"price": {"test": test, "validation": validation, "no_interval": no_interval}}}


def test_methods_are_named_once_by_reason():
    constant, fine = of_numbers("pearson", [1, 2, 3], [5, 5, 5]), of_numbers("pearson", [1, 2, 3], [1, 2, 2])
    every = [outcome(name) for name in ("mean", "probe", "lora", "mean")]
    cells = [
        cell_of(None),
        cell_of(0.5, no_interval="no interval of 3 test rows, fewer than 6"),
        cell_of(0.5, None),
        cell_of(None),
    ]
    said = unscored(every, cells, lambda repeat, task: constant if repeat.path.name == "mean" else fine)
    assert said == [
        "price: pearson of mean has no value on test, as it answers the same number to all test rows",
        "price, probe: no interval of 3 test rows, fewer than 6",
        "price: pearson of lora has no value on validation, as the numbers there or those answered are all the same",
    ]


def test_a_reason_that_all_methods_share_names_none():
    fine = of_numbers("pearson", [1, 2, 3], [1, 2, 2])
    every = [outcome(name) for name in ("a", "b")]
    cells = [cell_of(0.5, no_interval="no interval of 3 test rows, fewer than 6")] * 2
    assert unscored(every, cells, lambda repeat, task: fine) == ["price: no interval of 3 test rows, fewer than 6"]


def test_a_report_says_so_beside_the_score():
    given = facts(labels=("joy", "anger"), sizes=("all",))
    first, second = (cell for cell in given["cells"] if cell["method"] in ("probe", "lora"))
    first["tasks"]["intent"] |= {"interval": None, "no_interval": "no interval of 1 test row, fewer than 6"}
    second["tasks"]["intent"] |= {"test": None, "interval": None}
    (grid,) = quality(Results.model_validate(given))
    below = {row[0].text: row[1].below for row in grid.rows}
    assert below[first["method"]].startswith("no interval of 1 test row, fewer than 6")
    assert below[second["method"]] == "no value"


def test_a_study_with_one_test_row(tiny_trunk_dir, tmp_path):
    rows, test = (
        write_rows(tmp_path / f"{name}.jsonl", count, seed) for name, count, seed in (("rows", 60, 0), ("test", 1, 9))
    )
    study = {
        "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": str(test)},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "training": {"epochs": 1, "batch_tokens": 256, "learning_rate": 0.01},
        "methods": {"probe": None},
        "study": {"seeds": 1, "floors": False},
    }
    found = compare(study, out=tmp_path / "study", progress=False)
    assert "mood: no interval of 1 test row, fewer than 6" in found.findings
    assert all(cell["tasks"]["mood"]["interval"] is None for cell in found.summary["cells"])
    assert read_facts(tmp_path / "study")["cells"][0]["tasks"]["mood"]["no_interval"]
    console = Console(width=120, record=True, file=io.StringIO())
    for part in tables(found.summary):
        console.print(part)
    assert "[" not in console.export_text()
