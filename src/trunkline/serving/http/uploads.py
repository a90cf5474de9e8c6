"""Branches that are added while the server runs: from a folder that was named at start, or sent by a client.

No path of a request reaches the file system: a folder is found by its name among those that there are, the names of uploaded
files are not used, and a sent branch may not name files that it would need besides its own two.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from trunkline.errors import BadInput
from trunkline.files import NAME_BYTES, read_object, safe_name
from trunkline.model.branch import Branch, load_branch
from trunkline.model.branch_file import JSON, WEIGHTS
from trunkline.model.bundle import Bundle
from trunkline.model.folders import branch_folders, is_branch_or_run
from trunkline.saved import METHOD_APART

JSON_BYTES = 1 << 24  # of a branch.json that is sent


def load_folder(branches: Path | None, folder: str, task: str, bundle: Bundle) -> Branch:
    """Load a branch that lies directly in the folder `branches`.

    Args:
        branches: that was named at start, if one was.
        folder: the name of the branch's folder, or of a run's, which stands for the branch of its task `task`, or its only one.
        task: the name under which it is to be served.
        bundle: what it will be served with.

    Raises:
        BadInput: there is none of that name; or, as `load_branch`, it cannot be used.
    """
    if branches is None:
        raise BadInput("branch: the server was started without --branches; expected the two files of a branch as an upload")
    fit_name(folder, "branch")
    found = next((entry for entry in branches.iterdir() if entry.name == folder and is_branch_or_run(entry)), None)
    if found is None:
        raise BadInput("branch: found no branch or run of that name in the folder that was named at start")
    inside = branch_folders(found)
    chosen = inside[0] if len(inside) == 1 else next((one for one in inside if one.name == task), None)
    if chosen is None:
        names = ", ".join(one.name for one in inside)
        raise BadInput(
            f"branch: found a run with the tasks {names}, expected one with the task of that name, or with one task; under "
            "another name one of them is served from an upload of its two files, or from a link to its folder beside the run"
        )
    return _loaded(chosen, folder, bundle, chosen)


def load_sent(files: Mapping[str, IO[bytes]], bundle: Bundle) -> Branch:
    """Load a branch that a client has sent; it is held in memory only.

    Args:
        files: branch.json and weights.safetensors, by these names.
        bundle: what it will be served with.

    Raises:
        BadInput: as `load_branch`.
    """
    with tempfile.TemporaryDirectory(prefix="trunkline-") as temporary:
        folder = Path(temporary)
        for name in (JSON, WEIGHTS):
            with open(folder / name, "wb") as file:
                shutil.copyfileobj(files[name], file)
        if (size := (folder / JSON).stat().st_size) > JSON_BYTES:
            raise BadInput(f"{JSON}: found {size} bytes, expected at most {JSON_BYTES}")
        _refuse_paths(folder)
        return _loaded(folder, "the upload", bundle, None)


def fit_name(name: str, where: str) -> None:
    """As `safe_name`, with a message that does not repeat the name, which a client has sent."""
    try:
        safe_name(name, where)
    except BadInput:
        raise BadInput(
            f"{where}: found a name that is empty, has another character or is too long, expected letters, digits and '_', "
            f"behind the first also '-', '.', '@' and '+', and at most {NAME_BYTES} bytes"
        ) from None


def _refuse_paths(folder: Path) -> None:
    """BadInput where a branch would be read with the help of files that it names."""
    try:
        method = read_object(folder / JSON).get("method")
    except BadInput:  # `load_branch` says what is wrong with it
        return
    if isinstance(method, dict) and method.get("specs") is None:
        named = [key for key in METHOD_APART if method.get(key)]
        if named:
            raise BadInput(f"{JSON}: method.{named[0]}: found a path and no specs, expected a branch that needs no other files")


def _loaded(folder: Path, shown: str, bundle: Bundle, path: Path | None) -> Branch:
    """The branch in a folder, which messages call `shown`."""
    try:
        branch = load_branch(folder, bundle.trunk, device=str(bundle.trunk.device))
        branch.check_trunk(bundle.trunk)
    except BadInput as error:
        raise BadInput(str(error).replace(f"{folder}/", "").replace(str(folder), shown)) from None
    branch.path = path
    if twin := next((other for other in bundle.branches.values() if branch.source.equals(other.source)), None):
        branch.share(twin)
    return branch
