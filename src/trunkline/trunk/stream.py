"""The layer stream: hands out each wanted layer state while the trunk's pass runs, and holds none back.

Forward hooks on the blocks (`architectures.find_taps`) give each state (B, T, K) to `receive` the moment it exists, in
rising layer order. `run_layers` owns the pass and ends it right after the deepest wanted layer; `read_layers` and `following`
listen to passes that a user's own code runs and leave them as they are.

Threads share the hooks of a model (hooks.py), which find who listens in a context variable, and do nothing where nobody does.
What torch.compile makes of a model never has them: it would be divided at each, and round otherwise.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from numbers import Integral
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.trunk.architectures import StackName, Taps, find_taps
from trunkline.trunk.hooks import Hooks, hooked, put, put_last

Receive = Callable[[int, Tensor], None]
"""receive(layer, state): the layer's number and its state (B, T, K) as the model made it. It must not write into the state."""


class Runs(Protocol):
    """What `run_layers` needs to know of a trunk."""

    model: Any
    taps: Taps
    architecture: str
    num_layers: int
    call_options: dict[str, Any]


class Follower(Protocol):
    """Who is told of each pass of a model that a user's own code runs. What it raises ends that pass."""

    def began(self, call: Mapping[str, Any]) -> None:
        """A pass begins; `call` has the arguments of the module that was given the token ids, by name."""

    def receive(self, layer: int, state: Tensor) -> None:
        """As `Receive`; the state is cut off from autograd."""

    def ended(self, output: Any) -> None:
        """The pass is over, with what the stack returned: None where it failed."""


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
    wanted = checked_layers(layers, trunk.num_layers)
    if not wanted:
        return
    grad = torch.is_grad_enabled()

    def outside(layer: int, state: Tensor) -> None:
        with torch.set_grad_enabled(grad):
            receive(layer, state)

    # no_grad, not inference_mode: the states of the latter cannot be kept for the backward pass of a branch
    with torch.set_grad_enabled(grad and not frozen), _listening(_Listener(trunk.taps, wanted, outside, stop=True)):
        try:
            trunk.model(**inputs, **trunk.call_options)
        except _Stop:
            return
    raise RuntimeError(f"{trunk.architecture}: the pass ended without reaching layer {max(wanted)}")


@contextmanager
def read_layers(model: nn.Module, layers: Collection[int], receive: Receive, *, stack: StackName = "encoder") -> Iterator[None]:
    """Read layer states from a model that the caller runs, for as long as the block lasts.

    Each pass that this thread runs through `model` calls `receive` once per wanted layer, with a state cut off from
    autograd. The model's own outputs and gradients stay what they are, and its passes are never cut short. Passes of other
    threads are not listened to, so that every thread can read one shared model, also while others run it. Passes that
    `receive` itself runs through the model are not listened to either, nor are those that torch.compile has compiled.

    Hooks are on the model's modules until the last such block of any thread ends. A state is what the next layer is given:
    hooks of others that change what a layer returns count, whenever they were added. Passes that are traced or exported are
    not listened to.

    Args:
        model (nn.Module): a transformers model of a known architecture, bare, with any head, or within a wrapper.
        layers (Collection[int]): wanted layers, each 0 (the embedding output) to the number of blocks.
        receive (Receive): called while the pass runs.
        stack: which stack to read, of a model with two.

    Raises:
        BadInput: an unknown architecture, or a layer or stack that the model does not have.
    """
    taps = find_taps(model, stack)
    wanted = checked_layers(layers, len(taps.states))
    with _listening(_Listener(taps, wanted, lambda layer, state: receive(layer, state.detach()), stop=False)):
        yield


@contextmanager
def following(taps: Taps, layers: Collection[int], follower: Follower) -> Iterator[None]:
    """As `read_layers`, with a follower that is told of the beginning and the end of each pass, too."""
    wanted = checked_layers(layers, len(taps.states))

    def receive(layer: int, state: Tensor) -> None:
        follower.receive(layer, state.detach())

    with _listening(_Listener(taps, wanted, receive, stop=False, follower=follower)):
        yield


def listeners_of_this_thread() -> Callable[[], None]:
    """Return what another thread calls, within a copy of this context, so that those who listen to this thread listen to that
    one instead; called here again it undoes that.
    """
    ours = _ours()

    def take() -> None:
        for listener in ours:
            listener.thread = threading.get_ident()

    return take


def is_followed_here(follower: Follower) -> bool:
    """Whether a follower is told of the passes of this thread."""
    return any(listener.follower is follower for listener in _ours())


def checked_layers(layers: Collection[int], deepest: int) -> frozenset[int]:
    """The layers as a set; BadInput for one that a trunk of `deepest` blocks does not have."""
    for layer in layers:
        if not isinstance(layer, Integral) or not 0 <= layer <= deepest:
            raise BadInput(f"layer {layer!r}: the trunk has no such layer; expected 0 to {deepest}")
    return frozenset(map(int, layers))


