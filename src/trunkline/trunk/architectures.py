"""Where a model keeps its blocks: one row per `model_type` of transformers, read off that library's modelling files.

A row names the stacks of blocks a model has, how many tokens its positions reach, and how it copes with padding on the
left; of a model that reads audio, what makes its input. From a row, `find_taps` takes a live model (bare or with any head)
apart into the modules whose outputs are the layer states. They are the states that the library's own
``output_hidden_states`` gives: where a model ends in a final norm, the last state is the one after it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from trunkline.errors import BadInput
from trunkline.inputs.frontends import FrontEnd, LogMel, Waveform

StackName = Literal["encoder", "decoder"]
INPUTS = ("input_ids", "input_features", "input_values")  # what models call texts as token ids, spectrograms, samples


@dataclass(frozen=True)
class Stack:
    """Where one stack of blocks lies within the base model.

    Args:
        path (str): attribute of the base model that is the stack; empty if the base model is the stack itself.
        blocks: attribute of the stack that lists its blocks, or a function from the stack to the blocks in the order in
            which they run (a block that runs several times is listed several times).
        norm (str | None): attribute of the stack: the final norm, whose output is the last state.
        after_first (str | None): attribute of the stack: a module that, if there, reworks the first block's output.
    """

    path: str
    blocks: str | Callable[[Any], list[nn.Module]]
    norm: str | None = None
    after_first: str | None = None


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Args:
        model_type (str): what config.json calls it.
        stacks: the stack or stacks by name; a model with one stack of any kind has it under "encoder".
        positions: config -> how many tokens the model has positions for; None where nothing bounds them.
        left: how padding on the left is made harmless: "positions" by giving `position_ids`; "itself" if the model counts
            positions from the first real token or knows relative ones only; "never" if it cannot be.
        load_as: by stack, the class to load instead of AutoModel's, where the stack is not a part of that.
        shifts: whether the bare model has to be given what its decoder reads; others make it of the text, one token later.
        front: of a model that reads audio, from its feature extractor and config to what makes its input; None: it reads texts.
        alone (bool): whether the encoder is run without the rest of the model, though no other stack of it can be read.
    """

    model_type: str
    stacks: dict[StackName, Stack]
    positions: Callable[[PretrainedConfig], int | None] = lambda config: config.max_position_embeddings
    left: Literal["positions", "itself", "never"] = "positions"
    load_as: Mapping[StackName, str] = field(default_factory=dict)
    shifts: bool = False
    front: Callable[[Any, PretrainedConfig], FrontEnd] | None = None
    alone: bool = False

    def cut_out(self, stack: StackName) -> bool:
        """Whether a trunk that reads `stack` is the encoder taken out of a larger model."""
        return stack == "encoder" and stack not in self.load_as and (len(self.stacks) > 1 or self.alone)


@dataclass(frozen=True)
class Taps:
    """A live model taken apart.

    Args:
        root: the module whose call spans the whole stack; its start is the start of a pass.
        first: block 1; its input is state 0.
        states: `states[i - 1]` is the module whose output is state i; a shared block is listed each time it runs.
        blocks: `blocks[i - 1]` is block i itself, which is not always the module that makes its state.
        entry: the module that is given the input and its mask: the root, or the base model around it.
    """

    root: nn.Module
    first: nn.Module
    states: tuple[nn.Module, ...] = field(repr=False)
    blocks: tuple[nn.Module, ...] = field(repr=False)
    entry: nn.Module = field(repr=False)


def _albert_blocks(stack: Any) -> list[nn.Module]:
    # Layers share weights: one group's modules run for several layers in a row (AlbertTransformer.forward).
    layers, groups = stack.config.num_hidden_layers, stack.config.num_hidden_groups
    return [block for i in range(layers) for block in stack.albert_layer_groups[int(i / (layers / groups))].albert_layers]


def _after_padding_index(config: PretrainedConfig) -> int:
    return config.max_position_embeddings - config.pad_token_id - 1  # positions start after the pad token's own row


def _log_mel(extractor: Any, config: PretrainedConfig) -> FrontEnd:
    rows = extractor.nb_max_frames // 2
    if rows != config.max_source_positions or extractor.feature_size != config.num_mel_bins:
        raise BadInput(
            f"its feature extractor makes {extractor.feature_size} bins x {rows} positions, expected {config.num_mel_bins} x "
            f"{config.max_source_positions}, which its config has"
        )
    if extractor.dither:
        raise BadInput("its feature extractor adds noise (dither), so no two passes would be the same; expected dither: 0")
    return LogMel(extractor, rows)


def _waveform(extractor: Any, config: PretrainedConfig) -> FrontEnd:
    return Waveform(extractor, config.conv_kernel, config.conv_stride, masked=config.feat_extract_norm == "layer")


