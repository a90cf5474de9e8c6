"""Prediction heads that come in an adapter's folder: those of the `adapters` package's flexible models that are plain layers.

head_config.json says what a head is, model_head.safetensors has its weights. A head is a stack of linear layers, with an
activation between two, on the first token's last state (classification) or on every token's (tagging).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from trunkline.errors import BadInput
from trunkline.files import read_object
from trunkline.tuners.adapters.bottleneck import activation
from trunkline.tuners.adapters.files import VERSION, load_tensors
from trunkline.tuners.adapters.weights import Home

HEAD_CONFIG, HEAD_WEIGHTS = "head_config.json", "model_head.safetensors"
Kind = Literal["classification", "multilabel_classification", "tagging"]
KINDS: tuple[Kind, ...] = ("classification", "multilabel_classification", "tagging")


@dataclass(frozen=True)
class Head:
    """A head.

    Args:
        kind: what it answers; "tagging" answers for every token.
        labels: in the order of the logits.
        layers: weight and bias of each linear layer; one is what Trunkline's plain head on the `cls` pooling has.
        activation: between two layers, by the package's name; None for none.
    """

    kind: Kind
    labels: list[str]
    layers: list[tuple[Tensor, Tensor | None]] = field(repr=False)
    activation: str | None = None

    def logits(self, rows: Tensor) -> Tensor:
        """(..., K) last states, of the first token or of every token, to (..., C)."""
        for number, (weight, bias) in enumerate(self.layers, 1):
            rows = F.linear(rows, weight, bias)
            if number < len(self.layers) and self.activation:
                rows = activation(self.activation)(rows)
        return rows


def read_head(path: str | Path) -> Head | None:
    """Read the head in an adapter's folder; None if there is none.

    Raises:
        BadInput: a head of another kind, one on the pooler, or one of a static model class.
    """
    path = Path(path).expanduser()
    if not (path / HEAD_CONFIG).is_file():
        return None
    file = path / HEAD_CONFIG
    described = read_object(file)
    config, name = described.get("config"), described.get("name")
    if not isinstance(config, dict):
        raise BadInput(f"{file}: found the head of a {described.get('model_class')}, expected one of a flexible model class")
    kind, labels = config.get("head_type"), config.get("label2id")
    if kind not in KINDS:
        raise BadInput(f"{file}: head_type: found {kind!r}, expected one of {', '.join(KINDS)}")
    if config.get("use_pooler"):
        raise BadInput(f"{file}: use_pooler: found true; expected a head on the first token itself")
    count = config.get("num_labels")
    if not isinstance(labels, dict) or sorted(labels.values()) != list(range(len(labels))):
        labels = {f"LABEL_{i}": i for i in range(count if isinstance(count, int) else 0)}
    tensors = {key.removeprefix(f"heads.{name}."): value for key, value in load_tensors(path, HEAD_WEIGHTS).items()}
    numbers = sorted({int(key.partition(".")[0]) for key in tensors if key.partition(".")[0].isdigit()})
    layers = [(tensors.get(f"{i}.weight"), tensors.get(f"{i}.bias")) for i in numbers]
    weights = [weight for weight, _ in layers if weight is not None]
    if not weights or len(weights) != len(layers) or len(tensors) != sum(1 + (bias is not None) for _, bias in layers):
        raise BadInput(
            f"{path / HEAD_WEIGHTS}: found {', '.join(sorted(tensors))}; expected weights and biases of linear layers"
        )
    if len(weights[-1]) != len(labels):
        raise BadInput(f"{path / HEAD_WEIGHTS}: found {len(weights[-1])} logits for {len(labels)} labels")
    ordered = sorted(labels, key=lambda label: labels[label])
    return Head(kind, ordered, [(w, b) for w, b in layers if w is not None], config.get("activation_function"))


def write_head(folder: str | Path, head: Head, name: str, home: Home, *, model_name: str | None = None) -> None:
    """Add a head to an adapter's folder, so that `load_adapter` of a flexible model class loads both.

    Args:
        name: the adapter's; the package looks for a head of the same name.
    """
    folder = Path(folder)
    between = 3 if head.activation else 2
    named = {}
    for number, (weight, bias) in enumerate(head.layers):
        named[f"heads.{name}.{number * between + 1}.weight"] = weight.contiguous().clone()
        if bias is not None:
            named[f"heads.{name}.{number * between + 1}.bias"] = bias.contiguous().clone()
    config = {
        "head_type": head.kind,
        "num_labels": len(head.labels),
        "layers": len(head.layers),
        "activation_function": head.activation,
        "label2id": {label: number for number, label in enumerate(head.labels)},
        "dropout_prob": None,
    }
    if head.kind != "tagging":
        config |= {"use_pooler": False, "bias": head.layers[-1][1] is not None}
    described = {
        "config": config,
        "hidden_size": home.hidden_size,
        "model_class": home.model_class.removesuffix("Model") + "AdapterModel",
        "model_name": model_name,
        "model_type": home.model_type,
        "name": name,
        "version": VERSION,
    }
    (folder / HEAD_CONFIG).write_text(json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    save_file(named, folder / HEAD_WEIGHTS)
