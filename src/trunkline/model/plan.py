"""Which branches answer from which pass: made once, never changed, and replaced as a whole when branches come or go.

A prediction takes the plan as it is when it begins, so threads may predict while another one adds a branch.

Branches trained with different maximum lengths or precisions do not answer from the same pass, nor do those that read pairs
and those that read single texts: each one sees what it was trained on. A branch that changes its trunk has a pass of its own,
but for those that were trained together: they hold the same changed trunk, and it runs once for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trunkline.branches import BranchGroup
from trunkline.data.corpus import Corpus
from trunkline.data.guess.names import ByTask
from trunkline.errors import BadInput
from trunkline.inputs.cutting import Cut
from trunkline.inputs.encoded import Encoded
from trunkline.model.apply import frozen_group
from trunkline.model.arguments import OfTexts
from trunkline.model.branch import Branch
from trunkline.model.frozen import FROZEN
from trunkline.model.source import Source
from trunkline.states.live import Feed
from trunkline.states.reuse import find_stored, open_states
from trunkline.trunk.load import Trunk

WORTH_A_LOOK = 32  # sequences: to run the trunk over fewer takes less time than to look through the stores
CHARACTERS = 16  # of a text that is cut, how many may matter for each token of its maximum length


@dataclass(frozen=True, eq=False)
class PlannedPass:
    """Branches that answer from the same pass of `trunk`, or of the changed copy of it that `source` is.

    `precision` (fp32 or bf16) is that in which the branches compute on its states.
    """

    trunk: Trunk
    source: Source
    cut: Cut
    precision: str
    pairs: bool
    branches: Mapping[str, Branch]
    group: BranchGroup  # their weights, stacked and cast once

    @property
    def dtype(self) -> str:
        """The precision in which the states are computed: fp32, bf16 or int8."""
        return self.source.stored_dtype(self.trunk)

    def states(self, encoded: Encoded, stored: str | None = None) -> Feed:
        """The layer states of `encoded`: the trunk is run, unless all of them are in states stores of the dtype `stored`."""
        return self.source.states(self.trunk, encoded, None if stored is None else self._stored(encoded, stored))

    def _stored(self, encoded: Encoded, dtype: str) -> Feed | None:
        """The states from the stores, where these have them all, and as exactly as the trunk computes them."""
        if self.source.trunk is not None or dtype not in ("fp32", self.trunk.dtype) or len(encoded.lengths) < WORTH_A_LOOK:
            return None
        layers = self.group.wanted()
        found = find_stored(self.trunk, encoded, None, layers, dtype)
        if len(found.missing) or not found.stores:
            return None
        return open_states(self.trunk, found, None, layers, dtype)


class Plan:
    """The passes of some branches.

    Args:
        trunks: the trunk that all branches belong to, by its precision, in every precision that they were trained on.
        branches: by name.
        moved: by name of a branch, the trunk that it reads instead (see precision.py).
    """

    def __init__(
        self, trunks: Mapping[str, Trunk], branches: Mapping[str, Branch], moved: Mapping[str, Trunk] | None = None
    ) -> None:
        self.trunks = MappingProxyType(dict(trunks))
        self.branches = MappingProxyType(ByTask(branches))
        self.moved = MappingProxyType({name: trunk for name, trunk in (moved or {}).items() if name in branches})
        groups: dict[tuple[Any, ...], dict[str, Branch]] = {}
        for name, branch in self.branches.items():
            trunk, source = self._read_by(name, branch)
            key = trunk, source, branch.max_length, self._precision(name, branch), branch.text_pair is not None
            groups.setdefault(key, {})[name] = branch
        passes = []
        for (trunk, source, max_length, precision, pairs), members in groups.items():
            whole = {branch.task.answers.whole for branch in members.values()}
            cut = Cut(max_length, windows=True in whole, cut=False in whole)
            group = frozen_group({name: branch.module for name, branch in members.items()}, precision)
            passes.append(PlannedPass(trunk, source, cut, precision, pairs, MappingProxyType(members), group))
        self.passes = tuple(passes)

    def _read_by(self, name: str, branch: Branch) -> tuple[Trunk, Source]:
        """The trunk that a branch reads, and how."""
        if name in self.moved:
            return self.moved[name], FROZEN
        return branch.source.trunk or self.trunks[branch.trunk.precision], branch.source

    def _precision(self, name: str, branch: Branch) -> str:
        """That in which a branch computes: as it was trained, but in fp32 where fp32 was asked for instead, as its answer to a
        text would otherwise still depend on the texts beside it.
        """
        return "fp32" if name in self.moved and self.moved[name].dtype == "fp32" else branch.precision

    def pass_of(self, name: str) -> PlannedPass:
        """The pass that a branch answers from."""
        return next(one for one in self.passes if name in one.branches)

    @property
    def reads_words(self) -> bool:
        """Whether a branch answers for the words of a text."""
        return any(branch.task.answers.units for branch in self.branches.values())

    @property
    def reads_audio(self) -> bool:
        """Whether the trunk of the branches reads audio clips, not texts."""
        return any(one.trunk.reads == "audio" for one in self.passes)

    def check_pairs(self, given: bool, names: Collection[str] | None = None) -> None:
        """Raise BadInput where second texts are missing, or are given and no branch (of `names`) reads them."""
        reading = {name for one in self.passes if one.pairs for name in one.branches if names is None or name in names}
        if reading and not given:
            trained = f"branch {min(reading)!r} was trained on pairs"
            raise OfTexts("pairs", found="none", expected=f"the second text of each, as {trained}")
        if given and not reading:
            none = "no branch" if not any(one.pairs for one in self.passes) else "none of the branches that are asked"
            raise OfTexts("pairs", found="second texts", expected=f"none, as {none} was trained on pairs")

    def encode(self, corpora: Mapping[bool, Corpus]) -> list[Encoded]:
        """What each pass reads, in order, without those that have no text: tokenised once for all passes that read texts alone,
        and once for those that read pairs.

        Args:
            corpora: the texts, by whether second texts are read too.
        """
        found: dict[PlannedPass, Encoded] = {}
        for pairs, corpus in corpora.items():
            passes = [one for one in self.passes if one.pairs == pairs]
            if passes and len(corpus):
                units = corpus.units if any(one.cut.windows for one in passes) else None
                made = passes[0].trunk.encode_each(
                    corpus.texts, [one.cut for one in passes], pairs=corpus.pairs if pairs else None, units=units
                )
                found.update(zip(passes, made, strict=True))
        return [found[one] for one in self.passes if one in found]

    def weight(self, text: str) -> int:
        """How many characters of a text are read."""
        if any(one.cut.windows for one in self.passes):
            return len(text)
        return min(len(text), CHARACTERS * max((one.cut.max_length for one in self.passes), default=0))


def named(branches: list[Branch]) -> dict[str, Branch]:
    """Branches by task name; those that share one are told apart by the folder of their run, or by more of its path."""
    places = {id(branch): branch.path.resolve() if branch.path is not None else None for branch in branches}
    if twice := [place for place, count in Counter(places.values()).items() if place is not None and count > 1]:
        raise BadInput(f"{twice[0]}: this branch was given twice; expected each branch once")
    found: dict[str, Branch] = {}
    for branch in branches:
        same = [places[id(other)] for other in branches if other.task.name == branch.task.name]
        name, place = branch.task.name, places[id(branch)]
        if len(same) > 1 and place is not None:
            ways = [_by_folders(place, name, depth) for depth in range(1, len(place.parts))]
            others = [other for other in same if other is not None and other != place]
            apart = (way for depth, way in enumerate(ways, 1) if all(_by_folders(o, name, depth) != way for o in others))
            name = next(apart, str(place))
        if name in found:
            raise BadInput(f"{branch.path}: a branch called {name} was given already; expected each branch once")
        found[name] = branch
    return found


def _by_folders(place: Path, task: str, depth: int) -> str:
    """A branch's name by so many folders: those of its run and the task's name, or its own where it lies in no run."""
    run = place.parent.parent if place.parent.name == "branches" else None
    return "/".join((*run.parts[-depth:], task)) if run is not None else "/".join(place.parts[-depth:])
