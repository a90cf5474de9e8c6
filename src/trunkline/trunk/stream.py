"""The layer stream: hands out each wanted layer state while the trunk's pass runs, and holds none back.

Forward hooks on the blocks (`architectures.find_taps`) give each state (B, T, K) to `receive` the moment it exists, in
rising layer order. `run_layers` owns the pass and ends it right after the deepest wanted layer; `attach` listens to passes
that a user's own code runs and leaves them as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.trunk.architectures import StackName, Taps, find_taps

Receive = Callable[[int, Tensor], None]
"""receive(layer, state): the layer's number and its state (B, T, K) as the model made it. It must not write into the state."""


class Runs(Protocol):
    """What `run_layers` needs to know of a trunk."""

    model: Any
    taps: Taps
    architecture: str
    num_layers: int
    call_options: dict[str, Any]


class _Stop(Exception):
    """Ends a pass from within the hook of the deepest wanted layer."""


def run_layers(
    trunk: Runs, inputs: dict[str, Tensor], layers: Collection[int], receive: Receive, *, frozen: bool = True
) -> None:
    """Run the trunk over one batch and hand each wanted layer state to `receive` while the pass runs.

    `receive` runs in the caller's gradient mode, so that a branch can be trained in it; the trunk runs without gradients
    unless it is not `frozen`. The pass stops as soon as the deepest wanted layer has been received. Nothing is held.

    Args:
        trunk: a `Trunk`, or one that a tuner has changed.
        inputs (dict[str, Tensor]): a batch as `Trunk.collate` makes it.
        layers (Collection[int]): wanted layers, each 0 (the embedding output) to `trunk.num_layers`; none: no pass at all.
        receive (Receive): called once per wanted layer, in rising order.
        frozen: False keeps what the trunk computes for a backward pass, where the caller's gradient mode allows it.

    Raises:
        BadInput: a layer that the trunk does not have.
    """
    wanted = _checked(layers, trunk.num_layers)
    if not wanted:
        return
    grad = torch.is_grad_enabled()

    def outside(layer: int, state: Tensor) -> None:
        with torch.set_grad_enabled(grad):
            receive(layer, state)

    # no_grad, not inference_mode: the states of the latter cannot be kept for the backward pass of a branch
    with torch.set_grad_enabled(grad and not frozen), _Listener(trunk.taps, wanted, outside, stop=True):
        try:
            trunk.model(**inputs, **trunk.call_options)
        except _Stop:
            return
    raise RuntimeError(f"{trunk.architecture}: the pass ended without reaching layer {max(wanted)}")


@contextmanager
def attach(model: nn.Module, layers: Collection[int], receive: Receive, *, stack: StackName = "encoder") -> Iterator[None]:
    """Read layer states from a model that the caller runs, for as long as the block lasts.

    Each pass that this thread runs through `model` calls `receive` once per wanted layer, with a state cut off from
    autograd. The model's own outputs and gradients stay what they are, and its passes are never cut short. Passes of other
    threads are not listened to, so that every thread can attach to one shared model.

    Args:
        model (nn.Module): a transformers model of a known architecture, bare, with any head, or within a wrapper.
        layers (Collection[int]): wanted layers, each 0 (the embedding output) to the number of blocks.
        receive (Receive): called while the pass runs.
        stack: which stack to read, of a model with two.

    Raises:
        BadInput: an unknown architecture, or a layer or stack that the model does not have.
    """
    taps = find_taps(model, stack)
    wanted = _checked(layers, len(taps.states))
    with _Listener(taps, wanted, lambda layer, state: receive(layer, state.detach()), stop=False):
        yield


def _checked(layers: Collection[int], deepest: int) -> frozenset[int]:
    for layer in layers:
        if not isinstance(layer, Integral) or not 0 <= layer <= deepest:
            raise BadInput(f"layer {layer!r}: the trunk has no such layer; expected 0 to {deepest}")
    return frozenset(map(int, layers))


class _Listener:
    """The hooks on a model while the `with` block lasts, and where the running pass is.

    Only passes of the thread that made it count; with `stop`, the deepest wanted layer ends the pass.
    """

    def __init__(self, taps: Taps, wanted: frozenset[int], receive: Receive, *, stop: bool) -> None:
        self.taps, self.wanted, self.receive, self.stop = taps, wanted, receive, stop
        self.thread = threading.get_ident()
        self.numbers: dict[nn.Module, list[int]] = {}  # the layers whose states a module makes, in the order of its runs
        for layer, module in enumerate(taps.states, 1):
            self.numbers.setdefault(module, []).append(layer)
        # Blocks may also run outside a pass: gradient checkpointing runs them again on the way back.
        self.inside = False
        self.embedded = False
        self.runs: dict[nn.Module, int] = {}  # how often each module ran in this pass
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        def handle(register: Callable, *args: Any, **kwargs: Any) -> None:
            self.handles.append(register(*args, **kwargs))

        handle(self.taps.root.register_forward_pre_hook, self._begin)
        handle(self.taps.root.register_forward_hook, self._end, always_call=True)
        if 0 in self.wanted:
            handle(self.taps.first.register_forward_pre_hook, self._before_first, with_kwargs=True)
        for module, layers in self.numbers.items():
            if not self.wanted.isdisjoint(layers):
                handle(module.register_forward_hook, self._after)

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _ours(self) -> bool:
        return threading.get_ident() == self.thread

    def _begin(self, module: nn.Module, args: Any) -> None:
        if self._ours():
            self.inside, self.embedded = True, False
            self.runs.clear()

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._ours():
            self.inside = False

    def _before_first(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if self._ours() and self.inside and not self.embedded:
            self.embedded = True
            self._hand(0, args[0] if args else kwargs["hidden_states"])

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._ours() and self.inside:
            run = self.runs[module] = self.runs.get(module, 0) + 1
            layers = self.numbers[module]
            if run <= len(layers) and layers[run - 1] in self.wanted:
                self._hand(layers[run - 1], output[0] if isinstance(output, tuple) else output)

    def _hand(self, layer: int, state: Tensor) -> None:
        self.receive(layer, state)
        if self.stop and layer == max(self.wanted):
            raise _Stop
