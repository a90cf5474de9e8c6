"""`trunkline predict --engine ray`: the partitions of an input as a Ray Data set, a worker for each device."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trunkline.cluster import KEPT, Connected, Resources, connected, raise_error
from trunkline.data.pieces import divided
from trunkline.data.writing import writers
from trunkline.errors import BadInput, TrunklineError, unknown_name
from trunkline.model.folders import is_branch_or_run, no_branch
from trunkline.model.noticed import Noticed
from trunkline.serving import bulk
from trunkline.serving.bulk import Predicted, Progress, Say, nowhere
from trunkline.serving.ray.partitions import Folder, name_of, partitions, planned
from trunkline.serving.ray.predictor import Predictor
from trunkline.serving.ready import Options

FORMATS = ("jsonl", "parquet")


def predict_folder(
    branches: Sequence[str | Path],
    source: str | Path,
    output: str | Path,
    *,
    input_format: str | None = None,
    format: str = "jsonl",
    options: Options | None = None,
    opening: Mapping[str, Any] | None = None,
    resources: Resources | None = None,
    say: Say = nowhere,
    progress: Progress | None = None,
) -> Predicted:
    """Predict every row of Parquet or JSON lines on a Ray cluster, and write them in partitions, in the order of the input.

    The rows are those that `predict_file` writes, and with as many threads, on machines alike, the same bits. What is
    interrupted is resumed by the same call.

    Args:
        branches: runs or branches, on a disk that all machines share, as `source` and `output`.
        source: a file or a folder of files.
        output: the folder to write, new or empty.
        input_format: the format of the files, where their suffix does not say it.
        format: jsonl, or for Parquet also parquet, whose files all have a column for errors.
        options: how rows are read.
        opening: `trunk`, `backend`, `dtype` and `allow_precision_change` of `Bundle.open`.
        resources: which cluster, and what each worker is given.
        say: told in a sentence what a user may wait for.
        progress: called after each partition with the rows done and the share of the partitions that is done.

    Raises:
        BadInput: no row can be read, or the input, the output or the branches are not what is expected.
        TrunklineError: workers were lost again and again, or another process is predicting into the folder.
    """
    resources, options = resources or Resources(), options or Options()
    if bad := next((path for path in map(Path, branches) if not is_branch_or_run(path)), None):
        raise no_branch(bad)
    if format not in FORMATS:
        raise unknown_name("--format", format, FORMATS)
    pieces = divided(str(source), bulk.CHUNK, input_format)
    if format == "parquet" and (other := next((one for one in pieces if one.format != "parquet"), None)):
        raise BadInput(
            f"{other.source}: found JSON lines and the format parquet, expected jsonl: the types of columns are known "
            "only when all rows are read"
        )
    folder = Folder(Path(output).expanduser().resolve(), writers.get(format).suffixes[0])
    parts = partitions(pieces)
    asked = {
        "bundle": _opening(branches, opening or {}),
        "options": asdict(options),
        "format": format,
        "input": [[path, *_stamp(path)] for path in dict.fromkeys(one.path for one in pieces)],
    }
    with (
        planned(folder, asked, parts),
        connected(resources, say) as cluster,
        closing(_found(cluster, folder, len(parts))) as found,  # workers end where it is left
    ):
        return _collected(folder, found, len(parts), say, progress)


def _opening(branches: Sequence[str | Path], opening: Mapping[str, Any]) -> dict[str, Any]:
    found = {"trunk": None, "backend": None, "dtype": None, "allow_precision_change": False, **opening}
    if found["trunk"] is not None and Path(found["trunk"]).exists():
        found["trunk"] = str(Path(found["trunk"]).resolve())
    return {"branches": [str(Path(path).resolve()) for path in branches], **found}


def _stamp(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def _found(cluster: Connected, folder: Folder, count: int) -> Generator[tuple[int, dict[str, Any]]]:
    """What workers say of each partition, in the order in which they are done."""
    import pyarrow as pa
    import ray
    import ray.data

    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    # A worker has one partition at a time, so none waits at a busy one; another worker is started as soon as all are busy.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with ray.data.DataContext.current(context):
        numbers = ray.data.from_arrow([pa.table({"partition": [number]}) for number in range(count)])
        found = numbers.map_batches(
            Predictor,
            batch_size=None,
            fn_constructor_args=(str(folder.path), cluster.threads),
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=count,
                initial_size=max(1, min(count, cluster.places())),
                max_tasks_in_flight_per_actor=1,
            ),
            **cluster.options,
        )
        try:
            for row in found.iter_rows():
                yield int(row["partition"]), json.loads(row["found"])
        except ray.exceptions.RayError as error:
            raise TrunklineError(f"{folder.path}: Ray has given up ({type(error).__name__}); {KEPT}") from None


def _collected(
    folder: Folder, found: Iterator[tuple[int, dict[str, Any]]], count: int, say: Say, progress: Progress | None
) -> Predicted:
    """Wait for all partitions, and finish the folder."""
    facts: dict[int, dict[str, Any]] = {}
    done, said = 0, set[str]()
    for number, fact in found:
        raise_error(fact)
        facts[number] = fact
        done += fact["rows"]
        for sentence in fact["said"]:
            if sentence not in said:
                said.add(sentence)
                say(sentence)
        if progress is not None:
            progress(done, len(facts) / count)
    if lost := sorted(set(range(count)) - set(facts)):
        raise TrunklineError(f"{folder.path}: {name_of(lost[0])} is missing; the same command resumes")
    if len(identities := {fact["identity"] for fact in facts.values()}) > 1:
        raise TrunklineError(
            f"{folder.path}: found predictions of {len(identities)} different versions of libraries, devices or branches among "
            "its partitions, expected the same on all machines"
        )
    noticed, ordered = Noticed(), [facts[number] for number in range(count)]
    for fact in ordered:
        noticed.add(fact["noticed"])
    files = [
        {"file": folder.file(number).name, **{key: fact[key] for key in ("rows", "sha256", "node")}}
        for number, fact in enumerate(ordered)
    ]
    sentences = noticed.sentences()
    told = {"rows": done, "bad_rows": noticed.bad, "branches": ordered[0]["branches"], "identity": ordered[0]["identity"]}
    folder.finish({**told, "findings": sentences, "files": files}, count)
    return Predicted(done, noticed.bad, sum(fact["rows"] for fact in ordered if fact["resumed"]), sentences)
