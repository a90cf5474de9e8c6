"""Columns and labels of data that are not called as in training: `--column ROLE=NAME` and `--map GIVEN=TRAINED`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from trunkline.data.table import Table
from trunkline.errors import BadInput, shown, unknown_name
from trunkline.model.branch import Branch
from trunkline.tasks.labels import unknown_label

TEXTS = ("text", "text_pair", "tokens")


def roles(branches: Mapping[str, Branch]) -> dict[str, list[str]]:
    """Return what a column can be for these branches, with the names of the columns that they were trained on.

    `text`, `text_pair` and `tokens`; the name of a branch or of its task, for the column with its answers; where these are
    several columns of 0 and 1, NAME.COLUMN for each.
    """
    found: dict[str, list[str]] = {role: [] for role in TEXTS}
    for name, branch in branches.items():
        tokens = getattr(branch.task.config, "tokens", None)
        answers = [column for column in branch.task.columns() if column != tokens]
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


def renamed_columns(branches: Mapping[str, Branch], table: Table, columns: Mapping[str, str]) -> Table:
    """Return a table with the columns that are named for some roles under the names that the branches were trained on.

    Args:
        branches: by name.
        table: with any columns.
        columns: role (see `roles`) -> the column of `table` to be read for it.

    Raises:
        BadInput: an unknown role, or a column that is not there.
    """
    known = roles(branches) if columns else {}
    found = dict(table.columns)
    for role, name in columns.items():
        if role not in known:
            raise unknown_name("--column", role, known)
        values = table.column(name, role)
        found.update(dict.fromkeys(known[role], values))
    return dataclasses.replace(table, columns=found) if columns else table


def column_roles(given: Iterable[str]) -> dict[str, str]:
    """Return `ROLE=NAME` words as a mapping; a word without `=` is the column of the texts."""
    found: dict[str, str] = {}
    for word in given:
        role, equals, name = word.partition("=")
        if not equals:
            role, name = "text", word
        if not role or not name:
            raise BadInput(f"--column {word}: expected ROLE=NAME, such as text=review, or the name of the text column")
        if role in found:
            raise BadInput(f"--column: found {role} twice, expected each once")
        found[role] = name
    return found


def label_names(given: Iterable[str], branches: Mapping[str, Branch]) -> dict[str, str]:
    """Return `GIVEN=TRAINED` words as a mapping from labels of the data to labels of the branches.

    Raises:
        BadInput: no such pair, or no branch has the label.
    """
    known = {label for branch in branches.values() for label in getattr(branch.task, "types", branch.task.named_labels or ())}
    found: dict[str, str] = {}
    for word in given:
        places = [place for place, character in enumerate(word) if character == "=" and place]
        if not places:
            raise BadInput(f"--map {shown(word)}: expected GIVEN=TRAINED, the label in the data and that of the branch")
        at = next((place for place in places if word[place + 1 :] in known), places[0])
        if word[at + 1 :] not in known:
            raise unknown_label(f"--map {shown(word)}", word[at + 1 :], sorted(known))
        found[word[:at]] = word[at + 1 :]
    return found
