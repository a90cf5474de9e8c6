"""Right answers that a program gives to be scored, as targets of the branches, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trunkline.data.guess.names import task_of_column
from trunkline.data.label_sets import indicators
from trunkline.data.memory import is_table_like, refuse_indexes, table_of, values_of
from trunkline.errors import BadInput, listed, unknown_name
from trunkline.model.arguments import Asked
from trunkline.model.branch import Branch
from trunkline.model.plan import Plan
from trunkline.model.portions import Portion
from trunkline.tasks import Targets, Task
from trunkline.tasks.labels import Reading, UnknownLabel

NAMES = "the numbers of a ClassLabel become labels by its int2str"
TYPES: dict[str | None, str] = {
    "bool": "the labels of the branch are truth values, which numbers become by .astype(bool)",
    "int": "the labels of the branch are whole numbers, which truth values become by .astype(int)",
}

_WORDS = "tokens"  # the column of the words, which are no answers


def answers_of(labels: Any, branches: Mapping[str, Branch], count: int) -> dict[str, list[Any]]:
    """Return the right answers by branch, as a program gives them to be scored: by branch, or alone for the only one.

    Args:
        labels: a list with an answer for each text, or a mapping of branch to such a list, also a frame or another table.
            Columns of 0 and 1, one for each label of a multilabel task, stand for its branch.
        branches: all of them, by name.
        count: of the texts.

    Raises:
        BadInput: a branch that is not there, a list alone for several branches, or one of another length.
    """
    names, given_columns = list(branches), None
    if is_table_like(labels):
        labels = given_columns = table_of(labels, "labels").columns
    if isinstance(labels, Mapping):
        labels = _together(labels, branches)
    if not isinstance(labels, Mapping):
        if len(names) != 1:
            expected = f"a mapping of branch to labels, as there are {len(names)} branches ({listed(list(names), 8)})"
            raise BadInput(f"labels: found {type(labels).__name__}, expected {expected}")
        labels = {next(iter(names)): labels}
    found: dict[str, list[Any]] = {}
    for given, own in labels.items():
        if (name := task_of_column(given, names)) is None:
            raise _unknown(given, labels, branches, given_columns)
        if name in found:
            raise BadInput(f"labels: found {name!r} twice, by its name and by that of its column, expected it once")
        found[name] = values_of(own, f"labels of {name}", "a list with one for each text")
        if len(found[name]) != count:
            raise BadInput(f"labels of {name}: found {len(found[name])} for {count} texts, expected one for each")
    return found


def _unknown(
    given: Any, labels: Mapping[Any, Any], branches: Mapping[str, Branch], columns: Mapping[str, Any] | None
) -> BadInput:
    """The error for answers that belong to no branch; `columns` are those of a table, where one was given."""
    sets = {name: branch.task.labels for name, branch in branches.items() if branch.task.kind == "multilabel"}
    lacking = {name: [one for one in held if one not in labels] for name, held in sets.items() if given in held}
    if lacking:
        name, missing = min(lacking.items(), key=lambda one: len(one[1]))
        some, are = ("column", "is") if len(missing) == 1 else ("columns", "are")
        return BadInput(
            f"labels: {some} {listed(missing, 8, whole=True)} {are} missing, expected one for each label of {name!r}"
        )
    error = unknown_name("labels: branch", given, branches)
    if columns is None or "did you mean" in str(error):
        return error
    answers = [name for name in columns if task_of_column(name, branches) or any(name in held for held in sets.values())]
    return BadInput(f"{error}; only columns with answers can be given{f', here {answers}' if answers else ''}")


def _together(labels: Mapping[Any, Any], branches: Mapping[str, Branch]) -> Mapping[Any, Any]:
    """The answers by branch, where those of a multilabel task are in columns of 0 and 1, one for each of its labels."""
    for name, branch in branches.items():
        held = branch.task.labels
        if branch.task.kind != "multilabel" or name in labels or not all(column in labels for column in held):
            continue
        table = table_of({column: labels[column] for column in held}, "labels")
        sets = indicators(table, held, missing=branch.task.config.missing)
        labels = {key: answers for key, answers in labels.items() if key not in held or key in branches} | {name: sets}
    return labels


def refuse_other_indexes(texts: Any, labels: Any, pairs: Any = None) -> None:
    """Raise BadInput for texts and answers whose indexes differ, as `fit` does for columns."""
    by_branch = isinstance(labels, Mapping) and not is_table_like(labels)
    own = {f"labels of {name}": values for name, values in labels.items()} if by_branch else {"labels": labels}
    refuse_indexes({"texts": texts, "pairs": pairs, **own}, "score", "")


class Metrics(dict[str, Any]):
    """The metrics of a branch by name; the numbers of single rows that a picture needs (`sample`) are not in its repr."""

    def __repr__(self) -> str:
        return repr({name: value for name, value in self.items() if name != "sample"})


@dataclass
class Wanted:
    """What is right for the texts of a portion, by branch, and what to say of it: each sentence once."""

    targets: dict[str, Targets] = field(default_factory=dict)
    said: dict[str, None] = field(default_factory=dict)


def wanted(plan: Plan, given: Asked, whole: Portion, answers: Mapping[str, list[Any]], reading: Reading) -> Wanted:
    """Return the targets of all texts of `given` that are not skipped.

    Args:
        plan: of the branches that `answers` are for.
        given: the texts.
        whole: all of them as one portion.
        answers: by branch, one for each text.
        reading: what becomes of labels that a task does not have.

    Raises:
        BadInput: answers that do not fit the texts or the tasks, or no text.
    """
    found = Wanted()
    for name, own in answers.items():
        task, pairs = plan.branches[name].task, plan.branches[name].text_pair is not None
        rows, corpus = whole.rows[pairs], whole.corpora[pairs]
        if given.texts and not rows:
            raise BadInput("texts: found blank strings only, expected at least one text")
        own = [own[row] for row in rows]
        if task.answers.units:
            _check_tags(name, own, rows, [len(units) for units in corpus.units or ()], given.units is None)
        try:
            reader, held = task.with_answers(own, corpus)
            called = {column: name for column in reader.columns() if column in held.table.columns and column != _WORDS}
            held = replace(held, table=replace(held.table, headings=called))  # in messages: what the program calls the answers
            targets = reader.targets(held, reading)
        except UnknownLabel as error:
            if (hint := _of_other_type(own, task)) is not None:
                raise UnknownLabel(f"{error}; {hint}") from None
            raise
        absent = int((~targets.present).sum()) if targets.offsets is None else sum(one is None for one in own)
        said = [
            *_not_scored(len(given.texts) - len(rows)),
            *_without(name, absent),
            *task.unseen_labels(targets),
            *reader.changes(held),
        ]
        found.targets[name], found.said = targets, found.said | dict.fromkeys(said)
    return found


def _not_scored(count: int) -> list[str]:
    """The sentence that says how many blank texts are not scored; none where there are none."""
    if not count:
        return []
    return ["1 text is blank and is not scored." if count == 1 else f"{count:,} texts are blank and are not scored."]


def _without(name: str, count: int) -> list[str]:
    """The sentence that says how many texts have no right answer for a branch."""
    if not count:
        return []
    texts, are = ("1 text has", "is") if count == 1 else (f"{count:,} texts have", "are")
    return [f"{texts} no right answer for {name!r} and {are} not scored."]


def _check_tags(name: str, answers: list[Any], rows: list[int], words: list[int], found: bool) -> None:
    """Raise BadInput for tags that are numbers, or of another number than the words of their text.

    Args:
        name: of the branch.
        answers: one for each text that is not skipped.
        rows: which these texts are.
        words: how many words each has.
        found: whether these were found in the text, and not given.
    """
    for row, own, count in zip(rows, answers, words, strict=True):
        if not isinstance(own, list) or not own:
            continue
        if _numbers(own):
            raise BadInput(f"labels of {name}, text {row + 1}: found whole numbers, expected tags or spans; {NAMES}")
        if all(isinstance(tag, str) for tag in own) and len(own) != count:
            tags, have = "1 tag" if len(own) == 1 else f"{len(own)} tags", "1 word" if count == 1 else f"{count} words"
            hint = "; the words were found in the text: texts as lists of words say which they are" if found else ""
            raise BadInput(f"labels of {name}, text {row + 1}: found {tags} for {have}, expected one for each{hint}")


def _of_other_type(values: list[Any], task: Task) -> str | None:
    """What to do about answers of another type than the labels of a task, of which it knows none."""
    if _numbers(values) and not any(map(str.isdecimal, task.labels)):
        return TYPES["bool"] if task.label_type == "bool" else NAMES
    there = [value for value in values if value is not None]
    return TYPES["int"] if task.label_type == "int" and there and all(isinstance(value, bool) for value in there) else None


def _numbers(values: list[Any]) -> bool:
    """Whether all values that are not missing are whole numbers."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int) and not isinstance(value, bool) for value in there)
