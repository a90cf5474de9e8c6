"""Tiny audio trunks with random weights, written to a folder as a user's own would be, and sounds to feed them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers as hf

RATE = 16_000


def tiny_whisper(folder: Path, *, seed: int = 0, **settings) -> Path:
    """Write a Whisper whose window is one second (50 positions) and its feature extractor to `folder`; return it."""
    torch.manual_seed(seed)
    sizes = {
        "d_model": 32,
        "encoder_layers": 3,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    widths = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 20, "max_source_positions": 50}
    ids = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    silent = {"begin_suppress_tokens": None, "suppress_tokens": None, "max_target_positions": 40}
    config = hf.WhisperConfig(**{**sizes, **widths, **ids, **silent, **settings})
    model = hf.WhisperForConditionalGeneration(config)
    with torch.no_grad():  # as drawn, they are next to nothing beside the positions
        for convolution in (model.model.encoder.conv1, model.model.encoder.conv2):
            convolution.weight.mul_(8)
    return _saved(model, hf.WhisperFeatureExtractor(20, chunk_length=1), folder)


def tiny_wav2vec2(folder: Path, *, norm: str = "layer", stable: bool = True, seed: int = 0, **settings) -> Path:
    """Write a wav2vec2 of 200 rows a second, with layer norm or group norm in its convolutions; return the folder."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 12}
    convolutions = {"conv_dim": (16, 16, 24), "conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 4), "conv_bias": norm == "layer"}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    norms = {"feat_extract_norm": norm, "do_stable_layer_norm": stable}
    config = hf.Wav2Vec2Config(**{**sizes, **convolutions, **positions, **norms, **settings})
    return _saved(hf.Wav2Vec2ForCTC(config), hf.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer"), folder)


AUDIO = {
    "whisper": tiny_whisper,
    "wav2vec2-layer": tiny_wav2vec2,
    "wav2vec2-group": lambda folder: tiny_wav2vec2(folder, norm="group", stable=False),
}


def _saved(model: hf.PreTrainedModel, extractor, folder: Path) -> Path:
    with torch.no_grad():  # off the ones and zeros that norms and biases begin with
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    hf.utils.logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def glide(seconds: float, begin: float, end: float, seed: int = 0) -> np.ndarray:
    """float32: a tone that goes from one frequency to another, in Hz, with a little noise."""
    count = int(seconds * RATE)
    noise = np.random.default_rng(seed).normal(size=count)
    phase = 2 * np.pi * np.cumsum(np.linspace(begin, end, count)) / RATE
    return (0.3 * np.sin(phase) + 0.01 * noise).astype(np.float32)


def some_sounds(count: int, seed: int = 0, seconds: tuple[float, float] = (0.2, 0.9)) -> tuple[list[np.ndarray], list[str]]:
    """Clips of different length and loudness, and what each is: a tone of some pitch, a tone that beeps, or noise."""
    draw = np.random.default_rng(seed)
    clips, labels = [], []
    for number in range(count):
        pitch, label = draw.uniform(300, 900), ("tone", "beeps", "noise")[number % 3]
        clip = glide(draw.uniform(*seconds), pitch, pitch * 1.1, seed=seed + number)
        if label == "beeps":
            clip *= np.arange(len(clip)) // 800 % 2
        elif label == "noise":
            clip = draw.normal(size=len(clip)).astype(np.float32) * 0.2
        clips.append(clip * np.float32(draw.uniform(0.3, 1)))
        labels.append(label)
    return clips, labels


def write_sounds(folder: Path, name: str, count: int, seed: int = 0, suffix: str = "wav") -> Path:
    """Write clips to files below `folder`, and `name`.csv with their names, as that file has them, and labels; return it."""
    import soundfile

    (folder / name).mkdir(parents=True)
    lines = ["file,sound"]
    for number, (clip, label) in enumerate(zip(*some_sounds(count, seed), strict=True)):
        soundfile.write(folder / name / f"{number}.{suffix}", clip, RATE)
        lines.append(f"{name}/{number}.{suffix},{label}")
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.csv"
