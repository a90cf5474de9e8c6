"""`trunkline fit`: train the tasks of a config, or of a data file whose columns are looked at first."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from trunkline.cli.common import DataFormat, Debug, Fresh, Json, err, guarded, out, program, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trunkline.training.config import RunConfig
    from trunkline.training.given import Given

CONFIGS = (".yaml", ".yml")

RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Directory of the run; runs/NAME-HASH by default.", show_default=False)
]


class FitCommand(TyperCommand):
    """Answers an unknown option such as `--epochs 3` by the key of the config that it stands for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # click's NoSuchOption; typer has click in different modules
            if type(error).__name__ == "NoSuchOption":
                error.key = _hint(getattr(error, "option_name", ""), given)  # type: ignore[attr-defined]
            raise


def _hint(option: str, given: list[str]) -> str | None:
    """What to type instead of an option that was given in this command line."""
    from trunkline.training.hints import option_hint

    for word, following in zip(given, [*given[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option:
            return option_hint(option, value if equals else None if following[:1] in ("", "-") else following)
    return None


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
    validation: Annotated[
        str | None,
        typer.Option("--validation", metavar="DATA_OR_SHARE", help="Validation data; short for data.validation=DATA."),
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", metavar="DATA_OR_SHARE", help="Test data; short for data.test=DATA.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="COLUMN", help="Train on this column of labels only; repeatable.", show_default=False),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="COLUMN", help="The column of the texts.", show_default=False)
    ] = None,
    depths: Annotated[
        Path | None,
        typer.Option(
            "--depths",
            metavar="FILE.csv",
            help="Train for every depth of the trunk; write scores and costs of passes to FILE.csv.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", help="With --depths: draw them, too: .png, .svg or .pdf.", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="With --depths: seeds for each, from training.seed on.", show_default=False),
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
    trunkline fit reviews.csv --label stars
    trunkline fit train.csv --validation dev.csv --test test.csv
    trunkline fit examples/emotion.yaml method.dim=64 training.epochs=5
    trunkline fit examples/emotion.yaml --depths depths.csv --picture depths.png
    """
    from trunkline.cli.depths import check_options, fit_every_depth

    check_options(depths, picture, seeds)
    tell(f"fit {source}: loading libraries")  # which takes seconds, on a busy machine half a minute
    from trunkline.training.hints import refuse_sources

    told: tuple[str, ...] = ()
    overrides = [*(overrides or []), *_split_overrides(validation=validation, test=test)]
    refuse_sources(source, overrides)
    if Path(source).suffix.lower() in CONFIGS:
        _refuse_with_config(source, form, text, label)
        from trunkline.training.config import load_config

        config, name = load_config(source, overrides), Path(source).stem
    else:
        given = guessed(source, overrides, form, text, label)
        config, name, told = given.config, given.name or "run", given.sentences
    if depths is not None:
        more: dict[str, Any] = {"run_dir": run_dir, "fresh": fresh, "told": told, "as_json": as_json}
        return fit_every_depth(config, name, depths, picture, seeds or 1, **more)
    summary = train(config, name, run_dir=run_dir, fresh=fresh, told=told)
    if not as_json:
        show_run(summary)
    return summary


def _refuse_with_config(source: str, form: str | None, text: str | None, label: list[str] | None) -> None:
    """Raise BadInput for an option that only a data file takes."""
    if form is not None:
        raise BadInput(f"{source}: found --format with a config, expected data.format={form} instead")
    if text is not None:
        raise BadInput(f"{source}: found --text with a config, expected {shlex.quote(f'data.text={text}')} instead")
    if label:
        raise BadInput(f"{source}: found --label with a config, expected the tasks that it defines; delete others there")


def _split_overrides(**splits: str | None) -> list[str]:
    """The options that name data as overrides of the config; quoted where YAML would read a name as something else."""
    import yaml

    def quoted(value: str) -> str:
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = None
        return value if read == value or isinstance(read, float) else json.dumps(value)

    return [f"data.{key}={quoted(value)}" for key, value in splits.items() if value is not None]


def guessed(
    source: str, overrides: list[str], form: str | None = None, text: str | None = None, label: list[str] | None = None
) -> Given:
    """Look at a data set's columns, tell how it was read and what each was taken for, and return the config."""
    from trunkline.training.given import config_of

    given = config_of(source, overrides, text=text, label=label or None, form=form)
    for sentence in given.sentences:
        tell(sentence)
    tell(
        f"To change this: --text and --label name columns; or {program()} init {shlex.quote(source)}, edit the config that it "
        "writes, and fit that."
    )
    return given


def train(
    config: RunConfig, name: str, *, run_dir: Path | None = None, fresh: bool = False, told: Sequence[str] = ()
) -> dict[str, Any]:
    """Run a fit with its progress on stderr, without the findings that were told already; return the run's summary."""
    from trunkline.trackers.progress import FitProgress
    from trunkline.training.fit import fit as run

    with FitProgress(err(), told) as progress:
        return run(config, name=name, run_dir=run_dir, fresh=fresh, progress=False, subscribers=[progress]).summary


def show_scores(summary: dict[str, Any]) -> None:
    """Print a run's scores, and how much each layer counts where its branches weigh several."""
    from trunkline.cli import show
    from trunkline.training.result import weighs_layers

    console = out()
    console.print(show.scores(summary["tasks"]))
    if any(map(weighs_layers, summary["tasks"].values())):
        console.print(show.layers_of(summary["tasks"]))
    if any(task.get("by_layer") for task in summary["tasks"].values()):
        console.print(show.by_layer(summary["tasks"]))


def show_run(summary: dict[str, Any]) -> None:
    """Print a run's scores, layers and cost, and what to do next."""
    from trunkline.cli import show
    from trunkline.training.result import reads_audio, reads_pairs, trained_in_memory

    show_scores(summary)
    for name, task in summary["tasks"].items():
        if task.get("attention"):
            out().print(show.attention(name, task["attention"]))
    if auto := summary.get("auto"):
        from trunkline.cli import chosen

        out().print(chosen.tables(auto))
    if reports := summary.get("transfer"):
        out().print(show.transfer(reports), "", sep="\n")
    out().print(show.cost(summary))
    typed, run = program(), shlex.quote(summary["run"])
    pairs = any(reads_pairs(Path(task["branch"])) for task in summary["tasks"].values())  # a typed text has no second one
    clips = any(reads_audio(Path(task["branch"])) for task in summary["tasks"].values())
    given = "-i FILE" if pairs else "--text clip.wav" if clips else '--text "..."'
    tell(f"\npredict:  {typed} predict {run} {given}")
    if any(split.rpartition("/")[2] == "test" for split in summary["rows"]):
        tell(f"details:  {typed} evaluate {run}{' FILE' if trained_in_memory(Path(summary['run'])) else ''}")
    tell(f"a branch: {typed} info {shlex.quote(next(iter(summary['tasks'].values()))['branch'])}")
