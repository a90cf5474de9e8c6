"""`trunkline info`: what a branch, a run or a trunk is, in words or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, err, guarded, out, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# By `long_texts` of its task, how a branch reads longer texts.
LONGER = {
    "mean": ", longer ones in windows, whose logits are averaged",
    "max": ", longer ones in windows, of whose logits the largest of each label counts",
}


@guarded
def info(
    place: Annotated[
        str, typer.Argument(metavar="BRANCH|RUN|TRUNK", help="A directory, or the name of a trunk.", show_default=False)
    ],
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Also draw learning curves, confusion matrices, scores by label and layer weights: .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Describe a branch (with the layers it reads), a run or a trunk; or list the runs of a folder.

    [bold]Examples[/]

    \b
    trunkline info runs
    trunkline info runs/reviews-1a2b3c4d/branches/stars
    trunkline info runs/reviews-1a2b3c4d --picture reviews.png
    trunkline info minilm
    """
    from trunkline.model.folders import is_branch_or_run, runs_in
    from trunkline.training.distillation.folder import is_student

    path = Path(place)
    is_branch = (path / "branch.json").is_file()
    student = is_student(path)  # a trunk, with a result.json as a run has
    is_run = not is_branch and not student and (is_branch_or_run(path) or (path / "result.json").is_file())
    if picture is not None:
        from trunkline.pictures.figure import check_target  # loads matplotlib

        check_target(picture)
        if not is_branch and not is_run:
            raise BadInput(f"{place}: not a run or a branch, so there is nothing to draw; expected a directory of one")
    if path.is_file():
        raise BadInput(f"{place}: is a file; expected the folder of a run, a branch or a trunk")
    if student and not (path / "result.json").is_file():
        raise BadInput(f"{place}: this student is not finished; rerun the command that started it to resume")
    if is_branch:
        from trunkline.model.facts import branch_facts
        from trunkline.training.result import run_of_branch

        run = run_of_branch(path)
        own = next(iter(run["tasks"].values())) if run else {}
        facts = branch_facts(path) | {key: own[key] for key in ("baseline", "tuned") if own.get(key)}
        if picture is not None:
            facts["picture"] = _draw(place, _as_run(place, facts, run), picture)
        if not as_json:
            _show_branch(facts, out())
    elif is_run:
        from trunkline.training.result import run_facts

        facts = run_facts(path)
        if picture is not None:
            facts["picture"] = _draw(place, facts, picture)
        if not as_json:
            from trunkline.cli.fit import show_run
            from trunkline.terminal import from_here

            for finding in facts.get("findings", ()):
                tell(f"note: {from_here(finding)}")
            show_run(facts)
    elif not (path / "config.json").is_file() and (runs := runs_in(path)):
        facts = {"runs": _summaries(runs)}
        if not as_json:
            _show_runs(facts["runs"], out())
    else:
        facts = _trunk(place)
        if not as_json:
            _show_trunk(facts, out())
    if picture is not None and not as_json:
        tell(f"wrote {picture}")
    return facts


def _summaries(runs: list[Path]) -> list[dict[str, Any]]:
    """What is to be said of each run in a list of them."""
    from trunkline.training.result import run_line

    return [run_line(run) for run in runs]


def _show_runs(runs: list[dict[str, Any]], console: Console) -> None:
    from rich.text import Text

    from trunkline.cli import show
    from trunkline.errors import ascii_controls

    made = show.table("run", "task", "metric", ">validation", ">test")
    for run in runs:
        name = ascii_controls(run["run"])
        if not run["finished"]:
            made.add_row(Text(name, style="bold"), Text("not finished", style="dim"))
        for row, (task, found) in enumerate(run["tasks"].items()):
            scores = [show.number(found.get(split)) for split in ("validation", "test")]
            made.add_row(Text("" if row else name, style="bold"), Text(ascii_controls(task)), Text(found["metric"]), *scores)
    console.print(made)


def _draw(place: str, summary: dict[str, Any], picture: Path) -> str:
    """Write the picture, and return where it is."""
    from trunkline.pictures.draw import draw
    from trunkline.pictures.figure import write

    figure = draw(summary)
    if figure is None:
        raise BadInput(
            f"{place}: nothing to draw, as there are no layer weights, no scores by label and no history; "
            "expected the run of this branch"
        )
    write(figure, picture)
    return str(picture)


def _as_run(place: str, facts: dict[str, Any], run: dict[str, Any] | None) -> dict[str, Any]:
    """A branch as the run that it lies in, with its task alone; without a history where it lies elsewhere."""
    task = {**facts, **facts["metrics"], "layers": _all_layers(facts)}
    if run is None:
        return {"name": Path(place).resolve().name, "tasks": {facts["task"]: task}}
    return {**run, "tasks": {name: {**own, **task} for name, own in run["tasks"].items()}}


def _all_layers(facts: dict[str, Any]) -> dict[int, float]:
    """The share of every layer of the trunk, of those that a branch never reads too; as it is where no layers are weighed."""
    from trunkline.training.result import weighs_layers

    weights = {int(layer): share for layer, share in facts["layers"].items()}
    everything = dict.fromkeys(range(facts["trunk"]["num_layers"] + 1), 0.0)
    return {**everything, **weights} if weighs_layers(facts) else weights


