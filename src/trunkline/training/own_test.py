"""The test split that a run set apart, found again from its config, for scoring its branches later."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.training.config import load_config
from trunkline.training.prepare import prepare, split_digest
from trunkline.training.result import read_result


def own_test_splits(run: Path, tasks: Collection[str]) -> list[tuple[list[str], Table | None]]:
    """The rows of the test splits that a run's config names or draws for these tasks, and which of them have each.

    Tasks without a test split come with None.
    """
    if not (run / "config.yaml").is_file():
        raise BadInput(f"{run}: no config.yaml, so the test split of this branch is unknown; give the data to evaluate on")
    result, config = read_result(run), load_config(run / "config.yaml")
    if unknown := [name for name in tasks if name not in config.tasks]:
        raise BadInput(
            f"{run}: its config has no task {unknown[0]}, so its test split is unknown; give the data to evaluate on"
        )
    found: list[tuple[list[str], Table | None]] = []
    for group in prepare(config, only=tasks):
        several = f"{group.name}/train" in result["rows"]
        trained = {name: f"{group.name}/{name}" if several else name for name in group.splits}
        counts = (
            sum(len(split.corpus) for split in group.splits.values()),
            sum(result["rows"].get(name, 0) for name in trained.values()),
        )
        now = {trained[name]: split_digest(split) for name, split in group.splits.items()}
        digests = {name: result.get("digests", now).get(name) for name in now}
        # A share drawn from other rows, or in another order, would hold rows that were trained on.
        if counts[0] != counts[1] or now != digests:
            changed = (
                f"{counts[0]} rows, {counts[1]} when it was trained"
                if counts[0] != counts[1]
                else "other rows or another order, or read in another way by an earlier version"
            )
            raise BadInput(f"{run}: its data has changed ({changed}); give the data to evaluate on")
        test = group.splits.get("test")
        found.append(([name for name in group.tasks if name in tasks], None if test is None else test.corpus.table))
    if all(table is None for _, table in found):
        raise BadInput(f"{run}: its config defines no test split; give the data to evaluate on")
    return found
