"""What a folder of an audio trunk must have, and what of it counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tiny_audio import tiny_wav2vec2, tiny_whisper

from trunkline.errors import BadInput
from trunkline.trunk.load import load_trunk, reads_audio


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    return {"whisper": tiny_whisper(root / "whisper"), "wav2vec2": tiny_wav2vec2(root / "wav2vec2")}


def load(folder):
    return load_trunk(folder, dtype="fp32", device="cpu")


def spoiled(folder, to, **settings) -> Path:
    """A copy of a folder with other settings of its feature extractor."""
    file = Path(shutil.copytree(folder, to)) / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return to


def test_masking_in_training_is_no_part_of_a_trunk(folders, tmp_path):
    expected = load(folders["wav2vec2"]).fingerprint
    lacking = Path(shutil.copytree(folders["wav2vec2"], tmp_path / "lacking"))
    tensors = load_file(lacking / "model.safetensors")
    del tensors["wav2vec2.masked_spec_embed"]  # as many published checkpoints have none
    save_file(tensors, lacking / "model.safetensors", metadata={"format": "pt"})
    assert load(lacking).fingerprint == expected
    model = hf.Wav2Vec2Model.from_pretrained(folders["wav2vec2"], dtype=torch.float32)
    model.config.mask_time_prob, model.config.apply_spec_augment = 0.3, False
    model.save_pretrained(tmp_path / "bare")
    shutil.copy(folders["wav2vec2"] / "preprocessor_config.json", tmp_path / "bare")
    assert load(tmp_path / "bare").fingerprint == expected


def test_only_what_features_depend_on_is_in_the_fingerprint(folders, tmp_path):
    expected = load(folders["whisper"]).fingerprint
    same = spoiled(folders["whisper"], tmp_path / "same", processor_class="WhisperProcessor", return_attention_mask=True)
    assert load(same).fingerprint == expected
    other = load(spoiled(folders["whisper"], tmp_path / "other", n_fft=512)).fingerprint
    assert other.weights == expected.weights and other.tokenizer != expected.tokenizer
    encoder = load(folders["whisper"]).model
    assert type(encoder).__name__ == "WhisperEncoder" and reads_audio(folders["whisper"])


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("whisper", {"chunk_length": 2}, "20 bins x 100 positions, expected 20 x 50, which its config has"),
        ("whisper", {"feature_size": 80}, "80 bins x 50 positions, expected 20 x 50"),
        ("whisper", {"dither": 0.1}, "adds noise"),
        ("whisper", {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "found a Wav2Vec2FeatureExtractor, expected the"),
        ("whisper", {"feature_extractor_type": "NoSuch"}, "its feature extractor cannot be loaded"),
        ("wav2vec2", {"feature_extractor_type": "WhisperFeatureExtractor"}, "found a WhisperFeatureExtractor, expected the"),
    ],
)
def test_a_feature_extractor_of_another_model_is_refused(folders, tmp_path, name, settings, said):
    with pytest.raises(BadInput, match=said) as refused:
        load(spoiled(folders[name], tmp_path / name, **settings))
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


def test_the_feature_extractor_may_be_part_of_a_processor(folders, tmp_path):
    folder = Path(shutil.copytree(folders["whisper"], tmp_path / "whisper"))
    held = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()  # as newer versions of transformers save a processor
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "WhisperProcessor", "feature_extractor": held})
    )
    assert load(folder).fingerprint == load(folders["whisper"]).fingerprint


def test_a_folder_without_a_feature_extractor_is_refused(folders, tmp_path):
    folder = Path(shutil.copytree(folders["whisper"], tmp_path / "whisper"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BadInput, match=r"no feature extractor; expected preprocessor_config.json next to config.json"):
        load(folder)
