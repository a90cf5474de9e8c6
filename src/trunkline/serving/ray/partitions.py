"""A folder of predictions, a file for each partition of the input, each written by whichever process computed it.

    OUT/part-00000.jsonl     the predictions of the first rows, and so on; or .parquet
    OUT/_plan.json           while it is not finished: what was asked, and which rows each partition has
    OUT/_done/part-00000.json    while it is not finished: what was noticed in a partition that is written
    OUT/_predictions.json    once it is finished: the rows and the sha256 of each file

Readers of such folders (Arrow, Spark, Ray) pass over names that begin with _. A partition is written whole or not at all, and
its bytes depend on nothing but what was asked, so it does no harm that two processes write it, as where one was given up too
early. What comes of it is the same whatever was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.claiming import foreign_entry
from trunkline.cluster import LOST
from trunkline.data.pieces import FilePiece
from trunkline.errors import BadInput, TrunklineError
from trunkline.files import JSON_BYTES, hold, read_object, sweep, write_errors, write_json, write_text

MARK = "trunkline partitions"
PLAN, DONE, FINISHED = "_plan.json", "_done", "_predictions.json"
MOST = 10_000  # partitions: a folder with many more files is slow to list and to open


def partitions(pieces: Sequence[FilePiece]) -> list[list[FilePiece]]:
    """Return the pieces of each partition: as few as MOST partitions allow, whatever number of workers there is."""
    each = -(-len(pieces) // MOST)
    return [list(pieces[start : start + each]) for start in range(0, len(pieces), each)]


@dataclass(frozen=True)
class Folder:
    """Where predictions are written.

    path (Path): absolute, on a disk that all machines share.
    suffix (str): of its files.
    """

    path: Path
    suffix: str

    def file(self, number: int) -> Path:
        """Return the file of a partition."""
        return self.path / f"{name_of(number)}{self.suffix}"

    def record(self, number: int) -> dict[str, Any] | None:
        """Return what was noted of a partition that is written, None where it is not."""
        place = self._record(number)
        if not (place.is_file() and self.file(number).is_file()):
            return None
        try:
            found = read_object(place)
        except BadInput:
            return None  # damaged: it is computed again
        return found if found.get("bytes") == self.file(number).stat().st_size else None

    def begin(self, number: int) -> None:
        """Note that a partition is begun. TrunklineError where the workers that began it before were lost, again and again."""
        with open(self._begun(number), "ab") as file:
            file.write(b".")
            times = file.tell()
        if times > LOST:
            raise TrunklineError(
                f"{self.path}: {LOST} workers were lost over {name_of(number)}, perhaps as their machines have too little "
                "memory; what is done is kept, and the same command resumes"
            )

    def forget_begun(self) -> None:
        """Count from the beginning again."""
        for file in (self.path / DONE).glob("*.begun"):
            file.unlink(missing_ok=True)

    def keep(self, number: int, found: Mapping[str, Any]) -> None:
        """Note that a partition is written."""
        write_json(self._record(number), {**found, "bytes": self.file(number).stat().st_size})
        self._begun(number).unlink(missing_ok=True)

    def finish(self, facts: Mapping[str, Any], count: int) -> None:
        """Say that all partitions are there, and remove what only says which are."""
        sweep(self.path)
        write_json(self.path / FINISHED, {"format": MARK, "schema": 1, **facts})
        for number in range(count):
            self._record(number).unlink(missing_ok=True)
        (self.path / PLAN).unlink()
        self.forget_begun()
        sweep(self.path / DONE)
        (self.path / DONE).rmdir()

    def _begun(self, number: int) -> Path:
        return self.path / DONE / f"{name_of(number)}.begun"

    def _record(self, number: int) -> Path:
        return self.path / DONE / f"{name_of(number)}.json"


def name_of(number: int) -> str:
    """Return what a partition is called."""
    return f"part-{number:05d}"


@contextmanager
def planned(folder: Folder, asked: Mapping[str, Any], parts: Sequence[Sequence[FilePiece]]) -> Iterator[None]:
    """Make the folder and write the plan, or find the same one there; nobody else begins there until the block ends.

    Raises:
        BadInput: there is something else, predictions that are finished, or others that are not.
        TrunklineError: another process is at work there.
    """
    plan = {"format": MARK, "schema": 1, "asked": asked, "partitions": [[one.plain() for one in part] for part in parts]}
    path, text = folder.path, json.dumps(plan)
    if len(text) > JSON_BYTES:
        count = sum(map(len, parts))
        raise BadInput(f"{path}: found {count:,} pieces of input, expected about {JSON_BYTES * count // len(text):,} at most")
    plan = json.loads(text)
    expected = "a new or empty folder"
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path}: found a file, expected {expected}; predictions are written as a file for each partition")
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    try:
        if hold(handle) is False:
            raise TrunklineError(f"{path}: another process is predicting into this folder")
        if (path / FINISHED).is_file():
            raise BadInput(f"{path}: found predictions that are finished, expected {expected}")
        if (path / PLAN).is_file():
            there = read_object(path / PLAN)
            changed = [key for key, value in plan["asked"].items() if there.get("asked", {}).get(key) != value]
            if there != plan:
                told = f" (other {' and '.join(changed)})" if changed else ""
                raise BadInput(f"{path}: found unfinished predictions of something else{told}, expected {expected}")
            sweep(path)
            sweep(path / DONE)
            folder.forget_begun()
        elif other := foreign_entry(path, PLAN, (f"{DONE}/",)):
            raise BadInput(f"{path}: found {other.name!r} in it, expected {expected}")
        else:
            with write_errors(path):
                (path / DONE).mkdir(exist_ok=True)
            write_text(path / PLAN, text)
        yield
    finally:
        os.close(handle)


def read_plan(path: Path) -> tuple[dict[str, Any], list[list[FilePiece]]]:
    """Return what was asked and the partitions of a folder that is not finished, as a worker finds them.

    Raises:
        BadInput: no plan is there: the worker's machine does not have the disk.
    """
    if not (path / PLAN).is_file():
        raise BadInput(f"{path}: is not found by a worker; expected a folder on a disk that all machines share, under one name")
    plan = read_object(path / PLAN)
    return plan["asked"], [[FilePiece.of(one) for one in part] for part in plan["partitions"]]
