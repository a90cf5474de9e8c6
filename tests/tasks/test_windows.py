"""The logits of windows made those of texts, against plain loops over the texts and torch's own gradients."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tasktools import corpus_of, fitted

from trunkline.inputs.batching import Layout
from trunkline.inputs.encoded import Encoded, offsets_of
from trunkline.tasks.answers import Targets, TextAnswers
from trunkline.tasks.windows import MaxOfWindows, MeanOfWindows

SETTINGS = settings(max_examples=50, deadline=None)
WAYS = {MeanOfWindows: lambda own: own.mean(0), MaxOfWindows: lambda own: own.max(0).values}
COUNTS = st.lists(st.integers(1, 5), min_size=1, max_size=8)
CPU = torch.device("cpu")


def encoded_of(counts, ahead=False):
    """Texts of so many windows, of one token each; with `ahead` a long text has the cut text before them."""
    sequences = np.array([count + (ahead and count > 1) for count in counts])
    texts = np.repeat(np.arange(len(counts), dtype=np.int32), sequences)
    return Encoded(np.arange(len(texts), dtype=np.int32), offsets_of(np.ones(len(texts))), None, texts, None, None, None, ahead)


def windows_of(encoded):
    """By text, the sequences that are its windows."""
    found = {text: np.flatnonzero(encoded.text_of == text).tolist() for text in range(encoded.n_texts)}
    return {text: own[1:] if encoded.ahead and len(own) > 1 else own for text, own in found.items()}


@SETTINGS
@given(COUNTS, st.booleans(), st.integers(0, 99))
def test_logits_of_all_texts_are_those_of_a_loop_whatever_the_batches(counts, ahead, seed):
    encoded, rng = encoded_of(counts, ahead), np.random.default_rng(seed)
    every = rng.standard_normal((len(encoded.lengths), 3)).astype(np.float32)
    for kind, combine in WAYS.items():
        answers = kind(encoded)
        rows = np.zeros((answers.count, 3), np.float32)
        for batch in np.array_split(rng.permutation(len(encoded.lengths)), 3):
            places = answers.places(batch)
            rows[places.into] = every[batch][places.kept]
        expected = [combine(torch.from_numpy(every[own])).numpy() for own in windows_of(encoded).values()]
        np.testing.assert_allclose(answers.combined(rows), np.array(expected), rtol=1e-6, atol=1e-6)
        if max(counts) == 1:
            assert np.array_equal(answers.combined(rows), every)


@SETTINGS
@given(COUNTS, st.booleans(), st.integers(0, 99))
def test_a_batch_has_a_logit_and_a_target_for_each_text_and_gradients_as_a_loop_has(counts, ahead, seed):
    encoded, rng = encoded_of(counts, ahead), np.random.default_rng(seed)
    present = rng.random(len(counts)) < 0.8
    targets = Targets(rng.integers(0, 3, len(counts)), present, weights=rng.random(len(counts)))
    order = rng.permutation(len(counts))
    batch = np.concatenate([np.flatnonzero(encoded.text_of == text) for text in order])
    taken = [text for text in order.tolist() if present[text]]
    values = torch.from_numpy(rng.standard_normal((len(batch), 3)).astype(np.float32))
    for kind, combine in WAYS.items():
        answers = kind(encoded)
        picked = answers.pick(targets, answers.supervised(targets), batch, Layout(torch.ones(len(batch))), CPU)
        if not taken:
            assert picked is None
            continue
        assert picked.targets.tolist() == targets.values[taken].tolist()
        np.testing.assert_allclose(picked.weights, targets.weights[taken])
        one, two = values.clone().requires_grad_(), values.clone().requires_grad_()
        made, own = answers.combine(one[picked.keep], picked), windows_of(encoded)
        place = {sequence: row for row, sequence in enumerate(batch.tolist())}
        expected = torch.stack([combine(two[[place[sequence] for sequence in own[text]]]) for text in taken])
        torch.testing.assert_close(made, expected)
        factors = torch.from_numpy(rng.standard_normal(made.shape).astype(np.float32))
        (made * factors).sum().backward()
        (expected * factors).sum().backward()
        torch.testing.assert_close(one.grad, two.grad)


@SETTINGS
@given(st.integers(1, 9), st.integers(0, 99))
def test_texts_of_one_window_are_picked_and_left_as_the_first_window_is(texts, seed):
    encoded, rng = encoded_of([1] * texts), np.random.default_rng(seed)
    targets = Targets(rng.integers(0, 3, texts), rng.random(texts) < 0.7)
    batch = rng.permutation(texts)
    usual = TextAnswers(encoded)
    picked = usual.pick(targets, usual.supervised(targets), batch, Layout(torch.ones(texts)), CPU)
    for kind in WAYS:
        answers = kind(encoded)
        own = answers.pick(targets, answers.supervised(targets), batch, Layout(torch.ones(texts)), CPU)
        assert (own is None) == (picked is None)
        if own is not None:
            assert torch.equal(own.keep, picked.keep) and torch.equal(own.targets, picked.targets)
            logits = torch.randn(len(own.keep), 3)
            assert answers.combine(logits, own) is logits


def test_a_task_reads_what_its_config_says_and_the_first_window_by_default():
    corpus = corpus_of(label=["a", "b"], stars=[1.0, 2.0], labels=[["a"], ["b"]])
    for kind, column in {"sequence": "label", "regression": "target", "multilabel": "labels"}.items():
        name = {"regression": "stars"}.get(kind, column)
        made = {way: fitted(kind, corpus, **{column: name, "long_texts": way}).answers for way in ("mean", "max", "first")}
        assert list(made.values()) == [MeanOfWindows, MaxOfWindows, TextAnswers]
        task = fitted(kind, corpus, **{column: name})
        assert task.answers is TextAnswers and task.long_texts == "first"
        assert (
            type(task).from_state("t", fitted(kind, corpus, **{column: name, "long_texts": "max"}).state()).answers
            is MaxOfWindows
        )
