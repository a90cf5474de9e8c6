"""The values that are searched: choices of any kind, or ranges of numbers, of keys of a run's config."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trunkline.errors import BadInput, literal, unknown_name
from trunkline.model.checking import number
from trunkline.studies.config import path_of_key
from trunkline.studies.grids import FIXED
from trunkline.training.config import RunConfig

if TYPE_CHECKING:
    import optuna

Resolve = Callable[[Mapping[str, Any]], RunConfig]
Label = str | int | float | bool | None  # what Optuna knows of a choice

RANGE = ("low", "high", "log", "step")
MOST = 10_000  # combinations of a grid


@dataclass(frozen=True)
class Parameter:
    """A key of the config, with its choices or with the ends of its range.

    Attributes:
        key: its path, by which Optuna knows it too.
        choices: as they are put into the config; empty for a range.
        low, high: the ends of the range, both possible.
        step: between possible values, from `low` on; None: any number, of whole numbers 1.
        log: whether the logarithm is what is drawn evenly.
        whole: whether the numbers of a range are whole, as the key's are.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before anything is trained: all choices, or both ends of the range."""
        return self.choices or (self.low, self.high)

    @property
    def labels(self) -> list[Label]:
        """What stands for the choices: themselves, or as JSON what has parts."""
        return [_label(choice) for choice in self.choices]

    def suggest(self, trial: optuna.Trial) -> Any:
        """Let a trial decide the value, as it is put into the config."""
        if self.choices:
            return self.value(trial.suggest_categorical(self.key, self.labels))
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return self.value(trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log))

    def value(self, found: Label) -> Any:
        """What stands in the config for a value of Optuna's; 0.3 for the 0.30000000000000004 that it makes of steps of 0.1."""
        if not self.choices and self.step is not None and not self.whole:
            assert isinstance(found, float)
            return self.grid()[round((found - self.low) / self.step)]
        if not self.choices:
            return found
        return next(choice for choice in self.choices if (label := _label(choice)) == found and type(label) is type(found))

    def grid(self) -> list[Label]:
        """All values as Optuna knows them; none for a range that has no step."""
        if self.choices:
            return self.labels
        step = 1 if self.whole and not self.log and self.step is None else self.step
        if step is None:
            return []
        count = int((Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(step)))
        found = [Decimal(str(self.low)) + index * Decimal(str(step)) for index in range(count + 1)]
        return [int(one) if self.whole else float(one) for one in found]

    def described(self) -> dict[str, Any]:
        """As plain JSON, for what tells one space from another."""
        if self.choices:
            return {"key": self.key, "choices": self.labels}
        return {"key": self.key, "low": self.low, "high": self.high, "step": self.step, "log": self.log, "whole": self.whole}


