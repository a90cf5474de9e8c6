"""Tag schemes: IOB1, IOB2, BIOES and BILOU to IOB2, and tags to spans and back, on plain lists.

Chunks are those of the CoNLL scorer (conlleval; Tjong Kim Sang and Buchholz 2000, section 5): a chunk begins at B, S or U,
at any inside tag that does not continue a chunk of its label, and ends at E, L, S or U.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.errors import BadInput, shown

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
        if not (dash and name and prefix in _PREFIXES):
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
    widened (int): spans that do not fall on unit edges and took every unit that they touch.
    overlapping (tuple[str, ...]): labels of the spans left out because an earlier one has a unit of theirs.
    wordless (tuple[str, ...]): labels of the spans left out because they touch no unit.
    """

    tags: list[str]
    widened: int = 0
    overlapping: tuple[str, ...] = ()
    wordless: tuple[str, ...] = ()


def spans_to_tags(spans: Sequence[tuple[int, int, str] | Mapping[str, Any]], units: Sequence[tuple[int, int]]) -> Placed:
    """Turn character spans into IOB2 tags of units.

    A unit has one tag, so one of the spans that share a unit is kept: the first to begin, of those the longest.

    Args:
        spans: (start, end exclusive, label), or mappings with these keys.
        units: character spans in order, not overlapping.
    """
    tags, widened, unit = ["O"] * len(units), 0, 0
    overlapping: list[str] = []
    wordless: list[str] = []
    triples = [(s["start"], s["end"], s["label"]) if isinstance(s, Mapping) else s for s in spans]
    for start, end, label in sorted(triples, key=lambda span: (span[0], -span[1])):
        while unit < len(units) and units[unit][1] <= start:
            unit += 1
        first = last = unit
        while last < len(units) and units[last][0] < end:
            last += 1
        if first == last:
            wordless.append(label)
        elif any(tag != "O" for tag in tags[first:last]):
            overlapping.append(label)
        else:
            tags[first:last] = ["B-" + label] + ["I-" + label] * (last - first - 1)
            widened += units[first][0] < start or units[last - 1][1] > end
    return Placed(tags, widened, tuple(overlapping), tuple(wordless))
