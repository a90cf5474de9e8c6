"""What a config's branches say of the rows that they are trained on, each by a branch that has not seen its text.

The rows are dealt to folds; for each fold a side branch is trained on the others, from one states store, and asked about it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.data.empty import without_empty
from trunkline.errors import BadInput
from trunkline.events import Event, Finding, Subscriber, quiet
from trunkline.inputs.encoded import ranges
from trunkline.model.frozen import FROZEN
from trunkline.tasks import Targets, Task
from trunkline.training.config import RunConfig
from trunkline.training.folds import deal_folds
from trunkline.training.forward import split_logits
from trunkline.training.pooled import pooled_split
from trunkline.training.prepare import Prepared, Split, corpus_reader, encode_splits, row_weights, text_columns
from trunkline.training.resumable import Interrupted
from trunkline.training.run import Run, of_its_own
from trunkline.training.stages import Stage


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities of the labels of one task, for the rows of its training source.

    Attributes:
        task: with its label space.
        corpus: the texts.
        targets: the given labels. Words that the tokenizer made nothing of are left out, as nothing reads them.
        probabilities: as of `Criterion.probabilities`, the mean over seeds.
    """

    task: Task
    corpus: Corpus
    targets: Targets
    probabilities: np.ndarray


def predict_out_of_fold(
    config: RunConfig,
    *,
    folds: int = 5,
    seeds: int = 1,
    publish: Subscriber = quiet,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[OutOfFold]:
    """Train branches on all folds but one, for each fold, and return what they say of that one, by task.

    All rows of the training source take part, those too that validation and test would be drawn from (with `data.rows`, those
    rows). Where validation is a share, it is drawn anew from the folds that are trained on; the test data are not read.

    Args:
        config: resolved; its method must leave the trunk as it is.
        folds: how many, at least 2.
        seeds: how often all of it is done, with other folds, weights and batches each time.
        publish: told of what happens.
        say: told, in a sentence, what is trained next.

    Raises:
        BadInput: the config or the data cannot be used.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM.
    """
    found: list[OutOfFold] = []
    with config.naming():
        run = Run(config, _each_finding_once(publish))
        for finding in run.findings:
            run.publish(Finding(finding))
        for stage in run.plan(Path()):
            group = next(group for group in run.groups if set(stage.tasks) <= group.tasks.keys())
            found += _of_stage(run, stage, group, folds, seeds, say)
    return found


def _of_stage(run: Run, stage: Stage, group: Prepared, folds: int, seeds: int, say: Callable[[str], None]) -> list[OutOfFold]:
    whole = _whole(run, group)
    assert whole.encoded is not None
    run.feeds.open(whole, FROZEN, run.layers, run.cost)  # the states of all rows in one store, which every fold reads
    keys = list(zip(whole.corpus.texts, whole.corpus.pairs or whole.corpus.texts, strict=True))
    strata = next(filter(None, (task.strata(whole.corpus) for task in group.tasks.values())), None)
    sums = {name: np.zeros((len(whole.targets[name].present), group.tasks[name].outputs)) for name in stage.tasks}
    for turn in range(seeds):
        seed = run.config.training.seed + turn
        fold_of = deal_folds(keys, strata, folds, seed)
        for fold in range(folds):
            which = f"{group.name}: " if len(run.groups) > 1 else ""
            say(f"{which}fold {fold + 1} of {folds}" + (f", seed {seed}" if seeds > 1 else ""))
            trained, held = _divided(group, whole, keys, strata, fold_of == fold, seed)
            for name, shares in _trained(run.on([trained], seed), stage, held).items():
                sums[name][_rows(whole.targets[name], np.flatnonzero(fold_of == fold))] += shares
    return [
        OutOfFold(group.tasks[name], whole.corpus, _answerable(whole, name, group.tasks[name]), sums[name] / seeds)
        for name in stage.tasks
    ]


def _whole(run: Run, group: Prepared) -> Split:
    """All rows of the training source, encoded."""
    data, config = group.data, run.config
    if data.rows is not None or not any(isinstance(source, float) for source in (data.validation, data.test, data.set_aside)):
        return group.splits["train"]
    own = config.model_copy(update={"data": data, "tasks": {name: config.tasks[name] for name in group.tasks}})
    table = config.memory.read(data.train, format=data.format)
    table, _ = without_empty(table, data.empty_texts, text_columns(own, table), data.missing)
    corpus = corpus_reader(own)(table)
    whole = Split("train", corpus, {name: task.targets(corpus) for name, task in group.tasks.items()})
    encode_splits(Prepared(data, group.tasks, {"train": whole}), run.trunk, run.max_length)
    return whole


def _divided(
    group: Prepared,
    whole: Split,
    keys: Sequence[Hashable],
    strata: Sequence[Hashable] | None,
    held: np.ndarray,
    seed: int,
) -> tuple[Prepared, Split]:
    """What is trained on where the rows `held` are not, with a validation split; and these rows."""
    rest = np.flatnonzero(~held)
    splits = {}
    if isinstance(share := group.data.validation, float):
        parts = max(2, round(1 / share))
        places = rest.tolist()
        own = None if strata is None else [strata[row] for row in places]
        drawn = deal_folds([keys[row] for row in places], own, parts, seed) == 0
        splits["validation"] = _selected(group, whole, "validation", rest[drawn])
        rest = rest[~drawn]
    else:
        splits["validation"] = group.splits["validation"]
    splits["train"] = train = _selected(group, whole, "train", rest)
    if group.data.weight is not None:
        weights = row_weights(train.corpus.table, group.data.weight)
        for name, targets in train.targets.items():
            if (weighted := targets.weighted(weights)) is None:
                raise BadInput(
                    f"{train.corpus.table.source}, column {group.data.weight!r}: in one fold every row with a label for task "
                    f"{name} has weight 0, expected fewer folds"
                )
            train.targets[name] = weighted
    tasks = {name: of_its_own(task) for name, task in group.tasks.items()}
    for task in tasks.values():
        task.learn(train.corpus)
    return Prepared(group.data, tasks, splits), _selected(group, whole, "held-out", np.flatnonzero(held))


def _selected(group: Prepared, whole: Split, name: str, texts: np.ndarray) -> Split:
    """Some texts as a split. BadInput where a task has no label among them."""
    assert whole.encoded is not None
    targets = {key: replace(own, weights=None).of_texts(texts) for key, own in whole.targets.items()}
    for key, own in targets.items():
        if not own.present.any():
            raise BadInput(
                f"{whole.corpus.table.source}: in one of the folds, the {name} rows have no label for task {key}; expected "
                "more rows with one, or fewer folds"
            )
    return Split(name, whole.corpus.select(texts.tolist()), targets, whole.encoded.of_texts(texts))


def _trained(run: Run, stage: Stage, held: Split) -> dict[str, np.ndarray]:
    """By task, the probabilities that fresh branches, trained, give for the rows that are held out."""
    learners, source = run.learners(stage)
    cost = run.meter(learners)
    with tempfile.TemporaryDirectory() as folder, _without_resuming():
        loop = run.loop_of(stage, learners, source, cost, Path(folder) / "checkpoint")
        with source.while_training():
            loop.run()
    parts = {name: part for learner in learners.values() for name, part in learner.parts.items()}
    for module in (source, *(module for part in parts.values() for module in (part.branch, part.criterion))):
        module.eval()
    feed, noted = run.feeds.open(held, source, run.layers, cost)
    supervision = held.supervision({name: part.task for name, part in parts.items()})
    fixed = {name: part.branch for name, part in parts.items()} if noted.states == "store" else {}
    read = pooled_split(feed, supervision, fixed)
    logits = split_logits(parts, read, accelerator=run.accelerator, precision=run.precision)
    found = {}
    for name, part in parts.items():
        shares = part.criterion.probabilities(logits[name], supervision[name].answers.offsets)
        assert shares is not None, "a kind without probabilities"
        found[name] = shares
    return found


def _rows(targets: Targets, texts: np.ndarray) -> np.ndarray:
    """The rows of a task's probabilities that are about these texts."""
    if targets.offsets is None:
        return texts
    return ranges(targets.offsets[texts], np.diff(targets.offsets)[texts])


def _answerable(whole: Split, name: str, task: Task) -> Targets:
    """The targets of the rows that a head can answer for."""
    targets, encoded = whole.targets[name], whole.encoded
    assert encoded is not None
    if task.answers.level != "unit" or encoded.unit_rows is None:
        return targets
    return replace(targets, present=targets.present & (encoded.unit_rows >= 0))


@contextmanager
def _without_resuming() -> Iterator[None]:
    """Let an interruption say what is true here, where no checkpoint stays."""
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt("interrupted; nothing was written") from None


def _each_finding_once(publish: Subscriber) -> Subscriber:
    """Every fold finds the same."""
    told: set[str] = set()

    def passed(event: Event) -> None:
        if isinstance(event, Finding):
            if event.text in told:
                return
            told.add(event.text)
        publish(event)

    return passed
