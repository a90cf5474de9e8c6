"""GLiNER's training files: ``tokenized_text``, and ``ner`` as ``[first token, last token inclusive, label]``.

https://github.com/urchade/GLiNER. The words may be in ``tokens``, which a finding says, as others might count ends otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.reading.notes import Notes
from trunkline.errors import BadInput


def is_gliner(values: Sequence[Any]) -> bool:
    """Whether every row has both keys; beside ``tokens``, ``ner`` also has to hold spans, and no row ``tags``."""
    if not values or not all(isinstance(row, dict) and isinstance(row.get("ner"), list) for row in values):
        return False
    if all(isinstance(row.get("tokenized_text"), list) for row in values):
        return True
    spans = [span for row in values for span in row["ner"]]
    named = all(isinstance(row.get("tokens"), list) and "tags" not in row for row in values)
    return named and bool(spans) and all(map(_is_span, spans))


def row(value: Any, notes: Notes) -> dict[str, Any]:
    """Return a row with ``tokens`` and ``tags`` (IOB2). Of spans that share a token the longest is kept, the others counted."""
    key = "tokenized_text" if isinstance(value, dict) and "tokenized_text" in value else "tokens"
    if not isinstance(value, dict) or not isinstance(value.get(key), list):
        raise BadInput("no list of tokens, expected tokenized_text and ner")
    tokens, spans = value[key], value.get("ner")
    tags = ["O"] * len(tokens)
    for span in sorted(map(_checked, spans or []), key=lambda span: span[0] - span[1]):
        first, last, label = span
        if not 0 <= first <= last < len(tokens):
            raise BadInput(f"ner has the span {first}..{last} in {len(tokens)} tokens, expected 0 <= first <= last < tokens")
        if any(tag != "O" for tag in tags[first : last + 1]):
            notes.add("{} left out, as another of the row has a token of theirs.", "span", label=label)
            continue
        tags[first : last + 1] = [f"B-{label}"] + [f"I-{label}"] * (last - first)
    if key == "tokens":
        notes.add("{} with tokens and ner, read as GLiNER's: a span ends with the last token it names.", "row")
    types = {name for name in ("label", "negatives") if isinstance(value.get(name), list)}  # of spans, to be asked for
    rest = {name: part for name, part in value.items() if name not in {key, "ner", *types}}
    plain = {"tokens": tokens, "tags": None if spans is None else tags}
    return {**plain, **rest, **plain}


def _is_span(span: Any) -> bool:
    whole = isinstance(span, list) and len(span) >= 3
    return whole and type(span[0]) is int and type(span[1]) is int and isinstance(span[2], str) and bool(span[2])


def _checked(span: Any) -> tuple[int, int, str]:
    if not _is_span(span):
        raise BadInput("ner has a span that is none, expected [first token, last token, label]")
    return span[0], span[1], span[2]


tools.register("gliner")(Tool(is_gliner, row))
