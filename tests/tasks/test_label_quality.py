"""Doubted labels, against confident learning written out in loops, and against its authors' library cleanlab."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.tasks import Targets
from trunkline.tasks.label_quality import LabelSetQuality, OneLabelQuality, TagQuality, confident_labels

LABELS = ["joy", "anger", "fear", "love"]


def drawn(seed, rows, labels=4, sharp=1.0):
    """Probabilities (rows, labels), and given labels that mostly agree with them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, labels)) * sharp
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = np.array([rng.choice(labels, p=row) for row in shares])
    return shares, given


def confident_in_loops(shares, given):
    thresholds = {}
    for label in set(given.tolist()):
        own = [row[label] for row, its in zip(shares, given, strict=True) if its == label]
        thresholds[label] = sum(own) / len(own)
    found = []
    for row in shares:
        reached = {label: row[label] for label, least in thresholds.items() if row[label] >= least - 1e-6}
        found.append(max(reached, key=reached.get) if reached else -1)
    return found


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 5))
def test_a_row_confidently_belongs_to_the_best_of_the_labels_that_reach_their_mean(seed, rows, labels):
    shares, given_labels = drawn(seed, rows, labels)
    assert confident_labels(shares, given_labels).tolist() == confident_in_loops(shares, given_labels)


def suspected_in_loops(shares, given):
    found = confident_in_loops(shares, given)
    return [one not in (-1, its) and max(row) > row[its] + 1e-6 for one, its, row in zip(found, given, shares, strict=True)]


def test_rows_are_ranked_by_the_probability_of_their_label():
    shares = np.array([[0.7, 0.2, 0.05, 0.05], [0.1, 0.6, 0.2, 0.1], [0.1, 0.85, 0.0, 0.05], [0.9, 0.0, 0.1, 0.0]])
    values, present = np.array([0, 0, 0, 2]), np.array([True, True, True, False])
    judged = OneLabelQuality.judged(LABELS, shares, Targets(values, present))
    assert judged.texts.tolist() == [0, 1, 2] and judged.units is None
    assert judged.given == ["joy"] * 3 and judged.suggested == ["joy", "anger", "anger"]
    np.testing.assert_allclose(judged.given_confidence, [0.7, 0.1, 0.1])
    np.testing.assert_allclose(judged.suggested_confidence, [0.7, 0.6, 0.85])
    assert judged.order().tolist() == [2, 1, 0]  # equal ones by the surer suggestion
    # No row was given "anger", so none confidently belongs to it: the mean of joy is 0.3, which only the first reaches.
    assert judged.suspected.tolist() == [False, False, False]


def test_a_row_is_not_suspected_where_its_own_label_is_the_most_probable():
    """A label that is rarely probable has a low threshold, which others reach that are given, and predicted, another."""
    shares = np.array([[0.9, 0.1], [0.55, 0.45], [0.8, 0.2], [0.7, 0.3]])
    values = np.array([0, 0, 0, 1])
    assert confident_labels(shares, values).tolist() == [0, 1, 0, 1]
    judged = OneLabelQuality.judged(["joy", "love"], shares, Targets(values, np.ones(4, bool)))
    assert not judged.suspected.any()


def test_a_label_of_several_speaks_for_the_text():
    shares = np.array([[0.9, 0.2, 0.1, 0.4], [0.3, 0.8, 0.6, 0.1], [0.8, 0.1, 0.1, 0.1]])
    values = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    judged = LabelSetQuality.judged(LABELS, shares, Targets(values, np.array([True, True, True])))
    np.testing.assert_allclose(judged.given_confidence, [0.6, 0.3, 0.1])
    np.testing.assert_allclose(judged.suggested_confidence, [0.4, 0.7, 0.9])
    assert judged.given == [["joy"], ["joy", "anger"], ["love"]]
    assert judged.suggested == [["joy"], ["anger", "fear"], ["joy"]]
    expected = np.zeros(3, bool)
    for label in range(4):
        two = np.stack([1 - shares[:, label], shares[:, label]], 1)
        expected |= np.array(suspected_in_loops(two, values[:, label]))
    assert judged.suspected.tolist() == expected.tolist()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=1, max_size=6), st.floats(0, 1))
def test_the_least_confident_word_speaks_for_the_text(seed, lengths, missing):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    count = int(offsets[-1])
    shares, tags = drawn(seed, count, 3) if count else (np.zeros((0, 3)), np.zeros(0, np.int64))
    present = np.random.default_rng(seed).random(count) >= missing
    judged = TagQuality.judged(["O", "B-x", "I-x"], shares, Targets(tags, present, offsets))
    own = suspected_in_loops(shares[present], tags[present])
    suspected = dict(zip(np.flatnonzero(present).tolist(), own, strict=True))
    expected = []
    for text, (begin, end) in enumerate(pairwise(offsets.tolist())):
        words = [word for word in range(begin, end) if present[word]]
        if words:
            worst = min(words, key=lambda word: (shares[word, tags[word]], word))
            expected.append((text, worst - begin, shares[worst, tags[worst]], suspected[worst]))
    found = zip(judged.texts, judged.units, judged.given_confidence, judged.suspected, strict=True)
    assert [(int(t), int(u), float(c), bool(s)) for t, u, c, s in found] == [
        (t, u, pytest.approx(c), s) for t, u, c, s in expected
    ]


@pytest.mark.slow  # the import of the library takes seconds
def test_cleanlab_finds_the_same():
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from cleanlab.token_classification.rank import get_label_quality_scores as scores_of_sentences

    shares, labels = drawn(3, 400, sharp=1.5)
    shares = shares * [3, 1, 1, 1] / (shares * [3, 1, 1, 1]).sum(1, keepdims=True)  # one label predicted too often
    judged = OneLabelQuality.judged(LABELS, shares, Targets(labels, np.ones(400, bool)))
    np.testing.assert_allclose(judged.given_confidence, get_label_quality_scores(labels, shares, method="self_confidence"))
    suspected = find_label_issues(labels, shares, filter_by="confident_learning")
    assert judged.suspected.tolist() == suspected.tolist() and suspected.sum() > 20
    others = confident_labels(shares, labels)
    assert ((others >= 0) & (others != labels)).sum() > suspected.sum()  # some are predicted the label that they have
    # Several labels: one joint for each of them.
    rng = np.random.default_rng(0)
    several = rng.random((300, 4))
    values = rng.random((300, 4)) < several
    sets = [np.flatnonzero(row).tolist() for row in values]
    found = find_label_issues(sets, several, multi_label=True, filter_by="confident_learning")
    judged = LabelSetQuality.judged(LABELS, several, Targets(values, np.ones(300, bool)))
    assert judged.suspected.tolist() == found.tolist()
    # Words: a sentence has the lowest score of its words.
    offsets = np.arange(0, 401, 8)
    judged = TagQuality.judged(LABELS, shares, Targets(labels, np.ones(400, bool), offsets))
    sentences, _ = scores_of_sentences(np.split(labels, offsets[1:-1]), np.split(shares, offsets[1:-1]))
    np.testing.assert_allclose(judged.given_confidence, sentences)
    words = np.flatnonzero(suspected)
    assert judged.texts[judged.suspected].tolist() == [
        text for text, unit in zip(judged.texts, judged.units, strict=True) if offsets[text] + unit in words
    ]
