"""Trained branches of one task put together as one, an ensemble: their logits averaged, or weighted on validation.

Each branch's logits are divided by its temperature first, so that all are on one scale. The sum gets a decision layer of its
own, fitted on validation, as the branch of a run does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trunkline.branches import Output
from trunkline.branches.ensemble import Ensemble, EnsembleConfig
from trunkline.data.corpus import Corpus
from trunkline.data.empty import without_empty
from trunkline.data.sources import read_table
from trunkline.errors import BadInput, listed
from trunkline.files import new_folder
from trunkline.model.approach import approach_of
from trunkline.model.branch import Branch, save_branch
from trunkline.model.bundle import Bundle
from trunkline.model.part import Part
from trunkline.model.portions import Portion, answered
from trunkline.model.views import corpus_for, views
from trunkline.tasks import Criterion, Targets, Task
from trunkline.training.config import load_config
from trunkline.training.decision import fit_decision, with_calibration
from trunkline.training.prepare import prepare, split_digest
from trunkline.training.result import read_result
from trunkline.trunk.load import Trunk

Weights = Literal["equal", "validation"]
# What branches of an ensemble have in common, as `_facts` gives it.
FACTS = (
    "a task of kind", "labels", "a trunk with weights", "a maximum length of", "a precision of", "second texts in",
    "numbers scaled by", "long_texts:",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """An ensemble that was saved.

    Attributes:
        branch: itself.
        paths: of the members.
        weights: what the logits of each member are multiplied by, in their order, as the branch has them: its share divided by
            its temperature.
        shares: of the calibrated logits of each, which sum to 1.
        monitor: the metric that its task goes by.
        members: that metric on validation, of each member; None where no validation rows are known.
        score: likewise, of the ensemble.
    """

    branch: Branch
    paths: list[Path | None]
    weights: list[float]
    shares: list[float]
    monitor: str
    members: list[float | None]
    score: float | None


def make_ensemble(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    weights: Weights = "equal",
    validation: str | None = None,
    trunk: str | Trunk | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda sentence: None,
) -> Made:
    """Save trained branches of one task as one.

    Args:
        paths: side branches of one task on one trunk; a run stands for all of its branches.
        output: the directory to write, new or empty.
        weights: of their logits: all the same, or those with the least loss on validation.
        validation: data to weigh and calibrate on; by default the validation split of the branches' runs.
        trunk: where their trunk is, or the trunk itself.
        device: "auto", "cpu" or "cuda".
        say: told, in a sentence, what could not be done.

    Raises:
        BadInput: branches that are not alike, or validation rows that are asked for and not known.
    """
    target = new_folder(Path(output))
    bundle = Bundle.open(list(paths), trunk=trunk, device=device)
    branches = list(bundle.branches.values())
    _check(branches)
    found, why = (_given(bundle, validation), "") if validation is not None else _own(branches)
    if found is None and weights == "validation":
        raise BadInput(f"{why}; give the data to weigh the branches on (--validation)")
    scales = [1 / _temperature(branch) for branch in branches]
    first, paths_of = branches[0], [branch.path for branch in branches]
    if found is None:
        say(f"{why}, so the scores of {first.task.name!r} are not calibrated.")
        shares = [1 / len(branches)] * len(branches)
        made = _saved(_built(branches, shares, scales), target)
        return Made(made, paths_of, _factors(shares, scales), shares, first.task.monitor, [None] * len(branches), None)
    corpus, targets = found
    plan, rows = bundle.plan, list(range(len(corpus)))
    answers = answered(plan, Portion(dict.fromkeys((False, True), rows), dict.fromkeys((False, True), corpus)))
    own = [answers[name] for name in bundle.branches]
    logits = [scale * one.logits for scale, one in zip(scales, own, strict=True)]
    shares = [1 / len(branches)] * len(branches)
    if weights == "validation":
        shares = least_loss(logits, first.task, _criterion(branches, shares, scales), targets, own[0].offsets)
    branch = _built(branches, shares, scales)
    together = np.sum([np.float32(share) * one for share, one in zip(shares, logits, strict=True)], axis=0)
    part = Part(branch.task, branch.module, branch.criterion)
    branch.decision, _ = fit_decision(part, together, own[0].offsets, targets)
    part = Part(branch.task, branch.module, branch.criterion, branch.decision)
    branch.decision = with_calibration(part, "validation", together, own[0].offsets, targets)
    branch.metrics = {"validation": branch.score(together, own[0].offsets, targets)}
    monitor = first.task.monitor
    scores = [one.branch.score(one.logits, one.offsets, targets)[monitor] for one in own]
    made, score = _saved(branch, target), branch.metrics["validation"][monitor]
    return Made(made, paths_of, _factors(shares, scales), shares, monitor, scores, score)


def least_loss(
    logits: Sequence[np.ndarray], task: Task, criterion: Criterion, targets: Targets, offsets: np.ndarray | None
) -> list[float]:
    """The weights, from 0 to 1 and 1 in all, whose sum of logits has the least loss.

    Args:
        logits: of each member, (rows, C), for the same rows.
        task, criterion: what the loss is; the transitions of a CRF stay as they are.
        targets: of these rows.
        offsets: at unit level, as of `Criterion.decode`.
    """
    own = task.for_loss(targets)
    present = own.present
    x = torch.stack([torch.from_numpy(one[present]).double() for one in logits])
    values = torch.from_numpy(own.values[present])
    groups = None
    if offsets is not None:
        groups = torch.from_numpy(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[present])
    theta = torch.zeros(len(logits), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion.loss((theta.softmax(0)[:, None, None] * x).sum(0).float(), values, groups)
        loss.backward()
        return loss

    optimizer.step(step)
    return [round(share, 6) for share in theta.detach().softmax(0).tolist()]


def _check(branches: Sequence[Branch]) -> None:
    """BadInput unless the branches are of one task, and answer from one pass."""
    first = branches[0]
    if len(branches) < 2:
        raise BadInput("found one branch, expected at least two")
    for branch in branches:
        if approach_of(branch.method).changes_trunk or branch.method.name == "ensemble":
            raise BadInput(f"{branch.path}: its method is {branch.method.name}, expected a side branch that is no ensemble")
        if branch.task.long_texts == "max":
            raise BadInput(
                f"{branch.path}: found long_texts: max, and the largest of summed logits is not the sum of the largest; "
                "expected branches with long_texts first or mean"
            )
        for what, found, expected in zip(FACTS, _facts(branch), _facts(first), strict=True):
            if found != expected:
                raise BadInput(f"{branch.path}: found {what} {_brief(found)}, expected {_brief(expected)} as of {first.path}")


def _facts(branch: Branch) -> tuple[Any, ...]:
    task, trunk = branch.task, branch.trunk
    scaled = task.learned.model_dump(mode="json") if task.kind == "regression" else None
    where = trunk.weights, trunk.tokenizer, trunk.precision
    read = branch.max_length, branch.precision, branch.text_pair
    return task.kind, list(task.labels), where, *read, scaled, task.long_texts


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return listed(value, 8)
    return str(value[0])[:12] if isinstance(value, tuple) else str(value)


def _temperature(branch: Branch) -> float:
    return 1.0 if branch.decision is None or branch.decision.temperature is None else branch.decision.temperature


def _criterion(branches: Sequence[Branch], shares: Sequence[float], scales: Sequence[float]) -> Criterion:
    """A criterion whose own weights, such as a CRF's transitions, are summed as the logits are, and so the scores of chains."""
    made = branches[0].task.criterion()
    with torch.no_grad():
        for name, value in made.named_parameters():
            own = [dict(branch.criterion.named_parameters())[name].cpu() for branch in branches]
            each = [share * scale * one for share, scale, one in zip(shares, scales, own, strict=True)]
            value.copy_(torch.stack(each).sum(0))
    return made.eval()


