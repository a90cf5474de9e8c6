"""`trunkline import`: an adapter or fusion in the pickles of the adapters package's older releases, as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, below, guarded, out
from trunkline.files import new_folder, read_object


@guarded
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FILE_OR_FOLDER", help="The folder, or one .bin file in it.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; new or empty.", show_default=False)],
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Turn an adapter in .bin files into a folder with safetensors that the methods adapter and fusion read.

    Such files are pickles, and read here alone, by torch's loader for weights: it runs no code that they may hold.

    [bold]Example[/]

    \b
    trunkline import downloads/ko-wiki adapters/ko-wiki
    """
    target = new_folder(folder)
    from trunkline.tuners.adapters.files import CONFIG, FUSION_CONFIG, import_bin

    files = import_bin(source, target)
    found = next((name for name in (CONFIG, FUSION_CONFIG) if name in files), None)
    described = read_object(target / found) if found else {}
    facts = {
        "folder": str(folder),
        "kind": {CONFIG: "adapter", FUSION_CONFIG: "fusion"}.get(found or "", "head"),
        **{key: described.get(key) for key in ("name", "model_type", "hidden_size")},
        "files": files,
    }
    if not as_json:
        _show(facts, below(target))
    return facts


def _show(facts: dict[str, Any], folder: str) -> None:
    console = out()
    made_for = f", for a {facts['model_type']} of width {facts['hidden_size']}" if facts["model_type"] else ""
    console.print(f"wrote {folder}: {', '.join(facts['files'])}{made_for}", soft_wrap=True, markup=False)
    if facts["kind"] == "adapter":
        console.print(f"    method: {{name: adapter, start: {folder}}}, or stack_on: {folder}", soft_wrap=True, markup=False)
    elif facts["kind"] == "fusion":
        console.print(f"    method: {{name: fusion, start: {folder}, adapters: ...}}", soft_wrap=True, markup=False)
