"""A trunk with its branches: one forward pass serves all of them (plan.py says which one which)."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from trunkline.data.corpus import Corpus, segment
from trunkline.data.table import Table
from trunkline.errors import BadInput, TrunklineError, unknown_name
from trunkline.model.apply import collect_logits
from trunkline.model.arguments import Asked, answers_of, asked, texts_of
from trunkline.model.branch import Branch, load_branch
from trunkline.model.folders import branch_folders
from trunkline.model.plan import Plan, named
from trunkline.tasks import Targets
from trunkline.trunk.load import Trunk
from trunkline.trunk.shared import shared_trunk

CHUNK_CHARACTERS = 1 << 20  # of texts that are predicted at a time


class Bundle:
    """A trunk and branches by name, ready to predict, from many threads if need be.

    Each branch reads the trunk in the precision that it was trained on; where that is not `trunk`'s own, the trunk is loaded
    once more.

    Args:
        trunk: the trunk that all branches belong to.
        branches: by name; each is checked against the trunk.

    Raises:
        BadInput: a branch belongs to another trunk.
    """

    def __init__(self, trunk: Trunk, branches: Mapping[str, Branch]) -> None:
        self.trunk = trunk
        self.stored: str | None = None  # the dtype of states stores that may hold the states of texts; None: the trunk is run
        self._changing = threading.Lock()
        self._plan = Plan(self._trunks({trunk.dtype: trunk}, branches), branches)

    @property
    def branches(self) -> Mapping[str, Branch]:
        """The branches by name, not to be written to: `add` and `remove` change what there is."""
        return self._plan.branches

    def add(self, name: str, branch: Branch) -> None:
        """Add a branch. Predictions that are running are not affected.

        Raises:
            BadInput: it belongs to another trunk, or there is one of that name.
        """
        with self._changing:
            plan = self._plan
            if name in plan.branches:
                raise BadInput(f"there is already a branch called {name!r}, expected another name")
            self._plan = Plan(self._trunks(plan.trunks, {name: branch}), {**plan.branches, name: branch})

    def remove(self, name: str) -> Branch:
        """Remove a branch, and return it. Predictions that are running are not affected.

        Raises:
            BadInput: there is none of that name.
        """
        with self._changing:
            plan = self._plan
            if name not in plan.branches:
                raise unknown_name("branch", name, plan.branches)
            self._plan = Plan(plan.trunks, {other: branch for other, branch in plan.branches.items() if other != name})
            return plan.branches[name]

    def only(self, names: Iterable[str]) -> Bundle:
        """The bundle with these branches only, on the same trunk; BadInput for a name that no branch has."""
        bundle, plan, names = copy.copy(self), self._plan, list(names)
        if unknown := [name for name in names if name not in plan.branches]:
            raise unknown_name("branch", unknown[0], plan.branches)
        bundle._changing = threading.Lock()
        bundle._plan = Plan(plan.trunks, {name: plan.branches[name] for name in names})
        return bundle

    def _trunks(self, trunks: Mapping[str, Trunk], branches: Mapping[str, Branch]) -> dict[str, Trunk]:
        """The trunk in all precisions that are there or that a new branch was trained on; branches are checked on the way."""
        found = dict(trunks)
        for branch in branches.values():
            branch.check_trunk(self.trunk)
            branch.module.to(self.trunk.device)
            if branch.source.trunk is None and branch.trunk.dtype not in found:
                trunk = self.trunk
                found[branch.trunk.dtype] = shared_trunk(
                    trunk.folder, stack=trunk.stack, dtype=branch.trunk.dtype, device=trunk.device
                )
        return found

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
            return cls(trunk, named(loaded))
        reading = [branch for branch in loaded if branch.source.trunk is None]
        if not reading and isinstance(source, Trunk):
            return cls(source, named(loaded))
        first = reading[0].trunk
        name = trunk or first.name
        revision = None if trunk else first.revision
        try:
            found = shared_trunk(name, revision=revision, stack=first.stack, dtype=first.dtype, device=device)
        except TrunklineError as error:
            if trunk is not None:
                raise
            raise type(error)(
                f"{reading[0].path} needs its trunk: {error}; --trunk (trunk=) gives its current location"
            ) from None
        return cls(found, named(loaded))

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, texts: str, pairs: str | None = None, *, units: Any = None, progress: Callable[[int], None] | None = None
    ) -> dict[str, Any]: ...

    @overload
    def predict(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        units: Any = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]: ...

    def predict(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        units: Any = None,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Return, for each text, the prediction of every branch by its name; for one text alone, its prediction.

        Args:
            texts: what to read, in order; or one text.
            pairs: the second text of each, where a branch was trained on pairs; other branches read the first texts alone.
            units: character spans (start, end) of the words of each text, in order; by default `segment` finds them.
            progress: called with the number of sequences done after each batch.

        Raises:
            BadInput: what is no text; second texts that are missing, too many, or that no branch reads; units that are not one
                list of spans for each text, or that lie outside of it.
        """
        plan = self._plan
        given = asked(texts, pairs, units, plan.check_pairs)
        answers: list[dict[str, Any]] = []
        for corpus in _corpora(plan, given):
            found: list[dict[str, Any]] = [{} for _ in corpus.texts]
            for name, (branch, logits, offsets) in _logits(plan, corpus, progress, self.stored).items():
                decoded = branch.criterion.decode(torch.from_numpy(logits), offsets)
                for answer, presented in zip(found, branch.task.present(decoded, corpus), strict=True):
                    answer[name] = presented
            answers += [{name: answer[name] for name in plan.branches} for answer in found]
        return answers[0] if given.alone else answers

    def predict_proba(self, texts: Any, pairs: Any = None, *, units: Any = None) -> dict[str, Any]:
        """Return the probabilities of the labels for each text, by branch; those that predict numbers are left out.

        Args:
            texts: as of `predict`, likewise `pairs` and `units`.

        Returns:
            By branch, fp32 (texts, labels) in the order of `branches[name].task.labels`; of a token task a list with an array
            (words, tags) for each text. For one text alone, its row.

        Raises:
            BadInput: as `predict`, or every branch predicts numbers.
        """
        plan = self._plan
        given = asked(texts, pairs, units, plan.check_pairs)
        named = {name: branch for name, branch in plan.branches.items() if branch.task.named_labels is not None}
        if not named:
            raise BadInput("predict_proba: found only branches that predict numbers, expected one with labels")
        found: dict[str, list[np.ndarray]] = {name: [] for name in named}
        for corpus in _corpora(plan, given):
            for name, (branch, logits, offsets) in _logits(plan, corpus, None, self.stored).items():
                shares = branch.criterion.probabilities(logits, offsets)
                if shares is not None:
                    found[name] += list(shares) if offsets is None else np.split(shares, offsets[1:-1])
        if given.alone:
            return {name: rows[0] for name, rows in found.items()}
        return {
            name: found[name] if branch.task.answers.units else np.array(found[name]).reshape(-1, branch.task.outputs)
            for name, branch in named.items()
        }

    def score(self, texts: Any, labels: Any, pairs: Any = None, *, units: Any = None) -> dict[str, Any]:
        """Return metrics for texts whose labels are known.

        Args:
            texts: what to read, in order.
            labels: the right answer of each text (None where there is none), or such a list by branch; only these branches are
                scored. A label for a sequence task, a list of labels or a vector of 0 and 1 for a multilabel task, a number for
                a regression, and for a token task a tag for each word or spans as (start, end, label).
            pairs: as of `predict`, likewise `units`.

        Returns:
            By branch, metrics by name; for `labels` that are no mapping, the metrics of the only branch.

        Raises:
            BadInput: as `predict`; labels that do not fit the texts or the tasks.
        """
        if isinstance(texts, str):
            raise BadInput("texts: found one string, expected a list of strings")
        texts = texts_of("texts", "text", texts)
        answers = answers_of(labels, self.branches, len(texts))
        bundle = self.only(answers)
        plan = bundle._plan
        given = asked(texts, pairs, units, plan.check_pairs)
        corpus = _corpus(plan, given.texts, given.pairs, given.units, "labels")
        targets = {name: plan.branches[name].task.targets_of(own, corpus) for name, own in answers.items()}
        found = bundle.score_corpus(corpus, targets)
        return {name: found[name] for name in answers} if isinstance(labels, Mapping) else next(iter(found.values()))

    def score_corpus(
        self, corpus: Corpus, targets: dict[str, Targets], progress: Callable[[int], None] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the metrics of every branch that `targets` has right answers for."""
        plan = self._plan
        plan.check_pairs(corpus.pairs is not None)
        return {
            name: branch.task.score(branch.criterion.decode(torch.from_numpy(logits), offsets), targets[name])
            for name, (branch, logits, offsets) in _logits(plan, corpus, progress, self.stored).items()
            if name in targets
        }


def _corpora(plan: Plan, given: Asked) -> Iterator[Corpus]:
    """What is asked, some texts at a time."""
    for part in _portions(plan, given.texts, given.pairs):
        yield _corpus(plan, given.texts[part], given.pairs and given.pairs[part], given.units and given.units[part])


def _portions(plan: Plan, texts: list[str], pairs: list[str] | None) -> Iterator[slice]:
    """Runs of texts that are not more than about CHUNK_CHARACTERS together, or one text each."""
    begin = characters = 0
    for row, text in enumerate(texts):
        more = plan.weight(text) + (plan.weight(pairs[row]) if pairs is not None else 0)
        if row > begin and characters + more > CHUNK_CHARACTERS:
            yield slice(begin, row)
            begin, characters = row, 0
        characters += more
    if begin < len(texts):
        yield slice(begin, len(texts))


def _corpus(plan: Plan, texts: list[str], pairs: list[str] | None, units: Any, source: str = "texts") -> Corpus:
    if units is None and any(one.cut.windows for one in plan.passes):
        units = [segment(text) for text in texts]
    return Corpus(Table(source, {"text": texts}, None), texts, pairs, units)


def _logits(
    plan: Plan, corpus: Corpus, progress: Callable[[int], None] | None, stored: str | None = None
) -> dict[str, tuple[Branch, np.ndarray, np.ndarray | None]]:
    found: dict[str, tuple[Branch, np.ndarray, np.ndarray | None]] = {}
    for one, encoded in zip(plan.passes, plan.encode(corpus), strict=True):
        logits = collect_logits(
            {name: (branch.task, branch.module) for name, branch in one.branches.items()},
            one.states(encoded, stored),
            encoded,
            precision=one.precision,
            device=torch.device(one.trunk.device),
            progress=progress,
            group=one.group,
        )
        for name, branch in one.branches.items():
            found[name] = (branch, logits[name], branch.task.answers(encoded).offsets)
    return found
