"""`trunkline ensemble`: trained branches of one task as one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, TrunkName, err, guarded, out, tell
from trunkline.files import new_folder


class By(StrEnum):
    """How the branches are weighed."""

    equal = "equal"
    validation = "validation"


@guarded
def ensemble(
    branches: Annotated[
        list[Path],
        typer.Argument(metavar="BRANCH...", help="Side branches of one task on one trunk, or runs.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The branch to write; new or empty.", show_default=False)
    ],
    weights: Annotated[By, typer.Option("--weights", help="equal, or validation: those with the least loss on it.")] = By.equal,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            metavar="DATA",
            help="Rows to weigh and calibrate on; by default the validation split of the branches' runs.",
            show_default=False,
        ),
    ] = None,
    trunk: TrunkName = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Put trained branches of one task together as one branch, whose logits are the weighted sum of theirs.

    [bold]Example[/]

    \b
    trunkline ensemble runs/*/branches/emotion --output both --weights validation
    """
    new_folder(output)
    with err().status("loading the branches and their trunk"):
        from trunkline.training.ensembling import make_ensemble

        findings: list[str] = []
        made = make_ensemble(branches, output, weights=weights.value, validation=validation, trunk=trunk, say=findings.append)
    for sentence in findings:
        tell(sentence)
    names = [str(path) for path in made.paths]
    if not as_json:
        _show(
            made.monitor,
            [*zip(names, made.shares, made.weights, made.members, strict=True), (str(output), None, None, made.score)],
        )
    return {
        "branch": str(output),
        "task": made.branch.task.name,
        "monitor": made.monitor,
        "members": [
            {"branch": name, "share": share, "weight": weight, "validation": score}
            for name, share, weight, score in zip(names, made.shares, made.weights, made.members, strict=True)
        ],
        "validation": made.score,
        "findings": findings,
    }


def _show(monitor: str, rows: list[tuple[str, float | None, float | None, float | None]]) -> None:
    from rich.text import Text

    from trunkline.cli import show
    from trunkline.errors import ascii_controls

    table = show.table("branch", ">share", ">weight", f">validation {monitor}")
    for name, *numbers in rows:
        table.add_row(Text(ascii_controls(name)), *("" if one is None else show.number(one) for one in numbers))
    out().print(table)
    tell("The logits of a branch are multiplied by its weight: its share divided by its temperature.")
