"""Whether a trunk that is a local folder is still the one that a study's runs were trained on.

Names on the hub are pinned by their commit in what runs keep; a folder can hold another trunk under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trunkline.errors import BadInput
from trunkline.files import read_object
from trunkline.model.approach import approach_of
from trunkline.studies.estimates.pace import trunk_of
from trunkline.studies.plan import PlannedRun
from trunkline.studies.study import Study
from trunkline.training.run import open_trunk
from trunkline.trunk.aliases import ALIASES

# Parts of a fingerprint, as branch.json keeps them, and what is said where one is another.
_PARTS = {
    "weights": "other weights", "tokenizer": "another tokenizer", "config": "other settings of the model",
    "tokenizer_settings": "other settings of the tokenizer",
}  # fmt: skip


def refuse_changed_trunks(study: Study) -> None:
    """Compare the folders that a study names as trunks with what its finished runs keep of them.

    Each is loaded and hashed once; side branches, which are trained next, share what is loaded.

    Raises:
        BadInput: another trunk; nothing was trained, and nothing in the study's folder was changed.
    """
    for run, kept in _trained(study).values():
        config = run.config
        with config.naming():
            found = open_trunk(config, Accelerator(cpu=config.trunk.device == "cpu")).fingerprint
        other = [said for part, said in _PARTS.items() if part in kept and kept[part] != getattr(found, part)]
        if other:
            raise BadInput(
                f"{config.trunk.name}: is not the trunk that runs in {study.path} were trained on (found "
                f"{' and '.join(other)}); expected the trunk as it was, or another folder (--out)"
            )


def _trained(study: Study) -> dict[str, tuple[PlannedRun, Mapping[str, Any]]]:
    """By trunk that is a local folder, a finished run and the `trunk` of its branch.json; of a side branch, if there is one."""
    plan = study.plan
    found: dict[str, tuple[PlannedRun, Mapping[str, Any]]] = {}
    for run in [*plan.searches(), *plan.repeats(study.chosen())]:
        name, key = run.config.trunk.name, trunk_of(run)
        if name in ALIASES or not Path(name).expanduser().is_dir() or (result := study.result(run)) is None:
            continue
        if key not in found or not approach_of(run.config.method).changes_trunk:
            task = next(iter(result["tasks"]))
            found[key] = run, read_object(study.place(run) / "branches" / task / "branch.json")["trunk"]
    return found
