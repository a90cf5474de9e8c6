"""A trunk with its branches: one forward pass serves all of them (plan.py says which one which)."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, get_args, overload

from trunkline.data.corpus import Corpus
from trunkline.data.guess.names import ByTask, task_of_column
from trunkline.data.memory import is_table_like
from trunkline.errors import BadInput, unknown_name
from trunkline.model.arguments import FILE_NAME, EmptyTexts, asked, clips_of, names_a_file, texts_and_units
from trunkline.model.branch import Branch
from trunkline.model.compiling import compiled_source
from trunkline.model.decision import checked_confidence, withheld
from trunkline.model.opening import beside, one_branch, open_branches
from trunkline.model.plan import Plan
from trunkline.model.portions import Portion, answered, portion, predicted, probabilities, scores
from trunkline.model.precision import Computing
from trunkline.model.scoring import Metrics, answers_of, refuse_other_indexes, wanted
from trunkline.model.words import tags_of
from trunkline.tasks import Targets
from trunkline.tasks.labels import Reading, UnseenLabels
from trunkline.trunk.load import Trunk
from trunkline.tuners.tuned import TunedTrunk


class Bundle:
    """A trunk and branches by name, ready to predict, from many threads if need be.

    Each branch reads the trunk in the precision that it was trained on; where that is not `trunk`'s own, the trunk is loaded
    once more.

    Args:
        trunk: the trunk that all branches belong to.
        branches: by name; each is checked against the trunk.
        moved: by name of a branch, the trunk that it reads instead of the one that it was trained on (see precision.py).
        trunks: by its precision, the trunk where it is loaded already, for branches that were trained on that.
        backend: what computes the trunk of branches that are added, where it has the precision that they were trained on; None
            as in training.

    Attributes:
        findings (tuple[str, ...]): what `open`, `add` and `replace` have to say of the precisions and backends that branches
            answer from.

    Raises:
        BadInput: a branch belongs to another trunk.
    """

    def __init__(
        self,
        trunk: Trunk,
        branches: Mapping[str, Branch],
        moved: Mapping[str, Trunk] | None = None,
        *,
        trunks: Mapping[str, Trunk] | None = None,
        backend: str | None = None,
    ) -> None:
        self.trunk, self.backend = trunk, backend
        self.findings: tuple[str, ...] = ()
        self.stored: str | None = None  # the dtype of states stores that may hold the states of texts; None: the trunk is run
        self._changing = threading.Lock()
        there = {trunk.precision: trunk, **(trunks or {})}
        self._plan = Plan(self._trunks(there, branches, moved or {}), branches, moved)

    def __repr__(self) -> str:
        """The trunk, and each branch with its kind: one line."""
        few = [f"{name} ({branch.task.described_briefly()})" for name, branch in list(self.branches.items())[:8]]
        more = f", ... ({len(self.branches)} in all)" if len(self.branches) > 8 else ""
        return f"Bundle(trunk {self.trunk.name!r}, branches: {', '.join(few) or 'none'}{more})"

    def __reduce__(self) -> NoReturn:
        raise BadInput("a Bundle cannot be pickled or copied; open it by its path in each process, with Bundle.open")

    @property
    def branches(self) -> Mapping[str, Branch]:
        """The branches by name, not to be written to: `add` and `remove` change what there is."""
        return self._plan.branches

    @property
    def plan(self) -> Plan:
        """Which branches answer from which pass, as it is now; it is never changed, but replaced when branches are."""
        return self._plan

    def add(self, name: str, branch: Any) -> None:
        """Add a branch. Predictions that are running are not affected.

        Args:
            name: of the branch here.
            branch: a loaded one, or what `open` loads, if it is one branch.

        Raises:
            BadInput: it belongs to another trunk, there is one of that name, or not one branch was given.
        """
        if not isinstance(name, str):
            raise BadInput(f"name: found {type(name).__name__}, expected a string, and the branch after it")
        if not isinstance(branch, Branch):
            branch = one_branch(branch, self.trunk)
        with self._changing:
            plan = self._plan
            if name in plan.branches:
                raise BadInput(f"there is already a branch called {name!r}, expected another name")
            self._put(name, branch)

    def replace(self, name: str, branch: Branch) -> Branch:
        """Put a branch in the place of another, and return that one. Predictions that are running are not affected.

        Raises:
            BadInput: it belongs to another trunk, or there is none of that name.
        """
        with self._changing:
            plan = self._plan
            if name not in plan.branches:
                raise unknown_name("branch", name, plan.branches, whole=True)
            self._put(name, branch)
            return plan.branches[name]

    def remove(self, name: str) -> Branch:
        """Remove a branch, and return it. Predictions that are running are not affected.

        Raises:
            BadInput: there is none of that name.
        """
        with self._changing:
            plan = self._plan
            name = _known(name, plan)
            left = {other: branch for other, branch in plan.branches.items() if other != name}
            self._plan = Plan(plan.trunks, left, plan.moved)
            return plan.branches[name]

    def only(self, names: str | Iterable[str], *more: str) -> Bundle:
        """The bundle with these branches only, or this one, on the same trunk; BadInput for a name that no branch has."""
        plan = self._plan
        names = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
        names = [_known(name, plan) for name in (*names, *more)]
        bundle = type(self).__new__(type(self))
        vars(bundle).update(vars(self))
        bundle._changing = threading.Lock()
        bundle._plan = Plan(plan.trunks, {name: plan.branches[name] for name in names}, plan.moved)
        return bundle

    def _trunks(
        self, trunks: Mapping[str, Trunk], branches: Mapping[str, Branch], moved: Collection[str] = ()
    ) -> dict[str, Trunk]:
        """The trunk in all precisions that are there or that a new branch was trained on; branches are checked on the way."""
        found = dict(trunks)
        for name, branch in branches.items():
            branch.check_trunk(self.trunk)
            branch.module.to(self.trunk.device)
            ref = branch.trunk
            if branch.source.trunk is None and name not in moved and ref.precision not in found:
                found[ref.precision] = beside(self.trunk, ref, self.backend)
        return found

    def _put(self, name: str, branch: Branch) -> None:
        """Make the plan with a new branch, in the precision that it was trained in; the caller holds the lock."""
        plan = self._plan
        moved = {other: trunk for other, trunk in plan.moved.items() if other != name}  # the new one reads its own
        trunks = self._trunks(plan.trunks, {name: branch})
        if isinstance(branch.source, TunedTrunk) and self.backend not in (None, "torch"):
            found = self._compiled(branch, self.backend)
            if isinstance(found, str):
                self.findings += (f"{name} stays on torch: {found}",)
            else:
                moved[name] = found
        self._plan = Plan(trunks, {**plan.branches, name: branch}, moved)

    def _compiled(self, branch: Branch, backend: str) -> Trunk | str:
        """The changed trunk of a branch, compiled: that of a branch which shares it, if there is one."""
        plan, dtype = self._plan, branch.source.stored_dtype(self.trunk)
        shared = (trunk for name, trunk in plan.moved.items() if plan.branches[name].source is branch.source)
        found = next((trunk for trunk in shared if (trunk.dtype, trunk.backend) == (dtype, backend)), None)
        return found or compiled_source(branch, backend, dtype)

    @classmethod
    def open(
        cls,
        paths: Any,
        *more: Any,
        trunk: str | Trunk | None = None,
        device: str = "auto",
        backend: str | None = None,
        dtype: str | None = None,
        allow_precision_change: bool | Sequence[str] = False,
    ) -> Bundle:
        """Load branch directories, or run directories with all their branches, and the trunk that they name.

        Args:
            paths: one directory or several, or what `fit` returned; branches of the same name are told apart by their folder.
            more: others like it.
            trunk: another place where the same trunk is found, or a trunk already loaded.
            device: "auto", "cpu" or "cuda".
            backend: what computes the trunk, for branches that are added later, too; by default, in each precision, what the
                first branch in it was trained on. A branch that changes its trunk is merged into plain weights for it, or stays
                on torch where that cannot be done.
            dtype: fp32, bf16 or int8, the precision of the trunk; by default that on which each branch was trained. In fp32
                the branches compute in fp32, too, so that the answer to a text does not depend on the others.
            allow_precision_change: let branches answer from another precision than that, after a check on sample texts whose
                result is in `findings`; or the texts to check on (and to calibrate int8 with), if there are enough.

        Warns:
            UserWarning: each of `findings`.

        Raises:
            BadInput: nothing to load, what does not belong together, or another precision that was not allowed.
        """
        found = open_branches(
            [paths, *more] if more else paths, trunk, device, Computing(backend, dtype, allow_precision_change)
        )
        bundle = cls(found.trunk, found.branches, found.moved, trunks=found.trunks, backend=backend)
        bundle.findings = found.findings
        for sentence in found.findings:
            warnings.warn(sentence, stacklevel=2)
        return bundle

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        texts: str,
        pairs: str | None = None,
        *,
        units: Any = None,
        empty_texts: EmptyTexts = "skip",
        min_confidence: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any]: ...

    @overload
    def predict(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        pairs: Sequence[str] | None = None,
        *,
        units: Any = None,
        empty_texts: EmptyTexts = "skip",
        min_confidence: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]: ...

    def predict(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[str]],
        pairs: str | Sequence[str] | None = None,
        *,
        units: Any = None,
        empty_texts: EmptyTexts = "skip",
        min_confidence: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Return, for each text, the prediction of every branch by its name; for one text alone, its prediction.

        Labels have the type that they had in the training data: whole numbers, truth values or strings.

        Args:
            texts: what to read, in order; or one text. Where a branch tags words, a text may be a list of its words: they are
                joined by blanks, and the predictions of such branches also have `tags`, one in IOB2 for each word. Where the
                trunk reads audio, clips: names of files, arrays of samples (floats, one channel, at the trunk's rate), or
                mappings with an `array` and its `sampling_rate`; what is longer than the branches read is cut, with a warning.
            pairs: the second text of each, where a branch was trained on pairs; other branches read the first texts alone.
            units: character spans (start, end) of the words of each text, in order; by default `segment` finds them.
            empty_texts: what becomes of blank texts, of branches that read pairs also of blank second texts: "skip" gives them
                empty predictions, whose parts are None; "refuse" raises; "read" predicts them as any other text.
            min_confidence: from 0 to 1: what a branch is less confident of gets no answer (see `withheld` in decision.py).
            progress: called with the number of sequences done after each batch.

        Raises:
            BadInput: what is no text; second texts that are missing, too many, or that no branch reads; units that are not one
                list of spans for each text, or that lie outside of it; a `min_confidence` that is none.
        """
        if isinstance(texts, str) and not self._plan.reads_audio and names_a_file(texts):
            warnings.warn(f"texts: {FILE_NAME}", stacklevel=2)
        plan = self._plan
        least = checked_confidence(min_confidence, (branch.task for branch in plan.branches.values()))
        given = asked(texts, pairs, units, plan.check_pairs, empty_texts, plan.reads_words, plan.reads_audio)
        tasks = {name: branch.task for name, branch in plan.branches.items()}
        answers = [
            {name: withheld(tasks[name], tasks[name].in_own_type(shown), least) for name, shown in answer.items()}
            for answer in predicted(plan, given, progress, self.stored)
        ]
        if given.words:
            for name in (name for name, task in tasks.items() if task.answers.units):
                for answer, words in zip(answers, given.units or (), strict=True):
                    spans = answer[name]["spans"]
                    answer[name]["tags"] = None if spans is None else tags_of(spans, words)
        return answers[0] if given.alone else answers

    def predict_written(
        self,
        texts: Any,
        pairs: Any = None,
        *,
        units: Any = None,
        empty_texts: EmptyTexts = "skip",
        progress: Callable[[int], None] | None = None,
        cut: Counter[str] | None = None,
    ) -> list[dict[str, Any]]:
        """As `predict` of several texts, with labels as `trunkline predict` writes them: strings; `cut` as of `answered`."""
        plan = self._plan
        given = asked(texts, pairs, units, plan.check_pairs, empty_texts, audio=plan.reads_audio)
        return predicted(plan, given, progress, self.stored, cut)

    def predict_proba(
        self, texts: Any, pairs: Any = None, *, units: Any = None, empty_texts: EmptyTexts = "skip"
    ) -> dict[str, Any]:
        """Return the probabilities of the labels for each text, by branch; those that predict numbers are left out.

        Args:
            texts: as of `predict`, likewise `pairs`, `units` and `empty_texts`.

        Returns:
            By branch, fp32 (texts, labels) in the order of `branches[name].task.classes`, NaN for a text that is skipped; of a
            token task a list with an array (words, tags) for each text, without a word for one that is skipped. For one text
            alone, its row.

        Raises:
            BadInput: as `predict`, or every branch predicts numbers.
        """
        plan = self._plan
        given = asked(texts, pairs, units, plan.check_pairs, empty_texts, plan.reads_words, plan.reads_audio)
        named = {name: branch for name, branch in plan.branches.items() if branch.task.named_labels is not None}
        if not named:
            raise BadInput("predict_proba: found only branches that predict numbers, expected one with labels")
        found = probabilities(plan, given, named, self.stored)
        return {name: rows[0] for name, rows in found.items()} if given.alone else found

    def score(
        self,
        texts: Any,
        labels: Any,
        pairs: Any = None,
        *,
        units: Any = None,
        unseen_labels: UnseenLabels = "count",
        empty_texts: EmptyTexts = "skip",
        min_confidence: float | None = None,
    ) -> dict[str, Any]:
        """Return metrics for texts whose labels are known.

        Args:
            texts: what to read, in order.
            labels: the right answer of each text (None where there is none), or such a list by branch, in a mapping or as the
                columns of a data frame; only these branches are scored. Columns of 0 and 1, one for each label of a
                multilabel task, stand for its branch. Series and frames have one index. A label for a sequence task, a list of
                labels or a vector of 0 and 1 for a multilabel task, a number for a regression, and for a token task a tag for
                each word or spans as (start, end, label).
            pairs: as of `predict`, likewise `units`.
            unseen_labels: whether labels that a branch was not trained on "count" as errors, with a warning, or "refuse".
            empty_texts: whether blank texts are left out with a warning ("skip"), refused, or scored as any other ("read").
            min_confidence: adds to the metrics the `coverage` of answers that are at least so confident (of a token task, of
                spans), and their `selective_accuracy`.

        Returns:
            By branch, metrics by name; for `labels` that are no mapping, the metrics of the only branch.

        Warns:
            UserWarning: how many texts are blank, have no right answer, or have labels that a branch was not trained on; how
                many spans or labels were changed or dropped, in the sentences that `evaluate` has for them.

        Raises:
            BadInput: as `predict`; labels that do not fit the texts or the tasks; no text at all.
        """
        if isinstance(texts, str):
            raise BadInput("texts: found one string, expected a list of strings")
        if unseen_labels not in (known := get_args(UnseenLabels)):
            raise unknown_name("unseen_labels", unseen_labels, known)
        refuse_other_indexes(texts, labels, pairs)
        if self._plan.reads_audio:
            texts = clips_of(texts)
        else:
            texts, units, _ = texts_and_units(texts, units, self._plan.reads_words)
        by_branch = isinstance(labels, Mapping) or is_table_like(labels)
        answers = answers_of(labels, self.branches, len(texts))
        plan = self.only(answers)._plan
        least = checked_confidence(min_confidence, (branch.task for branch in plan.branches.values()))
        given = asked(texts, pairs, units, plan.check_pairs, empty_texts, audio=plan.reads_audio)
        whole = portion(plan, given, range(len(given.texts)), "labels")
        right = wanted(plan, given, whole, answers, Reading(unseen_labels == "count"))
        for sentence in right.said:
            warnings.warn(sentence, stacklevel=2)
        found = scores(answered(plan, whole, None, self.stored), right.targets, least)
        metrics = ByTask({name: Metrics(found[name]) for name in answers})
        return metrics if by_branch else next(iter(metrics.values()))

    def score_corpus(
        self,
        corpus: Corpus,
        targets: dict[str, Targets],
        progress: Callable[[int], None] | None = None,
        min_confidence: float | None = None,
        cut: Counter[str] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return the metrics of every branch that `targets` has right answers for.

        Args:
            corpus, targets: what is read, and what is right.
            progress, cut: as of `answered`.
            min_confidence: as of `score`.
        """
        plan = self._plan
        plan.check_pairs(corpus.pairs is not None)
        rows = list(range(len(corpus)))
        whole = Portion(dict.fromkeys((False, True), rows), dict.fromkeys((False, True), corpus))
        return scores(answered(plan, whole, progress, self.stored, cut), targets, min_confidence)


def _known(name: Any, plan: Plan) -> str:
    """The name of a branch, also by that of the column that it is named after. BadInput for one that no branch has."""
    if not isinstance(name, Hashable):
        raise BadInput(f"branch: found {type(name).__name__}, expected the name of one branch")
    if (known := task_of_column(name, plan.branches)) is None:
        raise unknown_name("branch", name, plan.branches, whole=True)
    return known
