"""The answers that a run keeps of its test split, against the scores that it reports and against predictions of its bundle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from synthetic import config, write_rows

from trunkline import Bundle, fit
from trunkline.data.corpus import build_corpus
from trunkline.data.sources import read_table
from trunkline.errors import BadInput
from trunkline.training.answered import load_answers

KINDS = ("mood", "cities", "topics", "stars")


@pytest.fixture(scope="module")
def test_rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("test") / "test.jsonl", 60, seed=9)


@pytest.fixture(scope="module")
def run(tiny_trunk_dir, test_rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answered")
    values = config(tiny_trunk_dir, write_rows(folder / "rows.jsonl", 200), tasks=KINDS, epochs=2)
    values["data"]["test"] = str(test_rows)
    return fit(values, run_dir=folder / "run", progress=False)


def test_answers_have_the_scores_of_the_run(run):
    mood, topics, stars = (load_answers(run.path, name) for name in ("mood", "topics", "stars"))
    scores = {name: task["test"] for name, task in run.tasks.items()}
    assert mood.present.all() and len(mood.true) == 60
    assert sk.accuracy_score(mood.true, mood.predicted) == pytest.approx(scores["mood"]["accuracy"])
    assert sk.f1_score(topics.true, topics.predicted, average="micro") == pytest.approx(scores["topics"]["f1_micro"])
    assert topics.scores.shape == topics.true.shape
    assert sk.mean_absolute_error(stars.true, stars.predicted) == pytest.approx(scores["stars"]["mae"])


def test_answers_are_those_of_the_saved_branches(run, test_rows):
    table = read_table(str(test_rows))
    corpus = build_corpus(table, text="text", tokens="tokens")
    said = Bundle.open(run.path).predict(corpus.texts, units=corpus.units)
    mood, cities = load_answers(run.path, "mood"), load_answers(run.path, "cities")
    assert [mood.labels[number] for number in mood.predicted] == [one["mood"]["label"] for one in said]
    assert [mood.labels[number] for number in mood.true] == table.columns["label"]
    begins = [(cities.predicted[a:b] % 2 == 1).sum() for a, b in zip(cities.offsets, cities.offsets[1:], strict=False)]
    assert begins == [len(one["cities"]["spans"]) for one in said]
    assert cities.labels == ["city"] and np.array_equal(cities.offsets[1:] - cities.offsets[:-1], list(map(len, corpus.units)))


def test_the_same_rows(run):
    mood = load_answers(run.path, "mood")
    assert mood.same_rows(mood)
    assert not mood.same_rows(load_answers(run.path, "cities"))


def test_a_run_without_answers_says_so(run, tmp_path):
    with pytest.raises(BadInput, match="no such file; expected the answers of a run with a test split"):
        load_answers(tmp_path, "mood")
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "mood.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read as the answers of a run"):
        load_answers(tmp_path, "mood")


def test_a_run_begun_anew_takes_its_answers_with_it(run, tiny_trunk_dir, tmp_path):
    values = config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 100), epochs=1)
    first = fit(values, run_dir=tmp_path / "run", progress=False)
    assert sorted(file.name for file in (first.path / "answers").iterdir()) == ["cities.safetensors", "mood.safetensors"]
    (first.path / "answers" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"mine\.txt"):
        fit(values, run_dir=tmp_path / "run", fresh=True, progress=False)
    assert (first.path / "answers" / "mine.txt").exists()
