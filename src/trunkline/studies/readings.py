"""The data of a study's runs: each source is read once, and what runs were trained on is compared with what is there now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trunkline.data.table import Table
from trunkline.errors import BadInput, listed
from trunkline.files import read_object, write_json
from trunkline.studies.floor_runs import KEPT, floor_places
from trunkline.studies.outcomes import Outcome
from trunkline.studies.plan import PlannedRun
from trunkline.studies.study import Study
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Prepared, named_splits, prepare, split_digest

NOTED = "data.json"  # of the study's folder: by run, the rows and digests of the splits that the first round is trained on


class Readings:
    """What `prepare` makes of the configs of a study, once for all that have the same splits. Each source is read once."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._prepared: dict[str, list[Prepared]] = {}

    def of(self, config: RunConfig) -> list[Prepared]:
        """The splits of a config. BadInput for what is wrong with them."""
        values = config.as_dict()
        key = json.dumps([values["data"], values["tasks"], config.training.drawn_by, _drawn_by(config)])
        if key not in self._prepared:
            self._prepared[key] = prepare(config.keeping(self._tables))
        return self._prepared[key]


def _drawn_by(config: RunConfig) -> int | None:
    """The seed that draws the training rows of a config; None where all of them are trained on."""
    sections = [config.data, *(task.data for task in config.tasks.values() if task.data is not None)]
    return config.training.seed if any(section.rows is not None for section in sections) else None


def note_data(study: Study, readings: Readings) -> None:
    """Keep what the first round is trained on, for a study that is stopped before any of its runs is finished."""
    noted = {}
    for run in study.plan.searches():
        with run.config.naming():
            splits = named_splits(readings.of(run.config))
        rows = {name: len(split.corpus.texts) for name, split in splits.items()}
        noted[run.key] = {"rows": rows, "digests": {name: split_digest(split) for name, split in splits.items()}}
    write_json(study.path / NOTED, noted)


class _Change(NamedTuple):
    """A split that is not what was read before: its source, by what, its name, and how many rows it has and had."""

    source: str
    said: str
    split: str
    now: int
    then: int


def refuse_changed(study: Study, readings: Readings) -> None:
    """Compare what finished runs and simple baselines of a study were made of with what their sources hold now.

    Raises:
        BadInput: another thing; nothing was trained, and nothing in the folder was changed.
    """
    changes = [*_changes(study, readings)]
    if not changes:
        return
    one = next((change for change in changes if change.now != change.then), changes[0])
    found = "as many rows, but other texts or labels, or in another order"
    if one.now != one.then:
        found = f"{one.now:,} rows of {one.split}, then {one.then:,}"
    expected = "expected the data as they were, or another folder (--out)"
    raise BadInput(f"{one.source}: is not what {one.said} (found {found}); {expected}")


def _changes(study: Study, readings: Readings) -> Iterator[_Change]:
    plan = study.plan
    for run in [*plan.searches(), *plan.repeats(study.chosen())]:
        if (result := study.result(run)) is not None:
            yield from _differing(run.config, result, f"runs in {study.path} were trained on", readings)
        elif begun(study, run) and (noted := _noted(study).get(run.key)) is not None:
            yield from _differing(run.config, noted, f"runs in {study.path} were begun on", readings)
    for _, _, config, place in floor_places(study):
        if (place / KEPT).is_file():
            kept = read_object(place / KEPT)
            yield from _differing(config, kept, f"simple baselines in {study.path} were fitted on", readings)


def begun(study: Study, run: PlannedRun) -> bool:
    """Whether a run, or the stack that it may be in, has left something to be resumed."""
    return study.place(run).exists() or any(one.is_dir() for one in (study.path / "stacks").glob("*"))


def _noted(study: Study) -> dict[str, Any]:
    return read_object(study.path / NOTED) if (study.path / NOTED).is_file() else {}


def _differing(config: RunConfig, before: Mapping[str, Any], said: str, readings: Readings) -> Iterator[_Change]:
    """The splits of a config that are not those `before`; none where that has no digests, as of an earlier version."""
    if (digests := before.get("digests")) is None:
        return
    with config.naming():
        groups = readings.of(config)
    for name, split in named_splits(groups).items():
        if split_digest(split) != digests.get(name):
            then = before["rows"].get(name, 0)
            yield _Change(split.corpus.table.source, said, name, len(split.corpus.texts), then)


def mixed_data(study: Study, found: Sequence[Outcome]) -> list[str]:
    """What to say of runs whose splits are not those of the others, a sentence for each split."""
    first: dict[str, str] = {}
    others: dict[str, dict[str, None]] = {}
    for one in found:
        for repeat in one.repeats:
            for name, digest in repeat.result.get("digests", {}).items():
                draws = _drawn_by(study.plan.run(one.cell, 0, repeat.seed).config)
                key = json.dumps([name, one.cell.size, draws] if name.rpartition("/")[2] == "train" else name)
                if first.setdefault(key, digest) != digest:
                    others.setdefault(name, {})[f"{one.cell.method}, seed {repeat.seed}"] = None
    return [
        f"the {name} split was not the same in all runs: another one in {listed(list(runs), quoted=False, whole=True)}, "
        "so scores are not comparable"
        for name, runs in others.items()
    ]
