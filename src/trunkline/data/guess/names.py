"""What the names of columns say, and the names of tasks that are made from them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

from trunkline.errors import listed

TEXT_NAMES = (
    "text sentence review utterance content body comment message tweet query question document description premise"
).split()
PAIR_NAMES = (
    ("text", "text_pair"), ("text1", "text2"), ("text_a", "text_b"), ("sentence1", "sentence2"), ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"), ("question", "passage"),
    ("query", "passage"), ("query", "document"),
)  # fmt: skip
WORD_NAMES = frozenset({"tokens", "words"})
DIVISION = frozenset({"fold", "split", "partition"})
LONGEST, LONGEST_BYTES = 60, 120  # of a task's name: it is the name of a folder too, with more added to it

# "Unnamed: 0" and "__index_level_0__" are what pandas calls an index that was saved, "column 1" a column without a name.
_ID = re.compile(
    r"(.*[_\W])?(id|idx|index|uid|uuid|guid|row|url|hash)|column \d+|unnamed: \d+(\.\d+)*(_level_\d+)?|"
    r"(__)?(index_)?level_\d+(__)?|.*[a-z]I[dD]",
    re.DOTALL,
)
_CLASS = re.compile(
    r"(.*[_\W])?(labels?|class(es)?|classification|targets?|categor(y|ies)|intents?|sentiments?|emotions?|topics?|polarity|stance|"
    r"genre|y)([_\W].*)?",
    re.DOTALL,
)
_CODE = re.compile(
    r"(.*[_\W])?(codes?|zip(code)?|post(al)?code|plz|phone|telephone|tel|mobile|fax|isbn|ean|sku|barcode)([_\W].*)?", re.DOTALL
)


def names_id(name: str) -> bool:
    """Whether a column is called like an id, an address or an index, or has no name, as an index that was saved."""
    return not name.strip() or _ID.fullmatch(name) is not None or _ID.fullmatch(name.lower()) is not None


def names_nothing(name: str) -> bool:
    """Whether a column has no name of its own, but one that a reader has made for it."""
    return not name.strip() or re.fullmatch(r"column \d+|unnamed: \d+.*", name.lower()) is not None


def names_classes(name: str) -> bool:
    """Whether a column is called like one of classes, so that whole numbers in it are classes too."""
    return _CLASS.fullmatch(name.lower()) is not None


def names_codes(name: str) -> bool:
    """Whether a column is called like one of codes, so that numbers in it are no amounts."""
    return _CODE.fullmatch(name.lower()) is not None


def task_name(column: str, taken: Iterable[str]) -> str:
    """A column's name with what would be awkward in a path or on a command line replaced, not too long, made unique."""
    base = re.sub(r"[^\w-]+", "_", column).strip("_-")
    short = base[:LONGEST].encode()[:LONGEST_BYTES].decode(errors="ignore")
    if short != base and "_" in short and base[len(short)] != "_":  # not within a word
        short = short.rpartition("_")[0]
    base = short.strip("_-") or "task"
    seen = set(map(_folded, taken))
    name, number = base, 2
    while _folded(name) in seen:
        name, number = f"{base}_{number}", number + 1
    return name


def task_of_column(name: object, tasks: Collection[str]) -> str | None:
    """Return the one of `tasks` that is called `name`, or that is named after a column of this name.

    None where there is none, or where several may be meant.
    """
    if isinstance(name, str) and name in tasks:
        return name
    made = task_name(name, ()) if isinstance(name, str) else str(name)
    return made if made in tasks and f"{made}_2" not in tasks else None


class ByTask(dict[str, Any]):
    """What there is of each task, by its name; also found by the name of the column that the task is named after."""

    def __missing__(self, key: object) -> Any:
        if (made := task_of_column(key, self.keys())) is not None:
            return self[made]
        raise KeyError(f"no task {key!r}, expected one of {listed(list(self)) or '(none)'}")


def _folded(name: str) -> str:
    """What is one name on disks that tell neither case nor Unicode's forms of a character apart."""
    return unicodedata.normalize("NFKC", name).casefold()
