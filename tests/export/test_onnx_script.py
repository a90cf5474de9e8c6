"""predict.py, the script that is written beside a graph: its words, tags and spans are Trunkline's."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from trunkline.data.corpus import WORDS, segment
from trunkline.export.onnx.decoding import of_task
from trunkline.export.onnx.predict import of_words, softmax, spans, viterbi, words_of
from trunkline.inputs.text import encode
from trunkline.tasks.spans import find_spans, tag_names
from trunkline.tasks.token import TokenCriterion

LETTERS = st.text("ab I'_-,.é\u0301ñ映画かカ한\U0001f642\u200d\r\n\u2019 0٣", max_size=12)
# The two libraries have other versions of Unicode.
ASSIGNED = st.characters(max_codepoint=0x8FF, exclude_categories=["Cn", "Co", "Cs"])
TASK = {"words": WORDS, "labels": tag_names(["x", "y"]), "temperature": 1.0}


@settings(max_examples=50, deadline=None)
@given(st.one_of(LETTERS, st.text(ASSIGNED, max_size=12)))
def test_words_are_those_of_segment(text):
    assert words_of(text, TASK) == segment(text)


@settings(max_examples=50, deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=4), st.integers(4, 20), st.sampled_from(["left", "right"]))
def test_a_word_has_the_row_of_its_first_token(texts, most, side):
    tokenizer = tiny_tokenizer()
    tokenizer.truncation_side = side
    words = [segment(text) for text in texts]
    encoded = encode(texts, tokenizer, units=words, max_length=most)
    inner = tokenizer.backend_tokenizer
    inner.enable_truncation(most, direction=side)
    inner.enable_padding()
    for number, read in enumerate(inner.encode_batch(texts)):
        rows = np.arange(len(read.ids), dtype=np.float32)[:, None] + np.float32([[100, 200]])
        own = slice(encoded.unit_offsets[number], encoded.unit_offsets[number + 1])
        at = encoded.unit_rows[own]
        expected = np.where(at < 0, 30.0, at - encoded.offsets[number] + 100.0)
        np.testing.assert_array_equal(of_words(rows, words[number], read)[:, 0], expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=8))
def test_spans_are_those_that_conlleval_finds(tags):
    logits = np.eye(5, dtype=np.float32)[tags] * 9 if tags else np.zeros((0, 5), np.float32)
    words = [(3 * i, 3 * i + 2) for i in range(len(tags))]
    expected = find_spans(np.array(tags, np.int64), np.array([0, len(tags)]))
    found = spans(logits, words, "ab " * len(tags), TASK)
    rows = zip(expected.first, expected.end, expected.types, strict=True)
    assert [(s["start"], s["end"], s["label"]) for s in found] == [(3 * a, 3 * b - 1, "xy"[kind]) for a, b, kind in rows]
    assert all(s["score"] == pytest.approx(float(softmax(np.float32([9, 0, 0, 0, 0]))[0])) for s in found)


def test_the_path_of_a_crf_is_the_best_of_all():
    torch.manual_seed(0)
    criterion = TokenCriterion(2, True, 0.0)
    crf = criterion.crf
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_()
    task = SimpleNamespace(
        name="t",
        kind="token",
        labels=TASK["labels"],
        answers=SimpleNamespace(units=True, joined=False),
        scale=None,
        learned=None,
    )
    rules = of_task(SimpleNamespace(task=task, decision=None, criterion=criterion))["crf"]
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(size=(4, 5)).astype(np.float32) * 2
        start, step, end = (np.array(rules[name]) for name in ("start", "transitions", "end"))
        scores = {
            path: start[path[0]]
            + sum(step[a, b] for a, b in itertools.pairwise(path))
            + end[path[-1]]
            + sum(row[tag] for row, tag in zip(logits, path, strict=True))
            for path in itertools.product(range(5), repeat=4)
        }
        best = max(scores, key=scores.__getitem__)
        assert tuple(viterbi(logits, rules)) == best
        assert criterion.decode(logits, np.array([0, 4])).values.tolist() == list(best)
