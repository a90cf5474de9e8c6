"""A trunk as a tuner has changed it: a private copy of its modules that shares all frozen tensors with the trunk.

It has the attributes of a `Trunk` that a pass needs, and it is a source of layer states like the frozen trunk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.branches import SideBranch, TrunkShape
from trunkline.errors import BadInput
from trunkline.inputs.encoded import Encoded
from trunkline.states.live import Feed
from trunkline.trunk.architectures import find_taps
from trunkline.trunk.load import Trunk
from trunkline.trunk.stream import put_hooks
from trunkline.tuners.base import Tuner
from trunkline.tuners.copied import narrow, private_copy, quicken
from trunkline.tuners.recomputing import KEY, recompute_blocks
from trunkline.tuners.sharding import Sharded, apart
from trunkline.tuners.states import TunedStates
from trunkline.tuners.upper import Upper, beginning_at, returned_by


class TunedTrunk(nn.Module):
    """A private copy of `trunk`, changed by `tuner`.

    Args:
        trunk: in fp32; it stays as it is.
        tuner: what changes the copy.
        precision: fp32, or bf16: what is not trained is then held in bf16, and products are made in it.
        pooler: the model's pooler, for heads that use it; the tuner then sees it as a part of the model.

    Attributes:
        model: what is called: the copy or a wrapper around it.
        large: training it takes memory of the trunk's size, so memory is given back around judging.
        lowest: how many of the first blocks compute what the trunk's do, embeddings included; 0 if those are changed.
    """

    large = True

    def __init__(self, trunk: Trunk, tuner: Tuner, precision: str, pooler: nn.Module | None = None) -> None:
        super().__init__()
        self._trunk = [trunk]  # in a list, as it is no submodule
        self.tuner, self.architecture, self.stack, self.precision = tuner, trunk.architecture, trunk.stack, precision
        self.num_layers, self.hidden_size, self.device = trunk.num_layers, trunk.hidden_size, trunk.device
        self.call_options, self.collate, self.vocabulary = trunk.call_options, trunk.collate, trunk.vocabulary
        tuner.check(trunk)
        copied = private_copy(trunk.model)
        self.pooler = [] if pooler is None else [pooler]  # a part of the model
        if pooler is not None:
            copied.pooler = pooler
        theirs = {p.data_ptr() for p in trunk.model.parameters()}
        self.model = tuner.apply(copied, trunk.row, find_taps(copied, trunk.stack)).to(trunk.device)
        # What is stored with a branch: all that the trunk's own files do not hold as it is here.
        self._own = [name for name, p in self.model.named_parameters() if p.requires_grad or p.data_ptr() not in theirs]
        shared = {p.data_ptr(): name for name, p in trunk.model.named_parameters()}
        self._origin = {name: shared[p.data_ptr()] for name, p in self.model.named_parameters() if p.data_ptr() in shared}
        for parameter in self.model.parameters():
            if parameter.requires_grad:  # trained in float32, and no longer shared with the trunk
                parameter.data = parameter.data.to(torch.float32, copy=True)
        if precision == "bf16":
            narrow(self.model, self.pooler)
        quicken(self.model)
        self.taps = find_taps(self.model, trunk.stack)
        put_hooks(self.taps)  # before any thread runs it
        self.lowest = self._lowest()
        self._sharded: Sharded | None = None

    @property
    def trunk(self) -> Trunk:
        """The trunk that this is a copy of."""
        return self._trunk[0]

    def train(self, mode: bool = True) -> TunedTrunk:
        """As `nn.Module.train`, but what lies below the first change computes what the trunk does: it never drops anything."""
        super().train(mode)
        if mode and self.lowest > 0:
            self.model.eval()
            for module in (*self.taps.blocks[self.lowest :], self.taps.states[-1], *self.pooler):
                module.train()
        return self

    def own(self) -> dict[str, nn.Parameter]:
        """By name, the parameters that are not the trunk's, trained or not; the pooler's are among them."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name] for name in self._own}

    def in_float32(self) -> Any:
        """A private copy of `model` in float32 on the CPU, in which what is held in bf16 here is the trunk's own again."""
        copied = private_copy(self.model).cpu()
        originals = dict(self.trunk.model.named_parameters())
        for name, parameter in copied.named_parameters():
            if parameter.dtype == torch.bfloat16 and name in self._origin:
                parameter.data = originals[self._origin[name]].data.cpu()
            parameter.data = parameter.data.float()
        return copied

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for the optimiser: matrices decay; biases and norms do not."""
        trained = [p for p in self.own().values() if p.requires_grad]
        groups = (([p for p in trained if p.ndim >= 2], weight_decay), ([p for p in trained if p.ndim < 2], 0.0))
        kinds = [(kind, decay) for parameters, decay in groups for kind in apart(parameters)]
        return [{"params": parameters, "weight_decay": decay} for parameters, decay in kinds if parameters]

    @cached_property
    def borrowed(self) -> int:
        """How many weights of the trunk it holds."""
        return sum(p.numel() for p in self.trunk.model.parameters())

    def penalty(self) -> Tensor | float:
        """What the tuner adds to the loss of every batch."""
        return self.tuner.penalty()

    def watch(self) -> AbstractContextManager[None]:
        """As `Tuner.watch`."""
        return self.tuner.watch()

    def attention(self) -> dict[int, dict[str, float]]:
        """As `Tuner.attention`."""
        return self.tuner.attention()

    def bind(self, head: SideBranch) -> None:
        """Let `head` use this trunk's pooler, if it uses one."""
        head.bind(self.model)

    def equals(self, other: nn.Module) -> bool:
        """Whether `other` is the same trunk changed in the same way."""
        if not isinstance(other, TunedTrunk) or other.trunk is not self.trunk or other.precision != self.precision:
            return False
        if other.tuner.config != self.tuner.config:
            return False
        mine, theirs = self.own(), other.own()
        return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())

    def described(self, method: Any) -> dict[str, Any]:
        """The `method` section for `branch.json`."""
        return self.tuner.described()

    def stored(self, layers: Collection[int]) -> tuple[int, ...]:
        """The layer of the untouched trunk worth storing for a pass that begins above it; none if all must be run."""
        return (self.lowest,) if min(layers) > self.lowest and self.can_begin_above else ()

    def stored_dtype(self, trunk: Trunk) -> str:
        """The precision of the layer to store: that in which this trunk holds what it does not train."""
        return self.precision

    def states(self, trunk: Trunk, encoded: Encoded, stored: Feed | None = None) -> Feed:
        """Its own states, from a pass that begins above the `stored` layer where there is one."""
        return TunedStates(self, encoded, stored)

    def judged(self, trunk: Trunk, encoded: Encoded, stored: Feed | None) -> Feed:
        """The states that final scores are measured on: of whole passes, as in prediction."""
        return TunedStates(self, encoded)

    def trial(self, shape: TrunkShape, lengths: np.ndarray) -> Feed:
        """States of random token ids, for comparing two copies."""
        ids = np.random.default_rng(0).integers(0, self.vocabulary, int(lengths.sum()), dtype=np.int32)
        texts = np.arange(len(lengths), dtype=np.int32)
        return TunedStates(self, Encoded(ids, np.append(0, lengths.cumsum()), None, texts, None, None))

    def recompute(self) -> None:
        """Gradient checkpointing, as `recompute_blocks`."""
        if not self.tuner.recomputes:
            method = self.tuner.config.name
            raise BadInput(found="true", expected=f"false: method {method} gives blocks keys and values from outside", key=KEY)
        recompute_blocks(self.model, self.taps, self.architecture)

    def shard(self) -> None:
        """As of `Sharded`: `model` and `taps` are others until `gather`. Heads have to be bound again after both."""
        if not self.tuner.shards:
            method = self.tuner.config.name
            raise BadInput(
                found="true", expected=f"false for method {method}; full and lora can be divided", key="training.shard"
            )
        self._sharded = Sharded(self.model, self.stack, self.device)
        self._use(self._sharded.model)

    def gather(self) -> None:
        if self._sharded is not None:
            sharded, self._sharded = self._sharded, None
            self._use(sharded.undivided())

    def _use(self, model: Any) -> None:
        """Let another model with the same weights stand in the place of this one."""
        self.model, self.taps = model, find_taps(model, self.stack)
        if self.pooler:
            self.pooler = [next(m.pooler for m in model.modules() if getattr(m, "pooler", None) is not None)]

    def judging(self) -> AbstractContextManager[None]:
        return nullcontext() if self._sharded is None else self._sharded.whole()

    @contextmanager
    def while_training(self) -> Iterator[None]:
        """The context of training: memory of the untouched trunk's own weights is free meanwhile."""
        with self.trunk.weights_set_aside(apart(list(self.parameters()))[0]):
            yield
        originals, now = dict(self.trunk.model.named_parameters()), dict(self.model.named_parameters())
        for name, origin in self._origin.items():  # what was divided has memory of its own since it is a whole again
            if not now[name].requires_grad and now[name].dtype == originals[origin].dtype:
                now[name].data = originals[origin].data

    def release(self, module: nn.Module) -> None:
        """A head stays on the device of this trunk, which it needs."""

    @cached_property
    def can_begin_above(self) -> bool:
        """Whether the blocks below the first changed one can be left out: each hands on a state and nothing else."""
        if (
            self.lowest == 0
            or len(set(self.taps.blocks)) < len(self.taps.blocks)
            or self.taps.states[0] is not self.taps.blocks[0]
        ):
            return False
        ids = torch.zeros(1, 2, dtype=torch.long, device=self.device)
        with torch.no_grad(), self.computing():
            output = returned_by(
                self.model, self.taps, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, self.call_options
            )
        self._as_tuple = isinstance(output, tuple)
        return isinstance(output, Tensor) or (len(output) == 1 and isinstance(output[0], Tensor))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The context of a pass: in bf16 its products are, those of attention with dropout too.

        On a CPU torch widens the latter to float32 otherwise: a step on 32 texts of 200 words takes 14 % longer then, and a
        third more memory (benchmarks/LOG.md). The switch for that is the process's own, so prediction, which drops nothing and
        may run in many threads, leaves it alone.
        """
        bf16 = self.precision == "bf16"
        if not (bf16 and self.training):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                yield
            return
        before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # of the CPU too, whatever its name
        try:
            with torch.autocast(self.device.type, torch.bfloat16):
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)

    def beginning_at(self, state: Tensor) -> Upper:
        """What runs a pass that begins with block `lowest` + 1 on `state` (B, T, K); only where `can_begin_above`."""
        model, taps = beginning_at(state, self.lowest, self._as_tuple, self.model, self.taps)
        return Upper(model, taps, self.architecture, self.num_layers, self.call_options)

    def _lowest(self) -> int:
        """The first block that holds a trained parameter; 0 if one lies outside of all blocks and not after them."""
        place: dict[int, int] = {}
        for number, block in reversed(list(enumerate(self.taps.blocks))):
            place.update({id(p): number for p in block.parameters()})
        for module in (self.taps.states[-1], *self.pooler):
            for p in module.parameters():
                place.setdefault(id(p), len(self.taps.blocks))
        changed = [place.get(id(p), 0) for p in self.own().values()]
        return min(changed, default=len(self.taps.blocks))
