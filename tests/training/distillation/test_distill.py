"""A distillation from its config to the trunk that it leaves, and what it refuses."""

from __future__ import annotations

import json
import logging
import shutil

import pandas as pd
import pytest
import torch
from studenttools import resolved, values
from synthetic import config as run_config
from synthetic import write_rows
from transformers import AutoModel, AutoTokenizer

import trunkline
from trunkline.errors import BadInput
from trunkline.events import BatchEnded, EpochEnded, StopRun
from trunkline.training.distillation.data import read_texts
from trunkline.training.distillation.distilling import distill
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 120)


@pytest.fixture
def given(tiny_trunk_dir, rows):
    return values(tiny_trunk_dir, rows)


@pytest.fixture(scope="module")
def done(tiny_trunk_dir, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "student"
    return distill(values(tiny_trunk_dir, rows), out=folder, progress=False)


def test_it_leaves_a_trunk_that_transformers_and_trunkline_load(done, tiny_trunk_dir):
    logging.disable(logging.WARNING)
    model, tokenizer = AutoModel.from_pretrained(done.path).eval(), AutoTokenizer.from_pretrained(done.path)
    logging.disable(logging.NOTSET)
    trunk, teacher = load_trunk(done.path, dtype="fp32"), load_trunk(tiny_trunk_dir, dtype="fp32")
    inputs = tokenizer(["the film was great", "rain"], padding=True, return_tensors="pt")
    states = []
    with torch.no_grad(), trunkline.read_layers(trunk.model, [2], lambda layer, state: states.append(state)):
        trunk.model(**inputs)
        assert torch.equal(model(**inputs).last_hidden_state, states[0])
    ours, theirs = trunk.fingerprint, teacher.fingerprint
    assert (ours.tokenizer, ours.tokenizer_settings) == (theirs.tokenizer, theirs.tokenizer_settings)
    assert ours.weights != theirs.weights and ours.config != theirs.config
    assert done.summary["student"]["fingerprint"]["weights"] == ours.weights
    names = {path.name for path in done.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "result.json", "distillation.yaml"} <= names
    assert "checkpoint" not in names


def test_it_has_learned_and_says_what_was_done(done):
    losses = [entry["validation"]["loss"] for entry in done.history]
    assert len(losses) == 4 and losses[-1] < 0.8 * losses[0]
    summary = json.loads((done.path / "result.json").read_text())
    assert summary == done.summary
    assert summary["student"]["blocks"] == [1, 3] and summary["rows"] == {"train": 96, "validation": 24}
    assert summary["losses"][1] == {"loss": "cosine", "weight": 1.0, "layers": {"2": 3}}
    last = done.history[-1]
    assert last["validation"]["loss"] == pytest.approx(last["validation"]["mse"] + last["validation"]["cosine"], rel=1e-6)


def test_the_losses_that_it_reports_are_those_of_the_trunk_that_it_has_written(done, given, tiny_trunk_dir):
    tokenizer = AutoTokenizer.from_pretrained(done.path)
    ours, theirs = (AutoModel.from_pretrained(path).eval() for path in (done.path, tiny_trunk_dir))
    squares: dict[tuple[int, int], list[float]] = {(0, 0): [], (1, 2): [], (2, 3): []}
    angles: list[float] = []
    for text in read_texts(resolved(given))[0]["validation"].corpus.texts:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            own, other = (model(**inputs, output_hidden_states=True).hidden_states for model in (ours, theirs))
        for (a, b), found in squares.items():
            found += ((own[a] - other[b]) ** 2).flatten().tolist()
        angles += (1 - torch.cosine_similarity(own[2][0], other[3][0], dim=-1)).tolist()
    expected = {"mse": sum(sum(found) / len(found) for found in squares.values()), "cosine": sum(angles) / len(angles)}
    expected["loss"] = expected["mse"] + expected["cosine"]
    assert done.history[-1]["validation"] == pytest.approx(expected, rel=1e-4)


def test_branches_train_on_it_as_on_any_trunk(done, rows, tmp_path):
    run = trunkline.fit(run_config(done.path, rows, tasks=("mood",), epochs=1), run_dir=tmp_path / "run", progress=False)
    described = json.loads((run.branches["mood"] / "branch.json").read_text())
    assert described["trunk"]["num_layers"] == 2 and described["trunk"]["weights"] == load_trunk(done.path).fingerprint.weights


def test_the_same_call_again_returns_the_result_and_another_config_is_refused(done, given):
    told = []
    again = distill(given, out=done.path, progress=False, subscribers=[told.append])
    assert again.summary == done.summary and not any(isinstance(event, BatchEnded) for event in told)
    with pytest.raises(BadInput, match="contains a student of another config"):
        distill(given, out=done.path, overrides={"training.learning_rate": 1e-3}, progress=False)


def test_texts_may_come_from_several_formats_and_from_memory(given, tmp_path, tiny_trunk_dir):
    (tmp_path / "a.csv").write_text("text,label\nthe film was great,1\n,0\nrain,0\n")
    (tmp_path / "b.conll").write_text("play O\nsongs B-x\n\nslow O\n")
    given["data"] = {"train": [str(tmp_path / "a.csv"), str(tmp_path / "b.conll")], "validation": "25%"}
    splits, findings = read_texts(resolved(given))
    found = {text for split in splits.values() for text in split.corpus.texts}
    assert found == {"the film was great", "rain", "play songs", "slow"}
    assert any("1 row has no text" in finding for finding in findings)
    given["data"] = {"train": pd.DataFrame({"text": ["a film", "rain"]}), "validation": [{"text": "sun"}]}
    splits, _ = read_texts(resolved(given))
    assert (splits["train"].corpus.texts, splits["validation"].corpus.texts) == (["a film", "rain"], ["sun"])


def test_fresh_trains_again_and_replaces_nothing_that_others_have_put_there(given, tmp_path):
    given["training"]["epochs"] = 1
    out = tmp_path / "student"
    first = distill(given, out=out, progress=False)
    (out / "notes.txt").write_text("mine")
    other = distill(given, out=out, overrides=["training.seed=1"], fresh=True, progress=False)
    assert other.summary["identity"] != first.summary["identity"] and (out / "notes.txt").read_text() == "mine"
    (out / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"config\.json: not as this distillation has written it"):
        distill(given, out=out, overrides=["training.seed=1"], progress=False)
    with pytest.raises(BadInput, match=r"found 'config\.json', which was not written by this distillation"):
        distill(given, out=out, fresh=True, progress=False)
    assert (out / "config.json").read_text() == "{}" and (out / "result.json").exists()


def test_a_file_that_was_put_in_the_way_meanwhile_is_left_alone(given, tmp_path):
    def put(event):
        if isinstance(event, EpochEnded):
            (tmp_path / "student" / "tokenizer.json").write_text("mine")

    given["training"]["epochs"] = 1
    with pytest.raises(BadInput, match=r"found 'tokenizer\.json', which was not written"):
        distill(given, out=tmp_path / "student", progress=False, subscribers=[put])
    assert (tmp_path / "student" / "tokenizer.json").read_text() == "mine"
    assert not (tmp_path / "student" / "model.safetensors").exists()


def test_a_folder_with_other_things_is_refused_before_anything_is_read(given, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    given["data"]["train"] = "nowhere.jsonl"
    with pytest.raises(BadInput, match=r"is not a folder that `trunkline distill` has written, but contains 'config\.json'"):
        distill(given, out=tmp_path, progress=False)


def test_a_subscriber_stops_it(given, tmp_path):
    def stop(event):
        if isinstance(event, BatchEnded):
            raise StopRun("enough")

    with pytest.raises(StopRun, match="enough"):
        distill(given, out=tmp_path / "student", progress=False, subscribers=[stop])
    assert not (tmp_path / "student" / "result.json").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("student.layer=2", "override 'student.layer=2': student.layer: unknown name 'layer'; did you mean 'layers'?"),
        ("student.layers=[3,1]", "student.layers: expected numbers of blocks in rising order"),
        ("student.layers=9", "student.layers: found 9, expected at most 3"),
        ("student.layers=[1,1]", "student.layers: expected numbers of blocks in rising order, each once"),
        ("student.layers=[]", "student.layers: found 0 of them, expected at least 1"),
        ("student.hidden_size=1e30", "student.hidden_size: found 1e+30, expected a whole number"),
        ("data.train=[]", "data.train: found 0 of them, expected at least 1"),
        ("losses={}", "losses: expected one of mse, cosine and relation at least"),
        ("losses.mse.layers=some", "losses.mse.layers: found 'some', expected 'all' or 'last' or a mapping"),
        ("losses.mse.weight=0", "losses.mse.weight: found 0, expected a number greater than 0"),
        ("losses.mse.layers={7: 1}", "losses.mse.layers: found student's layer 7, expected 0 to 2"),
        ("data.validation=200%", "a share must lie between 0% and 100%"),
        ("data.text=texts", "column for data.text: unknown name 'texts'; did you mean 'text'?"),
        ("data.train=nowhere.jsonl", "nowhere.jsonl"),
        ("trunk=nowhere", "trunk.name 'nowhere'"),
        ("trunk={name: minilm, dtype: int8, backend: openvino}", "trunk.dtype: found int8, expected fp32 or bf16"),
        ("training.epochs=0", "training.epochs: found 0, expected a number greater than or equal to 1"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_written(given, tmp_path, override, said):
    with pytest.raises(BadInput) as error:
        distill(given, out=tmp_path / "student", overrides=override, progress=False)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("texts", [[], ["", "  ", None]], ids=["no row", "no text"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_without_a_text_are_refused_before_anything_is_written(given, tmp_path, texts, split):
    given["data"][split] = {"text": texts}
    with pytest.raises(BadInput, match="expected at least one"):
        distill(given, out=tmp_path / "student", progress=False)
    assert not (tmp_path / "student").exists()


def test_the_folder_of_the_teacher_is_not_written_to(done, given, tmp_path):
    """With `fresh` the teacher, a student itself, would be deleted."""
    teacher = shutil.copytree(done.path, tmp_path / "teacher")
    before = {path.name: path.read_bytes() for path in teacher.iterdir()}
    (tmp_path / "linked").symlink_to(teacher)
    given |= {"trunk": {**given["trunk"], "name": str(teacher)}, "student": {"layers": 1}}
    for out in (teacher, tmp_path / "linked"):
        with pytest.raises(BadInput, match="is the folder of the teacher; expected another one for the student"):
            distill(given, out=out, fresh=True, progress=False)
    assert {path.name: path.read_bytes() for path in teacher.iterdir()} == before


def test_a_path_that_can_be_no_folder_is_called_that_of_the_student(given, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"^the student's folder .*: cannot be one"):
        distill(given, out=tmp_path / "file" / "student", progress=False)


def test_a_folder_in_the_place_of_a_config_is_called_one(tmp_path):
    with pytest.raises(BadInput, match=r"is a folder; expected a YAML config$"):
        distill(tmp_path, out=tmp_path / "student", progress=False)
