"""`trunkline export`: a branch that changes its trunk, as transformers, the peft library or the adapters package load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, TrunkName, below, err, guarded, out
from trunkline.errors import BadInput
from trunkline.files import directory_bytes, new_folder

if TYPE_CHECKING:
    from trunkline.model.branch import Branch


@guarded
def export(
    place: Annotated[
        Path, typer.Argument(metavar="BRANCH", help="A branch whose method changes the trunk.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; new or empty.", show_default=False)],
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge a method of the peft library into the trunk's weights, where that is exact.")
    ] = False,
    trunk: TrunkName = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Write a branch for other libraries, with its head and a model card.

    full, bitfit and layernorm, and whatever is merged, become a model of transformers; lora, ia3, prompt, prefix and peft an
    adapter of the peft library; adapter and fusion folders of the adapters package. What is written is loaded and compared.

    [bold]Examples[/]

    \b
    trunkline export runs/reviews-1a2b3c4d/branches/stars stars
    trunkline export runs/reviews-1a2b3c4d/branches/stars stars --merge
    """
    if not (place / "branch.json").is_file():
        _refuse_run(place)
    target = new_folder(folder)
    from trunkline.export.branch import export_branch
    from trunkline.model.branch import load_branch

    with err().status("loading the trunk"):
        branch = load_branch(place, trunk, device="cpu")
    library = export_branch(branch, target, merge=merge)
    facts = {
        "folder": str(folder),
        "format": library,
        "branch": str(place),
        "task": branch.task.name,
        "kind": branch.task.kind,
        "labels": list(branch.task.labels),
        "bytes": directory_bytes(target),
        "files": sorted(str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()),
    }
    if not as_json:
        _show(facts, target, branch)
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
            "library can load; expected a branch of a method that changes the trunk, such as one of a run with method=lora"
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
