"""Data that a program has in memory, as a table: data frames, Arrow tables, `datasets`, mappings of columns, lists of rows.

A table made here is checked by the same rules as one of a file. A config names it by the digest of what it holds, so that other
data are another run; the data themselves are kept nowhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from trunkline.data.clips import Clip
from trunkline.data.columns import labels
from trunkline.data.sentences import in_sentences, is_token_per_row
from trunkline.data.table import Table, with_rows
from trunkline.data.values.missing import is_missing
from trunkline.data.values.spans import with_spans
from trunkline.errors import BadInput, listed, shown

MARK = "in memory, sha256 "
EXPECTED = (
    "a path or a name, a DataFrame, an Arrow table, a data set of `datasets`, a mapping of columns to lists or a list of rows"
)
SPLITS = ("train", "validation", "test")
_ID = re.compile(r"[\w.:/-]*[0-9][\w.:/-]*", re.ASCII)  # a row's name that messages may show: a word with a digit
_ABSENT = ("NAType", "NaTType")  # pandas' marks of a missing value


def is_data(given: Any) -> bool:
    """Whether `given` is a table that `table_of` reads, and not the name of a source (or a list of such) or a config."""
    if isinstance(given, str | bytes) or given is None:
        return False
    if isinstance(given, Table):
        return True
    if isinstance(given, Mapping):
        return bool(given) and not is_splits(given) and all(map(is_column, given.values()))
    if isinstance(given, list | tuple):
        return bool(given) and all(isinstance(row, Mapping) for row in given)
    return _is_frame(given) or _is_dataset(given) or _is_arrow(given)


def is_splits(given: Any) -> bool:
    """Whether `given` holds several tables by the name of a split, as a `DatasetDict` does."""
    return isinstance(given, Mapping) and bool(given) and all(map(_is_split, given.values()))


def table_of(given: Any, source: str) -> Table:
    """Return a table of data in memory; nothing of it is shared with `given`.

    Missing values (None, NaN, NaT, pandas' NA) are None, numbers and strings of numpy are Python's, categories are their
    values, and label numbers of `datasets` are their names. The index of a data frame is no column.

    Args:
        given: what `is_data` accepts.
        source: how messages name it, such as "data.train".

    Raises:
        BadInput: no rows, columns of different lengths, two columns of one name, or something else than a table.
    """
    from trunkline.data.formats.annotations.prodigy import accepted  # here, as formats read what `datasets` gives, too
    from trunkline.data.formats.conll_tags import with_prefixed_tags

    if isinstance(given, Table):
        return given
    if isinstance(given, Mapping) and given:
        columns = _of_mapping(given, source)
    elif isinstance(given, list | tuple) and is_data(given):
        columns = _of_rows(given)
    elif _is_dataset(given):
        columns = _of_arrow(given.with_format("arrow")[:], source)
    elif _is_frame(given):
        columns = _of_frame(given, source)
    elif _is_arrow(given):
        import pyarrow as pa

        columns = _of_arrow(pa.table(given), source)
    else:
        raise BadInput(f"{source}: found {_name(given)}, expected {EXPECTED}")
    table = with_rows(accepted(Table(source, columns, index=_index_of(given) if _is_frame(given) else None)))
    table = with_prefixed_tags(with_spans(in_sentences(table) if is_token_per_row(table) else table))  # as of a file
    return replace(table, strings=frozenset(name for name, values in table.columns.items() if _are_strings(values)))


def with_clips(given: Any, column: Any, source: str) -> Any:
    """Return data in memory with the values of `column` that are no file names (samples, see data/clips.py) as clips.

    Raises:
        BadInput: a value that is no clip.
    """

    def clip(value: Any, row: int) -> Any:
        return value if isinstance(value, str) or is_missing(value) else Clip.of(value, f"{source} row {row + 1}")

    if not isinstance(column, str):
        return given
    if _is_frame(given) and column in given.columns:
        given = {name: given[name].tolist() for name in given.columns}
    if isinstance(given, Mapping) and is_column(given.get(column)):
        return {**given, column: [clip(value, row) for row, value in enumerate(given[column])]}
    if isinstance(given, list | tuple) and is_data(given):
        return [{**one, column: clip(one.get(column), row)} for row, one in enumerate(given)]
    return given


def _are_strings(values: list) -> bool:
    """Whether a column holds strings alone, and missing values."""
    return any(value is not None for value in values) and all(value is None or type(value) is str for value in values)


def digest_of(table: Table) -> str:
    """sha256 (hex) of the columns of a table: names, values in order, and strings that are kept as they stand."""
    from trunkline.data.values.written import plain as as_json  # here, as it loads pyarrow

    digest = hashlib.sha256()
    for name, values in table.columns.items():
        digest.update(json.dumps([name, as_json(values)], ensure_ascii=True).encode())
        if name in table.strings and _spelled_otherwise(table, name):  # as of other data in earlier versions
            digest.update(b"as given")
    return digest.hexdigest()


def _spelled_otherwise(table: Table, name: str) -> bool:
    """Whether a file with the same strings would have other labels in this column."""
    try:
        return labels(table, name) != labels(replace(table, strings=frozenset()), name)
    except BadInput:
        return True


def refuse_mark(source: str) -> None:
    """Raise BadInput for the name by which a config of a run keeps data that were given in memory."""
    if source.startswith(MARK):
        raise BadInput(
            f"{source[: len(MARK) + 8]}...: this run was trained on data given in memory, which are not stored with it; "
            "expected the same call of trunkline.fit with the same data, or a file in their place"
        )


def values_of(given: Any, where: str, expected: str) -> list[Any]:
    """Return the values of a list, an array or a column as Python's own; BadInput for anything without an order or a length.

    Of a column of `datasets`, label numbers are their names.

    Args:
        given: a sequence of values, one of numpy, pandas or Arrow.
        where: opens the message.
        expected: ends it.
    """
    if isinstance(given, str | bytes | bytearray | Mapping | set | frozenset) or is_table_like(given):
        raise BadInput(f"{where}: found {_name(given)}, expected {expected}")
    if _is_sparse(given):
        given = given.toarray()
    if hasattr(given, "to_pylist"):  # Arrow's scalars are no values of Python
        given = given.to_pylist()
    if hasattr(given, "column_name") and hasattr(given, "features"):
        from trunkline.data.formats.parquet import named_numbers

        return [plain(named_numbers(value, given.features)) for value in given]
    try:
        return [plain(value) for value in given]
    except TypeError:
        raise BadInput(f"{where}: found {_name(given)}, expected {expected}") from None


def is_table_like(given: Any) -> bool:
    """Whether `given` has columns, so that going through it would not give its rows."""
    return hasattr(given, "columns") or hasattr(given, "column_names")


def plain(value: Any) -> Any:
    """Return a value as a file would give it: Python's own types, None where it is missing. An audio clip stays one."""
    if isinstance(value, Clip):
        return value
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(part) for part in value), key=str)
    if type(value).__name__ in _ABSENT:
        return None
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # of numpy: an array, or one of its numbers
        inner = value.tolist()
        return inner if type(inner) is type(value) else plain(inner)
    return None if isinstance(value, Decimal) and value.is_nan() else value


