"""Branches of single layers, trained in one go, are those of runs of their own."""

from __future__ import annotations

import json

import pytest
import yaml
from synthetic import config, write_rows

from trunkline.branches.adalayers import AdaLayersConfig
from trunkline.branches.probe import ProbeConfig
from trunkline.errors import BadInput
from trunkline.events import BatchEnded
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.single_layers import fit_single_layers, single_layer_of


@pytest.fixture(scope="module")
def run(tiny_trunk_dir, tmp_path_factory):
    """The config of a run without dropout, and its directory."""
    folder = tmp_path_factory.mktemp("single")
    values = config(tiny_trunk_dir, write_rows(folder / "rows.jsonl", 150), tasks=("topics",), epochs=3)
    values["method"]["dropout"] = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(folder / "cache"))
        fit(values, run_dir=folder / "run", progress=False)
    return values, folder / "run"


def test_each_layer_has_the_scores_of_a_run_that_reads_it_alone(run, tmp_path):
    values, path = run
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    batches = []
    found = fit_single_layers(path, "topics", lambda event: batches.append(event) if isinstance(event, BatchEnded) else None)
    assert list(found.scores) == [0, 1, 2, 3] and found.metric == "f1_micro"
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    alone = fit(
        values | {"method": _single(values, 2)},
        run_dir=tmp_path / "alone",
        progress=False,
    )
    expected = alone.summary["tasks"]["topics"]
    for split in ("validation", "test"):
        for metric in ("loss", "f1_micro", "average_precision", "nll"):
            assert found.scores[2][split][metric] == pytest.approx(expected[split][metric], rel=1e-3), (split, metric)
    assert found.parameters == alone.cost["trained_parameters"]["topics"]
    # All layers were trained by the same batches: an epoch was read once, not once for each.
    assert len(batches) == sum(entry["step"] for entry in alone.summary["history"][-1:])
    scores = {layer: own["validation"]["f1_micro"] for layer, own in found.scores.items()}
    assert scores[found.chosen] == max(scores.values())


def _single(values, layer):
    kept = {key: value for key, value in values["method"].items() if key not in ("name", "alpha")}
    return {"name": "single_layer", "layer": layer, **kept}


def test_a_single_layer_has_the_head_of_the_branch_or_the_default_one():
    own = single_layer_of(AdaLayersConfig(dim=24, heads=3, alpha=2.0, linear=False), 5)
    assert (own.layer, own.dim, own.heads, own.linear) == (5, 24, 3, False)
    assert single_layer_of(ProbeConfig(), 2) == single_layer_of(AdaLayersConfig(), 2)


def test_a_run_whose_data_have_changed_or_that_changes_its_trunk_has_none(run, tmp_path):
    values, path = run
    config_file = yaml.safe_load((path / "config.yaml").read_text())
    result = json.loads((path / "result.json").read_text())

    def refused(**changes):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config_file | changes))
        (tmp_path / "result.json").write_text(json.dumps(result))
        with pytest.raises(BadInput) as error:
            fit_single_layers(tmp_path, "topics")
        return str(error.value)

    other = write_rows(tmp_path / "rows.jsonl", 150, seed=5)
    changed = {"data": config_file["data"] | {"train": str(other)}}
    assert "train data have changed since it was trained" in refused(**changed)
    lora = resolve(values | {"method": {"name": "lora"}}).as_dict()
    assert "its method, lora, changes the trunk" in refused(method=lora["method"])
    with pytest.raises(BadInput, match="not a run"):
        fit_single_layers(tmp_path / "nowhere", "topics")
