"""Predictions for files of any size: a chunk of rows is in memory at a time, and a run that was killed is resumed.

A thread reads a chunk and prepares it while the trunk runs over the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.data.chunks import Chunks, file_chunks
from trunkline.data.writing import Chosen, output_format
from trunkline.errors import BadInput
from trunkline.files import path_of
from trunkline.model.bundle import Bundle
from trunkline.model.noticed import Noticed
from trunkline.model.prepared import nothing
from trunkline.model.rows import OutputNames, Row, check_tagged, separators_of, writing
from trunkline.model.tables import least_confidence
from trunkline.outputs import output_file, replaced_by
from trunkline.serving.identity import identity_of
from trunkline.serving.parts import Parts, parts_beside
from trunkline.serving.ready import Options, ahead, ready

CHUNK = 4096  # rows that are predicted at a time: of short texts 4 to 6 % of a batch is padding then, with 1024 rows 13 to 16 %

Write = Callable[[Sequence[Row]], Any]
Say = Callable[[str], None]
Progress = Callable[[int, float | None], None]


@dataclass(frozen=True)
class Predicted:
    """What was done.

    rows: in all.
    bad_rows: those of them that cannot be read.
    resumed_rows: those that an earlier run had predicted already.
    findings: what was noticed, a sentence each.
    """

    rows: int
    bad_rows: int
    resumed_rows: int
    findings: list[str]


class NoErrorColumn(Exception):
    """A row cannot be read, and the output has no column for its error."""


def predict_file(
    bundle: Bundle,
    source: str | Path,
    output: str | Path,
    *,
    input_format: str | None = None,
    format: str | None = None,
    options: Options | None = None,
    say: Say = lambda sentence: None,
    progress: Progress | None = None,
) -> Predicted:
    """Predict every row of a file, and write it with its predictions to another one, in the same order.

    If that is interrupted, in whatever way, the same call resumes it; the output is that of a run without an interruption.

    Args:
        bundle: the branches.
        source: what to predict, as of `data.sources.read_chunks`.
        output: the file to write, in the format of its suffix; it is created, or replaced, when all is done.
        input_format: the format of `source`, where its suffix does not say it.
        format: likewise that of `output`.
        options: how rows are read.
        say: told, in a sentence, of columns that are renamed and of what is resumed.
        progress: called after each chunk with the rows done and the share of the source that is done, None where it is unknown.

    Returns:
        Predicted: rows that cannot be read have no predictions, but an error in their place.

    Raises:
        BadInput: no row can be read, the source cannot be read at all or to its end, or the output cannot hold what is in it.
        TrunklineError: another process is predicting into the same file.
    """
    source = str(path_of(source, "source", "the path of a file; bundle.predict takes texts in memory"))
    output = path_of(output, "output", "the path of a file to write")
    chosen = output_format(output, format)
    check_output(output, source)
    chunks = file_chunks(source, CHUNK, format=input_format, otherwise="text")
    return predict_to_file(bundle, chunks, output, chosen, options or Options(), say=say, progress=progress)


def check_output(output: Path, source: str | None) -> None:
    """Raise BadInput where nothing can be written, or where the input itself would be replaced."""
    if output.is_dir() or not output.parent.is_dir():
        raise BadInput(f"{output}: expected a file to write in a folder that exists")
    given = Path(source).expanduser() if source not in (None, "-") else None
    if given is not None and given.is_file() and output.exists() and output.samefile(given):
        raise BadInput(f"{output}: found the input as the output too, expected another one; the input is never replaced")


def predict_to_file(
    bundle: Bundle,
    chunks: Chunks,
    output: Path,
    chosen: Chosen,
    options: Options,
    *,
    say: Say = lambda sentence: None,
    progress: Progress | None = None,
) -> Predicted:
    """As `predict_file`, for rows from anywhere. A pipe or a device gets them as they come, and is not resumed."""
    check_tagged(chosen, bundle.branches)
    first, target = chunks.first(), replaced_by(output)
    types = first.table.types if first is not None else None
    said: dict[str, None] = {}

    def once(sentence: str) -> None:
        if sentence not in said:
            said[sentence] = None
            say(sentence)

    with ExitStack() as stack:
        parts = None
        if target is not None:
            identity = {**identity_of(bundle), "options": {"scores": options.scores, "min_confidence": options.min_confidence}}
            parts = stack.enter_context(parts_beside(target, identity, once))
        # A table has a column of errors only if there are any. Where the first comes late, all is written again, from parts.
        rewritable = chosen.form.flat and target is not None and chunks.again
        for errors in (False, True):
            names = OutputNames(chosen.form.flat, nowhere if chosen.form.tagged else once)
            try:
                with (
                    output_file(output) as file,
                    writing(file, chosen, names, types, separators_of(bundle.branches), errors) as write,
                ):
                    return predict_rows(
                        bundle,
                        chunks,
                        write,
                        options,
                        words=chosen.form.tagged,
                        lf=chosen.form.lf,
                        takes_errors=errors or not rewritable,
                        parts=parts,
                        say=once,
                        progress=progress,
                    )
            except NoErrorColumn:
                continue
    raise AssertionError("the second time there is a column of errors")


def nowhere(sentence: str) -> None:
    """Say nothing."""


def predict_rows(
    bundle: Bundle,
    chunks: Chunks,
    write: Write,
    options: Options,
    *,
    words: bool = False,
    lf: bool = False,
    takes_errors: bool = True,
    parts: Parts | None = None,
    say: Say = nowhere,
    progress: Progress | None = None,
    noticed: Noticed | None = None,
) -> Predicted:
    """Predict rows, a chunk at a time, and give them to `write` in order.

    Args:
        bundle: the branches.
        chunks: the rows.
        write: called with the rows of each chunk.
        options: how rows are read.
        words: give the words of each text, and their tags, of a bundle of one token task.
        lf: give spans as those of texts in which every line end is LF, which is counted.
        takes_errors: False raises NoErrorColumn for a row that cannot be read.
        parts: where predictions are kept, and taken from if they are there.
        say: told how many rows were done already.
        progress: as of `predict_file`.
        noticed: what is counted; one that has begun for rows that come later in a source.
    """
    noticed, done, resumed = noticed or Noticed(), 0, 0
    least = least_confidence(bundle, options.min_confidence, noticed)
    with ahead(ready(bundle, chunks, options, noticed), threaded=chunks.again) as items:
        for number, one in enumerate(items):
            if one.bad and not takes_errors:
                raise NoErrorColumn
            answers = parts.find(number, one.read) if parts is not None else None
            if answers is not None:
                resumed += one.size if parts is not None and parts.is_earlier(number) else 0
            else:
                if resumed == done > 0:
                    say(f"resuming after {done:,} rows that are done already")
                answers = [answer for part in one.prepared for answer in part.ask(bundle, options.scores, least)]
                if parts is not None and items.more():
                    parts.keep(number, one.read, answers)
            noticed.count_bad(one.bad)
            noticed.shortened += sum(part.shortened() for part in one.prepared) if lf else 0
            write(one.rows(answers, nothing(bundle, options.scores, least), words, lf))
            done += one.size
            if progress is not None:
                progress(done, one.share)
    return Predicted(done, noticed.bad, resumed, noticed.sentences())
