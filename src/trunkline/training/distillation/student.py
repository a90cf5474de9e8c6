"""The student: a model of the teacher's architecture with fewer blocks, narrower ones, or both.

Its blocks begin as chosen blocks of the teacher. A number alone spreads them evenly from the first block to the last, rounded:
of 12 blocks, 6 are 1, 3, 5, 8, 10 and 12, which DistilBERT begins with (extract_distilbert.py, there numbered from 0). A
narrower student begins with the first rows and columns of each of the teacher's weights, or with random weights as TinyBERT's.
Its states reach the width of the teacher's through one learned linear map for all layers (TinyBERT's `fit_dense`), which is not
saved.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.inputs.encoded import Encoded
from trunkline.model.apply import autocast
from trunkline.seeding import seeded
from trunkline.training.distillation.config import StudentSection
from trunkline.trunk.architectures import find_taps
from trunkline.trunk.load import Trunk
from trunkline.trunk.pretrained import model_class, quiet_loading
from trunkline.trunk.stream import put_hooks, run_layers


def chosen_blocks(layers: int | list[int], teacher: int) -> list[int]:
    """The blocks of a teacher with so many, from 1, that the student's blocks begin as.

    Raises:
        BadInput: there are not so many.
    """
    found = layers if isinstance(layers, int) else max(layers)
    if found > teacher:
        what = "at most" if isinstance(layers, int) else "blocks from 1 to"
        raise BadInput(found=str(found), expected=f"{what} {teacher}, the blocks of the teacher", key="student.layers")
    if isinstance(layers, list):
        return list(layers)
    if layers == 1:
        return [teacher]
    return [round(place) + 1 for place in np.linspace(0, teacher - 1, layers).tolist()]


class Student(nn.Module):
    """A student and its projection. It has what `run_layers` asks of a trunk.

    Args:
        model: as transformers makes it; in float32.
        teacher: whose tokenizer, device and settings of a call it shares.
        blocks: as `chosen_blocks` returned them.

    Attributes:
        projection (nn.Linear | None): from the student's width to the teacher's; None where they are the same.
    """

    def __init__(self, model: Any, teacher: Trunk, blocks: list[int]) -> None:
        super().__init__()
        self.model, self.blocks = model.float().eval().requires_grad_(True), blocks
        self.taps = find_taps(model, teacher.stack)
        put_hooks(self.taps)
        self.architecture, self.call_options = teacher.architecture, teacher.call_options
        self.num_layers, self.hidden_size = len(self.taps.states), int(model.config.hidden_size)
        self.projection: nn.Linear | None = None
        if self.hidden_size != teacher.hidden_size:
            self.projection = nn.Linear(self.hidden_size, teacher.hidden_size)
            nn.init.eye_(self.projection.weight)  # the width that is there already is passed on as it is
            nn.init.zeros_(self.projection.bias)

    def projected(self, rows: Tensor) -> Tensor:
        """States (N, k) at the teacher's width (N, K), in float32."""
        rows = rows.float()
        return rows if self.projection is None else self.projection(rows)

    def states(
        self, trunk: Trunk, encoded: Encoded, sequences: np.ndarray, layers: Collection[int], precision: str
    ) -> dict[int, Tensor]:
        """Run one pass over some sequences of a corpus that `trunk` has encoded; return by layer the real tokens' rows (N, k),
        end to end in the order of `sequences`, with gradients where the caller's mode has them.
        """
        device = next(self.model.parameters()).device
        # On a CPU bf16 kernels are made for one number of rows each: let there be few.
        multiple = 8 if precision == "bf16" and device.type == "cpu" else 1
        inputs = {key: value.to(device) for key, value in trunk.collate(encoded, sequences, multiple).items()}
        real = inputs["attention_mask"].flatten().nonzero().squeeze(1)
        found: dict[int, Tensor] = {}

        def take(layer: int, state: Tensor) -> None:
            found[layer] = state.reshape(-1, state.shape[-1]).index_select(0, real)

        with autocast(device, precision):
            run_layers(self, inputs, layers, take, frozen=False)
        return found


