"""`trunkline evaluate`: score branches on a data set, by default on the test split that their own run set apart."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import (
    BackendName,
    DataColumns,
    DataFormat,
    DataLabels,
    Debug,
    Empty,
    Json,
    MinConfidence,
    PrecisionChange,
    TrunkDtype,
    TrunkName,
    below,
    err,
    guarded,
    out,
    tell,
)  # fmt: skip
from trunkline.errors import BadInput, listed


class Unseen(StrEnum):
    """What becomes of labels that a branch was not trained on."""

    as_errors = "count"  # as in data.unseen_labels
    refuse = "refuse"


@guarded
def evaluate(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_BRANCH... [DATA]", help="Runs or branches; then data, if not their test split.", show_default=False
        ),
    ],
    column: DataColumns = None,
    label: DataLabels = None,
    unseen: Annotated[
        Unseen, typer.Option("--unseen", help="Labels that a branch was not trained on: count as errors, or refuse.")
    ] = Unseen.as_errors,
    empty: Annotated[Empty, typer.Option("--empty", help="Rows without a text: skip, or refuse.")] = Empty.skip,
    min_confidence: MinConfidence = None,
    trunk: TrunkName = None,
    backend: BackendName = None,
    dtype: TrunkDtype = None,
    allow_precision_change: PrecisionChange = False,
    form: DataFormat = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Score branches on a data set, label by label.

    A run stands for all of its branches. Without DATA, each is scored on the test split of its own run.

    [bold]Examples[/]

    \b
    trunkline evaluate runs/reviews-1a2b3c4d
    trunkline evaluate runs/reviews-1a2b3c4d/branches/stars newer.csv
    trunkline evaluate runs/a b.csv --column text=review --column stars=grade
    trunkline evaluate runs/a b.csv --map poor=bad --map fine=good
    """
    from trunkline.model.columns import column_roles
    from trunkline.model.decision import checked_confidence
    from trunkline.model.folders import by_run
    from trunkline.trackers.bars import counting
    from trunkline.training.scoring import score_branches

    branches, data = divide(places)
    columns = column_roles(column or ())
    checked_confidence(min_confidence, where="--min-confidence")
    if data is None and (columns or label):
        raise BadInput("found --column or --map and no data, expected the data that they are of as the last argument")
    findings: list[str] = []

    def say(sentence: str) -> None:
        findings.append(sentence)
        tell(sentence)

    results = score_branches(
        branches,
        data,
        format=form,
        trunk=trunk,
        backend=backend,
        dtype=dtype,
        allow_precision_change=allow_precision_change,
        columns=columns,
        labels=label or (),
        unseen_labels=unseen.value,
        empty_texts=empty.value,
        min_confidence=min_confidence,
        say=say,
        count=lambda texts: counting(err(), "scoring", texts),
        loading=lambda: err().status("loading the trunk"),
        named=below,
    )
    if not as_json:
        runs = " and that of ".join(map(below, by_run(branches)))
        _show(results, f"Scores on {data or f'the test split of {runs}'}")
    return {"tasks": results, "findings": findings}


def divide(places: list[str]) -> tuple[list[Path], str | None]:
    """Tell branches and runs from the data that may come last."""
    from trunkline.model.folders import is_branch_or_run, no_branch

    flags = [is_branch_or_run(Path(place)) for place in places]
    if all(flags):
        return [Path(place) for place in places], None
    if (first := flags.index(False)) == 0 or first < len(places) - 1:
        raise no_branch(places[first])
    return [Path(place) for place in places[:-1]], places[-1]


def _show(results: dict[str, Any], heading: str) -> None:
    """Print the metrics of each branch, and its table by label."""
    from rich.text import Text

    from trunkline.cli import show

    console = out()
    console.print(Text(heading, style="bold"), soft_wrap=True)
    tasks = {name: {**found, "score": found["metrics"]} for name, found in results.items()}
    for task in tasks.values():
        if least := task.get("baseline"):
            task["baseline"] = {"rule": least["rule"], "score": least["metrics"]}
    console.print(show.scores(tasks, ("score",), "branch"))
    for name, found in results.items():
        if by_label := show.by_label(found["metrics"], f"{name} by label"):
            console.print(by_label)
    for sentence in scored_on(results):
        tell(sentence)


def scored_on(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """On how many rows of what the branches were scored, a sentence for those with the same; named where there are others."""
    branches: dict[tuple[str, int], list[str]] = {}
    for name, found in results.items():
        branches.setdefault((found["data"], found["rows"]), []).append(name)
    return [
        (f"{listed(names, 8, quoted=False, whole=True)}: " if len(branches) > 1 else "")
        + f"scored on {rows:,} rows of {source}"
        for (source, rows), names in branches.items()
    ]
