"""Which columns of an unknown file are the text and which are tasks, with a sentence for each decision.

Rules of thumb, all of them: a name such as `text` or `id` counts, then types, how many different values there are, how
long they are and how often they recur. Every column gets one decision, so a user sees what to say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from trunkline.data.guess.columns import one_column, ticks
from trunkline.data.guess.decision import Decision, Guess, columns_of
from trunkline.data.guess.looks import Look
from trunkline.data.guess.named import named_column
from trunkline.data.guess.names import TEXT_NAMES, task_name
from trunkline.data.guess.tags import Tags, find_tags, words_of
from trunkline.data.guess.texts import find_texts, why_no_text
from trunkline.data.table import NO_HEADER, Table
from trunkline.data.values.predictions import earlier_of, given_of, holds_predictions, is_score, labelled_columns
from trunkline.errors import BadInput, listed, shown

__all__ = ["Decision", "Guess", "guess_columns"]

LONGEST_ID = 20  # characters that ids of sentences have on average, at most
MOST_REASONS = 6  # columns that a message gives the reason of


def guess_columns(
    table: Table, text: str | None = None, missing: Sequence[str] | None = None, named: Sequence[str] = ()
) -> Guess:
    """Decide about every column of a table.

    Args:
        table: the whole of a source.
        text: the column of the texts, where that is known.
        missing: the strings that stand for a missing value; None for the usual ones, in columns of numbers.
        named: the columns of labels, where these are known: each is a task whatever it looks like, and no other is one.

    Raises:
        BadInput: no column looks like a text, or none like a task: then a config has to say it. It gives the reasons. Or a
            named column has values that are neither labels nor numbers.
    """
    if text is None and not named and table.lacks_header():
        raise BadInput(
            f"{table.source}: {NO_HEADER}; if this is the header, name the column of the texts, as --text does in fit"
        )
    listable = frozenset(table.listable())

    def called(column: str | None) -> str:
        return shown(column, column in listable)

    looks = {name: Look(table, name, missing) for name in table.columns}
    free = {name: look for name, look in looks.items() if name not in named}
    text, pair = find_texts(free) if text is None else (text, None)
    tags, other = find_tags(looks), None
    if text is not None and pair is None and tags.tokens is not None and text.lower() not in TEXT_NAMES:
        text, other = (text, None) if words_of(looks[tags.tokens], looks[text]) else (None, text)  # such as ids of sentences
    if text is None and tags.tokens is None:
        reasons = {name: tags.trouble.get(name) or why_no_text(look) for name, look in free.items()}
        raise _none(table, "looks like texts", "one, or data.text (text= in Python)", reasons)
    ticked = ticks(looks)
    if sum(name in named for name in ticked) > 1:
        ticked = [name for name in ticked if name in named]
    predicted = _predicted(table, called)
    exact = {name for name in looks if task_name(name, ()) == name}  # no other column gets the name of one of these
    made: dict[str, Decision] = {}
    tasks: dict[str, dict[str, Any]] = {}
    for name, look in looks.items():
        task: dict[str, Any] | None = None
        if name == text:
            made[name] = Decision(name, "text", f"{look.describe_text()}{look.missing}")
        elif name == pair:
            made[name] = Decision(
                name, "text_pair", f"its name pairs with {called(text)}, {look.describe_text()}{look.missing}"
            )
        elif name == tags.tokens:
            made[name] = Decision(name, "tokens", f"lists of strings, as long as those of {called(tags.tags)} in every row")
        elif name == tags.tags or name in tags.more:
            made[name] = Decision(
                name, "token", f"lists of tags, one for each string of {called(tags.tokens)}{_types(tags, look)}{look.missing}"
            )
            task = {"kind": "token", "tokens": tags.tokens, "tags": name}
        elif name == other:
            ids = "it looks like the ids of sentences, as the words" if look.length < LONGEST_ID else "the words"
            made[name] = Decision(name, "unused", f"{ids} of {called(tags.tokens)} are not in it")
        elif name in tags.beside:
            made[name] = Decision(name, "unused", f"a string for each of {called(tags.tokens)}, which are no tags")
        elif look.spans and tags.tags is not None:
            both = f"{called(tags.tags)} and {called(tags.tokens)}"
            made[name] = Decision(name, "unused", f"{both} already mark words; a token task with it as `spans` uses it instead")
        elif name in named and name not in ticked:
            made[name], task = named_column(look, text and called(text))
        elif is_score(name, looks):
            made[name] = Decision(
                name, "unused", f"it holds the scores of the predictions in {called(name.rpartition('.')[0])}"
            )
        elif name in predicted:
            made[name] = Decision(name, "unused", predicted[name])
        elif name in tags.trouble:
            made[name] = Decision(name, "unused", tags.trouble[name])
        elif look.word_lists and text is not None and words_of(look, looks[text]):
            made[name] = Decision(name, "unused", f"its lists hold the words of {called(text)}")
        elif name in ticked:
            made[name] = Decision(name, "multilabel", f"1 or blank, as are {len(ticked):,} columns: a label each")
            task = {"kind": "multilabel", "labels": ticked} if name == ticked[0] else None
        else:
            made[name], task = one_column(look, text and called(text))
        if task is not None and holds_predictions(name, table.columns):
            made[name] = replace(made[name], why=f"{made[name].why}; it holds predictions")
        if task is not None:
            own = task_name("labels", tasks) if name in ticked else task_name(name, [*tasks, *(exact - {name})])
            tasks[own] = task
            made[name] = replace(made[name], task=own if name not in ticked else None)
    if named:
        tasks = {task: section for task, section in tasks.items() if not columns_of(section).isdisjoint(named)}
        kept = {text, pair, tags.tokens if any("tokens" in section for section in tasks.values()) else None, *named}
        made = {name: decision for name, decision in made.items() if name in kept}
    if not tasks:
        unused = {name: decision.why for name, decision in made.items() if decision.role == "unused"}
        raise _none(table, "looks like a task", "one, or a config", unused)
    decisions = [
        replace(made[name], listable=name in listable, amounts=not {0.0, 1.0}.issuperset(looks[name].numbers or ()))
        for name in table.columns
        if name in made
    ]
    together, joined = _together(looks, tasks)
    return Guess(text, pair, tasks, decisions, together, joined)


def _types(tags: Tags, look: Look) -> str:
    """How many types of span there are in how many rows; nothing for tags of another kind."""
    types = tags.types.get(look.name, 0)
    return f"; {types:,} type{'s' * (types != 1)} of span in {look.n:,} rows" if types else ""


def _together(looks: Mapping[str, Look], tasks: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, dict[str, Any]]]:
    """What to say of several columns of 0 and 1, each a task of its own: that they may be labels of one task; and that task."""
    own = {name: str(task["label"]) for name, task in tasks.items() if task["kind"] == "sequence"}
    found = [name for name in own.values() if looks[name].truths or set(looks[name].numbers or ()) == {0.0, 1.0}]
    if len(found) < 2:
        return "", {}
    rows = len(looks[found[0]].table)
    blank = rows - len(set.intersection(*(set(looks[name].rows) for name in found)))
    section: dict[str, Any] = {"kind": "multilabel", "labels": found} | ({"blanks": 0} if blank else {})
    joined = {task_name("labels", [task for task, column in own.items() if column not in found]): section}
    written = yaml.safe_dump(joined, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9).strip()
    said = f"{len(found)} columns hold 0 and 1; to make them the labels of one task, use the one that init writes, "
    said += f"commented out, or give tasks={written}"
    if blank:
        said += f" (`blanks: 0` reads a blank as 0; without it {blank:,} of the {rows:,} rows, which have one, are skipped)"
    return said, joined


def _predicted(table: Table, called: Callable[[str | None], str]) -> dict[str, str]:
    """The columns that hold predictions while another holds the labels from before, and why they are not used."""
    found = {}
    for name in table.columns:
        if given := given_of(name, table.columns):
            found[name] = f"it holds predictions, and {called(given)} the labels that were there before"
        elif later := earlier_of(name, table.columns):
            found[name] = f"it holds earlier predictions of {called(later)}"
        elif own := labelled_columns(name, table.columns):
            more = f" and {len(own) - MOST_REASONS:,} more columns" if len(own) > MOST_REASONS else ""
            found[name] = f"it holds predictions of the labels that {', '.join(map(called, own[:MOST_REASONS]))}{more} have"
    return found


def _none(table: Table, what: str, expected: str, reasons: dict[str, str]) -> BadInput:
    """The error for a table in which nothing is a text or a task, with what is known of why."""
    from trunkline.data.sentences import lacks_sentences  # here, as formats read names of columns, too

    names = table.listable()
    alike: dict[str, list[str]] = {}
    for name, why in reasons.items():
        if name in names:
            alike.setdefault(why, []).append(name)
    given = [f"{listed(own, 8, whole=True)}: {why}" for why, own in alike.items()][:MOST_REASONS]
    among = listed(names, 10, whole=True) if len(names) == len(table.columns) else f"its {len(table.columns)} columns"
    said = f"found no column that {what} among {among}, expected {expected}"
    if lacks_sentences(table):
        said += "; its rows are words with a tag each, and nothing shows where a sentence begins: add a column such as "
        said += "'sentence_id' with a value for each sentence, or an empty row after each sentence"
    read = f"; {' '.join(table.findings[:2]).rstrip('.')}" if table.findings else ""  # it may be another sheet that was meant
    return BadInput(f"{table.source}: {said}" + (f" ({'; '.join(given)})" if given else "") + read)
