"""The pictures say what the report says: the numbers are read back from the figure's own artists."""

from __future__ import annotations

import itertools
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from drawn import MEANS, METRICS, PLAIN, attention, cells, colours, drawn, inside, names, panels, report
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.errors import BadInput
from trunkline.pictures.figure import GREY, Panel, check_target, laid_out, rows_of, write


def test_every_order_of_a_sequence_has_its_matrix_its_means_and_the_tasks_alone():
    reports = [report(order, seed=i, forgetting=i / 10) for i, order in enumerate(itertools.permutations(METRICS))]
    figure = drawn(dict.fromkeys(METRICS, PLAIN), reports)
    matrices = panels(figure)
    assert len(matrices) == 6
    for number, (axes, given_) in enumerate(zip(matrices, reports, strict=True), 1):
        order = given_["order"]
        assert names(axes.xaxis) == [f"{task}\n({METRICS[task]})" for task in order]
        assert names(axes.yaxis) == [*(f"after {task}" for task in order), "alone"]
        rows = [*given_["matrix"], given_["alone"]]
        assert cells(axes) == [["" if value is None else f"{value:.3f}" for value in row] for row in rows]
        expected = np.ma.masked_invalid(np.array(rows, dtype=float))
        assert np.ma.allequal(colours(axes), expected) and (colours(axes).mask == expected.mask).all()
        assert axes.get_title() == f"order {number}: scores after every stage"
        forgotten = f"forgetting {(number - 1) / 10:+.3f}"
        assert axes.get_xlabel().split("\n") == [forgotten, "backward transfer -0.046", "forward transfer +0.000"]
    assert matrices[0].get_ylim()[0] > matrices[0].get_ylim()[1]  # the first stage stands on top
    # One scale for all, or colours could not be compared.
    assert len({axes.collections[0].get_clim() for axes in matrices}) == 1
    assert inside(figure)


def test_one_order_has_no_number_and_means_of_a_single_task_are_undefined():
    figure = drawn({"slots": PLAIN}, [report(["slots"], **dict.fromkeys(MEANS))])
    (axes,) = panels(figure)
    assert axes.get_title() == "scores after every stage"
    assert axes.get_xlabel().split("\n") == ["forgetting -", "backward transfer -", "forward transfer -"]
    assert len(cells(axes)) == 2 and inside(figure)


@pytest.mark.parametrize("metric", ["mae", "r2"])
def test_what_is_an_error_or_beyond_1_leaves_the_colours_to_the_other_tasks(metric):
    one = report(["mood", "stars"], {"mood": "accuracy", "stars": metric})
    one["matrix"][1][1], one["alone"][1] = (0.25, 0.5) if metric == "mae" else (-41.5, 0.5)
    (axes,) = panels(drawn({}, [one]))
    assert cells(axes)[1][1] == f"{one['matrix'][1][1]:.3f}" and cells(axes)[2][1] == "0.500"
    assert colours(axes).mask.all(axis=0).tolist() == [False, True]
    low, high = axes.collections[0].get_clim()
    assert 0 <= low < high < 1.3


def test_the_attention_of_every_fusion_by_block():
    shares = {task: attention(list(METRICS), 12, seed) for seed, task in enumerate(METRICS)}
    figure = drawn({task: {**PLAIN, "attention": shares[task]} for task in METRICS})
    assert [axes.get_title() for axes in panels(figure)] == [f"{task}: attention over adapters" for task in METRICS]
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
    figure = drawn(tasks)
    mood, stars = panels(figure)
    assert (mood.get_title(), stars.get_title()) == ("mood: share of each layer", "stars: share of each layer")
    for axes, expected in ((mood, {0: 0, 1: 0.25, 2: 0.75}), (stars, {0: 0.5, 2: 0.5})):
        found = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
        assert found == expected and names(axes.xaxis) == [str(layer) for layer in expected]
    assert [text.get_text() for text in mood.texts] == ["", "25%", "75%"]
    assert [label.get_color() == GREY for label in mood.get_xticklabels()] == [True, False, False]
    assert "not read" in mood.get_xlabel() and "not read" not in stars.get_xlabel()
    assert mood.get_ylim() == stars.get_ylim() and mood.get_xlim() == stars.get_xlim()
    assert inside(figure)


def test_all_that_a_run_has_goes_into_one_figure():
    task = {"layers": {"0": 0.5, "1": 0.5}, "reads": [0, 1], "attention": attention(["a", "b"], 3)}
    figure = drawn({"a": task, "b": task}, [report(["a", "b"], {"a": "f1", "b": "f1"})])
    assert len(panels(figure)) == 1 + 2 + 2 and inside(figure)


