"""The pictures say what the report says: the numbers are read back from the figure's own artists."""

from __future__ import annotations

import itertools
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh

from trunkline.cli import draw
from trunkline.errors import BadInput

METRICS = {"scenario": "accuracy", "intent": "accuracy", "slots": "f1"}
PLAIN = {"layers": {"12": 1.0}, "reads": [12]}
MEANS = {"forgetting": 0.1234, "backward_transfer": -0.0456, "forward_transfer": 0.0}


def report(order, metrics=METRICS, seed=0, scale=1.0, **means):
    scores = np.random.default_rng(seed).uniform(0.2, 1, (len(order) + 1, len(order))) * scale
    matrix = [[scores[i][j] if j <= i else None for j in range(len(order))] for i in range(len(order))]
    metric = {task: metrics[task] for task in order}
    return {"order": list(order), "metric": metric, "matrix": matrix, "alone": list(scores[-1]), **MEANS, **means}


def attention(adapters, blocks, seed=0):
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(adapters)), blocks)
    return {str(block): dict(zip(adapters, row, strict=True)) for block, row in enumerate(shares.tolist(), 1)}


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def cells(axes):
    """The numbers of a heat map, by where they stand: row i is drawn from i to i + 1."""
    found = {(int(text.get_position()[1]), int(text.get_position()[0])): text for text in axes.texts}
    rows, columns = (1 + max(place[side] for place in found) for side in (0, 1))
    return [[found[i, j].get_text() for j in range(columns)] for i in range(rows)]


def colours(axes):
    """What the cells are coloured by, as a masked array."""
    (mesh,) = (thing for thing in axes.collections if isinstance(thing, QuadMesh))
    return np.ma.masked_invalid(mesh.get_array())


