"""Whether a trunk that is a local folder is still the one that a study was begun on.

Names on the hub are pinned by their commit in what runs keep; a folder can hold another trunk under the same name. What it
holds is noted before anything is trained or fitted:

DIR/trunks.json    by path and stack of each trunk that is a local folder, its fingerprint
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator

from trunkline.errors import BadInput
from trunkline.files import read_object, write_json
from trunkline.model.approach import approach_of
from trunkline.studies.floor_runs import KEPT, floor_places
from trunkline.studies.readings import begun
from trunkline.studies.study import Study
from trunkline.training.config import RunConfig
from trunkline.training.run import open_trunk
from trunkline.trunk.aliases import ALIASES
from trunkline.trunk.fingerprint import Fingerprint

NOTED = "trunks.json"

# Parts of a fingerprint, as branch.json keeps them, and what is said where one is another.
_PARTS = {
    "weights": "other weights", "tokenizer": "another tokenizer", "config": "other settings of the model",
    "tokenizer_settings": "other settings of the tokenizer",
}  # fmt: skip


class _Folder(NamedTuple):
    """What tells one local trunk from another: precision and device do not change its fingerprint."""

    name: str
    stack: str


class _Used(NamedTuple):
    """For what a trunk was used, the config of that, and the fingerprint that was kept."""

    said: str
    config: RunConfig
    kept: Mapping[str, Any]


class Trunks:
    """The trunks of a study that are local folders. Each is loaded and hashed once; side branches, which are trained next,
    share what is loaded.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._found: dict[_Folder, Fingerprint] = {}

    def refuse_changed(self) -> None:
        """Compare the folders with what runs and simple baselines of the study were made of.

        Raises:
            BadInput: another trunk; nothing was trained, and nothing in the study's folder was changed.
        """
        used: dict[_Folder, _Used] = {}
        for folder, one in self._used():
            if folder not in used or (one.said == used[folder].said and not _changes(one.config)):
                used[folder] = one
        for folder, one in used.items():
            found = self._fingerprint(folder, one.config)
            other = [said for part, said in _PARTS.items() if part in one.kept and one.kept[part] != getattr(found, part)]
            if other:
                raise BadInput(
                    f"{folder.name}: is not the trunk that {one.said} (found {' and '.join(other)})",
                    expected="the trunk as it was, or another folder (--out)",
                )

    def note(self) -> None:
        """Keep what the folders hold, for a study that is stopped before any of its runs is finished."""
        configs: dict[_Folder, RunConfig] = {}
        for run in self._study.plan.searches():
            folder = _folder(run.config)
            if folder is not None and (folder not in configs or not _changes(run.config)):
                configs[folder] = run.config
        if not configs:
            return
        with self._study.locked("trunks", wait=True):
            noted = self._noted()  # those of another launch, with other trunks, stay
            for folder, config in configs.items():
                noted.setdefault(folder.name, {})[folder.stack] = asdict(self._fingerprint(folder, config))
            write_json(self._study.path / NOTED, noted)

    def _used(self) -> Iterator[tuple[_Folder, _Used]]:
        """What has come of each trunk: finished runs, then what was begun."""
        study, noted = self._study, self._noted()
        runs = [*study.plan.searches(), *study.plan.repeats(study.chosen())]
        own = [(folder, run) for run in runs if (folder := _folder(run.config)) is not None]
        for folder, run in own:
            if (result := study.result(run)) is not None:
                task = next(iter(result["tasks"]))
                kept = read_object(study.place(run) / "branches" / task / "branch.json")["trunk"]
                yield folder, _Used(f"runs in {study.path} were trained on", run.config, kept)
        for folder, run in own:
            if begun(study, run) and (kept := noted.get(folder.name, {}).get(folder.stack)) is not None:
                yield folder, _Used(f"runs in {study.path} were begun on", run.config, kept)
        for _, _, config, place in floor_places(study):
            folder = _folder(config)
            if folder is None or not (place / KEPT).is_file():
                continue
            if (kept := noted.get(folder.name, {}).get(folder.stack)) is not None:
                yield folder, _Used(f"simple baselines in {study.path} were fitted on", config, kept)

    def _noted(self) -> dict[str, dict[str, Any]]:
        file = self._study.path / NOTED
        return read_object(file) if file.is_file() else {}

    def _fingerprint(self, folder: _Folder, config: RunConfig) -> Fingerprint:
        if folder not in self._found:
            with config.naming():
                self._found[folder] = open_trunk(config, Accelerator(cpu=config.trunk.device == "cpu")).fingerprint
        return self._found[folder]


def _folder(config: RunConfig) -> _Folder | None:
    """The local trunk of a config; None where it is an alias or lies on the hub."""
    name = config.trunk.name
    local = name not in ALIASES and Path(name).expanduser().is_dir()
    return _Folder(name, config.trunk.stack) if local else None


def _changes(config: RunConfig) -> bool:
    return approach_of(config.method).changes_trunk
