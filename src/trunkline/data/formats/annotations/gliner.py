"""GLiNER's training files: ``tokenized_text``, and ``ner`` as ``[first token, last token inclusive, label]``.

https://github.com/urchade/GLiNER.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.reading.notes import Notes
from trunkline.errors import BadInput


def is_gliner(values: Sequence[Any]) -> bool:
    """Whether every row has both keys."""
    return bool(values) and all(
        isinstance(row, dict) and isinstance(row.get("tokenized_text"), list) and isinstance(row.get("ner"), list)
        for row in values
    )


def row(value: Any, notes: Notes) -> dict[str, Any]:
    """Return a row with ``tokens`` and ``tags`` (IOB2). Of spans that share a token the longest is kept, the others counted."""
    if not isinstance(value, dict) or not isinstance(value.get("tokenized_text"), list):
        raise BadInput("no list of tokens, expected tokenized_text and ner")
    tokens, spans = value["tokenized_text"], value.get("ner")
    tags = ["O"] * len(tokens)
    for span in sorted(map(_checked, spans or []), key=lambda span: span[0] - span[1]):
        first, last, label = span
        if not 0 <= first <= last < len(tokens):
            raise BadInput(f"ner has the span {first}..{last} in {len(tokens)} tokens, expected 0 <= first <= last < tokens")
        if any(tag != "O" for tag in tags[first : last + 1]):
            notes.add("{} left out, as another of the row has a token of theirs.", "span", label=label)
            continue
        tags[first : last + 1] = [f"B-{label}"] + [f"I-{label}"] * (last - first)
    rest = {key: part for key, part in value.items() if key not in ("tokenized_text", "ner", "label", "negatives")}
    return {"tokens": tokens, "tags": None if spans is None else tags, **rest}


def _checked(span: Any) -> tuple[int, int, str]:
    whole = isinstance(span, list) and len(span) >= 3
    if not whole or type(span[0]) is not int or type(span[1]) is not int or not isinstance(span[2], str) or not span[2]:
        raise BadInput("ner has a span that is none, expected [first token, last token, label]")
    return span[0], span[1], span[2]


tools.register("gliner")(Tool(is_gliner, row))
