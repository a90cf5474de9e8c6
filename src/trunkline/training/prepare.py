"""From a config to splits with targets: everything that can be wrong with the data is found here, before work starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trunkline.data import columns
from trunkline.data.corpus import Corpus, View, build_corpus
from trunkline.data.empty import doubtful_texts, without_empty
from trunkline.data.splits import check_splits, draw_validation
from trunkline.data.table import Table
from trunkline.data.values.predictions import told_predictions
from trunkline.errors import BadInput, shown
from trunkline.inputs.cutting import Cut
from trunkline.inputs.encoded import Encoded
from trunkline.tasks import Targets, Task, kinds
from trunkline.tasks.base import TaskConfig
from trunkline.tasks.labels import STRICT, Reading, may_name, refuse_unlabelled
from trunkline.training.config import RunConfig
from trunkline.training.demand import demand
from trunkline.training.inputs import longer_than, refuse_other_input
from trunkline.training.sections import DataSection
from trunkline.training.subset import draw_rows, parse
from trunkline.training.supervision import Supervision
from trunkline.training.unlabelled import explained
from trunkline.trunk.load import Trunk
from trunkline.trunk.machine import machine_bytes


@dataclass
class Split:
    """Texts of one split and what is right for them, by task; `encoded` once a trunk has tokenised them."""

    name: str
    corpus: Corpus
    targets: dict[str, Targets]
    encoded: Encoded | None = None

    def supervision(self, tasks: dict[str, Task]) -> dict[str, Supervision]:
        """By name, what is right for each of `tasks`; a task may be there more than once, under names of its own."""
        assert self.encoded is not None
        return {name: Supervision(task, self.targets[task.name], self.encoded) for name, task in tasks.items()}


@dataclass
class Prepared:
    """Tasks with their label spaces, the splits (train, validation and perhaps test), and what was noticed about them."""

    data: DataSection
    tasks: dict[str, Task]
    splits: dict[str, Split]
    findings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the tasks are called together."""
        return "+".join(self.tasks)

    def training_lengths(self) -> np.ndarray:
        """Tokens of each training sequence that some task learns from; of each text where its windows are read together."""
        train = self.splits["train"]
        assert train.encoded is not None
        supervision = train.supervision(self.tasks).values()
        supervised = np.logical_or.reduce([one.supervised for one in supervision])
        lengths, texts = train.encoded.lengths[supervised], train.encoded.text_of[supervised]
        if any(one.answers.joined for one in supervision):
            return np.add.reduceat(lengths, np.flatnonzero(np.diff(texts, prepend=-1)))
        return lengths


def prepare(config: RunConfig, only: Collection[str] | None = None, keep_empty: bool = False) -> list[Prepared]:
    """Prepare the tasks of a config: together those that share their texts, in the order of the config.

    Args:
        config: resolved.
        only: leave out the texts that none of these tasks reads.
        keep_empty: keep the rows without a text, as versions did that could not skip them.

    Raises:
        BadInput: the first thing wrong in any split.
    """
    groups: dict[str, tuple[DataSection, dict[str, Any]]] = {}
    for name, task in config.tasks.items():
        data = task.data or config.data
        key = json.dumps(data.model_dump(mode="json"))
        groups.setdefault(key, (data, {}))[1][name] = task.model_copy(update={"data": None})
    prepared = [
        _prepare(config.model_copy(update={"data": data, "tasks": tasks}), keep_empty)
        for data, tasks in groups.values()
        if only is None or not tasks.keys().isdisjoint(only)
    ]
    for first in prepared[:1]:
        first.findings[:0] = config.memory.findings
    return prepared


