"""Spans against a re-derivation of conlleval.pl's state machine, and against seqeval."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.values.tags import tags_to_spans
from trunkline.tasks.metrics import token_metrics
from trunkline.tasks.spans import count_spans, find_spans, repair, tag_names

TYPES = ["LOC", "MISC", "PER"]
NAMES = tag_names(TYPES)
SENTENCES = st.lists(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=8), max_size=6)


def conlleval(sentences):
    """What conlleval.pl counts: {type: [right, predicted, gold]}. Sentences are lists of (gold tag, predicted tag).

    Its functions endOfChunk and startOfChunk, cut to the prefixes B, I and O, and its main loop, with the O that it feeds
    in for each sentence boundary.
    """

    def parts(tag):
        return ("O", "") if tag == "O" else tuple(tag.split("-", 1))

    def ends(before, before_type, tag, kind):
        if (before, tag) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}:
            return True
        return before != "O" and before_type != kind

    def starts(before, before_type, tag, kind):
        if (before, tag) in {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I")}:
            return True
        return tag != "O" and before_type != kind

    counts = {name: [0, 0, 0] for name in TYPES}
    in_correct = False
    last_gold, last_predicted = ("O", ""), ("O", "")
    stream = [pair for sentence in sentences for pair in [*sentence, ("O", "O")]]
    for gold_tag, predicted_tag in stream:
        gold, predicted = parts(gold_tag), parts(predicted_tag)
        if in_correct:
            gold_ends, predicted_ends = ends(*last_gold, *gold), ends(*last_predicted, *predicted)
            if gold_ends and predicted_ends and last_gold[1] == last_predicted[1]:
                in_correct = False
                counts[last_gold[1]][0] += 1
            elif gold_ends != predicted_ends or gold[1] != predicted[1]:
                in_correct = False
        gold_starts, predicted_starts = starts(*last_gold, *gold), starts(*last_predicted, *predicted)
        if gold_starts and predicted_starts and gold[1] == predicted[1]:
            in_correct = True
        if gold_starts:
            counts[gold[1]][2] += 1
        if predicted_starts:
            counts[predicted[1]][1] += 1
        last_gold, last_predicted = gold, predicted
    return counts


def flat(sentences):
    number = {name: i for i, name in enumerate(NAMES)}
    gold, predicted = ([number[pair[side]] for s in sentences for pair in s] for side in (0, 1))
    offsets = np.array([0, *itertools.accumulate(map(len, sentences))])
    return np.array(gold, np.int64), np.array(predicted, np.int64), offsets


@settings(max_examples=50, deadline=None)
@given(SENTENCES)
def test_counts_are_conllevals_on_any_tags(sentences):
    gold, predicted, offsets = flat(sentences)
    counts = count_spans(find_spans(gold, offsets), find_spans(predicted, offsets), len(TYPES))
    assert dict(zip(TYPES, counts.tolist(), strict=True)) == conlleval(sentences)


def test_counts_are_conllevals_on_many_random_tags():
    generator = np.random.default_rng(0)
    for _ in range(300):  # predictions near the gold tags, so that many spans are right, partly right and broken
        sentences = []
        for length in generator.integers(0, 12, size=5):
            gold = generator.choice(NAMES, length, p=[0.3] + [0.7 / 6] * 6)
            noise = generator.random(length) < 0.2
            sentences.append(list(zip(gold, np.where(noise, generator.choice(NAMES, length), gold), strict=True)))
        gold, predicted, offsets = flat(sentences)
        counts = count_spans(find_spans(gold, offsets), find_spans(predicted, offsets), len(TYPES))
        assert dict(zip(TYPES, counts.tolist(), strict=True)) == conlleval(sentences)


@settings(max_examples=50, deadline=None)
@given(SENTENCES)
def test_spans_are_those_of_the_data_floor_and_repair_keeps_them(sentences):
    _, tags, offsets = flat(sentences)
    spans = find_spans(tags, offsets)
    expected = [
        (name, first + at, end + at)
        for sentence, at in zip(sentences, offsets, strict=False)
        for name, first, end in tags_to_spans([p for _, p in sentence])
    ]
    assert [(TYPES[t], f, e) for t, f, e in zip(spans.types, spans.first, spans.end, strict=True)] == expected
    repaired = repair(tags, offsets)
    again = find_spans(repaired, offsets)
    assert all(np.array_equal(getattr(spans, n), getattr(again, n)) for n in ("types", "first", "end"))
    for a, b in itertools.pairwise(offsets.tolist()):
        own = repaired[a:b].tolist()
        assert not own or own[0] == 0 or own[0] % 2 == 1
        assert all(tag % 2 or tag == 0 or before in (tag, tag - 1) for before, tag in itertools.pairwise(own))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=50, deadline=None)
@given(SENTENCES.filter(lambda sentences: any(sentences)))
def test_metrics_are_seqevals(sentences):
    seqeval = pytest.importorskip("seqeval.metrics")
    gold = [[g for g, _ in sentence] for sentence in sentences]
    predicted = [[p for _, p in sentence] for sentence in sentences]
    tags, guesses, offsets = flat(sentences)
    own = token_metrics(tags, guesses, offsets, TYPES)
    assert own["accuracy"] == pytest.approx(seqeval.accuracy_score(gold, predicted))
    if all(tag == "O" for sentence in gold + predicted for tag in sentence):  # seqeval has no mean over no type
        assert own["f1"] == own["f1_macro"] == 0.0
        return
    for name in ("precision", "recall", "f1"):
        score = getattr(seqeval, f"{name}_score")
        assert own[name] == pytest.approx(score(gold, predicted, zero_division=0))
        assert own[f"{name}_macro"] == pytest.approx(score(gold, predicted, average="macro", zero_division=0))
    report = seqeval.classification_report(gold, predicted, output_dict=True, zero_division=0)
    for name in TYPES:
        row = own["by_label"][name]
        if name in report:
            expected = report[name]
            assert row["support"] == expected["support"]
            assert [row[k] for k in ("precision", "recall", "f1")] == pytest.approx(
                [expected[k] for k in ("precision", "recall", "f1-score")]
            )
        else:
            assert row == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "predicted": 0}


def test_no_texts_and_no_units():
    empty, offsets = np.zeros(0, np.int64), np.array([0, 0, 0])
    assert len(find_spans(empty, offsets).first) == 0
    assert repair(empty, offsets).shape == (0,)
    metrics = token_metrics(empty, empty, offsets, TYPES)
    assert metrics["f1"] == 0.0 and metrics["accuracy"] is None
