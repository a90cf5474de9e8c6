"""A column of spans on the words of texts: the tags of the words, and what is reported of spans that are changed or lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.data import columns
from trunkline.data.corpus import Corpus, Unit
from trunkline.data.values.offsets import Counted, Span, in_characters, likely_cause, quoted_in_characters
from trunkline.data.values.tags import REASONS, Placed, spans_to_tags
from trunkline.errors import listed
from trunkline.tasks.labels import may_name


@dataclass(frozen=True)
class SpanColumn:
    """Where a task has its spans, and how it reads them.

    task (str): the name of the task.
    name (str): of the column.
    counted (Counted): what the offsets count.
    missing (Sequence[str] | None): the strings that the config lists as missing values.
    """

    task: str
    name: str
    counted: Counted
    missing: Sequence[str] | None

    def spans(self, corpus: Corpus) -> list[list[Span] | None]:
        """Return the spans of each text, their offsets in characters; None where a row has no list of them."""
        given = columns.span_lists(corpus.table, self.name, f"tasks.{self.task}.spans", missing=self.missing)
        counted: Counted = "characters" if self.in_characters(corpus) else self.counted
        return [
            None if own is None else in_characters(own, text, counted) for own, text in zip(given, corpus.texts, strict=True)
        ]

    def in_characters(self, corpus: Corpus) -> bool:
        """Whether the spans say that their offsets count characters though the config says otherwise: predictions do."""
        if self.counted == "characters":
            return False
        cells = columns.cells(corpus.table, self.name, missing=self.missing)
        lists = [(cell, text) for cell, text in zip(cells, corpus.texts, strict=True) if isinstance(cell, list)]
        return quoted_in_characters(lists, self.counted)

    def placed(self, corpus: Corpus) -> list[Placed | None]:
        """Return the tags that the spans of each text become, and what became of the spans."""

        def parse() -> list[Placed | None]:
            rows = zip(self.spans(corpus), units_of(corpus), corpus.texts, strict=True)
            return [None if spans is None else spans_to_tags(spans, units, len(text)) for spans, units, text in rows]

        return corpus.parsed(("spans", self.name, self.counted, columns.policy(self.missing)), parse)

    def findings(self, corpus: Corpus, types: Sequence[str]) -> list[str]:
        """Return a sentence for each kind of change or loss, the likely cause, and which of `types` are left without a span."""
        placed = [row for row in self.placed(corpus) if row is not None]
        kept = Counter(tag[2:] for row in placed for tag in row.tags if tag.startswith("B-"))
        lost = Counter(reason for row in placed for reason, _ in row.lost)
        gone = sorted({label for row in placed for _, label in row.lost} - kept.keys())
        of = f"of the {kept.total() + lost.total():,} spans of {self.task!r}"
        found: list[str] = []
        if self.in_characters(corpus):
            found.append(
                f"the offsets of {self.task!r} are read as characters, as the texts of its spans show, and not as "
                f"`offsets: {self.counted}`."
            )
        if widened := sum(row.widened for row in placed):
            found.append(f"{widened:,} {of} not on word edges: every word that is touched was taken.")
        if trimmed := sum(row.trimmed for row in placed):
            found.append(f"{trimmed:,} {of} with blanks or other characters outside of words at an edge, which were left out.")
        if cut := sum(row.cut for row in placed):
            found.append(f"{cut:,} {of} end beyond their text and were cut at its end.")
        found += [f"{lost[reason]:,} {of} left out, as they {why}." for reason, why in REASONS.items() if lost[reason]]
        if found and self.counted == "characters" and (cause := self._cause(corpus)):
            found.append(f"the spans of {self.task!r} are on word edges if {cause}.")
        if gone and not may_name(types):
            found.append(f"no span of {self.task!r} is left of {len(gone):,} of its labels.")
        elif gone:
            found.append(f"no span of {self.task!r} is left of {listed(gone, 8, whole=True)}.")
        return found

    def _cause(self, corpus: Corpus) -> str | None:
        rows = zip(self.spans(corpus), corpus.texts, units_of(corpus), strict=True)
        return likely_cause((spans, text, units) for spans, text, units in rows if spans)


def units_of(corpus: Corpus) -> list[list[Unit]]:
    """Return the words of each text."""
    if corpus.units is None:
        raise ValueError("a token task needs a corpus with units")
    return corpus.units
