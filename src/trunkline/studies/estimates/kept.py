"""`estimates.json` of a study's folder: what was estimated of each unit, and what it then took.

machine    what the measurements hold for
paces      what a few batches showed, by kind of unit: another launch on this machine need not measure them again
units      by key: the runs, the seconds that were estimated, those that it took, the share of its epochs that were trained
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch

from trunkline.errors import TrunklineError
from trunkline.files import read_object, write_json
from trunkline.studies.estimates.pace import Estimate, Pace
from trunkline.studies.plan import Unit
from trunkline.studies.study import Study
from trunkline.trackers.wording import duration
from trunkline.trunk.machine import machine_key, pick_device

FILE = "estimates.json"
_MARK = {"schema": 1, "written_by": "trunkline", "holds": "what was estimated of a study, and what it took"}


def paces_of(study: Study) -> dict[str, Pace]:
    """By kind, what was measured on this machine by an earlier launch."""
    found = _read(study)
    if found.get("machine") != _machine():
        return {}
    known = {field.name for field in fields(Pace)}  # an older version measured other things
    return {kind: Pace.from_dict(one) for kind, one in found["paces"].items() if one.keys() == known}


def keep_paces(study: Study, paces: Mapping[str, Pace]) -> None:
    """Keep what was measured on this machine."""
    with _changed(study) as found:
        found |= {"machine": _machine(), "paces": {kind: pace.as_dict() for kind, pace in paces.items()}}


def keep_taken(study: Study, unit: Unit, estimate: Estimate | None, seconds: float, epochs: float | None) -> None:
    """Keep what a unit took, and the share of its epochs that were trained, beside what was estimated."""
    with _changed(study) as found:
        found["units"][unit.key] = {
            "runs": [str(run) for run in unit.runs],
            "estimated": None if estimate is None else round(estimate.seconds, 2),
            "took": round(seconds, 2),
            "epochs": None if epochs is None else round(epochs, 4),
        }


def compared(study: Study) -> dict[str, Any] | None:
    """What was estimated of all units that are over, and what they took: seconds, and the share of epochs that were trained."""
    known = [one for one in _read(study)["units"].values() if one["estimated"] is not None and one["took"]]
    if not known:
        return None
    estimated, took = (sum(one[key] for one in known) for key in ("estimated", "took"))
    trained = [(one["epochs"], one["estimated"]) for one in known if one["epochs"] is not None]
    weight = sum(seconds for _, seconds in trained)
    return {
        "estimated": round(estimated, 2),
        "took": round(took, 2),
        "off": round(estimated / took - 1, 4),
        "epochs": round(sum(share * seconds for share, seconds in trained) / weight, 4) if weight else None,
    }


def sentence(found: Mapping[str, Any]) -> str:
    """The same in words."""
    off, epochs = found["off"], found["epochs"]
    said = f"training took {duration(found['took'])}; {duration(found['estimated'])} were estimated, "
    said += f"{abs(off):.0%} {'more' if off > 0 else 'less'}" if abs(off) >= 0.005 else "as it was"
    if epochs is not None and epochs < 0.995:
        said += f", with all epochs, of which {epochs:.0%} were trained"
    return said


@contextmanager
def _changed(study: Study) -> Iterator[dict[str, Any]]:
    """The file as a mapping, written when the block ends. One of another program is left alone."""
    with study.locked("estimates", wait=True):
        yield (found := _read(study))
        if found["written_by"] == _MARK["written_by"]:
            write_json(study.path / FILE, found)


def _read(study: Study) -> dict[str, Any]:
    empty: dict[str, Any] = {"machine": "", "paces": {}, "units": {}}
    if not (study.path / FILE).is_file():
        return {**_MARK, **empty}
    try:
        found = read_object(study.path / FILE)
    except TrunklineError:
        found = {}
    return found if found.get("written_by") == _MARK["written_by"] else {**empty, "written_by": "another program"}


def _machine() -> str:
    return f"{machine_key(pick_device('auto'))}, {torch.get_num_threads()} threads"
