"""The examples of studies resolve, and say what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.data.sources import EMBEDDED
from trunkline.studies.given import study_given

EXAMPLES = sorted((Path(__file__).resolve().parent.parent.parent / "examples" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_of_a_study_resolves_and_says_what_it_shows(path):
    text = path.read_text(encoding="utf-8")
    header = text.split("\ntrunk")[0]
    assert header.startswith("# ") and all(line.startswith("#") for line in header.splitlines())
    assert "minute" in header or "hour" in header, "the header says how long it takes"
    assert all(len(line) <= 128 for line in text.splitlines())
    plan = study_given(path, []).plan
    for run in plan.searches():
        for source in (run.config.data.train, run.config.data.test):
            named = isinstance(source, str)
            assert not named or (EMBEDDED / source.split(":")[0]).is_dir() or Path(source).is_absolute()
