"""An ensemble against its members' logits, added up."""

import pytest
import torch
from pydantic import ValidationError
from riding import LAYOUT, TRUNK, make, ride, ride_group, states_of

from trunkline.branches import BranchGroup
from trunkline.branches.ensemble import EnsembleConfig
from trunkline.branches.stack import Stack
from trunkline.errors import BadInput

ADA = {"name": "adalayers", "dim": 16, "heads": 4, "feed_forward": 24}
MEMBERS = [ADA, {"name": "probe", "layer": 2}, {**ADA, "layers": "1-3"}, "ladder"]
FACTORS = [0.5, 0.25, 2.0, 0.0]


@torch.no_grad()
@pytest.mark.parametrize("level", ["text", "unit"])
def test_logits_are_the_weighted_sum_of_the_members(level):
    torch.manual_seed(0)
    branch = make("ensemble", level, members=MEMBERS, weights=FACTORS)
    rows = torch.tensor([2, 9]) if level == "unit" else None
    expected = sum(w * ride(own, states_of(), rows=rows) for own, w in zip(branch.members, FACTORS, strict=True))
    torch.testing.assert_close(ride(branch, states_of(), rows=rows), expected)
    other = make("adalayers", level, **{key: value for key, value in ADA.items() if key != "name"})
    group = BranchGroup({"other": other, "mine": branch})
    asked = None if rows is None else {"mine": rows}
    answers = ride_group(group, states_of(), rows=asked)
    assert list(answers) == ["other", "mine"]
    torch.testing.assert_close(answers["mine"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers["other"], ride(other, states_of()), rtol=1e-4, atol=1e-5)
    assert [stack.count for stack in group.stacks] == [3], "members are stacked with other branches of their shape"
    assert isinstance(group.stacks[0], Stack) and len(group.alone) == 1, "a member that counts nothing is not computed"


def test_a_mean_by_default_and_gradients_reach_all_members():
    torch.manual_seed(0)
    branch = make("ensemble", members=["probe", {"name": "probe", "layer": 0}])
    both = [ride(own, states_of()) for own in branch.members]
    torch.testing.assert_close(ride(branch, states_of()), (both[0] + both[1]) / 2)
    branch.train()
    logits = BranchGroup({"a": branch}, frozen=None)
    batch = logits.start(LAYOUT)
    for layer in logits.wanted():
        batch.read(layer, states_of()[layer])
    batch.finish()["a"].sum().backward()
    assert all(own.head.linear.weight.grad.abs().sum() > 0 for own in branch.members)


def test_layers_and_penalties_are_those_of_the_members():
    branch = make(
        "ensemble", members=[{"name": "probe", "layer": 2}, {**ADA, "entropy": 0.5, "layers": [0, 5]}], weights=[3.0, 1.0]
    )
    with torch.no_grad():
        branch.members[1].p.zero_()
    assert branch.layers == branch.wanted() == (0, 2, 5)
    assert branch.layer_weights() == pytest.approx({0: 0.125, 2: 0.75, 5: 0.125})
    assert branch.penalty().item() == pytest.approx(branch.members[1].penalty().item()) and branch.penalty() > 0
    assert branch.measures() == (0, 5)
    branch.standardise({layer: (torch.full((32,), 3.0), torch.ones(32)) for layer in (0, 5)})
    assert (branch.members[1].path.mean == 3).all()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"members": ["lora"]}, "found lora, expected a side branch"),
        ({"members": ["ensemble"]}, "found ensemble, expected a side branch, and no ensemble"),
        ({"members": [{"layer": 2}]}, "expected the name of a side branch"),
        ({"members": [{"name": "probe", "layer": "x"}]}, "probe: layer: input should be a valid integer"),
        ({"members": []}, "at least 1 item"),
        ({"weights": [0, 0]}, "not negative, one of them above 0"),
        ({"weights": [float("inf"), 1]}, "not negative, one of them above 0"),
    ],
)
def test_what_is_no_member_is_refused(config, said):
    with pytest.raises(ValidationError, match=said):
        EnsembleConfig(**config)


def test_members_that_are_not_there_and_weights_of_another_number():
    with pytest.raises(ValidationError, match="unknown name 'adalayer'; did you mean 'adalayers'"):
        EnsembleConfig(members=["adalayer"])
    with pytest.raises(BadInput, match=r"^method\.weights: found 1 for 2 members, expected one for each"):
        make("ensemble", weights=[1.0])
    with pytest.raises(BadInput, match=r"found layer 9, expected 0 to 6"):
        make("ensemble", trunk=TRUNK, members=[{"name": "probe", "layer": 9}])
