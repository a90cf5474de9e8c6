"""Where a run's layer states come from: states stores, the trunk run again, or a tuned trunk."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Literal, NamedTuple, Protocol

from accelerate import Accelerator

from trunkline.errors import TRAIN_AGAIN, BadInput
from trunkline.events import Finding, StatesProgress, StatesStored, Subscriber
from trunkline.files import cache_dir
from trunkline.inputs.encoded import Encoded
from trunkline.model.source import Source
from trunkline.states.budget import OverBudget
from trunkline.states.fill import Fill, fill_here
from trunkline.states.live import Feed
from trunkline.states.manifest import key_parts, store_key
from trunkline.states.reuse import JoinedStates, Stored, find_stored, open_states
from trunkline.states.store import BATCH_TOKENS, check_room
from trunkline.states.uses import note_use
from trunkline.training.agreement import agreed
from trunkline.training.cost import Cost
from trunkline.training.prepare import Split
from trunkline.training.sections import TrunkSection
from trunkline.trunk.load import Trunk, load_trunk

HEAD_START = 1.0  # seconds that the process which shows progress has, to be the one that builds


class Noted(NamedTuple):
    """Where the states of a split come from, as a checkpoint notes it for the run that resumes there.

    Attributes:
        states: "store" or "live".
        stores: the keys of the stores that are read, in order; None where an older version has not noted them.
    """

    states: str
    stores: list[str] | None = None


class StatesSettings(Protocol):
    """The keys of `training` that say how layer states are kept."""

    @property
    def states(self) -> Literal["auto", "store", "live"]: ...

    @property
    def states_dtype(self) -> str: ...

    @property
    def states_budget_gb(self) -> float | None: ...


class StatesConfig(Protocol):
    """What of a config the feeds depend on."""

    @property
    def trunk(self) -> TrunkSection: ...

    @property
    def training(self) -> StatesSettings: ...


class Feeds:
    """Opens the feeds of one run.

    Args:
        config: resolved; that of a run or of a distillation.
        trunk: the run's; in fp32 where a tuner changes copies of it.
        accelerator: whose main process decides whether stores are built, and builds them.
        publish: told of the building.

    Attributes:
        fill: what fills the shards of stores that are built.
    """

    fill: Fill

    def __init__(self, config: StatesConfig, trunk: Trunk, accelerator: Accelerator, publish: Subscriber) -> None:
        self.config, self.trunk, self.accelerator, self.publish = config, trunk, accelerator, publish
        self.fill = fill_here
        self._other: Trunk | None = None  # the trunk in another precision

    def open(
        self, split: Split, source: Source, layers: Collection[int], cost: Cost, noted: Noted | None = None
    ) -> tuple[Feed, Noted]:
        """The states of `layers` of a split, what can be stored from stores, and what a checkpoint is to note of it.

        Args:
            split: whose texts.
            source: what makes the states.
            layers: those that may be asked for.
            cost: charged with the building of a store.
            noted: what a run that is resumed began with: it decides the same and reads the same stores.

        Raises:
            OverBudget: `training.states: store`, and they are too large.
            BadInput: the run began with stored states, and they are too large now.
        """
        assert split.encoded is not None
        stored = None
        if self.config.training.states != "live" and (kept := source.stored(layers)):
            stored = self._stored(split, self._trunk_in(source.stored_dtype(self.trunk)), kept, cost, noted)
        now = Noted("live", []) if stored is None else Noted("store", stored.keys)
        return source.states(self.trunk, split.encoded, stored), now

    def lacking(self, split: Split, source: Source, layers: Collection[int]) -> int | None:
        """How many tokens of a split have no stored states yet, though `open` would store them. Nothing is computed.

        None: `open` would store none. OverBudget: as of it.
        """
        kept = source.stored(layers)
        if self.config.training.states == "live" or not kept:
            return None
        assert split.encoded is not None
        stored, over = self._look(self._trunk_in(source.stored_dtype(self.trunk)), split.encoded, kept)
        if over is not None and self.config.training.states == "store":
            raise over
        return int(split.encoded.lengths[stored.missing].sum()) if over is None else None

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

    @property
    def _budget(self) -> int | None:
        gigabytes = self.config.training.states_budget_gb
        return None if gigabytes is None else int(gigabytes * 1e9)

    def _look(
        self, trunk: Trunk, encoded: Encoded, layers: Collection[int], only: list[str] | None = None
    ) -> tuple[Stored, OverBudget | None]:
        """What is stored of a corpus, and why the rest may not be."""
        root, dtype = cache_dir() / "states", self.config.training.states_dtype
        stored = find_stored(trunk, encoded, root, layers, dtype, only=only)
        try:
            if (lacking := stored.lacking) is not None:
                check_room(trunk, lacking, root, layers, dtype, budget_bytes=self._budget)
        except OverBudget as error:
            return stored, error
        return stored, None

    def _stored(
        self, split: Split, trunk: Trunk, layers: Collection[int], cost: Cost, noted: Noted | None
    ) -> JoinedStates | None:
        """The stored states of `layers` of a split, those that are not there yet computed; None where `training.states: auto`
        finds them too large, or found them so before."""
        training = self.config.training
        if training.states == "auto" and noted is not None and noted.states == "live":
            self.publish(Finding("the trunk runs in every epoch, as it did before (training.states: auto)"))
            return None
        encoded = split.encoded
        assert encoded is not None
        root, dtype = cache_dir() / "states", training.states_dtype
        first = None  # the stores that the run began with
        if noted is not None and noted.states == "store":  # of an older version: always the one of the whole corpus
            first = noted.stores or [store_key(key_parts(trunk, encoded, dtype, BATCH_TOKENS))]
        began, looked = time.monotonic(), list[Stored]()

        def decide() -> tuple[str | None, list[str]]:
            """Why the states may not be stored, as one sentence; and the stores to read, which are held from then on."""
            stored, error = self._look(trunk, encoded, layers, first)
            looked.append(stored)
            return (None, stored.keys) if error is None else (str(error), [])

        over, keys = agreed(self.accelerator, decide)
        if over:
            if training.states == "store":
                raise OverBudget(over)
            if noted is not None and noted.states == "store":
                raise BadInput(
                    f"{over}; this run started with stored states, and without them its result would differ",
                    remedy="free disk space",
                    option=TRAIN_AGAIN,
                )
            self.publish(Finding(f"{over}; the trunk runs in every epoch instead (training.states: live)"))
            return None
        if not self.accelerator.is_local_main_process:
            # A build may take hours, which no barrier waits for. So the others wait for the lock that the builder holds.
            time.sleep(HEAD_START)
        computed = list[int]()

        def progress(done: int, total: int) -> None:
            computed.append(done)
            self.publish(StatesProgress(split.name, done, total))

        feed = open_states(
            trunk,
            looked[0] if looked else find_stored(trunk, encoded, root, layers, dtype, only=keys),
            root,
            layers,
            dtype,
            budget_bytes=self._budget,
            progress=progress,
            fill=self.fill,
        )
        if first is not None and feed.keys != first:
            self.publish(
                Finding(
                    f"{split.name}: states that this run started with are missing and were computed again: the result equals "
                    "that of an uninterrupted run up to rounding only"
                )
            )
        if self.accelerator.is_main_process:
            for store in feed.stores:
                note_use(store.path, split.corpus.table.source, split.name)
            if computed:
                self.publish(StatesStored(split.name, root, feed.bytes(len(layers))))
        cost.states_seconds += time.monotonic() - began
        cost.states_bytes += feed.bytes(len(layers))
        return feed
