"""Which modules of a model a method changes: by what they do (`qv`, `linear`), through one small table, or by their own names.

The table says where a block of each architecture keeps its parts, read off transformers' modelling files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trunkline.errors import BadInput, unknown_name
from trunkline.trunk.architectures import Architecture, Taps

GROUPS = ("attention", "qv", "qkv", "linear")
LINEAR = (nn.Linear, Conv1D)


@dataclass(frozen=True)
class Parts:
    """Where a block keeps its parts: paths from the block; those that a block does not have are passed over.

    Args:
        query, key, value: the projections of attention; all the same where one matrix makes the three.
        output: what follows attention's weighted sum.
        down: the last linear map of the feed-forward half.
        cross: in a decoder's block, the name of a second attention beside `own`.
        own: the name of the first attention within the paths above.
        last: in a decoder's block, what `down` is where that differs.
    """

    query: str
    key: str
    value: str
    output: str
    down: str
    cross: str | None = None
    own: str = "self_attn"
    last: str | None = None

    def paths(self, *names: str) -> list[str]:
        """The paths of the named parts; of a block that is no decoder's, some do not exist."""
        first = list(dict.fromkeys(getattr(self, name) for name in names))
        second = [path.replace(self.own, self.cross) for path in first if self.cross and self.own in path]
        return first + second + ([self.last] if self.last and "down" in names else [])

    @property
    def fused(self) -> bool:
        """Whether one matrix makes query, key and value."""
        return self.query == self.key


def _parts(query: str, key: str, value: str, output: str, down: str, cross: str | None = None, *, at: str = "") -> Parts:
    return Parts(f"{at}{query}", f"{at}{key}", f"{at}{value}", output, down, cross)


_BERT = _parts("query", "key", "value", "attention.output.dense", "output.dense", at="attention.self.")
_BART = _parts("q_proj", "k_proj", "v_proj", "self_attn.out_proj", "fc2", "encoder_attn", at="self_attn.")
_LLAMA = _parts("q_proj", "k_proj", "v_proj", "self_attn.o_proj", "mlp.down_proj", at="self_attn.")

PARTS: dict[str, Parts] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "mpnet": _parts("q", "k", "v", "attention.attn.o", "output.dense", at="attention.attn."),
    "deberta-v2": _parts(
        "query_proj", "key_proj", "value_proj", "attention.output.dense", "output.dense", at="attention.self."
    ),
    "distilbert": _parts("q_lin", "k_lin", "v_lin", "attention.out_lin", "ffn.lin2", at="attention."),
    "albert": _parts("query", "key", "value", "attention.dense", "ffn_output", at="attention."),
    "modernbert": _parts("Wqkv", "Wqkv", "Wqkv", "attn.Wo", "mlp.Wo", at="attn."),
    "bart": _BART,
    "mbart": _BART,
    "t5": replace(
        _parts("q", "k", "v", "layer.0.SelfAttention.o", "layer.1.DenseReluDense.wo", at="layer.0.SelfAttention."),
        own="layer.0.SelfAttention",
        cross="layer.1.EncDecAttention",
        last="layer.2.DenseReluDense.wo",
    ),
    "gpt2": _parts("c_attn", "c_attn", "c_attn", "attn.c_proj", "mlp.c_proj", at="attn."),
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}


def find_targets(
    targets: str | list[str],
    model: PreTrainedModel,
    architecture: Architecture,
    taps: Taps,
    *,
    kinds: tuple[type[nn.Module], ...] = (*LINEAR, nn.Embedding),
    where: str = "method.targets",
) -> list[str]:
    """Return the full names of the modules that `targets` asks for, in the model's order.

    Args:
        targets: ``qv`` (query and value), ``qkv``, ``attention`` (those and attention's output), ``linear`` (every linear
            map of the blocks, and the pooler's if there is one), or module names as the model has them, or their ends.
        kinds: what a module found by its own name may be.
        where: opens messages.

    Raises:
        BadInput: a name that no module has or one of a module of another kind; `qv` where one matrix makes all three.
    """
    asked = [targets] if isinstance(targets, str) else targets
    if not asked:
        raise BadInput(f"found an empty list, expected {', '.join(GROUPS)} or names of modules", key=where)
    found: set[str] = set()
    for target in asked:
        found |= set(
            _group(target, model, architecture, taps, where) if target in GROUPS else _named(target, model, kinds, where)
        )
    return [name for name, _ in model.named_modules() if name in found]


def part_names(model: PreTrainedModel, architecture: Architecture, taps: Taps, *parts: str) -> list[str]:
    """Full names of the named parts (see `Parts`) of all blocks."""
    return _within(model, taps.blocks, PARTS[architecture.model_type].paths(*parts))


def _group(group: str, model: PreTrainedModel, architecture: Architecture, taps: Taps, where: str) -> list[str]:
    if group == "linear":
        pooler = getattr(model, "pooler", None)
        holders = [*taps.blocks, *([pooler] if pooler is not None else [])]
        inside = {id(m) for holder in holders for m in holder.modules() if isinstance(m, LINEAR)}
        return [name for name, module in model.named_modules() if id(module) in inside]
    if group == "qv" and PARTS[architecture.model_type].fused:
        raise BadInput(
            f"found 'qv', but query, key and value are one matrix in {architecture.model_type}; "
            "expected qkv, attention or linear",
            key=where,
        )
    parts = {"qv": ("query", "value"), "qkv": ("query", "key", "value"), "attention": ("query", "key", "value", "output")}
    return part_names(model, architecture, taps, *parts[group])


def _within(model: nn.Module, blocks: Iterable[nn.Module], paths: list[str]) -> list[str]:
    names = {id(module): name for name, module in model.named_modules()}
    wanted = (f"{names[id(block)]}.{path}" for block in dict.fromkeys(blocks) for path in paths)
    known = set(names.values())
    return [name for name in wanted if name in known]


def _named(target: str, model: PreTrainedModel, kinds: tuple[type[nn.Module], ...], where: str) -> list[str]:
    """Modules whose full name is or ends in `target`, as the peft library understands names."""
    named = dict(model.named_modules())
    fitting = [name for name, module in named.items() if isinstance(module, kinds)]
    found = [name for name in fitting if name == target or name.endswith(f".{target}")]
    if found:
        return found
    if other := next((name for name in named if name == target or name.endswith(f".{target}")), None):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise BadInput(f"{target!r} is a {type(named[other]).__name__}, expected a {expected}", key=where)
    # Blocks are numbers and containers have no weights of their own: nobody means them.
    ends = {name.rpartition(".")[2] for name in fitting if any(True for _ in named[name].parameters(recurse=False))}
    raise unknown_name("", target, {*GROUPS, *(end for end in ends if end and not end.isdigit())}, key=where)