class Space:
    """All parameters of a sweep, checked one by one on a config that has a value of the space for each of the others.

    Args:
        given: `sweep.space` as it was written.
        where: opens messages.
        resolve: makes the config of a run that has these values of these keys.

    Raises:
        BadInput: no such key, a value that it cannot have, an empty range.
    """

    def __init__(self, given: Mapping[str, Any], where: str, resolve: Resolve) -> None:
        self.where = f"{where}: sweep.space"
        read = [self._read(key, value) for key, value in given.items()]
        self._refuse_overlap([one.key for one in read])
        self.first = {one.key: one.ends[0] for one in read}
        resolve(self.first)
        self.parameters = [self._checked(one, resolve) for one in read]

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Let a trial decide all values; by key, as they are put into the config."""
        return {one.key: one.suggest(trial) for one in self.parameters}

    def settings(self, found: Mapping[str, Label]) -> dict[str, Any]:
        """By key, what stands in the config for the values of a trial that is in the storage."""
        return {one.key: one.value(found[one.key]) for one in self.parameters}

    def grid(self) -> dict[str, list[Label]]:
        """By key, the values of the grid.

        Raises:
            BadInput: a range without a step, or more combinations than can be meant.
        """
        found, count = {one.key: one.grid() for one in self.parameters}, 1
        for one in self.parameters:
            if not found[one.key]:
                raise BadInput(
                    f"{self.where}.{one.key}: found a range {'of logarithms' if one.log else 'without a step'}, "
                    "expected a list of values or a step, as sampler: grid tries all combinations"
                )
            count *= len(found[one.key])
        if count > MOST:
            raise BadInput(f"{self.where}: found {count:,} combinations, expected at most {MOST:,} for sampler: grid")
        return found

    def configs(self) -> list[dict[str, Any]]:
        """Settings in which each value that is checked occurs, with the first of all other keys."""
        more = [{**self.first, one.key: value} for one in self.parameters for value in one.ends if value != one.ends[0]]
        return [self.first, *more]

    def described(self) -> list[dict[str, Any]]:
        return [one.described() for one in sorted(self.parameters, key=lambda one: one.key)]

    def _read(self, key: str, value: Any) -> Parameter:
        path, place = path_of_key(key), f"{self.where}.{key}"
        if FIXED.fullmatch(path):
            raise BadInput(f"{place}: cannot be searched, as all trials are judged alike and the best is repeated over seeds")
        if isinstance(value, list):
            return _choices(path, value, place)
        if isinstance(value, dict) and value.keys() & {"low", "high"}:
            return _range(path, value, place)
        raise BadInput(where=place, found=literal(value), expected="a list of choices, or a range such as {low: 1, high: 9}")

    def _refuse_overlap(self, keys: list[str]) -> None:
        for one, other in itertools.combinations(sorted(keys), 2):
            if one == other:
                raise BadInput(f"{self.where}: {one} is given twice, expected each key once")
            if other.startswith(f"{one}."):
                raise BadInput(f"{self.where}: {other} is a part of {one}, which is searched too; expected one of them")

    def _checked(self, parameter: Parameter, resolve: Resolve) -> Parameter:
        """The parameter, once each of its ends was resolved; of a range it is seen whether its key takes whole numbers."""
        whole = True
        for value in parameter.ends:
            config = resolve({**self.first, parameter.key: value})
            if parameter.choices:
                continue
            found = _at(config.as_dict(), parameter.key)
            if isinstance(found, bool) or not isinstance(found, (int, float)):
                raise BadInput(f"{self.where}.{parameter.key}: found a range, expected a list of choices, as this is no number")
            whole = whole and isinstance(found, int)
        if parameter.choices:
            return parameter
        for name in ("low", "high", "step"):
            if whole and (own := getattr(parameter, name)) is not None and own != int(own):
                raise BadInput(f"{self.where}.{parameter.key}.{name}: found {own}, expected a whole number")
        return replace(parameter, whole=whole)


def _choices(key: str, value: list[Any], place: str) -> Parameter:
    choices = tuple(map(number, value))
    if not choices:
        raise BadInput(f"{place}: found an empty list, expected at least one choice")
    labels = [(type(label := _label(one)), label) for one in choices]
    if twice := next((one for one, label in zip(choices, labels, strict=True) if labels.count(label) > 1), None):
        raise BadInput(f"{place}: found {literal(twice)} twice, expected each choice once")
    return Parameter(key, choices=choices)


def _range(key: str, value: dict[Any, Any], place: str) -> Parameter:
    for name in value:
        if name not in RANGE:
            raise unknown_name(place, name, RANGE)
    read: dict[str, Any] = {name: number(value.get(name)) for name in ("low", "high", "step")}
    for name, one in read.items():
        if one is None and name != "step":
            raise BadInput(f"{place}: {name} is missing, expected low and high")
        if one is not None and (isinstance(one, bool) or not isinstance(one, (int, float)) or not math.isfinite(one)):
            raise BadInput(where=f"{place}.{name}", found=literal(one), expected="a number")
    low, high, step, log = read["low"], read["high"], read["step"], value.get("log", False)
    if not isinstance(log, bool):
        raise BadInput(where=f"{place}.log", found=literal(log), expected="true or false")
    if low >= high:
        raise BadInput(f"{place}: found low {low} and high {high}, expected low below high")
    if log and low <= 0:
        raise BadInput(f"{place}: found low {low} with log: true, expected one above 0")
    if step is not None and log:
        raise BadInput(f"{place}: found step with log: true, expected one of them")
    if step is not None and (step <= 0 or (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step))):
        raise BadInput(f"{place}.step: found {step}, expected one that leads from low {low} to high {high}")
    return Parameter(key, low=low, high=high, step=step, log=log)


def _label(choice: Any) -> Label:
    if choice is None or isinstance(choice, (str, int, float, bool)):
        return choice
    return json.dumps(choice, sort_keys=True)


def _at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a key in a resolved config."""
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found