class _Listener:
    """Who receives which layers, and where the running pass is. Only passes of the thread that made it count.

    With `stop`, the deepest wanted layer ends the pass.
    """

    def __init__(
        self, taps: Taps, wanted: frozenset[int], receive: Receive, *, stop: bool, follower: Follower | None = None
    ) -> None:
        self.taps, self.wanted, self.receive, self.stop, self.follower = taps, wanted, receive, stop, follower
        self.thread = threading.get_ident()
        self.numbers: dict[nn.Module, list[int]] = {}  # the layers whose states a module makes, in the order of its runs
        for layer, module in enumerate(taps.states, 1):
            self.numbers.setdefault(module, []).append(layer)
        # Blocks may also run outside a pass: gradient checkpointing runs them again on the way back.
        self.depth = 0  # 1 within a pass, more within those that `receive` runs
        self.embedded = False
        self.called: Mapping[str, Any] = {}  # what the module that is given the token ids was called with last
        self.runs: dict[nn.Module, int] = {}  # how often each module ran in this pass

    def call(self, arguments: Mapping[str, Any]) -> None:
        if self.depth == 0 and self.follower is not None:
            self.called = arguments

    def begin(self) -> None:
        self.depth += 1
        if self.depth == 1:
            self.embedded = False
            self.runs.clear()
            if not self.stop:
                put_last(self.taps, HOOKS)
            if self.follower is not None:
                called, self.called = self.called, {}
                self.follower.began(called)

    def end(self, output: Any) -> None:
        self.depth = max(0, self.depth - 1)  # a hook of somebody else may have failed before `begin` was called
        if self.depth == 0 and self.follower is not None:
            self.follower.ended(output)

    def before_first(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.depth == 1 and not self.embedded and 0 in self.wanted:
            self.embedded = True
            self._hand(0, args[0] if args else kwargs["hidden_states"])

    def after(self, module: nn.Module, output: Any) -> None:
        if self.depth == 1 and (layers := self.numbers.get(module)):
            run = self.runs[module] = self.runs.get(module, 0) + 1
            if run <= len(layers) and layers[run - 1] in self.wanted:
                self._hand(layers[run - 1], output[0] if isinstance(output, tuple) else output)

    def _hand(self, layer: int, state: Tensor) -> None:
        self.receive(layer, state)
        if self.stop and layer == max(self.wanted):
            raise _Stop


_LISTENERS: ContextVar[tuple[_Listener, ...]] = ContextVar("trunkline_listeners", default=())


@contextmanager
def _listening(listener: _Listener) -> Iterator[None]:
    """Within the block, the hooks of the listener's model find it."""
    with hooked(listener.taps, HOOKS):
        _LISTENERS.set((*_LISTENERS.get(), listener))
        try:
            yield
        finally:
            _LISTENERS.set(tuple(other for other in _LISTENERS.get() if other is not listener))


def _ours() -> list[_Listener]:
    if torch.compiler.is_dynamo_compiling():  # it cannot follow a context variable, and would divide the graph here
        return []
    ours = [listener for listener in _LISTENERS.get() if listener.thread == threading.get_ident()]
    if ours and (torch.jit.is_tracing() or torch.compiler.is_compiling()):  # type: ignore[attr-defined]
        # What readers compute would become a part of the user's graph. Graphs of our own are traced by `run_layers`.
        return [listener for listener in ours if listener.stop]
    return ours


# Functions of the module, not of a listener or a model: a copy of a model takes them along as they are.


def _called(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
    for listener in _ours():
        if listener.taps.entry is module:
            listener.call({**dict(zip(parameters_of(module), args, strict=False)), **(kwargs or {})})


def parameters_of(module: nn.Module) -> tuple[str, ...]:
    """The names of what a module is called with."""
    return _names_of(type(module).forward)


@lru_cache(maxsize=64)
def _names_of(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(forward).parameters)[1:]


def _begin(module: nn.Module, args: Any) -> None:
    for listener in _ours():
        if listener.taps.root is module:
            listener.begin()


def _end(module: nn.Module, args: Any, output: Any) -> None:
    for listener in _ours():
        if listener.taps.root is module:
            listener.end(output)


def _before_first(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
    # torch notes that a hook takes keyword arguments after it has added it; until then nobody listens to it.
    for listener in _ours():
        if listener.taps.first is module:
            listener.before_first(args, kwargs or {})


def _after(module: nn.Module, args: Any, output: Any) -> None:
    for listener in _ours():
        listener.after(module, output)


HOOKS = Hooks(call=_called, begin=_begin, end=_end, first=_before_first, after=_after)


def put_hooks(taps: Taps) -> None:
    """Put the hooks on a model of Trunkline's own, for good, before any thread runs it."""
    put(taps, HOOKS)
