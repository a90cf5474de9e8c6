"""Every example parses, says what it shows, and runs in a small form: its tasks and method on a tiny trunk and made-up rows."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import yaml
from tiny import WORDS

import trunkline
from trunkline.branches import SideBranch, methods
from trunkline.data.sources import EMBEDDED
from trunkline.training.config import load_config, resolve
from trunkline.training.distillation.config import load_distillation
from trunkline.training.fit import fit

FILES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.yaml"))
DISTILLED = [path for path in FILES if path.stem.startswith("distill")]
EXAMPLES = [path for path in FILES if path not in DISTILLED]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_resolves_and_says_what_it_shows(path):
    config = load_config(path)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(config.tasks) == set(values["tasks"])
    header = path.read_text(encoding="utf-8").split("\ntrunk:")[0]
    assert header.startswith("# ") and all(line.startswith("#") for line in header.splitlines())
    assert "minute" in header or "hour" in header, "the header says how long it takes"
    assert all(len(line) <= 128 for line in path.read_text(encoding="utf-8").splitlines())
    for source in (config.data.train, config.data.test):
        name = source.split(":")[0]
        assert (EMBEDDED / name).is_dir() or Path(source).is_absolute(), f"{source} depends on the working directory"


@pytest.mark.parametrize("path", DISTILLED, ids=lambda path: path.stem)
def test_an_example_of_a_distillation_resolves_and_runs_in_a_small_form(path, tmp_path, tiny_trunk_dir):
    text = path.read_text(encoding="utf-8")
    header = text.split("\ntrunk:")[0]
    assert header.startswith("# ") and all(line.startswith("#") for line in header.splitlines()) and "hour" in header
    config = load_distillation(path)
    assert all(Path(source).is_absolute() or source == "snips" for source in config.data.train)
    values = yaml.safe_load(text)
    rows = made_up_rows({}, 40, 0)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values["trunk"] = {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"}
    values["student"]["layers"] = 2
    values["data"]["train"] = [str(tmp_path / "texts.jsonl")]
    values["training"] |= {"epochs": 1, "batch_tokens": 256}
    result = trunkline.distill(values, out=tmp_path / "student", progress=False)
    assert len(result.history) == 2 and trunkline.load_trunk(result.path).num_layers == 2


def made_up_rows(tasks: dict[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Rows with whatever columns the tasks read, and a text."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        words = draw.choices([word for word in WORDS if len(word) > 1], k=draw.randint(3, 8))
        row: dict[str, Any] = {"text": " ".join(words)}
        for task in tasks.values():
            if task["kind"] == "sequence":
                row[task["label"]] = "abc"[number % 3]
            elif task["kind"] == "multilabel":
                row[task["labels"]] = [label for label in "xyz" if draw.random() < 0.4]
            elif "spans" in task:
                row[task["spans"]] = [{"start": 0, "end": len(words[0]), "label": "uv"[number % 2]}]
            else:
                row[task["tokens"]] = words
                row[task["tags"]] = ["B-" + "uv"[number % 2], *["O"] * (len(words) - 1)]
        rows.append(row)
    return rows


LONG = ("snips_auto", "snips_ladder", "snips_routing")  # of methods whose runs have tests of their own
MARKED = [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else ()) for path in EXAMPLES]


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.stem)
def test_an_example_runs_in_a_small_form(path, tmp_path, tiny_trunk_dir):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for seed, split in enumerate(("train", "validation", "test")):
        with gzip.open(tmp_path / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(
                json.dumps(row) + "\n" for row in made_up_rows(values["tasks"], 60 if split == "train" else 24, seed)
            )
        if isinstance(values["data"][split], str) and not values["data"][split].endswith("%"):
            values["data"][split] = f"{split}.jsonl.gz"
    values["data"].pop("rows", None)  # of the real data
    values["trunk"] = {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"}
    if isinstance(values["method"], str):
        values["method"] = {"name": values["method"]}
    if issubclass(method := methods.get(values["method"]["name"]), SideBranch):
        small = {"dim": 16, "heads": 2, "vectors": 4, "selection_steps": 20}
        values["method"] |= {key: value for key, value in small.items() if key in method.Config.model_fields}
    if "layers" in values["method"]:
        values["method"]["layers"] = "1-3"
    values["training"] |= {"epochs": 1}
    result = fit(resolve(values, path.name, tmp_path), run_dir=tmp_path / "run")
    assert set(result.tasks) == set(values["tasks"])
    for task in result.tasks.values():
        assert task["test"][task["monitor"]] is not None and Path(task["branch"]).is_dir()


def run_notebook() -> dict[str, Any]:
    """The names that the cells of examples/first_hour.ipynb leave, run in order: nbformat 4.5, kept without outputs."""
    notebook = json.loads((EXAMPLES[0].parent / "first_hour.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in codes)
    names: dict[str, Any] = {}
    with matplotlib.rc_context({"backend": "agg"}):
        for cell in codes:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert list(names["run"].tasks) == ["intent", "slots"] and len(names["train"]) == 400
    predicted = names["predicted"]
    right = (predicted["intent"] == predicted["predicted"]).mean()
    assert right == pytest.approx(names["run"].tasks["intent"]["test"]["accuracy"])
    return names


def test_the_notebook_runs_in_a_small_form(tmp_path, tiny_trunk_dir, monkeypatch):
    """Word for word, but for a tiny trunk, one epoch and a small test split."""
    real, small = trunkline.fit, [f"trunk.name={tiny_trunk_dir}", "trunk.dtype=fp32", "training.epochs=1"]

    def fit(frame, *, test, overrides, **options):
        assert "training.epochs=8" in overrides
        return real(frame, test=test, overrides=small, **options)

    monkeypatch.setattr(trunkline, "fit", fit)
    monkeypatch.chdir(tmp_path)
    run_notebook()


@pytest.mark.slow
@pytest.mark.minilm
def test_the_notebook_runs_word_for_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_notebook()
    assert names["run"].tasks["intent"]["test"]["accuracy"] > 0.9 and any(names["predicted"]["slots"])
