"""Which columns are the words of texts and their tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trunkline.data.columns import are_whole
from trunkline.data.guess.looks import Look
from trunkline.data.guess.names import WORD_NAMES
from trunkline.data.values.tags import NUMBERED, to_iob2
from trunkline.errors import BadInput, shown


@dataclass
class Tags:
    """The column of word lists and that of tags, None where there are none.

    more (list[str]): other columns of tags for the same words.
    beside (list[str]): other columns of a string for each of these words, which are no tags.
    types (dict[str, int]): how many types of span there are in each column of tags.
    trouble (dict[str, str]): why a column that looks like tags is none.
    """

    tokens: str | None = None
    tags: str | None = None
    more: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    trouble: dict[str, str] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)


def find_tags(looks: Mapping[str, Look]) -> Tags:
    """Return a column of word lists and one of tag lists with the same lengths."""
    lists = [look for look in looks.values() if look.word_lists]
    found = Tags()
    for tags in lists:
        beside = [look for look in lists if look is not tags and _as_long(look, tags)]
        if not beside:
            if (trouble := _nearly_beside(tags, lists)) is not None:
                found.trouble[tags.name] = trouble
            continue
        kinds, wrong = _read(tags)
        found.types[tags.name] = len({kind[2:] for kind in kinds if kind[1:2] == "-"})
        if wrong is None and len(kinds) > 1 and found.tags is None:
            beside.sort(key=lambda look: look.name.lower() not in WORD_NAMES)
            found.tokens, found.tags = beside[0].name, tags.name
        elif wrong is None and len(kinds) > 1 and found.tokens != tags.name and _as_long(looks[found.tokens or ""], tags):
            found.more.append(tags.name)
        elif wrong is not None and kinds:
            found.trouble[tags.name] = wrong
    for look in looks.values():
        if look.lists and look.vectors is None and any(look.there) and all(map(are_whole, look.there)):
            beside = [words for words in lists if _as_long(words, look)]
            if beside:
                found.trouble[look.name] = f"a number for each string of {shown(beside[0].name, whole=True)}; {NUMBERED}"
    if found.tags is not None:
        found.trouble.pop(found.tokens or "", None)
        known = {found.tokens, found.tags, *found.more, *found.trouble}
        found.beside = [look.name for look in lists if look.name not in known and _as_long(looks[found.tokens or ""], look)]
    return found


def _as_long(one: Look, other: Look) -> bool:
    return one.n == other.n and all(len(a) == len(b) for a, b in zip(one.there, other.there, strict=True))


def _nearly_beside(tags: Look, lists: list[Look]) -> str | None:
    """Why a column of tags is as long as no other in every row, where it is in most rows of one; None for other columns."""
    for look in lists:
        if look is tags or look.rows != tags.rows:
            continue
        off = [place for place, (a, b) in enumerate(zip(look.there, tags.there, strict=True)) if len(a) != len(b)]
        if 10 * len(off) <= tags.n and len(_read(tags)[0]) > 1 and not _read(look)[0]:
            row, more = off[0], f", and {len(off) - 1:,} more rows differ" if len(off) > 1 else ""
            sizes = f"{len(tags.there[row])} tags for the {len(look.there[row])} strings of {shown(look.name, whole=True)}"
            return f"{tags.table.where(tags.rows[row])} has {sizes}{more}"
    return None


def _read(look: Look) -> tuple[set[str], str | None]:
    """The different tags of a column's lists, none where most are no tags; and what is wrong with the first that is none."""
    kinds: set[str] = set()
    wrong, bad = None, 0
    for row, tags in zip(look.rows, look.there, strict=True):
        try:
            kinds.update(to_iob2(tags))
        except BadInput as error:
            bad += 1
            wrong = wrong or f"{look.table.where(row)}, token {_first_bad(tags)} of the row: {error}"
    if 2 * bad > look.n:
        kinds = set()
    return kinds, wrong


def _first_bad(tags: list[str]) -> int:
    """The number, from 1, of the first that is no tag."""
    for number, tag in enumerate(tags, start=1):
        try:
            to_iob2([tag])
        except BadInput:
            return number
    return len(tags)


def words_of(lists: Look, texts: Look) -> bool:
    """Whether lists are the texts in words, most of them: what stands in a list is in its text, and makes up half of it."""
    of_row = dict(zip(texts.rows, texts.there, strict=True))
    rows = [(words, of_row[row]) for row, words in zip(lists.rows, lists.there, strict=True) if words and of_row.get(row)]
    held = sum(2 * sum(map(len, words)) >= len(text) and all(word in text for word in words) for words, text in rows)
    return 2 * held > len(rows)
