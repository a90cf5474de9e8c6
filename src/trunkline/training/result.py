"""Reading result.json, the summary that a finished run leaves in its directory. Loads nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput
from trunkline.model.folders import unfinished

_KEYS = {"identity": str, "trunk": dict, "rows": dict, "tasks": dict, "cost": dict}


def read_result(run: Path) -> dict[str, Any]:
    """Return a run's summary; BadInput if the run is not finished or its result.json is not one that a run has written."""
    file = run / "result.json"
    if not file.is_file():
        raise unfinished(run)
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{file}: not JSON, so not what a run has written; `trunkline fit --fresh` trains anew") from None
    for key, kind in _KEYS.items():
        if not isinstance(summary, dict) or not isinstance(summary.get(key), kind):
            raise BadInput(f"{file}: no {key} in it, so not what a run has written; `trunkline fit --fresh` trains anew")
    return summary


def run_facts(path: Path) -> dict[str, Any]:
    """Return a run's summary with its directories as they are now: it may have been moved."""
    facts = read_result(path)
    tasks = {name: {**task, "branch": str(path / "branches" / name)} for name, task in facts["tasks"].items()}
    return {**facts, "run": str(path), "tasks": tasks}
