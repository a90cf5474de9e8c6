"""Sharing layer states, and what every method promises."""

import pytest
import torch
from pydantic import ValidationError
from riding import LAYOUT, make, ride, states_of

from trunkline.branches import LayerState, SideBranch, methods
from trunkline.branches.fold import ACTIVATIONS
from trunkline.errors import BadInput


def test_activations_are_torchs_own():
    x = torch.randn(4, 5)
    modules = {"gelu": torch.nn.GELU(), "relu": torch.nn.ReLU(), "silu": torch.nn.SiLU(), "tanh": torch.nn.Tanh()}
    assert set(ACTIVATIONS) == {*modules, "none"}
    for name, module in modules.items():
        torch.testing.assert_close(ACTIVATIONS[name](x), module(x))
    assert ACTIVATIONS["none"](x) is x


def test_a_layer_state_computes_once_and_widens_only_outside_autocast():
    rows = torch.randn(4, 5).bfloat16()
    state = LayerState(rows)
    assert state.rows.dtype == torch.float32 and torch.equal(state.rows, rows.float())
    assert state.activated("gelu") is state.activated("gelu")
    assert state.widened() is state.rows
    with torch.autocast("cpu", torch.bfloat16):
        state = LayerState(rows)
        assert state.rows is rows and state.activated("gelu").dtype == torch.bfloat16
        assert state.widened() is state.widened() and state.widened().dtype == torch.float32
    double = torch.randn(4, 5, dtype=torch.float64)
    assert LayerState(double).widened() is double


def test_the_registry_knows_the_methods():
    assert {"adalayers", "single_layer", "probe", "scalar_mix", "ladder", "routing", "ensemble"} <= set(methods.names())
    with pytest.raises(BadInput, match="did you mean 'adalayers'"):
        methods.get("adalayer")


SIDE_BRANCHES = [name for name in methods.names() if issubclass(methods.get(name), SideBranch)]


@pytest.mark.parametrize("name", SIDE_BRANCHES)
class TestEveryMethod:
    def test_config(self, name):
        config = methods.get(name).Config
        assert config().name == name
        assert config.model_validate(config().model_dump()) == config()
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            config(colour="red")
        assert all(field.description for key, field in config.model_fields.items() if key != "name")

    @pytest.mark.parametrize("level", ["text", "unit"])
    def test_shapes_with_defaults(self, name, level):
        branch = make(name, level, 5)
        rows = torch.tensor([0, 6, 15]) if level == "unit" else None
        assert ride(branch, states_of(), rows=rows).shape == ((4, 5) if level == "text" else (3, 5))
        if level == "unit":
            torch.testing.assert_close(ride(branch, states_of())[rows], ride(branch, states_of(), rows=rows))

    @pytest.mark.parametrize("level", ["text", "unit"])
    def test_a_text_does_not_depend_on_its_neighbours(self, name, level):
        branch, states, layout = make(name, level), states_of(), LAYOUT
        together = ride(branch, states)
        lengths = layout.lengths.tolist()
        alone = [
            ride(branch, part, type(layout)(torch.tensor([length])))
            for part, length in zip(states.split(lengths, 1), lengths, strict=True)
        ]
        torch.testing.assert_close(together, torch.cat(alone))

    @pytest.mark.parametrize("level", ["text", "unit"])
    def test_reading_layers_that_it_does_not_want_changes_nothing(self, name, level):
        branch = make(name, level)
        assert torch.equal(ride(branch, states_of()), ride(branch, states_of(), layers=range(7)))

    def test_it_never_answers_from_half_of_its_layers(self, name):
        branch = make(name)
        with pytest.raises(ValueError, match="required but w"):
            ride(branch, states_of(), layers=branch.wanted()[:-1])

    def test_layer_weights_sum_to_one_over_wanted_layers(self, name):
        branch = make(name)
        weights = branch.layer_weights()
        assert sum(weights.values()) == pytest.approx(1)
        assert {layer for layer, weight in weights.items() if weight} == set(branch.wanted())
        assert list(weights) == sorted(weights) and set(branch.wanted()) <= set(branch.layers) <= set(range(7))

    def test_every_weight_is_in_one_optimiser_group_and_only_matrices_decay(self, name):
        branch = make(name)
        groups = branch.parameter_groups(0.01)
        listed = [p for group in groups for p in group["params"]]
        assert sorted(map(id, listed)) == sorted(map(id, branch.parameters()))
        decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
        assert decaying == {id(p) for p in branch.parameters() if p.ndim > 1}
        for key in ("p", "s"):
            assert id(getattr(branch, key, None)) not in decaying

    def test_autocast_and_bf16_states_give_the_same_within_bf16(self, name):
        branch = make(name)
        states = states_of(dtype=torch.bfloat16)
        expected = ride(branch, states.float())
        torch.testing.assert_close(ride(branch, states), expected)  # widened: exact
        with torch.autocast("cpu", torch.bfloat16):
            found = ride(branch, states)
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_all_weights_of_wanted_layers_learn(self, name, precision):
        branch = make(name).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = ride(branch, states_of(dtype=torch.bfloat16)).square().mean() + branch.penalty()
        loss.backward()
        unread = {f"projections.{layer}" for layer in set(branch.layers) - set(branch.wanted())}
        for key, p in branch.named_parameters():
            assert (p.grad is None) == (key in unread), key
            assert key in unread or (torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32), key

    def test_weights_reload(self, name):
        branch, other = make(name), make(name)
        other.load_state_dict(branch.state_dict())
        assert torch.equal(ride(branch, states_of()), ride(other, states_of()))
