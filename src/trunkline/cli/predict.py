"""`trunkline predict`: every branch on every text, in one pass of the trunk, a chunk of texts at a time."""

from __future__ import annotations

import io
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import (
    BackendName,
    Debug,
    Empty,
    Json,
    MinConfidence,
    PrecisionChange,
    TrunkDtype,
    TrunkName,
    err,
    guarded,
    out,
    tell,
)
from trunkline.cli.on_ray import Engine, EngineName, RayOptions, predict_on_ray, resources_of
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.data.chunks import Chunks
    from trunkline.model.rows import Row


@guarded
def predict(
    branches: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_BRANCH... [FILE]",
            help="Runs or branches; a run stands for all of its branches. A file after them is the input.",
            show_default=False,
        ),
    ],
    text: Annotated[list[str] | None, typer.Option("--text", "-t", metavar="T", help="A text; may be repeated.")] = None,
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE|-", help="Texts in a data file, or - for lines of stdin.")
    ] = None,
    input_form: Annotated[
        str | None,
        typer.Option(
            "--input-format",
            metavar="NAME",
            help="Format of --input, e.g. conll, if the suffix does not imply it; text: one text per line.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; stdout by default.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Output format: jsonl, json, csv, tsv, parquet, xlsx or conll; by default that of its suffix, else jsonl.",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="[ROLE=]NAME",
            help="A column of --input, if not as in training: of the texts, or of the ROLE text_pair or tokens.",
            show_default=False,
        ),
    ] = None,
    empty: Annotated[
        Empty, typer.Option("--empty", help="Rows without a text: skip (empty predictions), or refuse.")
    ] = Empty.skip,
    scores: Annotated[
        bool, typer.Option("--scores", help="Output the score of every label, not only of the predicted ones.")
    ] = False,
    min_confidence: MinConfidence = None,
    trunk: TrunkName = None,
    backend: BackendName = None,
    dtype: TrunkDtype = None,
    allow_precision_change: PrecisionChange = False,
    engine: Engine = EngineName.local,
    ray: RayOptions = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Predict with any number of branches of one trunk, all in the same pass.

    Texts come from --text, from --input, or line by line from standard input. Rows keep their order and their own columns. A
    row that cannot be read gets an error in place of predictions. With --output, the same command resumes what was stopped.

    [bold]Examples[/]

    \b
    trunkline predict runs/demo-1a2b3c4d --text "play some jazz"
    trunkline predict runs/a runs/b/branches/topic -i new.csv -o out.jsonl
    cat texts.txt | trunkline predict runs/demo-1a2b3c4d > predictions.jsonl
    trunkline predict runs/a -i new.parquet -o out/ --engine ray --ray num_gpus=1
    """
    from trunkline.cli.loading import loading
    from trunkline.model.folders import is_branch_or_run, no_branch

    resources = resources_of(engine, ray)
    branches, source = _with_input(branches, text, source)
    if bad := [path for path in branches if not is_branch_or_run(path)]:
        if len(bad) > 1 and all(path.is_file() for path in bad):
            raise BadInput(f"found {len(bad)} inputs, {bad[0]} and {bad[1]}, expected one at a time")
        raise no_branch(bad[0])
    with loading():
        from trunkline.model.columns import column_roles, likely_texts
        from trunkline.model.decision import checked_confidence
        from trunkline.serving.bulk import check_output, predict_rows, predict_to_file
        from trunkline.serving.ready import Options
    options = Options(column_roles(column or ()), scores, empty.value, min_confidence)
    checked_confidence(min_confidence, where="--min-confidence")
    if resources is not None:
        if text:
            raise BadInput("found --text and --engine ray, expected --input FILE|FOLDER of Parquet or JSON lines")
        opening = {"trunk": trunk, "backend": backend, "dtype": dtype, "allow_precision_change": allow_precision_change}
        return predict_on_ray(branches, source, output, form, input_form, options, opening, resources)
    chunks = _chunks(text, source, input_form)
    first = chunks.first()  # whatever is wrong with the input is found before the trunk is loaded
    from trunkline.data.writing import output_format

    chosen = output_format(output, form)
    if as_json and output is None and (chosen.form.flat or chosen.form.tagged):
        raise BadInput(f"found --json with --format {form} and no --output, expected one format for standard output")
    if output is not None:
        check_output(output, source)
    with err().status("loading the trunk"), loading():
        from trunkline.model.bundle import Bundle
        from trunkline.model.rows import OutputNames, check_tagged, merged, separators_of, writing

        bundle = Bundle.open(
            branches,
            trunk=trunk,
            backend=backend,
            dtype=dtype,
            allow_precision_change=allow_precision_change
            and (first is None or likely_texts(first.table, options.columns) or True),
        )
    for sentence in bundle.findings:
        tell(sentence)
    check_tagged(chosen, bundle.branches)
    began = time.monotonic()
    readable = bool(text) and not as_json and output is None and form is None and _on_terminal()
    collected: list[Row] = []
    # Bars and results would write over each other on one terminal.
    with _progress(shown=output is not None or as_json or not sys.stdout.isatty()) as progress:
        if output is not None:
            done = predict_to_file(bundle, chunks, output, chosen, options, say=tell, progress=progress)
        else:
            names = OutputNames(chosen.form.flat, (lambda sentence: None) if chosen.form.tagged else tell)
            if as_json or readable:
                sink: Any = nullcontext(lambda rows: collected.extend(names.renamed(rows)))
            else:
                types = first.table.types if first is not None else None
                sink = writing(_Stdout(), chosen, names, types, separators_of(bundle.branches))
            with sink as write:
                done = predict_rows(bundle, chunks, write, options, words=chosen.form.tagged, progress=progress)
    seconds = time.monotonic() - began
    if readable:
        from trunkline.cli.answers import show_answers

        show_answers(out(), [row.own["text"] for row in collected], [row.answers for row in collected])
    for sentence in done.findings:
        tell(sentence)
    if output is not None:
        tell(f"wrote {done.rows:,} {'row' if done.rows == 1 else 'rows'} to {output} in {seconds:.1f} s")
    told: dict[str, Any] = {"rows": done.rows, "bad_rows": done.bad_rows, "seconds": round(seconds, 3)}
    told |= {"branches": list(bundle.branches), "findings": [*bundle.findings, *done.findings]}
    if output is not None:
        return {**told, "resumed_rows": done.resumed_rows, "output": str(output)}
    from trunkline.data.values.written import plain

    return {**told, "predictions": [plain(merged(row, names.error)) for row in collected] if as_json else []}


def _with_input(branches: list[Path], texts: list[str] | None, source: str | None) -> tuple[list[Path], str | None]:
    """The branches and the input, which may be a file after them."""
    from trunkline.model.folders import is_branch_or_run

    *others, last = branches
    if not others or not last.is_file() or not all(map(is_branch_or_run, others)):
        return branches, source
    if texts or source is not None:
        raise BadInput(f"found {last} and {'--text' if texts else '--input'}, expected one input")
    return others, str(last)


def _on_terminal() -> bool:
    return sys.stdout.isatty()


class _Stdout(io.RawIOBase):
    """Standard output for a writer of bytes."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return len(data)


def _chunks(texts: list[str] | None, source: str | None, form: str | None) -> Chunks:
    """The input."""
    from trunkline.data.chunks import file_chunks, line_chunks, text_chunks
    from trunkline.serving import bulk

    if texts and source:
        raise BadInput("found both --text and --input, expected one of them")
    if form is not None and source in (None, "-"):
        raise BadInput("found --input-format and no file, expected --input FILE")
    if texts:
        return text_chunks(texts, "--text")
    if source is None and sys.stdin.isatty():
        raise BadInput("no texts: give --text, --input FILE, or lines on standard input")
    if source in (None, "-"):
        return line_chunks(sys.stdin.buffer, bulk.CHUNK, "stdin")
    return file_chunks(source, bulk.CHUNK, format=form, otherwise="text")


def _progress(shown: bool) -> Any:
    """The bar of rows done, or nothing."""
    from trunkline.trackers.streaming import streaming

    return streaming(err(), "predicting") if shown else nullcontext()
