"""Studies whose parts contradict each other: what would be lost, or called by what it is not, is refused before it runs."""

from __future__ import annotations

import pytest

from trunkline.errors import BadInput
from trunkline.model.checking import Origin
from trunkline.studies.config import study_of
from trunkline.studies.plan import Plan
from trunkline.training.overrides import override

VALUES = {
    "trunk": "minilm",
    "data": {"train": "rows.jsonl", "validation": "20%", "test": "20%"},
    "tasks": {"mood": {"kind": "sequence", "label": "label"}},
    "methods": {"probe": None, "lora": {"training": {"epochs": 2}}},
}
LAYER = {"name": "single_layer", "dim": 16, "heads": 2}
RATES = {"learning_rate": [0.001, 0.01]}


def plan(**change):
    return Plan(study_of({**VALUES, **change}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"methods": {"probe": {"each": {"learning_rate": [0.1]}}}, "study": {"tune": RATES}},
            "study.tune.learning_rate: found a key that methods.probe.each.learning_rate sets, expected one of them; "
            "a method with tune: {} searches nothing",
        ),
        (
            {"methods": {"probe": {"each": {"training.learning_rate": [0.1]}, "tune": RATES}}},
            "methods.probe.tune.learning_rate: found a key that methods.probe.each.training.learning_rate sets, expected",
        ),
        (
            {"methods": {"a": {"method": "probe", "each": {"method.dropout": [0.1]}, "tune": {"method": ["probe"]}}}},
            "methods.a.tune.method: found a key that methods.a.each.method.dropout sets",
        ),
        (
            {"study": {"tune": {"training.learning_rate": [0.001], "learning_rate": [0.01]}}},
            "study.tune.learning_rate: found a key that study.tune.training.learning_rate sets",
        ),
        (
            {"methods": {"probe": {"each": {"method.dropout": [0.1], "method": ["probe"]}}}},
            "methods.probe.each.method: found a key that methods.probe.each.method.dropout sets",
        ),
        (
            {"methods": {"probe": {"training": {"seed": 7}}}},
            "methods.probe.training.seed: found a key that must be the same for all runs, expected methods.probe.seeds",
        ),
        (
            {"methods": {"probe": {"training": {"data_seed": 7}}}},
            "methods.probe.training.data_seed: found a key that must be the same for all runs, expected it in training",
        ),
        (
            {"methods": {"lora": {"training": {"regime": "joint"}}}, "study": {"regimes": ["separate", "joint"]}},
            "methods.lora.training.regime: found a key that study.regimes sets, expected one of them",
        ),
        (
            {"methods": {"lora": {"each": {"training.regime": ["joint"]}}}, "study": {"regimes": ["separate", "joint"]}},
            "methods.lora.each.training.regime: found a key that study.regimes sets, expected one of them",
        ),
        (
            {"study": {"regimes": ["separate", "joint"], "tune": {"regime": ["joint"]}}},
            "study.tune.regime: found a key that study.regimes sets, expected one of them",
        ),
        ({"methods": {"probe": {"each": {"trunk": ["a", "b"]}}}}, "methods.probe.each.trunk: found a trunk, expected trunks"),
        ({"methods": {"probe": {"each": {"trunk.name": ["a"]}}}}, "methods.probe.each.trunk.name: found a trunk, expected"),
        ({"study": {"tune": {"trunk.revision": ["a", "b"]}}}, "study.tune.trunk.revision: found a trunk, expected trunks"),
        (
            {"methods": {"probe": {"each": {"data.rows": [5, 9]}}}},
            "methods.probe.each.data.rows: found a number of training rows, expected study.sizes",
        ),
        ({"trunk": None, "trunks": ["minilm", "minilm"]}, "trunks: found 'minilm' twice, expected each once"),
        (
            {"trunk": None, "trunks": ["minilm", {"name": "minilm", "dtype": "bf16"}]},
            "trunks: found 'minilm' twice, expected each once",
        ),
        ({"methods": ["probe", "lora", "probe"]}, "methods: found 'probe' twice, expected each once"),
        (
            {"data": {**VALUES["data"], "rows": 20}, "study": {"sizes": [10, 30]}},
            "study.sizes: found 30, but data.rows is 20; expected smaller sizes, or no data.rows",
        ),
        (
            {"data": {**VALUES["data"], "rows": 20}, "study": {"sizes": [20, "all"]}},
            "study.sizes: found 20 and all, which are the same, as data.rows is 20; expected one of them",
        ),
        (
            {"data": {**VALUES["data"], "rows": 20}, "study": {"sizes": ["2 per class", "all"]}},
            "study.sizes: found 2 per class, but data.rows is 20; expected no data.rows beside sizes per class",
        ),
    ],
)
def test_contradictions_are_refused_in_a_sentence(change, message):
    with pytest.raises(BadInput) as caught:
        plan(**change)
    assert str(caught.value).startswith(f"config: {message}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_compared_and_then_searched_may_be_parts_of_each_other():
    made = plan(methods={"a": {"each": {"method": ["single_layer"]}, "tune": {"method.layer": [1, 2]}}}, study={"seeds": 1})
    assert [len(cell.candidates) for cell in made.cells] == [2]


def test_a_seed_of_the_data_counts_for_all_runs():
    made = plan(training={"data_seed": 5, "seed": 2}, study={"seeds": 2})
    drawn = {made.run(cell, 0, seed).config.training.data_seed for cell in made.cells for seed in cell.seeds}
    assert drawn == {5}
    assert {run.config.training.data_seed for run in plan(training={"seed": 2}).searches()} == {2}


def test_sizes_below_the_rows_of_the_data_are_drawn_beside_them():
    made = plan(data={**VALUES["data"], "rows": 20}, methods=["probe"], study={"sizes": [5, 10, "all"]})
    assert [run.config.data.rows for run in made.searches()] == [5, 10, 20]


def test_an_override_is_named_where_it_contradicts_something():
    given = ["study.tune.learning_rate=[0.1]"]
    values = override({**VALUES, "methods": {"probe": {"each": {"learning_rate": [0.1]}}}}, given)
    where = Origin("m.yaml", given)
    with pytest.raises(BadInput, match=r"^override 'study.tune.learning_rate=\[0.1\]': study.tune.learning_rate: found a key"):
        Plan(study_of(values, where), where)
