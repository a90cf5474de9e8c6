"""Sounds told apart by a branch on a frozen Whisper, from WAV files, and then while the model transcribes.

    python examples/audio_sounds.py [TRUNK]

Everything is made here, in under a minute on 2 cores and without a network: a tiny Whisper with random weights, and clips of
three kinds of sound (a tone, a tone that beeps, noise). TRUNK is the folder or hub id of a real one: openai/whisper-tiny.
Needs soundfile: pip install 'trunkline[audio]'.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import trunkline

RATE = 16_000  # Hz
KINDS = ("tone", "beeps", "noise")


def sound(kind: str, draw: np.random.Generator) -> np.ndarray:
    """A clip of between 0.3 and 0.9 s, of some pitch and loudness."""
    seconds = np.arange(int(draw.uniform(0.3, 0.9) * RATE)) / RATE
    wave = np.sin(2 * np.pi * draw.uniform(300, 900) * seconds)
    if kind == "beeps":
        wave *= (20 * seconds).astype(int) % 2
    if kind == "noise":
        wave = draw.normal(size=len(seconds)) / 2
    return (draw.uniform(0.1, 0.4) * (wave + 0.03 * draw.normal(size=len(seconds)))).astype(np.float32)


def write_clips(folder: Path, name: str, count: int, seed: int) -> Path:
    """WAV files in a folder, and beside it a CSV file with their names and kinds."""
    import soundfile

    draw = np.random.default_rng(seed)
    (folder / name).mkdir()
    with open(folder / f"{name}.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "sound"])
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            soundfile.write(folder / name / f"{number}.wav", sound(kind, draw), RATE)
            rows.writerow([f"{name}/{number}.wav", kind])
    return folder / f"{name}.csv"


def make_whisper(folder: Path) -> Path:
    """A Whisper with random weights whose window is one second, and its feature extractor."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    sizes = {"d_model": 64, "encoder_layers": 3, "decoder_layers": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_mel_bins": 40, "max_source_positions": 50}
    ids = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    none = {"suppress_tokens": None, "begin_suppress_tokens": None, "max_target_positions": 64}
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **heads, **ids, **none))
    with torch.no_grad():  # as drawn, the convolutions are next to nothing beside the positions
        model.model.encoder.conv1.weight.mul_(8)
        model.model.encoder.conv2.weight.mul_(8)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(40, chunk_length=1).save_pretrained(folder)
    return folder


def train(trunk: str, folder: Path, clips: int, epochs: int) -> Any:
    """A branch on the model's frozen encoder."""
    return trunkline.fit(
        {
            "trunk": {"name": trunk, "dtype": "fp32"},
            "data": {
                "train": str(write_clips(folder, "train", clips, seed=0)),
                "test": str(write_clips(folder, "test", max(clips // 3, 3), seed=1)),
                "audio": "file",
            },
            "tasks": {"sound": {"kind": "sequence", "label": "sound"}},
            "method": {"name": "adalayers", "dim": 32},
            "training": {"epochs": epochs, "learning_rate": 0.003, "seed": 0},
        },
        run_dir=folder / "run",
        progress=False,
    )


def transcribe(trunk: str, run: Any, folder: Path) -> None:
    """Predict clips by themselves, and again while the model writes what it hears; compare."""
    import soundfile
    import torch
    from transformers import AutoFeatureExtractor, WhisperForConditionalGeneration
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()
    names = [folder / "test" / f"{number}.wav" for number in range(3)]
    alone = trunkline.Bundle.open(run.path).predict(names)
    extractor = AutoFeatureExtractor.from_pretrained(trunk)
    model = WhisperForConditionalGeneration.from_pretrained(trunk).eval()
    samples = [soundfile.read(name, dtype="float32")[0] for name in names]
    inputs = extractor(samples, sampling_rate=RATE, return_tensors="pt")
    plain = model.generate(**inputs, max_new_tokens=8)
    with trunkline.attach(model, run) as taps:
        ridden = model.generate(**inputs, max_new_tokens=8)
    print(f"tokens with the branch attached are {'identical' if torch.equal(plain, ridden) else 'DIFFERENT'}")
    for name, own, tapped in zip(names, alone, taps["sound"], strict=True):
        print(f"{name.name}: {own['sound']['label']} ({own['sound']['score']:.3f}), while transcribing {tapped['label']}")
        assert abs(own["sound"]["score"] - tapped["score"]) < 1e-4
    assert torch.equal(plain, ridden)


def main(folder: Path, trunk: str | None = None, clips: int = 180, epochs: int = 12) -> None:
    started = time.perf_counter()
    trunk = trunk or str(make_whisper(folder / "model"))
    run = train(trunk, folder, clips, epochs)
    print(f"test: accuracy {run.tasks['sound']['test']['accuracy']:.3f}, where {1 / len(KINDS):.3f} is chance")
    transcribe(trunk, run, folder)
    print(f"{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(made), *sys.argv[1:2])
