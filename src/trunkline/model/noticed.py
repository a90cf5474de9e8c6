"""What was noticed while tables were predicted, as sentences for a user."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.data.table import Unread
from trunkline.errors import BadInput
from trunkline.model.portions import clips_cut

NAMED = 3  # rows that a sentence names
_COUNTS = ("empty", "bad", "shortened", "joined")
_FIRSTS = ("first_empty", "first_apart", "first_joined")


@dataclasses.dataclass
class Noticed:
    """What was noticed while tables were predicted, one after the other."""

    only: str | None = None  # the only column of the first table, where its name does not say that it has the texts; "" if none
    read: dict[str, None] = dataclasses.field(default_factory=dict)  # what the readers of the tables have said
    empty: int = 0  # rows without a text
    first_empty: str = ""
    reads: str = "text"  # what an empty row has not
    apart: Counter[str] = dataclasses.field(default_factory=Counter)  # rows whose tokens are not in their text, by branch
    first_apart: str = ""
    columns: list[str] | None = None  # those of the first table that are read
    bad: int = 0  # rows that cannot be read
    first_bad: list[Unread] = dataclasses.field(default_factory=list)
    shortened: int = 0  # rows whose text is shorter where every line end is LF, as in the output
    joined: int = 0  # rows whose text is made of tokens, in a column of texts that others have
    first_joined: str = ""
    cut: Counter[str] = dataclasses.field(default_factory=Counter)  # audio clips that are longer than branches read
    begun: bool = False  # whether rows have been read

    def later(self) -> Noticed:
        """Return one for rows that come later in a source: they are read as these are, and none is counted yet."""
        return Noticed(only=self.only, columns=self.columns, read=dict(self.read), reads=self.reads, begun=True)

    def facts(self) -> dict[str, Any]:
        """Return what was counted as JSON, for `add`."""
        firsts = [(one.where, str(one.error)) for one in self.first_bad]
        told = {name: getattr(self, name) for name in (*_COUNTS, *_FIRSTS, "reads")}
        return told | {"read": list(self.read), "first_bad": firsts, "apart": dict(self.apart), "cut": dict(self.cut)}

    def add(self, facts: Mapping[str, Any]) -> None:
        """Count what was counted of rows that come after these."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + facts[name])
        for name in _FIRSTS:
            setattr(self, name, getattr(self, name) or facts[name])
        self.reads = facts["reads"]
        self.read.update(dict.fromkeys(facts["read"]))
        self.apart.update(facts["apart"])
        self.cut.update(facts["cut"])
        more = [Unread(0, where, BadInput(error)) for where, error in facts["first_bad"]]
        self.first_bad += more[: NAMED - len(self.first_bad)]

    def count_bad(self, rows: Sequence[Unread]) -> None:
        """Count rows that cannot be read, in order."""
        self.bad += len(rows)
        self.first_bad += rows[: NAMED - len(self.first_bad)]

    def sentences(self) -> list[str]:
        said = [*self.read, *clips_cut(self.cut)]
        if self.bad:
            rows, they, their = ("1 row", "it has", "its") if self.bad == 1 else (f"{self.bad:,} rows", "they have", "their")
            first, *others = self.first_bad
            also = f"; also {', '.join(one.where for one in others)}" if others else ""
            also += f" and {self.bad - NAMED:,} more" if self.bad > NAMED else ""
            said.append(f"{rows} cannot be read, so {they} no prediction and {their} error instead: {first.error}{also}.")
        if self.empty:
            rows, their = ("1 row has", "its") if self.empty == 1 else (f"{self.empty:,} rows have", "their")
            said.append(f"{rows} no {self.reads}, so {their} predictions are empty; the first is {self.first_empty}.")
        if self.apart:
            rows = "1 row has" if (most := max(self.apart.values())) == 1 else f"{most:,} rows have"
            said.append(
                f"{rows} tokens that are not in the text, so the words of the text are read instead; "
                f"the first is {self.first_apart}."
            )
        if self.joined:
            rows = "1 row has" if self.joined == 1 else f"{self.joined:,} rows have"
            said.append(f"{rows} tokens and no text, which is the tokens joined by blanks; the first is {self.first_joined}.")
        if self.shortened:
            texts = "1 text has" if self.shortened == 1 else f"{self.shortened:,} texts have"
            said.append(
                f"{texts} line ends of two characters (CR LF), which are one (LF) in .xlsx; offsets in predictions are of the "
                "texts there, and any that the input has itself are not."
            )
        return said
