"""`trunkline compare`: train all methods of a study on one data set, and show which is better, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, err, guarded, out, tell
from trunkline.cli.on_ray import Engine, EngineName, RayOptions, resources_of, training_elsewhere
from trunkline.terminal import leads

if TYPE_CHECKING:
    from trunkline.events import Event, Subscriber


@guarded
def compare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG_OR_DATA", help="A YAML config of a study; or data: a file or a name.", show_default=False
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the config, e.g. study.seeds=1.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the study; studies/NAME by default.", show_default=False),
    ] = None,
    engine: Engine = EngineName.local,
    ray: RayOptions = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, with an estimate of time, memory and disk.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Compare methods on one data set: same splits, each with its own search on validation, repeated with several seeds.

    The same command again resumes a study that was stopped; several at once share the work.

    [bold]Examples[/]

    \b
    trunkline compare examples/studies/snips_quick.yaml
    trunkline compare study.yaml study.seeds=1 --dry-run
    trunkline compare reviews.csv
    """
    resources = resources_of(engine, ray)
    tell(f"compare {source}: loading libraries")
    from trunkline.studies.compare import run
    from trunkline.studies.estimates.forecasting import rehearse
    from trunkline.studies.given import study_given
    from trunkline.studies.study import Study
    from trunkline.training.hints import refuse_sources

    refuse_sources(source, overrides or [])
    given = study_given(source, overrides or [])
    study = Study(given.plan, folder or Path("studies") / given.name)
    if dry_run:
        for sentence in given.sentences:
            tell(sentence)
        with _preparing() as publish:
            planned = rehearse(study, publish)
        if not as_json:
            _show_plan(planned)
        return planned
    with training_elsewhere(resources) as elsewhere:
        found = run(study, err() if leads() else None, given.sentences, elsewhere=elsewhere)
    if not as_json:
        _show(found.summary, study.path)
    return found.summary


@contextmanager
def _preparing() -> Iterator[Subscriber]:
    """A subscriber that says what is being prepared: as a bar on a terminal, as lines elsewhere."""
    from trunkline.events import Preparing
    from trunkline.trackers.bars import RunBar, progress_bars

    with progress_bars(err()) as bars:
        bar = RunBar(bars)

        def shown(event: Event) -> None:
            bar(event)
            if bars.disable and isinstance(event, Preparing):
                tell(event.what)

        yield shown


def _show(summary: dict[str, Any], path: Path) -> None:
    """Print a table for each task, and below them what failed and what is to be noticed."""
    from trunkline.cli.show_study import best_runs, tables
    from trunkline.studies.estimates.kept import sentence

    console = out()
    for part in tables(summary):
        console.print(part)
    for finding in summary["findings"]:
        tell(f"note: {finding}")
    if summary.get("estimate"):
        tell(sentence(summary["estimate"]))
    for name, (method, run) in best_runs(summary).items():
        tell(f"best on validation for {name}: {method}, {path / run}")
    what = "trains what is added to the config" if summary["finished"] else "resumes it"
    tell(f"the study is in {path}; the same command {what}")


def _show_plan(planned: dict[str, Any]) -> None:
    from trunkline.cli.show_study import plan
    from trunkline.studies.estimates.floors import floors_not_estimated
    from trunkline.studies.estimates.forecasting import not_estimated

    console = out()
    for part in plan(planned):
        console.print(part)
    failed = {not_estimated(unit["runs"], unit["not_estimated"]): None for unit in planned["units"] if unit["not_estimated"]}
    if why := planned["floors"]["not_estimated"]:
        failed[floors_not_estimated(why)] = None
    for finding in [*planned["findings"], *failed]:
        tell(f"note: {finding}")
    tell("nothing was trained; without --dry-run the same command does")
