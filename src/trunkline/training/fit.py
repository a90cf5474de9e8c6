"""`fit`: train what a config says, once; the same call again goes on with it, or returns what is there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trunkline.errors import BadInput
from trunkline.events import AlreadyFinished, Publisher, RunEnded, Subscriber
from trunkline.files import write_text
from trunkline.trackers import trackers
from trunkline.training import rundir
from trunkline.training.config import RunConfig, load_config, resolve
from trunkline.training.loop import Interrupted
from trunkline.training.result import read_result
from trunkline.training.run import Run


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


def fit(
    config: str | Path | dict[str, Any] | RunConfig,
    *,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    overrides: list[str] | tuple[str, ...] = (),
    name: str | None = None,
    subscribers: Iterable[Subscriber] = (),
) -> RunResult:
    """Train the tasks of `config` and return their scores.

    The same call again continues a run that was stopped, or returns the result of one that is finished.

    Args:
        config: a YAML file, the same as a mapping, or a resolved config.
        run_dir: where to keep the run; by default `runs/<name>-<hash of config, data and trunk>`.
        fresh: throw away what an earlier run in this directory has left.
        overrides: `key.sub=value`, for a YAML file.
        name: of the run; by default that of the YAML file, or "run".
        subscribers: told of what happens (trunkline.events), besides the config's trackers.

    Raises:
        BadInput: the config, the data or the directory cannot be used; nothing was written.
        Interrupted: stopped by a signal, after saving.
    """
    began = time.monotonic()
    if isinstance(config, (str, Path)):
        name, config = name or Path(config).stem, load_config(config, overrides)
    elif isinstance(config, dict):
        config = resolve(config)
    if name is not None and ("/" in name or "\0" in name):
        raise BadInput(f"name: found {name!r}, expected one without '/', as the run's folder is called by it")
    rundir.check_path(Path(run_dir) if run_dir else Path("runs") / f"{name or 'run'}-{'0' * 8}")
    with config.naming():
        run = Run(config, Publisher([*subscribers, *(trackers.get(one.name)(one) for one in config.trackers)]))
    path = Path(run_dir) if run_dir else Path("runs") / f"{name or 'run'}-{run.identity[:8]}"
    leads = run.accelerator.is_main_process
    with rundir.claimed(path) if leads else nullcontext():  # for its siblings of one launch, too
        if leads:
            rundir.tidy(path)
        if leads and fresh:
            rundir.clear(path)
        run.accelerator.wait_for_everyone()
        if done := finished(path, run.identity, run.older_identity):
            if leads:
                rundir.drop_checkpoint(path)  # of a run that was killed at its very end
            run.publish(AlreadyFinished(path))
            return done
        rundir.check(path, run.identity)
        if leads:
            write_text(path / rundir.CONFIG, yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
        try:
            summary = run.train(path, began)
        except BaseException as error:
            asked = isinstance(error, (Interrupted, KeyboardInterrupt))
            run.publish(RunEnded(path, "interrupted" if asked else "failed"))
            raise
        run.accelerator.wait_for_everyone()
        run.publish(RunEnded(path, "finished", summary))
    return RunResult(path, summary)


def finished(path: Path, *identities: str) -> RunResult | None:
    """The result of an earlier run in `path`, if it is finished and of one of these identities."""
    if not (path / rundir.RESULT).exists():
        return None
    summary = read_result(path)
    if summary["identity"] not in identities:
        raise rundir.foreign(path)
    result = RunResult(path, summary)
    if gone := [folder for folder in result.branches.values() if rundir.missing_branch(folder)]:
        raise BadInput(f"{gone[0]}: this branch is gone, though its run is finished; put it back, or train anew with --fresh")
    return result
