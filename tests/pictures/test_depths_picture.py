"""Quality against depth, drawn: marks are where the numbers are."""

from __future__ import annotations

import pytest
from drawn import inside, names, panels

from trunkline.pictures.depths import depths


def point(allowed, seed, validation, test, by="layers", task="mood", **more):
    blocks = more.get("blocks", allowed)
    about = {"task": task, "metric": "accuracy", "by": by, "allowed": allowed, "blocks": blocks, "of": 6, "seed": seed}
    return about | {"share_of_time": 0.1 + 0.15 * blocks, "validation": validation, "test": test} | more


POINTS = [
    point(allowed, seed, 0.6 + 0.05 * allowed + 0.02 * seed, 0.5 + 0.06 * allowed)
    for allowed in range(6, -1, -1)
    for seed in (0, 1)
]


def marks(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def test_lines_join_means_and_diamonds_are_branches_that_pay():
    figure = depths("emotion", [*POINTS, point(6, 0, 0.83, 0.8, by="depth_penalty", blocks=3)])
    (axes,) = panels(figure)
    found = marks(axes)
    assert found["validation"][0] == list(range(7))
    assert found["validation"][1] == pytest.approx([0.61 + 0.05 * depth for depth in range(7)])
    assert found["test"][1] == pytest.approx([0.5 + 0.06 * depth for depth in range(7)])
    assert found["validation, depth has a price"] == ([3], [0.83]) and found["test, depth has a price"] == ([3], [0.8])
    assert found["one point below full depth, validation"][1][0] == pytest.approx(0.91 - 0.01)
    singles = [values for label, values in found.items() if label.startswith("_")]
    assert [len(xs) for xs, _ in singles] == [14, 14]  # a small mark for each run, on each split
    assert names(axes.xaxis) == [f"{block}\n{0.1 + 0.15 * block:.2f}x" for block in range(7)]
    assert axes.get_ylabel() == "accuracy" and axes.get_title() == "mood: quality against depth" and inside(figure)


def test_a_branch_that_reads_less_than_it_may_is_where_its_pass_ends_and_tasks_have_panels():
    points = [point(2, 0, 0.8, None, blocks=1), point(1, 0, 0.7, None), point(2, 0, None, None, task="b")]
    first, second = panels(figure := depths("two", points))
    assert marks(first)["validation"] == ([1, 1], [0.7, 0.8]) and "test" not in marks(first)
    assert "validation" not in marks(second) and names(first.xaxis)[1:3] == ["1\n0.25x", "2"] and inside(figure)


def test_a_trunk_of_many_layers_has_ticks_apart():
    points = [point(depth, 0, 0.5, 0.5, of=48) for depth in (48, 24, 0)]
    figure = depths("deep", points)
    (axes,) = panels(figure)
    assert [name.split("\n")[0] for name in names(axes.xaxis)] == [str(number) for number in range(0, 49, 2)] and inside(figure)
