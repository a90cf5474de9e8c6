"""Label spaces: which labels there are and in which order, weights for them, and the errors that name a label."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trunkline.data.corpus import Corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput, listed, shown


def _as_text(value: Any) -> Any:
    # YAML reads labels such as 0, 1, yes and no as numbers and truth values; write them as data.columns does.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


def _as_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(v) for v in value]
    if isinstance(value, dict):
        return {_as_text(k): v for k, v in value.items()}
    return "none" if value is None else value


LabelList = Annotated[list[str], BeforeValidator(_as_texts), Field(min_length=1)]
MOST_NAMED = 100
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ClassWeights = Annotated[Literal["balanced", "none"] | dict[str, Weight], BeforeValidator(_as_texts)]


def place(table: Table, columns: Sequence[str]) -> str:
    """Return how messages name whole columns of a source."""
    return f"{table.source}, column {' and '.join(map(repr, columns))}"


def refuse_unlabelled(labelled: bool, corpus: Corpus, columns: Sequence[str]) -> None:
    """Raise BadInput unless any row is labelled: nothing could be learned or measured."""
    if not labelled:
        raise BadInput(f"{place(corpus.table, columns)}: found no row with a label, expected at least one")


def may_name(labels: Sequence[str]) -> bool:
    """Whether messages may name labels of the data, one or the first few: not where there are so many that they may be the
    words of texts, as they are of a column of texts with ``separator: " "``.
    """
    return len(labels) <= MOST_NAMED


def unknown_label(where: str, label: str, known: Iterable[str]) -> BadInput:
    """Return the error for a label that is not among the `known` ones; it names the nearest, or the first few."""
    known = list(known)
    near = difflib.get_close_matches(label, known, n=1, cutoff=0.6)
    hint = f"did you mean {shown(near[0])}?" if near else f"expected one of {listed(known, 8)}"
    hint = hint if may_name(known) else "expected one of them"
    problem = f"found the label {shown(label)}, which is not among the {len(known)} labels of the task; {hint}"
    return BadInput(problem, where=where)


def unknown_in_row(table: Table, row: int, column: str, label: str, known: Iterable[str]) -> BadInput:
    """Return `unknown_label` for a cell: file, line and column; they say enough where labels are not to be named."""
    where, known = f"{table.where(row)}, column {column!r}", list(known)
    if may_name(known):
        return unknown_label(where, label, known)
    return BadInput(f"found a label that is not among the {len(known)} labels of the task; expected one of them", where=where)


def label_space(seen: Iterable[str], listed: list[str] | None, key: str) -> list[str]:
    """Return the labels in order: as `listed` by the user, else sorted. BadInput for a list that is not a set."""
    if listed is None:
        return sorted(set(seen))
    if twice := [label for label, n in Counter(listed).items() if n > 1]:
        raise BadInput(key=key, found=f"{shown(twice[0])} twice", expected="each label once")
    return list(listed)


def named_weights(setting: Any, labels: list[str], key: str) -> list[float] | None:
    """Return the weights that the user gave by label, in the order of `labels`, 1 for others; None if none were given."""
    if not isinstance(setting, dict):
        return None
    for label in setting:
        if label not in labels:
            raise unknown_label("", label, labels).at("", key)
    return [float(setting.get(label, 1.0)) for label in labels]


def rarest_labels(rows: Sequence[Collection[str] | None]) -> list[str]:
    """Return, per row, the label that the fewest rows have, so that a split keeps rare labels; "" for missing rows."""
    counts = Counter(label for row in rows if row is not None for label in row)
    return ["" if row is None else min(row, key=lambda x: (counts[x], x)) if row else "(none)" for row in rows]
