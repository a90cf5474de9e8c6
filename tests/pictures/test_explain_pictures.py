"""Pictures of a page about a branch: their marks are where the numbers are, and nothing that is written covers anything."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import inside, names, panels

from trunkline.pages.section import drawn
from trunkline.pictures.by_layer import by_layer
from trunkline.pictures.contributions import MOST_TOKENS, contributions
from trunkline.pictures.figure import BAR, LIGHT
from trunkline.pictures.history import history
from trunkline.pictures.reliability import reliability
from trunkline.pictures.single_layers import single_layers
from trunkline.tasks.calibration import Bin


def only(panel):
    figure = drawn(panel)
    assert inside(figure)
    return panels(figure)[0]


def level(axes):
    """Whether no two names below the axes cover each other."""
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    return not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize("layers", [4, 49])
def test_a_number_of_each_layer_is_a_bar_and_the_lowest_is_the_dark_one(layers):
    values = {layer: 5.0 + (layer - 2) ** 2 for layer in range(layers)}
    axes = only(by_layer("mood", "variability", values, "nu", lowest=True))
    assert {round(bar.get_x() + 0.4): bar.get_height() for bar in axes.patches} == values
    dark = [bar.get_facecolor() for bar in axes.patches]
    assert len({dark[2], dark[0]}) == 2 and dark.count(dark[2]) == 1
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("layer", "nu", "log") and level(axes)
    (plain,) = panels(drawn(by_layer("mood", "kept features", values)))
    assert plain.get_yscale() == "linear" and len({bar.get_facecolor() for bar in plain.patches}) == 1


@pytest.mark.parametrize(("layers", "times"), [(4, 1), (49, 300)])
def test_the_history_has_a_row_for_each_layer_and_a_column_for_each_evaluation(layers, times):
    shares = np.random.default_rng(0).dirichlet(np.ones(layers), times).T
    axes = only(history("mood", list(range(10, 10 * times + 1, 10)), shares.tolist(), list(range(layers)), "step", times - 1))
    (mesh,) = axes.collections
    assert np.allclose(mesh.get_array(), shares) and mesh.get_clim() == (0, shares.max())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "layer") and axes.get_ylim() == (0, layers)
    assert names(axes.xaxis)[0] == "10" and len(names(axes.xaxis)) <= 8 and level(axes)
    (mark,) = axes.get_lines()
    assert mark.get_xdata()[0] == times - 0.5


def test_a_reliability_diagram_has_a_point_for_each_bin_and_bars_of_their_rows():
    bins = [Bin(0.4, 0.5, 10, 0.45, 0.3), Bin(0.9, 1.0, 30, 0.95, 0.9)]
    axes = only(reliability("mood", {"calibrated: error 0.075": bins, "without": bins[:1]}, "share that is right", "texts"))
    found = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
    assert found["calibrated: error 0.075"] == ([0.45, 0.95], [0.3, 0.9]) and found["without"] == ([0.45], [0.3])
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()][-1] == "share of texts"
    assert axes.get_xlabel() == "confidence (probability)" and axes.get_ylabel() == "share that is right"


@pytest.mark.parametrize("layers", [4, 49])
def test_every_layer_alone_is_a_bar_and_the_branch_the_last(layers):
    rows = [{"layer": layer, "validation": 0.5 + layer / 200, "test": 0.6 + layer / 200} for layer in range(layers)]
    branch = {"name": "adalayers", "validation": 0.9, "test": 0.92}
    axes = only(single_layers("mood", "accuracy", "test", rows, branch, layers - 1))
    bars = [bar for bar in axes.patches if bar.get_width() == 0.8]
    assert [bar.get_height() for bar in bars] == pytest.approx([*(row["test"] for row in rows), 0.92])
    assert [bool(bar.get_hatch()) for bar in bars] == [False] * (layers - 1) + [True, False]
    assert bars[0].get_facecolor() != bars[-1].get_facecolor()
    marks = next(line for line in axes.get_lines() if line.get_label() == "validation")
    assert list(marks.get_ydata()) == pytest.approx([*(row["validation"] for row in rows), 0.9])
    assert names(axes.xaxis)[-1] == "adalayers" and axes.get_ylabel() == "accuracy (test)" and level(axes)
    undefined = [{**rows[0], "test": None, "validation": None}, *rows[1:]]
    (axes,) = panels(drawn(single_layers("mood", "accuracy", "test", undefined, branch, None)))
    assert len(axes.patches) == layers + 1


def test_contributions_have_their_sign_as_a_number_and_their_size_as_a_colour():
    tokens = ["[CLS]", "a", "$x$", "[SEP]"]
    values = [[0.5, -0.25], [0.001, 0.1], [-1.0, 0.0], [0.0, 0.3]]
    axes = only(contributions("joy", tokens, [0, 12], values))
    assert [text.get_text() for text in axes.texts] == ["+0.50", "-0.25", "", "+0.10", "-1.00", "", "", "+0.30"]
    (mesh,) = axes.collections
    assert np.allclose(mesh.get_array(), np.abs(values)) and names(axes.yaxis) == tokens and names(axes.xaxis) == ["0", "12"]
    many = only(contributions("joy", ["w"] * 200, range(49), [[0.1] * 49] * 200))
    assert len(names(many.yaxis)) == MOST_TOKENS and not many.texts


def test_the_two_colours_are_told_apart_in_grey():
    def grey(colour):
        return sum(weight * int(colour[i : i + 2], 16) for weight, i in ((0.299, 1), (0.587, 3), (0.114, 5)))

    assert abs(grey(BAR) - grey(LIGHT)) > 60
