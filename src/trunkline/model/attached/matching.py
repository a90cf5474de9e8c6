"""Whether branches belong to a model that a user's own code runs: its weights, its width, its settings and its precision."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from trunkline.errors import BadInput, TrunklineError
from trunkline.model.branch import Branch
from trunkline.model.opening import own_backend
from trunkline.model.plan import Plan
from trunkline.model.precision import Sample, agreements
from trunkline.trunk.architectures import ARCHITECTURES, Architecture, StackName, Taps, find_taps, model_within
from trunkline.trunk.fingerprint import config_digest, digest_of_tensors, tokenizer_digest
from trunkline.trunk.load import Trunk
from trunkline.trunk.machine import DTYPES
from trunkline.trunk.pretrained import model_class, without_masking
from trunkline.trunk.shared import shared_trunk
from trunkline.trunk.stream import parameters_of

STORED = (torch.float32, torch.bfloat16, torch.float16)  # what a checkpoint may be stored in
RUNTIME_KEYS = ("pad_token_id", "eos_token_id", "bos_token_id")  # that programs set for generation; no state depends on them


@dataclass(frozen=True)
class Trunked:
    """The part of a user's model that is a trunk: one of its stacks.

    Attributes:
        taps: where its layer states come out.
        row: of the table of architectures.
        config: of the model.
        settings: as a trunk of this model has them.
        tensors: the weights under the names that a trunk has for them; empty where these are not the model's.
        device: where its first block is.
        precision: fp32, bf16, fp16, or "mixed" where weights differ.
        placed: the precisions and devices of all weights of the module that is given the input.
    """

    taps: Taps
    row: Architecture
    stack: StackName
    config: PretrainedConfig
    settings: PretrainedConfig
    tensors: Mapping[str, Tensor]
    device: torch.device
    precision: str
    placed: frozenset[tuple[torch.dtype, torch.device]]

    @classmethod
    def of(cls, model: nn.Module, stack: StackName) -> Trunked:
        """BadInput: an unknown architecture, no such stack, or weights that are not in memory."""
        taps = find_taps(model, stack)
        placed = _placed(taps)
        if any(device.type == "meta" for _, device in placed):
            raise BadInput(
                f"{type(model).__name__}: found weights on the meta device, so not in memory (never loaded, or offloaded by "
                "accelerate); expected a model with all of them in memory"
            )
        inner = model_within(model)
        row = ARCHITECTURES[inner.config.model_type]
        settings, tensors = _weights_of(inner, row, stack)
        precision = _precision({tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()})
        device = next(taps.first.parameters()).device
        return cls(taps, row, stack, inner.config, settings, tensors, device, precision, placed)

    def check_unmoved(self) -> None:
        """BadInput if the model was put in another precision or on another device since."""
        if (now := _placed(self.taps)) != self.placed:
            was, found = (_precision(dtype for dtype, _ in place) for place in (self.placed, now))
            if was == found:
                was, found = (", ".join(sorted({str(device) for _, device in place})) for place in (self.placed, now))
            raise BadInput(
                f"attach: found the model in {found}, and it was in {was} when branches were attached; expected attach to be "
                "called after the model was moved"
            )

    @property
    def caches(self) -> bool:
        """Whether the stack may fill a cache of keys and values without being given one: that of a decoder does."""
        entry = self.taps.entry
        if "past_key_values" not in parameters_of(entry):
            return False
        decoder = getattr(entry, "is_decoder", True) if entry is self.taps.root else self.config.is_decoder
        return bool(decoder)

    def digests(self) -> Iterator[str]:
        """The digest of its weights for each precision in which the checkpoint may have been stored, the likeliest first."""
        likely = getattr(self.config, "dtype", None)
        for dtype in dict.fromkeys((likely, *STORED) if isinstance(likely, torch.dtype) else STORED):
            yield digest_of_tensors(self.tensors, dtype)


def _placed(taps: Taps) -> frozenset[tuple[torch.dtype, torch.device]]:
    return frozenset((one.dtype, one.device) for one in taps.entry.parameters() if one.is_floating_point())


def _precision(dtypes: Iterable[torch.dtype]) -> str:
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    kinds = set(dtypes)
    return names.get(kinds.pop(), "mixed") if len(kinds) == 1 else "mixed"


def _weights_of(inner: PreTrainedModel, row: Architecture, stack: StackName) -> tuple[PretrainedConfig, dict[str, Tensor]]:
    """The config and the weights that a trunk has of a model with any head; no weights if the model has not all of them."""
    kind = model_class(row, inner.config, stack)
    bare = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
    with torch.device("meta"):
        plain = kind(without_masking(copy(inner.config)), **bare)
    base: nn.Module = inner.base_model
    if row.cut_out(stack):
        plain, base = plain.get_encoder(), getattr(base, row.stacks[stack].path, base)
    found = base.state_dict()
    names = plain.state_dict().keys()
    return plain.config, {name: found[name] for name in names} if names <= found.keys() else {}


def check_weights(trunked: Trunked, branches: Mapping[str, Branch]) -> set[str]:
    """Refuse branches of another trunk, and return those whose weights cannot be told from the model's own, as these are in a
    narrower precision than the checkpoint may be.

    Raises:
        BadInput: another width, depth or stack, other weights, or other settings.
    """
    depth, width = len(trunked.taps.states), trunked.config.hidden_size
    left = dict(branches)
    for name, branch in branches.items():
        ref = branch.trunk
        if (ref.num_layers, ref.hidden_size) != (depth, width):
            raise BadInput(
                f"{_place(name, branch)}: trained on {ref.name} with {ref.num_layers} layers of width {ref.hidden_size}, found "
                f"a model with {depth} of width {width}; expected the model it belongs to"
            )
    for digest in trunked.digests() if trunked.tensors else ():
        left = {name: branch for name, branch in left.items() if branch.trunk.weights != digest}
        if not left:
            break
    settings = _config_digests(trunked)
    for name, branch in branches.items():
        if name in left and (not trunked.tensors or trunked.precision in ("fp32", "mixed")):
            raise _other_weights(name, branch)
        if branch.trunk.config is not None and branch.trunk.config not in settings:
            raise BadInput(
                f"{_place(name, branch)}: trained on {branch.trunk.name} with other settings of its config.json than the "
                "model's config has; expected the model it belongs to, with its config as it was"
            )
    return set(left)


def _other_weights(name: str, branch: Branch) -> BadInput:
    return BadInput(
        f"{_place(name, branch)}: trained on the {branch.trunk.stack} of {branch.trunk.name} with weights sha256 "
        f"{branch.trunk.weights[:12]}, and the model has others (another checkpoint, or fine-tuned or changed since); expected "
        "the model it belongs to, its weights as they were"
    )


def _config_digests(trunked: Trunked) -> set[str]:
    """Of the settings as they are, and without those that programs set for generation."""
    config = trunked.settings
    found = {config_digest(config)}
    for keys in (RUNTIME_KEYS[:1], RUNTIME_KEYS):
        plain, defaults = copy(config), type(config)()
        for key in keys:
            setattr(plain, key, getattr(defaults, key, None))
        found.add(config_digest(plain))
    return found


def check_tokenizer(tokenizer: PreTrainedTokenizerFast, branches: Mapping[str, Branch]) -> None:
    """BadInput if branches were trained with another tokenizer, or it is a slow one."""
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(f"tokenizer: found {type(tokenizer).__name__}, expected a fast tokenizer, with character offsets")
    found = tokenizer_digest(tokenizer)
    for name, branch in branches.items():
        if branch.trunk.tokenizer != found:
            raise BadInput(
                f"{_place(name, branch)}: trained with a tokenizer of sha256 {branch.trunk.tokenizer[:12]}, found one of "
                f"{found[:12]}; expected the tokenizer it belongs to"
            )


def check_precision(
    trunked: Trunked, branches: Mapping[str, Branch], unproven: Iterable[str], allowed: bool, trunk: str | Trunk | None
) -> list[str]:
    """Refuse branches that were trained on states of another precision than the model's, or let them answer from it after a
    check on sample texts.

    Args:
        trunked: the part of the model that they read.
        branches: by name.
        unproven: those whose weights could not be told from the model's own.
        allowed: whether another precision is.
        trunk: where the trunk of the branches is now, for that check; None: under the name that it had.

    Returns:
        A sentence on each that answers from another precision.

    Raises:
        BadInput: that was not allowed; or the weights are others.
    """
    moved = {name: branch for name, branch in branches.items() if branch.trunk.dtype != trunked.precision}
    for name, branch in moved.items():
        if trunked.row.front is not None:
            raise BadInput(
                f"{_place(name, branch)}: trained on states in {branch.trunk.dtype}, found a model in {trunked.precision}; "
                "another precision is checked on sample texts, which a model that reads audio cannot read"
            )
        if not allowed or trunked.precision not in DTYPES:
            hint = (
                "allow_precision_change=True answers from that after a check on sample texts"
                if trunked.precision in DTYPES
                else "expected a model in fp32 or bf16"
            )
            found = f"found a model in {trunked.precision}"
            raise BadInput(f"{_place(name, branch)}: trained on states in {branch.trunk.dtype}, {found}; {hint}")
    unknown = set(unproven)
    for name in unknown - moved.keys():
        _same_weights(trunked, name, branches[name], trunk)
    return [_moved(trunked, name, branch, trunk, name in unknown) for name, branch in moved.items()]


def _same_weights(trunked: Trunked, name: str, branch: Branch, trunk: str | Trunk | None) -> Trunk:
    """The trunk of a branch in the precision of the model; BadInput unless it has the model's weights."""
    after = _opened(name, branch, trunk, trunked.precision)
    branch.check_trunk(after)
    own = after.model.state_dict()
    for key, tensor in trunked.tensors.items():
        if not torch.equal(own[key], tensor.detach().to(own[key].device, own[key].dtype)):
            raise _other_weights(name, branch)
    return after


