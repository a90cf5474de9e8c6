"""A table as the branches of a bundle read it: predicted row by row, or scored where it holds the right answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from trunkline.data.corpus import Corpus, build_corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.model.bundle import CHUNK_CHARACTERS, Bundle
from trunkline.model.rows import Row
from trunkline.tasks import Targets

View = tuple[str | None, str | None, str | None]  # columns of the text, of the second text, of the tokens


def predict_table(bundle: Bundle, table: Table, column: str | None = None, scores: bool = False) -> list[Row]:
    """Return a row of output for each row of `table`: what it held itself, then the prediction of every branch.

    Args:
        bundle: the branches.
        table: what to predict.
        column: of the text, if not the one that a branch was trained on.
        scores: give the score of every label, not only of those chosen.
    """
    if column is None and list(table.columns) == ["text"]:
        column = "text"  # of --text and stdin, whatever column the branches were trained on
    return [row for part in _portions(table) for row in _predicted(bundle, part, column, scores)]


def _portions(table: Table) -> Iterator[Table]:
    """The table in parts of about CHUNK_CHARACTERS of text: what is made of a text takes many times its own memory."""
    begin = characters = 0
    for row in range(len(table)):
        more = sum(len(values[row]) for values in table.columns.values() if isinstance(values[row], str))
        if row > begin and characters + more > CHUNK_CHARACTERS:
            yield table.select(range(begin, row))
            begin, characters = row, 0
        characters += more
    if begin < len(table):
        yield table.select(range(begin, len(table))) if begin else table


def _predicted(bundle: Bundle, table: Table, column: str | None, scores: bool) -> list[Row]:
    answers: list[dict[str, Any]] = [{} for _ in range(len(table))]
    seen: dict[str, list[str]] = {}  # the texts, where they are made of tokens
    for view, names in views(bundle, table, column).items():
        corpus = corpus_for(bundle, names, table, view)
        if view[0] is None and "text" not in table.columns:
            seen = {"text": corpus.texts}
        for answer, found in zip(
            answers, bundle.only(names).predict(corpus.texts, corpus.pairs, units=corpus.units), strict=True
        ):
            answer.update(found)
    rows = []
    for row, answer in enumerate(answers):
        own = {name: values[row] for name, values in {**seen, **table.columns}.items()}
        parts = {name: {key: part for key, part in answer[name].items() if scores or key != "scores"} for name in answer}
        rows.append(Row(own, {name: _rounded(parts[name]) for name in bundle.branches}))
    return rows


def score_table(
    bundle: Bundle,
    table: Table,
    say: Callable[[str], None] = lambda sentence: None,
    count: Callable[[int], AbstractContextManager[Callable[[int], None]]] = lambda texts: nullcontext(lambda more: None),
) -> dict[str, Any]:
    """Return the metrics of every branch on `table`, by its name, with its kind, its monitor and the rows that were scored.

    Args:
        bundle: the branches.
        table: what they are to be scored on, with the right answers in its columns.
        say: told, in a sentence, what of the table cannot be scored as it stands.
        count: opened for each pass with the number of its texts; what it gives is called with the sequences done.

    Raises:
        BadInput: the table is not what some branch reads; where others read it, it names them.
    """
    results: dict[str, Any] = {}
    for finding in table.findings:
        say(f"{table.source}: {finding}")
    for corpus, targets in _answers(bundle, table):
        names = list(targets)
        for sentence in (said for name in names for said in bundle.branches[name].task.findings(corpus)):
            say(f"{table.source}: {sentence}")
        with count(len(corpus)) as progress:
            found = bundle.only(names).score_corpus(corpus, targets, progress=progress)
        for name, metrics in found.items():
            task = bundle.branches[name].task
            rows = task.answers.scored(targets[name], corpus)
            results[name] = {"kind": task.kind, "monitor": task.monitor, "data": table.source, "rows": rows, "metrics": metrics}
    return {name: results[name] for name in bundle.branches}


def _answers(bundle: Bundle, table: Table) -> list[tuple[Corpus, dict[str, Targets]]]:
    """The table as each branch sees it, together those that share a pass, with what is right there for each.

    Raises:
        BadInput: the table is not what some branch reads; where others read it, it names them.
    """
    read, refused = [], []
    for view, names in views(bundle, table).items():
        try:
            corpus = corpus_for(bundle, names, table, view)
        except BadInput as error:
            refused.append(error)
            continue
        targets: dict[str, Targets] = {}
        for name in names:
            try:
                targets[name] = bundle.branches[name].task.targets(corpus)
            except BadInput as error:
                refused.append(error)
        read.append((corpus, targets))
    if refused and (fit := [str(bundle.branches[name].path) for _, targets in read for name in targets]):
        raise BadInput(f"{refused[0]}; {table.source} can score {' '.join(fit)}: name what is to be scored") from None
    if refused:
        raise refused[0]
    return read


def views(bundle: Bundle, table: Table, text: str | None = None) -> dict[View, list[str]]:
    """The columns that each branch reads of `table`, and the branches that read the same ones and so share a pass.

    A branch that does not mind how a text is divided into words takes the words of one that does.
    """
    wanted = {name: getattr(branch.task.config, "tokens", None) for name, branch in bundle.branches.items()}
    given = {tokens for tokens in wanted.values() if tokens in table.columns}
    found: dict[View, list[str]] = {}
    for name, branch in bundle.branches.items():
        tokens = next(iter(given)) if len(given) == 1 else wanted[name] if wanted[name] in given else None
        column = text or branch.text
        found.setdefault((column if column in table.columns or not tokens else None, branch.text_pair, tokens), []).append(name)
    return found


def corpus_for(bundle: Bundle, names: list[str], table: Table, view: View) -> Corpus:
    """See a table as the branches `names` do."""
    text, pair, tokens = view
    if pair is not None and pair not in table.columns:
        raise BadInput(
            f"{table.source}: no column {pair!r} found, expected one with second texts, as branch {names[0]!r} reads pairs"
        )
    units = any(bundle.branches[name].task.answers.units for name in names)
    return build_corpus(table, text=text, text_pair=pair, tokens=tokens, units=units)


def _rounded(value: Any) -> Any:
    """The same with six digits after the point: what a probability of a network is good for, at most."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