def _trunk(name: str) -> dict[str, Any]:
    from trunkline.model.facts import trunk_facts
    from trunkline.model.folders import not_there, nothing_known
    from trunkline.trunk.aliases import ALIASES
    from trunkline.trunk.load import load_trunk
    from trunkline.trunk.source import looks_like_path
    from trunkline.trunk.speeds import TAKES, advice, compiles, speeds

    path = Path(name).expanduser()
    if looks_like_path(name) and not path.exists():
        raise not_there(name, "a branch, a run or a trunk")
    of_a_trunk = ("*config.json", "*.safetensors", "tokenizer*")  # where one of these lies, what the trunk lacks is told
    if name not in ALIASES and path.is_dir() and not any(True for pattern in of_a_trunk for _ in path.glob(pattern)):
        raise nothing_known(path)
    with err().status("loading the trunk"):
        trunk = load_trunk(name)
        facts = trunk_facts(trunk)
    if not compiles():
        return facts
    with err().status(f"timing the backends, once for this processor ({TAKES})"):
        found = speeds(trunk)
    return {**facts, "speeds": found, "findings": advice(trunk, found)}


def _show_branch(facts: dict[str, Any], console: Console) -> None:
    from trunkline.cli import decisions, show
    from trunkline.model.pass_cost import pass_sentence
    from trunkline.states.budget import readable
    from trunkline.training.result import weighs_layers

    labels, trunk, method = facts["types"] or facts["labels"], facts["trunk"], dict(facts["method"])
    stored = f"{facts['parameters']:,} stored ({readable(facts['bytes'])} on disk)"
    if facts["trained_parameters"] < facts["parameters"]:
        stored += f", {facts['trained_parameters']:,} of them trained; the rest is frozen and stored with the branch"
    shown = ", ".join(labels[:12]) + (f", ... ({len(labels)} in all)" if len(labels) > 12 else "")
    hidden = {"name", "specs", *(("members", "weights") if "members" in facts else ())}
    settings = ", ".join(f"{key} {value}" for key, value in method.items() if key not in hidden and value is not None)
    name = f"{method['name']} of {len(facts['members'])} members, below" if "members" in facts else method["name"]
    reads = show.ranges(facts["reads"])
    texts, tokens = ("texts", "tokens") if facts["input"] == "text" else ("clips", "rows of states")
    console.print(
        show.facts(
            {
                "task": f"{facts['task']} ({facts['kind']})",
                "types" if facts["types"] else "labels": "a number" if facts["kind"] == "regression" else shown,
                "method": f"{name}: {settings}" if settings else name,
                "weights": stored,
                "trunk": f"{trunk['name']}"
                + (f" at {trunk['revision']}" if trunk["revision"] else "")
                + f", {trunk['stack']}, {trunk['dtype']}",
                "  weights": f"sha256 {trunk['weights']}",
                "  tokenizer" if facts["input"] == "text" else "  extractor": f"sha256 {trunk['tokenizer']}",
                "reads": f"{reads} of 0-{trunk['num_layers']}; {texts} of up to {facts['max_length']} {tokens}"
                + LONGER.get(facts["long_texts"], ""),
                "pass": pass_sentence({facts["task"]: facts["pass"]}),
                **_trained(facts["cost"]),
            }
        )
    )
    if "members" in facts:
        console.print(_members(facts["members"]))
    console.print(show.scores({facts["task"]: {**facts, **facts["metrics"]}}))
    if facts["decision"]:
        for part in decisions.tables(facts["labels"], facts["decision"]):
            console.print(part)
    if weighs_layers(facts):
        console.print(show.layers(_all_layers(facts), facts["reads"], "share of each layer"))
    if facts["by_layer"]:
        console.print(show.by_layer({facts["task"]: facts}))


def _trained(cost: dict[str, Any]) -> dict[str, str]:
    """How long training took; nothing of a branch that was put together of trained ones."""
    from trunkline.cli import show

    if not cost:
        return {}
    seconds, best = show.seconds(cost.get("seconds", 0.0)), cost.get("steps_to_best", 0)
    return {"trained in": f"{seconds}, evaluating included, best after step {best}"}


def _members(members: list[dict[str, Any]]) -> RenderableType:
    """The members of an ensemble; `weight` is what the logits of each are multiplied by."""
    from rich.text import Text

    from trunkline.cli import show

    made = show.table(">member", "method", ">weight", "settings, if not the default ones")
    for number, one in enumerate(members, 1):
        settings = ", ".join(f"{key} {value}" for key, value in one["settings"].items())
        made.add_row(str(number), one["method"], show.number(float(one["weight"])), Text(settings))
    return made


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
                **({"vocabulary": f"{facts['vocabulary']:,}"} if facts["reads"] == "text" else {"reads": "audio"}),
                "computes in": f"{facts['dtype']} on {facts['device']}",
                "max length": f"{facts['max_length']} {'tokens' if facts['reads'] == 'text' else 'rows of states'}"
                + (f" (positions for {longest})" if longest else " (no limit of its own)"),
                "weights": f"sha256 {facts['weights']}",
                "tokenizer": f"sha256 {facts['tokenizer']}",
            }
        )
    )
    if facts.get("speeds"):
        made = show.table("backend", "dtype", ">against torch in fp32")
        for name, ratio in facts["speeds"].items():
            made.add_row(*name.split(), f"{ratio:.2f}x")
        console.print(made)
        tell("Times of one block of this trunk's shape, 16 texts of 64 tokens, on this machine.")
    for finding in facts.get("findings", ()):
        tell(f"note: {finding}")