def _factors(shares: Sequence[float], scales: Sequence[float]) -> list[float]:
    return [share * scale for share, scale in zip(shares, scales, strict=True)]


def _built(branches: Sequence[Branch], shares: Sequence[float], scales: Sequence[float]) -> Branch:
    first = branches[0]
    members = [branch.method.model_dump(mode="json") for branch in branches]
    config = EnsembleConfig(members=members, weights=_factors(shares, scales))
    task = Task.from_state(first.task.name, first.task.state())  # whose threshold may be another one
    module = Ensemble(config, first.trunk.shape, Output(task.answers.level, task.outputs)).eval()
    for member, branch in zip(module.members, branches, strict=True):
        member.load_state_dict(branch.module.state_dict())
    criterion = _criterion(branches, shares, scales)
    return Branch(task, config, module, criterion, first.trunk, first.max_length, first.precision, first.text, first.text_pair)


def _saved(branch: Branch, target: Path) -> Branch:
    save_branch(branch, target)
    return branch


def _given(bundle: Bundle, source: str) -> tuple[Corpus, Targets]:
    """Rows that a user names, as the first branch reads them."""
    table = read_table(source)
    name = next(iter(bundle.branches))
    alone = bundle.only(name)
    (view,) = views(alone, table)
    kept, _ = without_empty(table, "skip", view)
    corpus = corpus_for(alone, [name], kept, view)
    return corpus, alone.branches[name].task.targets(corpus)


def _own(branches: Sequence[Branch]) -> tuple[tuple[Corpus, Targets] | None, str]:
    """The validation split that the runs of all branches have in common; None and why, where there is none."""
    found, seen = None, set[str]()
    for branch in branches:
        assert branch.path is not None
        run, name = branch.path.resolve().parent.parent, branch.task.name
        if branch.path.resolve().parent.name != "branches" or not (run / "config.yaml").is_file():
            return None, f"{branch.path}: the validation split of its run is not known"
        try:
            config, result = load_config(run / "config.yaml"), read_result(run)
            group = next(one for one in prepare(config, only=[name]) if name in one.tasks)
        except BadInput as error:
            return None, f"{branch.path}: the validation split of its run cannot be read again ({error})"
        split, digests = group.splits["validation"], result.get("digests") or {}
        digest = split_digest(split)
        if digest != digests.get(f"{group.name}/validation", digests.get("validation")):
            return None, f"{branch.path}: the data of its run have changed, so its validation split is not known"
        seen.add(split_digest(replace(split, targets={name: split.targets[name]})))
        found = found or (split.corpus, branch.task.targets(split.corpus))
    if len(seen) > 1:
        return None, "the branches were validated on different rows, some of which others may have been trained on"
    return found, ""
