"""`trunkline explain`: what a branch has learned, as a page with pictures and their numbers as CSV."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import DataColumns, DataFormat, DataLabels, Debug, Json, TrunkName, below, err, guarded, out, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.events import Event


@guarded
def explain(
    branch: Annotated[
        Path,
        typer.Argument(metavar="BRANCH|RUN", help="A branch; a run stands for all of its branches.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where to write the page; new, empty, or written by this command before.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="DATA", help="Labelled rows; by default the test split of the branch's run.", show_default=False
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="TEXT",
            help="A text to show token by token, repeatable; by default some of the rows are drawn.",
            show_default=False,
        ),
    ] = None,
    single_layers: Annotated[
        bool,
        typer.Option("--single-layers", help="Train a branch for every layer alone on the run's data, and compare."),
    ] = False,
    label_errors: Annotated[
        bool,
        typer.Option("--label-errors", help="Rank the run's training rows by how likely their labels are wrong."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn at random.")] = 0,
    column: DataColumns = None,
    label: DataLabels = None,
    form: DataFormat = None,
    trunk: TrunkName = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Show what a branch has learned: layers, confused labels, calibration and texts, as a page and CSV files.

    [bold]Examples[/]

    \b
    trunkline explain runs/reviews-1a2b3c4d/branches/stars --out page
    trunkline explain runs/reviews-1a2b3c4d --out page --single-layers
    trunkline explain runs/a --data newer.csv --text "a fine film" --out page
    """
    from trunkline.model.columns import column_roles

    columns = column_roles(column or ())
    if data is None and (columns or label or form):
        given = "--column" if columns else "--map" if label else "--format"
        raise BadInput(f"{given}: found without --data, expected them together")
    from trunkline.explain import explain as written
    from trunkline.trackers.bars import counting

    with ExitStack() as stack:
        found = written(
            branch,
            output,
            data=data,
            texts=text,
            single_layers=single_layers,
            label_errors=label_errors,
            seed=seed,
            format=form,
            columns=columns,
            labels=label or (),
            trunk=trunk,
            say=tell,
            count=lambda texts: counting(err(), "reading", texts),
            loading=lambda: err().status("loading the trunk"),
            subscribers=[_Training(stack)],
        )
    page = below(found.page)
    if not as_json:
        out().print(page, markup=False, soft_wrap=True)
        tell(f"wrote {len(found.files):,} files; open {page} in a browser")
    return {
        "page": page,
        "branches": {name: {**one, "page": below(Path(one["page"]))} for name, one in found.branches.items()},
        "files": [below(file) for file in found.files],
        "findings": found.findings,
    }


class _Training:
    """Shows how far a training is, from its first event on, without what is said of a run and its tasks."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.progress: Any = None

    def __call__(self, event: Event) -> None:
        from trunkline.events import BatchEnded, Preparing, StatesProgress
        from trunkline.trackers.progress import FitProgress

        if isinstance(event, BatchEnded | Preparing | StatesProgress):
            if self.progress is None:
                self.progress = self.stack.enter_context(FitProgress(err()))
            self.progress(event)
