"""The application: every command under its name."""

from __future__ import annotations

from typing import Annotated

import typer

import trunkline
from trunkline.cli.compare import compare
from trunkline.cli.demo import demo
from trunkline.cli.distill import distill
from trunkline.cli.ensemble import ensemble
from trunkline.cli.evaluate import evaluate
from trunkline.cli.explain import explain
from trunkline.cli.export import export
from trunkline.cli.fit import FitCommand, fit
from trunkline.cli.import_ import import_
from trunkline.cli.info import info
from trunkline.cli.init import init
from trunkline.cli.label_errors import label_errors
from trunkline.cli.predict import predict
from trunkline.cli.relabel import relabel
from trunkline.cli.report import report
from trunkline.cli.schema import schema
from trunkline.cli.serve import serve
from trunkline.cli.states import app as states
from trunkline.cli.sweep import sweep
from trunkline.cli.usage import CommandLine

OTHER_NAMES = {
    "train": "fit",
    "eval": "evaluate",
    "test": "evaluate",
    "score": "evaluate",
    "infer": "predict",
    "show": "info",
    "search": "sweep",
    "tune": "sweep",
}


class Commands(CommandLine):
    """All commands."""

    other_names = OTHER_NAMES


app = typer.Typer(
    name="trunkline",
    help="One frozen transformer, every task: train many text tasks as side branches, predict all of them in one pass.",
    epilog="Start with: trunkline demo, or trunkline fit YOUR_FILE.csv",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(trunkline.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


app.command("demo")(demo)
app.command("fit", cls=FitCommand)(fit)
app.command("compare")(compare)
app.command("init")(init)
app.command("distill")(distill)
app.command("evaluate")(evaluate)
app.command("predict")(predict)
app.command("serve")(serve)
app.command("info")(info)
app.command("explain")(explain)
app.command("report")(report)
app.command("export")(export)
app.command("import")(import_)
app.command("ensemble")(ensemble)
app.command("relabel")(relabel)
app.command("label-errors")(label_errors)
app.command("sweep")(sweep)
app.command("schema")(schema)
app.add_typer(states, name="states")


def main() -> None:
    """Run the command line; the entry point `trunkline`."""
    app()
