"""The positive one of two labels: guessed from their names, or the rarer one; a key of the config says otherwise."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import precision_recall_fscore_support
from tasktools import corpus_of, fitted

from trunkline.errors import BadInput
from trunkline.tasks import Decoded, Task
from trunkline.tasks.positive import guess_positive
from trunkline.tasks.sequence import SequenceConfig


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["no", "yes"], "yes"), (["false", "true"], "true"), (["0", "1"], "1"), (["-1", "1"], "1"), (["1", "0"], "1"),
        (["ham", "spam"], "spam"), (["hate", "none"], "hate"), (["nothate", "hate"], "hate"), (["Not Toxic", "toxic"], "toxic"),
        (["Negative", "Positive"], "Positive"), (["neg", "pos"], "pos"), (["safe", "unsafe"], "unsafe"),
        (["unrelated", "related"], "related"), (["related", "unrelated"], "related"), (["fake", "real"], "fake"),
        (["non-sarcastic", "sarcastic"], "sarcastic"), (["other", "invoice"], "invoice"),
    ],
)  # fmt: skip
def test_names_say_which_label_is_the_positive_one(labels, positive):
    for counts in ([1, 9], [9, 1]):
        assert labels[guess_positive(labels, counts)] == positive


def test_of_other_names_the_rarer_is_positive_and_of_equal_ones_the_second():
    assert [guess_positive(["cat", "dog"], counts) for counts in ([1, 9], [9, 1], [5, 5])] == [0, 1, 1]


def test_the_scores_are_those_of_the_positive_label():
    corpus = corpus_of(label=["spam", "ham", "spam", "spam", "ham"])
    predicted = np.array([1, 1, 0, 1, 0])  # ham is 0
    for given, positive in ((None, "spam"), ("ham", "ham")):
        task = fitted("sequence", corpus, label="label", positive=given, metric="recall")
        assert task.positive == positive and task.labels == ["ham", "spam"] and task.monitor == "recall"
        targets = task.targets(corpus)
        found = task.score(Decoded(predicted, np.zeros((5, 2))), targets)
        expected = precision_recall_fscore_support(
            targets.values, predicted, average="binary", pos_label=task.labels.index(positive)
        )[:3]
        assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(expected)
        again = Task.from_state("t", json.loads(json.dumps(task.state())))
        assert again.positive == positive and again.state() == task.state()


def test_a_branch_from_before_scores_its_second_label():
    state = fitted("sequence", corpus_of(label=["spam", "ham", "spam"]), label="label", positive="ham").state()
    del state["learned"]["positive"], state["learned"]["counts"], state["config"]["positive"]
    assert Task.from_state("t", state).positive == "spam"


def test_the_key_is_checked_against_the_labels():
    with pytest.raises(BadInput, match=r"tasks.t.positive: found the label 'spm'.*did you mean 'spam'\?"):
        fitted("sequence", corpus_of(label=["spam", "ham"]), label="label", positive="spm")
    with pytest.raises(BadInput, match=r"tasks.t.positive.*two labels.*3"):
        fitted("sequence", corpus_of(label=["a", "b", "c"]), label="label", positive="a")
    assert SequenceConfig(label="label", positive=1).positive == "1"  # as YAML reads it
    assert SequenceConfig(label="label", positive=True).positive == "true"
    with pytest.raises(ValidationError):
        SequenceConfig(label="label", positive=["a"])


def test_a_state_with_a_positive_label_of_three_is_refused():
    state = fitted("sequence", corpus_of(label=["a", "b", "c"]), label="label").state()
    with pytest.raises(BadInput, match="positive"):
        Task.from_state("t", {**state, "learned": {**state["learned"], "positive": 1}})
    with pytest.raises(BadInput, match="2 counts of 3 labels"):
        Task.from_state("t", {**state, "learned": {**state["learned"], "counts": [1, 2]}})
