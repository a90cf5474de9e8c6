"""Quality against depth: a config trained anew for every depth of the trunk.

    from trunkline.training.depths import fit_depths
    found = fit_depths("emotion.yaml", seeds=3)

Each depth d is an ordinary run of the same config with `method.layers: 0-d` (`method.layer: d` for a method that reads one
layer), which can be predicted with and is not trained again. All of them read the same states store. Where the config puts a
price on depth (`method.depth_penalty`), it is trained as it stands, too. What a pass costs is measured: the bare trunk, the
same texts to every depth in turn.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator

from trunkline.branches import Output, TrunkShape, methods
from trunkline.errors import BadInput
from trunkline.inputs.batching import token_batches
from trunkline.inputs.encoded import Encoded
from trunkline.model.approach import approach_of
from trunkline.outputs import output_file
from trunkline.states.live import LiveStates
from trunkline.tasks import kinds
from trunkline.tasks.base import LOWER_IS_BETTER
from trunkline.training.calibration import calibrate
from trunkline.training.config import RunConfig
from trunkline.training.fit import fit
from trunkline.training.given import config_of
from trunkline.training.prepare import encode_splits, prepare
from trunkline.training.run import open_trunk
from trunkline.trunk.load import Trunk

TEXTS, TOKENS, ROUNDS = 256, 4096, 7  # of validation that are timed, in batches of so many tokens, so many times
NEAR = 0.01  # one point of a metric from 0 to 1
COLUMNS = (
    "task", "metric", "by", "allowed", "blocks", "of", "share_of_blocks", "share_of_time", "seed", "validation", "test", "run"
)  # fmt: skip

Train = Callable[[RunConfig, str, Path | None, bool], Mapping[str, Any]]  # config, name, run_dir, fresh -> result.json


def fit_depths(
    config: Any,
    *,
    overrides: Sequence[str] = (),
    seeds: int = 1,
    name: str | None = None,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    train: Train | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Train a config for every depth of its trunk, and time the passes.

    Args:
        config: of side branches: what `fit` takes.
        overrides: changes to it, as of `fit`.
        seeds: how many for each depth: `training.seed` and those that follow it.
        name: of the runs; by default that of the file.
        run_dir: a folder for the runs; by default each is where `fit` puts it.
        fresh: train again what was trained.
        train: does a fit; `fit` by default.
        say: told, in a sentence, what is trained next.

    Returns:
        dict: `points`, one for each task and run, with a value for each of COLUMNS: the score by the monitored `metric` on
            validation and test; `by` what the depth was limited: "layers", up to the one `allowed`, or "depth_penalty"; and how
            many `blocks` its pass computes, which are fewer than allowed where upper layers were dropped. `share_of_time` is
            measured, in units of the pass through all blocks. And `findings`, a sentence for each task.

    Raises:
        BadInput: the config cannot be used, or its method does not read layers of a frozen trunk.
    """
    given = config_of(config, list(overrides))
    resolved, name = given.config, name or given.name or "run"
    with resolved.naming():
        if approach_of(resolved.method).changes_trunk:
            expected = "a side branch: a tuner changes the trunk, and what a pass through that costs is no choice of layers"
            raise BadInput(found=resolved.method.name, expected=expected, key="method.name")
        trunk = open_trunk(resolved, Accelerator(cpu=resolved.trunk.device == "cpu"))
        shape = TrunkShape(trunk.num_layers, trunk.hidden_size)
        chosen = list(variants(resolved, shape))
    say("timing passes of the trunk")
    times = shares_of_time(pass_seconds(trunk, _timed(resolved, trunk), range(trunk.num_layers + 1)))
    points: list[dict[str, Any]] = []
    runs = [(by, allowed, one, seed) for seed in range(seeds) for by, allowed, one in chosen]
    for number, (by, allowed, one, more) in enumerate(runs, 1):
        seed = resolved.training.seed + more
        training = resolved.training.model_copy(update={"seed": seed})
        limit = f"layers up to {allowed}" if by == "layers" else f"depth_penalty {one.depth_penalty:g}"
        say(f"run {number} of {len(runs)}: {limit}, seed {seed}")
        folder = (
            None if run_dir is None else Path(run_dir) / f"{f'depth-{allowed}' if by == 'layers' else 'priced'}-seed-{seed}"
        )
        variant = resolved.model_copy(update={"method": one, "training": training})
        summary = (train or _train)(variant, name, folder, fresh)
        for task, found in summary["tasks"].items():
            blocks, metric = max(found["reads"], default=0), found["monitor"]
            points.append(
                {
                    "task": task,
                    "metric": metric,
                    "by": by,
                    "allowed": allowed,
                    "blocks": blocks,
                    "of": shape.num_layers,
                    "share_of_blocks": round(blocks / shape.num_layers, 4),
                    "share_of_time": round(times[blocks], 4),
                    "seed": seed,
                    "validation": found["validation"].get(metric),
                    "test": found["test"].get(metric) if "test" in found else None,
                    "run": str(summary["run"]),
                }
            )
    return {"points": points, "findings": [said for task in resolved.tasks if (said := nearest(task, points))]}


