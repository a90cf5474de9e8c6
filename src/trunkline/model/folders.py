"""The folders of branches in a run's directory. Loads nothing heavy."""

from __future__ import annotations

from pathlib import Path

from trunkline.errors import BadInput


def branch_folders(path: Path) -> list[Path]:
    """The branch directories that `path` stands for: itself, or those of a run directory."""
    if (path / "branch.json").is_file() or not ((path / "branches").is_dir() or (path / "config.yaml").is_file()):
        return [path]
    if not (found := sorted(file.parent for file in path.glob("branches/[!.]*/branch.json"))):  # no half-written ones
        raise unfinished(path)
    return found


def unfinished(run: Path) -> BadInput:
    """The error for a run that has no result or no branches yet, or none any more."""
    if (run / "result.json").is_file():
        return BadInput(f"{run}: this run is finished, but its branches are gone; put them back, or train anew with --fresh")
    return BadInput(f"{run}: this run is not finished; the command that began it goes on where it stopped")
