"""Weights of a compiled trunk take no memory once a graph is open, and are read again when another one is made."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trunkline.errors import BadInput
from trunkline.states.live import LiveStates
from trunkline.trunk.load import load_trunk

pytest.importorskip("onnxruntime")

TEXTS = ["a good film", "sad"]


def states(trunk, layers):
    found = {}
    LiveStates(trunk, trunk.encode(TEXTS)).feed(np.arange(2), layers, lambda layer, rows: found.update({layer: rows.clone()}))
    return found


def test_weights_are_put_away_and_read_again(tiny_trunk_dir):
    plain = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    trunk = load_trunk(tiny_trunk_dir, backend="onnx")
    first, model = states(trunk, [2]), trunk.model
    assert all(parameter.is_meta for parameter in trunk.model.parameters())
    assert sum(p.numel() for p in trunk.model.parameters()) == sum(p.numel() for p in plain.model.parameters())
    assert trunk.fingerprint == plain.fingerprint
    second = states(trunk, [3])  # another graph, for which they are needed
    assert trunk.model is not model
    assert all(parameter.is_meta for parameter in trunk.model.parameters())
    for found, layer in ((first, 2), (second, 3)):
        torch.testing.assert_close(found[layer], states(plain, [layer])[layer], atol=1e-4, rtol=1e-4)


def test_other_weights_than_before_are_refused(tiny_trunk_dir, tmp_path):
    folder = shutil.copytree(tiny_trunk_dir, tmp_path / "trunk")
    trunk = load_trunk(folder, backend="onnx")
    states(trunk, [1])
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if weights[name].is_floating_point())
    save_file({**weights, name: weights[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="have changed on disk"):
        states(trunk, [2])