def variants(config: RunConfig, trunk: TrunkShape) -> Iterator[tuple[str, int, Any]]:
    """By what depth is limited, the deepest layer that may be read, and the method's config: from the deepest to the lowest,
    as the states of all layers are then stored at once. A depth at which the method has too few layers is left out.

    Raises:
        BadInput: the method has no layers to choose.
    """
    method, fields = config.method, type(config.method).model_fields
    level = kinds.get(next(iter(config.tasks.values())).kind).answers.level
    layers = _layers(method, trunk, level)
    free = {"depth_penalty": 0.0} if "depth_penalty" in fields else {}
    if free and method.depth_penalty:
        yield "depth_penalty", layers[-1], method
    if "layers" in fields:
        yield "layers", layers[-1], method.model_copy(update=free)  # the run of the config itself
        for depth in reversed(layers[:-1]):
            kept = [layer for layer in layers if layer <= depth]
            said: Any = kept
            if kept == list(range(kept[0], depth + 1)):
                said = f"{kept[0]}-{depth}" if len(kept) > 1 else f"{depth}"
            lower = method.model_copy(update={"layers": said, **free})
            try:
                _layers(lower, trunk, level)
            except BadInput:
                continue
            yield "layers", depth, lower
    elif "layer" in fields:
        for depth in reversed(range(trunk.num_layers + 1)):
            yield "layers", depth, method.model_copy(update={"layer": depth})
    else:
        raise BadInput(found=method.name, expected="a method with the key layers or layer", key="method.name")


def _layers(method: Any, trunk: TrunkShape, level: Literal["text", "unit"]) -> tuple[int, ...]:
    """The layers that a branch of this config may read, as it says itself."""
    with torch.device("meta"):
        return methods.get(method.name)(method, trunk, Output(level, 2)).layers


def pass_seconds(trunk: Trunk, encoded: Encoded, depths: Collection[int], rounds: int = ROUNDS) -> dict[int, list[float]]:
    """Seconds of a pass of the bare trunk over all sequences up to each depth, by round; the depths take turns in a round, and
    a first one does not count."""
    feed = LiveStates(trunk, encoded)
    batches = token_batches(encoded.lengths, tokens=TOKENS)
    found: dict[int, list[float]] = {depth: [] for depth in depths}
    for turn in range(-1, rounds):
        for depth in depths if turn % 2 else reversed(list(depths)):
            began = time.perf_counter()
            for batch in batches:
                feed.feed(batch, (depth,), _unread)
            if trunk.device.type == "cuda":
                torch.cuda.synchronize(trunk.device)
            if turn >= 0:
                found[depth].append(time.perf_counter() - began)
    return found


def shares_of_time(seconds: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """By depth, the median over rounds of its seconds by those of the deepest in the same round."""
    full = seconds[max(seconds)]
    return {depth: statistics.median(t / f for t, f in zip(own, full, strict=True)) for depth, own in seconds.items()}


def lowest_near(task: str, points: Sequence[Mapping[str, Any]]) -> int | None:
    """The lowest depth allowed whose mean score on validation is at most one point below that of the full depth; None for a
    metric that has no points, or an undefined score."""
    own = [point for point in points if point["task"] == task and point["by"] == "layers"]
    if not own or own[0]["metric"] in LOWER_IS_BETTER:
        return None
    scores = {depth: means(own, depth)["validation"] for depth in sorted({point["allowed"] for point in own})}
    known = {depth: score for depth, score in scores.items() if score is not None}
    full = max(scores)
    return next((depth for depth, score in known.items() if score >= known[full] - NEAR), None) if full in known else None


def nearest(task: str, points: Sequence[Mapping[str, Any]]) -> str | None:
    """What `lowest_near` finds, as a sentence; None where it finds nothing."""
    depth = lowest_near(task, points)
    if depth is None:
        return None
    own = [point for point in points if point["task"] == task and point["by"] == "layers"]
    at, top, metric = means(own, depth), means(own, max(point["allowed"] for point in own)), own[0]["metric"]
    said = f"{task}: {at['blocks']:g} of {own[0]['of']} blocks ({at['share_of_time']:.2f}x of the full pass) are the fewest "
    said += f"within one point of {top['blocks']:g} on validation: {metric} {at['validation']:.4f} and {top['validation']:.4f}"
    return said if at["test"] is None or top["test"] is None else f"{said}, on test {at['test']:.4f} and {top['test']:.4f}"


def means(points: Sequence[Mapping[str, Any]], allowed: int) -> dict[str, float | None]:
    """The means over the seeds of those points whose depth is limited to `allowed`; None where a score is undefined."""
    own = [point for point in points if point["allowed"] == allowed]
    columns = {key: [point[key] for point in own] for key in ("blocks", "share_of_time", "validation", "test")}
    return {key: None if None in values else float(np.mean(values)) for key, values in columns.items()}


def write_points(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write points as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    with output_file(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def _unread(layer: int, rows: torch.Tensor) -> None:
    pass


def _timed(config: RunConfig, trunk: Trunk) -> Encoded:
    """The validation texts that are timed."""
    groups, max_length = prepare(config), config.trunk.max_length or trunk.max_length
    if trunk.compiled is not None and trunk.compiled.calibrates:
        for group in groups:
            encode_splits(group, trunk, max_length)
        calibrate(trunk, groups, config.training.drawn_by)
    corpus = groups[0].splits["validation"].corpus
    pairs = None if corpus.pairs is None else corpus.pairs[:TEXTS]
    return trunk.encode(corpus.texts[:TEXTS], pairs=pairs, max_length=max_length)


def _train(config: RunConfig, name: str, run_dir: Path | None, fresh: bool) -> Mapping[str, Any]:
    return fit(config, name=name, run_dir=run_dir, fresh=fresh).summary
