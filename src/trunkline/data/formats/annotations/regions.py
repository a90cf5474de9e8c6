"""Regions of several texts of a row, as Label Studio marks them: those of one text are read, as spans are offsets into one.

An export names the object that a region is on (``to_name``), which only the labelling configuration, not exported, ties to a
field of the data. Which one it is shows in the names, in the words that regions cover, or in what is left over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.data.reading.notes import Notes
from trunkline.data.table import Table


class Regions(list[dict[str, Any]]):
    """Spans, and for each the name of the object that it is on and the words that it covers, as far as they are known."""

    def __init__(self) -> None:
        super().__init__()
        self.on: list[str] = []
        self.covered: list[str | None] = []

    def put(self, spans: Sequence[dict[str, Any]], on: Any, covered: Any) -> None:
        """Add spans of one region."""
        self.extend(spans)
        self.on += [on if isinstance(on, str) else ""] * len(spans)
        self.covered += [covered if isinstance(covered, str) else None] * len(spans)


def keep_one_text(rows: Sequence[dict[str, Any]], notes: Notes, named: bool = True) -> None:
    """Make plain lists of the `Regions` in ``spans``: those on the texts, or else on the field that has most.

    Args:
        rows: plain rows, which are changed.
        notes: counts the regions that are left out.
        named: each region says what it is on. Else it says which control made it, of which several may be for one text: only
            regions whose words are in another text are left out.
    """
    marked = [row for row in rows if isinstance(row.get("spans"), Regions) and row["spans"]]
    fields = [name for name in dict.fromkeys(name for row in marked for name in row) if name != "id" and _is_text(marked, name)]
    counts = Counter(on for row in marked for on in row["spans"].on)
    if len(fields) > 1:
        held = _fields(marked, fields, list(counts), named)
        known = set(held.values())
        by_text: Counter[str] = Counter()
        for on, count in counts.items():
            if named or on in held:
                by_text[held.setdefault(on, on)] += count
        if by_text:
            text = _looks_like_texts(rows, fields)
            kept = text if text in by_text else by_text.most_common(1)[0][0]
            for row in marked:
                regions = row["spans"]
                row["spans"] = [span for span, on in zip(regions, regions.on, strict=True) if held.get(on, kept) == kept]
            _say(text, kept if kept in known else text, {name: n for name, n in by_text.items() if name != kept}, notes)
    for row in rows:
        if isinstance(spans := row.get("spans"), Regions):
            row["spans"] = list(spans)


def _say(text: str | None, kept: str | None, others: Mapping[str, int], notes: Notes) -> None:
    """Note how many regions are on other texts than the one that is kept, and that this is not what is taken for the texts."""
    for name, count in others.items():
        notes.add("{} left out, as they are on another text than those that are read", "region", count, name)
    if text is not None and text != kept:
        notes.say(
            f"the regions are on {kept!r}, while {text!r} looks like the texts: name {kept!r} as the text column "
            "(--text, data.text)."
        )


def _is_text(rows: Sequence[dict[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, str) for value in values)


def _fields(rows: Sequence[dict[str, Any]], fields: Sequence[str], objects: Sequence[str], named: bool) -> dict[str, str]:
    """The field of each object, as far as it is known."""
    found = {name: name for name in objects if named and name in fields}
    for name in objects:
        if name not in found and (field := _covering(rows, fields, name)) is not None:
            found[name] = field
    unknown = [name for name in objects if name not in found]
    if named and len(unknown) == 1:
        left = [field for field in fields if field not in found.values() and _fits(rows, field, unknown[0])]
        if len(left) == 1:
            found[unknown[0]] = left[0]
    return found


def _covering(rows: Sequence[dict[str, Any]], fields: Sequence[str], name: str) -> str | None:
    """The field in which the regions of an object cover their words, in more rows than in any other."""
    agreed: Counter[str] = Counter()
    for row in rows:
        regions = row["spans"]
        for span, on, covered in zip(regions, regions.on, regions.covered, strict=True):
            if on == name and covered:
                agreed.update(field for field in fields if (row.get(field) or "")[span["start"] : span["end"]] == covered)
    best = agreed.most_common(2)
    return best[0][0] if best and (len(best) == 1 or best[0][1] > best[1][1]) else None


def _fits(rows: Sequence[dict[str, Any]], field: str, name: str) -> bool:
    """Whether the regions of an object end within the texts of a field."""
    return all(
        span["end"] <= len(row.get(field) or "")
        for row in rows
        for span, on in zip(row["spans"], row["spans"].on, strict=True)
        if on == name
    )


def _looks_like_texts(rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> str | None:
    """The field that is taken for the texts where nobody names it."""
    from trunkline.data.guess.looks import Look  # here, as few files have several texts
    from trunkline.data.guess.texts import find_texts

    table = Table("", {name: [row.get(name) for row in rows] for name in fields})
    return find_texts({name: Look(table, name) for name in fields})[0]
