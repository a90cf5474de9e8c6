from __future__ import annotations

import os
from pathlib import Path

import pytest
from clitools import done, made_up, write_jsonl
from tiny import tiny_bert


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Commands run in an empty folder, as a user's would."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tiny_overrides(tmp_path_factory) -> list[str]:
    """What makes any config small and quick: a tiny trunk and a narrow branch."""
    folder = tiny_bert(tmp_path_factory.mktemp("cli-trunk") / "tiny-bert")
    small = ["method.dim=16", "method.heads=2", "training.epochs=3", "training.learning_rate=0.01", "training.batch_tokens=256"]
    return [f"trunk.name={folder}", "trunk.dtype=fp32", "trunk.device=cpu", *small]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_overrides) -> Path:
    """A finished run with the branches mood (sequence), score (regression), topics (multilabel) and city (token)."""
    home = tmp_path_factory.mktemp("trained")
    write_jsonl(home / "rows.jsonl", made_up(300))
    (home / "rows.yaml").write_text(
        "data: {train: rows.jsonl, validation: 20%, test: 20%}\n"
        "tasks:\n"
        "  mood: {kind: sequence, label: mood}\n"
        "  score: {kind: regression, target: score}\n"
        "  topics: {kind: multilabel, labels: topics}\n"
        "  city: {kind: token, spans: spans}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
        done("fit", home / "rows.yaml", *tiny_overrides, "training.epochs=8", "--run-dir", home / "run")
    return home / "run"


@pytest.fixture
def environment(tmp_path_factory) -> dict[str, str]:
    """For a process of its own: one thread, no hub."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
