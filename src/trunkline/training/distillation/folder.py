"""The folder of a student, and what in it is Trunkline's own: nothing else is ever replaced or deleted.

    distillation.json     the mark, written first; the sha256 of the trunk's files is put into it before they are put here
    .lock                 held while the student is trained
    distillation.yaml     the resolved config
    checkpoint/           only while the distillation is not finished
    config.json, model.safetensors, tokenizer files    the trunk
    result.json           written last

The trunk's files are written into a temporary folder first and then moved, one by one. A kill in between leaves a folder
without result.json, whose next launch resumes the checkpoint and writes the same files again.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput
from trunkline.files import (
    read_object,
    recover_directory,
    sha256_file,
    sweep,
    sync,
    temporary_beside,
    write_errors,
    write_json,
)
from trunkline.training.own_folder import ANOTHER_FOLDER, OwnFolder

MARK, CONFIG, RESULT, CHECKPOINT = "distillation.json", "distillation.yaml", "result.json", "checkpoint"
_WRITTEN_BY = {"schema": 1, "written_by": "trunkline", "holds": "a trunk that was distilled from another"}
_INSIDE = {"state.json", "tensors.safetensors"}  # of the checkpoint


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the folder of a student for this process alone while the block runs; make and mark it if it is new.

    Raises:
        BadInput: it holds other things than what a distillation has written; nothing in it was touched.
        TrunklineError: another process holds it.
    """
    with _OWN.claimed(path):
        recover_directory(path / CHECKPOINT)
        sweep(path)
        yield


def refuse_other(path: Path) -> None:
    """Raise BadInput if `path` is neither a new or empty folder nor that of a student. Nothing is written."""
    _OWN.refuse_other(path)


def is_student(path: Path) -> bool:
    """Whether `path` is the folder of a student, finished or not."""
    return _mark(path).get("written_by") == _WRITTEN_BY["written_by"]


def refuse_unexpected(path: Path) -> None:
    """Raise BadInput if something that this distillation has not written would be replaced or deleted."""
    checkpoint = path / CHECKPOINT
    if checkpoint.is_symlink() or (checkpoint.exists() and not checkpoint.is_dir()):
        raise _unexpected(path, checkpoint)
    for entry in sorted(checkpoint.iterdir()) if checkpoint.is_dir() else ():
        if entry.name not in _INSIDE or not entry.is_file() or entry.is_symlink():
            raise _unexpected(path, entry)
    for name, digest in _files(path).items():
        if (path / name).exists() and _digest(path / name) != digest:
            raise _unexpected(path, path / name)


def check(path: Path, identity: str) -> None:
    """Raise BadInput unless a distillation of this identity may be resumed in `path`: before anything in it is changed."""
    _OWN.check_identity(path, filter(Path.is_file, [path / CHECKPOINT / "state.json"]), identity)
    refuse_unexpected(path)


def another(path: Path) -> BadInput:
    """The error for a folder with another student in it."""
    return _OWN.another(path)


def clear(path: Path) -> None:
    """Delete a student and where it stood; BadInput if something that Trunkline has not written would go too."""
    refuse_unexpected(path)
    (path / RESULT).unlink(missing_ok=True)
    drop_checkpoint(path)
    for name in _files(path):
        (path / name).unlink(missing_ok=True)
    write_json(path / MARK, {**_WRITTEN_BY, "files": {}})


def drop_checkpoint(path: Path) -> None:
    """Delete the checkpoint, where it is all our own."""
    with suppress(BadInput):
        refuse_unexpected(path)
        shutil.rmtree(path / CHECKPOINT, ignore_errors=True)


def put_trunk(path: Path, write: Callable[[Path], None]) -> dict[str, str]:
    """Put the files that `write` makes in a folder given to it into `path`; return the sha256 of each by name.

    Raises:
        BadInput: a file of one of these names is there that Trunkline has not written; then none is put there.
    """
    before = _files(path)
    with write_errors(path), temporary_beside(path / "trunk", "tmp", folder=True) as temporary:
        write(temporary)
        files = {file.name: sha256_file(file) for file in sorted(temporary.iterdir())}
        for name, digest in files.items():
            there = path / name
            if (there.exists() or there.is_symlink()) and _digest(there) not in (digest, before.get(name)):
                raise _unexpected(path, there)
        write_json(path / MARK, {**_WRITTEN_BY, "files": {**before, **files}})
        mode = stat.S_IMODE(temporary.stat().st_mode) & 0o666  # what the umask leaves, which safetensors does not ask for
        for name in files:
            os.chmod(temporary / name, mode)
            sync(temporary / name)
            os.replace(temporary / name, path / name)
        sync(path)
    return files


def altered(path: Path, files: dict[str, str]) -> str | None:
    """The name of a file of a finished student that is missing or not as it was written."""
    return next((name for name, digest in files.items() if _digest(path / name) != digest), None)


def _digest(file: Path) -> str | None:
    return sha256_file(file) if file.is_file() and not file.is_symlink() else None


def _unexpected(path: Path, entry: Path) -> BadInput:
    return BadInput(
        f"{path}: found {str(entry.relative_to(path))!r}, which was not written by this distillation and would be deleted or "
        "replaced",
        remedy="move it",
        option=ANOTHER_FOLDER,
    )


def _mark(path: Path) -> dict[str, Any]:
    try:
        return read_object(path / MARK)
    except BadInput:
        return {}


def _files(path: Path) -> dict[str, str]:
    found = _mark(path).get("files")
    if not isinstance(found, dict):
        return {}
    return {
        name: str(digest) for name, digest in found.items() if os.path.basename(name) == name and name not in ("", ".", "..")
    }


_OWN = OwnFolder(
    what="student",
    mark=MARK,
    marked={**_WRITTEN_BY, "files": {}},
    named="a folder that `trunkline distill` has written",
    other="a student of another config, other data or another teacher",
    is_own=is_student,
)
