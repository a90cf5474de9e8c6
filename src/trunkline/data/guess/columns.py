"""What a column is by itself: a task of some kind, or of no use."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from trunkline.data.guess.decision import Decision
from trunkline.data.guess.looks import MOST_LABEL_LENGTH, MOST_LABELS, Look
from trunkline.data.guess.names import DIVISION, WORD_NAMES, names_classes
from trunkline.data.label_sets import singles, vector_names
from trunkline.data.values.label_spelling import YES
from trunkline.data.values.numerals import PLAIN

SEPARATORS = "|;,"
MOST_CLASS_NUMBERS = 20  # different whole numbers that are classes; more are amounts, unless the column's name says otherwise

MOST_TWINS = 4  # numbers in several spellings that are named
_DECIMAL = re.compile(r"[+-]?[0-9]+[.,][0-9]+")
_DATE = re.compile(
    r"\s*(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4})(?:[ T][0-9:.+Z-]*)?\s*"
)

Made = tuple[Decision, dict[str, Any] | None]


def one_column(look: Look, text: str | None) -> Made:
    """Decide about a column: the decision, and the task if it is one. text: how messages name the column of the texts."""

    def unused(why: str) -> Made:
        return Decision(look.name, "unused", why), None

    def task(kind: str, why: str, **columns: Any) -> Made:
        return Decision(look.name, kind, why + look.missing), {"kind": kind, **columns}

    if not look.n:
        return unused("no row has a value")
    if look.spans and text is not None:
        return task("token", f"spans with start, end and label on {text}", spans=look.name)
    if look.lists:
        return _lists(look, unused, task)
    if look.broken:
        return unused(look.broken)
    if look.numbers is None and not look.strings and not look.truths:
        return unused("its values are neither strings, numbers, truth values nor lists, or are of several types")
    if look.distinct == 1:
        return unused("it has the same value in every row" + (" that has one" if look.n < len(look.table) else ""))
    if look.named_as_id:
        return unused(look.why_id)
    if look.name.lower() in DIVISION:
        return unused("its name is that of a split")
    if look.numbers is not None:
        return _numbers(look, unused, task)
    if look.codes:
        if look.label_like:
            return task("sequence", f"{look.distinct:,} different codes in {look.n:,} rows", label=look.name)
        return unused(f"numbers that look like codes, not amounts, {look.distinct:,} different in {look.n:,} rows")
    separator = _separator(look.there) if look.strings else None
    if separator is not None:
        labels = Counter(part.strip() for value in look.there for part in value.split(separator) if part.strip())
        why = f"strings of {len(labels):,} different labels separated by {separator!r}"
        return task("multilabel", why, labels=look.name, separator=separator)
    if are_dates(look):
        return unused("its values are dates")
    if look.label_like:
        return task("sequence", f"{look.distinct:,} different values in {look.n:,} rows", label=look.name)
    if names_classes(look.name) and _recurs(look) and look.length <= MOST_LABEL_LENGTH:
        why = f"its name says that its {look.distinct:,} different values are classes, in {look.n:,} rows"
        return task("sequence", why, label=look.name)
    if look.trouble:
        return unused(look.trouble)
    if look.free_text:
        return unused(f"it looks like another text; data.text_pair={look.name} (in overrides) reads it as the second of a pair")
    return unused(f"{look.distinct:,} different values in {look.n:,} rows, too many for labels, which recur")


def are_dates(look: Look) -> bool:
    """Whether all values are days, with or without a time."""
    return look.strings and all(_DATE.fullmatch(value) for value in look.there)


def ticks(looks: Mapping[str, Look]) -> list[str]:
    """The columns that hold nothing but 1 and blanks, if there are two or more: labels that are ticked or not."""
    found = [
        look.name for look in looks.values() if look.missing and look.distinct == 1 and not look.named_as_id and _yes(look)
    ]
    return found if len(found) > 1 else []


def _yes(look: Look) -> bool:
    if look.numbers is not None:
        return look.numbers[0] == 1
    return look.there[0] is True or str(look.there[0]).lower() in YES


def _lists(look: Look, unused: Callable[[str], Made], task: Callable[..., Made]) -> Made:
    if look.name.lower() in WORD_NAMES:
        return unused("its name says that it holds the words of a text")
    if look.vectors is not None:
        names = vector_names(look.vectors)
        called = f"{names[0]} to {names[-1]}, unless `label_list` names them"
        why = f"vectors of {look.vectors:,} zeros and ones; the labels are called {called}"
        return task("multilabel", why, labels=look.name)
    if look.broken:
        return unused(look.broken)
    if any(look.there) and not look.word_lists and all(part in (0, 1) for value in look.there for part in value):
        return unused("its lists hold 0 and 1 and differ in length, so they are neither vectors nor labels")
    labels = Counter(str(part) for value in look.there for part in value if isinstance(part, str | int))
    if len(labels) < 2 or any(isinstance(part, dict | list) for value in look.there for part in value):
        return unused("its lists do not hold labels")
    if len(labels) > min(labels.total() / 2, MOST_LABELS):
        return unused(f"its lists hold {len(labels):,} different values, too many for labels")
    single = singles(look.table, look.name, look.listed)
    beside = f"; {single:,} of {look.n:,} are one label without brackets" if single else ""
    if all(len(value) == 1 for value in look.there):
        return task("sequence", f"lists of exactly one of {len(labels):,} labels{beside}", label=look.name)
    return task("multilabel", f"lists of {len(labels):,} different labels{beside}", labels=look.name)


def _numbers(look: Look, unused: Callable[[str], Made], task: Callable[..., Made]) -> Made:
    assert look.numbers is not None
    whole = all(number.is_integer() for number in look.numbers)
    if whole and look.label_like and look.distinct <= MOST_CLASS_NUMBERS:
        as_number = f"; to predict a number, say {{kind: regression, target: {look.name}}}" if look.distinct > 2 else ""
        return task("sequence", f"{look.distinct:,} different whole numbers in {look.n:,} rows{as_number}", label=look.name)
    if whole and names_classes(look.name) and _are_classes(look, look.numbers):
        why = f"its name says that its {look.distinct:,} different whole numbers are classes, in {look.n:,} rows"
        return task("sequence", why, label=look.name)
    twins, spelled = _twins(look)
    if twins and names_classes(look.name) and 2 * spelled <= look.n:
        why = (
            f"its name says that its {spelled:,} different values are classes, in {look.n:,} rows; as numbers, {twins} are one"
        )
        return task("sequence", why, label=look.name)
    steps = {b - a for a, b in zip(look.numbers, look.numbers[1:], strict=False)}
    if whole and look.n > 2 and (min(steps) > 0 or max(steps) < 0):
        return unused("whole numbers that only rise or only fall, as ids do")
    once = look.distinct == look.n == len(look.table) and max(look.numbers) - min(look.numbers) == look.n - 1
    if whole and once and min(look.numbers) in (0, 1):
        return unused(f"each whole number from {min(look.numbers):.0f} to {max(look.numbers):.0f} once, as an index has them")
    notation = "" if look.notation == PLAIN else f" with {look.notation.words}"
    more = f"; {twins} are one number" if twins and 2 * spelled <= look.n else ""
    if more or (names_classes(look.name) and look.label_like):
        more += f"; to predict classes, say {{kind: sequence, label: {look.name}}}"
    why = f"numbers{notation}, {look.distinct:,} different in {look.n:,} rows{more}"
    return task("regression", why, target=look.name)


def _twins(look: Look) -> tuple[str, int]:
    """Strings that are one number in several spellings, such as 1.1 and 1.10 of versions, and how many strings there are.

    A program that writes amounts gives all of them as many digits, or no zeros at the end; whole numbers count as one with
    and without ``.0``, which a data frame adds.
    """
    different = {value.strip() for value in look.there if isinstance(value, str)}
    spelled: dict[float | None, list[str]] = defaultdict(list)
    for text in sorted(text for text in different if _DECIMAL.fullmatch(text)):
        spelled[look.notation.read(text)].append(text)
    found = [" and ".join(map(repr, texts)) for texts in spelled.values() if len(texts) > 1]
    return "; ".join(found[:MOST_TWINS]) + ("; ..." if len(found) > MOST_TWINS else ""), len(different)


def _are_classes(look: Look, numbers: list[float]) -> bool:
    """Whether whole numbers may number classes: they recur, or run without large gaps and not once each."""
    dense = max(numbers) - min(numbers) < 1.5 * look.distinct
    return look.label_like or (dense and _recurs(look))


def _recurs(look: Look) -> bool:
    """Whether some values are there more than once, though there may be too many for labels without a name that says so."""
    return 2 <= look.distinct <= min(0.9 * look.n, MOST_LABELS)


def _separator(values: list[str]) -> str | None:
    """Return the mark that divides these strings into labels, or None.

    A label list shows in its parts: they recur, and the same part stands alone here and beside others there, or in
    another place. The parts of "Paris, France" do not.
    """
    for mark in SEPARATORS:
        rows = [[part.strip() for part in value.split(mark)] for value in values if mark in value]
        if len(rows) < max(2, len(values) / 20):
            continue
        rows += [[value.strip()] for value in values if mark not in value]
        counts = Counter(part for row in rows for part in row)
        places: dict[str, set[tuple[int, bool]]] = defaultdict(set)
        for row in rows:
            for i, part in enumerate(row):
                places[part].add((i, len(row) == 1))
        moving = sum(len(seen) > 1 for seen in places.values())
        few = 2 <= len(counts) <= min(counts.total() / 2, MOST_LABELS) and max(map(len, counts)) <= MOST_LABEL_LENGTH
        if few and moving * 2 >= len(counts):
            return mark
    return None
