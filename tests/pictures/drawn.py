"""What pictures are made of and read by: made-up results of runs, and the artists of a figure."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh

from trunkline.pictures.draw import draw

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


def drawn(tasks, transfer=(), **more):
    """The figure of a run with these tasks."""
    tasks = {name: {"monitor": "accuracy", **task} for name, task in tasks.items()}
    return draw({"run": "runs/films-1a2b3c4d", "tasks": tasks, "transfer": transfer, **more})


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
