"""Columns and labels of data that are not called as in training: `--column [ROLE=]NAME` and `--map GIVEN=TRAINED`."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping

from trunkline.data.columns import cells
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown, unknown_name
from trunkline.model.branch import Branch
from trunkline.tasks import Task
from trunkline.tasks.labels import may_name, nearest_label, unknown_label
from trunkline.tasks.multilabel import MultilabelTask

_LOOKED_AT = 100  # values of a column
TEXTS = ("text", "text_pair", "tokens")


def roles(branches: Mapping[str, Branch]) -> dict[str, list[str]]:
    """Return what a column can be for these branches, with the names of the columns that they were trained on.

    `text`, `text_pair` and `tokens`; the name of a branch or of its task, for the column with its answers; where these are
    several columns of 0 and 1, NAME.COLUMN for each.
    """
    found: dict[str, list[str]] = {role: [] for role in TEXTS}
    for name, branch in branches.items():
        tokens, answers = getattr(branch.task.config, "tokens", None), answer_columns_of(branch.task)
        found["text"].append(branch.text)
        found["text_pair"] += [branch.text_pair] if branch.text_pair is not None else []
        found["tokens"] += [tokens] if tokens is not None else []
        for own in dict.fromkeys((name, branch.task.name)):
            if own in TEXTS:
                continue
            if len(answers) == 1:
                found.setdefault(own, []).append(answers[0])
            else:
                for column in answers:
                    found.setdefault(f"{own}.{column}", []).append(column)
    return {role: columns for role, columns in found.items() if columns}


def answer_columns_of(task: Task) -> list[str]:
    """The columns that a task reads its answers from."""
    tokens = getattr(task.config, "tokens", None)
    return [column for column in task.columns() if column != tokens]


def with_listed_answers(branches: Mapping[str, Branch], table: Table, columns: Mapping[str, str]) -> dict[str, Branch]:
    """Return those of `branches` that were trained on columns of 0 and 1 while the table has their answers in one column of
    lists, as predictions are written: a column that `columns` names for the branch, or one of its name. Their tasks read that.
    """
    found = {}
    for name, branch in branches.items():
        task = branch.task
        if not isinstance(task, MultilabelTask) or isinstance(task.config.labels, str):
            continue
        known = {heading.strip() for heading in table.columns}
        own = list(dict.fromkeys((name, task.name)))
        column = next((one for one in own if one in columns), None)
        if column is None and not any(
            label.strip() in known or f"{one}.{label}" in columns for one in own for label in task.columns()
        ):
            column = next((one for one in own if _holds_lists(table, one)), None)
        if column is not None:
            found[name] = dataclasses.replace(branch, task=task.reading_lists(column))
    return found


def _holds_lists(table: Table, column: str) -> bool:
    try:
        return column in table.columns and any(isinstance(value, list) for value in cells(table, column))
    except BadInput:
        return False


def renamed_columns(branches: Mapping[str, Branch], table: Table, columns: Mapping[str, str]) -> Table:
    """Return a table with the columns that are named for some roles under the names that the branches were trained on; messages
    call them as the source does. A column whose name differs from one of these by blanks around it alone needs no naming: some
    formats keep such blanks and some do not.

    Args:
        branches: by name.
        table: with any columns.
        columns: role (see `roles`) -> the column of `table` to be read for it.

    Raises:
        BadInput: an unknown role, or a column that is not there.
    """
    known = roles(branches)
    found, headings = dict(table.columns), dict(table.headings)
    for wanted in {column for names in known.values() for column in names} - table.columns.keys():
        alike = [name for name in table.columns if name.strip() == wanted.strip()]
        if len(alike) == 1:
            found[wanted], headings[wanted] = table.columns[alike[0]], alike[0]
    for role, name in columns.items():
        if role not in known:
            raise unknown_name("--column", role, known)
        found.update(dict.fromkeys(known[role], table.column(name, role)))
        headings.update(dict.fromkeys(known[role], name))
    return dataclasses.replace(table, columns=found, headings=headings) if headings != table.headings else table


def column_roles(given: Iterable[str]) -> dict[str, str]:
    """Return `[ROLE=]NAME` words as a mapping; a word without `=` is the column of the texts."""
    found: dict[str, str] = {}
    for word in given:
        role, equals, name = word.partition("=")
        if not equals:
            role, name = "text", word
        if not role or not name:
            raise BadInput(f"--column {word}: expected [ROLE=]NAME, such as text=review, or the name of the text column")
        if role in found:
            raise BadInput(f"--column: found {role} twice, expected each once")
        found[role] = name
    return found


def text_example(table: Table) -> str:
    """The option that names the column of texts, such as ``--column review``: the strings with the most words, if any have more
    than one.
    """
    blanks = {name: _mean_blanks(table.columns[name]) for name in table.listable()}
    best = max(blanks, key=blanks.__getitem__, default="")
    if not blanks.get(best):
        return "--column NAME"
    return f"--column {shlex.quote(f'text={best}' if '=' in best else best)}"


def likely_texts(table: Table, columns: Mapping[str, str]) -> list[str]:
    """Strings of the column that is named for the texts, or most likely holds them; as a sample, before branches are loaded."""
    blanks = {name: _mean_blanks(table.columns[name]) for name in table.listable()}
    name = columns.get("text") or ("text" if "text" in table.columns else max(blanks, key=blanks.__getitem__, default=""))
    return [value for value in table.columns.get(name, ()) if isinstance(value, str)]


def _mean_blanks(values: list) -> float:
    """How many blanks the strings of a column have on average; 0 where there are other values."""
    there = [value for value in values[:_LOOKED_AT] if value is not None]
    if not there or not all(isinstance(value, str) for value in there):
        return 0.0
    return sum(value.strip().count(" ") for value in there) / len(there)


def answers_example(name: str, task: Task, table: Table) -> str:
    """The option that names the column with the answers of a branch, such as ``--column mood=feeling``: one with its labels."""
    known = set(task.own_labels)
    found = (column for column in table.listable() if _mostly(table.columns[column], known))
    return f"--column {shlex.quote(f'{name}=' + next(found, 'NAME'))}"


def _mostly(values: list, known: set[str]) -> bool:
    """Whether at least half of the values of a column are among some labels."""
    there = [value for value in values[:_LOOKED_AT] if value is not None]
    return bool(there) and 2 * sum(isinstance(value, str) and value in known for value in there) >= len(there)


def map_example(task: Task, unseen: Iterable[str]) -> str:
    """The option that reads a label of the data as one of a task's, such as ``--map Sport=sports``, where one is near."""
    pairs = [(label, near) for label in unseen if (near := nearest_label(label, task.own_labels)) is not None]
    if not pairs or not may_name([*task.own_labels, *unseen]):
        return "--map GIVEN=TRAINED"
    return f"--map {shlex.quote('='.join(pairs[0]))}"


def label_names(given: Iterable[str], branches: Mapping[str, Branch]) -> dict[str, str]:
    """Return `GIVEN=TRAINED` words as a mapping from labels of the data to labels of the branches.

    Raises:
        BadInput: no such pair, or no branch has the label.
    """
    known = {label for branch in branches.values() for label in branch.task.own_labels}
    found: dict[str, str] = {}
    for word in given:
        places = [place for place, character in enumerate(word) if character == "=" and place]
        if not places:
            raise BadInput(
                f"--map {shown(word, whole=True)}: expected GIVEN=TRAINED, the label in the data and that of the branch"
            )
        at = next((place for place in places if word[place + 1 :] in known), places[0])
        if word[at + 1 :] not in known:
            raise unknown_label(f"--map {shown(word, whole=True)}", word[at + 1 :], sorted(known))
        found[word[:at]] = word[at + 1 :]
    return found
