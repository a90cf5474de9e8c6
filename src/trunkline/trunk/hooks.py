"""The hooks of the layer stream on the modules of a model: for as long as somebody listens, or for good on trunks of our own.

Functions of a module are the hooks, the same for every listener and model, so that a model has each at most once, however many
blocks and threads read it, and copies of a model take them along as they are.

While it handles an error of a pass, torch walks through the hooks of a module, so that a thread which adds or removes one at
that moment disturbs it. `run_layers` ends each of its passes by an error: models of our own, which threads share, keep their
hooks. A user's model has them from the first block of any thread to the end of the last, and nothing is left on it then: what
is pickled with them could be read only where Trunkline is installed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.utils.hooks import RemovableHandle

from trunkline.trunk.architectures import Taps

Hook = Callable[..., None]


@dataclass(frozen=True)
class Hooks:
    """What is called of a model's modules.

    Attributes:
        call: before the module that is given the token ids.
        begin: before the module whose call spans the stack.
        end: after it, also where it failed.
        first: before block 1.
        after: after each module that makes a state.
    """

    call: Hook
    begin: Hook
    end: Hook
    first: Hook
    after: Hook

    def places(self, taps: Taps) -> list[tuple[nn.Module, Hook]]:
        """Which module has which. What is called first has its hook first: where the stack is given the token ids itself, it is
        told of them as it begins.
        """
        states = [(module, self.after) for module in dict.fromkeys(taps.states)]
        return [(taps.entry, self.call), (taps.root, self.end), (taps.root, self.begin), (taps.first, self.first), *states]

    def on(self, module: nn.Module, hook: Hook) -> MutableMapping[int, Any]:
        """The hooks of a module among which `hook` is."""
        return module._forward_hooks if hook in (self.end, self.after) else module._forward_pre_hooks

    def register(self, module: nn.Module, hook: Hook) -> RemovableHandle:
        """Put one on a module."""
        if hook is self.end:
            return module.register_forward_hook(hook, always_call=True)
        if hook is self.after:
            return module.register_forward_hook(hook)
        return module.register_forward_pre_hook(hook, with_kwargs=hook is not self.begin)


@dataclass
class _Held:
    """A hook that is on a module for the sake of some blocks."""

    handle: RemovableHandle
    blocks: int = 0


_CHANGING = threading.Lock()
_HELD: WeakKeyDictionary[nn.Module, dict[Hook, _Held]] = WeakKeyDictionary()


def put(taps: Taps, hooks: Hooks) -> None:
    """Put hooks on a model for good, where it has them not."""
    with _CHANGING:
        for module, hook in hooks.places(taps):
            if hook not in hooks.on(module, hook).values():
                hooks.register(module, hook)


@contextmanager
def hooked(taps: Taps, hooks: Hooks) -> Iterator[None]:
    """Within the block a model has the hooks; afterwards too where it had them for good."""
    mine: list[tuple[nn.Module, Hook]] = []
    with _CHANGING:
        for module, hook in hooks.places(taps):
            held = _HELD.get(module, {}).get(hook)
            if held is None:
                if hook in hooks.on(module, hook).values():
                    continue
                held = _Held(hooks.register(module, hook))
                _HELD.setdefault(module, {})[hook] = held
            held.blocks += 1
            mine.append((module, hook))
    try:
        yield
    finally:
        with _CHANGING:
            for module, hook in mine:
                held = _HELD[module][hook]
                held.blocks -= 1
                if not held.blocks:
                    held.handle.remove()
                    del _HELD[module][hook]
                    if not _HELD[module]:
                        del _HELD[module]


def put_last(taps: Taps, hooks: Hooks) -> None:
    """Let hooks that others have added to layers since come before ours, so that what they change counts."""
    for module, hook in hooks.places(taps)[3:]:
        found = hooks.on(module, hook)
        if [*found.values()][-1:] != [hook]:
            with _CHANGING:
                number = next((number for number, one in [*found.items()] if one is hook), None)
                if number is not None:
                    found.move_to_end(number)  # type: ignore[attr-defined]
