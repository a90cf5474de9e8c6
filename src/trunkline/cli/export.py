"""`trunkline export`: branches for other libraries: transformers, the peft library, the adapters package, ONNX."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, TrunkName, below, err, guarded, out, tell
from trunkline.errors import BadInput
from trunkline.files import directory_bytes, new_folder

if TYPE_CHECKING:
    from trunkline.model.branch import Branch


ONNX_FOLDER = Path("onnx")


class Format(StrEnum):
    """What `--format` may name; without it, the method of the branch decides."""

    onnx = "onnx"


class Precision(StrEnum):
    """Of an ONNX graph's trunk."""

    fp32 = "fp32"
    int8 = "int8"


@guarded
def export(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="BRANCH... [FOLDER]",
            help="A branch whose method changes the trunk, and the new or empty folder to write; with --format onnx, any "
            "branches of one trunk, or runs with all their branches.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where to write; new or empty. With --format onnx: onnx by default.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="onnx: trunk and branches as one graph; by default the method decides.", show_default=False
        ),
    ] = None,
    dtype: Annotated[
        Precision | None, typer.Option("--dtype", help="Of the trunk in an ONNX graph: fp32 by default.", show_default=False)
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge a method of the peft library into the trunk's weights, where that is exact.")
    ] = False,
    trunk: TrunkName = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Write branches for other libraries, with their heads and a model card.

    full, bitfit and layernorm, and whatever is merged, become a model of transformers; lora, ia3, prompt, prefix and peft an
    adapter of the peft library; adapter and fusion folders of the adapters package. --format onnx writes the trunk and all
    given branches as one graph, with an output for each task. What is written is loaded and compared.

    [bold]Examples[/]

    \b
    trunkline export runs/reviews-1a2b3c4d/branches/stars stars
    trunkline export runs/reviews-1a2b3c4d/branches/stars stars --merge
    trunkline export runs/a runs/b/branches/topic --format onnx --output all
    """
    places, output = _with_folder(places, output, ONNX_FOLDER if format is Format.onnx else None)
    if format is Format.onnx:
        if merge:
            raise BadInput("--merge was given with --format onnx, which merges by itself; omit it")
        return _export_onnx(places, output, dtype or Precision.fp32, trunk, as_json)
    if dtype is not None:
        raise BadInput(f"--dtype {dtype} was given without --format onnx; only a graph has one, so add that or omit it")
    if len(places) > 1:
        raise BadInput(f"found {len(places)} branches, expected one; only --format onnx writes several as one")
    (place,) = places
    if not (place / "branch.json").is_file():
        _refuse_run(place)
    target = new_folder(output)
    from trunkline.export.branch import export_branch
    from trunkline.model.branch import load_branch

    with err().status("loading the trunk"):
        branch = load_branch(place, trunk, device="cpu")
    library = export_branch(branch, target, merge=merge)
    facts = {
        "folder": str(output),
        "format": library,
        "branch": str(place),
        "task": branch.task.name,
        "kind": branch.task.kind,
        "labels": list(branch.task.labels),
        **_written(target),
    }
    if not as_json:
        _show(facts, target, branch)
    return facts


def _with_folder(places: list[Path], output: Path | None, default: Path | None) -> tuple[list[Path], Path]:
    """The branches, and the folder to write: `output`, or what was given behind the branches."""
    from trunkline.model.folders import is_branch_or_run

    if output is not None:
        return places, output
    if len(places) > 1 and not is_branch_or_run(places[-1]):
        return places[:-1], places[-1]
    if default is None:
        raise BadInput(f"{places[-1]}: found no folder to write to behind it; expected BRANCH FOLDER, or --output FOLDER")
    return places, default


def _written(target: Path) -> dict[str, Any]:
    files = sorted(str(file.relative_to(target)) for file in target.rglob("*") if file.is_file())
    return {"bytes": directory_bytes(target), "files": files}


def _export_onnx(places: list[Path], output: Path, dtype: Precision, trunk: str | None, as_json: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from trunkline.export.onnx import export_onnx
    from trunkline.states.budget import readable

    with err().status("exporting"):
        made = export_onnx(places, output, dtype=dtype.value, trunk=trunk)
    facts = {
        "folder": str(output),
        "format": "onnx",
        "dtype": made.dtype,
        "branches": [str(place) for place in places],
        "tasks": dict(made.kinds),
        "pairs": made.pairs,
        "agreement": {name: asdict(one) for name, one in made.agreement.items()},
        "findings": made.findings,
        **_written(made.folder),
    }
    if not as_json:
        folder, tasks = below(made.folder), ", ".join(f"{name} ({kind})" for name, kind in made.kinds.items())
        console = out()
        console.print(f"wrote {folder} ({readable(facts['bytes'])}): {tasks}; run it with", soft_wrap=True, markup=False)
        given = "TEXT SECOND_TEXT..." if made.pairs else "TEXT..."
        console.print(f"    python {folder}/predict.py {given}", soft_wrap=True, markup=False)
        for sentence in made.findings:
            tell(sentence, 0)
    return facts


def _refuse_run(run: Path) -> None:
    """Raise BadInput for a run: it names the first branch that can be exported, or says that none can and why."""
    from trunkline.branches import methods
    from trunkline.files import read_object
    from trunkline.tuners import Tuner

    found = {}
    for file in sorted(run.glob("branches/[!.]*/branch.json")):
        method = read_object(file).get("method")
        if isinstance(method, dict) and (name := method.get("name")) in methods.names():
            found[file.parent] = str(name)
    able = [folder for folder, name in found.items() if issubclass(methods.get(name), Tuner)]
    if able:
        raise BadInput(f"{run}: a run; expected one of its branches, such as {able[0]}")
    if found:
        raise BadInput(
            f"{run}: its branches have the method {' and '.join(sorted(set(found.values())))}, a side branch, which no other "
            "library can load; expected a branch of a method that changes the trunk, such as one of a run with method=lora, or "
            "--format onnx"
        )


def _show(facts: dict[str, Any], target: Path, branch: Branch) -> None:
    from trunkline.export.branch import loading
    from trunkline.states.budget import readable

    console = out()
    console.print(
        f"wrote {below(target)} ({readable(facts['bytes'])}) for {facts['format']}; load it with", soft_wrap=True, markup=False
    )
    for line in loading(branch, facts["format"], below(target)):
        console.print(f"    {line}", soft_wrap=True, markup=False)
