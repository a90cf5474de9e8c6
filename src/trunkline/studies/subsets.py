"""The training sizes of a study: `sizes: [8 per class, 64 per class, 1000, all]`, drawn by seed, each within the larger ones.

A size becomes a value of `data.rows` (training/subset.py), so that a run of it is one like others: its config alone draws the
same rows. A number of rows draws what it does in a single run, unless sizes per class are beside it: then it takes in the rows
of those that are smaller (`1000 with 64 per class`), and keeps within the next larger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trunkline.errors import BadInput, literal
from trunkline.model.checking import at
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Prepared, prepare
from trunkline.training.subset import Draw, draw_rows, parse

EXPECTED = "a number of rows such as 1000, rows per class such as '8 per class', or 'all'"


class Size(NamedTuple):
    """So many training rows, so many of each class, or with neither all."""

    rows: int | None = None
    per_class: int | None = None

    def __str__(self) -> str:
        return "all" if self == (None, None) else str(Draw(self.rows, None, self.per_class))


class Subset(NamedTuple):
    """A size of a seed: the config whose run trains on it, and how many rows these are (of several data sets the sum)."""

    size: Size
    config: RunConfig
    rows: int


def read_sizes(value: object, where: str = "", key: str = "sizes") -> list[Size]:
    """Read `sizes` of a study, as YAML has it.

    Args:
        value: a list, or one size.
        where, key: how messages name it.

    Raises:
        BadInput: no size; what is none; one that is given twice.
    """
    given = value if isinstance(value, list) else [value]
    if not given:
        raise BadInput(found="none", expected=EXPECTED, **at(where, key))
    sizes: list[Size] = []
    for one in given:
        size = _read_size(one)
        if size is None:
            raise BadInput(found=literal(one), expected=EXPECTED, **at(where, key))
        if size in sizes:
            raise BadInput(found=f"{size} twice", expected="each size once", **at(where, key))
        sizes.append(size)
    return sizes


def _read_size(value: object) -> Size | None:
    if isinstance(value, str) and value.strip() == "all":
        return Size()
    try:
        draw = parse(value)
    except ValueError:
        return None
    if draw.rows is None:
        return Size(per_class=draw.most)
    return None if draw.by_class else Size(draw.rows)


def subsets(config: RunConfig, sizes: Sequence[Size], where: str = "", key: str = "sizes") -> list[Subset]:
    """The subsets of one seed, those of fewer rows first. Validation and test are the same for all of them.

    Args:
        config: resolved, with the seed; of a whole run.
        sizes: as of `read_sizes`.
        where, key: how messages name the sizes.

    Raises:
        BadInput: a size is larger than the data, or is per class where there are no classes; the config has a size itself; the
            data cannot be used.
    """
    sections = {"data": config.data, **{f"tasks.{name}.data": task.data for name, task in config.tasks.items() if task.data}}
    for place, section in sections.items():
        if section.rows is not None:
            expected = f"no {place}.rows beside sizes; give {section.rows} as a size"
            raise BadInput(found=f"{place}.rows: {section.rows}", expected=expected, where=where, key=key)
    with config.naming():
        groups = prepare(config)
    try:
        draws = [_draws(group, sizes, config.training.seed) for group in groups]
    except BadInput as error:
        raise error.at(where, key) from None
    found = [
        Subset(size, _drawing(config, groups, [own[size][0] for own in draws]), sum(own[size][1] for own in draws))
        for size in sizes
    ]
    return sorted(found, key=lambda subset: (subset.rows, subset.size == Size()))


def _draws(group: Prepared, sizes: Sequence[Size], seed: int) -> dict[Size, tuple[Draw | None, int]]:
    """What each size draws of a data set, None for all of it; and how many rows these are."""
    train = group.splits["train"]
    targets = {name: (task, train.targets[name]) for name, task in group.tasks.items()}
    whole, source = len(train.corpus), train.corpus.table.source

    def rows_of(draw: Draw) -> int:
        return len(draw_rows(draw, seed, whole, targets, source)[0])

    per_class = {size.per_class: rows_of(Draw(None, None, size.per_class)) for size in sizes if size.per_class is not None}
    found: dict[Size, tuple[Draw | None, int]] = {}
    for size in sizes:
        draw = None
        if size.per_class is not None:
            draw = Draw(None, None, size.per_class)
        elif (number := size.rows) is not None:
            smaller = [each for each, rows in per_class.items() if rows <= number]
            larger = [each for each, rows in per_class.items() if rows > number]
            draw = Draw(number, max(smaller, default=None), min(larger, default=None))
        found[size] = draw, whole if draw is None else rows_of(draw)
    return found


def _drawing(config: RunConfig, groups: Sequence[Prepared], draws: Sequence[Draw | None]) -> RunConfig:
    """The config with what is drawn of each of its data sets."""
    update: dict[str, object] = {}
    tasks = dict(config.tasks)
    for group, draw in zip(groups, draws, strict=True):
        section = group.data.model_copy(update={"rows": None if draw is None else draw.value})
        for name in group.tasks:
            if tasks[name].data is None:
                update["data"] = section
            else:
                tasks[name] = tasks[name].model_copy(update={"data": section})
    return config.model_copy(update={**update, "tasks": tasks})
