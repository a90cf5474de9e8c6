"""Hidden-state variability against its published formula, and the layer that is chosen by it."""

import numpy as np
import pytest
import torch
from riding import LAYOUT, TRUNK, make, ride, ride_group, states_of

from trunkline.branches import BranchGroup, Output
from trunkline.branches.adalayers import AdaLayers, AdaLayersConfig
from trunkline.branches.examples import Examples
from trunkline.branches.nu import INSEPARABLE, nu_of, nu_of_classes
from trunkline.branches.variability import Variability, VariabilityConfig
from trunkline.errors import BadInput

ADA = {"dim": 16, "heads": 4, "feed_forward": 24}


def published(classes):
    """trace(W B^+) / |Y|, as the published code has it: covariances within and between, each class and each state alike."""
    between = np.cov(np.stack([states.mean(0) for states in classes]).T, bias=True)
    within = np.mean([np.cov(states.T, bias=True) for states in classes], axis=0)
    cut = len(between) * np.finfo(np.float32).eps  # torch.linalg.pinv's own, in float32
    return np.trace(within @ np.linalg.pinv(between, rcond=cut, hermitian=True)) / len(classes)


def drawn(sizes, width, seed=0):
    draw = np.random.default_rng(seed)
    scales = draw.uniform(0.1, 10, width)
    return [draw.normal(draw.normal(0, 1, width) * scales, scales, (size, width)) for size in sizes]


def examples(targets, seed=0):
    generator = torch.Generator().manual_seed(seed)
    states = {layer: torch.randn(len(targets), TRUNK.hidden_size, generator=generator) for layer in range(7)}
    return Examples(states, targets, lambda logits, numbers: logits.sum())


@pytest.mark.parametrize(("sizes", "width"), [((20, 30), 8), ((5, 9, 40, 3), 32), ((12,) * 40, 8), ((1, 1, 6), 16)])
def test_nu_is_that_of_the_published_code(sizes, width):
    classes = drawn(sizes, width)
    found = nu_of_classes([torch.from_numpy(states) for states in classes])
    assert found == pytest.approx(published(classes), rel=1e-5)


def test_directions_that_float32_cannot_tell_from_rounding_do_not_count():
    classes = drawn((20, 20, 20), 6)
    for states, more in zip(classes, (0, 1e-4, -1e-4), strict=True):
        states[:] = states * 1e-4 + np.eye(6)[0] * 10 * np.sign(more)
    found = nu_of_classes([torch.from_numpy(states) for states in classes])
    assert found == pytest.approx(published(classes), rel=1e-5)


def test_classes_count_alike_however_many_states_they_have():
    few = [torch.from_numpy(states) for states in drawn((20, 30, 10), 16)]
    assert nu_of_classes([few[0], few[1].repeat(7, 1), few[2]]) == pytest.approx(nu_of_classes(few), rel=1e-9)


def test_classes_with_the_same_mean_cannot_be_told_apart():
    states = torch.from_numpy(drawn((20,), 4)[0])
    assert nu_of_classes([states, states.clone()]) >= 1e20
    assert nu_of_classes([torch.zeros(3, 4), torch.zeros(2, 4)]) == INSEPARABLE


def test_of_label_sets_it_is_the_mean_over_labels():
    states, draw = drawn((60,), 12)[0], np.random.default_rng(1)
    labels = np.c_[draw.random((60, 3)) < 0.3, np.zeros(60, bool)]  # the last is nowhere, and says nothing
    expected = np.mean([published([states[~labels[:, i]], states[labels[:, i]]]) for i in range(3)])
    assert nu_of(torch.from_numpy(states), torch.from_numpy(labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("targets", [torch.zeros(8, dtype=torch.long), torch.ones(8, 2, dtype=torch.bool)])
def test_one_class_alone_is_refused(targets):
    with pytest.raises(BadInput, match="the training rows have one class only"):
        nu_of(torch.randn(8, 4), targets)


@pytest.mark.parametrize("level", ["text", "unit"])
def test_the_layer_with_the_lowest_nu_is_read_as_single_layer_reads_it(level):
    branch, found = make("variability", level, layers="1-5", **ADA), examples(torch.arange(60) % 4)
    found.states[3][:] += 3 * torch.eye(4)[found.targets].repeat(1, 8)
    branch.examine(found)
    [by_layer] = branch.by_layer().values()
    assert list(by_layer) == [1, 2, 3, 4, 5] and min(by_layer, key=by_layer.get) == 3
    for layer, nu in by_layer.items():
        classes = [found.states[layer][found.targets == label].double().numpy() for label in range(4)]
        assert nu == pytest.approx(published(classes), rel=1e-5)
    assert branch.wanted() == (3,) and branch.layer_weights() == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0}
    assert branch.examines().layers == branch.layers and branch.examines().pooling == "content"
    other = make("single_layer", level, layer=3, **ADA)
    own = {key: value for key, value in branch.state_dict().items() if key != "nu"}
    own["projections.3"] = own.pop("projections.chosen")
    for key in ("path.mean", "path.scale"):
        own |= {key: own[key][2:3]} if key in own else {}
    other.load_state_dict(own)
    assert torch.equal(ride(branch, states_of()), ride(other, states_of()))
    together = BranchGroup({"a": branch, "b": other})
    assert together.stacks[0].count == 2 and not together.alone, "they stack"
    answers = ride_group(together, states_of())
    torch.testing.assert_close(answers["a"], ride(branch, states_of()).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers["a"], answers["b"])


def test_of_equal_layers_the_lowest_and_nothing_is_told_before_it_is_measured():
    branch = Variability(VariabilityConfig(**ADA), TRUNK, Output("text", 3)).eval()
    assert branch.wanted() == (0,) and branch.by_layer() == {}
    branch.nu.copy_(torch.tensor([3.0, 2, 1, 1, 5, 1, 9]))
    assert branch.wanted() == (2,)


def test_adalayers_may_begin_in_proportion_to_what_is_measured():
    branch = AdaLayers(AdaLayersConfig(initial="variability", alpha=4, cutoff=0, layers="1-6", **ADA), TRUNK, Output("text", 3))
    assert branch.by_layer() == {} and branch.examines().layers == tuple(range(1, 7))
    branch.examine(examples(torch.arange(50) % 3))
    nu = branch.by_layer()["nu"]
    expected = {layer: 1 / value / sum(1 / other for other in nu.values()) for layer, value in nu.items()}
    assert branch.layer_weights() == pytest.approx(expected, rel=1e-4) and len({*expected.values()}) == 6
    assert branch.p.sum().item() == pytest.approx(0, abs=1e-5) and branch.p.requires_grad
    plain = AdaLayers(AdaLayersConfig(**ADA), TRUNK, Output("text", 3))
    assert plain.examines() is None and "nu" not in plain.state_dict()


@pytest.mark.parametrize(
    ("config", "key"), [(VariabilityConfig(), "name"), (AdaLayersConfig(initial="variability"), "initial")]
)
def test_numbers_are_no_classes(config, key):
    kind = Variability if key == "name" else AdaLayers
    with pytest.raises(BadInput, match=rf"^method\.{key}: found variability, expected .* a regression has numbers"):
        kind(config, TRUNK, Output("text", 1, numbers=True))
    assert kind(config, TRUNK, Output("text", 1)).layers and LAYOUT.total
