"""`trunkline distill` as it is typed."""

from __future__ import annotations

import json

import pytest
import yaml
from clitools import invoke, made_up, write_jsonl


@pytest.fixture
def config(tiny_trunk_dir, tmp_path):
    write_jsonl(tmp_path / "texts.jsonl", made_up(60))
    values = {
        "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32"},
        "student": {"layers": [1, 3]},
        "data": {"train": "texts.jsonl", "validation": "20%"},
        "training": {"epochs": 2, "batch_tokens": 256, "precision": "fp32"},
    }
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "student.yaml"


def test_it_shows_the_student_its_losses_and_what_to_do_next(config, tmp_path, monkeypatch):
    result = invoke("distill", config, "--out", tmp_path / "student")
    assert result.exit_code == 0, result.stderr
    assert "blocks 1, 3" in result.stdout and "0 from 0, 1 from 2, 2 from 3" in result.stdout
    assert "epoch 2/2" in result.stderr.replace("\u00a0", " ") and "before training: validation mse" in result.stderr
    assert "fit CONFIG trunk=student" in result.stderr
    again = invoke("distill", config, "--out", tmp_path / "student", "--json")
    assert "already completed" in again.stderr
    assert json.loads(again.stdout) == json.loads((tmp_path / "student" / "result.json").read_text())
    monkeypatch.setattr("trunkline.trunk.speeds.measured", lambda *given, **how: {"torch fp32": 1.0})
    described = invoke("info", tmp_path / "student", "--json")  # as any trunk, not as a run, which has a result.json, too
    assert described.exit_code == 0, described.stderr
    assert (found := json.loads(described.stdout))["layers"] == 2 and found["hidden_size"] == 32
    (tmp_path / "student" / "result.json").unlink()
    unfinished = invoke("info", tmp_path / "student")
    assert unfinished.exit_code == 2 and "this student is not finished; rerun the command that started it" in unfinished.stderr


def test_a_dry_run_writes_nothing(config, tmp_path):
    before = sorted(tmp_path.iterdir())
    result = invoke("distill", config, "training.states=store", "--dry-run", "--json")
    plan = json.loads(result.stdout)
    assert plan["states"]["tokens_to_compute"] == sum(plan["tokens"].values()) and plan["states"]["layers"] == [0, 2, 3]
    assert sorted(tmp_path.iterdir()) == before


def test_the_folder_has_to_be_named(config):
    result = invoke("distill", config)
    assert result.exit_code == 2 and "--out: missing, expected the folder" in result.stderr
