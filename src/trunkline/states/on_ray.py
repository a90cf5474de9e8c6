"""The shards of a states store filled by workers of a Ray cluster; the process that asks for them writes the manifest.

A worker is sent the token ids of its shard as arrays, loads the trunk by its name once, and writes the shard's files into the
store, which lies on a disk that all machines share. The files have the bytes that one process writes with as many threads, on
machines alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trunkline.cluster import Connected, error_facts
from trunkline.errors import BadInput
from trunkline.inputs.encoded import Encoded
from trunkline.states.fill import Job, fill_shard
from trunkline.states.manifest import LayerShard

if TYPE_CHECKING:
    from trunkline.trunk.load import Trunk


class RayFill:
    """A `Fill` (fill.py).

    Args:
        cluster: whose workers fill shards.
    """

    def __init__(self, cluster: Connected) -> None:
        self._cluster = cluster

    def __call__(
        self, trunk: Trunk, encoded: Encoded, path: Path, jobs: Sequence[Job], count: Callable[[int], None]
    ) -> Iterator[tuple[Job, dict[int, LayerShard]]]:
        """Yield each job when it is done."""
        if encoded.clips is not None:
            raise BadInput("found a trunk that reads audio and --engine ray, expected one that reads texts")
        asked = {
            "name": trunk.name,
            "revision": trunk.revision,
            "stack": trunk.stack,
            "dtype": trunk.dtype,
            "backend": trunk.backend,
            "ranges": None if trunk.compiled is None or trunk.compiled.ranges is None else dict(trunk.compiled.ranges),
        }
        same, place = asdict(trunk.fingerprint), str(path.resolve())
        threads = self._cluster.threads
        calls = ((asked, same, place, _sent(job, threads), _arrays(encoded.select(job.sequences))) for job in jobs)
        lengths = np.asarray(encoded.lengths)
        for number, found in self._cluster.map(fill_on_worker, calls):
            job = jobs[number]
            count(int(lengths[job.sequences].sum()))
            yield job, {layer: LayerShard(states=states, scales=scales) for layer, states, scales in found["files"]}
        for left in path.glob(".*.tmp"):  # of workers that were lost
            left.unlink(missing_ok=True)


def _sent(job: Job, threads: int) -> dict[str, Any]:
    sent = {"number": job.number, "layers": list(job.layers), "dtype": job.dtype, "batch_tokens": job.batch_tokens}
    return {**sent, "threads": threads}


def _arrays(encoded: Encoded) -> dict[str, np.ndarray | None]:
    return {"ids": encoded.ids, "offsets": encoded.offsets, "segments": encoded.segments}


def fill_on_worker(
    asked: dict[str, Any], same: dict[str, Any], place: str, sent: dict[str, Any], arrays: dict[str, np.ndarray | None]
) -> dict[str, Any]:
    """Fill a shard; runs on a worker.

    Args:
        asked: the arguments of `load_trunk`.
        same: the fingerprint that the trunk has to have.
        place: the directory of the store.
        sent: the job, but for its sequences, which are all, and the threads to compute with.
        arrays: `ids`, `offsets` and `segments` of these, in the store's order.

    Returns:
        dict: `files`, of each layer its number and checksums; or of `error_facts`.
    """
    try:
        return {"files": _filled(asked, same, Path(place), sent, arrays)}
    except Exception as error:
        return error_facts(error)


def _filled(
    asked: dict[str, Any], same: dict[str, Any], path: Path, sent: dict[str, Any], arrays: dict[str, Any]
) -> list[tuple[int, str, str | None]]:
    import torch

    from trunkline.trunk.shared import shared_trunk

    if not (path / "store.json").is_file():
        raise BadInput(
            f"{path}: is not found by a worker; expected a store on a disk that all machines share, under one name "
            "(TRUNKLINE_CACHE)"
        )
    torch.set_num_threads(sent["threads"])
    trunk = shared_trunk(**asked)
    if asdict(trunk.fingerprint) != same:
        raise BadInput(f"{asked['name']}: a worker finds another trunk of that name, expected the same on all machines")
    count = len(arrays["offsets"]) - 1
    # Arrays that came through Ray's store may not be written to, as torch wants to be able to.
    own: dict[str, Any] = {name: None if part is None else part.copy() for name, part in arrays.items()}
    encoded = Encoded(**own, text_of=np.arange(count, dtype=np.int32), unit_rows=None, unit_offsets=None)
    job = Job(sent["number"], np.arange(count), tuple(sent["layers"]), sent["dtype"], sent["batch_tokens"])
    files = fill_shard(trunk, encoded, path, job)
    return [(layer, entry.states, entry.scales) for layer, entry in files.items()]