def test_the_heading_has_the_name_of_the_run_and_the_score_of_every_task():
    tasks = {
        "mood": {**PLAIN, "layers": {"0": 0.5, "1": 0.5}, "validation": {"accuracy": 0.5}, "test": {"accuracy": 0.75}},
        "stars": {
            **PLAIN,
            "monitor": "pearson",
            "validation": {"pearson": 0.25},
            "baseline": {"validation": {"pearson": 0.125}},
        },
        "size": {**PLAIN, "monitor": "pearson", "validation": {"pearson": None}},
        "length": {
            **PLAIN,
            "monitor": "pearson",
            "validation": {"pearson": 0.5, "mse": 4.0},
            "baseline": {"validation": {"pearson": None, "mse": 16.0}},
        },
    }
    figure = drawn(tasks)
    heading = figure.subfigs[0]
    said = [
        "films-1a2b3c4d",
        "mood: accuracy 0.7500 (test), 0.5000 (validation)",
        "stars: pearson 0.2500 (validation), baseline 0.1250",
        "length: pearson 0.5000 (validation), mse 4.0000, baseline 16.0000",
    ]
    assert [text.get_text() for text in heading.texts] == said
    assert inside(figure)


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_panels_fill_their_rows(count):
    panels_ = [Panel(lambda axes: axes.plot([0, 1]), 3.0, 2.0) for _ in range(count)]
    figure = laid_out("a", [], panels_)
    assert inside(figure)
    drawn_ = panels(figure)
    assert len(drawn_) == count
    rows = {}
    for axes in drawn_:
        box = axes.get_tightbbox()
        rows.setdefault(round(box.y0), []).append((box.x0 / figure.bbox.width, box.x1 / figure.bbox.width))
    for row in rows.values():
        assert min(left for left, _ in row) < 0.05 and max(right for _, right in row) > 0.95


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([2.0, 3.0, 5.5]), st.sampled_from([2.0, 2.6, 4.5])), min_size=1, max_size=9))
def test_panels_stay_in_their_order_in_rows_that_are_as_low_as_can_be(sizes):
    panels_ = [Panel(lambda axes: None, *size) for size in sizes]
    rows = rows_of(panels_, 8.0)
    assert [panel for row in rows for panel in row] == panels_  # the very objects, in order

    def fits(row):
        heights = [panel.height for panel in row]
        return len(row) == 1 or (sum(panel.width for panel in row) <= 8 and max(heights) <= 1.5 * min(heights))

    def height(divided):
        return sum(max(panel.height for panel in row) for row in divided)

    assert all(map(fits, rows))
    cuts = itertools.chain.from_iterable(itertools.combinations(range(1, len(sizes)), n) for n in range(len(sizes)))
    every = ([panels_[i:j] for i, j in itertools.pairwise([0, *cut, len(sizes)])] for cut in cuts)
    assert height(rows) == pytest.approx(min(height(one) for one in every if all(map(fits, one))))


def test_the_tasks_of_every_kind_of_panel_are_in_the_order_of_the_config():
    few, many = ({"by_label": {f"l{n}": dict.fromkeys(("precision", "recall", "f1", "support"), 1) for n in range(count)}}
                 for count in (3, 30))  # fmt: skip
    tasks = {"zeta": {"test": many}, "alpha": {"test": few}, "mid": {"test": many}, "beta": {"test": few}}
    figure = drawn({name: {**task, "layers": {"0": 0.5, "1": 0.5}, "reads": [0, 1]} for name, task in tasks.items()})
    _, *rows = figure.subfigs
    assert [axes.get_title() for row in rows for place in row.subfigs for axes in place.axes] == [
        *(f"{name}: scores by label (test)" for name in tasks),
        *(f"{name}: share of each layer" for name in tasks),
    ]
    assert inside(figure)


def test_plain_heads_alone_are_nothing_to_draw():
    assert drawn({"mood": PLAIN, "city": {"layers": {}, "reads": [3]}}) is None


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
    assert inside(drawn(both)) and inside(drawn({}, [report(tasks, metrics)]))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_extension_says_the_format_and_the_same_numbers_give_the_same_bytes(suffix, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # captum brings it, for other tests
    files = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for file in files:
        check_target(file)
        write(drawn({}, [report(METRICS)]), file)
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
            check_target(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "folder.png", tmp_path / "nowhere" / "a.png"):
        with pytest.raises(BadInput, match="expected a file to write in a folder that exists"):
            check_target(path)
