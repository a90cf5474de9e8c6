"""Where a run's layer states come from: the states store, the trunk run anew, or a trunk that is being changed."""

from __future__ import annotations

import time
from collections.abc import Collection

from accelerate import Accelerator

from trunkline.files import cache_dir, directory_bytes
from trunkline.states.budget import OverBudget
from trunkline.states.live import Feed, LiveStates
from trunkline.states.store import build_store
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.loop import Say
from trunkline.training.prepare import Split
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.tuners import TunedStates, TunedTrunk


class Feeds:
    """Opens the feeds of one run.

    Args:
        config: resolved.
        trunk: the run's; in fp32 where a tuner changes copies of it.
        precision: fp32 or bf16, in which such a copy holds what it does not train.
        accelerator: whose main process builds stores.
        say: told of the building.
    """

    def __init__(self, config: RunConfig, trunk: Trunk, precision: str, accelerator: Accelerator, say: Say) -> None:
        self.config, self.trunk, self.precision, self.accelerator, self.say = config, trunk, precision, accelerator, say
        self._frozen: Trunk | None = None  # the trunk in `precision`

    def open(self, split: Split, tuned: TunedTrunk | None, layers: Collection[int], cost: Cost) -> Feed:
        """The states of `layers` of a split: of the changed trunk, or from the store or live, as `training.states` says."""
        assert split.encoded is not None
        if tuned is not None:
            return TunedStates(tuned, split.encoded, self._lower_states(split, tuned, layers, cost))
        if self.config.training.states == "live":
            return LiveStates(self.trunk, split.encoded)
        return self._stored(split, self.trunk, layers, cost) or LiveStates(self.trunk, split.encoded)

    def _lower_states(self, split: Split, tuned: TunedTrunk, layers: Collection[int], cost: Cost) -> Feed | None:
        """The states of the last unchanged block, stored, if the changed trunk can begin there and nothing below is read."""
        if self.config.training.states == "live" or min(layers) <= tuned.lowest or not tuned.can_begin_above:
            return None
        if self._frozen is None:  # in the precision in which the changed trunk holds what it does not train
            section = self.config.trunk
            self._frozen = load_trunk(
                section.name, revision=section.revision, stack=section.stack, dtype=self.precision, device=self.trunk.device
            )
        return self._stored(split, self._frozen, [tuned.lowest], cost)

    def _stored(self, split: Split, trunk: Trunk, layers: Collection[int], cost: Cost) -> Feed | None:
        """The store of a split with `layers`; None where `training.states: auto` finds it too large."""
        training = self.config.training
        assert split.encoded is not None
        budget = None if training.states_budget_gb is None else int(training.states_budget_gb * 1e9)
        began = time.monotonic()
        store = None
        with self.accelerator.main_process_first():
            try:  # within, as an error that leaves the block and is caught lets the other processes wait for ever
                store = build_store(
                    trunk,
                    split.encoded,
                    root=cache_dir() / "states",
                    layers=layers,
                    dtype=training.states_dtype,
                    budget_bytes=budget,
                    progress=lambda done, total: self.say("states", split=split.name, done=done, total=total),
                )
            except OverBudget as error:
                over = error
        if store is None:
            if training.states == "store":
                raise over
            self.say("finding", text=f"{over}; the trunk runs in every epoch instead (training.states: live)")
            return None
        cost.states_seconds += time.monotonic() - began
        cost.states_bytes += directory_bytes(store.path)
        return store
