"""The linear path beside the head of AdaLayers, against its formula written out in numpy."""

import numpy as np
import pytest
import torch
from riding import LAYOUT, TRUNK, make, ride, ride_group, states_of

from trunkline.branches import BranchGroup, LayerState
from trunkline.branches.linear_path import LinearPath

ADA = {"dim": 16, "heads": 4, "feed_forward": 24}


def by_hand(branch, states):
    """A sum_i p~_i (m_i - mu_i) / sigma_i of every text, (B, C)."""
    shares, path = branch.layer_weights(), branch.path
    ends = np.cumsum(LAYOUT.lengths.numpy())
    answers = []
    for start, end in zip(ends - LAYOUT.lengths.numpy(), ends, strict=True):
        x = sum(
            shares[layer] * (states[layer, start:end].numpy().mean(0) - path.mean[row].numpy()) * path.scale[row].numpy()
            for row, layer in enumerate(branch.layers)
        )
        answers.append(path.weight.detach().numpy() @ x)
    return torch.from_numpy(np.stack(answers)).float()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("adalayers", {}),
        ("adalayers", {"cutoff": 0.13}),
        ("adalayers", {"layers": [1, 4], "head": "linear"}),
        ("single_layer", {"layer": 3}),
    ],
)
def test_its_logits_are_added_to_those_of_the_head(name, config):
    torch.manual_seed(0)
    branch, states = make(name, **ADA, **config), states_of()
    plain = make(name, **ADA, **config, linear=False)
    plain.load_state_dict({key: value for key, value in branch.state_dict().items() if not key.startswith("path.")})
    expected = by_hand(branch, states)
    assert expected.abs().min() > 1e-4
    torch.testing.assert_close(ride(branch, states) - ride(plain, states), expected, rtol=1e-4, atol=1e-5)
    together = ride_group(BranchGroup({"a": branch, "b": plain}), states)
    torch.testing.assert_close(together["a"] - together["b"], expected, rtol=1e-4, atol=1e-5)


def test_a_fresh_path_adds_nothing_and_learns_at_once():
    path = LinearPath((0, 2), 4, 3)
    assert (path.weight == 0).all() and not dict(path.named_buffers())["mean"].any()
    branch = make("adalayers", **ADA)
    branch.path.weight.data.zero_()
    before = ride(branch, states_of())
    plain = make("adalayers", **ADA, linear=False)
    plain.load_state_dict({key: value for key, value in branch.state_dict().items() if not key.startswith("path.")})
    torch.testing.assert_close(before, ride(plain, states_of()))
    before.square().sum().backward()
    assert branch.path.weight.grad.abs().sum() > 0


def test_words_have_none_and_it_can_be_left_out():
    assert make("adalayers", "unit", **ADA).path is None and make("adalayers", **ADA, linear=False).path is None
    assert make("adalayers", **ADA, linear=False).measures() == () and make("adalayers", **ADA, layers=[2, 4]).measures() == (
        2,
        4,
    )


def test_a_number_that_all_texts_share_is_left_out():
    path = LinearPath((1, 3), 2, 2)
    path.standardise({1: (torch.tensor([5.0, 2.0]), torch.tensor([0.0, 0.5])), 3: (torch.zeros(2), torch.ones(2))})
    assert path.mean.tolist() == [[5.0, 2.0], [0.0, 0.0]] and path.scale.tolist() == [[0.0, 2.0], [1.0, 1.0]]


def test_half_precision_reads_the_states_and_computes_the_path_in_float32():
    torch.manual_seed(0)
    branch, states = make("adalayers", **ADA), states_of(dtype=torch.bfloat16)
    branch.path.mean.fill_(100.0)  # what is left of a difference of large numbers would be noise in bf16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = ride_group(BranchGroup({"a": branch}, torch.bfloat16), states)["a"]
        branch.path.weight.zero_()
        without = ride_group(BranchGroup({"a": branch}, torch.bfloat16), states)["a"]
    torch.manual_seed(0)
    again = make("adalayers", **ADA)
    again.path.mean.fill_(100.0)
    torch.testing.assert_close(found - without, by_hand(again, states.float()), rtol=1e-3, atol=1e-2)


def test_states_are_pooled_once_and_need_a_layout():
    rows = states_of()[0]
    state = LayerState(rows, LAYOUT)
    assert state.pooled() is state.pooled()
    torch.testing.assert_close(state.pooled(), torch.stack([part.mean(0) for part in rows.split(LAYOUT.lengths.tolist())]))
    with pytest.raises(ValueError, match="layout"):
        LayerState(rows).pooled()
    assert TRUNK.hidden_size == rows.shape[1]
