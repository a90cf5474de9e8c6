"""Tag schemes: IOB1, IOB2, BIOES and BILOU to IOB2, and tags to spans and back, on plain lists.

Chunks are those of the CoNLL scorer (conlleval; Tjong Kim Sang and Buchholz 2000, section 5): a chunk begins at B, S or U,
at any inside tag that does not continue a chunk of its label, and ends at E, L, S or U.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.errors import BadInput, shown

NUMBERED = (  # what to do about tags that are numbers without names
    "if these are tags, write their names in the place of the numbers, or read the data from a folder that `datasets` saved "
    "with them (ClassLabel)"
)
_LIKE_A_TAG = re.compile(r"[A-Z]-\S{1,30}")
_BEGINS, _ENDS, _PREFIXES = frozenset("BSU"), frozenset("ELSU"), frozenset("BIESLU")


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Return the same chunks as IOB2, whichever of IOB1, IOB2, BIOES or BILOU they came in.

    No scheme has to be named: each writes a chunk in a way that means the same chunk in the union of them.
    Raises BadInput for a tag that is none of theirs.
    """
    out, label, open_chunk = [], "", False
    for tag in tags:
        prefix, dash, name = tag.partition("-")
        if tag == "O":
            open_chunk = False
            out.append("O")
            continue
        if not (dash and name.strip() and prefix in _PREFIXES):
            found = f"the tag {shown(tag)}" if _LIKE_A_TAG.fullmatch(tag) else "a word that is no tag"
            raise BadInput(f"found {found}, expected O or one of B- I- E- S- L- U- and a label")
        begins = prefix in _BEGINS or not open_chunk or name != label
        out.append(("B-" if begins else "I-") + name)
        label, open_chunk = name, prefix not in _ENDS
    return out


def tags_to_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the chunks of tags of any scheme above as (label, first unit, last unit exclusive), in order."""
    spans: list[tuple[str, int, int]] = []
    for i, tag in enumerate(to_iob2(tags)):
        if tag.startswith("B-"):
            spans.append((tag[2:], i, i + 1))
        elif tag != "O":
            spans[-1] = (*spans[-1][:2], i + 1)
    return spans


@dataclass(frozen=True)
class Placed:
    """What became of the spans of a text.

    tags (list[str]): IOB2, a tag per unit.
    widened (int): spans that end or begin within a unit, and took every unit that they touch.
    trimmed (int): spans that begin or end outside of any unit, on a blank as a rule, and took the units in them.
    cut (int): spans that go on beyond the text.
    lost (tuple[tuple[str, str], ...]): of each span without a tag the reason, one of `REASONS`, and its label.
    """

    tags: list[str]
    widened: int = 0
    trimmed: int = 0
    cut: int = 0
    lost: tuple[tuple[str, str], ...] = ()


# Why a span has no tag, as the end of a sentence about several.
REASONS = {
    "outside": "lie outside their text",
    "empty": "end where they begin, or before",
    "wordless": "touch no word",
    "repeated": "are given more than once",
    "nested": "lie within another span",
    "overlapping": "share a word with a longer span",
}


def spans_to_tags(
    spans: Sequence[tuple[int, int, str] | Mapping[str, Any]], units: Sequence[tuple[int, int]], length: int | None = None
) -> Placed:
    """Turn character spans into IOB2 tags of units.

    A unit has one tag, so one of the spans that share a unit is kept: the longest, of those the first to begin.

    Args:
        spans: (start, end exclusive, label), or mappings with these keys; any whole numbers.
        units: character spans in order, not overlapping.
        length: of the text in characters; None: nothing lies outside of it.
    """
    tags, widened, trimmed, cut = ["O"] * len(units), 0, 0, 0
    lost: list[tuple[str, str]] = []
    begins, ends = [start for start, _ in units], [end for _, end in units]
    owners: list[tuple[int, int, str] | None] = [None] * len(units)
    triples = [(s["start"], s["end"], s["label"]) if isinstance(s, Mapping) else s for s in spans]
    for span in sorted(triples, key=lambda span: (span[0] - span[1], span[0], span[2])):
        start, end, label = span
        first, last = bisect_right(ends, start), bisect_left(begins, end)
        taken = {owner for owner in owners[first:last] if owner is not None}
        if start < 0 or (length is not None and start >= length and end > start):
            lost.append(("outside", label))
        elif end <= start:
            lost.append(("empty", label))
        elif first >= last:
            lost.append(("wordless", label))
        elif span in taken:
            lost.append(("repeated", label))
        elif taken:
            within = any(other[0] <= start and end <= other[1] for other in taken)
            lost.append(("nested" if within else "overlapping", label))
        else:
            tags[first:last] = ["B-" + label] + ["I-" + label] * (last - first - 1)
            owners[first:last] = [span] * (last - first)
            inside = begins[first] < start or ends[last - 1] > end
            widened += inside
            cut += length is not None and end > length
            trimmed += not inside and (start < begins[first] or ends[last - 1] < (end if length is None else min(end, length)))
    return Placed(tags, widened, trimmed, cut, tuple(lost))
