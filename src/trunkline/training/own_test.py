"""The test split that a run set apart, found again from its config, for scoring its branches later."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.training.config import RunConfig, load_config
from trunkline.training.prepare import Prepared, prepare, split_digest
from trunkline.training.result import read_result


class OwnTest(NamedTuple):
    """The test split of some tasks of a run.

    Attributes:
        tasks: their names.
        table: its rows; None where the config defines none.
        unchanged: whether they are read as they were when the run scored them.
    """

    tasks: list[str]
    table: Table | None
    unchanged: bool = True


def own_test_splits(
    run: Path,
    tasks: Collection[str],
    say: Callable[[str], None] = lambda sentence: None,
    way: str = "give the data to evaluate on",
) -> list[OwnTest]:
    """The rows of the test splits that a run's config names or draws for these tasks, and which of them have each.

    Args:
        run: its directory.
        tasks: their names.
        say: told, in a sentence, of a test source that is read in another way now.
        way: what messages advise where it is not known.

    Raises:
        BadInput: there is no test split, or it is a share of data that have changed, and may hold rows that were trained on.
    """
    if not (run / "config.yaml").is_file():
        raise BadInput(f"{run}: no config.yaml, so the test split of this branch is unknown; {way}")
    result, config = read_result(run), load_config(run / "config.yaml")
    if unknown := [name for name in tasks if name not in config.tasks]:
        raise BadInput(f"{run}: its config has no task {unknown[0]}, so its test split is unknown; {way}")
    found: list[OwnTest] = []
    for number, group in enumerate(prepare(config, only=tasks)):
        own = [name for name in group.tasks if name in tasks]
        if "test" not in group.splits:
            found.append(OwnTest(own, None))
            continue
        changed = _changed(group, result)
        if changed and (
            before := next((one for one in _read_before(config, tasks, number) if not _changed(one, result)), None)
        ):
            group, changed = before, None
        source = group.data.test
        if changed and isinstance(source, float):
            raise BadInput(
                f"{run}: its data has changed ({changed}), so the share drawn for its test may contain training rows; {way}"
            )
        table = group.splits["test"].corpus.table
        if changed and source is not None and not isinstance(source, float):
            say(f"{run}: its test data has changed since it was trained ({changed}); it is scored as it is now")
            table = config.memory.read(source, format=group.data.format)  # with rows that scoring says it leaves out
        found.append(OwnTest(own, table, changed is None))
    if all(test.table is None for test in found):
        raise BadInput(f"{run}: its config defines no test split; {way}")
    return found


def _changed(group: Prepared, result: Mapping[str, Any]) -> str | None:
    """What tells the data of a group from what its run was trained on, of the test split alone where that has its own source.

    A share drawn from other rows, or in another order, would hold rows that were trained on.
    """
    names = list(group.splits) if isinstance(group.data.test, float) else ["test"]
    several = f"{group.name}/train" in result["rows"]
    noted = {name: f"{group.name}/{name}" if several else name for name in names}
    now, then = (
        sum(len(group.splits[name].corpus) for name in names),
        sum(result["rows"].get(noted[name], 0) for name in names),
    )
    if now != then:
        return f"{now} rows, {then} when it was trained"
    digests = result.get("digests")
    if digests is None or all(split_digest(group.splits[name]) == digests.get(noted[name]) for name in names):
        return None
    return "other rows or another order, or read in another way by an earlier version"


def _read_before(config: RunConfig, tasks: Collection[str], number: int) -> Iterator[Prepared]:
    """The same group as earlier versions read it: these kept rows without a text, and sorted whole numbers as strings."""
    for keep_empty in (False, True):
        try:
            group = prepare(config, only=tasks, keep_empty=keep_empty)[number]
            yield group
            sections = dict(config.tasks)
            for name, task in group.tasks.items():
                if getattr(sections[name], "label_list", ()) is None and (before := sorted(task.own_labels)) != task.own_labels:
                    sections[name] = sections[name].model_copy(update={"label_list": before})
            if sections != config.tasks:
                older = config.model_copy(update={"tasks": sections})
                yield prepare(older, only=tasks, keep_empty=keep_empty)[number]
        except BadInput:  # not in this way
            continue
