"""`trunkline predict`: every branch on every text, in one pass of the trunk, a chunk of texts at a time."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, err, guarded, tell, write_stdout
from trunkline.cli.evaluate import TrunkName
from trunkline.errors import BadInput, shown

if TYPE_CHECKING:
    from trunkline.data.table import Table
    from trunkline.model.rows import OutputNames, Row

CHUNK = 1024  # texts that are in memory at a time: enough for batches of equal length


class Format(StrEnum):
    """Of the output."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


SUFFIXES = {".csv": Format.csv, ".parquet": Format.parquet, ".pq": Format.parquet}


@guarded
def predict(
    branches: Annotated[
        list[Path],
        typer.Argument(metavar="BRANCH...", help="Branches; a run stands for all of its own.", show_default=False),
    ],
    text: Annotated[list[str] | None, typer.Option("--text", "-t", metavar="T", help="A text; may be given again.")] = None,
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE|-", help="Texts in a data file, or - for lines of stdin.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; stdout by default.")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="By default that of the suffix of --output, else jsonl.", show_default=False),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", metavar="NAME", help="The text column of --input, if not the one trained on.")
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Give the score of every label, not only of those chosen.")] = False,
    trunk: TrunkName = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Predict with any number of branches of one trunk, all in the same pass.

    Texts come from --text, from --input, or line by line from standard input. Rows keep their order and their own columns.

    [bold]Examples[/]

    \b
    trunkline predict runs/demo-1a2b3c4d --text "play some jazz"
    trunkline predict runs/a/branches/stars runs/b/branches/topic -i new.csv -o out.jsonl
    cat texts.txt | trunkline predict runs/demo-1a2b3c4d > predictions.jsonl
    """
    from trunkline.model.folders import is_branch_or_run

    for path in branches:
        if not is_branch_or_run(path):
            raise BadInput(f"{path}: not a run or a branch; expected a directory that `trunkline fit` has written")
    tables = _chunks(text, source, column)
    first = next(tables, None)  # whatever is wrong with the input is found before the trunk is loaded
    if as_json and output is None and form is Format.csv:
        raise BadInput("found --json with --format csv and no --output, expected one format for standard output")
    form = form or (SUFFIXES.get(output.suffix.lower(), Format.jsonl) if output is not None else Format.jsonl)
    if form is Format.parquet and output is None:
        raise BadInput("found --format parquet and no --output, expected a file")
    from trunkline.model.bundle import Bundle
    from trunkline.model.rows import OutputNames
    from trunkline.model.tables import predict_table

    with err().status("loading the trunk"):
        bundle = Bundle.open(branches, trunk=trunk)
    began, rows = time.monotonic(), 0
    collected: list[dict[str, Any]] = []
    with ExitStack() as stack:
        names = OutputNames(form is not Format.jsonl, tell)
        types = first.types if first is not None else None
        write = stack.enter_context(_writer(output, form, types, names))
        if as_json and output is None:
            write = lambda rows: collected.extend(map(_merged, rows))  # noqa: E731
        # Bars and results would write over each other on one terminal.
        count = stack.enter_context(_counter(shown=output is not None or as_json or not sys.stdout.isatty()))
        for table in itertools.chain([first] if first is not None else [], tables):
            write(names.renamed(predict_table(bundle, table, column, scores)))
            rows += len(table)
            count(len(table))
    seconds = time.monotonic() - began
    if output is not None:
        tell(f"wrote {rows:,} {'row' if rows == 1 else 'rows'} to {output} in {seconds:.1f} s")
    told: dict[str, Any] = {"rows": rows, "seconds": round(seconds, 3), "branches": list(bundle.branches)}
    return {**told, "predictions": collected} if output is None else {**told, "output": str(output)}


def _chunks(texts: list[str] | None, source: str | None, column: str | None) -> Iterator[Table]:
    """The input as tables of at most CHUNK rows."""
    if texts and source:
        raise BadInput("found both --text and --input, expected one of them")
    if texts:
        from trunkline.data.columns import clean
        from trunkline.data.table import Table

        return iter([Table("--text", {"text": [clean(text) for text in texts]})])
    if source is None and sys.stdin.isatty():
        raise BadInput("no texts: give --text, --input FILE, or lines on standard input")
    if source in (None, "-"):
        return _stdin()
    from trunkline.data.sources import read_chunks

    return read_chunks(source, CHUNK)


def _stdin() -> Iterator[Table]:
    """Lines of stdin, each a text."""
    from trunkline.data.table import Table

    numbered = enumerate(sys.stdin.buffer, start=1)
    while part := list(itertools.islice(numbered, CHUNK)):
        lines = []
        for number, raw in part:
            try:
                lines.append(raw.decode("utf-8").rstrip("\r\n"))
            except UnicodeDecodeError as error:
                raise BadInput(f"stdin line {number}: byte {error.start + 1} is not UTF-8, expected UTF-8") from None
        yield Table("stdin", {"text": lines}, [number for number, _ in part])


def _merged(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    from trunkline.data.written import plain

    return {**plain(row.own), **row.answers}


class _writer:
    """Writes rows to stdout, or to a file that takes its place when all is done.

    Used as a context manager; it yields a function that takes lists of rows. `types` are Arrow's, by columns of the input, and
    `names` has their names in the rows.
    """

    def __init__(
        self, output: Path | None, form: Format, types: Mapping[str, Any] | None = None, names: OutputNames | None = None
    ) -> None:
        self.output, self.form, self.types, self.names, self.stack = output, form, types or {}, names, ExitStack()
        self.header: dict[str, None] | None = None  # the names of the columns, in order
        self.rows = 0

    def __enter__(self) -> Callable[[list[Row]], None]:
        self.put: Callable[[str], object] = write_stdout
        if self.output is not None:
            from trunkline.outputs import output_file

            if self.output.is_dir() or not self.output.parent.is_dir():
                raise BadInput(f"{self.output}: expected a file to write in a folder that exists")
            self.file = self.stack.enter_context(output_file(self.output))
            self.put = self._put
            if self.form is Format.parquet:
                from trunkline.data.written import ParquetRows

                parquet = ParquetRows(self.file)
                self.stack.callback(parquet.close)
                return lambda rows: parquet.write([_cells(row) for row in rows], self._types(rows))
        return self._rows

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def _put(self, text: str) -> None:
        self.file.write(text.encode("utf-8", "backslashreplace"))
        self.file.flush()  # who reads a pipe sees each chunk when it is there

    def _types(self, rows: list[Row]) -> dict[str, Any]:
        own = self.types if self.names is None else self.names.keys(self.types)
        return {**own, **_answer_types(rows)}

    def _rows(self, rows: list[Row]) -> None:
        from trunkline.data.written import cell

        if self.form is Format.jsonl:
            self.put("".join(json.dumps(_merged(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
            return
        flat = [{name: cell(value) for name, value in _cells(row).items()} for row in rows]
        text = io.StringIO()
        if self.header is None:
            self.header = dict.fromkeys(name for row in flat for name in row)
            csv.writer(text, lineterminator="\n").writerow(self.header)
        for row, cells in enumerate(flat, start=self.rows + 1):
            if new := [name for name in cells if name not in self.header]:
                raise BadInput(
                    f"row {row}: column {shown(new[0])} is not in the CSV header already written, which the first {CHUNK:,} "
                    "rows set; expected all columns there, or --format jsonl"
                )
        self.rows += len(flat)
        csv.DictWriter(text, self.header, lineterminator="\n").writerows(flat)
        self.put(text.getvalue())


def _cells(row: Row) -> dict[str, Any]:
    """A row for a table: each prediction becomes its main value under its branch's name, and its score beside it."""
    from trunkline.model.rows import answer_columns

    predicted = answer_columns(row.answers).items()
    return {**row.own, **{column: row.answers[name][key] for column, (name, key) in predicted}}


def _answer_types(rows: list[Row]) -> dict[str, Any]:
    """The Arrow types of the columns that `_cells` makes of predictions."""
    from trunkline.data.written import PREDICTED
    from trunkline.model.rows import answer_columns

    places = answer_columns(rows[0].answers if rows else {}).items()
    return {column: PREDICTED[key] for column, (_, key) in places if key in PREDICTED}


def _counter(shown: bool) -> Any:
    """The bar of texts done, or nothing."""
    from contextlib import nullcontext

    from trunkline.trackers.progress import counting

    return counting(err(), "predicting", None) if shown else nullcontext(lambda more: None)
