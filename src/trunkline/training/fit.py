"""One run: from a config to trained branches, their scores on held-out data and what they cost."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from accelerate.utils import set_seed

from trunkline.branches import TrunkShape
from trunkline.errors import BadInput, TrunklineError
from trunkline.files import cache_dir, write_json, write_text
from trunkline.states.budget import OverBudget
from trunkline.states.live import Feed, LiveStates
from trunkline.states.store import build_store
from trunkline.training.branch import Branch, TrunkRef, save_branch
from trunkline.training.config import RunConfig, load_config, resolve
from trunkline.training.cost import Cost, count_parameters, directory_bytes, peak_memory
from trunkline.training.learner import Learner
from trunkline.training.loop import Loop, Say, SplitFeed
from trunkline.training.prepare import Prepared, Split, data_digest, encode_split, prepare
from trunkline.trunk.load import Trunk, load_trunk


@dataclass
class RunResult:
    """What a finished run leaves: `summary` is result.json, `path` the run's directory."""

    path: Path
    summary: dict[str, Any]

    @property
    def tasks(self) -> dict[str, Any]:
        """By task: validation and test metrics, the branch's directory, the layers it reads."""
        return self.summary["tasks"]

    @property
    def cost(self) -> dict[str, Any]:
        return self.summary["cost"]

    @property
    def branches(self) -> dict[str, Path]:
        """The directory of each task's branch."""
        return {name: self.path / "branches" / name for name in self.tasks}


def quiet(event: str, **fields: Any) -> None:
    """A `say` that tells nobody."""


