"""The folders of branches in a run's directory. Loads nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from trunkline.errors import FIT_AGAIN, BadInput
from trunkline.files import read_object


def branch_folders(path: Path) -> list[Path]:
    """The branch directories that `path` stands for: itself, or those of a run directory."""
    if (path / "branch.json").is_file() or not ((path / "branches").is_dir() or (path / "config.yaml").is_file()):
        return [path]
    if not (found := sorted(file.parent for file in path.glob("branches/[!.]*/branch.json"))):  # no half-written ones
        raise unfinished(path)
    order = _tasks(path)
    return sorted(found, key=lambda folder: order.index(folder.name) if folder.name in order else len(order))


def _tasks(run: Path) -> list[str]:
    """The names of a run's tasks in the order of its config; none where the run does not say."""
    try:
        tasks = read_object(run / "result.json").get("tasks")
    except (BadInput, OSError):  # not finished, or broken: other readers of it say so
        return []
    return list(tasks) if isinstance(tasks, dict) else []


def unfinished(run: Path) -> BadInput:
    """The error for a run that has no result or no branches yet, or none any more."""
    if (run / "result.json").is_file():
        problem = f"{run}: this run is finished, but its branches are missing"
        return BadInput(problem, remedy="restore them", option=FIT_AGAIN)
    return BadInput(f"{run}: this run is not finished; rerun the command that started it to resume")


def no_branch(path: Path | str) -> BadInput:
    """The error for what is named as a run or a branch and is none."""
    if not Path(path).exists():
        return not_there(path, "a run or a branch")
    return BadInput(f"{path}: not a run or a branch; expected a directory that `trunkline fit` has written")


def not_there(path: Path | str, expected: str, what: str = "file or folder") -> BadInput:
    """The error for a path at which there is nothing; it names the nearest branch or run beside it."""
    place = Path(path).expanduser()
    beside = {entry.name: entry for entry in sorted(place.parent.glob("[!.]*")) if is_branch_or_run(entry)}
    near = difflib.get_close_matches(place.name, beside, n=1, cutoff=0.5)
    near = near or [name for name in beside if place.name and name.startswith(place.name)][:1]
    hint = f"did you mean {beside[near[0]]}?" if near else f"expected {expected}"
    return BadInput(f"{path}: no such {what}; {hint}")


def runs_in(folder: Path) -> list[Path]:
    """The runs that lie in a folder, by name."""
    return sorted(entry for entry in folder.glob("[!.]*") if (entry / "config.yaml").is_file() or (entry / "branches").is_dir())


def is_branch_or_run(path: Path) -> bool:
    """Whether a directory is a branch, or a run with branches in it."""
    return (path / "branch.json").is_file() or (path / "branches").is_dir() or (path / "config.yaml").is_file()


def not_a_branch(path: Path) -> BadInput:
    """The error for a place that is no branch where one has to be."""
    inside = sorted(file.parent for file in path.glob("branches/[!.]*/branch.json"))
    if inside:
        return BadInput(f"{path}: a run; expected one of its branches, such as {inside[0]}")
    if not path.exists():
        return not_there(path, "that of a branch or of a run", "folder")
    return BadInput(
        f"{path}: not a branch or a run; expected a folder with branch.json and weights.safetensors, or that of a run"
        f"{_such(path)}"
    )


def nothing_known(folder: Path) -> BadInput:
    """The error for a folder that is neither a branch nor a run nor a trunk; it names what is inside."""
    return BadInput(f"{folder}: not a branch, a run or a trunk; expected the folder of one{_such(folder)}")


def _such(folder: Path) -> str:
    """The end of a sentence that names a branch or a run in a folder, if there is one."""
    inside = sorted(entry for entry in folder.glob("[!.]*") if is_branch_or_run(entry))
    return f", such as {inside[0]}" if inside else ""


def task_of(branch: Path) -> str:
    """The name of a branch's task, without loading the branch."""
    return str(read_object(branch / "branch.json").get("name"))


def by_run(branches: Iterable[Path]) -> dict[Path, list[Path]]:
    """Branch and run directories by the run that they belong to."""
    runs: dict[Path, list[Path]] = {}
    for path in branches:
        place = path.resolve()
        runs.setdefault(place.parent.parent if (place / "branch.json").is_file() else place, []).append(path)
    return runs
