"""A run that was trained once, and what was told of it, for the tests of all trackers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from synthetic import config, write_rows
from trackedruns import Told

from trunkline.training.fit import fit


@pytest.fixture(scope="session")
def trained(tiny_trunk_dir, tmp_path_factory) -> Told:
    folder = tmp_path_factory.mktemp("tracked")
    values = config(tiny_trunk_dir, write_rows(folder / "rows.jsonl", 60), epochs=3, evaluate_every=1, schedule="linear")
    events = []
    result = fit(values, run_dir=folder / "a-run", subscribers=[events.append], progress=False)
    return Told(values, result.path, events, result.summary)


@pytest.fixture
def told(trained, tmp_path) -> Told:
    """The same in a folder of its own, so that a tracker may write into the run's directory."""
    shutil.copytree(trained.path, tmp_path / "runs" / "a-run")
    return trained.moved(Path(tmp_path / "runs" / "a-run"))
