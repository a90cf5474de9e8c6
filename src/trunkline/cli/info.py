"""`trunkline info`: what a branch, a run or a trunk is, with the layer distribution of a branch as bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, err, guarded, out
from trunkline.cli.evaluate import is_branch_or_run
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console


@guarded
def info(
    place: Annotated[
        str, typer.Argument(metavar="BRANCH|RUN|TRUNK", help="A directory, or the name of a trunk.", show_default=False)
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Describe a branch (with the layers it reads), a run or a trunk.

    [bold]Examples[/]

    \b
    trunkline info runs/reviews-1a2b3c4d/branches/stars
    trunkline info minilm
    """
    path = Path(place)
    if (path / "branch.json").is_file():
        facts = _branch(path)
        if not as_json:
            _show_branch(facts, out())
    elif is_branch_or_run(path) or (path / "result.json").is_file():
        facts = _run(path)
        if not as_json:
            from trunkline.cli.fit import show_run

            show_run(facts)
    else:
        facts = _trunk(place)
        if not as_json:
            _show_trunk(facts, out())
    return facts


def _branch(path: Path) -> dict[str, Any]:
    """Everything about a branch that is not a weight; the branch is loaded, so a broken one is refused."""
    from dataclasses import asdict

    from trunkline.training.branch import load_branch
    from trunkline.training.cost import directory_bytes

    branch = load_branch(path)
    return {
        "branch": str(path),
        "task": branch.task.name,
        "kind": branch.task.kind,
        "labels": list(branch.task.labels),
        "method": branch.method.model_dump(mode="json"),
        "parameters": sum(value.numel() for value in branch.weights().values()),
        "bytes": directory_bytes(path),
        "layers": {str(layer): share for layer, share in branch.layer_weights().items()},
        "reads": list(branch.module.wanted()),
        "trunk": asdict(branch.trunk),
        "max_length": branch.max_length,
        "precision": branch.precision,
        "text": branch.text,
        "text_pair": branch.text_pair,
        "monitor": branch.task.monitor,
        "metrics": branch.metrics,
        "cost": branch.cost,
    }


def _run(path: Path) -> dict[str, Any]:
    from trunkline.training.result import read_result

    facts = read_result(path)
    tasks = {name: {**task, "branch": str(path / "branches" / name)} for name, task in facts["tasks"].items()}
    return {**facts, "run": str(path), "tasks": tasks}  # where the run is now: it may have been moved


def _trunk(name: str) -> dict[str, Any]:
    from trunkline.training.cost import count_parameters
    from trunkline.trunk.load import load_trunk
    from trunkline.trunk.source import looks_like_path

    if looks_like_path(name) and not Path(name).expanduser().exists():
        raise BadInput(f"{name}: no such file or folder; expected a branch, a run or a trunk")
    with err().status("loading the trunk"):
        trunk = load_trunk(name)
        found = trunk.fingerprint
    return {
        "trunk": trunk.name,
        "revision": trunk.revision,
        "architecture": trunk.architecture,
        "stack": trunk.stack,
        "layers": trunk.num_layers,
        "hidden_size": trunk.hidden_size,
        "parameters": count_parameters(trunk.model),
        "vocabulary": trunk.vocabulary,
        "dtype": trunk.dtype,
        "device": str(trunk.device),
        "max_length": trunk.max_length,
        "longest_input": trunk.longest_input,
        "weights": found.weights,
        "tokenizer": found.tokenizer,
    }


def _show_branch(facts: dict[str, Any], console: Console) -> None:
    from trunkline.cli import show
    from trunkline.states.budget import readable

    labels, trunk, method = facts["labels"], facts["trunk"], dict(facts["method"])
    shown = ", ".join(labels[:12]) + (f", ... ({len(labels)} in all)" if len(labels) > 12 else "")
    settings = ", ".join(f"{key} {value}" for key, value in method.items() if key != "name" and value is not None)
    reads = show.ranges(facts["reads"])
    console.print(
        show.facts(
            {
                "task": f"{facts['task']} ({facts['kind']})",
                "labels": "a number" if facts["kind"] == "regression" else shown,
                "method": f"{method['name']}: {settings}" if settings else method["name"],
                "weights": f"{facts['parameters']:,} ({readable(facts['bytes'])} on disk)",
                "trunk": f"{trunk['name']}"
                + (f" at {trunk['revision']}" if trunk["revision"] else "")
                + f", {trunk['stack']}, {trunk['dtype']}",
                "  weights": f"sha256 {trunk['weights']}",
                "  tokenizer": f"sha256 {trunk['tokenizer']}",
                "reads": f"{reads} of 0-{trunk['num_layers']}; texts of up to {facts['max_length']} tokens",
                "trained in": show.seconds(facts["cost"].get("seconds", 0.0))
                + f", best after step {facts['cost'].get('steps_to_best', 0)}",
            }
        )
    )
    console.print(show.scores({facts["task"]: {"monitor": facts["monitor"], **facts["metrics"]}}))
    if facts["layers"]:
        weights = {int(layer): share for layer, share in facts["layers"].items()}
        everything = dict.fromkeys(range(trunk["num_layers"] + 1), 0.0)
        console.print(show.layers({**everything, **weights}, facts["reads"], "share of each layer"))


def _show_trunk(facts: dict[str, Any], console: Console) -> None:
    from trunkline.cli import show

    longest = facts["longest_input"]
    console.print(
        show.facts(
            {
                "trunk": facts["trunk"] + (f" at {facts['revision']}" if facts["revision"] else ""),
                "architecture": f"{facts['architecture']}, {facts['stack']}",
                "layers": f"{facts['layers']} of width {facts['hidden_size']}: states 0 to {facts['layers']}",
                "parameters": f"{facts['parameters']:,}",
                "vocabulary": f"{facts['vocabulary']:,}",
                "computes in": f"{facts['dtype']} on {facts['device']}",
                "max length": f"{facts['max_length']} tokens"
                + (f" (positions for {longest})" if longest else " (no limit of its own)"),
                "weights": f"sha256 {facts['weights']}",
                "tokenizer": f"sha256 {facts['tokenizer']}",
            }
        )
    )