def inside(figure):
    """Whether all that is written lies in the picture, and no two texts of a panel's columns or cells cover each other."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    width, height = canvas.get_width_height()
    for axes in panels(figure):
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        rows = [axes.texts]
        if not any(label.get_rotation() for label in axes.get_xticklabels()):
            rows.append(axes.get_xticklabels())
        for texts in rows:
            boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    return True


def test_every_order_of_a_sequence_has_its_matrix_its_means_and_the_tasks_alone():
    reports = [report(order, seed=i, forgetting=i / 10) for i, order in enumerate(itertools.permutations(METRICS))]
    figure = draw.draw(dict.fromkeys(METRICS, PLAIN), reports)
    drawn = panels(figure)
    assert len(drawn) == 6
    for number, (axes, given_) in enumerate(zip(drawn, reports, strict=True), 1):
        order = given_["order"]
        assert names(axes.xaxis) == [f"{task}\n({METRICS[task]})" for task in order]
        assert names(axes.yaxis) == [*(f"after {task}" for task in order), "alone"]
        rows = [*given_["matrix"], given_["alone"]]
        assert cells(axes) == [["" if value is None else f"{value:.3f}" for value in row] for row in rows]
        expected = np.ma.masked_invalid(np.array(rows, dtype=float))
        assert np.ma.allequal(colours(axes), expected) and (colours(axes).mask == expected.mask).all()
        title = axes.get_title(loc="left").split("\n")
        forgotten = f"forgetting {(number - 1) / 10:+.3f}"
        assert title == [f"order {number}", forgotten, "backward transfer -0.046", "forward transfer +0.000"]
    assert drawn[0].get_ylim()[0] > drawn[0].get_ylim()[1]  # the first stage stands on top
    # One scale for all, or colours could not be compared.
    assert len({axes.collections[0].get_clim() for axes in drawn}) == 1
    assert inside(figure)


def test_one_order_has_no_number_and_means_of_a_single_task_are_undefined():
    figure = draw.draw({"slots": PLAIN}, [report(["slots"], **dict.fromkeys(MEANS))])
    (axes,) = panels(figure)
    assert axes.get_title(loc="left").split("\n") == ["forgetting -", "backward transfer -", "forward transfer -"]
    assert len(cells(axes)) == 2 and inside(figure)


@pytest.mark.parametrize("metric", ["mae", "r2"])
def test_what_is_an_error_or_beyond_1_leaves_the_colours_to_the_other_tasks(metric):
    one = report(["mood", "stars"], {"mood": "accuracy", "stars": metric})
    one["matrix"][1][1], one["alone"][1] = (0.25, 0.5) if metric == "mae" else (-41.5, 0.5)
    (axes,) = panels(draw.draw({}, [one]))
    assert cells(axes)[1][1] == f"{one['matrix'][1][1]:.3f}" and cells(axes)[2][1] == "0.500"
    assert colours(axes).mask.all(axis=0).tolist() == [False, True]
    low, high = axes.collections[0].get_clim()
    assert 0 <= low < high < 1.3


def test_the_attention_of_every_fusion_by_block():
    shares = {task: attention(list(METRICS), 12, seed) for seed, task in enumerate(METRICS)}
    figure = draw.draw({task: {**PLAIN, "attention": shares[task]} for task in METRICS})
    assert [axes.get_title() for axes in panels(figure)] == list(METRICS)
    for axes, by_block in zip(panels(figure), shares.values(), strict=True):
        assert names(axes.xaxis) == list(METRICS) and names(axes.yaxis) == [str(block) for block in range(1, 13)]
        assert cells(axes) == [[f"{share:.2f}" for share in row.values()] for row in by_block.values()]
        assert colours(axes).tolist() == [list(row.values()) for row in by_block.values()]
    assert inside(figure)


def test_bars_of_layers_with_those_that_are_not_read_in_grey():
    tasks = {
        "mood": {"layers": {"0": 0.0, "1": 0.25, "2": 0.75}, "reads": [1, 2]},
        "stars": {"layers": {"0": 0.5, "2": 0.5}, "reads": [0, 2]},
        "plain": {"layers": {"2": 1.0}, "reads": [2]},
    }
    figure = draw.draw(tasks)
    mood, stars = panels(figure)
    assert (mood.get_title(), stars.get_title()) == ("mood", "stars")
    for axes, expected in ((mood, {0: 0, 1: 0.25, 2: 0.75}), (stars, {0: 0.5, 2: 0.5})):
        found = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
        assert found == expected and names(axes.xaxis) == [str(layer) for layer in expected]
    assert [text.get_text() for text in mood.texts] == ["", "25%", "75%"]
    assert [label.get_color() == draw.GREY for label in mood.get_xticklabels()] == [True, False, False]
    assert "not read" in mood.get_xlabel() and "not read" not in stars.get_xlabel()
    assert mood.get_ylim() == stars.get_ylim() and mood.get_xlim() == stars.get_xlim()
    assert inside(figure)


def test_all_that_a_run_has_goes_into_one_figure():
    task = {"layers": {"0": 0.5, "1": 0.5}, "reads": [0, 1], "attention": attention(["a", "b"], 3)}
    figure = draw.draw({"a": task, "b": task}, [report(["a", "b"], {"a": "f1", "b": "f1"})])
    assert len(panels(figure)) == 1 + 2 + 2 and inside(figure)


def test_plain_heads_alone_are_nothing_to_draw():
    assert draw.draw({"mood": PLAIN, "city": {"layers": {}, "reads": [3]}}) is None


@pytest.mark.parametrize(
    ("tasks", "blocks"),
    [
        (["a"], 1),
        (["W1"], 2),
        (["a_task_whose_name_is_longer_than_any_column_is_wide", "b"], 12),
        ([f"attribute_{number}_of_the_text" for number in range(4)], 2),
        (["$x$_{2}", "naïve", "ж-1"], 40),
    ],
)
def test_whatever_the_tasks_are_called_nothing_is_cut_off(tasks, blocks):
    metrics = dict.fromkeys(tasks, "f1_weighted")
    weighed = {"layers": dict.fromkeys(map(str, range(blocks + 1)), 1 / (blocks + 1)), "reads": list(range(blocks + 1))}
    both = {task: {**weighed, "attention": attention(tasks, blocks)} for task in tasks}
    assert inside(draw.draw(both)) and inside(draw.draw({}, [report(tasks, metrics)]))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_extension_says_the_format_and_the_same_numbers_give_the_same_bytes(suffix, tmp_path):
    files = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for file in files:
        draw.check_target(file)
        draw.write(draw.draw({}, [report(METRICS)]), file)
    written = files[0].read_bytes()
    assert written == files[1].read_bytes()
    if suffix == ".svg":
        assert ElementTree.fromstring(written).tag == "{http://www.w3.org/2000/svg}svg"
    else:
        assert written.startswith(b"%PDF-" if suffix == ".pdf" else b"\x89PNG\r\n\x1a\n")
    assert sorted(tmp_path.iterdir()) == files
    assert "matplotlib.pyplot" not in sys.modules


def test_what_cannot_be_written_is_refused(tmp_path):
    for name, found in (("a.gif", "the extension '.gif'"), ("png", "no extension")):
        with pytest.raises(BadInput, match=f"found {found}, expected .png, .svg or .pdf"):
            draw.check_target(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "folder.png", tmp_path / "nowhere" / "a.png"):
        with pytest.raises(BadInput, match="expected a file to write in a folder that exists"):
            draw.check_target(path)
