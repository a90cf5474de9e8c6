"""`trunkline evaluate`: score branches on a data set, by default on the test split that their own run set apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import DataFormat, Debug, Json, below, err, guarded, out, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.data.table import Table
    from trunkline.model.bundle import Bundle
    from trunkline.trunk import Trunk

TrunkName = Annotated[
    str | None, typer.Option("--trunk", metavar="NAME", help="Where the branches' trunk is found, if not where it was.")
]


@guarded
def evaluate(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_BRANCH... [DATA]", help="Runs or branches; then data, if not their test split.", show_default=False
        ),
    ],
    trunk: TrunkName = None,
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
    """
    from trunkline.model.folders import branch_folders, by_run, task_of

    branches, data = divide(places)
    results: dict[str, Any] = {}
    heading = data
    if data is not None:
        from trunkline.data.sources import read_table

        table = read_table(data, format=form)
        results = _score(_open(branches, trunk), table)
    else:
        from trunkline.training.own_test import own_test_splits

        loaded: Trunk | str | None = trunk
        runs = by_run(branches)
        heading = f"the test split of {' and that of '.join(map(below, runs))}"
        for run, members in runs.items():
            splits = own_test_splits(run, [task_of(folder) for member in members for folder in branch_folders(member)])
            bundle = _open(members, loaded)
            loaded = loaded or bundle.trunk
            prefix = f"{run}/" if len(runs) > 1 else ""
            found: dict[str, Any] = {}
            for tasks, test in splits:
                own = bundle.only([name for name, branch in bundle.branches.items() if branch.task.name in tasks])
                if test is None:
                    for name in tasks:
                        tell(f"{name} is not scored: the config sets no test split apart for it")
                else:
                    found |= _score(own, test)
            results |= {f"{prefix}{name}": found[name] for name in bundle.branches if name in found}
    if not as_json:
        _show(results, f"Scores on {heading}")
    return {"tasks": results}


def divide(places: list[str]) -> tuple[list[Path], str | None]:
    """Tell branches and runs from the data that may come last."""
    from trunkline.model.folders import is_branch_or_run

    flags = [is_branch_or_run(Path(place)) for place in places]
    if all(flags):
        return [Path(place) for place in places], None
    first = flags.index(False)
    if first == 0 or first < len(places) - 1:
        raise BadInput(f"{places[first]}: not a run or a branch; expected a directory that `trunkline fit` has written")
    return [Path(place) for place in places[:-1]], places[-1]


def _score(bundle: Bundle, table: Table) -> dict[str, Any]:
    from trunkline.model.tables import score_table
    from trunkline.trackers.progress import counting

    return score_table(bundle, table, tell, lambda texts: counting(err(), "scoring", texts))


def _open(paths: list[Path], trunk: Trunk | str | None) -> Bundle:
    from trunkline.model.bundle import Bundle

    with err().status("loading the trunk"):
        return Bundle.open(paths, trunk=trunk)


def _show(results: dict[str, Any], heading: str) -> None:
    """Print the metrics of each branch, and its table by label."""
    from rich.text import Text

    from trunkline.cli import show

    console = out()
    console.print(Text(heading, style="bold"), soft_wrap=True)
    made = show.table("branch", "metric", ">score")
    for name, found in results.items():
        shown = show.headline(found["metrics"], found["monitor"])
        for row, (metric, value) in enumerate(shown.items()):
            made.add_row(name if row == 0 else "", metric, show.number(value), end_section=row == len(shown) - 1)
    console.print(made)
    for name, found in results.items():
        if by_label := show.by_label(found["metrics"], f"{name} by label"):
            console.print(by_label)
    for source, rows in {(found["data"], found["rows"]): None for found in results.values()}:
        tell(f"scored on {rows:,} rows of {source}")
