"""`trunkline relabel`: other names for the labels of a saved branch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, guarded, tell
from trunkline.errors import BadInput, ascii_controls


@guarded
def relabel(
    branch: Annotated[Path, typer.Argument(metavar="BRANCH", help="The directory of a branch.", show_default=False)],
    names: Annotated[
        list[str], typer.Argument(metavar="OLD=NEW...", help="New names by the old ones, renamed at once.", show_default=False)
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Rename labels of a branch; branch.json cannot be edited by hand, as its weights hold a digest of it.

    [bold]Example[/]

    \b
    trunkline relabel runs/reviews-1a2b3c4d/branches/stars 1=bad 5=great
    """
    from trunkline.model.relabel import relabel as rename

    given: dict[str, str] = {}
    for pair in names:
        old, equals, new = pair.partition("=")
        if not equals or old in given:
            raise BadInput(
                f"OLD=NEW: found {ascii_controls(pair[:40])!r}, expected an old and a new name with '=', each old one once"
            )
        given[old] = new
    labels = rename(branch, given)
    if not as_json:
        tell(f"labels of {branch}: {', '.join(map(ascii_controls, labels))}")
    return {"branch": str(branch), "labels": labels}
