"""`trunkline distill`: a smaller trunk, trained on the layer states of another."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import Debug, Fresh, Json, below, err, guarded, out, program, tell


@guarded
def distill(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML config.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the config, e.g. training.epochs=3.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder of the student: new, or one to resume.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan; train nothing.")] = False,
    fresh: Fresh = False,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Train a smaller trunk on the layer states of another, from texts without labels.

    FOLDER is then a trunk like any other: `trunkline fit ... trunk=FOLDER`, or `AutoModel.from_pretrained`.

    The same command again resumes a training that was stopped, and shows the result of one that is finished.

    [bold]Examples[/]

    \b
    trunkline distill student.yaml --out trunks/small
    trunkline distill examples/distill_minilm.yaml data.train=snips --out small
    trunkline distill student.yaml student.hidden_size=192 --dry-run
    """
    from trunkline.errors import BadInput

    if folder is None and not dry_run:
        raise BadInput("--out: missing, expected the folder that the student is to be written to")
    tell(f"distill {config}: loading libraries")
    from trunkline.trackers.student_progress import StudentProgress
    from trunkline.training.clock import Clock
    from trunkline.training.distillation.config import load_distillation
    from trunkline.training.distillation.distillation import Distillation
    from trunkline.training.distillation.distilling import run_distillation

    loaded = load_distillation(config, overrides or [])
    with StudentProgress(err()) as progress:
        if folder is None or dry_run:
            with loaded.naming():
                plan = Distillation(loaded, progress, Clock()).plan()
            for finding in plan["findings"]:
                progress.line(f"note: {finding}")
        else:
            plan = run_distillation(loaded, folder, fresh, [progress], Clock()).summary
    if not as_json:
        _show(plan)
        if folder is not None and not dry_run:
            tell(f"\nto train on it:  {program()} fit CONFIG trunk={shlex.quote(below(folder))}")
    return plan


def _show(found: dict[str, Any]) -> None:
    """Print a plan, or the summary of a finished distillation."""
    from trunkline.cli import show

    made = show.table("", "trunk", ">layers", ">width", ">weights")
    teacher, student = found["teacher"], found["student"]
    made.add_row(
        "teacher", Path(teacher["name"]).name, str(teacher["layers"]), str(teacher["hidden_size"]), f"{teacher['parameters']:,}"
    )
    blocks = ", ".join(map(str, student["blocks"]))
    made.add_row(
        "student", f"blocks {blocks}", str(student["layers"]), str(student["hidden_size"]), f"{student['parameters']:,}"
    )
    out().print(made)
    history = found.get("history", [])
    made = show.table("loss", ">weight", "layers", *([">validation before", ">after"] if history else []))
    for loss in found["losses"]:
        pairs = ", ".join(f"{own} from {other}" for own, other in loss["layers"].items())
        ends = [f"{history[end]['validation'][loss['loss']]:.5f}" for end in (0, -1)] if history else []
        made.add_row(loss["loss"], f"{loss['weight']:g}", pairs, *ends)
    out().print(made)
    rows, tokens = found["rows"], found["tokens"]["train"]
    texts = f"{rows['train']:,} texts of {tokens:,} tokens, {rows['validation']:,} for validation"
    if "states" in found:
        lacking = found["states"]["tokens_to_compute"]
        texts += (
            "; no layer states are stored" if lacking is None else f"; layer states of {lacking:,} tokens are to be computed"
        )
    out().print(texts)
