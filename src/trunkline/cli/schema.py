"""`trunkline schema`: the JSON schema of each kind of config, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import trunkline
from trunkline.cli.common import Debug, Json, guarded, tell, write_stdout
from trunkline.errors import BadInput

FILES = {  # of the package
    "run": "config.schema.json",
    "study": "study.schema.json",
    "sweep": "sweep.schema.json",
    "distillation": "distillation.schema.json",
}
Kind = Literal["run", "study", "sweep", "distillation"]


@guarded
def schema(
    kind: Annotated[
        Kind,
        typer.Argument(metavar="KIND", help="run (of fit), study (of compare), sweep or distillation.", show_default=True),
    ] = "run",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write; stdout by default.", show_default=False),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Print the JSON schema of a kind of config, with which editors complete and check it.

    [bold]Examples[/]

    \b
    trunkline schema -o config.schema.json
    trunkline schema study -o study.schema.json

    Then this as a config's first line, for editors with a YAML language server:

    \b
    # yaml-language-server: $schema=config.schema.json
    """
    shipped = Path(trunkline.__file__).parent / FILES[kind]
    text = shipped.read_text(encoding="utf-8")
    if output is None:
        if not as_json:
            write_stdout(text)
        return json.loads(text)
    from trunkline.outputs import output_file

    if output.is_dir() or not output.parent.is_dir():
        raise BadInput(f"{output}: expected a file to write in a folder that exists")
    with output_file(output) as file:
        file.write(text.encode("utf-8"))
    tell(f"wrote {output}; first line of a config for editors: # yaml-language-server: $schema={output}")
    return {"output": str(output)}
