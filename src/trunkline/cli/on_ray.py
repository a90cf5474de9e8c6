"""Commands on a Ray cluster: their options, and what `predict` does there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import err, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.cluster import Resources
    from trunkline.states.fill import Fill
    from trunkline.studies.study import Elsewhere


class EngineName(StrEnum):
    """What runs the work."""

    local = "local"
    ray = "ray"


Engine = Annotated[
    EngineName, typer.Option("--engine", help="local: this process. ray: the machines of a Ray cluster, on a disk they share.")
]
RayOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--ray",
        metavar="KEY=VALUE",
        help="With --engine ray: address of the cluster; num_cpus, num_gpus and resources.NAME of a worker.",
        show_default=False,
    ),
]


def resources_of(engine: EngineName, given: Sequence[str] | None) -> Resources | None:
    """Return what is asked of a cluster, None where none is used. BadInput where Ray is missing, or is told of and not used."""
    if engine is EngineName.local:
        if given:
            raise BadInput("found --ray and the engine local, expected --engine ray")
        return None
    from trunkline.cluster import Resources, require_ray

    asked = Resources.parse(given or ())
    require_ray()
    return asked


def predict_on_ray(
    branches: Sequence[Path],
    source: str | None,
    output: Path | None,
    form: str | None,
    input_form: str | None,
    options: Any,
    opening: dict[str, Any],
    resources: Resources,
) -> dict[str, Any]:
    """Predict a file or a folder into a folder of partitions; return what `--json` prints."""
    if source in (None, "-"):
        raise BadInput("found --engine ray and no file, expected --input FILE|FOLDER of Parquet or JSON lines")
    if output is None:
        raise BadInput("found --engine ray and no --output, expected a folder, which gets a file for each partition")
    from trunkline.serving.ray.bulk import predict_folder
    from trunkline.trackers.streaming import streaming

    tell("starting workers; each loads the trunk")
    began = time.monotonic()
    with streaming(err(), "predicting") as progress:
        done = predict_folder(
            branches,
            str(source),
            output,
            input_format=input_form,
            format=form or "jsonl",
            options=options,
            opening=opening,
            resources=resources,
            say=tell,
            progress=progress,
        )
    seconds = time.monotonic() - began
    for sentence in done.findings:
        tell(sentence)
    if done.resumed_rows:
        tell(f"{done.resumed_rows:,} rows were done already")
    tell(f"wrote {done.rows:,} {'row' if done.rows == 1 else 'rows'} to {output} in {seconds:.1f} s")
    told = {"rows": done.rows, "bad_rows": done.bad_rows, "seconds": round(seconds, 3), "findings": done.findings}
    return {**told, "resumed_rows": done.resumed_rows, "output": str(output)}


@contextmanager
def filling(resources: Resources | None) -> Iterator[Fill]:
    """Yield what fills the shards of a states store: this process, or workers of the cluster that is asked for."""
    from trunkline.states.fill import fill_here

    if resources is None:
        yield fill_here
        return
    from trunkline.cluster import connected
    from trunkline.states.on_ray import RayFill

    with connected(resources, tell) as cluster:
        yield RayFill(cluster)


@contextmanager
def training_elsewhere(resources: Resources | None) -> Iterator[Elsewhere | None]:
    """Yield what trains the units of a study on workers of the cluster that is asked for; None where none is."""
    if resources is None:
        yield None
        return
    from trunkline.cluster import connected
    from trunkline.studies.on_ray import RayUnits

    with connected(resources, tell) as cluster:
        yield RayUnits(cluster)
