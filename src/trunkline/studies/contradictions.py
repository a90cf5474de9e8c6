"""What contradicts itself in the config of a study: a key that undoes another, or that makes methods of one table incomparable.

A table is of one trunk, size and regime, and so are its simple baselines; what differs between tables is given in `trunks`,
`study.sizes` and `study.regimes` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from trunkline.errors import BadInput, literal
from trunkline.model.checking import at
from trunkline.studies.config import ALL, MethodEntry, StudyConfig, path_of_key, trunk_name
from trunkline.studies.subsets import read_sizes

_TRUNK = re.compile(r"trunk(\.(name|revision|stack))?")  # what makes it another one
_OTHERWISE = {"seed": "methods.{}.seeds", "data_seed": "it in training, for all methods"}


def refuse_contradictions(config: StudyConfig, where: str) -> None:
    """Raise BadInput for the first contradiction.

    Args:
        config: of the study.
        where: names it in messages.
    """
    _refuse_same_trunks(config, where)
    _refuse_rows_beside_sizes(config, where)
    for name, entry in config.methods.items():
        _refuse_own_seeds(name, entry, where)
        keys = _searched(name, entry, config)
        _refuse_other_tables(keys, where)
        own = [(f"methods.{name}.training.regime", "training.regime")] if "regime" in entry.training else []
        if config.study.regimes:
            _refuse_regimes([*own, *keys], where)
        _refuse_undone(keys, where)


def _searched(name: str, entry: MethodEntry, config: StudyConfig) -> list[tuple[str, str]]:
    """Where each key of the grids of a method is given, and its path in the config of a run; in the order they are set."""
    tuned, tune = ("study.tune", config.study.tune) if entry.tune is None else (f"methods.{name}.tune", entry.tune)
    grids: Iterable[tuple[str, Iterable[str]]] = ((f"methods.{name}.each", entry.each), (tuned, tune))
    return [(f"{place}.{key}", path_of_key(key)) for place, grid in grids for key in grid]


def _refuse_undone(keys: list[tuple[str, str]], where: str) -> None:
    for number, (place, path) in enumerate(keys):
        for before, other in keys[:number]:
            if other == path or other.startswith(f"{path}."):
                hint = (
                    "; a method with tune: {} searches nothing" if place.startswith("study.tune.") and "each" in before else ""
                )
                raise BadInput(f"found a key that {before} sets, expected one of them{hint}", **at(where, place))


def _refuse_regimes(keys: list[tuple[str, str]], where: str) -> None:
    for place, path in keys:
        if path == "training.regime":
            raise BadInput("found a key that study.regimes sets, expected one of them", **at(where, place))


def _refuse_other_tables(keys: list[tuple[str, str]], where: str) -> None:
    for place, path in keys:
        if _TRUNK.fullmatch(path):
            raise BadInput("found a trunk, expected trunks of the study to be given as trunks", **at(where, place))
        if path == "data.rows":
            raise BadInput("found a number of training rows, expected study.sizes", **at(where, place))


def _refuse_own_seeds(name: str, entry: MethodEntry, where: str) -> None:
    for key, instead in _OTHERWISE.items():
        if key in entry.training:
            raise BadInput(
                f"found a key that must be the same for all runs, expected {instead.format(name)}",
                **at(where, f"methods.{name}.training.{key}"),
            )


def _refuse_same_trunks(config: StudyConfig, where: str) -> None:
    """Tables call a trunk by its name, whatever else its section says."""
    names = [trunk_name(trunk) for trunk in config.trunks or []]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(
            f"found {literal(twice)} twice, expected each once, as tables tell trunks by name", **at(where, "trunks")
        )


def _refuse_rows_beside_sizes(config: StudyConfig, where: str) -> None:
    """With `data.rows`, `all` is that many; other sizes draw from all of the data, and must be fewer."""
    rows, sizes = config.data.get("rows"), read_sizes(list(config.study.sizes), where, "study.sizes")
    if not isinstance(rows, int) or isinstance(rows, bool):
        return
    for size in sizes:
        if size.per_class is not None:
            problem = f"found {size}, but data.rows is {rows}; expected no data.rows beside sizes per class"
        elif size.rows is not None and size.rows > rows:
            problem = f"found {size}, but data.rows is {rows}; expected smaller sizes, or no data.rows"
        elif size.rows == rows and ALL in map(str, sizes):
            problem = f"found {size} and all, which are the same, as data.rows is {rows}; expected one of them"
        else:
            continue
        raise BadInput(problem, **at(where, "study.sizes"))
