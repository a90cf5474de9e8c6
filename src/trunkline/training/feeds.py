"""Where a run's layer states come from: the states store, the trunk run anew, or a trunk that is being changed."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from trunkline.errors import BadInput
from trunkline.events import Finding, StatesProgress, Subscriber
from trunkline.files import cache_dir, directory_bytes
from trunkline.inputs.encoded import Encoded
from trunkline.model.source import Source
from trunkline.states.budget import OverBudget
from trunkline.states.live import Feed
from trunkline.states.store import build_store, check_room
from trunkline.training.agreement import agreed
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.prepare import Split
from trunkline.trunk.load import Trunk, load_trunk

HEAD_START = 1.0  # seconds that the process which shows progress has, to be the one that builds


class Feeds:
    """Opens the feeds of one run.

    Args:
        config: resolved.
        trunk: the run's; in fp32 where a tuner changes copies of it.
        accelerator: whose main process decides whether stores are built, and builds them.
        publish: told of the building.
    """

    def __init__(self, config: RunConfig, trunk: Trunk, accelerator: Accelerator, publish: Subscriber) -> None:
        self.config, self.trunk, self.accelerator, self.publish = config, trunk, accelerator, publish
        self._other: Trunk | None = None  # the trunk in another precision

    def open(
        self, split: Split, source: Source, layers: Collection[int], cost: Cost, noted: str | None = None
    ) -> tuple[Feed, str]:
        """The states of `layers` of a split, what can be stored from the store, and whether that is "store" or "live".

        Args:
            split: whose texts.
            source: what makes the states.
            layers: those that may be asked for.
            cost: charged with the building of a store.
            noted: which of the two a run that is resumed began with; `training.states: auto` decides the same.

        Raises:
            OverBudget: `training.states: store`, and they are too large.
            BadInput: the run began with stored states, and they are too large now.
        """
        assert split.encoded is not None
        stored = None
        if self.config.training.states != "live" and (kept := source.stored(layers)):
            stored = self._stored(split, self._trunk_in(source.stored_dtype(self.trunk)), kept, cost, noted)
        return source.states(self.trunk, split.encoded, stored), "live" if stored is None else "store"

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

    def _stored(self, split: Split, trunk: Trunk, layers: Collection[int], cost: Cost, noted: str | None) -> Feed | None:
        """The store of a split with `layers`; None where `training.states: auto` finds it too large, or found it so before."""
        training = self.config.training
        if training.states == "auto" and noted == "live":
            self.publish(Finding("the trunk runs in every epoch, as it did before (training.states: auto)"))
            return None
        assert split.encoded is not None
        budget = None if training.states_budget_gb is None else int(training.states_budget_gb * 1e9)
        about = (trunk, split.encoded, cache_dir() / "states", layers, training.states_dtype)
        began = time.monotonic()
        if over := agreed(self.accelerator, partial(_too_large, *about, budget)):
            if training.states == "store":
                raise OverBudget(over)
            if noted == "store":
                raise BadInput(
                    f"{over}; this run began with stored states, and without them it would end with other bits: make room, "
                    "or use --fresh to train anew"
                )
            self.publish(Finding(f"{over}; the trunk runs in every epoch instead (training.states: live)"))
            return None
        if not self.accelerator.is_local_main_process:
            # A build may take hours, which no barrier waits for. So the others wait for the lock that the builder holds.
            time.sleep(HEAD_START)
        store = build_store(
            *about,
            budget_bytes=budget,
            progress=lambda done, total: self.publish(StatesProgress(split.name, done, total)),
        )
        cost.states_seconds += time.monotonic() - began
        cost.states_bytes += directory_bytes(store.path)
        return store


def _too_large(
    trunk: Trunk, encoded: Encoded, root: Path, layers: Collection[int], dtype: str, budget: int | None
) -> str | None:
    """Why a store may not be built, as one sentence."""
    try:
        check_room(trunk, encoded, root, layers, dtype, budget_bytes=budget)
    except OverBudget as error:
        return str(error)
    return None
