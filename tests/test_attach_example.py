"""The example of attaching while a model generates runs, in a small form."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "attach_while_generating.py"


@pytest.mark.slow
def test_the_example_proves_that_outputs_are_identical(tmp_path, capsys):
    runpy.run_path(str(EXAMPLE))["main"](tmp_path, steps=3, epochs=1, rows=300)
    said = capsys.readouterr().out
    assert said.count("outputs with branches are identical") == 3 and said.count("intent:") == 4
