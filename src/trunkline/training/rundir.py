"""A run's directory, and what in it is the run's own: nothing else is ever swept, deleted or replaced.

    run.json                 the mark, written before anything else
    .lock                    held while the run trains
    config.yaml, result.json
    tracked.json             which runs of tracking tools are this run (trackers/tracked.py)
    checkpoint/              where the run stands; a folder in it for each stage of a run of several
    search/                  of method auto: what its search has found, and its checkpoint until then
    stages/NAME/             stage.json, and a branch for each task of the stage
    branches/TASK/           the results
    answers/TASK.safetensors    what a task's branch says of the test split, to compare runs row by row

Other files may lie beside these, but not within the five folders, which are written and deleted as a whole. A copy of a branch
or of a stage under another name looks like a run's own, so what may be deleted is also told by the names of tasks and stages.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import yaml

from trunkline.errors import BadInput
from trunkline.files import (
    put_back_unmarked,
    read_object,
    recover_directory,
    refuse_long,
    sweep,
    temporary_name,
)
from trunkline.trackers.tracked import forget
from trunkline.training.own_folder import ANOTHER_FOLDER, LOCK, OwnFolder
from trunkline.training.stages import may_be_stage

MARK, CONFIG, RESULT, SEARCH = "run.json", "config.yaml", "result.json", "search"
_MARKED = {"schema": 1, "written_by": "trunkline", "holds": "a run: checkpoint, stages and branches here are its own"}
_BRANCH: dict[str, Any] = {"branch.json": None, "weights.safetensors": None}
_CHECKPOINT: dict[str, Any] = {"state.json": None, "tensors.safetensors": None}
# By name what a folder of a run holds: None is a file, a mapping a folder, and "*" stands for every other name.
_FOLDERS: dict[str, Any] = {
    "checkpoint": {**_CHECKPOINT, "*": _CHECKPOINT},
    SEARCH: {"search.json": None, "checkpoint": _CHECKPOINT},
    "stages": {"*": {"stage.json": None, "*": _BRANCH}},
    "branches": {"*": _BRANCH},
    "answers": {"*": None},
}


def claimed(path: Path) -> AbstractContextManager[None]:
    """Hold the directory of a run for this process alone while the block runs, as `OwnFolder.claimed`."""
    return _OWN.claimed(path)


def check_path(path: Path, of: str = "run") -> None:
    """Raise BadInput if no folder can have this path, before anything is read."""
    refuse_long(path, f"the {of}'s folder")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"the {of}'s folder {str(path)[:80]!r}: cannot be one ({why})") from None


def is_run(path: Path) -> bool:
    """Whether `path` is the directory of a run: it is marked, or holds what a run of a version before the mark has left."""
    if _object(path / MARK).get("written_by") == _MARKED["written_by"]:
        return True
    result = _object(path / RESULT)
    if (_has_identity(result) and all(isinstance(result.get(key), dict) for key in ("tasks", "trunk"))) or any(
        _has_identity(_object(file)) for file in _states(path)
    ):
        return True
    # Such a run that was stopped before its first checkpoint, or between the renames of one.
    known = "|".join(map(re.escape, (LOCK, CONFIG, RESULT, *_FOLDERS)))
    known = rf"{known}|\.({known})\.[a-z0-9_]{{8}}\.(tmp|old)"
    if not (path / LOCK).is_file() or any(_unexpected(path)):
        return False
    if not all(re.fullmatch(known, entry.name) for entry in path.iterdir()):
        return False
    return _config(path).keys() - {"trackers"} == {"trunk", "data", "tasks", "method", "training"}


def tidy(path: Path) -> None:
    """Clear away what killed writers have left in a run that this process holds, and put back what they moved aside.

    Versions before the mark in temporary names made some that others may choose, too, so what has such a name stays.
    """
    for checkpoint in (path / "checkpoint", path / SEARCH / "checkpoint"):
        recover_directory(checkpoint)
    for folder in (path, path / "branches", path / "answers", path / "checkpoint", path / SEARCH, *path.glob("stages/*")):
        if not folder.is_symlink():
            sweep(folder)
            if folder != path:
                put_back_unmarked(folder)


def check(path: Path, identity: str) -> None:
    """Raise BadInput unless a run of this identity may be resumed in `path`: before anything in it is changed."""
    _OWN.check_identity(path, _states(path), identity)
    _refuse_unexpected(path)


def another_run(path: Path) -> BadInput:
    """The error for a directory with another run in it."""
    return _OWN.another(path)


def clear(path: Path) -> None:
    """Delete the results of a run, and where it stood; BadInput if something that the run has not written would go too."""
    _refuse_unexpected(path)
    _refuse_copies(path)
    (path / RESULT).unlink(missing_ok=True)
    forget(path)
    for name in _FOLDERS:
        if (path / name).exists():  # by another name first, so that a kill leaves no folder that is half there
            os.replace(path / name, doomed := temporary_name(path / name, "tmp"))
            shutil.rmtree(doomed, ignore_errors=True)


def give_up(path: Path) -> None:
    """Delete what a run that is not to be finished has left, where it stood included, if it is all the run's own."""
    with suppress(BadInput):
        clear(path)


