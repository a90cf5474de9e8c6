"""The example of sounds runs, in a small form."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "audio_sounds.py"


@pytest.mark.slow
def test_the_example_proves_that_outputs_are_identical(tmp_path, capsys):
    runpy.run_path(str(EXAMPLE))["main"](tmp_path, clips=30, epochs=1)
    said = capsys.readouterr().out
    assert "tokens with the branch attached are identical" in said and said.count("while transcribing") == 3
