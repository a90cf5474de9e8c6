"""Branches on trunks that read audio, end to end: trained on files or samples, saved, scored, predicting; what is refused."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from clitools import CliRunner
from tiny_audio import AUDIO, RATE, glide, some_sounds, write_sounds

import trunkline
from trunkline.cli import app
from trunkline.errors import BadInput
from trunkline.export.branch import export_branch
from trunkline.export.onnx import export_onnx
from trunkline.model.branch import load_branch
from trunkline.model.contributions import contributions
from trunkline.serving.engine import Engine
from trunkline.training.config import resolve
from trunkline.training.run import Run


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with train.csv and test.csv, whose clips are in folders beside them, and one of a trunk of each kind."""
    folder = tmp_path_factory.mktemp("sounds")
    write_sounds(folder, "train", 72)
    write_sounds(folder, "test", 24, seed=1000, suffix="flac")
    for name in ("whisper", "wav2vec2-layer"):
        AUDIO[name](folder / name)
    return folder


def config(data: Path, trunk: str, section: dict | None = None) -> dict:
    return {
        "trunk": {"name": str(data / trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "audio": "file", **(section or {})},
        "tasks": {"sound": {"kind": "sequence", "label": "sound"}},
        "method": {"name": "probe"},
        "training": {"epochs": 6, "learning_rate": 2e-2, "seed": 0},
    }


@pytest.fixture(scope="module")
def runs(data):
    made = {}

    def run(name: str):
        if name not in made:
            values = yaml.safe_dump(config(data, name) | {"data": {"train": "train.csv", "test": "test.csv", "audio": "file"}})
            (data / f"{name}.yaml").write_text(values)
            made[name] = trunkline.fit(data / f"{name}.yaml", run_dir=data / f"run-{name}", progress=False)
        return made[name]

    return run


@pytest.fixture(params=["whisper", "wav2vec2-layer"])
def run(request, runs):
    return runs(request.param)


def test_sounds_are_learned_from_files_beside_the_data_file(run):
    assert run.tasks["sound"]["test"]["accuracy"] >= 0.8  # three kinds, a third each


def test_a_saved_branch_answers_for_files_and_samples_alone_and_together(run, data, monkeypatch):
    bundle = trunkline.Bundle.open(run.path, device="cpu")
    names, (clips, labels) = [str(data / "test" / f"{n}.flac") for n in range(24)], some_sounds(24, seed=1000)
    of_files = bundle.predict(names)
    scores = np.array([list(answer["sound"]["scores"].values()) for answer in of_files])
    assert np.mean([answer["sound"]["label"] == label for answer, label in zip(of_files, labels, strict=True)]) >= 0.8
    monkeypatch.chdir(data / "test")
    for given in (names[5], Path("5.flac"), {"array": clips[5], "sampling_rate": RATE}, clips[5]):
        alone = bundle.predict(given)["sound"]
        np.testing.assert_allclose(list(alone["scores"].values()), scores[5], atol=1e-3)  # FLAC has 16 bits
    read = [soundfile.read(name, dtype="float32")[0] for name in names[:6]]
    for clip, expected in zip(read, scores, strict=False):
        np.testing.assert_allclose(list(bundle.predict(clip)["sound"]["scores"].values()), expected, atol=1e-5)
    np.testing.assert_allclose(bundle.predict_proba(read)["sound"], scores[:6], atol=1e-5)
    assert bundle.score(names, labels)["accuracy"] == run.tasks["sound"]["test"]["accuracy"]


def test_the_command_line_predicts_and_scores_files(runs, data, tmp_path, monkeypatch):
    run = runs("wav2vec2-layer")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["predict", str(run.path), "-i", str(data / "test.csv"), "-o", "out.csv"])
    assert done.exit_code == 0, done.output
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and rows[0]["file"] == "test/0.flac"
    right = [row["given_sound"] == row["sound"] for row in rows]
    assert np.mean(right) == pytest.approx(run.tasks["sound"]["test"]["accuracy"])
    done = CliRunner().invoke(app, ["evaluate", str(run.path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tasks"]["sound"]["metrics"]["accuracy"] == run.tasks["sound"]["test"]["accuracy"]
    done = CliRunner().invoke(app, ["predict", str(run.path), "--text", str(data / "test" / "1.flac")])
    assert done.exit_code == 0, done.output
    said = {run.path: "--text clip.wav", run.branches["sound"]: "clips of up to"}
    for what in (*said, trunkline.load_branch(run.branches["sound"]).trunk.name):
        done = CliRunner().invoke(app, ["info", str(what)])
        assert done.exit_code == 0 and said.get(what, "audio") in " ".join((done.stdout + done.stderr).split()), done.output


def test_samples_in_memory_train_as_files_do(runs, data, tmp_path):
    run = runs("wav2vec2-layer")
    rows = list(csv.DictReader(open(data / "train.csv")))  # noqa: SIM115
    clips = [soundfile.read(data / row["file"], dtype="float32")[0] for row in rows]
    held = {"audio": [{"array": clip, "sampling_rate": RATE} for clip in clips], "sound": [row["sound"] for row in rows]}
    values = config(data, "wav2vec2-layer", {"train": held, "audio": "audio", "test": None})
    again = trunkline.fit(values, run_dir=tmp_path / "run", progress=False)
    assert again.tasks["sound"]["validation"] == run.tasks["sound"]["validation"]
    held["audio"][2] = {"array": clips[2], "sampling_rate": 8000}
    with pytest.raises(BadInput, match=r"data.train row 3: found a sample rate of 8000 Hz, expected 16000 Hz"):
        trunkline.fit(values | {"data": {**values["data"], "train": held}}, run_dir=tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_long_clips_are_cut_and_told(data, tmp_path, runs):
    long = [glide(1.5, 400, 500, seed=n) for n in range(4)]
    held = {"file": [*long, *some_sounds(6)[0]], "sound": ["tone"] * 4 + some_sounds(6)[1]}
    made = resolve(config(data, "whisper", {"train": held, "validation": "40%", "test": None}))
    found = [said for said in Run(made, lambda event: None).findings if "clips are longer than 1 s and were cut" in said]
    assert sum(int(said.split(": ")[1].split(" of ")[0]) for said in found) == 4
    bundle = trunkline.Bundle.open(runs("whisper").path, device="cpu")
    with pytest.warns(UserWarning, match="1 clip is longer than the 1 s that sound reads, and cut at the end."):
        told = bundle.predict([long[0], long[1][:4000]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bundle.predict(long[0][:RATE])["sound"]["label"] == told[0]["sound"]["label"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"tasks": {"w": {"kind": "token", "tokens": "file", "tags": "sound"}}},
            "a task that tags words, expected a task about whole clips",
        ),
        ({"method": {"name": "lora"}}, "method.name: found lora, expected a side branch, as the trunk .* reads audio"),
        ({"trunk.backend": "openvino"}, "trunk.backend: found openvino, expected torch, as a wav2vec2 reads audio"),
        ({"trunk.stack": "decoder"}, "wav2vec2 has encoder only"),
        ({"trunk.name": "minilm"}, "data.audio: found 'file', and the trunk minilm reads texts"),
        (
            {"data.audio": None, "data.text": "file"},
            "data.audio: found none, and the trunk .* reads audio, expected the column",
        ),
        ({"data.text_pair": "sound"}, "give audio or text_pair, not both"),
        ({"data.audio": "sound"}, "the column of the texts"),
        ({"data.audio": "wav"}, "unknown name 'wav'"),
        ({"trunk.max_length": 10**6, "trunk.name": "whisper"}, "expected at most 50, the positions of"),
    ],
)
def test_what_is_not_for_audio_is_refused_in_a_sentence(data, changed, said, tmp_path):
    values = config(data, "wav2vec2-layer")
    for key, value in changed.items():
        section, _, name = key.partition(".")
        if name:
            values[section][name] = str(data / value) if value == "whisper" else value
        else:
            values[section] = value
    with pytest.raises(BadInput, match=said) as refused:
        trunkline.fit(values, run_dir=tmp_path / "run", progress=False)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_what_answers_texts_refuses_audio_in_a_sentence(runs, data, tmp_path):
    run = runs("wav2vec2-layer")
    bundle, branch = trunkline.Bundle.open(run.path, device="cpu"), run.branches["sound"]
    refused = {
        "serving answers texts": lambda: Engine(bundle),
        "is a side branch": lambda: export_branch(load_branch(branch), tmp_path / "out"),
        "reads audio; expected one that reads texts, as graphs do": lambda: export_onnx(branch, tmp_path / "graph"),
        "its trunk reads audio|does not tell": lambda: contributions(bundle, "sound", ["a"]),
        "clip 1 .*: found an array of 2 dimensions": lambda: bundle.predict([np.zeros((2, 900), np.float32)]),
        "units: found spans, expected none": lambda: bundle.predict(["a"], units=[[(0, 1)]]),
        "pairs": lambda: bundle.predict(["a"], ["b"]),
        "found float, expected": lambda: bundle.predict([0.5]),
        "found int, expected": lambda: bundle.predict(3),
        "reads audio, and another precision is checked on sample texts": lambda: trunkline.Bundle.open(
            run.path, dtype="bf16", device="cpu", allow_precision_change=True
        ),
        "expected torch, as a wav2vec2 reads audio": lambda: trunkline.Bundle.open(run.path, backend="onnx"),
        "data alone, whose columns are guessed for texts": lambda: trunkline.fit(
            str(data / "train.csv"), overrides=["data.audio=file"], progress=False
        ),
    }
    for said, call in refused.items():
        with pytest.raises(BadInput, match=said) as error:
            call()
        assert "\n" not in str(error.value)
