"""Branches as one ONNX graph: it answers as Trunkline does, without torch, by onnxruntime and by OpenVINO."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxtools
import pytest
from everykind import every_kind
from onnxtools import METHODS, TEXTS, trunk_of, write_branch, write_tuned
from tiny_zoo import MODELS

from trunkline.data.columns import clean
from trunkline.errors import BadInput, TrunklineError
from trunkline.export.onnx import export_onnx
from trunkline.export.onnx.checking import other_texts
from trunkline.export.onnx.predict import Graph, made_one
from trunkline.export.onnx.quantising import calibration, quantise, without_copies
from trunkline.export.onnx.together import open_together
from trunkline.model.bundle import Bundle

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DOCS = Path(__file__).resolve().parents[2] / "docs"
# No torch, no transformers and no Trunkline: importing any of them is an error.
WITHOUT_TORCH = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "trunkline")))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="module")
def folders(zoo, tmp_path_factory) -> list[Path]:
    """Branches of every kind on one trunk, by several methods."""
    home = tmp_path_factory.mktemp("branches")
    return [write_branch(trunk_of(zoo, "bert"), home, task) for task in METHODS]


@pytest.fixture(scope="module")
def exported(folders, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    made = export_onnx(folders, folder, texts=TEXTS)
    assert not made.findings and made.dtype == "fp32"
    assert {name: one.same for name, one in made.agreement.items()} == dict.fromkeys(METHODS, len(TEXTS) + 1)
    return folder


def alike(found: dict, expected: dict) -> None:
    """The answers of predict.py against those of `Bundle.predict_written`."""
    assert list(found) == list(expected)
    for name, own in expected.items():
        if "spans" in own:
            keys = ("start", "end", "label", "text")
            assert [[s[k] for k in keys] for s in found[name]["spans"]] == [[s[k] for k in keys] for s in own["spans"]], name
            if name != "chained":
                assert [s["score"] for s in found[name]["spans"]] == pytest.approx([s["score"] for s in own["spans"]], abs=1e-4)
        elif "value" in own:
            assert found[name]["value"] == pytest.approx(own["value"], abs=1e-3)
        else:
            main = "label" if "label" in own else "labels"
            assert found[name][main] == own[main], name
            assert found[name]["scores"] == pytest.approx(own["scores"], abs=1e-4)


def test_the_script_answers_as_trunkline_does_without_torch(exported, folders):
    texts = [*TEXTS, "bad\udcff bytes in PARIS"]  # as Python has an argument that is no UTF-8
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_TORCH, exported / "predict.py", *texts], capture_output=True, text=True, check=True
    )
    expected = Bundle.open(folders, device="cpu").predict_written([*TEXTS, clean(texts[-1])])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for one, other in zip(found, expected, strict=True):
        alike(one, other)
    assert len({one["mood"]["label"] for one in found}) > 1 and any(one["slots"]["spans"] for one in found)
    assert any(one["chained"]["spans"] for one in found) and len({tuple(one["topics"]["labels"]) for one in found}) > 1


def by_script(folder, monkeypatch, *texts):
    monkeypatch.setattr(sys, "argv", ["predict.py", *texts])
    runpy.run_path(str(folder / "predict.py"), run_name="__main__")


def test_without_a_text_there_is_no_answer(exported, monkeypatch):
    assert Graph(exported).predict([]) == []
    with pytest.raises(SystemExit, match=r"^usage: python .*predict.py TEXT\.\.\.$"):
        by_script(exported, monkeypatch)
    with pytest.raises(ValueError, match=r"^pairs: found second texts, expected none"):
        Graph(exported).predict(["a"], ["b"])


def test_an_answer_does_not_depend_on_the_texts_beside_it(exported):
    graph = Graph(exported)
    for text, together in zip(TEXTS, graph.predict(TEXTS), strict=True):
        alike(graph.predict([text])[0], together)


def test_openvino_gives_the_same_logits(exported):
    openvino = pytest.importorskip("openvino")
    graph = Graph(exported)
    model = openvino.Core().compile_model(exported / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for some in (TEXTS, TEXTS[2:3]):
        read, expected = graph.logits(some)
        inputs = {"input_ids": [one.ids for one in read], "attention_mask": [one.attention_mask for one in read]}
        found = model({name: np.array(value, np.int64) for name, value in inputs.items()})
        for name, own in zip(METHODS, expected, strict=True):
            np.testing.assert_allclose(found[name], own, rtol=1e-4, atol=1e-4)


def test_the_page_shows_the_script_that_is_written(exported):
    script = (exported / "predict.py").read_text("utf-8")
    assert f"```python\n{script}```" in (DOCS / "onnx.md").read_text("utf-8")


def test_what_is_written_tells_labels_and_no_paths(exported, zoo):
    assert {file.name for file in exported.iterdir()} >= {
        "model.onnx", "decoding.json", "tokenizer.json", "tokenizer_config.json", "predict.py", "README.md"
    }  # fmt: skip
    assert not [file for file in exported.iterdir() if str(zoo("bert")).encode() in file.read_bytes()]
    about = json.loads((exported / "decoding.json").read_text())
    assert (about["max_length"], about["inputs"], about["dtype"]) == (60, ["input_ids", "attention_mask"], "fp32")
    assert list(about["tasks"]) == list(METHODS) and about["tasks"]["topics"]["thresholds"] == [0.3, 0.5, 0.8]
    assert about["tasks"]["mood"]["temperature"] == 1.7 and about["tasks"]["flag"]["temperature"] == 1.0
    outputs = {one.name: len(one.type.tensor_type.shape.dim) for one in onnx.load(exported / "model.onnx").graph.output}
    assert outputs == {name: 3 if name in ("slots", "chained") else 2 for name in METHODS}
    assert "## `mood`: task" in (exported / "README.md").read_text()


def test_nodes_read_weights_themselves_and_not_copies_of_them():
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    def kind(name):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 2])

    wired = [
        ("Identity", ["w"], "once"),
        ("Identity", ["once"], "twice"),
        ("MatMul", ["x", "twice"], "first"),
        ("Identity", ["first"], "same"),  # of what is computed: it stays
        ("MatMul", ["same", "once"], "y"),
        ("Identity", ["w"], "answer"),  # an answer of the graph keeps its name
    ]
    nodes = [helper.make_node(op, inputs, [output]) for op, inputs, output in wired]
    weight = np.array([[1.0, 2.0], [3.0, 5.0]], dtype=np.float32)
    answers = [kind("y"), kind("answer")]
    graph = helper.make_graph(nodes, "copies", [kind("x")], answers, [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph)
    text = {"x": np.array([[1.0, -1.0], [0.5, 2.0]], dtype=np.float32)}
    before = ReferenceEvaluator(model).run(None, text)
    kept = without_copies(list(model.graph.node), model.graph)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    assert [(one.op_type, *one.input) for one in kept] == [
        ("MatMul", "x", "w"), ("Identity", "first"), ("MatMul", "same", "w"), ("Identity", "w")
    ]  # fmt: skip
    for found, expected in zip(ReferenceEvaluator(model).run(None, text), before, strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.slow
def test_int8_quantises_the_trunk_and_leaves_the_branches(exported, folders, tmp_path):
    pytest.importorskip("nncf")
    graph = tmp_path / "model.onnx"
    shutil.copy(exported / "model.onnx", graph)
    quantise(graph, calibration(open_together(folders[:1]), other_texts(False, TEXTS)))
    kinds: dict[bool, list] = {True: [], False: []}
    made = onnx.load(graph).graph
    for node in made.node:
        if node.op_type in ("MatMul", "Gemm"):
            source = next((one for one in made.node if node.input[1] in one.output), None)
            kinds[node.name.startswith("/model/")].append(source is not None and source.op_type == "DequantizeLinear")
    assert sum(kinds[True]) >= 18 and kinds[False] and not any(kinds[False])  # six maps in each of three blocks
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_an_export_in_int8_says_how_many_answers_stay(folders, tmp_path):
    made = export_onnx(folders, tmp_path / "out", dtype="int8", texts=TEXTS)
    assert len(made.findings) == len(METHODS) and "sample texts get the same answer in int8 as in fp32" in made.findings[0]
    agreement = json.loads((tmp_path / "out" / "decoding.json").read_text())["agreement"]
    assert 0 < agreement["mood"]["difference"] < 1 and agreement["mood"]["texts"] == len(TEXTS) + 1


def check_trunk(zoo, tmp_path, name, stack):
    trunk = trunk_of(zoo, name, stack)
    folders = [write_branch(trunk, tmp_path, task) for task in ("mood", "slots")]
    export_onnx(folders, tmp_path / "out", texts=TEXTS)
    bundle = Bundle.open(folders, device="cpu")
    for one, other in zip(Graph(tmp_path / "out").predict(TEXTS), bundle.predict_written(TEXTS), strict=True):
        for task in one:
            assert one[task].get("label") == other[task].get("label")
            spans = ([(s["start"], s["end"], s["label"]) for s in own[task].get("spans", ())] for own in (one, other))
            assert next(spans) == next(spans)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stack"), [(n, s) for n in MODELS for s in (("encoder", "decoder") if "bart" in n or n == "t5" else ("encoder",))]
)
def test_every_architecture_becomes_a_graph(zoo, tmp_path, name, stack):
    check_trunk(zoo, tmp_path, name, stack)


def test_pairs_have_token_types_and_need_second_texts(zoo, tmp_path, monkeypatch, capsys):
    trunk = trunk_of(zoo, "bert")
    folders = [write_branch(trunk, tmp_path, task, text_pair="second") for task in ("mood", "slots")]
    assert export_onnx(folders, tmp_path / "out", texts=[*TEXTS, "bad \ud83d"]).pairs
    graph = Graph(tmp_path / "out")
    assert graph.about["inputs"] == ["input_ids", "attention_mask", "token_type_ids"] and graph.about["pairs"]
    found, expected = graph.predict(TEXTS, TEXTS[::-1]), Bundle.open(folders, device="cpu").predict_written(TEXTS, TEXTS[::-1])
    for one, other in zip(found, expected, strict=True):
        alike(one, other)
    by_script(tmp_path / "out", monkeypatch, TEXTS[0], TEXTS[-1], TEXTS[1], TEXTS[-2])
    for line, other in zip(capsys.readouterr().out.splitlines(), expected[:2], strict=True):
        alike(json.loads(line), other)
    for given in ((), TEXTS[:1], TEXTS[:3]):
        with pytest.raises(SystemExit, match=r"^usage: python .*predict.py TEXT SECOND_TEXT\.\.\.$"):
            by_script(tmp_path / "out", monkeypatch, *given)
    with pytest.raises(ValueError, match=r"^pairs: found none, expected the second text of each"):
        graph.predict(TEXTS)
    assert '.predict(["a text"], ["its second text"])' in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "precision"), [("lora", "bf16"), ("full", "fp32"), ("adapter", "fp32")])
def test_a_changed_trunk_is_exported_with_its_branch(zoo, tmp_path, method, precision):
    folder = write_tuned(zoo, tmp_path, method, precision)
    made = export_onnx(folder, tmp_path / "out", texts=TEXTS)
    answers = Bundle.open(folder, device="cpu").predict_written(TEXTS)
    found = [one["mood"]["label"] for one in Graph(tmp_path / "out").predict(TEXTS)]
    assert sum(one == other["mood"]["label"] for one, other in zip(found, answers, strict=True)) >= 4
    assert made.agreement["mood"].trained_in == (None if precision == "fp32" else "bf16")
    if precision == "bf16":
        assert made.findings == [
            f"'mood' was trained on states in bf16, and the graph computes in fp32: {made.agreement['mood'].own_same} of 5 "
            "sample texts get the same answer."
        ]


@pytest.mark.slow
def test_a_side_branch_on_bf16_states_tells_how_many_answers_stay(zoo, tmp_path):
    trunk = trunk_of(zoo, "bert", dtype="bf16")
    folders = [write_branch(trunk, tmp_path, task, precision="bf16") for task in ("mood", "stars")]
    made = export_onnx(folders, tmp_path / "out", texts=TEXTS)
    assert made.agreement["mood"].trained_in == "bf16" and made.agreement["mood"].own_texts == 5
    own = Bundle.open(folders, device="cpu").predict_written(TEXTS)
    found = Graph(tmp_path / "out").predict(TEXTS)
    same = sum(one["mood"]["label"] == other["mood"]["label"] for one, other in zip(found, own, strict=True))
    assert made.agreement["mood"].own_same == same >= 4 and len(made.findings) == 2


def refused(paths, out, **options) -> str:
    with pytest.raises(BadInput) as caught:
        export_onnx(paths, out, **options)
    assert not out.exists()
    return str(caught.value)


def test_what_is_not_one_graph_is_refused_with_the_reason(zoo, folders, tmp_path, monkeypatch):
    trunk, other, out = trunk_of(zoo, "bert"), trunk_of(zoo, "electra"), tmp_path / "out"
    own = folders[0]
    shorter = write_branch(trunk, tmp_path / "a", "flag", max_length=20)
    assert f"{shorter}: reads at most 20 tokens of a text, and {own} 60" in refused([own, shorter], out)
    pair = write_branch(trunk, tmp_path / "b", "flag", text_pair="second")
    assert f"{pair}: reads pairs, and {own} single texts" in refused([own, pair], out)
    foreign = write_branch(other, tmp_path / "c", "flag")
    assert f"{foreign}: belongs to the encoder of trunk" in refused([own, foreign], out)
    tuned = write_tuned(zoo, tmp_path / "d", "bitfit")
    assert "reads a trunk that bitfit has changed" in refused([own, tuned], out)
    prefix = write_tuned(zoo, tmp_path / "e", "prefix", virtual_tokens=2)
    assert "method prefix: cannot be merged into the trunk's weights" in refused(prefix, out)
    named = write_branch(trunk, tmp_path / "f", "flag", name="input_ids")
    assert "task 'input_ids': the graph has an input of that name" in refused(named, out)
    assert "did you mean 'int8'" in refused(own, out, dtype="int9")
    assert "no branch given" in refused([], out)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "onnx and onnxruntime is not installed; install it with pip install 'trunkline[onnx]'" in refused(own, out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(BadInput, match="is not empty"):
        export_onnx(own, tmp_path / "full")


def test_a_graph_that_answers_differently_is_not_written(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.branches.dense.MASKED", -1.0)  # padding takes part in attention
    with pytest.raises(TrunklineError, match=r"task 'mood': its logits .* differ from torch's by more than 0.0001"):
        export_onnx(folders[0], tmp_path / "out", texts=TEXTS)
    assert not list(tmp_path.iterdir())


def test_windows_are_made_one_as_the_task_says():
    x = np.array([[1.0, 5.0], [3.0, 4.0], [2.0, 9.0]], np.float32)
    assert made_one(x, [2, 1], None).tolist() == [[1, 5], [2, 9]]
    assert made_one(x, [2, 1], "mean").tolist() == [[2, 4.5], [2, 9]]
    assert made_one(x, [2, 1], "max").tolist() == [[3, 5], [2, 9]]


@pytest.mark.slow
def test_a_graph_whose_tasks_read_windows_answers_as_trunkline_does(zoo, tmp_path, monkeypatch):
    """`compare` holds its logits and answers against torch's; here against those of a bundle."""
    trunk, ways = trunk_of(zoo, "bert"), {"mood": "mean", "topics": "max", "flag": "first", "slots": None}
    folders = []
    for task, way in ways.items():
        own = every_kind()[task]
        if way is not None:
            own = type(own)(task, own.config.model_copy(update={"long_texts": way}), own.labels, own.learned)
        monkeypatch.setattr(onnxtools, "every_kind", lambda task=task, own=own: {task: own})
        folders.append(write_branch(trunk, tmp_path, task, max_length=14))
    export_onnx(folders, tmp_path / "out", texts=TEXTS)
    about = json.loads((tmp_path / "out" / "decoding.json").read_text())
    assert about["format"] == 2 and about["overlap"] == 3
    assert [task.get("windows") for task in about["tasks"].values()] == ["mean", "max", None, None]
    long = " ".join(TEXTS * 3)
    bundle, graph = Bundle.open(folders, trunk=trunk), Graph(tmp_path / "out")
    for one, expected in zip(graph.predict([TEXTS[0], long]), bundle.predict_written([TEXTS[0], long]), strict=True):
        text_level = [name for name in ways if name != "slots"]  # words that a graph cuts off, Trunkline reads
        alike({name: one[name] for name in text_level}, {name: expected[name] for name in text_level})
    monkeypatch.setattr(trunk.tokenizer, "truncation_side", "left")
    with pytest.raises(BadInput, match=r"its tokenizer divides texts from their end; expected one with truncation_side right"):
        export_onnx(folders, tmp_path / "left", trunk=trunk)
