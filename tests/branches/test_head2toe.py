"""Head2Toe against the arithmetic of its published code (github.com/google-research/head2toe), written out in numpy.

As there: the pooled states of each layer are divided by their norm and laid end to end; a linear map is trained on them by
Keras' Adam with a cosine decay, the loss of a batch being the sum of those of its examples, each with the group lasso added, by
128; the features with the largest sums of squared weights are kept; of these each layer's are divided by their norm again.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from riding import LAYOUT, TRUNK, make, ride, states_of

from trunkline.branches.examples import Examples
from trunkline.branches.group import pooling_of
from trunkline.branches.group_lasso import feature_scores, largest, unit
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout

BATCH = 128


def normalised(x):
    norm = np.sqrt((x**2).sum(-1, keepdims=True))
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def published_scores(x, labels, weight, coefficient, steps, rate):
    """The sum of squares of each row of weights (D, C) after training."""
    bias, outputs = np.zeros(weight.shape[1]), weight.shape[1]
    moments = [[np.zeros_like(value), np.zeros_like(value)] for value in (weight, bias)]
    starts = range(0, len(x), BATCH)
    for step in range(steps):
        batch = slice(starts[step % len(starts)], starts[step % len(starts)] + BATCH)
        logits = x[batch] @ weight + bias
        odds = np.exp(logits - logits.max(1, keepdims=True))
        wrong = (odds / odds.sum(1, keepdims=True) - np.eye(outputs)[labels[batch]]) / BATCH
        shrink = coefficient * weight / np.sqrt((weight**2).sum(1, keepdims=True)) * len(logits) / BATCH
        decayed = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        decayed *= np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        gradients = x[batch].T @ wrong + shrink, wrong.sum(0)
        for value, own, gradient in zip((weight, bias), moments, gradients, strict=True):
            own[0] = 0.9 * own[0] + 0.1 * gradient
            own[1] = 0.999 * own[1] + 0.001 * gradient**2
            value -= decayed * own[0] / (np.sqrt(own[1]) + 1e-7)
    return (weight**2).sum(1)


def published_choice(scores, fraction):
    return np.sort(np.argsort(-scores, kind="stable")[: int(len(scores) * fraction)])


def standardised(x):
    """tf.nn.batch_normalization by the moments of x itself."""
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def published_logits(branch, pooled, normalised=normalised):
    """(B, C) of pooled states (l, B, K): layers of which nothing is kept are left out."""
    kept, parts = branch.kept.numpy(), []
    for place, layer in enumerate(branch.layers):
        own = kept[(kept >= place * TRUNK.hidden_size) & (kept < (place + 1) * TRUNK.hidden_size)] - place * TRUNK.hidden_size
        parts += [normalised(pooled[layer][:, own])] if len(own) else []
    return np.concatenate(parts, 1) @ branch.linear.weight.detach().numpy().T + branch.linear.bias.detach().numpy()


def examples_of(labels, layers=range(7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    states = {layer: torch.randn(len(labels), TRUNK.hidden_size, generator=generator) for layer in layers}
    return Examples(states, labels, lambda logits, numbers: F.cross_entropy(logits, labels[numbers]))


@pytest.mark.parametrize(("count", "coefficient"), [(300, 1e-2), (300, 0.0), (40, 1e-4)])
def test_the_selection_is_that_of_the_published_code(count, coefficient):
    draw = np.random.default_rng(0)
    x, labels = normalised(draw.normal(size=(count, 24))), draw.integers(0, 3, count)
    x[3] = 0
    weight = draw.normal(0, 0.3, (24, 3))
    right, own = torch.from_numpy(labels), torch.from_numpy(weight.T.copy())
    found = feature_scores(
        torch.from_numpy(x), lambda logits, numbers: F.cross_entropy(logits, right[numbers]), own,
        penalty=coefficient, steps=25, learning_rate=0.1,
    )  # fmt: skip
    expected = published_scores(x, labels, weight, coefficient, 25, 0.1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert largest(found, 5).tolist() == published_choice(expected, 5 / 24).tolist()


def test_of_equal_scores_the_first_are_kept_and_zeros_stay_zeros():
    assert largest(torch.tensor([1.0, 3, 2, 2, 2, 0]), 3).tolist() == [1, 2, 3]
    assert unit(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 0], pytest.approx([0.6, 0.8])]


@pytest.mark.parametrize("level", ["text", "unit"])
def test_a_branch_keeps_and_reads_what_the_published_code_does(level):
    branch = make("head2toe", level, 4, fraction=0.06, selection_steps=20, lasso=1e-3, layers="0-5")
    labels = torch.arange(200) % 4
    examples = examples_of(labels)
    for feature, layer in enumerate((2, 4, 4)):
        examples.states[layer][:, 5 + feature] += 4.0 * (labels == feature)
    torch.manual_seed(5)
    branch.examine(examples)
    torch.manual_seed(5)
    weight = torch.nn.init.xavier_uniform_(torch.empty(4, 6 * 32)).numpy().T.astype(np.float64)
    x = np.concatenate([normalised(examples.states[layer].double().numpy()) for layer in range(6)], 1)
    expected = published_choice(published_scores(x, labels.numpy(), weight, 1e-3, 20, 0.1), 0.06)
    assert branch.kept.tolist() == expected.tolist() and len(expected) == 11
    assert {2 * 32 + 5, 4 * 32 + 6, 4 * 32 + 7} <= {*expected}, "what the labels depend on is found"
    counts = branch.by_layer()["features"]
    assert counts == {layer: int((expected // 32 == layer).sum()) for layer in range(6)}
    assert branch.layer_weights() == {layer: count / 11 for layer, count in counts.items()}
    assert branch.wanted() == tuple(layer for layer, count in counts.items() if count) and len(branch.wanted()) < 6
    states = states_of()
    parts = states.split(LAYOUT.lengths.tolist(), 1)
    pooled = torch.stack([part.mean(1) for part in parts], 1) if level == "text" else states
    expected = published_logits(branch, pooled.numpy())
    np.testing.assert_allclose(ride(branch, states).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    rows = torch.tensor([0, 3, 6, 15])
    if level == "unit":
        np.testing.assert_allclose(ride(branch, states, rows=rows).detach().numpy(), expected[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "last", "mean"])
def test_texts_are_pooled_as_asked_for_and_may_be_read_pooled(pooling):
    branch, states = make("head2toe", pooling=pooling), states_of()
    pooled = torch.stack([LAYOUT.pooled(layer, pooling) for layer in states])
    expected = published_logits(branch, pooled.numpy())
    np.testing.assert_allclose(ride(branch, states).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    assert pooling_of(branch) == pooling == branch.examines().pooling
    ones = Layout(torch.ones(len(LAYOUT.lengths)))
    torch.testing.assert_close(ride(branch, pooled, ones), ride(branch, states), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", ["text", "unit"])
def test_features_may_be_standardised_one_by_one(level):
    branch = make("head2toe", level, 4, fraction=0.06, selection_steps=20, lasso=1e-3, normalisation="per_feature")
    labels = torch.arange(200) % 4
    examples = examples_of(labels)
    examples.states[3][:] = 0.5 + examples.states[3] * 0.1
    examples.states[3][:, 9] += 0.4 * (labels == 2)  # much, for what varies so little
    torch.manual_seed(5)
    branch.examine(examples)
    torch.manual_seed(5)
    weight = torch.nn.init.xavier_uniform_(torch.empty(4, 7 * 32)).numpy().T.astype(np.float64)
    x = np.concatenate([standardised(examples.states[layer].double().numpy()) for layer in range(7)], 1)
    expected = published_choice(published_scores(x, labels.numpy(), weight, 1e-3, 20, 0.1), 0.06)
    assert branch.kept.tolist() == expected.tolist() and 3 * 32 + 9 in expected
    # The published code takes the moments of whatever is predicted: here those of the examples, so these are predicted.
    layout = Layout(torch.ones(200))
    found = ride(branch, torch.stack([*examples.states.values()]), layout).detach().numpy()
    pooled = np.stack([own.numpy() for own in examples.states.values()]).astype(np.float64)
    np.testing.assert_allclose(found, published_logits(branch, pooled, standardised), rtol=1e-5, atol=1e-5)


def test_how_many_are_kept_and_weights():
    branch = make("head2toe", size=5)
    assert sum(p.numel() for p in branch.parameters()) == 22 * 5 + 5, "a tenth of 7 x 32 features"
    assert len(make("head2toe", fraction=1e-6).kept) == 1 and len(make("head2toe", fraction=1.0).kept) == 224
    assert make("head2toe", fraction=1.0).kept.tolist() == list(range(224))
    assert pooling_of(make("head2toe", "unit")) is None
    with pytest.raises(BadInput, match=r"^method\.pooling: found mean, expected token"):
        make("head2toe", "unit", pooling="mean")
