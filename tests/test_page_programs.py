"""The Python of the pages compiles; what needs nothing but the embedded data is run. tests/test_snippets.py checks names."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The blocks of docs/architecture.md are lists of signatures, and no programs.
PAGES = [ROOT / "README.md", *sorted(page for page in ROOT.glob("docs/**/*.md") if page.name != "architecture.md")]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FOUND = [(page, number, text) for page in PAGES for number, text in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))]
# By page and number: a program that needs nothing but embedded data, or but numbers -> what it has to print.
RUN = {("docs/overview.md", 0): r"0\.\d+\n\[\{'intent': \{'label': 'PlayMusic'", ("docs/statistics.md", 1): r"\d"}


def name(page: Path, number: int) -> str:
    return f"{page.relative_to(ROOT)}-{number}"


@pytest.mark.parametrize(("page", "number", "text"), FOUND, ids=[name(page, number) for page, number, _ in FOUND])
def test_a_block_compiles(page, number, text):
    compile(text, name(page, number), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_there_are_blocks():
    assert len(FOUND) > 20 and {key for key in RUN} <= {(str(page.relative_to(ROOT)), number) for page, number, _ in FOUND}


@pytest.mark.slow
@pytest.mark.minilm
@pytest.mark.parametrize("key", RUN, ids=lambda key: f"{key[0]}-{key[1]}")
def test_a_block_that_stands_by_itself_runs(key, tmp_path):
    (text,) = [text for page, number, text in FOUND if (str(page.relative_to(ROOT)), number) == key]
    environment = os.environ | {"TRUNKLINE_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(RUN[key], done.stdout), done.stdout
