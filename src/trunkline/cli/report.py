"""`trunkline report`: what a study has found, as a page, Markdown, CSV and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, below, guarded, out, tell, working


@guarded
def report(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where to write the report; new, empty, or written by this command before. By default DIR/report.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Write the report of a study: quality with floors and costs beside it, significance, errors, configs.

    [bold]Examples[/]

    \b
    trunkline report studies/emotion
    trunkline report studies/emotion --out report
    """
    with working("writing the report"):
        from trunkline.studies.report import report as written

        found = written(study, output, say=tell)
    page = below(found.page)
    if not as_json:
        out().print(page, markup=False, soft_wrap=True)
        tell(f"wrote {len(found.files):,} files; open {page} in a browser")
    return {
        "page": page,
        "files": [below(file) for file in found.files],
        "left_out": found.left_out,
        "findings": found.findings,
    }
