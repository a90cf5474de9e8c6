"""What a few batches of a unit show of how long it will take: it is trained, in a temporary folder, on a few of its own rows.

All is done by the code of the study: two epochs of BATCHES batches, of which the second one counts, evaluations, saving. Only
the layer states are kept in memory, and the pass of the trunk that computes them is timed. Nothing is written elsewhere.

For `method: auto` AdaLayers is trained, as often as its search may cost, and once more.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from trunkline.branches.auto import AutoConfig
from trunkline.errors import TrunklineError
from trunkline.events import quiet
from trunkline.files import directory_bytes
from trunkline.inputs.encoded import Encoded, ranges
from trunkline.model.frozen import FROZEN
from trunkline.model.source import Source
from trunkline.states.live import Feed, LiveStates, ReceiveRows
from trunkline.states.manifest import DTYPES, bytes_per_token
from trunkline.states.store import BATCH_TOKENS
from trunkline.studies.estimates.pace import Pace, method_of, trunk_of
from trunkline.studies.estimates.work import Work, encoded_of, texts_of
from trunkline.studies.plan import Unit
from trunkline.studies.times import timed_texts
from trunkline.studies.units import reason
from trunkline.training import clock
from trunkline.training.auto.budget import TOTAL
from trunkline.training.auto.family import plain
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost, forget_peak, peak_memory
from trunkline.training.feeds import Feeds, Noted, StatesConfig
from trunkline.training.fit import RunResult
from trunkline.training.prepare import Prepared, Split
from trunkline.training.resumable import Interrupted
from trunkline.training.run import Run
from trunkline.training.sampling import Batch, draw_batches
from trunkline.training.stacked import RunMember, member_of, stack_key, train_members
from trunkline.training.train import Training
from trunkline.trunk.load import Trunk

BATCHES = 2  # of an epoch: the first one, and the one that needs most memory
TEXTS, TOKENS = 512, 4096  # of validation and of test, at most: a whole batch of judging (model/apply.py)


class Probe:
    """Measures units, one after the other; those that read the same texts share the reading.

    Attributes:
        findings: what was noticed in the data, texts that are too long for the trunk included; each once.
    """

    def __init__(self) -> None:
        self._read: tuple[str, Run] | None = None
        self.findings: dict[str, None] = {}

    def measure(self, unit: Unit) -> Pace:
        """Train a unit on a few rows.

        Raises:
            TrunklineError: that fails, as it would fail in the study; in a sentence that holds no text.
            KeyboardInterrupt: on SIGINT or SIGTERM.
        """
        if self._read is not None and self._read[0] != stack_key(unit.runs[0].config):
            self._read = None  # before another is made, as both would be in memory otherwise
        forget_peak()
        config, times = unit.runs[0].config, 1.0
        if isinstance(config.method, AutoConfig):
            config, times = plain(config), TOTAL
        try:
            with config.naming(), tempfile.TemporaryDirectory(prefix="trunkline-probe-") as folder:
                pace = _measured(unit, self._run(config), Path(folder))
                return replace(pace, training=times * pace.training, scoring=times * pace.scoring)
        except Interrupted:  # whose words are about a run that can be resumed
            raise KeyboardInterrupt("interrupted while measuring; nothing of the study is lost") from None
        except Exception as error:  # of whatever library, whose words might hold a text
            raise TrunklineError(reason(error)) from error

    def _run(self, config: RunConfig) -> Run:
        key = stack_key(config)
        if key is None or self._read is None or self._read[0] != key:
            self._read = None
            self._read = (key or "", Run(config, quiet))
            self.findings |= dict.fromkeys(self._read[1].findings)
        return self._read[1]


def _measured(unit: Unit, run: Run, folder: Path) -> Pace:
    load, read = run.clock.spent["load"], run.clock.spent["read"]
    work, source = Work.of(run), run.first[1]  # of frozen trunks there is but one
    small = _on_few(run)
    few = Work.of(small)
    began = clock.now()
    members = _members(unit, small, folder) if unit.stacked else []
    layers = sorted({layer for member in members for layer in member.run.layers} or run.layers)
    depths = {
        method_of(run): max(member.run.layers, default=0) / max(1, *layers)
        for run, member in zip(unit.runs, members, strict=bool(members))
    }
    took = clock.now() - began
    splits = [group.splits[name] for group in run.groups for name in ("train", "validation")]
    lacking = [run.feeds.lacking(split, source, layers) for split in splits]
    found = [count for count in lacking if count is not None]  # all or none, but where the disk has room for one of them only
    stores = len(found) == len(lacking)
    kept = tuple(source.stored(layers)) if stores else ()
    run.first = ({}, FROZEN)  # what is trained belongs to `small` alone, which lets go of it in time
    del source
    small.feeds = held = Held(small.config, small.trunk, small.accelerator, stores)
    began = clock.now()
    cost, disk = _trained(small, members, folder)
    took += clock.now() - began
    warm = cost.epochs[1::2] or cost.epochs
    training = sum(epoch.seconds for epoch in warm) / max(sum(epoch.tokens for epoch in warm), 1)
    scoring = sum(epoch.evaluation_seconds for epoch in warm) / max(few.scored, 1)
    known = sum(epoch.seconds + epoch.evaluation_seconds for epoch in cost.epochs) + held.seconds
    known += scoring * few.last + (held.passing * few.tested if stores else 0.0)
    stored = sum(int(encoded_of(split).lengths.sum()) for split in splits) if stores else 0
    return Pace(
        trunk=trunk_of(unit.runs[0]),
        size=unit.runs[0].cell.size,
        stacked=unit.stacked,
        runs=len(unit.runs),
        rows=work.rows,
        epochs=run.config.training.epochs,
        load=load,
        read=read,
        passing=held.passing if stores else 0.0,
        training=training,
        scoring=scoring,
        rest=max(took - known, 0.0),
        tokens=work.tokens,
        judged=work.judged,
        last=work.last,
        stored=stored,
        found=stored - sum(found) if stores else 0,
        tested=work.tested if stores else 0,
        timed=_timed(run),
        layers=kept,
        bytes=bytes_per_token(run.trunk.hidden_size, run.config.training.states_dtype) * len(kept),
        disk=disk,
        memory=peak_memory(run.accelerator.device),
        depths=depths,
    )


def _timed(run: Run) -> int:
    """The tokens of the texts that predictions are timed on once the study is trained (times.py)."""
    encoded = encoded_of(run.groups[0].splits["test"])
    return int(encoded.lengths[encoded.text_of < timed_texts(encoded)].sum())


def _members(unit: Unit, small: Run, folder: Path) -> list[RunMember]:
    members = []
    for run in unit.runs:
        config = run.config.model_copy(update={"training": _brief(run.config)})
        members.append(member_of(small, run.key, config, folder / run.key))
    return members


def _trained(small: Run, members: list[RunMember], folder: Path) -> tuple[Cost, int]:
    """The cost of training on few rows, and the bytes on disk of each run."""
    if not members:
        summary = Training(small, folder / "run").train()
        return Cost.from_dict(summary["cost"]), directory_bytes(folder / "run")
    found: dict[str, RunResult | TrunklineError] = {}
    train_members(small, members, folder / "checkpoint", found)
    results = [one for one in found.values() if isinstance(one, RunResult)]
    if not results:
        raise next(one for one in found.values() if isinstance(one, TrunklineError))
    return Cost.from_dict(results[0].cost), sum(directory_bytes(one.path) for one in results) // len(results)


def _brief(config: RunConfig) -> Any:
    return config.training.model_copy(update={"epochs": 2, "evaluate_every": "epoch", "patience": None})


def _on_few(run: Run) -> Run:
    """A run on a few rows of each split, in batches as they are in the study."""
    groups = []
    for group in run.groups:
        batches = _first_and_largest(draw_batches([texts_of(group, group.tasks)], run.config.training, 0))
        texts = np.unique(encoded_of(group.splits["train"]).text_of[np.concatenate([batch.sequences for batch in batches])])
        splits = {"train": _selected(group, "train", texts)}
        for name in group.splits.keys() - {"train"}:
            encoded = encoded_of(group.splits[name])
            order = np.random.default_rng(0).permutation(encoded.n_texts)[:TEXTS]
            lengths = np.bincount(encoded.text_of, weights=encoded.lengths)
            count = max(1, int(np.searchsorted(np.cumsum(lengths[order]), TOKENS)))
            splits[name] = _selected(group, name, order[:count])
        groups.append(replace(group, splits=splits))
    small = run.on(groups, run.config.training.seed)
    small.config = small.config.model_copy(update={"training": _brief(small.config)})
    return small


def _first_and_largest(batches: list[Batch]) -> list[Batch]:
    """BATCHES of them; the largest is that with most tokens, padding included."""

    def padded(batch: Batch) -> int:
        lengths = batch.source.train.encoded.lengths[batch.sequences]
        return len(lengths) * int(lengths.max())

    return [*batches[: BATCHES - 1], *sorted(batches[BATCHES - 1 :], key=padded)[-1:]]


def _selected(group: Prepared, name: str, texts: np.ndarray) -> Split:
    """These texts of a split, and one with a label of each task that has none among them."""
    split = group.splits[name]
    more: list[int] = []
    for key, task in group.tasks.items():
        supervision = split.supervision({key: task})[key]
        labelled = np.unique(supervision.encoded.text_of[supervision.supervised])
        more += [] if np.isin(labelled, texts).any() else labelled[:1].tolist()
    texts = np.unique(np.concatenate([texts, np.array(more, texts.dtype)]))
    targets = {key: own.of_texts(texts) for key, own in split.targets.items()}
    return Split(name, split.corpus.select(texts.tolist()), targets, encoded_of(split).of_texts(texts))


class Held(Feeds):
    """Keeps layer states in memory, if it `stores` them.

    Attributes:
        seconds: that computing them took.
        passing: seconds a token of that, once the trunk was warm.
    """

    def __init__(self, config: StatesConfig, trunk: Trunk, accelerator: Accelerator, stores: bool) -> None:
        super().__init__(config, trunk, accelerator, quiet)
        self.stores = stores
        self.seconds, self._timed, self._tokens = 0.0, 0.0, 0

    @property
    def passing(self) -> float:
        return self._timed / max(self._tokens, 1)

    def open(
        self, split: Split, source: Source, layers: Collection[int], cost: Cost, noted: Noted | None = None
    ) -> tuple[Feed, Noted]:
        encoded, kept = encoded_of(split), source.stored(layers)
        if not self.stores or not kept:
            return source.states(self.trunk, encoded), Noted("live", [])
        began = clock.now()
        states = _HeldStates(self.trunk, encoded, kept, self.config.training.states_dtype)
        self.seconds += clock.now() - began
        self._timed, self._tokens = self._timed + states.seconds, self._tokens + states.tokens
        return source.states(self.trunk, encoded, states), Noted("store", [])


class _HeldStates:
    """A feed of states that were computed before, as a store has them.

    Attributes:
        seconds, tokens: of the pass, without its first batch where it has several.
    """

    def __init__(self, trunk: Trunk, encoded: Encoded, layers: Collection[int], dtype: str) -> None:
        self.layers, self.hidden_size, self.lengths = tuple(sorted(layers)), trunk.hidden_size, np.asarray(encoded.lengths)
        live, order = LiveStates(trunk, encoded), np.argsort(self.lengths, kind="stable")
        kept = torch.float32 if dtype == "fp32" else DTYPES["bf16"]
        parts: dict[int, list[Tensor]] = {layer: [] for layer in self.layers}
        self.seconds, self.tokens = 0.0, 0
        for number, batch in enumerate(_batches(order, self.lengths)):
            began = clock.now()
            live.feed(batch, self.layers, lambda layer, rows: parts[layer].append(rows.to("cpu", kept, copy=True)))
            if number or len(order) == len(batch):
                self.seconds, self.tokens = self.seconds + clock.now() - began, self.tokens + int(self.lengths[batch].sum())
        self._states = {layer: torch.cat(rows) for layer, rows in parts.items()}
        self._first = np.empty(len(order), np.int64)
        self._first[order] = np.cumsum(self.lengths[order]) - self.lengths[order]

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        chosen = torch.from_numpy(ranges(self._first[sequences], self.lengths[sequences]))
        for layer in sorted(set(layers)):
            receive(layer, self._states[layer].index_select(0, chosen))


def _batches(order: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Batches of at most BATCH_TOKENS padded tokens, and two at least, so that the first one can warm the trunk up."""
    tokens = min(BATCH_TOKENS, math.ceil(int(lengths.sum()) / 2))
    found, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or int(lengths[order[end]]) * (end + 1 - start) > tokens:
            found.append(order[start:end])
            start = end
    return found