_BERT: dict[StackName, Stack] = {"encoder": Stack("encoder", "layer")}
_LLAMA: dict[StackName, Stack] = {"encoder": Stack("", "layers", norm="norm")}

ARCHITECTURES: dict[str, Architecture] = {
    row.model_type: row
    for row in (
        Architecture("bert", _BERT),
        Architecture("roberta", _BERT, positions=_after_padding_index, left="itself"),
        Architecture("xlm-roberta", _BERT, positions=_after_padding_index, left="itself"),
        Architecture("distilbert", {"encoder": Stack("transformer", "layer")}),
        Architecture("electra", _BERT),
        Architecture("mpnet", _BERT, positions=lambda c: c.max_position_embeddings - 2, left="itself"),
        Architecture(
            "deberta-v2",
            {"encoder": Stack("encoder", "layer", after_first="conv")},
            positions=lambda c: c.max_position_embeddings if c.position_biased_input else None,
        ),
        Architecture("albert", {"encoder": Stack("encoder", _albert_blocks)}),
        Architecture("modernbert", {"encoder": Stack("", "layers", norm="final_norm")}),
        Architecture("bart", {"encoder": Stack("encoder", "layers"), "decoder": Stack("decoder", "layers")}, left="never"),
        Architecture(
            "mbart",
            {
                "encoder": Stack("encoder", "layers", norm="layer_norm"),
                "decoder": Stack("decoder", "layers", norm="layer_norm"),
            },
            left="never",
        ),
        Architecture(
            "t5",
            {
                "encoder": Stack("encoder", "block", norm="final_layer_norm"),
                "decoder": Stack("decoder", "block", norm="final_layer_norm"),
            },
            positions=lambda c: None,  # relative positions only
            left="itself",
            load_as={"encoder": "T5EncoderModel"},
            shifts=True,  # of its classes, only those with a head for texts make the decoder's input
        ),
        Architecture("gpt2", {"encoder": Stack("", "h", norm="ln_f")}),
        Architecture("llama", _LLAMA),
        Architecture("qwen2", _LLAMA),
        Architecture("qwen3", _LLAMA),
        Architecture(
            "whisper",
            {"encoder": Stack("encoder", "layers", norm="layer_norm")},
            positions=lambda c: c.max_source_positions,
            left="never",
            front=_log_mel,
            alone=True,
        ),
        Architecture(
            "wav2vec2",
            {"encoder": Stack("encoder", "layers")},
            positions=lambda c: None,  # a convolution over neighbours
            left="never",
            front=_waveform,
        ),
    )
}


def architecture_of(model_type: object, where: str) -> Architecture:
    """Return the row of `model_type`; BadInput, opened by `where`, names the known ones if there is none."""
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadInput(f"{where}: unknown architecture {model_type!r}; expected one of {known}")
    return ARCHITECTURES[model_type]


def _known_models(model: nn.Module) -> Iterator[PreTrainedModel]:
    for module in model.modules():  # the model itself, or the one inside a wrapper of another library
        if isinstance(module, PreTrainedModel) and module.config.model_type in ARCHITECTURES:
            yield module


def model_within(model: nn.Module) -> PreTrainedModel:
    """The model of a known architecture that `model` is or wraps; BadInput if there is none."""
    found = next(_known_models(model), None)
    if found is None:
        raise BadInput(f"{type(model).__name__}: unknown architecture; expected one of {', '.join(ARCHITECTURES)}")
    return found


def find_taps(model: nn.Module, stack: StackName = "encoder") -> Taps:
    """Find the modules whose outputs are the layer states of `model`: a bare model, one with any head, or a wrapped one.

    Raises:
        BadInput: no model of a known architecture in it, or it has no such stack.
    """
    found = model_within(model)
    row = ARCHITECTURES[found.config.model_type]
    if stack not in row.stacks:
        raise BadInput(f"stack {stack!r}: {row.model_type} has {' and '.join(row.stacks)} only")
    place = row.stacks[stack]
    base = found.base_model
    root = getattr(base, place.path, base) if place.path else base
    blocks = getattr(root, place.blocks, None) if isinstance(place.blocks, str) else place.blocks(root)
    if blocks is None:
        raise BadInput(f"stack {stack!r}: {type(found).__name__} has no such stack")
    states = list(blocks)
    first = states[0]
    if place.after_first and getattr(root, place.after_first, None) is not None:
        states[0] = getattr(root, place.after_first)
    if place.norm:
        states[-1] = getattr(root, place.norm)
    accepted = inspect.signature(root.forward).parameters
    entry = root if any(name in accepted for name in INPUTS) else base
    return Taps(root, first, tuple(states), tuple(blocks), entry)
