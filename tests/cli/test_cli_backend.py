"""`--backend`: the same branches answered from a compiled trunk."""

import json

import pytest
from clitools import done, fails, made_up, write_jsonl

from trunkline.states.live import LiveStates
from trunkline.trunk.compiled import CompiledTrunk

pytest.importorskip("onnxruntime")


@pytest.fixture
def passes(monkeypatch):
    """What computed each pass."""
    seen, feed, run = [], LiveStates.feed, CompiledTrunk.run
    monkeypatch.setattr(LiveStates, "feed", lambda self, *given: seen.append("pass") or feed(self, *given))
    monkeypatch.setattr(CompiledTrunk, "run", lambda self, *given: seen.append(self.name) or run(self, *given))
    return seen


def test_predict_and_evaluate_run_on_the_backend_that_is_named(trained, tmp_path, passes):
    data = write_jsonl(tmp_path / "new.jsonl", made_up(12, seed=3))
    plain = [json.loads(line)["mood"]["label"] for line in done("predict", trained, "-i", data).stdout.splitlines()]
    assert "onnx" not in passes
    rows = [json.loads(line) for line in done("predict", trained, "-i", data, "--backend", "onnx").stdout.splitlines()]
    assert [row["mood"]["label"] for row in rows] == plain
    assert "onnx" in passes
    passes.clear()
    expected = json.loads(done("evaluate", trained, data, "--json").stdout)
    found = json.loads(done("evaluate", trained, data, "--json", "--backend", "onnx").stdout)
    assert passes.count("onnx") == passes.count("pass") // 2 > 0
    assert found["tasks"]["mood"]["metrics"]["accuracy"] == expected["tasks"]["mood"]["metrics"]["accuracy"]


def test_an_unknown_backend_is_named(trained):
    assert "did you mean 'onnx'" in fails(2, "predict", trained, "--text", "a", "--backend", "onx")


def test_another_precision_has_to_be_allowed_and_is_reported(trained, tmp_path):
    data = write_jsonl(tmp_path / "new.jsonl", made_up(60, seed=3))
    for command in ("predict", "evaluate"):
        given = [trained, "-i", data] if command == "predict" else [trained, data]
        assert "--allow-precision-change" in fails(2, command, *given, "--dtype", "bf16")
        told = done(command, *given, "--dtype", "bf16", "--allow-precision-change", "--json")
        findings = json.loads(told.stdout)["findings"]
        assert any(
            "mood was trained on fp32 (torch) and answers from bf16 (torch): on 60 of the given texts" in f for f in findings
        )
        assert findings[0] in told.stderr