def _moved(trunked: Trunked, name: str, branch: Branch, trunk: str | Trunk | None, unproven: bool) -> str:
    """The sentence on a branch that answers from another precision."""
    ref = branch.trunk
    after = _same_weights(trunked, name, branch, trunk) if unproven else _opened(name, branch, trunk, trunked.precision)
    before = _opened(name, branch, trunk, ref.dtype, own_backend(ref), ref.ranges)
    plans = Plan({ref.precision: before}, {name: branch}), Plan({}, {name: branch}, {name: after})
    said = agreements(*plans, Sample.of(False))[name]
    return f"{name} was trained on {ref.dtype} and answers from {trunked.precision}: {said}"


def _opened(
    name: str, branch: Branch, trunk: str | Trunk | None, dtype: str, backend: str = "torch", ranges: Any = None
) -> Trunk:
    ref = branch.trunk
    place = ref.name if trunk is None else trunk.folder if isinstance(trunk, Trunk) else trunk
    revision = ref.revision if trunk is None else None
    try:
        return shared_trunk(
            place, revision=revision, stack=ref.stack, dtype=dtype, device="cpu", backend=backend, ranges=ranges
        )
    except TrunklineError as error:
        raise type(error)(
            f"{_place(name, branch)}: the model is in {dtype}, so its trunk is needed to compare: {error}; trunk= gives its "
            "current location"
        ) from None


def _place(name: str, branch: Branch) -> str:
    return str(branch.path or f"branch {name}")
