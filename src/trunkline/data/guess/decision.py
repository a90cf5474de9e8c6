"""How a table and each of its columns were interpreted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trunkline.errors import shown

_ANSWERS = ("tags", "spans", "labels", "label", "target")  # keys of a task that name the column, or columns, of its answers


def columns_of(section: Mapping[str, Any]) -> set[str]:
    """The columns that hold the answers of a task."""
    found = [section.get(key) or () for key in _ANSWERS]
    return {name for value in found for name in ([value] if isinstance(value, str) else value)}


NAMED = "used because it was named"


@dataclass(frozen=True)
class Decision:
    """How a column was interpreted.

    role: text, text_pair, tokens, a task kind, or unused; why: the rest of a sentence; task: its name, where it is one;
    listable: whether messages may show the name of the column whole (`Table.listable`); amounts: whether the values
    are numbers other than 0 and 1.
    """

    column: str
    role: str
    why: str
    task: str | None = None
    listable: bool = False
    amounts: bool = False

    @property
    def sentence(self) -> str:
        taken = {"text": "is the text", "text_pair": "is the second text of a pair", "unused": "is not used"}
        taken["tokens"] = "holds the words that tags belong to"
        named = "" if self.task in (None, self.column) else f" called {self.task!r}"
        said = taken.get(self.role, f"is a {self.role} task{named}")
        return f"{shown(self.column, self.listable)} {said}: {self.why}."


@dataclass(frozen=True)
class Guess:
    """How a table was interpreted.

    text (str | None): the column of the texts; None where only tokens are there.
    tasks (dict[str, dict]): task name -> what stands under `tasks:` in a config.
    decisions (list[Decision]): one per column, in the order of the table.
    together (str): a sentence on columns that may be the labels of one task; empty where there are none.
    joined (dict[str, dict]): that task under its name, as in `tasks`.
    """

    text: str | None
    text_pair: str | None
    tasks: dict[str, dict[str, Any]]
    decisions: list[Decision]
    together: str = ""
    joined: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """One sentence per column: how it was interpreted and why."""
        return [decision.sentence for decision in self.decisions]

    @property
    def remarkable(self) -> list[str]:
        """Those of the sentences that a user should know who does not see the others: columns used though they look otherwise,
        tasks that are not called as their columns are.
        """
        return [one.sentence for one in self.decisions if NAMED in one.why or one.task not in (None, one.column)]

    def config(self, train: str | list[str]) -> dict[str, Any]:
        """Return the `data:` and `tasks:` sections of a config; `train` is the source the table was read from."""
        named = {"text": self.text, "text_pair": self.text_pair}
        return {"data": {"train": train, **{k: v for k, v in named.items() if v is not None}}, "tasks": dict(self.tasks)}
