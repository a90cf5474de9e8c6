"""A run while it is under way: from a resolved config to trained branches, their scores on held-out data and their cost."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed

from trunkline.branches import TrunkShape
from trunkline.files import cache_dir, write_json
from trunkline.states.budget import OverBudget
from trunkline.states.live import Feed, LiveStates
from trunkline.states.store import build_store
from trunkline.training.branch import Branch, TrunkRef, save_branch
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost, count_parameters, directory_bytes, peak_memory
from trunkline.training.learner import Learner
from trunkline.training.loop import Loop, Say, SplitFeed
from trunkline.training.prepare import Prepared, Split, data_digest, encode_split, prepare, split_digest
from trunkline.trunk.load import Trunk, load_trunk


def quiet(event: str, **fields: Any) -> None:
    """A `say` that tells nobody."""


class Run:
    """One training with all that it needs: tasks and splits, the trunk, a learner per task. Making it writes nothing.

    Args:
        config: resolved.
        say: told of what happens.

    Raises:
        BadInput: the data or the trunk cannot be used.
    """

    def __init__(self, config: RunConfig, say: Say) -> None:
        self.config = config
        self.accelerator = Accelerator(cpu=config.trunk.device == "cpu")
        self.say = say if self.accelerator.is_main_process else quiet
        set_seed(config.training.seed)
        self.prepared = prepare(config)
        self.trunk = open_trunk(config, self.accelerator)
        self.max_length = config.trunk.max_length or self.trunk.max_length
        self.precision = config.training.precision if config.training.precision != "auto" else self.trunk.dtype
        encode_splits(self.prepared, self.trunk, self.max_length)
        for finding in self.prepared.findings:
            self.say("finding", text=finding)
        self.identity = run_identity(config, self.prepared, self.trunk, self.precision)
        shape = TrunkShape(self.trunk.num_layers, self.trunk.hidden_size)
        self.learners = {
            name: Learner(task, config.method, shape, config.training, self.accelerator.device)
            for name, task in self.prepared.tasks.items()
        }
        self.cost = Cost(
            trunk_parameters=count_parameters(self.trunk.model),
            trained_parameters={
                name: sum(count_parameters(module) for module in learner.modules()) for name, learner in self.learners.items()
            },
        )

    @property
    def layers(self) -> list[int]:
        """Every layer that some task may read."""
        return sorted(set().union(*(learner.branch.layers for learner in self.learners.values())))

    def loop(self, path: Path) -> Loop:
        """The training loop on the splits' feeds, with its checkpoint below `path`."""
        tasks, splits = self.prepared.tasks, self.prepared.splits
        train, validation = (
            SplitFeed(self.open_feed(splits[name]), splits[name].supervision(tasks)) for name in ("train", "validation")
        )
        return Loop(
            self.learners,
            train,
            validation,
            self.config.training,
            precision=self.precision,
            accelerator=self.accelerator,
            checkpoint=path / "checkpoint",
            identity=self.identity,
            cost=self.cost,
            say=self.say,
        )

    def train(self, path: Path, began: float) -> dict[str, Any]:
        """Train, judge on the test split, save the branches below `path`; return the summary that result.json holds."""
        self.say("tasks", tasks=self.prepared.tasks, trunk=self.trunk, path=path, cost=self.cost)
        splits = self.prepared.splits
        loop = self.loop(path)
        before = time.monotonic() - began
        position, self.cost = loop.run()
        after = time.monotonic()
        metrics = self._judge(loop)
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, peak_memory(self.accelerator.device))
        self.cost.seconds = before + position.seconds + time.monotonic() - after
        summary: dict[str, Any] = {
            "identity": self.identity,
            "run": str(path),
            "trunk": {"name": self.trunk.name, "dtype": self.trunk.dtype, "precision": self.precision},
            "rows": {name: len(split.corpus.texts) for name, split in splits.items()},
            "digests": {name: split_digest(split) for name, split in splits.items()},
            "findings": self.prepared.findings,
            "tasks": {},
            "history": position.history,
        }
        for name, learner in self.learners.items():
            branch = self._branch(name, learner, metrics[name])
            if self.accelerator.is_main_process:
                save_branch(branch, path / "branches" / name)
                self.cost.disk_bytes[name] = directory_bytes(path / "branches" / name)
            summary["tasks"][name] = {
                "kind": learner.task.kind,
                "method": self.config.method.name,
                "monitor": learner.task.monitor,
                **metrics[name],
                "branch": str(path / "branches" / name),
                "layers": {str(layer): round(weight, 6) for layer, weight in branch.layer_weights().items()},
                "reads": list(branch.module.wanted()),
            }
        summary["cost"] = self.cost.as_dict()
        summary["seconds"] = round(self.cost.seconds, 2)
        if self.accelerator.is_main_process:
            write_json(path / "result.json", summary)
            shutil.rmtree(path / "checkpoint", ignore_errors=True)
        return summary

    def open_feed(self, split: Split) -> Feed:
        """The layer states of a split, from the store or live, as `training.states` says."""
        training = self.config.training
        assert split.encoded is not None
        if training.states == "live":
            return LiveStates(self.trunk, split.encoded)
        budget = None if training.states_budget_gb is None else int(training.states_budget_gb * 1e9)
        began = time.monotonic()
        try:
            with self.accelerator.main_process_first():
                store = build_store(
                    self.trunk,
                    split.encoded,
                    root=cache_dir() / "states",
                    layers=self.layers,
                    dtype=training.states_dtype,
                    budget_bytes=budget,
                    progress=lambda done, total: self.say("states", split=split.name, done=done, total=total),
                )
        except OverBudget as error:
            if training.states == "store":
                raise
            self.say("finding", text=f"{error}; the trunk runs in every epoch instead (training.states: live)")
            return LiveStates(self.trunk, split.encoded)
        self.cost.states_seconds += time.monotonic() - began
        self.cost.states_bytes += directory_bytes(store.path)
        return store

    def _judge(self, loop: Loop) -> dict[str, dict[str, Any]]:
        """Metrics of the best weights on validation and, once, on test; thresholds are tuned on validation first."""
        metrics: dict[str, dict[str, Any]] = {name: {} for name in self.learners}
        for learner in self.learners.values():
            learner.train(False)
        for split_name in ("validation", "test"):
            if (split := self.prepared.splits.get(split_name)) is None:
                continue
            assert split.encoded is not None
            supervision = split.supervision(self.prepared.tasks)
            # The test texts are read once, so storing their states would not pay.
            feed = loop.validation.feed if split_name == "validation" else LiveStates(self.trunk, split.encoded)
            logits = loop.logits(self.learners, SplitFeed(feed, supervision))
            for name, learner in self.learners.items():
                if split_name == "validation":
                    learner.task.tune(logits[name], supervision[name].targets)
                metrics[name][split_name] = supervision[name].score(learner.criterion, logits[name])
        return metrics

    def _branch(self, name: str, learner: Learner, metrics: dict[str, Any]) -> Branch:
        learner.branch.cpu().eval()
        learner.criterion.cpu().eval()
        cost = {
            "trained_parameters": self.cost.trained_parameters[name],
            "trunk_parameters": self.cost.trunk_parameters,
            "steps_to_best": self.cost.steps_to_best.get(name, 0),
            "seconds": round(self.cost.seconds, 2),
        }
        return Branch(
            learner.task, self.config.method, learner.branch, learner.criterion, TrunkRef.of(self.trunk),
            self.max_length, self.precision, self.config.data.text, self.config.data.text_pair, metrics, cost,
        )  # fmt: skip


