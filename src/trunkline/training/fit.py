"""`fit`: train what a config says, once; the same call again goes on with it, or returns what is there."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import sweep, write_text
from trunkline.training.config import RunConfig, load_config, resolve
from trunkline.training.loop import Say
from trunkline.training.result import read_result
from trunkline.training.run import Run, quiet


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
    with config.naming():
        run = Run(config, say)
    path = Path(run_dir) if run_dir else Path("runs") / f"{name or 'run'}-{run.identity[:8]}"
    with claimed(path, run.accelerator):
        if fresh and run.accelerator.is_main_process:
            _clear(path)
        if run.accelerator.is_main_process:
            for folder in (path, path / "branches", path / "checkpoint", *path.glob("stages/*")):
                sweep(folder, earlier=lambda left: True)
        run.accelerator.wait_for_everyone()
        if done := finished(path, run.identity, run.older_identity):
            shutil.rmtree(path / "checkpoint", ignore_errors=True)  # of a run that was killed at its very end
            run.say("finished_before", path=path)
            return done
        if run.accelerator.is_main_process:
            write_text(path / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
        summary = run.train(path, began)
        run.accelerator.wait_for_everyone()
    return RunResult(path, summary)


def finished(path: Path, *identities: str) -> RunResult | None:
    """The result of an earlier run in `path`, if it is finished and of one of these identities."""
    if not (path / "result.json").exists():
        return None
    summary = read_result(path)
    if summary["identity"] not in identities:
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
    for name in ("checkpoint", "stages", "branches"):
        shutil.rmtree(path / name, ignore_errors=True)
    (path / "result.json").unlink(missing_ok=True)
