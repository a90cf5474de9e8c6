"""Every single layer beside the branch of a run: the comparison of the AdaLayers document.

    from trunkline.training.single_layers import fit_single_layers
    found = fit_single_layers("runs/emotion-1a2b3c4d", "emotion")

For each layer a branch that reads it alone (method `single_layer`) is trained on the run's own training rows, from the same
states, all of them in one go: a batch is read once, and the branches are computed as one stack. Each stops and keeps its best
weights by itself, by validation, as it would in a run of its own; with equal draws it is that run's branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trunkline.branches.adalayers import FeatureConfig
from trunkline.branches.single_layer import SingleLayerConfig
from trunkline.errors import BadInput, TrunklineError
from trunkline.events import Subscriber, quiet
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.training.auto.choosing import chosen
from trunkline.training.config import RunConfig, load_config
from trunkline.training.judging import judge
from trunkline.training.members import Member, loop_of, opened
from trunkline.training.prepare import Prepared, prepare, split_digest
from trunkline.training.result import read_result
from trunkline.training.resumable import Interrupted
from trunkline.training.run import Run
from trunkline.training.stages import Stage


@dataclass(frozen=True)
class SingleLayers:
    """What branches of single layers score.

    Attributes:
        metric: that the task goes by.
        scores: for each layer, its metrics by split: validation, and test where the run has one; of the best weights.
        chosen: the layer with the best `metric` on validation, of equal ones the lower; None where it is undefined for all.
        parameters: that each has.
    """

    metric: str
    scores: dict[int, dict[str, dict[str, Any]]]
    chosen: int | None
    parameters: int


def fit_single_layers(run: str | Path, task: str, publish: Subscriber = quiet) -> SingleLayers:
    """Train a branch for every single layer of the trunk of a run, and score them on validation and test. Writes no run.

    Args:
        run: its directory.
        task: one of its tasks.
        publish: told of what happens.

    Raises:
        BadInput: no finished run; one that changes its trunk; or its data are not there, or not what it was trained on.
    """
    run = Path(run)
    config, group = _own(run, task)
    config = chosen(config, run, task)
    with config.naming():
        base = Run(config, publish, groups=[group])
    layers = range(base.trunk.num_layers + 1)
    stages = {layer: Stage("", (task,), single_layer_of(config.method, layer)) for layer in layers}
    members = {
        layer: Member(f"layer {layer}", base.learners(stage)[0], config.training.seed) for layer, stage in stages.items()
    }
    with TemporaryDirectory() as folder:
        checkpoint, own = Path(folder) / "checkpoint", list(members.values())
        loop = loop_of(base, base.config, own, opened(base, own, checkpoint), checkpoint, "single layers")
        try:
            loop.run()
        except Interrupted:  # whose words are about a run that can be resumed
            raise KeyboardInterrupt("interrupted; nothing was written") from None
    if failed := next(filter(None, (member.failed for member in members.values())), None):
        raise TrunklineError(failed)
    parts = {key: part for member in members.values() for key, part in member.parts().items()}
    judged = judge(parts, base.groups, parts, base.trunk, FROZEN, loop)
    scores = {layer: judged[member.key(task)].metrics for layer, member in members.items()}
    about = group.tasks[task]
    ranked = {layer: found["validation"].get(about.monitor) for layer, found in scores.items()}
    known = {layer: score if about.higher_is_better else -score for layer, score in ranked.items() if score is not None}
    size = sum(p.numel() for p in next(iter(parts.values())).branch.parameters())
    return SingleLayers(about.monitor, scores, max(known, key=known.__getitem__, default=None), size)


def _own(run: Path, task: str) -> tuple[RunConfig, Prepared]:
    """The config of a run, and the texts of a task as they were when it was trained."""
    if not (run / "config.yaml").is_file():
        raise BadInput(f"{run}: not a run, as it has no config.yaml; expected one, whose data single layers are trained on")
    result, config = read_result(run), load_config(run / "config.yaml")
    if approach_of(config.method).changes_trunk:
        raise BadInput(
            f"{run}: its method, {config.method.name}, changes the trunk; expected a side branch, beside which a single layer "
            "of the same states can be put"
        )
    if task not in config.tasks:
        raise BadInput(f"{run}: its config has no task {task}")
    group = next(one for one in prepare(config, only=[task]) if task in one.tasks)
    digests, several = result.get("digests"), f"{group.name}/train" in result["rows"]
    for name, split in group.splits.items():
        if digests is not None and split_digest(split) != digests.get(f"{group.name}/{name}" if several else name):
            raise BadInput(f"{run}: its {name} data have changed since it was trained; expected them as they were")
    return config, group


def single_layer_of(method: Any, layer: int) -> SingleLayerConfig:
    """The config of a branch that reads one layer with the head of `method`, or with the default one if that has another."""
    alike = {key: getattr(method, key) for key in FeatureConfig.model_fields} if isinstance(method, FeatureConfig) else {}
    return SingleLayerConfig(layer=layer, **alike)
