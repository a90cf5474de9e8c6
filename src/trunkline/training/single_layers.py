"""Every single layer beside the branch of a run: the comparison of the AdaLayers document.

    from trunkline.training.single_layers import fit_single_layers
    found = fit_single_layers("runs/emotion-1a2b3c4d", "emotion")

For each layer a branch that reads it alone (method `single_layer`) is trained on the run's own training rows, from the same
states, all of them in one go: a batch is read once, and the branches are computed as one stack. Each stops and keeps its best
weights by itself, by validation, as it would in a run of its own; with equal draws it is that run's branch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accelerate import Accelerator

from trunkline.branches import TrunkShape
from trunkline.branches.adalayers import FeatureConfig
from trunkline.branches.heads import begin_at
from trunkline.branches.single_layer import SingleLayerConfig
from trunkline.errors import BadInput
from trunkline.events import Preparing, Subscriber, quiet
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part, make_part
from trunkline.tasks import Task
from trunkline.training.calibration import calibrate
from trunkline.training.config import RunConfig, load_config
from trunkline.training.cost import Cost
from trunkline.training.decision import fit_decision
from trunkline.training.feeds import Feeds
from trunkline.training.learner import Learner
from trunkline.training.loop import Interrupted, Loop
from trunkline.training.moments import standardise
from trunkline.training.pooled import pooled_split
from trunkline.training.prepare import Prepared, Split, encode_splits, prepare, split_digest
from trunkline.training.result import read_result
from trunkline.training.run import open_trunk
from trunkline.training.sampling import SharedTexts, SplitFeed, with_batches
from trunkline.training.supervision import Supervision
from trunkline.trunk.load import Trunk


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
    publish(Preparing(f"loading the trunk {config.trunk.name}"))
    accelerator = Accelerator(cpu=config.trunk.device == "cpu")
    with config.naming():
        trunk = open_trunk(config, accelerator)
    encode_splits(group, trunk, config.trunk.max_length or trunk.max_length)
    if trunk.compiled is not None and trunk.compiled.calibrates:
        calibrate(trunk, [group], config.training.drawn_by)
    config = with_batches(config, [group])
    precision: str = config.training.precision
    if precision == "auto":
        precision = approach_of(config.method).precision(trunk, config.trunk.dtype)
    parts = _parts(config, group, trunk, task)
    layers = {name: part.branch.layers[0] for name, part in parts.items()}
    learners = {name: Learner({name: part}, config.training, accelerator.device) for name, part in parts.items()}
    feeds, cost = Feeds(config, trunk, accelerator, publish), Cost()

    def opened(split: Split) -> SplitFeed:
        feed, _ = feeds.open(split, FROZEN, list(layers.values()), cost)
        return pooled_split(feed, _supervision(split, parts, task), {name: part.branch for name, part in parts.items()})

    sources = [SharedTexts(opened(group.splits["train"]), opened(group.splits["validation"]))]
    standardise(learners.values(), sources, config.training.seed)
    with TemporaryDirectory() as folder:
        loop = Loop(
            learners,
            sources,
            config.training,
            precision=precision,
            accelerator=accelerator,
            checkpoint=Path(folder) / "checkpoint",
            identity="single layers",
            cost=cost,
            publish=publish,
        )
        try:
            loop.run()
        except Interrupted:  # whose words are about a run that can be resumed
            raise KeyboardInterrupt("interrupted; nothing was written") from None
    found = _scores(loop, parts, group, trunk, task)
    own = group.tasks[task]
    ranked = {layers[name]: found[name]["validation"].get(own.monitor) for name in parts}
    known = {layer: score if own.higher_is_better else -score for layer, score in ranked.items() if score is not None}
    size = sum(p.numel() for p in next(iter(parts.values())).branch.parameters())
    return SingleLayers(
        own.monitor, {layers[name]: found[name] for name in parts}, max(known, key=known.__getitem__, default=None), size
    )


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


def _parts(config: RunConfig, group: Prepared, trunk: Trunk, task: str) -> dict[str, Part]:
    """By a name of its own, a part for each layer, with the weights that it would have in a run of its own."""
    shape, parts = TrunkShape(trunk.num_layers, trunk.hidden_size), dict[str, Part]()
    for layer in range(trunk.num_layers + 1):
        own = _copied(group.tasks[task])
        part = make_part(own, single_layer_of(config.method, layer), shape, config.training.seed)
        first = own.first_logits(group.splits["train"].targets[task])
        if first is not None:
            begin_at(part.branch, first)
        own.name = f"{task}, layer {layer}"
        parts[own.name] = part
    return parts


def _copied(task: Task) -> Task:
    """A task of which a threshold can be chosen without changing another."""
    own = copy.copy(task)
    own.learned = task.learned.model_copy()
    return own


def _supervision(split: Split, parts: Mapping[str, Part], task: str) -> dict[str, Supervision]:
    assert split.encoded is not None
    return {name: Supervision(part.task, split.targets[task], split.encoded) for name, part in parts.items()}


def _scores(
    loop: Loop, parts: Mapping[str, Part], group: Prepared, trunk: Trunk, task: str
) -> dict[str, dict[str, dict[str, Any]]]:
    """By part, the metrics of its best weights on validation, on which its decision is fitted, and on test."""
    for part in parts.values():
        part.branch.eval()
        part.criterion.eval()
    splits: dict[str, Callable[[], SplitFeed]] = {"validation": lambda: loop.sources[0].validation}
    if "test" in group.splits:
        test = group.splits["test"]
        assert test.encoded is not None
        encoded = test.encoded
        splits["test"] = lambda: SplitFeed(FROZEN.states(trunk, encoded), _supervision(test, parts, task))
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in parts}
    decided = dict(parts)
    for split, make in splits.items():
        read = make()
        logits = loop.logits(decided, read)
        for name, part in decided.items():
            own = read.supervision[name]
            if split == "validation":
                decision, _ = fit_decision(part, logits[name], own.answers.offsets, own.targets)
                decided[name] = part = replace(part, decision=decision)
            found[name][split] = own.judge(part, logits[name])
    return found