def make_student(teacher: Trunk, section: StudentSection, seed: int) -> Student:
    """Make the student that a config asks for, with its first weights.

    Args:
        teacher: in fp32 and computed by torch, as its weights are copied; it stays as it is.
        section: the `student:` section.
        seed: of random weights.

    Raises:
        BadInput: a teacher of which no student can be made, more blocks than it has, or a width that does not fit.
    """
    _refuse_teacher(teacher)
    blocks = chosen_blocks(section.layers, teacher.num_layers)
    config = _config(teacher, section, blocks)
    kind = model_class(teacher.row, config, teacher.stack)
    bare = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
    try:
        with seeded(seed, "student"), quiet_loading():
            model = kind(config, **bare)
    except Exception as error:  # whatever a class of transformers finds wrong with a width
        raise BadInput(
            f"a {teacher.architecture} of {len(blocks)} blocks and width {config.hidden_size} cannot be made "
            f"({type(error).__name__})",
            key="student",
        ) from error
    if section.weights == "copied":
        _copy(teacher, model, blocks)
    return Student(model, teacher, blocks).to(teacher.device)


def _refuse_teacher(teacher: Trunk) -> None:
    what = ""
    if teacher.row.front is not None:
        what = "reads audio"
    elif len(teacher.row.stacks) > 1:
        what = "has an encoder and a decoder"
    elif len(set(teacher.taps.blocks)) < len(teacher.taps.blocks):
        what = "has blocks that share their weights"
    if what:
        expected = "one that reads texts, with one stack of blocks that each have weights of their own"
        raise BadInput(f"{teacher.architecture} {what}", key="trunk", found=repr(teacher.name), expected=expected)


def _config(teacher: Trunk, section: StudentSection, blocks: list[int]) -> Any:
    config = copy.deepcopy(teacher.model.config)
    if isinstance(kinds := getattr(config, "layer_types", None), list) and len(kinds) == teacher.num_layers:
        config.layer_types = [kinds[block - 1] for block in blocks]  # of models whose blocks differ in their attention
    config.num_hidden_layers = len(blocks)
    if section.hidden_size is None or section.hidden_size == teacher.hidden_size:
        return config
    width, heads, key = section.hidden_size, int(config.num_attention_heads), "student.hidden_size"
    if width > teacher.hidden_size or width % heads:
        expected = f"a multiple of its {heads} attention heads, at most {teacher.hidden_size}, the teacher's width"
        raise BadInput(found=str(width), expected=expected, key=key)
    inner = "hidden_dim" if teacher.architecture == "distilbert" else "intermediate_size"
    if isinstance(size := getattr(config, inner, None), int):
        setattr(config, inner, max(1, round(size * width / teacher.hidden_size)))
    config.hidden_size = width
    return config


def _copy(teacher: Trunk, model: Any, blocks: list[int]) -> None:
    """Give a student the weights of the teacher's chosen blocks and of all that is in no block, cut to its shapes."""
    names = {id(module): name for name, module in teacher.model.named_modules()}
    stem = names[id(teacher.taps.blocks[0])].rpartition(".")[0]
    weights = teacher.model.state_dict()
    with torch.no_grad():
        for name, own in model.state_dict().items():
            origin = name
            if name.startswith(f"{stem}."):
                place, _, rest = name[len(stem) + 1 :].partition(".")
                origin = f"{stem}.{blocks[int(place)] - 1}.{rest}"
            value = weights.get(origin)
            if value is None or value.ndim != own.ndim or any(a < b for a, b in zip(value.shape, own.shape, strict=True)):
                raise BadInput(
                    f"{name} has no counterpart among the teacher's weights, as blocks of a {teacher.architecture} differ",
                    key="student.layers",
                    found=str(blocks),
                    expected="other blocks, or student.weights: random",
                )
            own.copy_(value[tuple(slice(size) for size in own.shape)])
