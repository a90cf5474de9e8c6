"""Runs on a compiled trunk: what is trained on, saved, and answered from."""

from __future__ import annotations

import json

import pytest
import torch

from trunkline import fit
from trunkline.errors import BadInput
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

ROWS = [{"text": text, "label": label} for text, label in (("a good film", "good"), ("a bad film", "bad")) for _ in range(20)]
ROWS += [{"text": f"very {row['text']}", "label": row["label"]} for row in ROWS]
TEXTS = ["a good film", "very sad and awful", "film"]


@pytest.fixture
def config(tmp_path, tiny_trunk_dir):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def made(trunk, **training):
        return {
            "trunk": {"name": str(tiny_trunk_dir), "device": "cpu", **trunk},
            "data": {"train": str(file), "validation": "20%"},
            "tasks": {"mood": {"kind": "sequence", "label": "label"}},
            "method": {"name": "adalayers", "dim": 8, "alpha": 4},
            "training": {"epochs": 6, "learning_rate": 0.02, "batch_size": 16, "states_dtype": "fp32", **training},
        }

    return made


def scores(bundle):
    return torch.tensor(bundle.predict_proba(TEXTS)["mood"])


def test_a_branch_trained_on_a_backend_answers_from_torch_too(config, tmp_path):
    plain = fit(config({"dtype": "fp32"}), run_dir=tmp_path / "torch")
    compiled = fit(config({"backend": "onnx"}), run_dir=tmp_path / "onnx")
    found, expected = (run.tasks["mood"]["validation"] for run in (compiled, plain))
    assert found["accuracy"] == expected["accuracy"]
    assert found["nll"] == pytest.approx(expected["nll"], rel=1e-3)
    described = json.loads((tmp_path / "onnx/branches/mood/branch.json").read_text())["trunk"]
    assert (described["backend"], described["dtype"]) == ("onnx", "fp32")
    assert "backend" not in json.loads((tmp_path / "torch/branches/mood/branch.json").read_text())["trunk"]
    own, other = Bundle.open(tmp_path / "onnx"), Bundle.open(tmp_path / "onnx", backend="torch")
    assert (own.trunk.backend, other.trunk.backend) == ("onnx", "torch")
    torch.testing.assert_close(scores(own), scores(other), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores(own), scores(Bundle.open(tmp_path / "torch", backend="openvino")), atol=1e-3, rtol=1e-3)


def test_a_branch_trained_in_int8_keeps_its_calibration_and_is_answered_in_it(config, tmp_path):
    first = fit(config({"backend": "openvino", "dtype": "int8"}), run_dir=tmp_path / "first")
    branch = load_branch(tmp_path / "first/branches/mood")
    assert branch.trunk.ranges
    assert all(low < high for low, high in branch.trunk.ranges.values())
    bundle = Bundle.open(tmp_path / "first")
    assert bundle.trunk.precision == branch.trunk.precision
    evaluated = bundle.score([row["text"] for row in ROWS], [row["label"] for row in ROWS])
    assert evaluated["accuracy"] >= 0.9 <= first.tasks["mood"]["validation"]["accuracy"]
    # One more task on the same calibration rides on the same pass; on one of its own it does not.
    same = config({"backend": "openvino", "dtype": "int8", "calibration": str(tmp_path / "first")}, seed=1)
    fit(same, run_dir=tmp_path / "same")
    fit(config({"backend": "openvino", "dtype": "int8"}, seed=1), run_dir=tmp_path / "other")
    together = Bundle.open([tmp_path / "first", tmp_path / "same", tmp_path / "other"])
    assert sorted(len(one.branches) for one in together._plan.passes) == [1, 2]
    alone = Bundle.open(tmp_path / "same")
    torch.testing.assert_close(scores(alone), torch.tensor(together.predict_proba(TEXTS)["same/mood"]), atol=1e-5, rtol=1e-5)


def test_a_precision_that_a_backend_does_not_have_is_named(config, tmp_path):
    fit(config({"dtype": "bf16"}, epochs=1), run_dir=tmp_path / "run")
    with pytest.raises(BadInput, match=r"mood was trained on states in bf16, which backend onnx does not have \(it has fp32\)"):
        Bundle.open(tmp_path / "run", backend="onnx")


def test_the_backend_is_part_of_what_a_run_is(config, tmp_path):
    fit(config({"dtype": "fp32"}), run_dir=tmp_path / "run")
    with pytest.raises(BadInput, match="another"):
        fit(config({"dtype": "fp32", "backend": "onnx"}), run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("trunk", "method", "message"),
    [
        ({"dtype": "int8"}, None, "int8 needs a backend"),
        ({"backend": "tvm"}, None, "torch, onnx, openvino"),
        ({"backend": "openvino", "calibration": "runs/x"}, None, "calibration is for dtype: int8"),
        ({"backend": "openvino"}, {"name": "bitfit"}, "trunk.backend: found openvino.*torch, as bitfit changes the trunk"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_before_work_starts(config, tmp_path, trunk, method, message):
    given = config(trunk)
    given["method"] = method or given["method"]
    with pytest.raises(BadInput, match=message):
        fit(given, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_calibration_is_that_of_a_branch_in_int8(config, tmp_path):
    fit(config({"dtype": "fp32"}), run_dir=tmp_path / "plain")
    given = config({"backend": "openvino", "dtype": "int8", "calibration": str(tmp_path / "plain")})
    with pytest.raises(BadInput, match=r"trunk.calibration: found .*not trained in int8"):
        fit(given, run_dir=tmp_path / "run")
