"""The examples of attaching while a model generates run, in a small form."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ways", "told"), [("attach_while_generating", 3, "intent:"), ("probe_while_generating", 4, "intent so far")]
)
def test_an_example_proves_that_outputs_are_identical(name, ways, told, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))  # as Python does for a script that it runs
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](tmp_path, steps=3, epochs=1, rows=300)
    said = capsys.readouterr().out
    assert said.count("outputs with branches are identical") == ways and said.count(told) >= 3