def _prepare(config: RunConfig, keep_empty: bool = False) -> Prepared:
    """Read the sources, learn the label spaces from the training data, draw shares, and check every target.

    The names of labels are those of the whole source, so that a rare one may fall into a drawn split; what is measured for
    training is measured on the rows that are left for it.

    Raises:
        BadInput: the first thing wrong in any split.
    """
    data = config.data
    see = corpus_reader(config)
    sources = {"train": data.train, "validation": data.validation, "test": data.test, "set_aside": data.set_aside}
    named = {name: source for name, source in sources.items() if isinstance(source, (str, list))}
    tables = {name: config.memory.read(source, format=data.format) for name, source in named.items()}
    drawn = {name for name, source in sources.items() if isinstance(source, float)}
    about = {name: _about(name, table, bool(drawn)) for name, table in tables.items()}
    findings = [f"{about[name]}: {finding}" for name, table in tables.items() for finding in table.findings]
    for name, table in () if keep_empty else tables.items():
        view = text_columns(config, table)
        tables[name], skipped = without_empty(table, data.empty_texts, view, data.missing)
        findings += [f"{about[name]}: {said}" for said in (skipped, doubtful_texts(table, view, data.missing)) if said]
    wholes = {name: see(table) for name, table in tables.items()}
    read, whole = dict(tables), wholes["train"]
    sections = {name: section.model_copy(update={"missing": _missing(section, data)}) for name, section in config.tasks.items()}
    tasks = {name: kinds.get(section.kind).fit(name, section, whole) for name, section in sections.items()}
    for name, wanted in (("test", data.test), ("set_aside", data.set_aside), ("validation", data.validation)):
        if isinstance(wanted, float):
            corpus = whole if tables["train"] is read["train"] else see(tables["train"])
            share = wanted * len(whole.texts) / len(corpus.texts)  # a share of the source, not of what the test split has left
            strata = next(filter(None, (task.strata(corpus) for task in tasks.values())), None)
            tables["train"], tables[name] = draw_validation(tables["train"], share, config.training.drawn_by, strata)
            if len(tables[name]) == 1 and name != "set_aside":
                percent = f"{100 * wanted:.3g}%"
                findings.append(f"{name}: 1 row of {len(whole.texts):,} was drawn ({percent}); scores on one row say little.")
    if data.rows is not None:
        left = tables["train"]
        corpora = {"train": wholes["train"] if left is read["train"] else see(left)}
        own: dict[str, tuple[Task, Targets]] = {}
        for name, task in tasks.items() if isinstance(data.rows, str) else ():
            with explained(task, whole, "train", corpora, drawn):
                own[name] = task, task.targets(corpora["train"])
        drawn_rows, said = draw_rows(parse(data.rows), config.training.seed, len(left), own, left.source)
        tables["train"] = left.select(drawn_rows.tolist())
        findings += said
    order: list[str] = [name for name in ("train", "validation", "test") if name in tables]
    corpora = {name: wholes[name] if tables[name] is read.get(name) else see(tables[name]) for name in order}
    if len(corpora["train"].texts) < len(whole.texts):
        for task in tasks.values():
            with explained(task, whole, "train", corpora, drawn):
                task.learn(corpora["train"])
    readings = {"train": STRICT}  # a label that training has is one of the task's, but for a `label_list` that lacks it
    scored = Reading(count=data.unseen_labels == "count")
    splits = {name: Split(name, corpora[name], {}) for name in order}
    for name, split in splits.items():
        for key, task in tasks.items():
            with explained(task, whole, name, corpora, drawn):
                split.targets[key] = task.targets(corpora[name], readings.get(name, scored))
                refuse_unlabelled(bool(split.targets[key].present.any()), corpora[name], task.columns())
    unscored = [column for task in tasks.values() if "score" not in task.parts for column in task.columns()]
    findings += [
        f"{name}: {said}"
        for name in named
        for key, task in tasks.items()
        for said in told_predictions(key, task.columns(), tables[name].columns, unscored)
    ]
    if data.weight is not None:
        _weigh_rows(splits["train"], data.weight)
    findings += [said for task in tasks.values() for said in task.label_findings(whole)]
    findings += check_splits(corpora, labels_of(tasks, corpora))
    findings += [
        f"{about[name]}: {said}" for name, own in wholes.items() for task in tasks.values() for said in task.findings(own)
    ]
    findings += [sentence for name, task in tasks.items() if (sentence := _untaught(task, splits["train"].targets[name]))]
    for name, split in splits.items():
        findings += [f"{name}: {said}" for key, task in tasks.items() for said in task.unseen_labels(split.targets[key])]
    return Prepared(data, tasks, splits, findings)


