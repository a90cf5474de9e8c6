"""The tags of CoNLL files: with prefixes, with a prefix alone, with no prefix (IO), or one for each word (parts of speech)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from trunkline.data.guess.names import WORD_NAMES
from trunkline.data.table import Table

Scheme = Literal["iob", "underscore", "bare", "io", "pos"]

_PREFIXED = {"iob": re.compile(r"[BIESLUM]-.+", re.DOTALL), "underscore": re.compile(r"[BIESLUM]_.+", re.DOTALL)}
_BARE = set("BIESLUMO")
BARE_LABEL = "entity"
TAG_NAMES = frozenset({
    "tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "pos_tag", "pos_tags", "upos", "iob", "bio", "chunk",
    "entity", "ne", "target",
})  # fmt: skip
MOST_PARTS = 100  # of speech: columns of more different values hold words

EXPECTED: dict[Scheme, str] = {
    "iob": "O or one of B- I- E- S- L- U- and a label",
    "underscore": "O or one of B_ I_ E_ S_ L_ U_ and a label",
    "bare": "one of O B I E S L U",
    "io": "a tag",
    "pos": "a tag",
}
SAID: dict[Scheme, str] = {
    "underscore": "{} with '_' after the prefix, read as '-'.",
    "bare": f"{{}} of a prefix alone, read as those of a label {BARE_LABEL!r}.",
    "io": "{} without a prefix (IO): neighbouring words of one tag were read as one span.",
    "pos": "{} of which none is O: each word was read as a span of its own, as parts of speech are.",
}


def scheme_of(tags: Counter[str]) -> Scheme:
    """Return the scheme of most tags; those that are not of it are errors, not another scheme."""
    total, outside = tags.total(), tags["O"]
    prefixed = {name: sum(n for tag, n in tags.items() if form.fullmatch(tag)) for name, form in _PREFIXED.items()}
    if 2 * prefixed["iob"] >= total - outside and (prefixed["iob"] or not total - outside):
        return "iob"
    if 10 * prefixed["underscore"] >= 9 * (total - outside):
        return "underscore"
    if tags.keys() <= _BARE:
        return "bare"
    return "io" if outside else "pos"


def in_iob(tags: Counter[str]) -> float:
    """The share of values that are O or have a prefix."""
    return sum(n for tag, n in tags.items() if tag == "O" or _PREFIXED["iob"].fullmatch(tag)) / max(1, tags.total())


def is_tag(tag: str, scheme: Scheme) -> bool:
    """Whether a tag is one of its scheme."""
    if scheme in _PREFIXED:
        return tag == "O" or _PREFIXED[scheme].fullmatch(tag) is not None
    return tag in _BARE if scheme == "bare" else tag != ""


def converted(tags: list[str], scheme: Scheme) -> list[str]:
    """Return the tags of a sentence with a prefix each, or O. M, which some Chinese corpora use for I, becomes I."""
    if scheme == "io":
        previous = ["O", *tags]
        return [
            "O" if tag in ("O", "_") else ("I-" if tag == before else "B-") + tag
            for before, tag in zip(previous, tags, strict=False)
        ]
    if scheme == "pos":
        return ["O" if tag == "_" else "B-" + tag for tag in tags]
    if scheme == "underscore":
        tags = [tag if tag == "O" else tag.replace("_", "-", 1) for tag in tags]
    if scheme == "bare":
        tags = [tag if tag == "O" else f"{tag}-{BARE_LABEL}" for tag in tags]
    return ["I" + tag[1:] if tag.startswith("M-") else tag for tag in tags]


def scheme_of_lists(rows: Iterable[Sequence[str] | None]) -> Scheme:
    """Return the scheme of lists of tags as a file of these would have it; "iob" where some have a prefix and others none."""
    counts = Counter(tag for row in rows for tag in row or ())
    scheme = scheme_of(counts)
    prefixed = any(form.fullmatch(tag) for form in _PREFIXED.values() for tag in counts)
    return "iob" if scheme in ("io", "pos") and (prefixed or len(counts) > MOST_PARTS) else scheme


def scheme_of_column(rows: Sequence[Sequence[str] | None]) -> Scheme:
    """The same of a column that may hold something else than tags: "iob" too unless its strings recur and are single words."""
    counts = Counter(tag for row in rows for tag in row or ())
    words = len(counts) < counts.total() and not any(" " in tag or not tag for tag in counts)
    return scheme_of_lists(rows) if words else "iob"


def with_prefixed_tags(table: Table) -> Table:
    """Return a table of lists of words and of tags with the latter as tags with a prefix or O, as of a CoNLL file.

    The same table where no column is called like one of tags, where there are several, or where these have prefixes.
    """
    words = [name for name in table.columns if name.lower() in WORD_NAMES]
    lists = {name: values for name, values in table.columns.items() if name.lower() in TAG_NAMES and _of_strings(values)}
    if len(words) != 1 or len(lists) != 1:
        return table
    ((name, values),) = lists.items()
    scheme = scheme_of_column(values)
    if scheme == "iob" or not _as_long(values, table.columns[words[0]]):
        return table
    tags = [None if value is None else converted(value, scheme) for value in values]
    return replace(
        table.replaced({name: tags}), findings=(*table.findings, SAID[scheme].format(f"the tags in {table.named(name)}"))
    )


def _as_long(tags: list, words: list) -> bool:
    """Whether nearly all lists of tags are as long as those of words beside them; a wrong one is told where it is read."""
    pairs = [(own, right) for own, right in zip(words, tags, strict=True) if isinstance(own, list) and right is not None]
    return 10 * sum(len(own) == len(right) for own, right in pairs) >= 9 * len(pairs)


def _of_strings(values: list) -> bool:
    """Whether a column holds lists of strings, and missing values."""
    lists = [value for value in values if value is not None]
    return any(lists) and all(isinstance(value, list) and all(isinstance(tag, str) for tag in value) for value in lists)
