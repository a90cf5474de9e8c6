"""Tables with a token a row, made into rows of sentences: lists of tokens and of tags.

Such tables are told by their shape: a column of single words, a column of tags, and something that says where a sentence
begins, which is a value that is given once (``Sentence: 1``) or on every row of it, a number of the token that starts again,
or an empty row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from trunkline.data.formats.conll_tags import EXPECTED, converted, is_tag, scheme_of
from trunkline.data.reading.notes import Notes, counted
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown

MOST = 0.98  # share of values that have to be words or tags
LEAST_ROWS, HEAD, LONGEST_WORD = 4, 200, 60
_WORD_NAMES = {"word", "words", "token", "tokens", "form", "surface"}
_TAG_NAMES = {"tag", "tags", "pos", "upos", "xpos", "pos_tag", "postag", "ner", "ner_tag", "iob", "bio", "chunk", "ne"}
_SENTENCE_NAME = re.compile(r".*sent(?!im).*", re.IGNORECASE | re.DOTALL)
_DOCUMENT_NAME = re.compile(r".*doc.*", re.IGNORECASE | re.DOTALL)
_LONGEST = 100  # tokens on average: parts of a table of words and parts of speech that are longer are no sentences
_INDEX_STARTS = {"0", "1"}


@dataclass(frozen=True)
class _Shape:
    """word, tags: the columns; begins: whether a sentence begins at each row."""

    word: str
    tags: tuple[str, ...]
    begins: list[bool]


def is_token_per_row(table: Table) -> bool:
    """Whether the rows of a table are tokens with tags, in sentences."""
    return _shape(table) is not None


def in_sentences(table: Table, as_given: bool = False) -> Table:
    """Return a row for each sentence: ``tokens``, ``tags`` (of the column with the tags in IOB, or the last), and the others.

    Other columns of tags keep their names, and so do columns with one value in each sentence; the rest become lists.

    Args:
        table: with a token a row.
        as_given: leave tags as they stand, without a check; else they become tags with a prefix. A missing one is O.

    Raises:
        BadInput: with its line, a value that is no tag among others that are.
    """
    shape = _shape(table)
    assert shape is not None
    notes = Notes()
    words, main = table.columns[shape.word], shape.tags[-1]
    sentences: list[list[int]] = []
    for row, begins in enumerate(shape.begins):
        if begins:
            sentences.append([])
        if words[row] is None:
            notes.add("{} without a token left out.", "row")
        else:
            sentences[-1].append(row)
    sentences = [rows for rows in sentences if rows]
    columns: dict[str, list] = {"tokens": [[str(words[row]) for row in rows] for rows in sentences]}
    for name in (main, *shape.tags[:-1]):
        columns["tags" if name == main else name] = _tag_lists(table, name, sentences, notes, as_given)
    for name, values in table.columns.items():
        if name not in (shape.word, *shape.tags):
            lists = [[values[row] for row in rows] for rows in sentences]
            once = all(len(set(map(repr, own[1:]))) < 2 and own[-1] in (own[0], None) for own in lists)
            columns[_free(name, columns)] = [own[0] for own in lists] if once else lists
    named = f"column {shown(shape.word, whole=True)} as 'tokens', {shown(main, whole=True)} as 'tags'"
    said = f"{counted(len(table), 'row')} with a token each were read as {counted(len(sentences), 'sentence')}: {named}."
    firsts = [rows[0] for rows in sentences]
    taken = table.select(firsts)
    read_as = {name: own for name, own in ((shape.word, "tokens"), (main, "tags")) if name not in columns}
    said_too = (*table.findings, said, *notes.sentences)
    return Table(table.source, columns, taken.lines, taken.files, taken.rows, findings=said_too, read_as=read_as)


def _free(name: str, taken: dict[str, list]) -> str:
    return name if name not in taken else f"{name}_column"


def _tag_lists(table: Table, name: str, sentences: list[list[int]], notes: Notes, as_given: bool) -> list[list[str] | None]:
    values = table.columns[name]
    scheme = scheme_of(Counter(str(value) for value in values if value is not None))
    out: list[list[str] | None] = []
    for rows in sentences:
        own = [values[row] for row in rows]
        if all(value is None for value in own):
            out.append(None)
            continue
        for row, value in zip(rows, own, strict=True):
            if value is None:
                notes.add(f"{{}} without a value in {shown(name, whole=True)} read as O.", "token")
            elif not as_given and not is_tag(str(value), scheme):
                raise BadInput(f"{table.where(row)}: column {name!r} holds no tag, expected {EXPECTED[scheme]}")
        tags = ["O" if value is None else str(value) for value in own]
        out.append(tags if as_given else converted(tags, scheme))
    return out


def lacks_sentences(table: Table) -> bool:
    """Whether the rows of a table are tokens with tags, though nothing shows where a sentence begins."""
    return _columns(table) is not None and _shape(table) is None


def _columns(table: Table) -> tuple[str, tuple[str, ...], list[str], bool] | None:
    """The column of words, those of tags, the others with a value a row, and whether there are tags in IOB."""
    if len(table) < LEAST_ROWS or not 2 <= len(table.columns) <= 30:
        return None
    plain = {name: values for name, values in table.columns.items() if _scalar(values[:HEAD])}
    iob = [name for name, values in plain.items() if _all_are(_in_iob, values) and "O" in values]
    tags = [name for name in plain if name.lower() in _TAG_NAMES and name not in iob and _all_are(_is_word, plain[name])] + iob
    if not tags:
        return None
    words = [name for name, values in plain.items() if name not in tags and _all_are(_is_word, values) and len(set(values)) > 2]
    words.sort(key=lambda name: (name.lower() not in _WORD_NAMES, -len(set(plain[name]))))
    if not words or not (iob or words[0].lower() in _WORD_NAMES):
        return None
    return words[0], tuple(tags), [name for name in plain if name not in (words[0], *tags)], bool(iob)


def _shape(table: Table) -> _Shape | None:
    found = _columns(table)
    if found is None:
        return None
    word, tags, rest, iob = found
    begins = _begins(table, rest, iob)
    return None if begins is None else _Shape(word, tags, begins)


def _begins(table: Table, rest: Sequence[str], iob: bool) -> list[bool] | None:
    """Whether a sentence begins at each row, by the column that shows it best; None where nothing does.

    One called after sentences, then numbers of tokens, then one called after documents, of which each is a sentence if nothing
    divides it, then any other column, then empty rows.
    """
    values = table.columns
    gaps = _gaps(table.lines)
    if gaps is not None and not iob and len(gaps) > _LONGEST * sum(gaps):
        gaps = None
    documents = [name for name in rest if _DOCUMENT_NAME.fullmatch(name)]
    for name in rest:
        if _SENTENCE_NAME.fullmatch(name) and (begins := _of_sentences(values[name], [values[own] for own in documents])):
            return begins
    for name in rest:
        if begins := _restarts(values[name]):
            return begins
    for name in sorted(rest, key=lambda name: name not in documents):
        begins = _given_once(values[name]) or _runs(values[name])
        if begins and (iob or name in documents):
            return gaps if gaps is not None and all(gap for gap, begin in zip(gaps, begins, strict=True) if begin) else begins
    return gaps


def _of_sentences(values: Sequence[Any], documents: Sequence[Sequence[Any]]) -> list[bool] | None:
    """Where a column of sentences has a new one; their numbers may begin again in each document, or without one."""
    for own in documents:
        filled: list[Any] = list(accumulate(own, lambda last, one: last if one is None else one))
        if _runs(filled) and (begins := _runs(list(zip(filled, values, strict=True)))) and None not in values:
            return begins
    return _given_once(values) or _runs(values) or _counted(values)


def _scalar(values: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, str | int | float) for value in values)


def _all_are(test: Callable[[Any], bool], values: Sequence[Any]) -> bool:
    """Whether nearly all values pass; the first rows tell of most columns that they do not."""
    return all(sum(map(test, part)) >= MOST * len(part) for part in (values[:HEAD], values))


def _is_word(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_WORD and not any(map(str.isspace, value.strip()))
    return isinstance(value, int | float)


def _in_iob(value: Any) -> bool:
    return isinstance(value, str) and (value == "O" or is_tag(value, "iob"))


def _given_once(values: Sequence[Any]) -> list[bool] | None:
    """A value at the first row of each sentence, nothing below it."""
    there = [value is not None for value in values]
    return there if there[0] and 2 <= sum(there) <= 0.7 * len(there) else None


def _runs(values: Sequence[Any]) -> list[bool] | None:
    """A value on every row of a sentence, which no other sentence has."""
    if None in values:
        return None
    begins = [True, *(one != other for one, other in pairwise(values))]
    return begins if 2 <= sum(begins) <= 0.7 * len(begins) and sum(begins) == len(set(values)) else None


def _counted(values: Sequence[Any]) -> list[bool] | None:
    """Numbers of sentences, each on all rows of its own, which rise by one or begin again."""
    found = [str(value) for value in values]
    if found[0] not in _INDEX_STARTS or not all(value.isdecimal() for value in found):
        return None
    begins = [True, *(one != other for one, other in pairwise(found))]
    steps = all(other in (one, found[0]) or int(other) == int(one) + 1 for one, other in pairwise(found))
    return begins if steps and 2 <= sum(begins) <= 0.7 * len(begins) else None


def _restarts(values: Sequence[Any]) -> list[bool] | None:
    """Numbers of tokens, which begin again at 0 or 1."""
    found = [str(value) for value in values]
    if found[0] not in _INDEX_STARTS or not all(value.isdecimal() for value in found):
        return None
    begins = [value == found[0] for value in found]
    steps = all(again or int(other) == int(one) + 1 for one, other, again in zip(found, found[1:], begins[1:], strict=False))
    return begins if steps and 2 <= sum(begins) <= 0.7 * len(begins) else None


def _gaps(lines: Sequence[int] | None) -> list[bool] | None:
    """Empty lines, or rows of empty cells, between sentences."""
    if lines is None:
        return None
    begins = [True, *(other - one > 1 for one, other in pairwise(lines))]
    return begins if 2 <= sum(begins) <= 0.7 * len(begins) else None
