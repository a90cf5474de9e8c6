"""`distill`: a student trained as a config says; the same call again resumes, or returns the result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trunkline.errors import TRAIN_AGAIN, BadInput
from trunkline.events import AlreadyFinished, Publisher, RunEnded, StopRun, Subscriber
from trunkline.files import path_of, read_object, write_text
from trunkline.terminal import leads
from trunkline.trackers.student_progress import StudentProgress, shown_from_python
from trunkline.training import rundir
from trunkline.training.agreement import wait_for_all
from trunkline.training.clock import Clock
from trunkline.training.distillation import folder
from trunkline.training.distillation.config import DistillConfig, load_distillation, resolve_distillation
from trunkline.training.distillation.distillation import Distillation
from trunkline.training.overrides import override
from trunkline.training.resumable import Interrupted


@dataclass(frozen=True, repr=False)
class DistillResult:
    """What a finished distillation leaves: `summary` is result.json, `path` the student's folder, absolute: a trunk."""

    path: Path
    summary: dict[str, Any]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The losses on validation (and the mean of training) after each epoch; the first entry is before training."""
        return list(self.summary["history"])

    @property
    def findings(self) -> list[str]:
        """What was noticed about the data and the losses, a sentence each."""
        return list(self.summary["findings"])

    def __repr__(self) -> str:
        first, last = self.history[0]["validation"]["loss"], self.history[-1]["validation"]["loss"]
        return f"DistillResult({str(self.path)!r}), validation loss {first:.4g} -> {last:.4g}"


def distill(
    config: Any,
    *,
    out: str | Path,
    fresh: bool = False,
    overrides: str | Sequence[str] | Mapping[str, Any] = (),
    progress: bool = True,
    subscribers: Iterable[Subscriber] = (),
) -> DistillResult:
    """Train a smaller trunk on the layer states of another; its folder is a trunk like any other.

    The same call again resumes a distillation that was stopped, or returns the result of one that is finished.

    Args:
        config: a YAML file, the same as a mapping, or a resolved config; in a mapping, `data.train` may be data in memory.
        out: the student's folder: new, empty, or that of this distillation.
        fresh: throw away what an earlier distillation has left in it.
        overrides: changes to the config: `["training.epochs=3"]`, or as a mapping `{"training.epochs": 3}`.
        progress: write what happens to stderr, with bars where that is a terminal.
        subscribers: told of what happens (trunkline.events); one that raises `StopRun` stops the distillation.

    Raises:
        BadInput: the config, the data, the teacher or the folder cannot be used; nothing was written.
        StopRun: a subscriber has raised it.
        KeyboardInterrupt: stopped by SIGINT (Ctrl-C) or SIGTERM; once training has begun, after a checkpoint was saved.
    """
    clock = Clock()
    with shown_from_python() if progress and leads() else nullcontext() as display:
        found = distill_config(config, overrides)
        where = path_of(out, "out", "the folder of the student")
        try:
            return run_distillation(found, where, fresh, [*([] if display is None else [display]), *subscribers], clock)
        except Interrupted:
            if isinstance(display, StudentProgress):
                display.line("interrupted; a checkpoint was saved, and the same call of distill resumes")
            raise


def distill_config(config: Any, overrides: str | Sequence[str] | Mapping[str, Any] = ()) -> DistillConfig:
    """The resolved config of what `distill` was given."""
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...').strip()}"
                     for key, value in overrides.items()]  # fmt: skip
    overrides = [overrides] if isinstance(overrides, str) else list(overrides)
    if isinstance(config, DistillConfig):
        if overrides:
            raise BadInput("overrides: found some with a resolved config, expected them with a file or a mapping")
        return config
    if isinstance(config, str | os.PathLike):
        return load_distillation(Path(config), overrides)
    values = override(dict(config), tuple(overrides)) if isinstance(config, Mapping) else config
    return resolve_distillation(values, overrides=overrides)


def run_distillation(
    config: DistillConfig, out: Path, fresh: bool, subscribers: Iterable[Subscriber], clock: Clock
) -> DistillResult:
    """As `distill`, of a resolved config, telling `subscribers` alone."""
    path = Path(os.path.abspath(out.expanduser()))
    rundir.check_path(path, "student")
    folder.refuse_other(path)
    if path.exists() and (teacher := Path(config.trunk.name)).is_dir() and teacher.samefile(path):
        raise BadInput(f"{path}: is the folder of the teacher; expected another one for the student")
    with config.naming():
        made = Distillation(config, Publisher(subscribers), clock)
    main = made.accelerator.is_main_process
    with folder.claimed(path) if main else nullcontext():
        if main and fresh:
            folder.clear(path)
        wait_for_all(made.accelerator)
        if done := _finished(path, made.identity):
            if main:
                folder.drop_checkpoint(path)
            made.publish(AlreadyFinished(path))
            return done
        folder.check(path, made.identity)
        if main:
            write_text(path / folder.CONFIG, yaml.safe_dump(made.config.as_dict(), sort_keys=False, allow_unicode=True))
        try:
            summary = made.train(path)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                made.publish(RunEnded(path, "interrupted"))
            else:
                made.publish(RunEnded(path, "stopped" if isinstance(error, StopRun) else "failed"))
            raise
        wait_for_all(made.accelerator)
        made.publish(RunEnded(path, "finished", summary))
    return DistillResult(path, summary)


def _finished(path: Path, identity: str) -> DistillResult | None:
    """The result of an earlier distillation in `path`, if it is finished and of this identity."""
    if not (path / folder.RESULT).exists():
        return None
    summary = read_object(path / folder.RESULT)
    if summary.get("identity") != identity:
        raise folder.another(path)
    if (name := folder.altered(path, summary.get("files", {}))) is not None:
        problem = f"{path / name}: not as this distillation has written it"
        raise BadInput(problem, remedy="restore it", option=TRAIN_AGAIN)
    return DistillResult(path, summary)