def open_trunk(config: RunConfig, accelerator: Accelerator) -> Trunk:
    """Load the config's trunk on the device that this process is to use."""
    section = config.trunk
    device = str(accelerator.device) if section.device == "auto" else section.device
    return load_trunk(section.name, revision=section.revision, stack=section.stack, dtype=section.dtype, device=device)


def encode_splits(prepared: Prepared, trunk: Trunk, max_length: int) -> None:
    """Tokenise all splits; add a finding where texts had to be cut."""
    windows = any(task.level == "unit" for task in prepared.tasks.values())
    for name, split in prepared.splits.items():
        encoded = encode_split(split, trunk, max_length, windows)
        long = encoded.truncated or len(encoded.text_of) - encoded.n_texts
        if long and not windows:
            prepared.findings.append(
                f"{name}: {long} of {encoded.n_texts} texts are longer than {max_length} tokens and were cut"
            )


def run_identity(config: RunConfig, prepared: Prepared, trunk: Trunk, precision: str) -> str:
    """sha256 (hex) of all that the result depends on: config, data, trunk, and the precisions that `auto` stood for."""
    parts = [
        config.identity(),
        data_digest(prepared),
        trunk.fingerprint.weights,
        trunk.fingerprint.tokenizer,
        trunk.dtype,
        precision,
    ]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
