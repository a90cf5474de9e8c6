"""`trunkline label-errors`: rows whose labels are likely wrong, ranked, as a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, guarded, out, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trunkline.training.label_errors import LabelErrors

MOST_CHANGES = 10  # pairs of labels that are shown


@guarded
def label_errors(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG_OR_DATA", help="A YAML config or data, as of fit; or the folder of a run.", show_default=False
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the config, e.g. training.epochs=3.", show_default=False),
    ] = None,
    named: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.csv",
            help="Where to write the rows, the most doubtful first; by default label-errors.csv, if there is no such file yet.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="A branch is trained for each, on the rows of the others.")] = 5,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How often that is done; probabilities are averaged.")] = 1,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="COLUMN", help="With data alone: this column of labels only.", show_default=False),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="COLUMN", help="With data alone: that of the texts.", show_default=False),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Rank the rows of training data by how likely their labels are wrong: confident learning on out-of-fold predictions.

    A branch that has not seen a row doubts its label. The data stay as they are; a CSV file lists all labelled rows.

    [bold]Examples[/]

    \b
    trunkline label-errors reviews.csv --label stars
    trunkline label-errors reviews.yaml training.epochs=4 --out doubtful.csv
    trunkline label-errors runs/emotion-1a2b3c4d
    """
    from trunkline.cli.depths import refuse_source

    tell(f"label-errors {source}: loading libraries")
    from trunkline.training.label_errors import checked_path, config_given, find_label_errors

    output = named or Path("label-errors.csv")
    if named is None and output.exists():
        raise BadInput(f"{output}: found a file that may be replaced only if it is named, expected --out FILE.csv")
    checked_path(output, "--out")
    given = config_given(source, overrides or [], text=text, label=label or None)
    for sentence in given.sentences:
        tell(sentence)
    refuse_source(given.config, output, "--out")
    found = find_label_errors(given.config, folds=folds, seeds=seeds, publish=_Progress(), say=tell)
    found.write(output)
    tasks = list(dict.fromkeys(row["task"] for row in found.rows))
    if not as_json:
        out().print(_table(found, tasks))
    for finding in found.findings:
        tell(f"note: {finding}")
    tell(f"wrote {len(found.rows):,} rows to {output}")
    return {
        "csv": str(output),
        "rows": {task: sum(row["task"] == task for row in found.rows) for task in tasks},
        "suspected": {task: len(found.suspected(task)) for task in tasks},
        "findings": found.findings,
    }


class _Progress:
    """Tells of what is computed before training, and of findings."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, event: Any) -> None:
        from trunkline.events import Finding, StatesProgress

        if isinstance(event, Finding):
            tell(f"note: {event.text}")
        elif isinstance(event, StatesProgress) and not self._told:
            self._told = True
            tell("computing layer states, once for all folds")


def _table(found: LabelErrors, tasks: list[str]) -> RenderableType:
    """Which labels are suspected to stand for which others, of the most frequent ones."""
    from rich.text import Text

    from trunkline.cli import show
    from trunkline.errors import label_name
    from trunkline.tasks.labels import may_name

    made = show.table("task", "given", "suggested", ">suspected rows")
    for task in tasks:
        changes = found.changes(task)
        named = may_name(list({label for given, suggested, _ in changes for label in (given, suggested)}))
        shown = changes[:MOST_CHANGES] if named else []
        for number, (given, suggested, count) in enumerate(shown):
            labels = (Text(label_name(label)) for label in (given, suggested))
            made.add_row(Text("" if number else task, style="bold"), *labels, f"{count:,}")
        if more := sum(count for _, _, count in changes[len(shown) :]):
            made.add_row(Text("" if shown else task, style="bold"), "others", "", f"{more:,}")
    return made
