"""The name of a branch becomes a folder's: it is one wherever it comes from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from trunkline.errors import BadInput
from trunkline.model.branch import load_branch, save_branch

BRANCH = Path(__file__).parents[1] / "saved" / "runs" / "probe" / "branches" / "mood"


@pytest.mark.parametrize("name", ["/abs/victim", "../mood", "", None, 7, "a\n", "[/b]"])
def test_a_name_that_is_none_is_refused_at_load_and_at_save(name, tmp_path):
    path = shutil.copytree(BRANCH, tmp_path / "branch")
    described = json.loads((path / "branch.json").read_text())
    (path / "branch.json").write_text(json.dumps({**described, "name": name}))
    with pytest.raises(BadInput, match=r"branch.json: .*name.*: found"):
        load_branch(path)
    with pytest.raises(BadInput, match="task: found"):
        save_branch(SimpleNamespace(task=SimpleNamespace(name=name)), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
