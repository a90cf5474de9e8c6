"""Which columns of a table the branches of a bundle read, and the texts that these are to them."""

from __future__ import annotations

from trunkline.data.corpus import Corpus, View, build_corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput, listed
from trunkline.model.bundle import Bundle
from trunkline.model.columns import text_example


def unreadable(bundle: Bundle, names: list[str], table: Table, view: View, error: BadInput) -> BadInput:
    """The error of a table that branches cannot read, with the way out, and which branch it is of several."""
    wayout, said = [], str(error)
    if view.text is not None and view.text not in table.columns and not table.lacks_header():
        if table.lists_all():  # else the error says why it does not
            among = listed(table.listable(), 10, whole=True)
            said = f"{table.source}: no column {view.text!r}, which holds the texts in training, found {among}"
        wayout.append(f"{text_example(table)} names the column of the texts")
    others = [name for other, some in views(bundle, table).items() if other != view and _has(table, other) for name in some]
    if len(bundle.branches) > len(names) and others:
        wayout.append(f"{_place(bundle, names)} cannot read it, {_place(bundle, others)} can")
    return BadInput("; ".join([said, *wayout]))


def _has(table: Table, view: View) -> bool:
    """Whether a table has the columns of a view."""
    return {view.tokens if view.text is None else view.text, view.text_pair} - {None} <= table.columns.keys()


def _place(bundle: Bundle, names: list[str]) -> str:
    """Branches as a message names them: by their folders, where they have one."""
    return " ".join(str(bundle.branches[name].path or name) for name in names)


def views(bundle: Bundle, table: Table) -> dict[View, list[str]]:
    """The columns that each branch reads of `table`, and the branches that read the same ones and so share a pass.

    A branch that does not mind how a text is divided into words takes the words of one that does.
    """
    wanted = {name: getattr(branch.task.config, "tokens", None) for name, branch in bundle.branches.items()}
    given = {tokens for tokens in wanted.values() if tokens in table.columns}
    found: dict[View, list[str]] = {}
    for name, branch in bundle.branches.items():
        tokens = next(iter(given)) if len(given) == 1 else wanted[name] if wanted[name] in given else None
        text = branch.text if branch.text in table.columns or not tokens else None
        found.setdefault(View(text, branch.text_pair, tokens, bundle.trunk.reads == "audio"), []).append(name)
    return found


def corpus_for(bundle: Bundle, names: list[str], table: Table, view: View, keep_text: bool = False) -> Corpus:
    """See a table as the branches `names` do."""
    text, pair, tokens, audio = view
    if pair is not None and pair not in table.columns:
        raise BadInput(
            f"{table.source}: no column {pair!r} found, expected one with second texts, as branch {names[0]!r} reads pairs; "
            "--column text_pair=NAME names another"
        )
    units = any(bundle.branches[name].task.answers.units for name in names)
    return build_corpus(table, text=text, text_pair=pair, tokens=tokens, units=units, keep_text=keep_text, audio=audio)
