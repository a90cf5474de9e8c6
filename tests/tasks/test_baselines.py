"""Baselines against scikit-learn's dummy estimators and brute force, and what is said of branches that are no better."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from tasktools import corpus_of, fitted

from trunkline.tasks import Decoded, Task
from trunkline.tasks.remarks import baseline_scores, remarks
from trunkline.tasks.spans import find_spans
from trunkline.tasks.thresholds import best_constant


def scored(task, corpus):
    return baseline_scores(task, corpus, task.targets(corpus))


def test_a_label_is_guessed_as_the_dummy_classifier_guesses():
    train = corpus_of(y=["b", "c", "b", None, "a", "b", "c"])
    test = corpus_of(y=["a", "b", "b", None, "c"])
    task = fitted("sequence", train, label="y")
    dummy = DummyClassifier(strategy="most_frequent").fit([[0]] * 6, ["b", "c", "b", "a", "b", "c"])
    true, guessed = ["a", "b", "b", "c"], dummy.predict([[0]] * 4)
    found = scored(task, test)
    assert found["accuracy"] == accuracy_score(true, guessed)
    assert found["f1_macro"] == pytest.approx(f1_score(true, guessed, average="macro"))
    assert found["matthews"] == matthews_corrcoef(true, guessed) and "by_label" not in found
    prior = DummyClassifier(strategy="prior").fit([[0]] * 6, ["b", "c", "b", "a", "b", "c"])
    assert task.baseline(test).scores[0] == pytest.approx(prior.predict_proba([[0]])[0])
    task.learn(corpus_of(y=["c", "c", "b"]))  # of the rows that are left for training
    assert scored(task, test)["accuracy"] == 0.25
    again = Task.from_state("t", json.loads(json.dumps(task.state())))
    assert scored(again, test) == scored(task, test)


def test_a_number_is_guessed_as_the_dummy_regressor_guesses():
    train, test = corpus_of(y=[1.0, 2.0, 6.0, None]), corpus_of(y=[2.0, None, 5.0])
    dummy = DummyRegressor().fit([[0]] * 3, [1.0, 2.0, 6.0])
    found = scored(fitted("regression", train, target="y"), test)
    guessed, true = dummy.predict([[0]] * 2), np.array([2.0, 5.0])
    assert found["mse"] == pytest.approx(np.mean((guessed - true) ** 2)) and found["pearson"] is None
    assert found["r2"] == pytest.approx(dummy.score([[0]] * 2, true))


ROWS = st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from(["f1_micro", "f1_macro", "f1_weighted", "accuracy"]))
def test_no_constant_set_of_labels_is_better_on_the_training_rows(rows, metric):
    labels = sorted(set().union(*rows))
    if len(labels) < 2:  # scikit-learn reads a single column as two classes
        return
    true = np.array([[label in row for label in labels] for row in rows])

    def quality(held):
        guessed = np.tile([label in held for label in labels], (len(rows), 1))
        if metric == "accuracy":
            return accuracy_score(true, guessed)
        return f1_score(true, guessed, average=metric.removeprefix("f1_"), zero_division=0)

    chosen = {labels[number] for number in best_constant(true, metric)}
    every = itertools.chain.from_iterable(itertools.combinations(labels, n) for n in range(len(labels) + 1))
    assert quality(chosen) == pytest.approx(max(map(quality, every)))


def test_labels_are_the_same_for_every_text():
    train = corpus_of(y=[["a", "b"], ["a"], None, [], ["a", "b"], ["c"]])
    task = fitted("multilabel", train, labels="y")
    assert task.learned.shares == pytest.approx([3 / 5, 2 / 5, 1 / 5])
    test = corpus_of(y=[["a", "b"], ["c"], ["b"]])
    constant = DummyClassifier(strategy="constant", constant=[1, 1, 0])
    constant.fit([[0]] * 5, np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]]))
    true, guessed = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]]), constant.predict([[0]] * 3)
    found = scored(task, test)
    assert found["f1_micro"] == pytest.approx(f1_score(true, guessed, average="micro"))
    assert found["average_precision"] == pytest.approx(np.mean(true.mean(axis=0)))  # of equal scores: the share of positives
    assert scored(Task.from_state("t", json.loads(json.dumps(task.state()))), test) == found


def test_a_word_gets_the_tag_that_it_most_often_has():
    words = [
        ["New", "York", "is", "new"],
        ["York", "and", "York"],
        ["the", "York", "road", "is"],
        ["lost"],
        ["Mary", "is", "Mary", "Mary"],
    ]
    tags = [
        ["B-city", "I-city", "O", "O"],
        ["B-name", "O", "B-city"],
        ["O", "B-city", "O", "O"],
        None,
        ["O", "O", "B-name", "B-name"],
    ]
    train = corpus_of(tokens="w", units=True, w=words, t=tags)
    task = fitted("token", train, tokens="w", tags="t")
    test_words, test_tags = [["in", "New", "York"], ["York", "is", "Mary"]], [["O", "B-city", "I-city"], ["B-name", "O", "O"]]
    test = corpus_of(tokens="w", units=True, w=test_words, t=test_tags)

    def usual(word):  # brute force: the tag that stands most often beside the word, O where there is none
        seen = [tag for row, own in zip(words, tags, strict=True) for w, tag in zip(row, own or [], strict=False) if w == word]
        return max(task.labels, key=lambda tag: (seen.count(tag), -task.labels.index(tag))) if seen else "O"

    guessed = [[usual(word) for word in row] for row in test_words]
    assert guessed == [["O", "B-city", "B-city"], ["B-city", "O", "B-name"]]  # "York" is B-city twice, I-city and B-name once
    decoded = task.baseline(test)
    assert [task.labels[tag] for tag in decoded.values] == list(itertools.chain.from_iterable(guessed))
    found = scored(task, test)
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)  # four spans, none of them gold
    assert found["accuracy"] == 3 / 6 and len(find_spans(decoded.values, decoded.offsets).first) == 4
    assert Task.from_state("t", task.state()).baseline(test) is None  # the words of the user are not saved
    assert "York" not in json.dumps(task.state())


def test_a_branch_saved_before_has_no_baseline():
    for task in (
        fitted("sequence", corpus_of(y=["a", "b"]), label="y"),
        fitted("multilabel", corpus_of(y=[["a"]]), labels="y"),
    ):
        state = task.state()
        state["learned"] = {key: state["learned"][key] for key in ("class_weights", "threshold") if key in state["learned"]}
        old = Task.from_state("t", state)
        assert baseline_scores(old, corpus_of(y=["a"]), None) is None


def labelled(counts):
    return [label for label, count in counts.items() for _ in range(count)]


def test_a_branch_that_is_no_better_and_one_that_never_predicts_a_label():
    corpus = corpus_of(y=labelled({"no": 8, "yes": 2}))
    task = fitted("sequence", corpus, label="y")
    targets = task.targets(corpus)
    least = baseline_scores(task, corpus, targets)

    def said(predicted):
        return remarks(task, {"test": (task.score(Decoded(np.array(predicted), np.zeros((10, 2))), targets), least)})

    assert said([0] * 10) == [
        "test: 't' is no better than always predicting the most frequent label: accuracy 0.8000, baseline 0.8000.",
        "test: 't' never predicts 'yes' (2 rows).",
    ]
    assert said([0] * 9 + [1]) == []
    nothing = {"accuracy": 0.8, "by_label": {name: {"support": 5, "predicted": 0} for name in ("no", "yes")}}
    assert len(remarks(task, {"test": (nothing, {"accuracy": 0.8})})) == 1  # nothing is predicted, which is no better
    assert len(remarks(task, {"test": (nothing, {"accuracy": 0.7})})) == 1
    assert len(said([1] * 10)) == 2  # worse, and never says no


def test_what_holds_for_validation_and_test_is_said_once():
    corpora = {"validation": corpus_of(y=labelled({"no": 8, "yes": 2})), "test": corpus_of(y=labelled({"no": 3, "yes": 1}))}
    task = fitted("sequence", corpora["validation"], label="y")

    def said(**predicted):
        scored = {}
        for split, labels in predicted.items():
            targets = task.targets(corpora[split])
            decoded = Decoded(np.array(labels), np.zeros((len(labels), 2)))
            scored[split] = task.score(decoded, targets), baseline_scores(task, corpora[split], targets)
        return remarks(task, scored)

    rule = "'t' is no better than always predicting the most frequent label"
    assert said(validation=[0] * 10, test=[0] * 4) == [
        f"validation and test: {rule}: accuracy 0.8000 and 0.7500, baseline 0.8000 and 0.7500.",
        "validation and test: 't' never predicts 'yes' (3 rows).",
    ]
    only = f"validation: {rule}: accuracy 0.8000, baseline 0.8000."
    assert said(validation=[0] * 10) == [only, "validation: 't' never predicts 'yes' (2 rows)."]
    assert said(validation=[0] * 10, test=[0, 0, 0, 1]) == [only]  # on test it does predict it


def test_a_branch_that_is_hardly_better_than_chance_is_told_by_its_correlation():
    true = labelled({"a": 40, "b": 35, "c": 25})
    predicted = np.array([0] * 20 + [1] * 12 + [2] * 8 + [0] * 16 + [1] * 11 + [2] * 8 + [0] * 12 + [1] * 7 + [2] * 6)
    corpus = corpus_of(y=true)
    task = fitted("sequence", corpus, label="y")
    targets = task.targets(corpus)
    metrics, least = task.score(Decoded(predicted, np.zeros((100, 3))), targets), baseline_scores(task, corpus, targets)
    correlation = matthews_corrcoef([ord(label) - ord("a") for label in true], predicted)
    assert 0 <= correlation < 0.05
    same = {"accuracy": 0.3}  # of a baseline that is worse still
    said = f"test: 't' is hardly better than chance: matthews {correlation:.4f}, where 0 is chance and 1 is perfect."
    assert remarks(task, {"test": (metrics, same)}) == [said]
    assert "no better than always" in remarks(task, {"test": (metrics, least)})[0]  # which says as much
    assert len(remarks(task, {"test": (metrics, least)})) == 1
    one = corpus_of(y=["b"] * 5)  # rows of one label have no correlation
    scored = task.score(Decoded(np.ones(5, int), np.zeros((5, 3))), task.targets(one))
    assert remarks(task, {"test": (scored, {"accuracy": 1.0})}) == []  # nothing is better than all
    assert scored["accuracy"] == 1.0 and remarks(task, {"test": (scored, baseline_scores(task, one, task.targets(one)))}) == []


def test_the_rarest_of_many_labels_are_counted_and_not_all_named():
    names = [f"l{number:02}" for number in range(12)]
    corpus = corpus_of(y=labelled({name: 12 - number for number, name in enumerate(names)}))
    task = fitted("sequence", corpus, label="y")
    targets = task.targets(corpus)
    metrics = task.score(Decoded(np.zeros(len(corpus), int), np.zeros((len(corpus), 12))), targets)
    [_, said] = remarks(task, {"validation": (metrics, baseline_scores(task, corpus, targets))})
    assert said.startswith("validation: 't' never predicts 11 of the 12 labels that occur: 'l01' (11 rows), 'l02' (10 rows)")
    assert said.endswith("'l08' (4 rows) and 3 more.") and "'l09'" not in said


def test_labels_of_which_there_are_hundreds_are_not_named():
    names = [f"word{number}" for number in range(150)]
    corpus = corpus_of(y=names)
    task = fitted("sequence", corpus, label="y")
    targets = task.targets(corpus)
    metrics = task.score(Decoded(np.zeros(150, int), np.zeros((150, 150))), targets)
    assert remarks(task, {"test": (metrics, None)}) == [
        "test: 't' never predicts 149 of the 150 labels that occur, which 149 rows have."
    ]


def test_an_undefined_correlation_is_compared_by_the_error():
    corpus = corpus_of(y=[1.0, 2.0, 3.0])
    task = fitted("regression", corpus, target="y")
    targets = task.targets(corpus)
    least = baseline_scores(task, corpus, targets)
    for guess, better in ((np.full(3, 2.5), False), (np.array([1.0, 2.0, 2.9]), True)):
        said = remarks(task, {"test": (task.score(Decoded(guess, guess), targets), least)})
        assert bool(said) != better
    assert remarks(task, {"test": (task.score(Decoded(np.full(3, 2.5), np.full(3, 2.5)), targets), least)}) == [
        "test: 't' is no better than always predicting the mean of the training rows: mse 0.9167, baseline 0.6667."
    ]


@pytest.mark.parametrize("kind", ["sequence", "multilabel", "token"])
def test_counts_are_of_the_rows_or_spans_with_a_label(kind):
    if kind == "sequence":
        corpus = corpus_of(y=["a", None, "b", "a"])
        task = fitted(kind, corpus, label="y")
    elif kind == "multilabel":
        corpus = corpus_of(y=[["a", "b"], None, ["a"], []])
        task = fitted(kind, corpus, labels="y")
    else:
        tags = [["B-a", "I-a", "B-a"], None, ["O", "B-b"]]
        corpus = corpus_of(tokens="w", units=True, w=[["x", "y", "z"], ["x"], ["x", "y"]], t=tags)
        task = fitted(kind, corpus, tokens="w", tags="t")
    assert task.counts(task.targets(corpus)) == {"a": 2, "b": 1}
