"""What a CoNLL file consists of, told from one pass over it: its columns, a header, comments, and the kind of its tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trunkline.data.formats.conll_tags import SAID, TAG_NAMES, Scheme, in_iob, is_tag, scheme_of
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.tolerant import Tolerant
from trunkline.errors import BadInput

_NUMBER = re.compile(r"\d+(-\d+|\.\d+)?")  # of a word, of a range of words, of an empty node of CoNLL-U
_TOKEN_NAMES = {"token", "tokens", "word", "words", "form", "text", "#token", "#word"}
CONLLU_WIDTH, FORM, UPOS, XPOS = 10, 1, 3, 4
TEXT = "# text = "  # before the text of a sentence
MOST = 0.9  # share of the values of a column that are tags


@dataclass(frozen=True)
class Layout:
    """Where a file holds what.

    width (int): columns of every line.
    token, tag (int): the columns read.
    scheme (Scheme): of the tags.
    numbered (bool): the first column is the number of the token in its sentence.
    header (int): the line with the names of the columns; 0 for none.
    known (frozenset[str]): tags of lines that cannot be comments.
    has_texts (bool): whether comments say the texts of sentences.
    """

    width: int
    token: int
    tag: int
    scheme: Scheme
    numbered: bool
    header: int
    known: frozenset[str]
    has_texts: bool

    def comment(self, line: str, cells: Sequence[str], begins: bool) -> bool:
        """Whether a line is a comment: it begins with '#' before a sentence, and is no token '#' with one of the tags."""
        if not begins or not line.startswith("#"):
            return False
        if len(cells) != self.width or self.width < 2:
            return True
        return cells[0] == "#" and cells[self.tag].strip(" ") not in self.known


def cells_of(line: str) -> list[str]:
    """Divide a line. Only tab and space separate: a token may hold other blanks, such as the no-break space in "1 000"."""
    if "\t" in line.strip():
        cells = line.rstrip("\t").split("\t")
        if " " not in cells[-1].strip(" ") or len(cells) == CONLLU_WIDTH or line.startswith("#"):
            return cells
        return re.split("[ \t]+", line.strip(" \t"))  # no tag holds a blank: tabs and spaces are mixed
    return re.split(" +", line.strip(" \t"))


@dataclass
class _Seen:
    """What is counted while a file is looked through."""

    width: int = 0
    header: int = 0
    sentences: int = 0
    begun_at_one: int = 0
    has_texts: bool = False
    first: Counter[str] = field(default_factory=Counter)  # values of the first column
    last: Counter[str] = field(default_factory=Counter)
    tagged: Counter[int] = field(default_factory=Counter)  # by the place of a column, its values that are tags in IOB
    upos: Counter[str] = field(default_factory=Counter)
    xpos: Counter[str] = field(default_factory=Counter)

    def line(self, number: int, line: str, begins: bool) -> bool:
        """Look at a line that begins a sentence or not; return whether the next one does."""
        cells = cells_of(line)
        if not line.strip(" \t") or cells[0] == "-DOCSTART-":
            return True
        if not self.width and _is_header(cells):
            self.header, self.width = number, len(cells)
            return True
        if line.startswith("#") and begins and (cells[0] == "#" or not is_tag(cells[-1], "iob")):
            self.has_texts = self.has_texts or line.startswith(TEXT)
            return True
        self.width = self.width or len(cells)
        if len(cells) == self.width:  # others are errors, which are raised when it is read
            self.first[cells[0].strip(" ")] += 1
            self.last[cells[-1].strip(" ")] += 1
            self.tagged.update(
                place for place, cell in enumerate(cells) if cell == "O" or (cell[1:2] == "-" and is_tag(cell, "iob"))
            )
            if self.width == CONLLU_WIDTH and cells[0].isdecimal():
                self.upos[cells[UPOS]] += 1
                self.xpos[cells[XPOS]] += 1
            self.sentences += begins
            self.begun_at_one += begins and cells[0].partition("-")[0].partition(".")[0] in ("0", "1")
        return False


def survey(path: Path, source: str, notes: Notes, tolerant: Tolerant | None = None) -> Layout:
    """Read a file once and return its layout; what of it is unusual is noted."""
    seen, begins = _Seen(), True
    for number, line in read_lines(path, source, tolerant=tolerant):
        if line.startswith("#begin document"):
            raise BadInput(
                f"{source} line {number}: CoNLL-2012 marks spans by brackets over several lines, which is not read; expected a "
                "token and its tag (O, B-, I-) on each line"
            )
        begins = seen.line(number, line.rstrip("\r\n"), begins)
    numbered = (
        seen.width > 2
        and 0 < seen.sentences == seen.begun_at_one
        and all(map(_NUMBER.fullmatch, seen.first))
        and seen.first.total() > 0
    )
    token, tag, tags = 0, seen.width - 1, seen.last
    if numbered:
        token = FORM
        if seen.width == CONLLU_WIDTH and in_iob(seen.last) < MOST:
            tag, tags = (XPOS, seen.xpos) if seen.upos.keys() <= {"_"} else (UPOS, seen.upos)
    elif in_iob(seen.first) >= MOST and in_iob(seen.last) < 0.5:
        token, tag, tags = seen.width - 1, 0, seen.first
        notes.add("{} read as tag and token, as the first column holds the tags.", "line", seen.first.total())
    scheme = scheme_of(tags)
    total = seen.first.total()
    others = [place + 1 for place, n in sorted(seen.tagged.items()) if place != tag and n == total > 1]
    if others and scheme == "iob":
        also = f"column {others[0]}" if len(others) == 1 else f"columns {', '.join(map(str, others))}"
        notes.say(f"tags were read from column {tag + 1}; tags in {also} were not read.")
    if said := SAID.get(scheme):
        notes.add(said, "tag", tags.total())
    if seen.header:
        notes.say(f"line {seen.header} names the columns and was not read as a token.")
    return Layout(seen.width, token, tag, scheme, numbered, seen.header, frozenset(tags), seen.has_texts)


def _is_header(cells: Sequence[str]) -> bool:
    first, second, last = (cells[place].strip().lower() for place in (0, min(1, len(cells) - 1), -1))
    if len(cells) < 2:
        return False
    if first == "id" and second in _TOKEN_NAMES:
        return True
    return (first in _TOKEN_NAMES and last in TAG_NAMES) or (first in TAG_NAMES and last in _TOKEN_NAMES)


def is_conll(lines: Sequence[str]) -> bool:
    """Whether lines of a file of some other suffix are tokens with their tags: most end, or begin, in O or a prefixed tag."""
    rows = [cells_of(line.rstrip("\r\n")) for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    if len(rows) < 2 or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return False
    if len(rows[0]) == CONLLU_WIDTH and all(_NUMBER.fullmatch(row[0]) for row in rows):
        return True
    for place in (0, -1):
        tags = Counter(row[place].strip(" ") for row in rows)
        if in_iob(tags) >= MOST or (len(rows[0]) == 2 and 3 * tags["O"] >= tags.total() > 3 and len(tags) < len(rows) / 3):
            return True
    return False


def is_headless(lines: Sequence[str]) -> bool:
    """Whether lines are tokens with their tags from the first on, where a suffix promises a header."""
    first = next((cells_of(line.rstrip("\r\n")) for line in lines if line.strip() and not line.startswith("#")), [])
    return len(first) > 1 and bool({in_iob(Counter([cell])) for cell in (first[0], first[-1])} & {1.0}) and is_conll(lines)
