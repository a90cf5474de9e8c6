"""A trunk with the branches that ride on it: one forward pass answers all of them.

Branches trained with different maximum lengths or precisions do not answer from the same pass: they are grouped by
both, so that each one sees what it was trained on, and a group shares a pass. A branch that changes its trunk has a pass of
its own, but for those that were trained together: they hold the same changed trunk, and it runs once for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline.data.corpus import Corpus, segment
from trunkline.errors import BadInput, TrunklineError
from trunkline.model.apply import collect_logits
from trunkline.model.branch import Branch, load_branch
from trunkline.model.folders import branch_folders
from trunkline.model.source import Source
from trunkline.tasks import Targets
from trunkline.trunk.load import Trunk, load_trunk


class Bundle:
    """A trunk and branches by name, ready to predict.

    Args:
        trunk: the trunk that all branches belong to.
        branches: by name; each is checked against the trunk.

    Raises:
        BadInput: a branch belongs to another trunk.
    """

    def __init__(self, trunk: Trunk, branches: dict[str, Branch]) -> None:
        for branch in branches.values():
            branch.check_trunk(trunk)
            branch.module.to(trunk.device)
        self.trunk, self.branches = trunk, branches

    @classmethod
    def open(
        cls, paths: Iterable[str | Path] | str | Path, *, trunk: str | Trunk | None = None, device: str = "auto"
    ) -> Bundle:
        """Load branch directories, or run directories with all their branches, and the trunk that they name.

        Args:
            paths: one directory or several; branches of the same name are told apart by their folder.
            trunk: another place where the same trunk is found, or a trunk already loaded.
            device: "auto", "cpu" or "cuda".
        """
        given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
        loaded: list[Branch] = []
        source = trunk
        for folder in (folder for path in given for folder in branch_folders(path)):
            loaded.append(branch := load_branch(folder, source, device=device))
            if branch.source.trunk is not None:
                source = branch.source.trunk  # the next one that changes it need not load it again
            if twin := next((other for other in loaded[:-1] if branch.source.equals(other.source)), None):
                branch.share(twin)
        if not loaded:
            raise BadInput("no branch given; expected at least one branch or run directory")
        if isinstance(trunk, Trunk):
            return cls(trunk, _named(loaded))
        reading = [branch for branch in loaded if branch.source.trunk is None]
        if not reading and isinstance(source, Trunk):
            return cls(source, _named(loaded))
        first = reading[0].trunk
        name = trunk or first.name
        revision = None if trunk else first.revision
        try:
            found = load_trunk(name, revision=revision, stack=first.stack, dtype=first.dtype, device=device)
        except TrunklineError as error:
            if trunk is not None:
                raise
            raise type(error)(f"{reading[0].path} needs its trunk: {error}; --trunk (trunk=) says where it is now") from None
        return cls(found, _named(loaded))

    def predict(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        units: list[list[tuple[int, int]]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Return, for each text, the prediction of every branch by its name.

        Args:
            texts: what to read, in order.
            pairs: the second text of each, for branches trained on pairs.
            units: character spans of the words of each text; by default `segment` finds them.
            progress: called with the number of sequences done after each batch.
        """
        corpus = self._corpus(list(texts), None if pairs is None else list(pairs), units)
        answers: list[dict[str, Any]] = [{} for _ in corpus.texts]
        for name, (branch, logits, offsets) in self._logits(corpus, progress).items():
            decoded = branch.criterion.decode(torch.from_numpy(logits), offsets)
            for answer, presented in zip(answers, branch.task.present(decoded, corpus), strict=True):
                answer[name] = presented
        return [{name: answer[name] for name in self.branches} for answer in answers]

    def score(
        self, corpus: Corpus, targets: dict[str, Targets], progress: Callable[[int], None] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the metrics of every branch that `targets` has right answers for."""
        return {
            name: branch.task.score(branch.criterion.decode(torch.from_numpy(logits), offsets), targets[name])
            for name, (branch, logits, offsets) in self._logits(corpus, progress).items()
            if name in targets
        }

    def _corpus(self, texts: list[str], pairs: list[str] | None, units: list[list[tuple[int, int]]] | None) -> Corpus:
        from trunkline.data.table import Table

        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise BadInput(f"text {row + 1}: found {type(text).__name__}, expected a string")
        if units is None and any(branch.task.answers.units for branch in self.branches.values()):
            units = [segment(text) for text in texts]
        return Corpus(Table("texts", {"text": texts}, None), texts, pairs, units)

    def _logits(
        self, corpus: Corpus, progress: Callable[[int], None] | None
    ) -> dict[str, tuple[Branch, np.ndarray, np.ndarray | None]]:
        groups: dict[tuple[int, str, Source], dict[str, Branch]] = {}
        for name, branch in self.branches.items():
            groups.setdefault((branch.max_length, branch.precision, branch.source), {})[name] = branch
        found: dict[str, tuple[Branch, np.ndarray, np.ndarray | None]] = {}
        for (max_length, precision, source), members in groups.items():
            windows = any(branch.task.answers.units for branch in members.values())
            encoded = self.trunk.encode(
                corpus.texts,
                pairs=corpus.pairs,
                units=corpus.units if windows else None,
                max_length=max_length,
                windows=windows,
            )
            logits = collect_logits(
                {name: (branch.task, branch.module) for name, branch in members.items()},
                source.states(self.trunk, encoded),
                encoded,
                precision=precision,
                device=torch.device(self.trunk.device),
                progress=progress,
            )
            for name, branch in members.items():
                found[name] = (branch, logits[name], branch.task.answers(encoded).offsets)
        return found


def _named(branches: list[Branch]) -> dict[str, Branch]:
    """Branches by task name; those that share a name are told apart by the folder of their run."""
    names = Counter(branch.task.name for branch in branches)
    named: dict[str, Branch] = {}
    for branch in branches:
        name = branch.task.name
        if names[name] > 1 and branch.path is not None:
            folder = branch.path.resolve()
            name = f"{folder.parents[1].name}/{name}" if folder.parent.name == "branches" else folder.name
        if name in named:
            raise BadInput(f"{branch.path}: a branch called {name} was given already; expected each branch once")
        named[name] = branch
    return named
