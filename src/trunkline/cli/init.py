"""`trunkline init`: write the config that `trunkline fit FILE` would use, commented, to be edited."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import DataFormat, Debug, Json, guarded, program, tell
from trunkline.errors import BadInput


@guarded
def init(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Data: a file, a folder or a name.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="CONFIG", help="Where to write; FILE's name with .yaml by default.")
    ] = None,
    form: DataFormat = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the config if it exists.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Look at a data file and write a commented config for it, to edit and to fit.

    [bold]Examples[/]

    \b
    trunkline init reviews.csv
    trunkline init reviews.csv -o stars.yaml
    """
    from trunkline.data.guess import guess_columns
    from trunkline.data.sources import read_table
    from trunkline.outputs import output_file
    from trunkline.training.config import resolve
    from trunkline.training.guessed import commented, config_for, relative, run_name

    config = output or Path(run_name(source) + ".yaml")
    if config.exists() and not force:
        raise BadInput(f"{config}: exists already; give another file with -o, or --force to overwrite it")
    if config.is_dir() or not config.parent.is_dir():
        raise BadInput(f"{config}: expected a file to write in a folder that exists")
    table = read_table(source, format=form)
    guess = guess_columns(table)
    train = relative(source, config.parent)
    resolve(config_for(guess, train, len(table), form), str(config), config.parent)
    with output_file(config) as file:
        file.write(commented(guess, train, len(table), str(config), form).encode("utf-8"))
    if not as_json:
        for sentence in (*table.sourced_findings(), *guess.sentences, *filter(None, [guess.together])):
            typer.echo(sentence)
    tell(f"wrote {config}; edit it, then: {program()} fit {shlex.quote(str(config))}")
    return {
        "config": str(config),
        "findings": list(table.findings),
        "columns": {d.column: {"role": d.role, "why": d.why} for d in guess.decisions},
    }
