"""Choosing layers by number, range or from the top."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from riding import TRUNK

from trunkline.branches import TrunkShape
from trunkline.branches.layer_choice import choose_layer, choose_layers
from trunkline.errors import BadInput


@pytest.mark.parametrize(
    "chosen, layers",
    [
        (None, (0, 1, 2, 3, 4, 5, 6)),
        ([1, 3], (1, 3)),
        ([3, 1], (1, 3)),
        ([-1, 0], (0, 6)),
        ("0-6", (0, 1, 2, 3, 4, 5, 6)),
        ("4-", (4, 5, 6)),
        ("2", (2,)),
        ("-1", (6,)),
        ("0, 4-5", (0, 4, 5)),
    ],
)
def test_chosen_layers(chosen, layers):
    assert choose_layers(chosen, TRUNK) == layers


@pytest.mark.parametrize(
    "chosen, message",
    [
        ([13], r"^method\.layers: found layer 13, expected 0 to 6 "),
        ([-8], r"^method\.layers: found layer -8, expected 0 to 6 "),
        ("3-9", r"^method\.layers: found layer 9, expected 0 to 6 "),
        ([], r"^method\.layers: no layer is selected, expected at least one of 0 to 6"),
        ([1, -6], r"^method\.layers: found \[1, -6\], which contains a layer twice"),
        ("5-2", r"^method\.layers: found the range '5-2', which ends before it starts"),
        ("all", r"^method\.layers: found 'all', expected layer numbers or a range such as '0-6'"),
        ("", r"^method\.layers: found '', expected layer numbers"),
        ("1-2-3", r"^method\.layers: found '1-2-3', expected layer numbers"),
    ],
)
def test_layers_that_are_not_there(chosen, message):
    with pytest.raises(BadInput, match=message):
        choose_layers(chosen, TRUNK)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(-50, 50))
def test_a_layer_counts_like_an_index(top, layer):
    numbers = list(range(top + 1))
    if -len(numbers) <= layer < len(numbers):
        assert choose_layer(layer, TrunkShape(top, 8)) == numbers[layer]
    else:
        with pytest.raises(BadInput, match=r"method\.layer: found layer"):
            choose_layer(layer, TrunkShape(top, 8))


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="0123456-, x", max_size=8))
def test_any_text_for_layers_is_layers_or_a_sentence(text):
    try:
        layers = choose_layers(text, TRUNK)
    except BadInput as error:
        assert str(error).startswith("method.layers: ")
    else:
        assert layers == tuple(sorted(set(layers))) and set(layers) <= set(range(7))