def _about(name: str, table: Table, divided: bool) -> str:
    """What findings about a source begin with: its split, or for a training file that others are drawn from its name."""
    return table.source if name == "train" and divided and table.files is None else name


def _missing(section: TaskConfig, data: DataSection) -> list[str] | None:
    """The strings that stand for missing values of a task: its own, or those of the data that it reads."""
    return data.missing if section.missing is None else section.missing


def _untaught(task: Task, targets: Targets) -> str | None:
    """What to say of labels that nothing can be learned about."""
    if not (labels := task.absent_labels(targets)):
        return None
    named = ", ".join(shown(label, whole=True) for label in labels[:8]) + (
        f" and {len(labels) - 8} more" if len(labels) > 8 else ""
    )
    have = "has" if len(labels) == 1 else "have"
    said = f"train: {len(labels)} of the {task.name!r} labels {have} no training examples"
    columns = isinstance(getattr(task.config, "labels", None), list)  # these are named in the config, and no texts
    return f"{said}: {named}." if columns or may_name(task.labels) else f"{said}."


def _weigh_rows(train: Split, column: str) -> None:
    """Give the targets of a split the weights of their rows. BadInput where a task has only rows of weight 0."""
    weights = row_weights(train.corpus.table, column)
    for key, targets in train.targets.items():
        if (weighted := targets.weighted(weights)) is None:
            raise BadInput(
                f"{train.corpus.table.source}, column {column!r}: every row with a label for task {key} has weight 0, "
                "expected at least one positive weight"
            )
        train.targets[key] = weighted


def row_weights(table: Table, name: str) -> np.ndarray:
    """The weight of each row, fp64 (rows,). BadInput for one that is missing or negative."""
    found = columns.numbers(table, name, "data.weight")
    for row, weight in enumerate(found):
        if weight is None or weight < 0:
            what = "no weight" if weight is None else "a negative weight"
            raise BadInput(f"{table.where(row)}: {what} in column {name!r}, expected a number of at least 0")
    return np.array(found, np.float64)


def corpus_reader(config: RunConfig) -> Callable[[Table], Corpus]:
    """How this config sees a table as texts: which column is the text, which holds the tokens, whether words are needed."""
    units = any(kinds.get(section.kind).answers.units for section in config.tasks.values())

    def see(table: Table) -> Corpus:
        columns = text_columns(config, table)._asdict()
        return build_corpus(table, **columns, units=units)

    return see


def text_columns(config: RunConfig, table: Table) -> View:
    """The columns that this config reads of a table."""
    tokens = {section.tokens for section in config.tasks.values() if getattr(section, "tokens", None)}
    if len(tokens) > 1:
        raise BadInput(
            f"found several tokens columns ({', '.join(sorted(tokens))}), expected one for all token tasks", key="tasks"
        )
    column = next(iter(tokens), None)
    if config.data.audio is not None:
        return View(config.data.audio, None, column, audio=True)
    text = None if column and config.data.text not in table.columns else config.data.text
    return View(text, config.data.text_pair, column)


def labels_of(tasks: dict[str, Task], corpora: dict[str, Corpus]) -> dict[str, dict[str, list[Any]]]:
    """By split and task, a label for each text, of the tasks that have such: what `check_splits` looks for conflicts in."""
    found = {split: {name: task.conflicting(corpus) for name, task in tasks.items()} for split, corpus in corpora.items()}
    return {split: {name: labels for name, labels in own.items() if labels is not None} for split, own in found.items()}


