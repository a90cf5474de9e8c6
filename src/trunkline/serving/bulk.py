"""Predictions for files of any size: a chunk of rows is in memory at a time, and a run that was killed is resumed.

A thread reads a chunk and prepares it while the trunk runs over the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.data.chunks import Chunk, Chunks, file_chunks
from trunkline.data.empty import EmptyTexts
from trunkline.data.table import Unread
from trunkline.data.writing import Chosen, output_format
from trunkline.errors import BadInput
from trunkline.files import path_of
from trunkline.model.bundle import Bundle
from trunkline.model.noticed import Noticed
from trunkline.model.prepared import Answer, Prepared, nothing, prepare
from trunkline.model.rows import OutputNames, Row, check_tagged, separators_of, writing
from trunkline.model.tables import least_confidence
from trunkline.outputs import output_file, replaced_by
from trunkline.serving.identity import identity_of
from trunkline.serving.parts import Parts, parts_beside

CHUNK = 4096  # rows that are predicted at a time: of short texts 4 to 6 % of a batch is padding then, with 1024 rows 13 to 16 %

Write = Callable[[Sequence[Row]], Any]
Say = Callable[[str], None]
Progress = Callable[[int, float | None], None]


@dataclass(frozen=True)
class Options:
    """How rows are read and what is predicted for them.

    columns: the columns to read where they are not those that a branch was trained on, by role (`model.columns.roles`).
    scores: give the score of every label, not only of those chosen.
    empty_texts: whether a row without a text gets empty predictions, or is refused.
    min_confidence: from 0 to 1: what a branch is less confident of gets no answer (see `withheld` in model/decision.py).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    scores: bool = False
    empty_texts: EmptyTexts = "skip"
    min_confidence: float | None = None


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
    """
    noticed, done, resumed = Noticed(), 0, 0
    least = least_confidence(bundle, options.min_confidence, noticed)
    with _ahead(_ready(bundle, chunks, options, noticed), threaded=chunks.again) as ready:
        for number, one in enumerate(ready):
            if one.bad and not takes_errors:
                raise NoErrorColumn
            if number == 0 and one.bad and len(one.bad) == one.size:
                raise one.bad[0].error
            answers = parts.find(number, one.read) if parts is not None else None
            if answers is not None:
                resumed += one.size if parts is not None and parts.is_earlier(number) else 0
            else:
                if resumed == done > 0:
                    say(f"resuming after {done:,} rows that are done already")
                answers = [answer for part in one.prepared for answer in part.ask(bundle, options.scores, least)]
                if parts is not None and ready.more():
                    parts.keep(number, one.read, answers)
            noticed.count_bad(one.bad)
            noticed.shortened += sum(part.shortened() for part in one.prepared) if lf else 0
            write(one.rows(answers, nothing(bundle, options.scores, least), words, lf))
            done += one.size
            if progress is not None:
                progress(done, one.share)
    return Predicted(done, noticed.bad, resumed, noticed.sentences())


@dataclass(frozen=True)
class _Ready:
    """A chunk that was read and prepared.

    size (int): rows of the source, with those that cannot be read.
    unread (tuple[Unread, ...]): those that are in no table.
    bad (list[Unread]): all that cannot be read, in order.
    read (str): the sha256 of what is asked.
    """

    size: int
    share: float | None
    unread: tuple[Unread, ...]
    bad: list[Unread]
    prepared: list[Prepared]
    read: str

    def rows(self, answers: list[Answer], without: Answer, words: bool, lf: bool) -> list[Row]:
        """The rows of the output; those of `unread` have no values, and the predictions `without`."""
        rows: list[Row] = []
        begin = 0
        for part in self.prepared:
            rows += part.rows(answers[begin : begin + part.size], words, lf)
            begin += part.size
        if not self.unread:
            return rows
        own = dict.fromkeys(rows[0].own) if rows else {}
        found: list[Row] = []
        begin = 0
        for one in self.unread:
            found += rows[begin : one.before]
            found.append(Row(dict(own), {name: dict(parts) for name, parts in without.items()}, error=str(one.error)))
            begin = one.before
        return found + rows[begin:]


def _ready(bundle: Bundle, chunks: Chunks, options: Options, noticed: Noticed) -> Iterator[_Ready]:
    for chunk in chunks:
        prepared: list[Prepared] = []
        if len(chunk.table):
            found = prepare(
                bundle, chunk.table, options.columns, empty_texts=options.empty_texts, noticed=noticed, tolerant=True
            )
            prepared = list(found)
        read = hashlib.sha256("".join(part.digest() for part in prepared).encode()).hexdigest()
        yield _Ready(len(chunk), chunk.share, chunk.table.unread, _bad(chunk, prepared), prepared, read)


def _bad(chunk: Chunk, prepared: list[Prepared]) -> list[Unread]:
    """All rows of a chunk that cannot be read, in order."""
    bad, begin = list(chunk.table.unread), 0
    for part in prepared:
        bad += [one._replace(before=begin + one.before) for one in part.errors.values()]
        begin += part.size
    return sorted(bad, key=lambda one: one.before)


class _Ahead:
    """Goes through items; a thread takes the next one while the caller works on one."""

    def __init__(self, items: Iterator[_Ready], pool: ThreadPoolExecutor | None) -> None:
        self._items, self._pool = items, pool
        self._next: Future[_Ready | None] | None = None

    def __iter__(self) -> Iterator[_Ready]:
        if self._pool is None:
            yield from self._items
            return
        self._next = self._pool.submit(next, self._items, None)
        while (one := self._next.result()) is not None:
            self._next = self._pool.submit(next, self._items, None)
            yield one

    def more(self) -> bool:
        """Whether something comes behind the item at hand, or that is unknown."""
        return self._next is None or self._next.exception() is not None or self._next.result() is not None


@contextmanager
def _ahead(items: Iterator[_Ready], threaded: bool) -> Iterator[_Ahead]:
    with ThreadPoolExecutor(1, "trunkline-reading") if threaded else nullcontext() as pool:
        yield _Ahead(items, pool)
