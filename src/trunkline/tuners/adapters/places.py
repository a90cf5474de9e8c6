"""Where adapters sit: one row per `model_type`, as places within a block, and where the `adapters` package keeps them.

A sub-block (attention or feed-forward) ends in a module whose output h is added to a residual r, and in many models a norm
follows. A `Site` names the three, so hooks can change h without any of the model's code being repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from trunkline.branches.fold import TrunkShape
from trunkline.branches.layer_choice import choose_layers
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps, find_taps
from trunkline.tuners.adapters.bottleneck import Location


@dataclass(frozen=True)
class Site:
    """A place within a block; all names are paths of modules from the block.

    Args:
        tail: its output (or the first item of it) is h.
        source: `source`'s positional argument number `argument` is r.
        saved: the module that holds this place's adapters in the `adapters` package.
        norm: the norm over h + r, where one follows.
        functional: h passes a dropout that is no module, of the rate `block.dropout`, after `tail`.
        swapped: the package hands the adapter h as r and r as h here (ALBERT's attention).
    """

    tail: str
    source: str
    saved: str
    argument: int = 0
    norm: str | None = None
    functional: bool = False
    swapped: bool = False


@dataclass(frozen=True)
class Places:
    """A row of the table.

    Args:
        sites: the places within a block.
        embeddings: the module whose output an invertible adapter changes; None: the first block's input is changed.
        inverse: the module that holds the invertible adapters in the `adapters` package.
        decoder: whether the places are those of a decoder's blocks too.
    """

    sites: dict[Location, Site]
    embeddings: str | None = "embeddings"
    inverse: str = "invertible_adapters"
    decoder: bool = True


_BERT = Places(
    {
        "attention": Site("attention.output.dropout", "attention.output", "attention.output", 1, "attention.output.LayerNorm"),
        "output": Site("output.dropout", "output", "output", 1, "output.LayerNorm"),
    },
)
_LLAMA = Places(
    {
        "attention": Site("self_attn", "input_layernorm", "attention_adapters"),
        "output": Site("mlp", "post_attention_layernorm", "output_adapters"),
    },
    embeddings="embed_tokens",
)


def _bart(norms_first: bool) -> Places:
    def site(saved: str, tail: str, first: str, norm: str) -> Site:
        if norms_first:
            return Site(tail, norm, saved, functional=True)
        return Site(tail, first, saved, norm=norm, functional=True)

    return Places(
        {
            "attention": site("attention_adapters", "self_attn", "self_attn", "self_attn_layer_norm"),
            "output": site("output_adapters", "fc2", "fc1", "final_layer_norm"),
            "cross": site("cross_attention_adapters", "encoder_attn", "encoder_attn", "encoder_attn_layer_norm"),
        },
        embeddings="encoder.layernorm_embedding",
        inverse="encoder.invertible_adapters",
    )


PLACES: dict[str, Places] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "deberta-v2"), _BERT),
    "mpnet": replace(
        _BERT,
        sites={
            "attention": Site("attention.dropout", "attention", "attention_adapters", 0, "attention.LayerNorm"),
            "output": Site("output.dropout", "output", "output_adapters", 1, "output.LayerNorm"),
        },
    ),
    "distilbert": Places(
        {
            "attention": Site("attention", "attention", "attention_adapters", norm="sa_layer_norm"),
            "output": Site("ffn", "ffn", "output_adapters", norm="output_layer_norm"),
        },
    ),
    "albert": Places(
        {
            "attention": Site(
                "attention.output_dropout",
                "attention",
                "attention.attention_adapters",
                norm="attention.LayerNorm",
                swapped=True,
            ),
            "output": Site("ffn_output", "ffn", "output_adapters", norm="full_layer_layer_norm"),
        },
    ),
    "modernbert": Places(
        {
            "attention": Site("attn", "attn_norm", "attention_adapters"),
            "output": Site("mlp", "mlp_norm", "output_adapters"),
        },
    ),
    "bart": _bart(norms_first=False),
    "mbart": _bart(norms_first=True),
    "t5": Places(
        {
            "attention": Site("layer.0.dropout", "layer.0", "layer.0"),
            "output": Site("layer.1.dropout", "layer.1", "layer.1"),
        },
        embeddings=None,  # its dropout after the embeddings is used after the blocks too
        inverse="encoder.invertible_adapters",
        decoder=False,
    ),
    "gpt2": Places(
        {
            "attention": Site("attn", "ln_1", "attention_adapters"),
            "output": Site("mlp", "ln_2", "output_adapters"),
        },
        embeddings="drop",
    ),
    **dict.fromkeys(("llama", "qwen2", "qwen3"), _LLAMA),
}


@dataclass(frozen=True)
class Spot:
    """A place in a live model.

    Args:
        block: the block; one that runs several times has one spot.
        path: the block's name within the model.
        index: the block's number in the `adapters` package: from 0, a decoder's blocks after the encoder's.
        numbers: its block numbers 1..l in the stack whose states are read; none if it is a block of the other stack.
        saved: the module that holds the place's adapters in the `adapters` package, named from the base model.
    """

    location: Location
    site: Site
    block: Any = field(repr=False)
    path: str
    index: int
    numbers: tuple[int, ...]
    saved: str


def find_spots(model: nn.Module, architecture: Architecture, taps: Taps) -> list[Spot]:
    """Every place of a bare model, block by block; of an encoder-decoder in both stacks, if both are there.

    Raises:
        BadInput: there is a decoder for which the table has no places.
    """
    if hasattr(model, "decoder") and not PLACES[architecture.model_type].decoder:
        expected = "expected stack: encoder, or a method without adapters"
        raise BadInput(f"found adapters for the decoder of {architecture.model_type}, {expected}", key="method")
    names = {id(module): name for name, module in model.named_modules()}
    spots: list[Spot] = []
    index = 0
    for stack in architecture.stacks:
        if stack == "decoder" and not hasattr(model, "decoder"):
            continue
        for block in dict.fromkeys(find_taps(model, stack).blocks):
            path = names[id(block)]
            saved = f"encoder.{path}" if encoder_alone(model, architecture) else path
            numbers = tuple(number for number, other in enumerate(taps.blocks, 1) if other is block)
            for location, site in PLACES[architecture.model_type].sites.items():
                if location != "cross" or stack == "decoder":
                    spots.append(Spot(location, site, block, path, index, numbers, f"{saved}.{site.saved}"))
            index += 1
    return spots


def encoder_alone(model: nn.Module, architecture: Architecture) -> bool:
    """Whether the model is the encoder of an encoder-decoder, without what is around it: its names lack that part."""
    return len(architecture.stacks) > 1 and not hasattr(model, "encoder")


def left_out(layers: list[int] | str | None, spots: list[Spot], taps: Taps, model: Any) -> tuple[int, ...]:
    """The `leave_out` that says the same as `method.layers`: the blocks 1..l with an adapter, all by default.

    Blocks that are not there, a decoder's beside an encoder alone, are left out too.

    Raises:
        BadInput: no such block, or some but not all of the layers that one shared block makes.
    """
    present = {spot.index: spot.numbers for spot in spots}
    config, count = model.config, len(taps.blocks)
    decoder = getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", None) or 0
    absent = set() if hasattr(model, "decoder") else set(range(len(present), len(present) + decoder))
    if layers is None:
        return tuple(sorted(absent))
    chosen = set(choose_layers(layers, TrunkShape(count, 0), lowest=1))
    for numbers in present.values():
        if 0 < len(chosen & set(numbers)) < len(numbers):
            raise BadInput(
                f"found {layers!r}; layers {', '.join(map(str, numbers))} of this trunk are one shared block, "
                "so choose all of them or none",
                key="method.layers",
            )
    return tuple(sorted(absent | {index for index, numbers in present.items() if not chosen & set(numbers)}))
