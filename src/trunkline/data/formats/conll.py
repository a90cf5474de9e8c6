"""CoNLL column files: a token a line, its columns separated by a tab or by spaces, a blank line after each sentence.

The first column is the token, the last its tag (Tjong Kim Sang and De Meulder 2003), or the other way round; ``-DOCSTART-``
lines and comments are dropped. What a file has of all this, and which tags it uses, is told from a first pass over it, see
conll_layout.py. CoNLL-U (https://universaldependencies.org/format.html) is read by its columns FORM and UPOS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from trunkline.data.formats import Format, formats
from trunkline.data.formats.conll_layout import TEXT, Layout, cells_of, is_conll, survey
from trunkline.data.formats.conll_tags import EXPECTED, converted, is_tag
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.parts import parts
from trunkline.data.reading.tolerant import Tolerant, not_utf8
from trunkline.data.table import Table, Unread
from trunkline.errors import BadInput, shown

_LIKE_A_TAG = re.compile(r"[A-Z][-_.:/]\S{1,30}")  # others may be words of a text, and are not shown
_Sentence = tuple[int, list[str], list[str], str | None] | Unread  # first line, tokens, their tags, text if that is said


def read(path: Path, source: str) -> Table:
    """Return a table with the columns ``tokens`` and ``tags``, and ``text`` where a file says it; a row's line is its first."""
    notes = Notes()
    layout = survey(path, source, notes)
    return _table(_sentences(path, source, layout, notes, strict=True), source, layout, notes)


def chunks(path: Path, source: str, size: int, tolerant: Tolerant | None = None) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; the file is read twice.

    A `tolerant` reader leaves out sentences with a line that cannot be read.
    """
    notes = Notes()
    layout = survey(path, source, notes, tolerant)
    for part, last in parts(_sentences(path, source, layout, notes, tolerant=tolerant), size):
        yield _table(part, source, layout, notes if last else None)


def _table(sentences: Iterable[_Sentence], source: str, layout: Layout, notes: Notes | None) -> Table:
    rows: list[tuple[int, list[str], list[str], str | None]] = []
    unread = []
    for one in sentences:
        if isinstance(one, Unread):
            unread.append(one._replace(before=len(rows)))
        else:
            rows.append(one)
    columns: dict[str, list] = {"tokens": [tokens for _, tokens, _, _ in rows], "tags": [tags for _, _, tags, _ in rows]}
    if layout.has_texts:
        columns = {"text": [text for _, _, _, text in rows], **columns}
    findings = notes.sentences if notes else ()
    return Table(source, columns, [line for line, *_ in rows], findings=findings, unread=tuple(unread))


def _sentences(
    path: Path, source: str, layout: Layout, notes: Notes, *, strict: bool = False, tolerant: Tolerant | None = None
) -> Iterator[_Sentence]:
    """Yield the sentences; where it is `strict`, a tag that is none is an error. A `tolerant` reader gives the first error of
    a sentence in its place.
    """
    words: list[tuple[str, str]] = []
    begins, text, whole = 0, None, True
    wrong: Unread | None = None

    def sentence() -> _Sentence:
        if wrong is not None:
            return wrong
        return (
            begins,
            [token for token, _ in words],
            converted([tag for _, tag in words], layout.scheme),
            text if whole else None,
        )

    for number, line in read_lines(path, source, tolerant=tolerant):
        line = line.rstrip("\r\n")
        cells = cells_of(line)
        if not line.strip(" \t") or cells[0] == "-DOCSTART-":
            if words or wrong is not None:
                yield sentence()
            words, text, whole, wrong = [], None, True, None
            continue
        where = f"{source} line {number}"
        if tolerant is not None and (error := not_utf8(line, where)) is not None:
            wrong = wrong or Unread(0, where, error)
            continue
        if number == layout.header:
            continue
        if layout.comment(line, cells, not words):
            if line.startswith(TEXT):
                text = line.removeprefix(TEXT)
            elif cells[0] == "#" and len(cells) == layout.width:
                notes.add("{} left out as comments, as they begin with '#' and end in no tag.", "line")
            continue
        if len(cells) != layout.width or layout.width < 2:
            expected = f"expected {layout.width} as above" if layout.width > 1 else "expected a token and its tag"
            error = BadInput(f"{where}: {len(cells)} columns found, {expected}")
            if tolerant is None or layout.width < 2:
                raise error
            wrong = wrong or Unread(0, where, error)
            continue
        if layout.numbered and not cells[0].isdecimal():
            kind = "a word of which the tokens follow" if "-" in cells[0] else "an empty node, which is in no text"
            notes.add(f"{{}} left out: {kind}.", "line")
            whole = whole and "-" not in cells[0]  # its tokens do not stand in the text
            continue
        token, tag = cells[layout.token].strip(" "), cells[layout.tag].strip(" ")
        if strict and not is_tag(tag, layout.scheme):
            found = f"the tag {shown(tag)}" if _LIKE_A_TAG.fullmatch(tag) else "a word that is no tag"
            raise BadInput(f"{where}: found {found}, expected {EXPECTED[layout.scheme]}")
        if not words:
            begins = number
        words.append((token, tag))
    if words or wrong is not None:
        yield sentence()


formats.register("conll")(
    Format((".conll", ".conllu", ".bio", ".iob", ".iob2"), read, chunks, content=is_conll, tolerant=chunks)
)
