"""`trunkline fit --depths`: a config trained for every depth of the trunk, as a table, a CSV file and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trunkline.cli.common import err, out, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trunkline.training.config import RunConfig


def check_options(depths: Path | None, picture: Path | None, seeds: int | None) -> None:
    """Raise BadInput for files that cannot be written, before any work."""
    if depths is None:
        if picture is not None or seeds is not None:
            given = "--picture" if picture is not None else "--seeds"
            raise BadInput(f"{given}: found without --depths, expected them together")
        return
    if depths.suffix.lower() != ".csv":
        raise BadInput(f"--depths {depths}: expected a file to write that ends in .csv")
    if depths.is_dir() or not depths.parent.is_dir():
        raise BadInput(f"--depths {depths}: expected a file to write in a folder that exists")
    if picture is not None:
        from trunkline.pictures.figure import check_target

        check_target(picture)


def fit_every_depth(
    config: RunConfig,
    name: str,
    table: Path,
    picture: Path | None,
    seeds: int,
    *,
    run_dir: Path | None,
    fresh: bool,
    told: Sequence[str],
    as_json: bool,
) -> dict[str, Any]:
    """Train, write the files, and print a table unless `as_json`; return what there is to say."""
    refuse_source(config, table, "--depths")
    from trunkline.cli.fit import train
    from trunkline.training.depths import fit_depths, write_points

    def one(variant: RunConfig, called: str, folder: Path | None, again: bool) -> Mapping[str, Any]:
        return train(variant, called, run_dir=folder, fresh=again, told=told)

    found = fit_depths(config, seeds=seeds, name=name, run_dir=run_dir, fresh=fresh, train=one, say=tell)
    write_points(found["points"], table)
    written = {"csv": str(table)}
    if picture is not None:
        from trunkline.pictures.depths import depths
        from trunkline.pictures.figure import write

        with err().status("drawing"):
            write(depths(name, found["points"]), picture)
        written["picture"] = str(picture)
    if not as_json:
        out().print(_table(found["points"]))
    for finding in found["findings"]:
        tell(f"note: {finding}")
    tell(f"wrote {' and '.join(written.values())}")
    return {**found, **written}


def refuse_source(config: RunConfig, table: Path, option: str) -> None:
    """Raise BadInput for a file to write that the config reads."""
    from trunkline.outputs import replaced_by

    sections = [config.data, *(task.data for task in config.tasks.values() if task.data is not None)]
    for section in sections:
        for source in (section.train, section.validation, section.test):
            for file in source if isinstance(source, list) else [source]:
                if isinstance(file, str) and Path(file).is_file() and Path(file).resolve() == replaced_by(table):
                    raise BadInput(f"{option} {table}: found data that the config reads, expected a file to write")


def _table(points: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A row for each task and depth, with the means over seeds."""
    from rich.text import Text

    from trunkline.cli import show
    from trunkline.training.depths import means

    made = show.table("task", "metric", "layers", ">blocks", ">time of a pass", ">validation", ">test")
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for point in points:
        groups.setdefault((point["task"], point["by"], point["allowed"]), []).append(point)
    before = None
    for task, by, allowed in sorted(groups, key=lambda key: (key[0], key[1] != "layers", key[2])):
        own = groups[task, by, allowed]
        mean = means(own, allowed)
        scores = [show.number(mean[split]) for split in ("validation", "test")]
        made.add_row(
            Text("" if task == before else task, style="bold"),
            Text("" if task == before else own[0]["metric"]),
            f"up to {allowed}" if by == "layers" else "by depth_penalty",
            f"{mean['blocks']:g} of {own[0]['of']}",
            f"{mean['share_of_time']:.2f}x",
            *scores,
        )
        before = task
    return made
