"""A validation split drawn by seed, and what is odd about splits: duplicates, texts with two labels, overlap, empty texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput


def draw_validation(table: Table, share: float, seed: int, strata: Sequence[Hashable] | None = None) -> tuple[Table, Table]:
    """Draw a share of the rows, the same for the same seed.

    Args:
        table (Table): at least 2 rows.
        share (float): between 0 and 1; at least one row is drawn and at least one left.
        seed (int): of the draw.
        strata (Sequence[Hashable] | None): one per row. Each stratum gives its share, rounded up for the largest
            remainders; its last row, so that every label stays in training, only where the others are not enough. None as
            a stratum is one like others.

    Returns:
        tuple[Table, Table]: what is left and what was drawn, each in the order of the table.
    """
    n = len(table)
    if not 0 < share < 1:
        raise BadInput(f"{table.source}: a share of {share:g} for validation, expected one between 0 and 1")
    if n < 2:
        raise BadInput(f"{table.source}: {n} rows found, expected at least 2 to draw a validation split from")
    wanted = min(max(1, round(share * n)), n - 1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    drawn = order[:wanted] if strata is None else _stratified(order, strata, wanted)
    inside = np.zeros(n, dtype=bool)
    inside[drawn] = True
    return table.select(np.flatnonzero(~inside)), table.select(np.flatnonzero(inside))


def _stratified(order: np.ndarray, strata: Sequence[Hashable], wanted: int) -> np.ndarray:
    """Take `wanted` rows: the front of each stratum's rows in the drawn order, as many as its share rounded down or up."""
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row in order:
        rows[strata[row]].append(int(row))
    groups = list(rows.values())  # in the drawn order, so that ties between remainders fall by seed too
    sizes = np.array([len(group) for group in groups])
    quota = sizes * wanted / len(order)
    take = np.floor(quota).astype(int)
    # One more from the largest remainders; a stratum that would give its last row comes after all that would not.
    first = np.lexsort((take - quota, take == sizes - 1))
    take[first[: wanted - take.sum()]] += 1
    return np.array([row for group, count in zip(groups, take, strict=True) for row in group[:count]])


def check_splits(splits: Mapping[str, Corpus], labels: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[str]:
    """Count what is odd, one sentence a finding; none where nothing is.

    Args:
        splits: split name ("train", "validation", "test") -> corpus.
        labels: split name -> task name -> the label of each text; None where missing, lists for several labels or tags.
    """
    findings = []
    keys = {name: _keys(corpus) for name, corpus in splits.items()}
    for name, corpus in splits.items():
        findings += [f"{name}: {said}" for said in corpus.findings()]
        repeated = {key: count for key, count in Counter(keys[name]).items() if count > 1}
        if repeated:
            rows = sum(repeated.values())
            findings.append(f"{name}: {_texts(len(repeated), 'occurs', 'occur')} more than once ({rows:,} rows).")
        for task, values in labels.get(name, {}).items():
            seen: dict[Hashable, set[str]] = defaultdict(set)
            for key, value in zip(keys[name], values, strict=True):
                if value is not None and key in repeated:
                    seen[key].add(repr(value))
            several = sum(len(kinds) > 1 for kinds in seen.values())
            if several:
                findings.append(f"{name}: {_texts(several, 'carries', 'carry')} different labels for {task!r}.")
    names = list(splits)
    for i, first in enumerate(names):
        known = set(keys[first])
        for second in names[i + 1 :]:
            shared = [key for key in keys[second] if key in known]
            if shared:
                share = f"{len(shared):,} row" + "s" * (len(shared) > 1)
                findings.append(f"{second}: {_texts(len(set(shared)), 'is', 'are')} also in {first} ({share} of {second}).")
    return findings


def _texts(count: int, one: str = "is", many: str = "are") -> str:
    return f"1 text {one}" if count == 1 else f"{count:,} texts {many}"


def _keys(corpus: Corpus) -> list[Hashable]:
    """What makes two rows the same input."""
    return list(corpus.texts) if corpus.pairs is None else list(zip(corpus.texts, corpus.pairs, strict=True))
