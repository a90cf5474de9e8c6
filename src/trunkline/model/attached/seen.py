"""What was seen of a batch of texts, in one pass or in those of a generation, and what branches make of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from trunkline.branches import BranchGroup
from trunkline.branches.carried import Carried
from trunkline.branches.group import Pass
from trunkline.inputs.batching import Layout

Logits = dict[str, np.ndarray]


class Riders:
    """Branches that read one stack of a model.

    Args:
        groups: for each precision in which they compute, those that are read token by token, and those that need all tokens
            of a text at once.
    """

    def __init__(self, groups: Iterable[tuple[BranchGroup, BranchGroup]]) -> None:
        self.groups = tuple(groups)
        self.wanted = tuple(sorted({layer for pair in self.groups for group in pair for layer in group.wanted()}))


class Reading:
    """One pass on its way through the branches.

    Args:
        riders: the branches.
        real: bool (B, t), where the real tokens of the pass are; at least one in all.
        held: whether other passes may have more tokens of these texts. Then the states that branches need of all tokens at once
            are kept.
    """

    def __init__(self, riders: Riders, real: Tensor, *, held: bool) -> None:
        self.riders, self.real, self.held = riders, real, held
        lengths = real.sum(1)
        if not held:
            lengths = lengths[lengths > 0]  # a text without a token has no answer
        layout = Layout(lengths)
        self._index = None if layout.total == real.numel() else real.flatten().nonzero().squeeze(1)
        self.states: list[dict[int, Tensor]] = [{} for _ in riders.groups]  # by layer, the real rows
        self.passes: list[tuple[Pass, Pass]] = []
        for by_token, whole in riders.groups:
            device = (by_token if by_token.names else whole).device
            here = layout if lengths.device == device else Layout(lengths.to(device))
            self.passes.append((by_token.start(here), whole.start(here)))
        self.missing = set(riders.wanted)

    def read(self, layer: int, state: Tensor) -> None:
        """Take in the state (B, t, K) of a layer."""
        rows = state.reshape(-1, state.shape[-1])
        rows = rows if self._index is None else rows.index_select(0, self._index)
        for (by_token, whole), kept in zip(self.passes, self.states, strict=True):
            if layer in by_token.group.wanted():
                by_token.read(layer, rows)
            if layer in whole.group.wanted():
                if self.held:
                    kept[layer] = rows.to(whole.group.device, copy=True)
                else:
                    whole.read(layer, rows)
        self.missing.discard(layer)

    def finish(self) -> Logits:
        """The logits of every branch, of a pass that nothing follows."""
        return _on_cpu(one for pair in self.passes for one in pair)


class Seen:
    """A batch of B texts, all tokens of it so far.

    Args:
        riders: the branches.
        real: bool (B, t), where the real tokens of its first pass are.
        ids: int64 (B, t).
        reading: that pass; None where none of its tokens is real.
        held: whether other passes may have more of its tokens.

    Attributes:
        ids (np.ndarray | None): int64 (B, T), with padding; None where the model was given embeddings.
        real (np.ndarray): bool (B, T).
    """

    def __init__(self, riders: Riders, real: Tensor, ids: Tensor | None, reading: Reading | None, *, held: bool) -> None:
        self.riders = riders
        self.ids, self.real = None if ids is None else ids.cpu().numpy(), real.cpu().numpy()
        self._logits: Logits | None = None
        self._carried: list[Carried] | None = None
        if not held:
            self._logits = self._none() if reading is None else reading.finish()
            return
        # Those that were read: not one of a pass without any real token.
        self._columns = np.full(self.real.shape[1], reading is not None)
        self._carried = [Carried(by_token, len(self.real)) for by_token, _ in self.riders.groups]
        self._states: list[dict[int, Tensor]] = [{} for _ in self.riders.groups]  # (B, T, K) by layer
        if reading is not None:
            self._put(reading)

    def copy(self) -> Seen:
        """A copy that continues by itself; not of a batch that is settled."""
        assert self._carried is not None
        other = copy.copy(self)
        other._carried = [carried.copy() for carried in self._carried]
        other._states = [dict(kept) for kept in self._states]
        return other

    @property
    def answered(self) -> np.ndarray:
        """Which of the B texts have a real token, and so an answer: (B',) in order."""
        return np.flatnonzero(self.real.any(1))

    @property
    def length(self) -> int:
        """T."""
        return self.real.shape[1]

    def add(self, reading: Reading | None, real: Tensor, ids: Tensor | None) -> None:
        """Put the tokens of another pass behind those that are here; there is no reading where none of them is real."""
        self._logits = None
        self.real = np.concatenate([self.real, real.cpu().numpy()], 1)
        if self.ids is not None:
            self.ids = None if ids is None else np.concatenate([self.ids, ids.cpu().numpy()], 1)
        self._columns = np.concatenate([self._columns, np.full(real.shape[1], reading is not None)])
        if reading is not None:
            self._put(reading)

    def take(self, rows: np.ndarray) -> None:
        """Hold these of its texts from now on, in this order; a text may be there several times."""
        self._logits = None
        self.real, self.ids = self.real[rows], None if self.ids is None else self.ids[rows]
        index = torch.from_numpy(rows)
        for carried in self._carried or ():
            carried.take(index)
        self._states = [{layer: state[index.to(state.device)] for layer, state in kept.items()} for kept in self._states]

    def alike(self, rows: list[int]) -> bool:
        """Whether these of its texts have the same tokens so far."""
        parts = [self.real[rows]] + ([] if self.ids is None else [self.ids[rows]])
        return all(bool((part == part[:1]).all()) for part in parts)

    def crop(self, columns: int) -> None:
        """Keep the first columns only (see `Carried.crop`)."""
        self._logits = None
        self.real, self.ids = self.real[:, :columns], None if self.ids is None else self.ids[:, :columns]
        self._columns = self._columns[:columns]
        left = int(self._columns.sum())
        for carried in self._carried or ():
            carried.crop(left)
        self._states = [{layer: state[:, :left] for layer, state in kept.items()} for kept in self._states]

    def logits(self) -> Logits:
        """float32 by branch: (B', C) at text level, (N, C) at unit level for all N real tokens, text by text."""
        if self._logits is None and not self.real.any():
            self._logits = self._none()
        if self._logits is None:
            assert self._carried is not None
            found = [_numpy(carried.finish()) for carried in self._carried if carried.group.names]
            found += [_on_cpu([one]) for one in self._whole()]
            self._logits = {name: own for part in found for name, own in part.items()}
        return self._logits

    def _none(self) -> Logits:
        """Of texts without a token."""
        return {name: np.zeros((0, 0), np.float32) for pair in self.riders.groups for group in pair for name in group.names}

    def settle(self) -> None:
        """Compute the logits, and let go of the carries: nothing follows."""
        self.logits()
        self._carried, self._states = None, []

    def _put(self, reading: Reading) -> None:
        assert self._carried is not None
        for carried, (by_token, _) in zip(self._carried, reading.passes, strict=True):
            if carried.group.names:
                carried.add(by_token, reading.real)
        for kept, new in zip(self._states, reading.states, strict=True):
            for layer, rows in new.items():
                real = reading.real.to(rows.device)
                state = rows.new_zeros(*real.shape, rows.shape[1])
                state[real] = rows
                kept[layer] = torch.cat([kept[layer], state], 1) if layer in kept else state

    def _whole(self) -> Iterable[Pass]:
        """Branches that need all tokens at once, fed with the states that were kept."""
        mask = torch.from_numpy(self.real[self.answered][:, self._columns])
        for (_, group), kept in zip(self.riders.groups, self._states, strict=True):
            if not group.names:
                continue
            real, texts = mask.to(group.device), torch.from_numpy(self.answered).to(group.device)
            passed = group.start(Layout(real.sum(1)))
            for layer in group.wanted():
                passed.read(layer, kept[layer][texts][real])
            yield passed


def _on_cpu(passes: Iterable[Pass]) -> Logits:
    return {name: own for one in passes if one.group.names for name, own in _numpy(one.finish()).items()}


def _numpy(logits: dict[str, Tensor]) -> Logits:
    return {name: own.float().cpu().numpy() for name, own in logits.items()}
