"""Missing values: null and NaN in any format, blank cells, and strings such as ``N/A`` that stand for them.

A string may be either: ``nan`` can be a class. In a column whose other values are numbers the spellings below count as
missing, as pandas reads them; beside other labels they are labels, which a finding names. `data.missing` of a config lists
strings that count in any column; an empty list says that none does, the spellings below included.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Sequence
from decimal import Decimal

# pandas.read_csv's own (its `na_values`), compared without case, and the marks that people type.
SPELLINGS = frozenset(
    "#n/a|#na|-1.#ind|-1.#qnan|1.#ind|1.#qnan|-nan|<na>|n/a|#n/a n/a|na|nan|null|none|nat|nil|missing|-|--|?|.".split("|")
)
_PLAIN = re.compile(r"[A-Za-z][\w/]*", re.ASCII)  # what needs no quotes in YAML
_PANDAS = {"NAType", "NaTType"}  # by name: pandas need not be imported


def is_missing(value: object) -> bool:
    """Whether a value is null, NaN, or pandas' NA or NaT."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    if isinstance(value, str | int | list | dict):
        return False
    return value.is_nan() if isinstance(value, Decimal) else type(value).__name__ in _PANDAS


def spells_missing(text: str) -> bool:
    """Whether a string is one of those that usually stand for a missing value."""
    return len(text) < 12 and text.strip().casefold() in SPELLINGS


def missing_hint(words: Sequence[str]) -> str:
    """How to say that these strings stand for a missing value: as it is typed in a shell, as a config has it, and in Python."""
    told = [word.strip() for word in words]
    written = [word if _PLAIN.fullmatch(word) else json.dumps(word, ensure_ascii=False) for word in told]
    flow = f"[{', '.join(dict.fromkeys(written))}]"
    python = list(dict.fromkeys(told))
    return f"{shlex.quote(f'data.missing={flow}')} (in a config `missing: {flow}` under `data`, in Python missing={python})"


def is_listed(value: object, missing: Collection[str]) -> bool:
    """Whether a string or a whole number is among those that a config lists as missing; blanks around it do not count."""
    if isinstance(value, str):
        return value.strip() in missing
    whole = (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    return whole and str(int(value)) in missing  # type: ignore[call-overload]