def _is_split(value: Any) -> bool:
    return isinstance(value, Table) or _is_frame(value) or _is_dataset(value)


def is_column(value: Any) -> bool:
    """Whether a value of a mapping can be a column."""
    if isinstance(value, str | bytes | Mapping | set | frozenset) or is_table_like(value):
        return False
    return isinstance(value, Sequence | Iterator) or any(hasattr(value, name) for name in ("tolist", "to_pylist", "toarray"))


def _is_sparse(value: Any) -> bool:
    """Whether it is a sparse matrix of scipy, told without importing scipy."""
    return hasattr(value, "toarray") and hasattr(value, "tocsr")


def _is_frame(value: Any) -> bool:
    """Whether it is a data frame of pandas, told without importing pandas."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _is_arrow(value: Any) -> bool:
    """Whether it is a table that gives itself as Arrow, such as one of pyarrow or polars."""
    return hasattr(value, "__arrow_c_stream__") and is_table_like(value)


def _is_dataset(value: Any) -> bool:
    """Whether it is a data set of `datasets` that can be read as a whole: not one that is streamed."""
    return hasattr(value, "with_format") and hasattr(value, "column_names") and hasattr(value, "num_rows")


def _of_mapping(given: Mapping[Any, Any], source: str) -> dict[str, list]:
    _refuse_twice(given, source)
    columns = {str(name): values_of(values, f"{source}: column {shown(name)}", "a list") for name, values in given.items()}
    refuse_indexes(given, source)
    first, *others = columns.items()
    for name, values in others:
        if len(values) != len(first[1]):
            raise BadInput(
                f"{source}: found {len(first[1])} values in column {shown(first[0])} and {len(values)} in {shown(name)}, "
                "expected as many in each"
            )
    return columns


def refuse_indexes(given: Mapping[Any, Any], source: str, what: str = "columns ") -> None:
    """Raise BadInput for Series whose indexes differ: pandas would join them by index, and their places mean nothing.

    Args:
        given: by name, Series or frames, and values without an index.
        source: opens the message, which calls the values by `what` and their names.
    """
    series = [(name, values.index) for name, values in given.items() if hasattr(values, "iloc") and hasattr(values, "index")]
    for name, index in series[1:]:
        if not series[0][1].equals(index):
            raise BadInput(
                f"{source}: {what}{shown(series[0][0], not what)} and {shown(name, not what)} are Series with different "
                "indexes, expected the same one: a DataFrame of both joins them by it, and .to_numpy() of each leaves it out"
            )


def _of_rows(rows: Sequence[Mapping[Any, Any]]) -> dict[str, list]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {str(name): [plain(row.get(name)) for row in rows] for name in names}


def _of_frame(frame: Any, source: str) -> dict[str, list]:
    _refuse_twice(frame.columns, source)
    return {str(name): [plain(value) for value in frame.iloc[:, place].tolist()] for place, name in enumerate(frame.columns)}


def holds_texts(index: Any) -> bool:
    """Whether the index of a data frame holds strings, which may be the texts."""
    return hasattr(index, "tolist") and any(isinstance(one, str) for one in index[:100].tolist())


def _index_of(frame: Any) -> list[Any] | None:
    """What messages call the rows of a data frame: nothing where these are their places, or may be texts."""
    labels = frame.index.tolist()
    if labels == list(range(len(labels))):
        return None
    names = all(isinstance(one, int) or (isinstance(one, str) and _ID.fullmatch(one)) for one in labels)
    return labels if names else None


def _of_arrow(table: Any, source: str) -> dict[str, list]:
    from trunkline.data.formats.parquet import arrow_columns

    _refuse_twice(table.column_names, source)
    return {name: [plain(value) for value in values] for name, values in arrow_columns(table)[0].items()}


def _refuse_twice(names: Iterable[Any], source: str) -> None:
    names = list(names)
    if several := [name for name in names if isinstance(name, tuple)]:
        raise BadInput(f"{source}: found column names of {len(several[0])} levels, expected names that are strings")
    if twice := [name for name, count in Counter(map(str, names)).items() if count > 1]:
        raise BadInput(f"{source}: column {shown(twice[0])} is there twice, expected each name once")


def split_tables(given: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[str]]:
    """Return what is there of train, validation and test, and the names of other splits, which are not read.

    Raises:
        BadInput: no split called train.
    """
    if "train" not in given:
        raise BadInput(f"{source}: found the splits {listed(list(given), 8)}, expected one called train")
    return {name: given[name] for name in SPLITS if name in given}, [name for name in given if name not in SPLITS]


def _name(given: Any) -> str:
    """How a message names what it cannot use: its type, never its content."""
    return type(given).__name__
