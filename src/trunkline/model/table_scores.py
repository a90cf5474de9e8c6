"""A table scored by the branches of a bundle: it holds the right answers in its columns."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from trunkline.data.corpus import Corpus
from trunkline.data.empty import EmptyTexts, without_empty
from trunkline.data.table import Table
from trunkline.data.values.predictions import holds_predictions
from trunkline.errors import BadInput, listed
from trunkline.model.bundle import Bundle
from trunkline.model.columns import (
    answer_columns_of,
    answers_example,
    map_example,
    renamed_columns,
    text_example,
    with_listed_answers,
)
from trunkline.model.decision import checked_confidence
from trunkline.model.portions import clips_cut
from trunkline.model.views import corpus_for, unreadable, views
from trunkline.tasks import Targets, Task
from trunkline.tasks.labels import Reading, UnknownLabel
from trunkline.tasks.remarks import baseline_scores, remarks

FEW = 10  # rows: fewer answers may all be right
ROUNDED, UNEXPLAINED = 1e-6, 1e-9  # a mean error, and a share of the variance, that no regression has but by its own numbers


def score_table(
    bundle: Bundle,
    table: Table,
    say: Callable[[str], None] = lambda sentence: None,
    count: Callable[[int], AbstractContextManager[Callable[[int], None]]] = lambda texts: nullcontext(lambda more: None),
    *,
    columns: Mapping[str, str] | None = None,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    empty_texts: EmptyTexts = "skip",
    baselines: Mapping[str, Mapping[str, Any]] | None = None,
    given: bool = True,
    min_confidence: float | None = None,
) -> dict[str, Any]:
    """Return the metrics of every branch on `table`, by its name, with its kind, its monitor and the rows that were scored.

    With them are the metrics of its baseline where that is known (of a token task only in `baselines`, as the words that it has
    counted are not saved), and the positive one of two labels.

    Args:
        bundle: the branches.
        table: what they are to be scored on, with the right answers in its columns.
        say: told, in a sentence, what of the table cannot be scored as it stands.
        count: opened for each pass with the number of its texts; what it gives is called with the sequences done.
        columns: the columns to read where they are not those that a branch was trained on, by role (see `renamed_columns`).
        reading: what becomes of labels that a branch does not have.
        empty_texts: whether rows without a text are skipped or refused.
        baselines: metrics of baselines on this table that are known already, by task.
        given: whether the table is data that a user names, to which --column and --map apply; branches whose answers it
            does not have are left out then, unless it has none at all.
        min_confidence: adds the `coverage` of answers that are at least so confident, and their `selective_accuracy`.

    Raises:
        BadInput: the table is not what some branch reads; where others read it, it names them. `min_confidence` is no number
            from 0 to 1.
    """
    confidence = checked_confidence(min_confidence)
    results: dict[str, Any] = {}
    where = named_rows(table, given)
    bundle, seen = answering(bundle, table, say, columns, given)
    for corpus, targets, findings in answers_in(bundle, seen, reading, empty_texts):
        names = list(targets)
        for sentence in [*findings, *findings_of(bundle, table, seen, corpus, targets, given)]:
            say(f"{where}: {sentence}")
        with count(len(corpus)) as progress:
            cut = Counter[str]()
            found = bundle.only(names).score_corpus(corpus, targets, progress, confidence, cut)
        for sentence in clips_cut(cut):
            say(f"{where}: {sentence}")
        for name, metrics in found.items():
            task = bundle.branches[name].task
            rows = task.answers.scored(targets[name], corpus)
            results[name] = {"kind": task.kind, "monitor": task.monitor, "data": table.source, "rows": rows, "metrics": metrics}
            least = (baselines or {}).get(task.name) or baseline_scores(task, corpus, targets[name])
            if least is not None:
                results[name]["baseline"] = {"rule": task.baseline_rule, "metrics": least}
            if task.positive is not None:
                results[name]["positive"] = task.positive
            for sentence in findings_of_scores(bundle, name, table, seen, corpus, targets[name], metrics, least, given):
                say(sentence)
    return {name: results[name] for name in bundle.branches}


def named_rows(table: Table, given: bool) -> str:
    """What findings call the rows that are scored."""
    return table.source if given else f"test split of {table.source}"


def findings_of(
    bundle: Bundle, table: Table, seen: Table, corpus: Corpus, targets: Mapping[str, Targets], given: bool
) -> list[str]:
    """What is to be said of the answers in a table, before it is scored: the table as it is and as `answering` returns it."""
    found: list[str] = []
    for name, own in targets.items():
        task = bundle.branches[name].task
        unseen = task.unseen_labels(own)
        if given:
            way = map_example(task, own.unseen)
            unseen = [f"{said.rstrip('.')}; {way} reads a label of the data as one of the branch." for said in unseen]
        told = [_of_predictions(name, column, seen, given) for column in _predictions(bundle, name, table, seen)]
        found += [*task.findings(corpus), *unseen, *told]
    return found


def findings_of_scores(
    bundle: Bundle,
    name: str,
    table: Table,
    seen: Table,
    corpus: Corpus,
    targets: Targets,
    metrics: Mapping[str, Any],
    least: Mapping[str, Any] | None,
    given: bool,
) -> list[str]:
    """What is to be said of the metrics of a branch on a table, beside those of its baseline `least`, where they are known."""
    task, where = bundle.branches[name].task, named_rows(table, given)
    rows = task.answers.scored(targets, corpus)
    agrees = given and rows >= FEW and _agrees(task, metrics) and not _predictions(bundle, name, table, seen)
    said = [f"{where}: {_of_agreement(name, task.columns()[0], rows, seen)}"] if agrees else []
    return [*said, *remarks(task, {where: (metrics, least)})]


def _predictions(bundle: Bundle, name: str, table: Table, seen: Table) -> list[str]:
    """The columns of answers of a branch that hold predictions."""
    unscored = [other for other, branch in bundle.branches.items() if "score" not in branch.task.parts]
    columns = bundle.branches[name].task.columns()
    return [one for one in columns if holds_predictions(seen.headings.get(one, one), table.columns, unscored)]


def answering(
    bundle: Bundle, table: Table, say: Callable[[str], None], columns: Mapping[str, str] | None = None, given: bool = True
) -> tuple[Bundle, Table]:
    """Return the branches whose answers a table has, and the table under the names that they were trained on.

    Arguments as of `score_table`.
    """
    for finding in table.findings:
        say(f"{table.source}: {finding}")
    if given and (listed_answers := with_listed_answers(bundle.branches, table, columns or {})):
        bundle = bundle.only(bundle.branches)
        for name, branch in listed_answers.items():
            bundle.replace(name, branch)
    seen = renamed_columns(bundle.branches, table, columns or {})
    if given and (absent := _without_answers(bundle, seen)):
        say(f"{table.source}: {_not_scored(bundle, absent, seen)}")
        bundle = bundle.only([name for name in bundle.branches if name not in absent])
    return bundle, seen


def _without_answers(bundle: Bundle, table: Table) -> dict[str, list[str]]:
    """The branches for whose answers the table has no column, with the names of these columns.

    Raises:
        BadInput: it has no column for any branch.
    """
    if table.lacks_header():
        return {}
    absent = {}
    for name, branch in bundle.branches.items():
        answers = answer_columns_of(branch.task)
        if not any(column in table.columns for column in answers):
            absent[name] = answers
    if not absent or len(absent) < len(bundle.branches):
        return absent
    if not table.lists_all():  # the error of the first says why
        return {}
    first = next(iter(absent))
    texts = [branch.text for branch in bundle.branches.values()]
    ways = [f"{text_example(table)} names the column of the texts"] if not any(map(table.columns.__contains__, texts)) else []
    ways.append(f"{answers_example(first, bundle.branches[first].task, table)} names the column with the answers of {first!r}")
    wanted = listed([column for columns in absent.values() for column in columns], 10, whole=True)
    among = f", found {listed(table.listable(), 10, whole=True)}"
    raise BadInput(f"{table.source}: no column with answers, expected {wanted}{among}; {'; '.join(ways)}")


def _not_scored(bundle: Bundle, absent: Mapping[str, list[str]], table: Table) -> str:
    """What to say of branches that are left out, as the table does not have their answers."""
    first = next(iter(absent))
    example = answers_example(first, bundle.branches[first].task, table)
    columns = listed([column for columns in absent.values() for column in columns], 10, whole=True)
    are = "is" if len(absent) == 1 else "are"
    way = (
        f"; {example} names one" if example.endswith("NAME") else f"; {example} names the column with the answers of {first!r}"
    )
    return f"{listed(list(absent), 10, whole=True)} {are} not scored, as there is no column {columns}{way}."


def answers_in(
    bundle: Bundle, table: Table, reading: Reading, empty_texts: EmptyTexts
) -> list[tuple[Corpus, dict[str, Targets], list[str]]]:
    """The table as each branch sees it, together those that share a pass, with what is right there and what is odd.

    Raises:
        BadInput: the table is not what some branch reads; where others read it, it names them.
    """
    read, refused = [], []
    for view, names in views(bundle, table).items():
        try:
            kept, said = without_empty(table, empty_texts, view)
            corpus = corpus_for(bundle, names, kept, view)
        except BadInput as error:
            refused.append(unreadable(bundle, list(bundle.branches), table, view, error))
            continue
        targets: dict[str, Targets] = {}
        for name in names:
            try:
                targets[name] = bundle.branches[name].task.targets(corpus, reading)
            except BadInput as error:
                refused.append(_of_answers(name, bundle.branches[name].task, table, error))
        read.append((corpus, targets, [*([said] if said else []), *corpus.findings()]))
    if refused and (fit := [str(bundle.branches[name].path) for _, targets, _ in read for name in targets]):
        raise BadInput(f"{refused[0]}; {table.source} can score {' '.join(fit)}: name the branches to score") from None
    if refused:
        raise refused[0]
    return read


def _of_predictions(name: str, column: str, table: Table, given: bool) -> str:
    """What to say of answers that a branch has given itself: their scores are no measure."""
    before = f"given_{table.headings.get(column, column)}"
    said = f"{table.named(column)} holds predictions, so the scores of {name!r} measure agreement with them"
    such = f", such as {before!r}" if before in table.columns else ""
    way = f"; --column {name}=NAME names the column with the right answers{such}" if given else ""
    return f"{said}{way}."


def _agrees(task: Task, metrics: Mapping[str, Any]) -> bool:
    """Whether answers are what a branch predicts, in every row, for a kind whose predictions in a table have no score beside
    them. Numbers are written with six digits after the point, and batches of other texts change the last digits of a sum.
    """
    if "score" in task.parts:
        return False
    exact = metrics.get("mae") is not None and (metrics["mae"] <= ROUNDED or (metrics["r2"] or 0) > 1 - UNEXPLAINED)
    return exact or metrics.get("accuracy") == 1


def _of_agreement(name: str, column: str, rows: int, table: Table) -> str:
    """What to say of answers that may be predictions, as all of them agree."""
    said = f"{table.named(column)}: the answers of all {rows:,} rows are what {name!r} predicts; if they are its predictions"
    return f"{said}, the scores are no measure, and --column {name}=NAME names the column with the right answers."


def _of_answers(name: str, task: Task, table: Table, error: BadInput) -> BadInput:
    """The error of answers that cannot be read, with the way out."""
    columns = task.columns()
    for column in columns:
        right = table.columns.get(f"given_{column}")
        chosen = right is table.columns.get(column)  # by --column
        if right is not None and not chosen and holds_predictions(column, table.columns):
            way = f"--column {name}=given_{column} names the column with the right answers"
            return BadInput(f"{error}; {table.named(column)} holds predictions: {way}")
    if isinstance(error, UnknownLabel):
        return BadInput(f"{error}; --map GIVEN=TRAINED reads a label of the data as one of the branch")
    if all(column in table.columns for column in columns) or table.lacks_header():
        return error
    missing = [column for column in columns if column not in table.columns]
    tokens, answers = getattr(task.config, "tokens", None), answer_columns_of(task)
    if table.lists_all() and (tokens in missing or len(answers) > 1):
        role = "tokens" if tokens in missing else f"{name}.{missing[0]}"
        what = "the words of the tags" if tokens in missing else f"answers of {name!r}"
        said = f"{table.source}: no column {listed(missing, 10, whole=True)}, expected {what}, as in training, found "
        return BadInput(
            f"{said}{listed(table.listable(), 10, whole=True)}; --column {shlex.quote(role + '=NAME')} names another"
        )
    return BadInput(f"{error}; {answers_example(name, task, table)} names the column with the answers of {name!r}")