def encode_splits(prepared: Prepared, trunk: Trunk, max_length: int) -> None:
    """Tokenise all splits; add a finding where texts had to be cut, or where outputs take much memory or time.

    Some tasks read long texts whole, as overlapping windows; others read them as they are cut.

    Raises:
        BadInput: the data are texts and the trunk reads audio, or the other way round; a clip cannot be read.
    """
    refuse_other_input(prepared.data, trunk)
    for task in prepared.tasks.values():
        _weigh(task, prepared)
    cut = [name for name, task in prepared.tasks.items() if not task.answers.whole]
    joined = [name for name, task in prepared.tasks.items() if task.answers.joined]
    how = Cut(max_length, windows=len(cut) < len(prepared.tasks), cut=bool(cut))
    for name, split in prepared.splits.items():
        corpus = split.corpus
        split.encoded = encoded = trunk.encode_each(corpus.texts, [how], pairs=corpus.pairs, units=corpus.units)[0]
        if encoded.long_texts and (cut or encoded.truncated):
            prepared.findings.append(
                f"{name}: {encoded.long_texts} of {encoded.n_texts} {longer_than(trunk, max_length)} and were cut"
                + ("" if encoded.truncated else f" for {', '.join(cut)}")
            )
        if joined and encoded.long_texts:
            windows = int((encoded.windows & encoded.longer[encoded.text_of]).sum())
            prepared.findings.append(
                f"{name}: {encoded.long_texts:,} of {encoded.n_texts:,} texts are longer than {max_length} tokens and are read "
                f"as {windows:,} windows for {', '.join(joined)}"
            )
    refuse_untaught(prepared)


def _weigh(task: Task, prepared: Prepared) -> None:
    """Say what the outputs of a task take if that is much; BadInput if this machine does not have it."""
    needed, there = demand(task, {name: split.targets[task.name] for name, split in prepared.splits.items()}), machine_bytes()
    if there is not None and needed.bytes > there:
        raise BadInput(
            f"{needed.sentence(task)}, but this machine has {there / 1e9:,.1f} GB",
            key=f"tasks.{task.name}",
            expected="fewer labels" + (" or crf: false" if needed.seconds else ""),
        )
    if needed.large:
        prepared.findings.append(f"{needed.sentence(task)}.")


def refuse_untaught(prepared: Prepared) -> None:
    """Raise BadInput for a task that no sequence of a split has anything for: the tokenizer makes nothing of its words."""
    for name, split in prepared.splits.items():
        for key, supervision in split.supervision(prepared.tasks).items():
            if not supervision.supervised.any():
                raise BadInput(
                    f"{split.corpus.table.source}: in the {name} split, task {key}: the trunk's tokenizer produces no token "
                    "for any word with a tag, expected some; does it support the script of these words?"
                )


def named_splits(prepared: list[Prepared]) -> dict[str, Split]:
    """The splits of a run, as its result.json names them: with the tasks that read them where these read several data sets."""
    several = len(prepared) > 1
    return {f"{group.name}/{name}" if several else name: split for group in prepared for name, split in group.splits.items()}


def split_digest(split: Split) -> str:
    """sha256 (hex) over the texts and targets of a split, in their order; needs no trunk."""
    digest = hashlib.sha256()
    for texts in (split.corpus.texts, split.corpus.pairs):
        digest.update(json.dumps(texts).encode())
    for key, targets in split.targets.items():
        digest.update(key.encode() + _bytes_of(targets))
    return digest.hexdigest()


def _bytes_of(targets: Targets) -> bytes:
    weights = b"" if targets.weights is None else targets.weights.tobytes()
    return targets.values.tobytes() + targets.present.tobytes() + weights


def data_digest(prepared: list[Prepared]) -> str:
    """sha256 (hex) over the tokens and targets of all splits: a run on other data is another run."""
    digest = hashlib.sha256()
    for name, split in (item for group in prepared for item in group.splits.items()):
        assert split.encoded is not None
        digest.update(f"{name} {split.encoded.digest()}".encode())
        for key, targets in split.targets.items():
            digest.update(key.encode() + _bytes_of(targets))
    return digest.hexdigest()
