"""`trunkline fit`: train the tasks of a config, or of a data file whose columns are looked at first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import DataFormat, Debug, Fresh, Json, err, guarded, out, program, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.training.config import RunConfig

CONFIGS = (".yaml", ".yml")

RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Directory of the run; runs/NAME-HASH by default.", show_default=False)
]


@guarded
def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG_OR_DATA", help="A YAML config; or data: a file, a folder or a name.", show_default=False
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the config, e.g. training.epochs=5.", show_default=False),
    ] = None,
    run_dir: RunDir = None,
    fresh: Fresh = False,
    form: DataFormat = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Train the tasks of a config, or of a data file whose text and label columns are found by themselves.

    The same command again continues a run that was stopped, and shows the result of one that is finished.

    [bold]Examples[/]

    \b
    trunkline fit reviews.csv
    trunkline fit examples/emotion.yaml method.dim=64 training.epochs=5
    """
    if Path(source).suffix.lower() in CONFIGS:
        if form is not None:
            raise BadInput(f"{source}: found --format with a config, expected data.format={form} instead")
        from trunkline.training.config import load_config

        config, name = load_config(source, overrides or []), Path(source).stem
    else:
        config, name = guessed_config(source, overrides or [], form)
    summary = train(config, name, run_dir=run_dir, fresh=fresh)
    if not as_json:
        show_run(summary)
    return summary


def guessed_config(source: str, overrides: list[str], form: str | None = None) -> tuple[RunConfig, str]:
    """Look at a data set's columns, tell what each was taken for, and return the config and the run's name."""
    from trunkline.data.guess import guess_columns
    from trunkline.data.sources import read_table
    from trunkline.training.config import override, resolve
    from trunkline.training.guessed import config_for, missing_in, run_name

    if clash := next((text for text in overrides if "=" not in text), None):
        raise BadInput(f"{clash}: found a second source, expected key.sub=value after {source}")
    table = read_table(source, format=form)
    guess = guess_columns(table, missing=missing_in(overrides))
    for sentence in guess.sentences:
        tell(sentence)
    tell(f"To say otherwise: {program()} init {shlex.quote(source)}, edit the config that it writes, and fit that.")
    values = config_for(guess, source, len(table), form)
    return resolve(override(values, overrides), source, overrides=overrides), run_name(source)


def train(config: RunConfig, name: str, *, run_dir: Path | None = None, fresh: bool = False) -> dict[str, Any]:
    """Run a fit with its progress on stderr; return the run's summary."""
    from trunkline.trackers.progress import FitProgress
    from trunkline.training.fit import fit as run

    with FitProgress(err()) as progress:
        return run(config, name=name, run_dir=run_dir, fresh=fresh, progress=False, subscribers=[progress]).summary


def show_scores(summary: dict[str, Any]) -> None:
    """Print a run's scores, and how much each layer counts where its branches weigh several."""
    from trunkline.cli import show

    console = out()
    console.print(show.scores(summary["tasks"]))
    if any(map(show.weighs_layers, summary["tasks"].values())):
        console.print(show.layers_of(summary["tasks"]))


def show_run(summary: dict[str, Any]) -> None:
    """Print a run's scores, layers and cost, and what to do next."""
    from trunkline.cli import show

    show_scores(summary)
    for name, task in summary["tasks"].items():
        if task.get("attention"):
            out().print(show.attention(name, task["attention"]))
    if reports := summary.get("transfer"):
        out().print(show.transfer(reports), "", sep="\n")
    out().print(show.cost(summary))
    typed, run = program(), shlex.quote(summary["run"])
    tell(f'\npredict:  {typed} predict {run} --text "..."')
    if any(split.rpartition("/")[2] == "test" for split in summary["rows"]):
        tell(f"details:  {typed} evaluate {run}")
    tell(f"a branch: {typed} info {shlex.quote(next(iter(summary['tasks'].values()))['branch'])}")
