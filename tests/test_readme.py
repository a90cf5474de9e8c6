"""What the pages show can be done as shown: the configs resolve, the commands parse, the Python runs."""

from __future__ import annotations

import json
import random
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

import trunkline
from trunkline.cli import app
from trunkline.studies.config import study_of
from trunkline.studies.plan import Plan
from trunkline.studies.sweep.config import sweep_of
from trunkline.training.config import resolve
from trunkline.training.distillation.config import resolve_distillation

ROOT = Path(__file__).resolve().parent.parent
OVERVIEW = ROOT / "docs" / "overview.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}(?: title=[^\n]*)?\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


CONFIGS = [(page, text) for page in PAGES for text in blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "text"), CONFIGS, ids=[page.name for page, _ in CONFIGS])
def test_configs_resolve(page, text):
    values = yaml.safe_load(text)
    if "student" in values:
        assert resolve_distillation(values, page.name).losses.given()
        return
    if "methods" in values:
        assert Plan(study_of(values)).total() > len(values["methods"])
        return
    if "sweep" in values:
        assert sweep_of(values).section.space
        del values["sweep"]
    if "data" not in values:  # a section alone
        return
    resolved = resolve(values, page.name)
    assert set(resolved.tasks) == set(values["tasks"])


def commands() -> list[tuple[str, str]]:
    found = {}
    for page in PAGES:
        for line in re.findall(
            r"^(?: {4}|)(trunkline [a-z].*)$|`(trunkline [a-z][^`]*)`", page.read_text(encoding="utf-8"), re.M
        ):
            command = (line[0] or line[1]).split("  #")[0].split(" > ")[0].split(" | ")[0].strip()
            found[command] = page.name
    return sorted((page, command) for command, page in found.items())


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_parse(page, command):
    words = [word for word in shlex.split(command)[1:] if word != "..."]
    group: Any = typer.main.get_command(app)
    with typer.Context(group) as context:
        while isinstance(group, TyperGroup):
            name = words.pop(0)
            group = group.get_command(context, name)
            assert group is not None, f"{page}: {command}: no command {name}"
            if not words:  # a command that is only named
                return
        group.make_context(name, words)  # parses and checks; runs nothing


def test_the_config_of_the_demo_is_the_one_that_is_shown():
    demo = yaml.safe_load((ROOT / "src/trunkline/cli/demo.yaml").read_text())
    shown = [yaml.safe_load(text) for page, text in CONFIGS if page.name == "config.md" and "snips" in text]
    assert shown == [demo]


@pytest.fixture
def small_data(tmp_path) -> Path:
    """Two intents that a random trunk can tell apart."""
    path, draw = tmp_path / "small.jsonl", random.Random(0)
    rows = []
    for _ in range(120):
        label, words = draw.choice([("PlayMusic", "play song music list"), ("BookRestaurant", "book table two paris")])
        rows.append({"text": " ".join(draw.choices(words.split(), k=5)), "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_python_of_the_overview_runs(tiny_trunk_dir, small_data, tmp_path, monkeypatch, capsys):
    """Word for word, but for a tiny trunk, a small file and small batches."""
    (code,) = blocks(OVERVIEW, "python")
    real, seen = trunkline.fit, {}

    def fit(config, **options):
        seen["config"] = config
        resolve(config)  # as it stands there
        small = {"data": {"train": str(small_data), "test": str(small_data)}, "trunk": str(tiny_trunk_dir)}
        training = {**config["training"], "batch_tokens": 64, "learning_rate": 0.01}  # steps enough on so few rows
        return real({**config, **small, "training": training}, **options)

    monkeypatch.setattr(trunkline, "fit", fit)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, OVERVIEW.name, "exec"), {})
    accuracy, predictions = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.9
    assert "BookRestaurant" in predictions and "PlayMusic" in predictions
    assert seen["config"]["data"] == {"train": "snips", "test": "snips:test"}


@pytest.mark.slow
@pytest.mark.minilm
def test_the_python_of_the_overview_runs_word_for_word(tmp_path, monkeypatch, capsys):
    (code,) = blocks(OVERVIEW, "python")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, OVERVIEW.name, "exec"), {})
    accuracy, _ = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.9
