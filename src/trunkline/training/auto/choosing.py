"""A run of `method: auto`: after the search, the best candidates are trained as the config says, and the best of them is saved.

    search/checkpoint/    where the search stands
    search/search.json    what it has found

The finalists of a task (finalists.py) are the best of its deep candidates, the best of its linear ones where that is ahead,
AdaLayers, and as many more deep ones as the budget pays for. They were trained for a part of a run only, so which is better
shows when they are trained to the end. That is done in one loop, which calls their tasks "linear/TASK", "deep/TASK",
"deep 2/TASK" and so on. On validation the best one is chosen, of equal ones the first, and it alone is judged on the test
split and saved.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline.branches import methods
from trunkline.branches.auto import AutoConfig
from trunkline.errors import TrunklineError
from trunkline.events import SearchEnded
from trunkline.files import read_object, write_json
from trunkline.model.frozen import FROZEN
from trunkline.training.agreement import wait_for_all
from trunkline.training.auto.family import Candidate
from trunkline.training.auto.halving import ranked
from trunkline.training.auto.search import Entrant, Search, entrant
from trunkline.training.config import RunConfig
from trunkline.training.judging import judge
from trunkline.training.loop import Loop
from trunkline.training.members import loop_of, opened
from trunkline.training.result import read_result
from trunkline.training.run import Run
from trunkline.training.rundir import SEARCH
from trunkline.training.stages import Stage
from trunkline.training.train import Training

RECORD = "search.json"


def train(run: Run, path: Path) -> dict[str, Any]:
    """Search, train the best and write result.json; return what it holds.

    Args:
        run: whose method is auto.
        path: its directory.

    Raises:
        TrunklineError: no candidate of a task could be trained.
    """
    training = Training(run, path)
    training.stages = [Stage("", tuple(run.tasks), run.config.method)]
    training.tell()
    record = _searched(run, path / SEARCH)
    run.publish(SearchEnded({task: found["finalists"] for task, found in record["tasks"].items()}, record["seconds"]))
    finalists = [
        entrant(run, task, _candidate(found, name), kind)
        for task, found in record["tasks"].items()
        for kind, name in found["finalists"].items()
    ]
    members = [one.member for one in finalists]
    checkpoint = path / "checkpoint"
    loop = loop_of(run, run.config, members, opened(run, members, checkpoint), checkpoint, run.identity)
    position, spent = loop.run()
    best = {task: _best(task, finalists, loop) for task in run.tasks}
    parts = {one.key: loop.learners[one.key].parts[one.key] for one in best.values()}
    with run.clock.part("judging"):
        judged = judge(parts, run.groups, parts, run.trunk, FROZEN, loop)
    training.stages = [replace(training.stages[0], chosen={task: one.candidate.method for task, one in best.items()})]
    cost = run.meter({task: loop.learners[one.key] for task, one in best.items()})
    cost.epochs, cost.stacked, cost.seconds = spent.epochs, len(finalists), position.seconds
    cost.states_seconds, cost.states_bytes = spent.states_seconds, spent.states_bytes
    cost.steps_to_best = {task: spent.steps_to_best[one.key] for task, one in best.items()}
    names = {one.key: task for task, one in best.items()}
    history = [
        {**entry, "tasks": {names[key]: found for key, found in entry["tasks"].items() if key in names}}
        for entry in position.history
    ]
    kept = {task: judged[one.key] for task, one in best.items()}
    done = training.keep(0, kept, FROZEN, {}, [entry for entry in history if entry["tasks"]], cost)
    return training.finish([done], auto=_told(record, best, finalists, loop, position.seconds))


def chosen(config: RunConfig, path: Path, task: str) -> RunConfig:
    """The config of a finished run with what was chosen for a task in the place of auto; another method stays as it is."""
    if not isinstance(config.method, AutoConfig):
        return config
    found = read_result(path)["auto"]["tasks"][task]
    candidate = _candidate(found, found["chosen"])
    training = config.training.model_copy(update={"learning_rate": candidate.learning_rate})
    return config.model_copy(update={"method": candidate.method, "training": training})


def _searched(run: Run, folder: Path) -> dict[str, Any]:
    """What the search has found, which is written down once it is done."""
    record: dict[str, Any] = read_object(folder / RECORD) if (folder / RECORD).exists() else {}
    if record:
        run.clock.resume(record["clock"])
    else:
        found = Search(run, folder / "checkpoint").train()
        record = {"identity": run.identity, **found, "clock": run.clock.as_dict()}
        if run.accelerator.is_main_process:
            folder.mkdir(exist_ok=True)
            write_json(folder / RECORD, record)
    wait_for_all(run.accelerator)
    if run.accelerator.is_main_process:
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return record


def _candidate(found: dict[str, Any], name: str) -> Candidate:
    """A candidate of a task, from what is written of it."""
    row = next(one for one in found["candidates"] if one["name"] == name)
    return Candidate(methods.get(row["method"]["name"]).Config.model_validate(row["method"]), row["learning_rate"])


def _best(task: str, finalists: list[Entrant], loop: Loop) -> Entrant:
    own = {one.key: one for one in finalists if one.task == task}
    best = next(iter(ranked(list(own), loop.learners)), None)
    if best is None:
        raise TrunklineError(loop.learners[next(iter(own))].progress.failed or f"task {task}: no candidate has a score")
    return own[best]


def _told(
    record: dict[str, Any], best: dict[str, Entrant], finalists: list[Entrant], loop: Loop, seconds: float
) -> dict[str, Any]:
    """`auto` of result.json."""
    tasks = {}
    for task, found in record["tasks"].items():
        scores = {one.candidate.name: loop.learners[one.key].progress.best_score for one in finalists if one.task == task}
        candidates = [
            {**one, **({"trained": scores[one["name"]]} if one["name"] in scores else {})} for one in found["candidates"]
        ]
        tasks[task] = {"chosen": best[task].candidate.name, **found, "candidates": candidates}
    return {"search_seconds": record["seconds"], "training_seconds": round(seconds, 2), "tasks": tasks}
