"""What the tests of floors share: the splits of a small data set with a rule in it, without a trunk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from synthetic import config, write_rows

from trunkline.studies.floors.base import Subject
from trunkline.training.config import RunConfig, resolve
from trunkline.training.prepare import Split, prepare
from trunkline.training.run import of_its_own


def rows_with(path: Path, count: int, change, seed: int = 0) -> Path:
    """Rows as of `write_rows`, each as `change(number, row)` leaves it."""
    rows = [json.loads(line) for line in write_rows(path, count, seed).read_text().splitlines()]
    for number, row in enumerate(rows):
        change(number, row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def without_trunk(path: Path, *tasks: str, **sections: dict) -> RunConfig:
    """A config of these tasks; `sections` are changes to its `data`, `training` or to a task."""
    values = config(Path("no-such-trunk"), path, tasks=tasks)
    for name, change in sections.items():
        (values if name in values else values["tasks"])[name] |= change
    return resolve(values)


def subject_of(config: RunConfig, task: str, vectors: dict[str, np.ndarray] | None = None) -> Subject:
    """A task of a config, with these embeddings by split."""
    group = next(group for group in prepare(config) if task in group.tasks)

    def embed(split: Split) -> np.ndarray:
        assert vectors is not None
        return vectors[split.name]

    return Subject(of_its_own(group.tasks[task]), group, embed)
