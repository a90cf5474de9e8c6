"""Reading result.json, the summary that a finished run leaves in its directory. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.data.memory import MARK
from trunkline.errors import FIT_AGAIN, BadInput
from trunkline.files import read_object
from trunkline.model.folders import unfinished
from trunkline.model.pass_cost import pass_cost

_KEYS = {"identity": str, "trunk": dict, "rows": dict, "tasks": dict, "cost": dict}


def read_result(run: Path) -> dict[str, Any]:
    """Return a run's summary; BadInput if the run is not finished or its result.json is not one that a run has written."""
    file = run / "result.json"
    if not file.is_file():
        raise unfinished(run)
    try:
        summary = read_object(file)
    except BadInput:
        raise BadInput(f"{file}: not the result of a run, as it is no JSON", option=FIT_AGAIN) from None
    for key, kind in _KEYS.items():
        if not isinstance(summary.get(key), kind):
            raise BadInput(f"{file}: not the result of a run, as it has no {key}", option=FIT_AGAIN)
    if not all(isinstance(task, dict) for task in summary["tasks"].values()):
        raise BadInput(f"{file}: tasks: found something else than a section, so not the result of a run")
    return summary


def trained_in_memory(run: Path) -> bool:
    """Whether a run's data were given in memory, so that nothing but the program that gave them can read its test split."""
    config = run / "config.yaml"
    return config.is_file() and MARK in config.read_text(encoding="utf-8")


def reads_pairs(branch: Path) -> bool:
    """Whether a branch, if it is still there, was trained on pairs of texts."""
    file = branch / "branch.json"
    return file.is_file() and read_object(file).get("text_pair") is not None


def reads_audio(branch: Path) -> bool:
    """Whether a branch, if it is still there, reads audio: its trunk has a feature extractor in the place of a tokenizer."""
    file = branch / "branch.json"
    trunk = read_object(file).get("trunk") if file.is_file() else None
    return isinstance(trunk, dict) and trunk.get("tokenizer") == trunk.get("tokenizer_settings")


def weighs_layers(task: Mapping[str, Any]) -> bool:
    """Whether a branch has several layers to share its weight out over. All of it on the one that there is says nothing."""
    return len(task.get("layers", ())) > 1


def tuned_sentence(task: Mapping[str, Any]) -> str | None:
    """What to say of a threshold that was chosen on validation: the score there is not that of the last evaluations.

    None where none was chosen, or where it is the one that these had.
    """
    found = task.get("tuned")
    if not found or (found["threshold"] == found["untuned_threshold"] and "thresholds" not in found):
        return None
    scores = f"{found['metric']} {found['untuned']:.4f} -> {found['tuned']:.4f}"
    if own := found.get("thresholds"):
        chosen = f"thresholds by label from {min(own):g} to {max(own):g}"
        return f"{chosen} instead of {found['untuned_threshold']:g}, chosen on validation: {scores}"
    return f"threshold {found['threshold']:g} instead of {found['untuned_threshold']:g}, chosen on validation: {scores}"


def depth_sentence(task: Mapping[str, Any]) -> str | None:
    """What to say of upper layers that were dropped after training (depth.py); None where none were."""
    found = task.get("depth")
    if not found or found["depth"] == found["before"]:
        return None
    scores = f"{found['metric']} {found['untrimmed']:.4f} -> {found['score']:.4f}"
    return f"the layers above {found['depth']} (up to {found['before']}) dropped, as they bring nothing on validation: {scores}"


def decision_sentence(task: Mapping[str, Any]) -> str | None:
    """What to say of a temperature: how far it has improved the calibration of the last split that it was judged on."""
    found = task.get("decision")
    if not found or found["temperature"] is None or not found["calibration"]:
        return None
    split, measured = list(found["calibration"].items())[-1]
    before, after = measured["before"], measured["after"]
    shown = [
        f"{name} {before[key]:.4f} -> {after[key]:.4f}"
        for name, key in (("calibration error", "calibration_error"), ("nll", "nll"))
        if before[key] is not None and after[key] is not None
    ]
    return f"temperature {found['temperature']:.3g}, fitted on {found['rows']:,} validation rows: {split} {', '.join(shown)}"


def auto_sentence(summary: Mapping[str, Any], task: str) -> str | None:
    """What `method: auto` has chosen for a task, and the other finalist; None of a run with another method."""
    if (found := summary.get("auto", {}).get("tasks", {}).get(task)) is None:
        return None
    trained = {one["name"]: one["trained"] for one in found["candidates"] if "trained" in one}
    shown = {name: "undefined" if score is None else f"{score:.4f}" for name, score in trained.items()}
    others = "".join(f"; {name}: {score}" for name, score in shown.items() if name != found["chosen"])
    return (
        f"auto chose {found['chosen']} of {len(found['candidates'])} candidates, "
        f"{found['metric']} {shown[found['chosen']]} on validation{others}"
    )


def run_of_branch(branch: Path) -> dict[str, Any] | None:
    """Return the summary of the run that a branch lies in, of this task alone and called by both; None where there is none."""
    folder = branch.resolve()
    if folder.parent.name != "branches" or not (folder.parents[1] / "result.json").is_file():
        return None
    try:
        facts = run_facts(folder.parents[1])
    except BadInput:
        return None
    if folder.name not in facts["tasks"]:
        return None
    alone = {folder.name: facts["tasks"][folder.name]}
    return {**facts, "name": f"{folder.parents[1].name}/{folder.name}", "tasks": alone, "transfer": ()}


def run_line(run: Path) -> dict[str, Any]:
    """What a list of runs says of one: whether it is finished, and the monitored score of each task on validation and test."""
    try:
        found = read_result(run)["tasks"]
    except BadInput:
        return {"run": str(run), "finished": False, "tasks": {}}
    tasks = {}
    for name, task in found.items():
        metric = str(task.get("monitor", ""))
        scores = {split: task[split].get(metric) for split in ("validation", "test") if isinstance(task.get(split), dict)}
        tasks[name] = {"metric": metric, **scores}
    return {"run": str(run), "finished": True, "tasks": tasks}


def run_facts(path: Path) -> dict[str, Any]:
    """Return a run's summary with its directories as they are now: it may have been moved."""
    facts = read_result(path)
    tasks = {name: {**task, "branch": str(path / "branches" / name)} for name, task in facts["tasks"].items()}
    for name, task in tasks.items():
        if "pass" not in task and (cost := _noted_pass(path / "branches" / name, task)):
            task["pass"] = cost
    return {**facts, "run": str(path), "tasks": tasks}


def _noted_pass(branch: Path, task: Mapping[str, Any]) -> dict[str, Any] | None:
    """The pass of a task in the run of an earlier version, by its branch; None where that is not there."""
    try:
        return pass_cost(task["reads"], read_object(branch / "branch.json")["trunk"])
    except (BadInput, OSError, KeyError, TypeError, ValueError):
        return None
