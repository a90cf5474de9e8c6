"""The arguments of `fit` in Python: other spellings are understood, and mistakes are answered with what works."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import row

import trunkline
from trunkline.errors import BadInput
from trunkline.training.fit import RunResult
from trunkline.training.given import config_of
from trunkline.training.keywords import overrides_of
from trunkline.training.prepare import prepare
from trunkline.training.resumable import Interrupted

RANDOM = random.Random(5)
ROWS = [row(RANDOM) for _ in range(60)]
TEXTS = [" ".join(one["tokens"]) + f" {number}" for number, one in enumerate(ROWS)]
MOODS = [one["label"] for one in ROWS]
FRAME = pd.DataFrame(
    {"review": TEXTS, "mood": MOODS, "w": np.linspace(0.5, 2, 60), "title": [f"one of {n} titles" for n in range(60)]}
)
MAPPING = "fit({'text': texts, 'label': labels})"


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((TEXTS,), {"label": MOODS}),
        ((TEXTS[:2],), {}),
        ((["splendid", "dreadful"],), {"label": ["good", "bad"]}),
        ((["splendid"] * 20,), {}),
        ((tuple(TEXTS),), {"label": pd.Series(MOODS)}),
        ((FRAME["review"],), {"label": FRAME["mood"]}),
        ((np.array(TEXTS),), {}),
        (("never seen such a film",), {}),
        ((FRAME,), {"label": FRAME["mood"]}),
        ((FRAME,), {"label": MOODS}),
        ((FRAME,), {"text": FRAME["review"], "label": "mood"}),
    ],
)
def test_texts_and_labels_alone_are_refused_without_showing_any(arguments, keywords):
    with pytest.raises(BadInput) as error:
        trunkline.fit(*arguments, progress=False, **keywords)
    said = str(error.value)
    assert said.endswith(MAPPING) and "\n" not in said
    assert not any(word in said for word in (*TEXTS, "splendid", "never seen", "positive"))


@pytest.mark.parametrize(
    ("arguments", "keywords", "said"),
    [
        ((TEXTS, MOODS), {}, MAPPING),
        ((FRAME,), {"epochs": 3}, "no argument 'epochs'; give overrides=['training.epochs=3']"),
        ((FRAME,), {"learning_rate": 1e-3}, "give overrides=['training.learning_rate=0.001']"),
        ((FRAME,), {"lr": 0.5}, "give overrides=['training.learning_rate=0.5']"),
        ((FRAME,), {"weight": "w"}, "give overrides=['data.weight=w']"),
        ((FRAME,), {"weight": FRAME["w"]}, "give overrides=['data.weight=...']"),
        ((FRAME,), {"trunk": "minilm"}, "give overrides=['trunk=minilm']"),
        ((FRAME,), {"labels": "mood"}, "give label=..."),
        ((FRAME,), {"text_column": "review"}, "give text=..."),
        ((FRAME,), {"test_size": 0.2}, "give test=..."),
        ((FRAME,), {"output_dir": "out"}, "give run_dir=..."),
        ((FRAME,), {"force": True}, "give fresh=True"),
        ((FRAME,), {"xyzzy": 1}, "expected one of those of help(trunkline.fit)"),
    ],
)
def test_arguments_that_there_are_not_are_answered_with_what_works(arguments, keywords, said):
    with pytest.raises(TypeError, match=r"^fit\(\) ") as error:
        trunkline.fit(*arguments, **keywords)
    assert said in str(error.value)


def test_what_the_answers_name_works():
    given = config_of(FRAME, ["data.weight=w", "training.epochs=3"], text="review")
    assert list(given.config.tasks) == ["mood"] and given.config.data.weight == "w" and given.config.training.epochs == 3
    assert "'w' is read as data.weight." in given.sentences
    assert prepare(given.config)[0].splits["train"].targets["mood"].weights is not None
    found = config_of({"text": TEXTS, "label": MOODS}).config
    assert list(found.tasks) == ["label"]
    paired = config_of(FRAME, ["data.text=review", "data.text_pair=title"], label="mood").config.data
    assert (paired.text, paired.text_pair) == ("review", "title")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("training.epochs=1", ["training.epochs=1"]),
        (("a=1", "b=2"), ["a=1", "b=2"]),
        ({"training.epochs": 1, "trunk.device": "cpu"}, ["training.epochs=1", 'trunk.device="cpu"']),
        ({"training": {"epochs": np.int64(1), "patience": None}}, ["training.epochs=1", "training.patience=null"]),
        ({"method": {"name": "lora", "r": 4}}, ['method={"name": "lora", "r": 4}']),
    ],
)
def test_overrides_are_a_list_or_one_string_or_a_mapping(given, expected):
    assert overrides_of(given) == expected


def test_overrides_as_a_mapping_keep_the_types_of_their_values():
    changes = {"training": {"epochs": 2, "learning_rate": 1e-5}, "data.missing": ["no", "1"], "method": "probe"}
    config = config_of(FRAME, changes, text="review", label="mood").config
    assert (config.training.epochs, config.training.learning_rate, config.method.name) == (2, 1e-5, "probe")
    assert config.data.missing == ["no", "1"]
    for wrong, said in (
        (3, "overrides: found 3, expected a list"),
        ({"data.test": FRAME}, "overrides: data.test: found DataFrame"),
    ):
        with pytest.raises(BadInput, match=said):
            config_of(FRAME, wrong)


def test_a_method_may_be_named():
    assert config_of(FRAME, label="mood", method="lora").config.method.name == "lora"
    assert config_of(FRAME, label="mood", method={"name": "adalayers", "dim": 16}).config.method.dim == 16
    assert (
        config_of(FRAME, label="mood", method="adalayers").config.identity() == config_of(FRAME, label="mood").config.identity()
    )
    with pytest.raises(BadInput, match=r"did you mean lora|did you mean 'lora'"):
        config_of(FRAME, label="mood", method="lroa")
    with pytest.raises(BadInput, match="method: given together with a config"):
        config_of({"data": {"train": "snips"}}, method="lora")


def test_no_test_split_is_said_by_false_and_validation_is_always_needed():
    assert config_of(FRAME, label="mood", test=False).config.data.test is None
    assert config_of(FRAME, label="mood", test=None).config.data.test == 0.1
    with pytest.raises(BadInput, match=r"^validation: found False, expected data or a share"):
        config_of(FRAME, label="mood", validation=False)
    with pytest.raises(BadInput, match=r"^test: found True, expected data, a share such as '10%', or False"):
        config_of(FRAME, label="mood", test=True)


def test_a_share_that_draws_one_row_is_a_finding():
    (found,) = prepare(config_of(FRAME, label="mood", validation=0.0001, test=False).config)
    assert "validation: 1 row of 60 was drawn (0.01%); scores on one row say little." in found.findings
    (found,) = prepare(config_of(FRAME, label="mood", test=False).config)
    assert not any("drawn" in said for said in found.findings)


def test_columns_may_be_called_by_numbers():
    frame = pd.DataFrame({0: TEXTS, 1: MOODS, 2: MOODS})
    assert config_of(frame, text=0, label=1).config.tasks.keys() == {"1"}
    assert config_of(frame, text=np.int64(0), label=[1, 2]).config.tasks.keys() == {"1", "2"}


def test_names_of_tasks_that_columns_cannot_be_are_told_and_found_by_the_column():
    frame = FRAME[["review"]].assign(**{"Overall rating": MOODS, "mood": MOODS})
    given = config_of(frame)
    assert list(given.config.tasks) == ["Overall_rating", "mood"]
    assert any(said.startswith("'Overall rating' is a sequence task called 'Overall_rating': ") for said in given.sentences)
    assert config_of(frame, label="Overall rating").config.tasks.keys() == {"Overall_rating"}
    run = RunResult(Path("run"), {"tasks": {"Overall_rating": {"kind": "sequence"}, "mood": {}}})
    assert run.tasks["Overall rating"] is run.tasks["Overall_rating"] and "mood" in run.tasks
    with pytest.raises(KeyError, match="no task 'rating', expected one of 'Overall_rating', 'mood'"):
        run.tasks["rating"]


def test_a_column_keeps_its_name_where_another_is_shortened_to_it():
    for columns in (("a b", "a_b"), ("a_b", "a b")):
        config = config_of(FRAME[["review"]].assign(**dict.fromkeys(columns, MOODS)), label=list(columns)).config
        assert {name: task.label for name, task in config.tasks.items()} == {"a_b": "a_b", "a_b_2": "a b"}


def test_labels_are_named_by_any_kind_of_list():
    frame = FRAME.assign(other=MOODS)
    for names in (pd.Index(["mood", "other"]), np.array(["mood", "other"]), ("mood", "other")):
        assert config_of(frame, label=names).config.tasks.keys() == {"mood", "other"}


@pytest.mark.parametrize(
    ("given", "keywords", "sentence"),
    [
        ({}, {"method": "lora"}, "fit: found an empty mapping, expected a config or data; texts and their labels are given as"),
        (
            FRAME,
            {"validation": 0.5, "test": "50%"},
            "found shares of 0.5 and 0.5 for validation and test, expected a sum below 1",
        ),
        (
            {"tokens": [["a", "b"]] * 20, "tags": [["O", "B-x"]] * 19 + [["O"]]},
            {},
            "'tags': data.train row 20 has 1 tags for the 2 strings of 'tokens')",
        ),
    ],
)
def test_what_is_known_of_the_cause_is_told(given, keywords, sentence):
    with pytest.raises(BadInput) as error:
        config_of(given, **keywords)
    assert sentence in str(error.value)


def test_generators_of_texts_and_labels_are_columns():
    given = {"review": (text for text in TEXTS), "mood": iter(MOODS)}
    assert config_of(given, method="lora").config.data.train == config_of({"review": TEXTS, "mood": MOODS}).config.data.train


def test_a_stopped_fit_says_that_the_same_call_resumes(monkeypatch, capsys):
    def stopped(*arguments):
        raise Interrupted("interrupted after step 3")

    monkeypatch.setattr("trunkline.training.fit._fit", stopped)
    for progress, said in ((True, "interrupted; a checkpoint was saved, and the same call of fit resumes"), (False, "")):
        with pytest.raises(Interrupted):
            trunkline.fit(FRAME, label="mood", progress=progress)
        assert said in (written := capsys.readouterr().err) and bool(written) == progress


def test_findings_are_in_the_result_and_its_repr(tmp_path):
    task = {"monitor": "accuracy", "validation": {"accuracy": 0.5}}
    run = RunResult(tmp_path, {"tasks": {"mood": task}, "cost": {}, "findings": [f"finding {n}." for n in range(9)]})
    assert run.findings == run.summary["findings"]
    assert repr(run).splitlines()[2:-1] == [*(f"  note: finding {n}." for n in range(6)), "  and 3 more in .findings"]
    assert RunResult(tmp_path, {"tasks": {}, "cost": {}}).findings == []
