"""Likely label errors: rows and file of a ranking, that nothing of a row is known to what doubts it, and flipped labels."""

from __future__ import annotations

import csv
import json
import random

import numpy as np
import pytest
from synthetic import config, row, write_rows
from tasktools import corpus_of, fitted

from trunkline.errors import BadInput
from trunkline.events import Finding
from trunkline.tasks import Targets
from trunkline.training import label_errors, out_of_fold
from trunkline.training.config import resolve
from trunkline.training.label_errors import find_label_errors
from trunkline.training.out_of_fold import OutOfFold, predict_out_of_fold

OTHER = {"positive": "negative", "negative": "positive"}


def written(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture
def found(tiny_trunk_dir, tmp_path, monkeypatch):
    """Of three texts with a mood and a city each, what is said where a model has told their probabilities."""
    texts = ["good film in paris", "=awful\r\nfilm", "so, \"great\""]  # fmt: skip
    corpus = corpus_of(
        text=texts,
        label=["positive", "positive", "negative"],
        words=[text.split() for text in texts],
        tags=[["O", "O", "O", "O"], ["O", "O"], ["B-city", "O"]],
        tokens="words",
    )
    mood = fitted("sequence", corpus, label="label")
    cities = fitted("token", corpus, tokens="words", tags="tags")
    mood.name, cities.name = "mood", "cities"
    shares = np.full((8, 3), 0.05)
    shares[:, 0] = [0.9, 0.9, 0.9, 0.1, 0.8, 0.7, 0.35, 0.9]
    shares[:, 1] = 0.95 - shares[:, 0]
    made = [
        OutOfFold(mood, corpus, mood.targets(corpus), np.array([[0.1, 0.9], [0.97, 0.03], [0.4, 0.6]])),
        OutOfFold(cities, corpus, cities.targets(corpus), shares),
    ]
    monkeypatch.setattr(label_errors, "predict_out_of_fold", lambda *_, **__: made)
    return find_label_errors(config(tiny_trunk_dir, tmp_path / "rows.jsonl", tasks=("mood", "cities", "stars")))


def test_the_rows_of_a_ranking(found):
    moods = [one for one in found.rows if one["task"] == "mood"]
    assert [(one["rank"], one["line"], one["given"], one["suggested"]) for one in moods] == [
        (1, 2, "positive", "negative"),
        (2, 3, "negative", "positive"),
        (3, 1, "positive", "positive"),
    ]
    assert [one["given_confidence"] for one in moods] == pytest.approx([0.03, 0.4, 0.9])
    assert [one["suggested_confidence"] for one in moods] == pytest.approx([0.97, 0.6, 0.9])
    # t of positive is (0.9 + 0.03) / 2, of negative 0.4.
    assert [one["suspected"] for one in moods] == [True, True, False]
    assert all(one["row"] is None and one["word"] is None and one["source"] == "train.jsonl" for one in moods)
    first, second, *_ = cities = [one for one in found.rows if one["task"] == "cities"]
    assert len(cities) == 3
    assert (first["line"], first["word"], first["start"], first["end"]) == (1, "paris", 13, 18)
    assert (first["given"], first["suggested"], first["suspected"]) == ("O", "B-city", True)
    assert (second["line"], second["given"], second["word"]) == (3, "B-city", "so,")


def test_what_is_said_of_it(found):
    assert found.findings == [
        "stars: left out, as a task of kind regression has no labels to doubt.",
        "mood: 2 of 3 rows are suspected to have a wrong label.",
        "mood: 2 labels have fewer rows than there are folds, so that what is said of these rows means little.",
        "cities: 1 of 3 rows is suspected to have a wrong tag.",
        "cities: 1 label has fewer rows than there are folds, so that what is said of these rows means little.",
    ]
    assert found.changes("mood") == [("positive", "negative", 1), ("negative", "positive", 1)]
    assert [one["line"] for one in found.suspected("mood")] == [2, 3] and len(found.suspected()) == 3


def test_the_file_has_every_row(found, tmp_path):
    found.write(tmp_path / "doubtful.csv")
    with open(tmp_path / "doubtful.csv", newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(found.rows) and list(read[0]) == [
        "task", "rank", "source", "line", "text", "word", "start", "end",
        "given", "suggested", "given_confidence", "suggested_confidence", "suspected",
    ]  # fmt: skip
    for one, cells in zip(found.rows, read, strict=True):
        assert (cells["task"], cells["text"], cells["given"]) == (one["task"], one["text"], one["given"])
        assert float(cells["given_confidence"]) == pytest.approx(one["given_confidence"], rel=1e-5)
        assert cells["suspected"] == str(one["suspected"]).lower() and cells["word"] == (one["word"] or "")
    with pytest.raises(BadInput, match=r"path .*rows\.jsonl: expected a file to write that ends in \.csv"):
        found.write(tmp_path / "rows.jsonl")


@pytest.fixture(scope="module")
def rows():
    drawn = random.Random(5)
    return [row(drawn, least=2, most=4) for _ in range(30)]


def test_a_fold_is_answered_without_its_own_labels(tiny_trunk_dir, tmp_path, rows, monkeypatch):
    """Whatever labels the rows of a fold have: what is said of them is the same, bit for bit. Of the others it is not."""
    monkeypatch.setattr(out_of_fold, "deal_folds", lambda keys, strata, folds, seed: np.arange(len(keys)) % folds)
    validation = write_rows(tmp_path / "validation.jsonl", 8, seed=9)
    answers, said, events = [], [], []
    for name, turned in (("as-they-are", False), ("turned", True)):
        own = [
            {**one, "label": OTHER[one["label"]], "tags": one["tags"][::-1]} if turned and number % 2 == 0 else one
            for number, one in enumerate(rows)
        ]
        values = config(tiny_trunk_dir, written(tmp_path / f"{name}.jsonl", own), tasks=("mood", "cities"), epochs=1)
        values["data"] |= {"validation": str(validation), "test": None}
        found = predict_out_of_fold(resolve(values), folds=2, say=said.append, publish=events.append)
        answers.append({one.task.name: one for one in found})
    one, other = (made["mood"].probabilities for made in answers)
    assert one.shape == (30, 2) and np.allclose(one.sum(1), 1)
    first = np.arange(30) % 2 == 0
    assert (one[first] == other[first]).all() and (one[~first] != other[~first]).any(axis=1).all()
    offsets = answers[0]["cities"].targets.offsets
    of_first = np.repeat(first, np.diff(offsets))
    one, other = (made["cities"].probabilities for made in answers)
    assert (one[of_first] == other[of_first]).all() and (one[~of_first] != other[~of_first]).any(axis=1).all()
    assert said == ["fold 1 of 2", "fold 2 of 2"] * 2
    findings = [event.text for event in events if isinstance(event, Finding)]
    assert len(findings) <= 2 * len(set(findings))  # every fold finds the same


def test_all_rows_take_part_that_splits_would_be_drawn_from(tiny_trunk_dir, tmp_path, rows):
    values = config(tiny_trunk_dir, written(tmp_path / "rows.jsonl", [*rows, rows[0]]), tasks=("mood",), epochs=1)
    values["data"] |= {"test": "25%"}
    [found] = predict_out_of_fold(resolve(values), folds=2)
    assert len(found.corpus) == len(found.probabilities) == 31 and found.targets.present.all()
    assert (found.probabilities[0] == found.probabilities[30]).all(), "equal texts are in one fold, so both are held out"


@pytest.mark.slow
def test_flipped_labels_come_first(tiny_trunk_dir, tmp_path):
    """12 of 600 moods, which a word of each text tells."""
    drawn = random.Random(5)
    made = [row(drawn, least=1, most=4) for _ in range(600)]
    flipped = set(drawn.sample(range(600), 12))
    for number in flipped:
        made[number] = {**made[number], "label": OTHER[made[number]["label"]]}
    values = config(tiny_trunk_dir, written(tmp_path / "rows.jsonl", made), tasks=("mood",), epochs=12)
    values["method"]["dropout"] = 0
    found = find_label_errors(values, folds=3)
    assert len({one["line"] - 1 for one in found.rows[:12]} & flipped) >= 11
    assert flipped <= {one["line"] - 1 for one in found.suspected("mood")}


def test_what_cannot_be_is_said(tiny_trunk_dir, tmp_path):
    values = config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 12), tasks=("stars",))
    with pytest.raises(BadInput, match=r"tasks\.stars\.kind: found regression, expected a task with labels \(multilabel, seq"):
        find_label_errors(values)
    values = config(tiny_trunk_dir, tmp_path / "rows.jsonl", tasks=("mood",))
    with pytest.raises(BadInput, match=r"method\.name: found lora, expected a side branch"):
        find_label_errors(values | {"method": {"name": "lora"}})
    with pytest.raises(BadInput, match="folds: found 1, expected a whole number of at least 2"):
        find_label_errors(values, folds=1)
    with pytest.raises(BadInput, match="tasks: unknown name 'moods'; did you mean 'mood'"):
        find_label_errors(values, tasks=["moods"])
    unlabelled = {"label": [None, None, "positive", None]}
    made = [{"text": f"film {number}", "label": label} for number, label in enumerate(unlabelled["label"] * 3)]
    values["data"] = {"train": str(written(tmp_path / "few.jsonl", made)), "validation": str(tmp_path / "rows.jsonl")}
    with pytest.raises(BadInput, match="found only the label 'positive'"):
        find_label_errors(values)


def test_targets_of_some_texts():
    offsets = np.array([0, 2, 2, 5])
    targets = Targets(np.arange(5), np.array([True, False, True, True, True]), offsets, np.arange(5) / 2)
    some = targets.of_texts(np.array([2, 1, 0]))
    assert some.values.tolist() == [2, 3, 4, 0, 1] and some.present.tolist() == [True, True, True, True, False]
    assert some.offsets.tolist() == [0, 3, 3, 5] and some.weights.tolist() == [1, 1.5, 2, 0, 0.5]
    assert Targets(np.arange(3), np.ones(3, bool)).of_texts(np.array([2, 0])).values.tolist() == [2, 0]


def test_a_launch_of_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"^label-errors: found a launch of 2 processes, expected one process$"):
        find_label_errors({})
