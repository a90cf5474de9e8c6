"""`trunkline export --format onnx`: several branches, where it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clitools import done, fails
from onnxtools import trunk_of, write_branch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(zoo, tmp_path_factory) -> Path:
    """A run's folder with two branches."""
    home = tmp_path_factory.mktemp("run")
    for task in ("mood", "stars"):
        write_branch(trunk_of(zoo, "bert"), home / "branches", task)
    return home


@pytest.fixture
def few(monkeypatch):
    """Compare on few texts."""
    monkeypatch.setattr("trunkline.export.onnx.checking.TEXTS", 4)


@pytest.mark.slow
def test_a_run_becomes_one_graph(run, few):
    facts = json.loads(done("export", run, "--format", "onnx", "--output", "all", "--json").stdout)
    assert facts["format"] == "onnx" and facts["tasks"] == {"mood": "sequence", "stars": "regression"}
    assert facts["dtype"] == "fp32" and facts["findings"] == [] and facts["agreement"]["mood"]["same"] == 5
    assert {"model.onnx", "decoding.json", "predict.py"} <= set(facts["files"]) and facts["bytes"] > 100_000
    assert "decoding.json" in {file.name for file in Path("all").iterdir()}


@pytest.mark.slow
def test_the_folder_is_the_last_argument_or_onnx(run, few):
    said = done("export", run / "branches" / "mood", "here", "--format", "onnx").stdout
    assert said.startswith("wrote here (") and "mood (sequence); run it with\n    python here/predict.py TEXT...\n" in said
    done("export", run / "branches" / "mood", run / "branches" / "stars", "--format", "onnx")
    assert json.loads(Path("onnx/decoding.json").read_text())["tasks"].keys() == {"mood", "stars"}


def test_what_does_not_fit_the_format_is_one_sentence(run):
    mood, stars = run / "branches" / "mood", run / "branches" / "stars"
    assert "--dtype int8 was given without --format onnx" in fails(2, "export", mood, "out", "--dtype", "int8")
    assert "found 2 branches, expected one" in fails(2, "export", mood, stars, "out")
    assert "--merge was given with --format onnx" in fails(2, "export", mood, "out", "--format", "onnx", "--merge")
    assert "expected BRANCH FOLDER, or --output FOLDER" in fails(2, "export", mood)
    assert "or --format onnx" in fails(2, "export", mood, "out")
    Path("full").mkdir()
    Path("full/mine.txt").touch()
    assert "full: is not empty" in fails(2, "export", mood, "full", "--format", "onnx")
    assert [path.name for path in Path().iterdir()] == ["full"]
