"""Which columns of an unknown file are the text and which are tasks, with a sentence for each decision.

Rules of thumb, all of them: a name such as `text` or `id` counts, then types, how many different values there are, how
long they are and how often they recur. Every column gets one decision, so a user sees what to say otherwise.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from trunkline.data.columns import as_number
from trunkline.data.table import NO_HEADER, Table
from trunkline.data.tags import to_iob2
from trunkline.errors import BadInput, listed, shown

TEXT_NAMES = (
    "text sentence review utterance content body comment message tweet query question document description premise"
).split()
PAIR_NAMES = (
    ("text", "text_pair"), ("text1", "text2"), ("text_a", "text_b"), ("sentence1", "sentence2"), ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"), ("question", "passage"),
    ("query", "passage"), ("query", "document"),
)  # fmt: skip
_ID = re.compile(r"(.*[_\W])?(id|idx|index|uid|uuid|guid|row|url|hash)|column \d+|.*[a-z]I[dD]", re.DOTALL)
_WORD_NAMES = {"tokens", "words"}
_DIVISION = {"fold", "split", "partition"}
_SEPARATORS = "|;,"
MOST_LABELS, MOST_LABEL_LENGTH, MOST_CLASS_NUMBERS = 500, 80, 20


@dataclass(frozen=True)
class Decision:
    """What a column was taken for. role: text, text_pair, tokens, a task kind, or unused; why: the rest of a sentence."""

    column: str
    role: str
    why: str

    @property
    def sentence(self) -> str:
        taken = {"text": "is the text", "text_pair": "is the second text of a pair", "unused": "is not used"}
        taken["tokens"] = "holds the words that tags belong to"
        return f"{shown(self.column)} {taken.get(self.role, f'is a {self.role} task')}: {self.why}."


@dataclass(frozen=True)
class Guess:
    """What a table was taken for.

    text (str | None): the column of the texts; None where only tokens are there.
    tasks (dict[str, dict]): task name -> what stands under `tasks:` in a config.
    decisions (list[Decision]): one per column, in the order of the table.
    """

    text: str | None
    text_pair: str | None
    tasks: dict[str, dict[str, Any]]
    decisions: list[Decision]

    @property
    def sentences(self) -> list[str]:
        """One sentence per column: what it was taken for and why."""
        return [decision.sentence for decision in self.decisions]

    def config(self, train: str | list[str]) -> dict[str, Any]:
        """Return the `data:` and `tasks:` sections of a config; `train` is the source the table was read from."""
        named = {"text": self.text, "text_pair": self.text_pair}
        return {"data": {"train": train, **{k: v for k, v in named.items() if v is not None}}, "tasks": dict(self.tasks)}


def guess_columns(table: Table, text: str | None = None) -> Guess:
    """Decide about every column of a table; `text` is the column of the texts where that is known.

    Raises BadInput where no column looks like a text, or none like a task: then a config has to say it.
    """
    if table.lacks_header():
        raise BadInput(f"{table.source}: {NO_HEADER}")
    looks = {name: _Look(name, values) for name, values in table.columns.items()}
    text, pair = _find_texts(looks) if text is None else (text, None)
    made: dict[str, Decision] = {}
    tasks: dict[str, dict[str, Any]] = {}
    tokens, tags = _find_tags(looks)
    if text is None and tokens is None:
        raise BadInput(
            f"{table.source}: found no column that looks like texts among {_listed(looks)}, expected one, or data.text"
        )
    for name, look in looks.items():
        if name == text:
            made[name] = Decision(name, "text", f"{look.describe_text()}{look.missing}")
        elif name == pair:
            made[name] = Decision(name, "text_pair", f"its name goes with {shown(text)}, {look.describe_text()}{look.missing}")
        elif name == tokens:
            made[name] = Decision(name, "tokens", f"lists of strings, as long as those of {shown(tags)} in every row")
        elif name == tags:
            made[name] = Decision(name, "token", f"lists of tags, one for each string of {shown(tokens)}{look.missing}")
            tasks[_task_name(name, tasks)] = {"kind": "token", "tokens": tokens, "tags": tags}
        elif look.spans and tags is not None:
            made[name] = Decision(
                name, "unused", f"{shown(tags)} and {shown(tokens)} already mark words; name it as `spans` to use it instead"
            )
        else:
            made[name], task = _one_column(look, text)
            if look.word_lists and text is not None and _words_of(table.columns[name], table.columns[text]):
                made[name], task = Decision(name, "unused", f"its lists hold the words of {shown(text)}"), None
            if task is not None:
                tasks[_task_name(name, tasks)] = task
    if not tasks:
        raise BadInput(
            f"{table.source}: found no column that looks like a task among {_listed(looks)}, expected one, or a config"
        )
    return Guess(text, pair, tasks, [made[name] for name in table.columns])


class _Look:
    """What can be seen of one column at a glance; n: values that are there, distinct: different ones."""

    def __init__(self, name: str, values: list) -> None:
        self.name = name
        self.there = [value for value in values if value is not None]
        self.n = len(self.there)
        absent = len(values) - self.n
        self.missing = f"; {absent:,} of {len(values):,} rows miss it" if absent else ""
        self.strings = self._all(lambda v: isinstance(v, str))
        self.truths = self._all(lambda v: isinstance(v, bool))
        self.lists = self._all(lambda v: isinstance(v, list))
        self.spans = self.lists and self._parts(lambda v: isinstance(v, dict) and {"start", "end", "label"} <= v.keys())
        self.word_lists = self.lists and self._parts(lambda v: isinstance(v, str))
        self.numbers = None if self.truths or not self.n or self.lists else self._numbers()
        self.distinct = len(set(self.there)) if self.strings or self.truths or self.numbers is not None else 0
        self.length = sum(map(len, self.there)) / self.n if self.strings else 0.0

    def _all(self, test: Callable[[Any], bool]) -> bool:
        return self.n > 0 and all(map(test, self.there))

    def _parts(self, test: Callable[[Any], bool]) -> bool:
        return any(self.there) and all(test(part) for value in self.there for part in value)

    def _numbers(self) -> list[float] | None:
        found = []
        for value in self.there:
            number = as_number(value)
            if number is None:
                return None
            found.append(number)
        return found

    @property
    def free_text(self) -> bool:
        """Strings that are no numbers, that differ from row to row, and that are no ids: ids are ASCII without a blank."""
        if not self.strings or self.numbers is not None or self.named_as_id:
            return False
        running = sum(" " in value.strip() or not value.isascii() for value in self.there)
        return self.distinct > self.n / 2 and (running > self.n / 4 or self.name.lower() in TEXT_NAMES)

    @property
    def named_as_id(self) -> bool:
        return _ID.fullmatch(self.name) is not None or _ID.fullmatch(self.name.lower()) is not None

    @property
    def label_like(self) -> bool:
        """Few enough different values, each twice or more on average."""
        return 2 <= self.distinct <= min(self.n / 2, MOST_LABELS) and self.length <= MOST_LABEL_LENGTH

    def describe_text(self) -> str:
        return f"strings of {self.length:,.0f} characters on average, {self.distinct:,} different in {self.n:,} rows"


def _find_texts(looks: dict[str, _Look]) -> tuple[str | None, str | None]:
    """Return the text column and the second of a pair, either may be None."""
    lower = {name.lower(): name for name in reversed(looks)}
    exact = lower.get("text")
    if exact is not None and not (looks[exact].strings and looks[exact].n):
        exact = None
    for first, second in PAIR_NAMES:
        one, two = lower.get(first), lower.get(second)
        if (
            one
            and two
            and (exact is None or one == exact)
            and all(looks[n].strings and looks[n].distinct > 1 for n in (one, two))
        ):
            return one, two
    if exact is not None:
        return exact, None
    free = [look for look in looks.values() if look.free_text]
    best = max(
        free,
        key=lambda look: look.length * look.distinct / look.n * (3 if look.name.lower() in TEXT_NAMES else 1),
        default=None,
    )
    return (None if best is None else best.name), None


def _find_tags(looks: dict[str, _Look]) -> tuple[str | None, str | None]:
    """Return a column of word lists and one of tag lists with the same lengths, or None twice."""
    lists = [look for look in looks.values() if look.word_lists]
    for tags in lists:
        if not _are_tags(tags.there):
            continue
        for tokens in sorted(lists, key=lambda look: look.name.lower() not in ("tokens", "words")):
            if (
                tokens is not tags
                and tokens.n == tags.n
                and all(len(a) == len(b) for a, b in zip(tokens.there, tags.there, strict=True))
            ):
                return tokens.name, tags.name
    return None, None


def _are_tags(lists: Iterable[list[str]]) -> bool:
    try:
        return len({tag for tags in lists for tag in to_iob2(tags)}) > 1
    except BadInput:
        return False


def _words_of(lists: list[list[str] | None], texts: list[str | None]) -> bool:
    """Whether lists are the texts in words, most of them: what stands in a list is in its text, and makes up half of it."""
    rows = [(words, text) for words, text in zip(lists, texts, strict=True) if words and text]
    held = sum(2 * sum(map(len, words)) >= len(text) and all(word in text for word in words) for words, text in rows)
    return 2 * held > len(rows)


def _one_column(look: _Look, text: str | None) -> tuple[Decision, dict[str, Any] | None]:
    """Decide about a column by itself: the decision, and the task if it is one."""

    def unused(why: str) -> tuple[Decision, None]:
        return Decision(look.name, "unused", why), None

    def task(kind: str, why: str, **columns: Any) -> tuple[Decision, dict[str, Any]]:
        return Decision(look.name, kind, why + look.missing), {"kind": kind, **columns}

    if not look.n:
        return unused("no row has a value")
    if look.spans and text is not None:
        return task("token", f"spans with start, end and label on {shown(text)}", spans=look.name)
    if look.lists:
        if look.name.lower() in _WORD_NAMES:
            return unused("its name says that it holds the words of a text")
        labels = Counter(str(part) for value in look.there for part in value if isinstance(part, str | int))
        if len(labels) < 2 or any(isinstance(part, dict | list) for value in look.there for part in value):
            return unused("its lists do not hold labels")
        if len(labels) > min(labels.total() / 2, MOST_LABELS):
            return unused(f"its lists hold {len(labels):,} different values, too many for labels")
        return task("multilabel", f"lists of {len(labels):,} different labels", labels=look.name)
    if look.numbers is None and not look.strings and not look.truths:
        return unused("its values are neither strings, numbers, truth values nor lists, or are of several types")
    if look.distinct == 1:
        return unused("it has the same value in every row")
    if look.named_as_id:
        return unused("its name looks like that of an id")
    if look.name.lower() in _DIVISION:
        return unused("its name says how rows were divided")
    if look.numbers is not None:
        return _number_column(look, unused, task)
    separator = _separator(look.there) if look.strings else None
    if separator is not None:
        labels = Counter(part.strip() for value in look.there for part in value.split(separator) if part.strip())
        why = f"strings of {len(labels):,} different labels separated by {separator!r}"
        return task("multilabel", why, labels=look.name, separator=separator)
    if look.label_like:
        return task("sequence", f"{look.distinct:,} different values in {look.n:,} rows", label=look.name)
    if look.free_text:
        return unused("it looks like another text; name it as `text_pair` to read it too")
    return unused(f"{look.distinct:,} different values in {look.n:,} rows, too many for labels")


def _number_column(look: _Look, unused: Callable, task: Callable) -> tuple[Decision, dict[str, Any] | None]:
    assert look.numbers is not None
    whole = all(number.is_integer() for number in look.numbers)
    if whole and look.label_like and look.distinct <= MOST_CLASS_NUMBERS:
        return task("sequence", f"{look.distinct:,} different whole numbers in {look.n:,} rows", label=look.name)
    steps = {b - a for a, b in zip(look.numbers, look.numbers[1:], strict=False)}
    if whole and look.n > 2 and (min(steps) > 0 or max(steps) < 0):
        return unused("whole numbers that only rise or only fall, as ids do")
    return task("regression", f"numbers, {look.distinct:,} different in {look.n:,} rows", target=look.name)


def _separator(values: list[str]) -> str | None:
    """Return the mark that divides these strings into labels, or None.

    A label list shows in its parts: they recur, and the same part stands alone here and beside others there, or in
    another place. The parts of "Paris, France" do not.
    """
    for mark in _SEPARATORS:
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


def _task_name(column: str, taken: Iterable[str]) -> str:
    """A column's name with what would be awkward in a path or on a command line replaced, made unique."""
    base = re.sub(r"[^\w-]+", "_", column).strip("_") or "task"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _listed(looks: dict[str, _Look]) -> str:
    return listed(list(looks), 10)
