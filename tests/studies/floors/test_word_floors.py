"""TF-IDF by its formula, on few labels and on pairs; the most frequent tag of each word; the constant answer."""

from __future__ import annotations

import math
import random
import warnings
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from floortools import rows_with, subject_of, without_trunk
from synthetic import MOODS
from tasktools import corpus_of

from trunkline.studies.floors import tfidf
from trunkline.studies.floors.base import Subject, floors
from trunkline.studies.floors.majority import Majority
from trunkline.studies.floors.tfidf import TfIdf
from trunkline.studies.floors.word_tags import WordTags
from trunkline.tasks.spans import find_spans
from trunkline.training.prepare import Prepared, Split
from trunkline.training.sections import DataSection


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_with(tmp_path_factory.mktemp("words") / "rows.jsonl", 300, lambda number, row: None)


def expected(texts, among):
    """(1 + log tf) (log((1 + n) / (1 + df)) + 1), scaled to length 1, of words and pairs of words, sorted by term."""
    terms = [Counter([*words, *map(" ".join, pairwise(words))]) for words in texts]
    known = [Counter([*words, *map(" ".join, pairwise(words))]) for words in among]
    found = np.zeros((len(texts), len(names := sorted(set().union(*known)))))
    for row, counts in enumerate(terms):
        for column, name in enumerate(names):
            if counts[name]:
                inverse = math.log((1 + len(among)) / (1 + sum(name in one for one in known))) + 1
                found[row, column] = (1 + math.log(counts[name])) * inverse
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-300)


def splits_of(train, test, pairs=None):
    """A subject with texts alone."""
    splits = {}
    for name, texts in (("train", train), ("test", test)):
        corpus = corpus_of(text=texts)
        if pairs:
            corpus = corpus.__class__(corpus.table, corpus.texts, pairs[name])
        splits[name] = Split(name, corpus, {})
    return Subject(None, Prepared(DataSection(train="x"), {}, splits), lambda split: None)


def test_terms_are_words_and_pairs_of_them_weighted_by_the_formula():
    train = [["it", "'", "s", "a", "good", "film"], ["a", "good", "good", "song", "!"], ["我", "爱", "东", "京"]]
    test = [["a", "film", "!"], ["爱", "东", "unknown"]]
    made = tfidf._features(
        splits_of(["It 's a GOOD film", "a good good song!", "我爱东京"], ["A film !", "爱东 unknown"]), "words"
    )
    assert made["train"].toarray() == pytest.approx(expected(train, train))
    assert made["test"].toarray() == pytest.approx(expected(test, train))


def test_characters_are_those_within_words_and_a_pair_is_both_their_difference_and_their_product():
    made = tfidf._features(splits_of(["abc d"], ["xyz abc"]), "characters")["test"].toarray()
    assert made.shape[1] == len({" a", "ab", "bc", "c ", " ab", "abc", "bc ", " abc", "abc ", " abc ", " d", "d ", " d "})
    assert (made > 0).sum() == 10
    pairs = {"train": ["good film", "a song"], "test": ["song"]}
    made = tfidf._features(splits_of(["a good film", "bad"], ["film song"], pairs), "words")["test"].toarray()
    words = [text.split() for text in ("a good film", "bad", "good film", "a song")]
    first, second = expected([["film", "song"]], words), expected([["song"]], words)
    assert made == pytest.approx(np.hstack([first, second, abs(first - second), first * second]))
    assert (first * second).any()


def test_a_rule_in_the_words_is_learned_for_every_kind_and_twice_alike(rows):
    for name, metric in (("mood", "accuracy"), ("topics", "f1_micro"), ("stars", "pearson")):
        subject = subject_of(without_trunk(rows, name), name)
        found, again = TfIdf.measure(subject), TfIdf.measure(subject)
        assert found.metrics["test"][metric] > 0.95, name
        assert (found.answers.predicted == again.answers.predicted).all() and found.metrics == again.metrics
        assert found.chosen.keys() == {"n-grams of", "C"}


def test_characters_are_taken_where_they_tell_more_and_not_tried_on_very_long_data(tmp_path, monkeypatch):
    """The mood is in the stem of words that never occur twice."""
    random_ = random.Random(0)

    def joined(number, row):
        stem = "".join(random_.choices("ghkmpqvwxz", k=6))
        row.update(text=f"{stem}{'ala' if row['label'] == 'positive' else 'oro'}{stem[::-1]}")

    rows = rows_with(tmp_path / "rows.jsonl", 120, joined)
    subject = subject_of(without_trunk(rows, "mood"), "mood")
    found = TfIdf.measure(subject)
    assert found.chosen["n-grams of"] == "characters" and found.metrics["test"]["accuracy"] == 1
    monkeypatch.setattr(tfidf, "CHARACTERS", sum(map(len, subject.train.corpus.texts)) - 1)
    found = TfIdf.measure(subject)
    assert found.chosen["n-grams of"] == "words" and found.metrics["test"]["accuracy"] < 0.8


