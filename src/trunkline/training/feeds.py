"""Where a run's layer states come from: the states store, the trunk run anew, or a trunk that is being changed."""

from __future__ import annotations

import time
from collections.abc import Collection

from accelerate import Accelerator

from trunkline.events import Finding, StatesProgress, Subscriber
from trunkline.files import cache_dir, directory_bytes
from trunkline.model.source import Source
from trunkline.states.budget import OverBudget
from trunkline.states.live import Feed
from trunkline.states.store import build_store
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.prepare import Split
from trunkline.trunk.load import Trunk, load_trunk


class Feeds:
    """Opens the feeds of one run.

    Args:
        config: resolved.
        trunk: the run's; in fp32 where a tuner changes copies of it.
        accelerator: whose main process builds stores.
        publish: told of the building.
    """

    def __init__(self, config: RunConfig, trunk: Trunk, accelerator: Accelerator, publish: Subscriber) -> None:
        self.config, self.trunk, self.accelerator, self.publish = config, trunk, accelerator, publish
        self._other: Trunk | None = None  # the trunk in another precision

    def open(self, split: Split, source: Source, layers: Collection[int], cost: Cost) -> Feed:
        """The states of `layers` of a split, with what can be stored read from the store, as `training.states` says."""
        assert split.encoded is not None
        stored = None
        if self.config.training.states != "live" and (kept := source.stored(layers)):
            stored = self._stored(split, self._trunk_in(source.stored_dtype(self.trunk)), kept, cost)
        return source.states(self.trunk, split.encoded, stored)

    def _trunk_in(self, dtype: str) -> Trunk:
        """The trunk in another precision, where that is not the run's own."""
        if dtype == self.trunk.dtype:
            return self.trunk
        if self._other is None:
            section = self.config.trunk
            self._other = load_trunk(
                section.name, revision=section.revision, stack=section.stack, dtype=dtype, device=self.trunk.device
            )
        return self._other

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
                    progress=lambda done, total: self.publish(StatesProgress(split.name, done, total)),
                )
            except OverBudget as error:
                over = error
        if store is None:
            if training.states == "store":
                raise over
            self.publish(Finding(f"{over}; the trunk runs in every epoch instead (training.states: live)"))
            return None
        cost.states_seconds += time.monotonic() - began
        cost.states_bytes += directory_bytes(store.path)
        return store