def drop_checkpoint(path: Path) -> None:
    """Delete the checkpoint of a finished run, if it is all the run's own."""
    others = itertools.chain(_unexpected(path), _copies(path, *(_names(path) or ((), lambda name: False))))
    if not any(other.is_relative_to(path / "checkpoint") for other in others):
        shutil.rmtree(path / "checkpoint", ignore_errors=True)


def missing_branch(folder: Path) -> bool:
    """Whether a branch that was saved in `folder` is not there whole any more."""
    return not all((folder / name).is_file() for name in _BRANCH)


def _refuse_unexpected(path: Path) -> None:
    if found := next(_unexpected(path), None):
        raise BadInput(
            f"{path}: found {str(found.relative_to(path))!r}, which was not written by a run and would be deleted or replaced",
            remedy="move it",
            option=ANOTHER_FOLDER,
        )


def _refuse_copies(path: Path) -> None:
    """BadInput if there is more in the folders of a run than its tasks and stages, or if these are not known."""
    names = _names(path)
    if other := next(_copies(path, *(names or ((), lambda name: False))), None):
        found = repr(str(other.relative_to(path)))
        why = (
            "which is not a task or stage of this run" if names else f"and neither {RESULT} nor {CONFIG} lists the run's tasks"
        )
        problem = f"{path}: found {found}, {why}, and it would be deleted"
        raise BadInput(problem, remedy="move it", option=ANOTHER_FOLDER)


def _names(path: Path) -> tuple[Collection[str], Callable[[str], bool]] | None:
    """The tasks of the run that is there, and what tells the names of its stages; None if no file can be read that says so."""
    result = _object(path / RESULT)
    stages = result.get("stages", [])
    if isinstance(tasks := result.get("tasks"), dict) and isinstance(stages, list):
        return tasks, {str(stage.get("name")) for stage in stages if isinstance(stage, dict)}.__contains__
    tasks = _config(path).get("tasks")
    return (
        (tasks, lambda name: may_be_stage(name, tasks))
        if isinstance(tasks, dict) and all(isinstance(name, str) for name in tasks)
        else None
    )


def _copies(path: Path, tasks: Collection[str], is_stage: Callable[[str], bool]) -> Iterator[Path]:
    """What lies in the folders of a run under another name than those of its tasks and stages."""
    yield from (entry for entry in sorted(path.glob("branches/*")) if entry.name not in tasks)
    yield from (entry for entry in sorted(path.glob("answers/*")) if entry.name.removesuffix(".safetensors") not in tasks)
    yield from (
        entry for entry in sorted(path.glob("checkpoint/*")) if entry.name not in _CHECKPOINT and not is_stage(entry.name)
    )
    for stage in sorted(path.glob("stages/*")):
        if not is_stage(stage.name):
            yield stage
        yield from (entry for entry in sorted(stage.glob("*")) if entry.name != "stage.json" and entry.name not in tasks)


def _unexpected(path: Path) -> Iterator[Path]:
    """What lies in the folders of a run that no run has written."""
    found = {name: inside for name, inside in _FOLDERS.items() if (path / name).exists() or (path / name).is_symlink()}
    for name, inside in found.items():
        yield from _strange(path / name, inside)


def _strange(entry: Path, inside: Mapping[str, Any] | None) -> Iterator[Path]:
    if entry.is_symlink() or not (entry.is_file() if inside is None else entry.is_dir()):
        yield entry
        return
    for inner in sorted(entry.iterdir()) if inside is not None else ():
        if inside is not None and (inner.name in inside or "*" in inside):
            yield from _strange(inner, inside.get(inner.name, inside.get("*")))
        else:
            yield inner


def _states(path: Path) -> list[Path]:
    """The files that say which run has got how far."""
    patterns = ("checkpoint/state.json", "checkpoint/*/state.json", "stages/*/stage.json", "search/search.json")
    return [file for pattern in patterns for file in sorted(path.glob(pattern))]


def _object(file: Path) -> dict[str, Any]:
    try:
        return read_object(file)
    except BadInput:
        return {}


def _config(path: Path) -> dict[Any, Any]:
    try:
        config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def _has_identity(found: Mapping[str, Any]) -> bool:
    return isinstance(identity := found.get("identity"), str) and re.fullmatch("[0-9a-f]{64}", identity) is not None


_OWN = OwnFolder(
    what="run",
    mark=MARK,
    marked=_MARKED,
    named="a Trunkline run",
    other="a run with another config, other data or another trunk",
    is_own=is_run,
)