def fit(
    config: str | Path | dict[str, Any] | RunConfig,
    *,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    overrides: list[str] | tuple[str, ...] = (),
    name: str | None = None,
    say: Say = quiet,
) -> RunResult:
    """Train the tasks of `config` and return their scores.

    The same call again continues a run that was stopped, or returns the result of one that is finished.

    Args:
        config: a YAML file, the same as a mapping, or a resolved config.
        run_dir: where to keep the run; by default `runs/<name>-<hash of config, data and trunk>`.
        fresh: throw away what an earlier run of the same config has left.
        overrides: `key.sub=value`, for a YAML file.
        name: of the run; by default that of the YAML file, or "run".
        say: told of what happens, for a progress display.

    Raises:
        BadInput: the config or the data cannot be used; nothing was written.
        Interrupted: stopped by a signal, after saving.
    """
    began = time.monotonic()
    if isinstance(config, (str, Path)):
        name, config = name or Path(config).stem, load_config(config, overrides)
    elif isinstance(config, dict):
        config = resolve(config)
    accelerator = Accelerator(cpu=config.trunk.device == "cpu")
    set_seed(config.training.seed)
    say = say if accelerator.is_main_process else quiet
    prepared = prepare(config)
    trunk = open_trunk(config, accelerator)
    max_length = config.trunk.max_length or trunk.max_length
    precision = config.training.precision if config.training.precision != "auto" else trunk.dtype
    encode_splits(prepared, trunk, max_length)
    for finding in prepared.findings:
        say("finding", text=finding)
    identity = run_identity(config, prepared, trunk, precision)
    path = Path(run_dir) if run_dir else Path("runs") / f"{name or 'run'}-{identity[:8]}"
    with claimed(path, accelerator):
        if fresh and accelerator.is_main_process:
            _clear(path)
        accelerator.wait_for_everyone()
        if done := finished(path, identity):
            say("finished_before", path=path)
            return done
        if accelerator.is_main_process:
            write_text(path / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
        run = Run(config, prepared, trunk, precision, max_length, identity, path, accelerator, say)
        summary = run.train(began)
        accelerator.wait_for_everyone()
    return RunResult(path, summary)


class Run:
    """The parts of one run while it is under way."""

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        trunk: Trunk,
        precision: str,
        max_length: int,
        identity: str,
        path: Path,
        accelerator: Accelerator,
        say: Say,
    ) -> None:
        self.config, self.prepared, self.trunk, self.precision = config, prepared, trunk, precision
        self.max_length, self.identity, self.path = max_length, identity, path
        self.accelerator, self.say = accelerator, say
        shape = TrunkShape(trunk.num_layers, trunk.hidden_size)
        self.learners = {
            name: Learner(task, config.method, shape, config.training, accelerator.device)
            for name, task in prepared.tasks.items()
        }
        self.cost = Cost(
            trunk_parameters=count_parameters(trunk.model),
            trained_parameters={
                name: sum(count_parameters(module) for module in learner.modules()) for name, learner in self.learners.items()
            },
        )
        self.say("tasks", tasks=prepared.tasks, trunk=trunk, path=path, cost=self.cost)

    def train(self, began: float) -> dict[str, Any]:
        """Train, judge on the test split, save the branches; return the summary that result.json holds."""
        splits = self.prepared.splits
        feeds = {name: self.open_feed(splits[name]) for name in ("train", "validation")}
        loop = Loop(
            self.learners,
            SplitFeed(feeds["train"], splits["train"].supervision(self.prepared.tasks)),
            SplitFeed(feeds["validation"], splits["validation"].supervision(self.prepared.tasks)),
            self.config.training,
            precision=self.precision,
            accelerator=self.accelerator,
            checkpoint=self.path / "checkpoint",
            identity=self.identity,
            cost=self.cost,
            say=self.say,
        )
        before = time.monotonic() - began
        position, self.cost = loop.run()
        after = time.monotonic()
        metrics = self._judge(loop)
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, peak_memory(self.accelerator.device))
        self.cost.seconds = before + position.seconds + time.monotonic() - after
        summary: dict[str, Any] = {
            "identity": self.identity,
            "run": str(self.path),
            "trunk": {"name": self.trunk.name, "dtype": self.trunk.dtype, "precision": self.precision},
            "rows": {name: len(split.corpus.texts) for name, split in splits.items()},
            "findings": self.prepared.findings,
            "tasks": {},
            "history": position.history,
        }
        for name, learner in self.learners.items():
            branch = self._branch(name, learner, metrics[name])
            if self.accelerator.is_main_process:
                save_branch(branch, self.path / "branches" / name)
                self.cost.disk_bytes[name] = directory_bytes(self.path / "branches" / name)
            summary["tasks"][name] = {
                "kind": learner.task.kind,
                "method": self.config.method.name,
                "monitor": learner.task.monitor,
                **metrics[name],
                "branch": str(self.path / "branches" / name),
                "layers": {str(layer): round(weight, 6) for layer, weight in branch.layer_weights().items()},
                "reads": list(branch.module.wanted()),
            }
        summary["cost"] = self.cost.as_dict()
        summary["seconds"] = round(self.cost.seconds, 2)
        if self.accelerator.is_main_process:
            write_json(self.path / "result.json", summary)
            shutil.rmtree(self.path / "checkpoint", ignore_errors=True)
        return summary

    def open_feed(self, split: Split) -> Feed:
        """The layer states of a split, from the store or live, as `training.states` says."""
        training = self.config.training
        assert split.encoded is not None
        if training.states == "live":
            return LiveStates(self.trunk, split.encoded)
        layers = sorted(set().union(*(learner.branch.layers for learner in self.learners.values())))
        budget = None if training.states_budget_gb is None else int(training.states_budget_gb * 1e9)
        began = time.monotonic()
        try:
            with self.accelerator.main_process_first():
                store = build_store(
                    self.trunk,
                    split.encoded,
                    root=cache_dir() / "states",
                    layers=layers,
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


def finished(path: Path, identity: str) -> RunResult | None:
    """The result of an earlier run in `path`, if it is finished and of the same identity."""
    file = path / "result.json"
    if not file.exists():
        return None
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{file}: not JSON; use --fresh to train anew") from None
    if summary.get("identity") != identity:
        raise BadInput(f"{path}: holds a run of another config, other data or another trunk; give another directory or --fresh")
    return RunResult(path, summary)


@contextmanager
def claimed(path: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the run's directory for this process alone (with its siblings of one launch) while the block runs."""
    if not accelerator.is_main_process:
        yield
        return
    path.mkdir(parents=True, exist_ok=True)
    with open(path / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TrunklineError(f"{path}: another process is training this run") from None
        yield


def _clear(path: Path) -> None:
    for name in ("checkpoint", "branches"):
        shutil.rmtree(path / name, ignore_errors=True)
    (path / "result.json").unlink(missing_ok=True)
