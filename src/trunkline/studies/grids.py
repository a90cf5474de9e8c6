"""The settings of a study: combinations of the values of keys, and the seeds that they are trained with."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from trunkline.errors import BadInput, literal
from trunkline.model.checking import number

MOST_SEEDS = 10_000
MOST_COMBINATIONS = 10_000  # of the values of one grid
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[int, Field(ge=1, le=MOST_SEEDS)] | Annotated[list[Seed], Field(min_length=1)]
# What all runs are judged by must be the same for all of them, and seeds are given apart from settings.
FIXED = re.compile(
    r"(data|training|tasks(\.[^.]+)?)|data\.(validation|test|set_aside)|tasks\.[^.]+\.(kind|metric|data)(\..+)?|"
    r"(training\.)?(data_)?seed|(trackers|preset|training\.(trackers|preset))(\..+)?"
)


def each_once(values: Any) -> Any:
    """Return a list in which nothing stands twice, and what is no list as it is; ValueError otherwise."""
    if isinstance(values, list):
        for one in values:
            if values.count(one) > 1:
                raise ValueError(f"found {literal(one)} twice, expected each once")
    return values


def combinations(grid: Mapping[str, list[Any]], where: str) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Every combination of the values of a grid, with their keys.

    Raises:
        BadInput: a key by which all runs are judged, a value that is given twice, or more combinations than can be meant.
    """
    for key, values in grid.items():
        if FIXED.fullmatch(key):
            raise BadInput(f"{where}.{key}: found a key that must be the same for all runs, expected one that may differ")
        try:
            each_once(list(map(number, values)))
        except ValueError as error:
            raise BadInput(f"{where}.{key}: {error}") from None
    if (count := math.prod(map(len, grid.values()))) > MOST_COMBINATIONS:
        raise BadInput(f"{where}: found {count:,} combinations, expected at most {MOST_COMBINATIONS:,}")
    for chosen in itertools.product(*grid.values()):
        yield tuple(zip(grid, map(number, chosen), strict=True))


def seeds_of(given: int | list[int], first: object, where: str) -> tuple[int, ...]:
    """The seeds that are meant: those of a list, or so many from `first` on.

    Raises:
        BadInput: `first` is no seed, or others from there on are none.
    """
    if isinstance(given, list):
        return tuple(given)
    if isinstance(spelled := number(first), float) and spelled.is_integer():  # 1e3
        first = int(spelled)
    if not isinstance(first, int) or isinstance(first, bool) or not 0 <= first < 2**32:
        raise BadInput(f"{where}: training.seed: found {literal(first)}, expected a whole number from 0 to {2**32 - 1}")
    if first + given > 2**32:
        raise BadInput(
            f"{where}: training.seed: found {first}, expected at most {2**32 - given}, as there are {given} seeds from it on"
        )
    return tuple(range(first, first + given))
