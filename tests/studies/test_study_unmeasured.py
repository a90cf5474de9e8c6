"""What could not be measured before a study is trained: that is said with its reason, and no time is made up for it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from synthetic import write_rows

from trunkline.cli.show_study import plan as shown
from trunkline.events import Finding
from trunkline.studies.config import study_of
from trunkline.studies.estimates import probe
from trunkline.studies.estimates.forecasting import ahead, measure, not_estimated, rehearse
from trunkline.studies.estimates.pace import Forecast
from trunkline.studies.plan import Plan
from trunkline.studies.study import Study

SECRET = "the text of a user"


@pytest.fixture
def study(tiny_trunk_dir, tmp_path):
    values = {
        "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(write_rows(tmp_path / "rows.jsonl", 40)), "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "training": {"epochs": 1, "batch_tokens": 512, "patience": None},
        "methods": {
            "probe": None,
            "broken": {"method": "bitfit", "training": {"learning_rate": 1e38, "clip_norm": None}},
        },
        "study": {"seeds": 1, "floors": False},
    }
    return Study(Plan(study_of(values)), tmp_path / "study")


def test_the_reason_is_told_and_the_runs_have_no_estimate(study):
    found = rehearse(study)
    fine, broken = found["units"]
    assert fine["seconds"] > 0 and fine["not_estimated"] is None
    assert broken["seconds"] is None and "loss" in broken["not_estimated"] and "learning_rate" in broken["not_estimated"]
    said = not_estimated(broken["runs"], broken["not_estimated"])
    assert said.startswith("broken, seed 0: time and memory are not estimated, as training a few batches failed: ")
    page = io.StringIO()
    for part in shown(found):
        Console(file=page, width=200).print(part)
    lines = page.getvalue().splitlines()
    assert any("broken" in line and line.rstrip().endswith("unknown") for line in lines)
    assert any("and what 1 run of unknown time will take, if no run ends early" in line for line in lines)


def test_the_words_of_other_libraries_are_not_told(study, monkeypatch):
    def fails(*given):
        raise ValueError(SECRET)

    monkeypatch.setattr(probe, "_measured", fails)
    seen, forecast = [], Forecast(rows={"all": 24})
    assert measure(study, forecast, seen.append)
    said = [event.text for event in seen if isinstance(event, Finding)]
    assert len(said) == 2 and all(one.endswith("failed: ValueError") for one in said) and SECRET not in str(said)
    assert set(forecast.failed.values()) == {"ValueError"} and not forecast.estimates(ahead(study))
