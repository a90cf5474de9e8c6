"""The simple baselines of a study (floors/), measured once on each trunk, size and draw of rows, and kept in its folder.

DIR/floors/KEY/floors.json               all that is known of them; KEY is a digest of the data, the trunk and the seed
DIR/floors/KEY/FLOOR/answers/TASK...     what each says of the test split
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline.events import Subscriber, quiet
from trunkline.files import read_object, write_json
from trunkline.studies.config import ALL, Cell
from trunkline.studies.floors.measuring import measure_floors
from trunkline.studies.outcomes import Outcome, Repeat
from trunkline.studies.study import Say, Study
from trunkline.studies.units import reason
from trunkline.training.answered import save_answers
from trunkline.training.config import RunConfig

KEPT = "floors.json"


def train_floors(study: Study, publish: Subscriber = quiet, say: Say = lambda sentence: None) -> None:
    """Measure the baselines that are not there yet.

    Args:
        study: whose folder is claimed already.
        publish: told of what happens.
        say: told in a sentence what is measured next.
    """
    for cell, seed, config, place in floor_places(study):
        with study.locked(place.name, wait=True):
            if (place / KEPT).is_file():
                continue
            say(f"simple baselines, {cell.size}" + (f", seed {seed}" if cell.size != ALL else ""))
            try:
                measured = measure_floors(config, publish=publish)
            except Exception as error:
                write_json(study.path / "failed" / f"{place.name}.json", {"reason": reason(error)})
                continue
            for one in measured.results:
                if one.answers is not None:
                    save_answers(place / one.floor, one.task, one.answers)
            omitted = [{"floor": one.floor, "task": one.task, "said": one.said} for one in measured.omitted]
            kept = {"results": [one.as_dict() for one in measured.results], "omitted": omitted}
            write_json(place / KEPT, {**kept, "rows": measured.rows, "digests": measured.digests})


def floor_outcomes(study: Study) -> list[Outcome]:
    """One for each baseline on each trunk and size, called by what it is."""
    found: dict[tuple[str, str, str], Outcome] = {}
    for cell, seed, _, place in floor_places(study):
        if not (place / KEPT).is_file():
            continue
        by_floor: dict[str, list[dict[str, Any]]] = {}
        for one in read_object(place / KEPT)["results"]:
            by_floor.setdefault(one["floor"], []).append(one)
        for floor, results in by_floor.items():
            key = (floor, cell.trunk, cell.size)
            if key not in found:
                own = replace(cell, method=results[0]["title"], candidates=((),), regime="")
                found[key] = Outcome(own, {}, [], [], method={"name": floor}, floor=True)
            found[key].repeats.append(Repeat(seed, place / floor, _as_result(results)))
    return list(found.values())


def _as_result(results: list[dict[str, Any]]) -> dict[str, Any]:
    """What baselines of several tasks found, as result.json has it."""
    tasks = {}
    for one in results:
        tasks[one["task"]] = {
            "monitor": one["monitor"],
            "validation": one["validation"],
            "test": one["test"],
            "chosen": one["chosen"],
        }
    parameters = {one["task"]: one["parameters"] for one in results}
    cost = {"seconds": sum(one["seconds"] for one in results), "trained_parameters": parameters, "added_parameters": parameters}
    return {"tasks": tasks, "cost": cost, "history": []}


def floor_places(study: Study) -> Iterator[tuple[Cell, int, RunConfig, Path]]:
    """For each trunk, size and draw of rows: a cell, the seed, a config and the folder of the baselines.

    Methods there may differ in keys that baselines depend on, such as class weights; the first one counts.
    """
    if not study.plan.config.study.floors:
        return
    seen: set[tuple[str, str, int | None]] = set()
    for cell in study.plan.cells:
        for seed in cell.seeds if cell.size != ALL else cell.seeds[:1]:
            drawn = seed if cell.size != ALL else None
            if (cell.trunk, cell.size, drawn) in seen:
                continue
            seen.add((cell.trunk, cell.size, drawn))
            config = study.plan.run(cell, 0, seed).config
            values = config.as_dict()
            about = [values["trunk"], values["data"], values["tasks"], config.training.drawn_by]
            key = hashlib.sha256(json.dumps([*about, *([] if drawn is None else [drawn])]).encode()).hexdigest()[:20]
            yield cell, seed, config, study.path / "floors" / key
