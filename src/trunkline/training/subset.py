"""`data.rows`: which of the training rows a run learns from, drawn by its seed.

    1000                               so many rows
    8 per class                        of each class the first 8 rows, of one with fewer all
    1000 with 64 per class             so many rows, those of `64 per class` among them
    100 within 64 per class            so many of the rows of `64 per class`
    100 with 8 within 64 per class     both

All draws of a seed take the rows in one order, a permutation. A row is among N per class if for one of its classes fewer than N
rows with that class come before it: so less per class is within more. Classes are those of all tasks that read the rows:
labels, and entity types of a task with spans. A row may have several, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trunkline.errors import BadInput
from trunkline.tasks import Targets, Task

PATTERN = r"^\d+ (with \d+ )?(within \d+ )?per class$"
EXPECTED = "a number of rows from 1 on, or of rows per class such as '8 per class'"
_PARTS = re.compile(r"(?P<rows>\d+)(?: with (?P<least>\d+))?(?: within (?P<most>\d+))? per class")


class Draw(NamedTuple):
    """What `data.rows` says, in rows.

    Attributes:
        rows: how many; None: all of `most`.
        least: so many of each class are among them.
        most: they are among so many of each class; None: among all rows.
    """

    rows: int | None
    least: int | None = None
    most: int | None = None

    @property
    def value(self) -> int | str:
        """What `data.rows` holds."""
        return self.rows if self.rows is not None and not self.by_class else str(self)

    @property
    def by_class(self) -> bool:
        """Whether the classes of rows matter."""
        return (self.least, self.most) != (None, None)

    def __str__(self) -> str:
        if self.rows is None:
            return f"{self.most} per class"
        bounds = [f"{word} {number} " for word, number in (("with", self.least), ("within", self.most)) if number is not None]
        return f"{self.rows} {''.join(bounds)}per class" if bounds else str(self.rows)


def parse(value: object) -> Draw:
    """Read a value of `data.rows`. ValueError, in words that follow what was found, for anything else."""
    text = " ".join(value.split()) if isinstance(value, str) else value
    if isinstance(text, str) and (match := _PARTS.fullmatch(text)):
        first, least, most = (None if part is None else int(part) for part in match.group("rows", "least", "most"))
        draw = Draw(None, None, first) if least is None and most is None else Draw(first, least, most)
        if min(number for number in draw if number is not None) > 0 and not (least and most and least >= most):
            return draw
    if isinstance(text, str) and text.isdecimal():
        text = int(text)
    if isinstance(text, int | float) and not isinstance(text, bool) and float(text).is_integer() and text > 0:
        return Draw(int(text))
    raise ValueError(f"expected {EXPECTED}")


def draw_rows(
    draw: Draw, seed: int, rows: int, targets: Mapping[str, tuple[Task, Targets]], source: str
) -> tuple[np.ndarray, list[str]]:
    """Return which of `rows` training rows are drawn, int64, rising; and a finding for classes that have fewer than asked for.

    Args:
        draw: what is drawn.
        seed: of the run.
        rows: of `source` that are left for training.
        targets: of these rows, by task; needed for a draw by class.
        source: how messages name the data.

    Raises:
        BadInput: there are not so many rows; no task has classes; no class has so many rows.
    """
    order = np.random.default_rng(seed).permutation(rows)
    if draw.rows is not None and draw.rows > rows:
        there = f"{source} has {rows} rows to train on"
        raise BadInput(f"found {draw.rows}, but {there}; expected at most that many", key="data.rows")
    if not draw.by_class:
        return np.sort(order[: draw.rows]), []
    classes = {name: found for name, (task, own) in targets.items() if (found := task.row_labels(own)) is not None}
    if not classes:
        numbers = f"{source} has no classes, as {' and '.join(targets)} predict{'s' * (len(targets) == 1)} numbers"
        raise BadInput(f"found '{draw}', but {numbers}; expected a number of rows", key="data.rows")
    counts = {name: np.bincount(labels) for name, (_, labels) in classes.items()}
    largest = max(int(count.max(initial=0)) for count in counts.values())
    if max(draw.least or 0, draw.most or 0) > largest:
        there = f"the largest class of {source} has {largest} rows to train on"
        raise BadInput(f"found '{draw}', but {there}; expected at most {largest} per class", key="data.rows")
    before = rows_before(order, list(classes.values()))[order]
    first = before < (draw.least or 0)
    second = ~first & (before < draw.most if draw.most is not None else True)
    among = np.concatenate([order[first], order[second]])
    for number, rows_of, least in ((draw.least, int(first.sum()), True), (draw.most, len(among), False)):
        if draw.rows is not None and number is not None and (draw.rows < rows_of if least else draw.rows > rows_of):
            expected = f"at {'least' if least else 'most'} that many"
            raise BadInput(f"found '{draw}', but {number} per class are {rows_of} rows; expected {expected}", key="data.rows")
    asked = draw.least or (draw.most if draw.rows is None else None) or 0
    said = [
        f"train: {fewer} of the {len(targets[name][0].own_labels)} classes of {name!r} {'has' if fewer == 1 else 'have'} fewer "
        f"than {asked} rows, and all of these are trained on (data.rows: {draw})."
        for name, count in counts.items()
        if (fewer := int(((count > 0) & (count < asked)).sum()))
    ]
    return np.sort(among[: draw.rows]), said


def rows_before(order: np.ndarray, classes: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return for each row how many rows with its class come before it in `order`, int64 (rows,).

    Of several classes the least number counts; a row without one has as many as there are rows.

    Args:
        order: a permutation of the rows (rows,).
        classes: by task, rows (P,) and labels (P,): each label that a row has, once.
    """
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    before = np.full(len(order), len(order), np.int64)
    for rows, labels in classes:
        by_label = np.lexsort((place[rows], labels))
        begins = np.searchsorted(labels[by_label], labels[by_label])
        np.minimum.at(before, rows[by_label], np.arange(len(by_label)) - begins)
    return before