@pytest.mark.parametrize("number", ["8 per class", "1 per class", 3])
@pytest.mark.parametrize("task", ["mood", "topics", "stars"])
def test_a_few_rows_are_enough_without_a_word_on_the_terminal(number, task, rows, capfd):
    data = {"rows": 8 if task == "stars" else number}
    subject = subject_of(without_trunk(rows, task, data=data), task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = TfIdf.measure(subject)
    assert found.metrics["validation"].keys() == found.metrics["test"].keys()
    assert len(found.answers.predicted) == len(subject.targets("test").values) and capfd.readouterr() == ("", "")
    if number == "8 per class" and task == "mood":
        assert found.metrics["test"]["accuracy"] > 0.7


def test_the_constant_answer_is_that_of_the_training_rows(rows):
    subject = subject_of(without_trunk(rows, "mood"), "mood")
    found, values = Majority.measure(subject), subject.targets("train").values
    assert set(found.answers.predicted) == {np.bincount(values).argmax()} and found.parameters == 1
    assert found.metrics["test"]["accuracy"] == (subject.targets("test").values == np.bincount(values).argmax()).mean()
    subject = subject_of(without_trunk(rows, "stars"), "stars")
    assert Majority.measure(subject).answers.predicted == pytest.approx(subject.targets("train").values.mean())
    subject = subject_of(without_trunk(rows, "topics"), "topics")
    found = Majority.measure(subject)
    assert (found.answers.predicted == found.answers.predicted[0]).all() and found.answers.predicted.any()


def tagged(words, tags):
    return lambda number, row: row.update(tokens=words(number), tags=tags(number), text=" ".join(words(number)))


def test_a_word_has_its_most_frequent_tag_and_one_that_was_not_seen_the_most_frequent_of_all(tmp_path):
    """`york` is I-city more often than B-city, and is read as the beginning of a span where nothing is before it."""
    texts = [["new", "york", "is"], ["york", "is", "it"], ["so", "new", "york"], ["is", "zurich"]]
    tags = [["B-city", "I-city", "O"], ["B-city", "O", "O"], ["O", "B-city", "I-city"], ["O", "B-city"]]
    change = tagged(lambda number: texts[number % 4], lambda number: tags[number % 4])
    subject = subject_of(without_trunk(rows_with(tmp_path / "rows.jsonl", 80, change), "cities"), "cities")
    found = WordTags.measure(subject)
    baseline = subject.task.baseline(subject.group.splits["test"].corpus)
    assert found.answers.predicted.tolist() == baseline.values.tolist() and found.chosen == {"unseen words": "as they are"}
    words = [word for text in subject.group.splits["test"].corpus.table.columns["tokens"] for word in text]
    begins = {int(place) for place in found.answers.offsets[:-1]}
    for place, (word, tag) in enumerate(zip(words, found.answers.predicted.tolist(), strict=True)):
        alone = place in begins or words[place - 1] != "new"
        assert tag == {"new": 1, "york": 1 if alone else 2, "zurich": 1}.get(word, 0)
    assert found.parameters == len(set(words)) + 1 and found.metrics["test"]["f1"] == 1
    spans = find_spans(found.answers.predicted, found.answers.offsets)
    assert len(spans.first) == (found.answers.predicted == 1).sum()  # every span begins with B-


def test_lower_case_is_looked_up_where_that_helps_on_validation(tmp_path):
    """Cities are written in lower case in the training rows, and in capitals in the others."""
    change = tagged(
        lambda number: ["in", "paris" if number % 2 else f"x{number}", "x"],
        lambda number: ["O", "B-city" if number % 2 else "O", "O"],
    )
    rows = rows_with(tmp_path / "rows.jsonl", 80, change)
    config = without_trunk(rows, "cities")
    held = subject_of(config, "cities").group.splits
    lines = {line for name in ("validation", "test") for line in held[name].corpus.table.lines}

    def again(number, row):
        change(number, row)
        if number + 1 in lines and number % 2:
            row.update(tokens=["in", "PARIS", "x"], text="in PARIS x")

    subject = subject_of(without_trunk(rows_with(rows, 80, again), "cities"), "cities")
    found = WordTags.measure(subject)
    assert found.chosen == {"unseen words": "in lower case"} and found.metrics["test"]["f1"] == 1
    plain = subject.task.baseline(subject.group.splits["test"].corpus)
    assert subject.task.score(plain, subject.targets("test"))["f1"] == 0


def test_a_floor_says_what_it_does_not_apply_to(rows):
    group = subject_of(without_trunk(rows, "mood", "cities", "topics", "stars"), "mood").group
    suited = {
        name: {task for task in group.tasks if floors.get(name).unsuited(group, group.tasks[task]) is None}
        for name in floors.names()
    }
    texts = {"mood", "topics", "stars"}
    assert suited == {"majority": texts, "tfidf": texts, "embedding": texts, "word_tags": {"cities"}}
    titles = {(name, task): floors.get(name).title(group.tasks[task]) for name, tasks in suited.items() for task in tasks}
    assert titles["tfidf", "stars"] == "TF-IDF with ridge regression" and titles["majority", "stars"] == "mean"
    assert len(set(titles.values())) == 3 + 2 + 2 + 1
    clips = Prepared(DataSection(train="x", audio="file"), {}, {})
    assert TfIdf.unsuited(clips, group.tasks["mood"]) == "audio clips have no words"
    assert set(MOODS.values()) == set(group.tasks["mood"].labels)
