"""`distill`: a student trained as a config says; the same call again resumes, or returns the result."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from trunkline.allocator import keep_freed_memory
from trunkline.errors import BadInput
from trunkline.events import AlreadyFinished, Finding, Preparing, Publisher, RunEnded, RunStarted, StopRun, Subscriber, quiet
from trunkline.files import path_of, read_object, write_json, write_text
from trunkline.model.frozen import FROZEN
from trunkline.terminal import leads
from trunkline.trackers.student_progress import StudentProgress, shown_from_python
from trunkline.training import rundir
from trunkline.training.agreement import agreed
from trunkline.training.checkpoint import noted_states
from trunkline.training.clock import Clock
from trunkline.training.cost import Cost, count_parameters, peak_memory
from trunkline.training.distillation import folder
from trunkline.training.distillation.config import DistillConfig, load_distillation, resolve_distillation
from trunkline.training.distillation.data import encode_texts, read_texts
from trunkline.training.distillation.learner import StudentLearner
from trunkline.training.distillation.loop import STUDENT, StudentLoop, Texts
from trunkline.training.distillation.losses import Comparison
from trunkline.training.distillation.student import Student, make_student
from trunkline.training.environment import environment
from trunkline.training.feeds import Feeds
from trunkline.training.loop import Interrupted
from trunkline.training.overrides import override
from trunkline.trunk.fastest import pick_backend
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.trunk.machine import pick_device, pick_dtype
from trunkline.trunk.pretrained import quiet_loading
from trunkline.trunk.shared import shared_trunk


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


class Distillation:
    """A distillation with all that it needs, before anything of it is written: texts, teacher, student, losses.

    Args:
        config: resolved.
        publish: told of what happens.
        clock: what is counted from the beginning.

    Raises:
        BadInput: the data, the teacher or the student cannot be used.
    """

    def __init__(self, config: DistillConfig, publish: Subscriber, clock: Clock) -> None:
        self.config, self.clock = config, clock
        keep_freed_memory()
        self.accelerator = Accelerator(cpu=config.trunk.device == "cpu")
        self.publish = publish if self.accelerator.is_main_process else quiet
        self.publish(Preparing("reading the data"))
        with clock.part("read"):
            self.splits, self.findings = read_texts(config)
        self.publish(Preparing(f"loading the trunk {config.trunk.name}"))
        with clock.part("load"):
            self.teacher, original = self._open_teacher()
            self.student: Student = make_student(original, config.student, config.training.seed)
        self.comparison = Comparison(config.losses, self.student, original)
        if not self.comparison.reaches_last:
            self.findings.append(
                f"no mse or cosine loss compares layer {self.student.num_layers}, the student's last: some weights of its last "
                "block stay as they begin."
            )
        self.precision: str = config.training.precision
        if self.precision == "auto":
            self.precision = agreed(self.accelerator, lambda: pick_dtype("auto", self.accelerator.device))
        self.publish(Preparing(f"tokenizing {sum(len(split.corpus) for split in self.splits.values()):,} texts"))
        with clock.part("read"):
            self.findings += encode_texts(self.splits, self.teacher, config.trunk.max_length or self.teacher.max_length)
        self.identity = self._identity()
        self.feeds = Feeds(config, self.teacher, self.accelerator, self.publish)
        self.cost = Cost(trunk_parameters=count_parameters(original.model))
        self.cost.trained_parameters[STUDENT] = count_parameters(self.student)

    def _open_teacher(self) -> tuple[Trunk, Trunk]:
        """The teacher that computes states, and the same in fp32 and torch, which the student begins as."""
        section = self.config.trunk
        place = pick_device(str(self.accelerator.device) if section.device == "auto" else section.device)
        backend, dtype = agreed(self.accelerator, lambda: pick_backend(section.backend, section.dtype, place))
        if backend == "torch":
            dtype = agreed(self.accelerator, lambda: pick_dtype(dtype, place))
        common: dict[str, Any] = {"revision": section.revision, "stack": section.stack, "device": place}
        original = load_trunk(section.name, dtype="fp32", **common)
        if backend == "torch" and dtype == "fp32":
            return original, original
        return shared_trunk(section.name, dtype=dtype, backend=backend, **common), original

    def _identity(self) -> str:
        """sha256 (hex) of all that the result depends on: config, texts, teacher, and the precisions that `auto` stood for."""
        parts = [self.config.identity(), *astuple(self.teacher.fingerprint), self.teacher.computed_in, self.precision]
        parts += [split.encoded.digest() for split in self.splits.values() if split.encoded is not None]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def described(self) -> dict[str, Any]:
        """What is going to be done, as plain JSON."""
        teacher, student = self.teacher, self.student
        return {
            "teacher": {
                "name": teacher.name,
                "revision": teacher.revision,
                "architecture": teacher.architecture,
                "layers": teacher.num_layers,
                "hidden_size": teacher.hidden_size,
                "parameters": self.cost.trunk_parameters,
                "dtype": teacher.dtype,
                "fingerprint": asdict(teacher.fingerprint),
            },
            "student": {
                "layers": student.num_layers,
                "blocks": student.blocks,
                "weights": self.config.student.weights,
                "hidden_size": student.hidden_size,
                "parameters": count_parameters(student.model),
                "projection": 0 if student.projection is None else count_parameters(student.projection),
            },
            "losses": self.comparison.described(),
            "precision": self.precision,
            "rows": {name: len(split.corpus) for name, split in self.splits.items()},
            "tokens": {name: int(self._lengths(name).sum()) for name in self.splits},
            "findings": self.findings,
        }

    def plan(self) -> dict[str, Any]:
        """As `described`, and how many tokens the states of which are not stored yet (None: no states are to be stored).

        Raises:
            OverBudget: `training.states: store`, and they are too large.
        """
        layers = self.comparison.teacher_layers
        lacking = [self.feeds.lacking(split, FROZEN, layers) for split in self.splits.values()]
        tokens = None if None in lacking else sum(count or 0 for count in lacking)
        return self.described() | {"states": {"layers": list(layers), "tokens_to_compute": tokens}}

    def _lengths(self, split: str) -> Any:
        encoded = self.splits[split].encoded
        assert encoded is not None
        return encoded.lengths

    def loop(self, checkpoint: Path) -> StudentLoop:
        """The training loop, with the teacher's layer states opened; those that are not stored yet are computed."""
        texts, noted = {}, noted_states(checkpoint)
        for name, split in self.splits.items():
            assert split.encoded is not None
            with self.clock.part("states"):
                texts[name] = Texts(
                    split.encoded,
                    *self.feeds.open(split, FROZEN, self.comparison.teacher_layers, self.cost, noted.get(name)),
                )
        return StudentLoop(
            StudentLearner(self.student, self.config.training),
            self.comparison,
            self.teacher,
            texts,
            self.config.training,
            precision=self.precision,
            accelerator=self.accelerator,
            checkpoint=checkpoint,
            identity=self.identity,
            cost=self.cost,
            publish=self.publish,
            clock=self.clock,
        )

    def train(self, path: Path) -> dict[str, Any]:
        """Train the student and write it to its folder `path`, which is claimed; return the summary."""
        trained = {STUDENT: self.cost.trained_parameters[STUDENT]}
        self.publish(RunStarted(path, self.identity, self.config.as_dict(), (), trained, ()))
        for finding in self.findings:
            self.publish(Finding(finding))
        position, self.cost = self.loop(path / folder.CHECKPOINT).run()
        summary: dict[str, Any] = {"identity": self.identity, "folder": str(path), **self.described()}
        if self.accelerator.is_main_process:
            with self.clock.part("saving"):
                files = folder.put_trunk(path, self._write_trunk)
            saved = load_trunk(path, dtype="fp32", device="cpu", stack=self.config.trunk.stack)
            summary["student"]["fingerprint"] = asdict(saved.fingerprint)
            summary["files"] = files
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, peak_memory(self.accelerator.device))
        spent = self.clock.as_dict()
        self.cost.seconds, self.cost.parts = spent["seconds"], spent["parts"]
        summary |= {
            "history": position.history,
            "cost": self.cost.as_dict(),
            "environment": environment(self.accelerator),
            "seconds": round(self.cost.seconds, 2),
        }
        if self.accelerator.is_main_process:
            write_json(path / folder.RESULT, summary)
            folder.drop_checkpoint(path)
        return summary

    def _write_trunk(self, where: Path) -> None:
        with quiet_loading():  # no bar of the library's while it saves
            self.student.model.to("cpu").save_pretrained(where)
        self.teacher.tokenizer.save_pretrained(where)


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
    rundir.check_path(path)
    folder.refuse_other(path)
    with config.naming():
        made = Distillation(config, Publisher(subscribers), clock)
    main = made.accelerator.is_main_process
    with folder.claimed(path) if main else nullcontext():
        if main and fresh:
            folder.clear(path)
        made.accelerator.wait_for_everyone()
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
        made.accelerator.wait_for_everyone()
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
        raise BadInput(
            f"{path / name}: not as this distillation has written it; restore it, or train again with --fresh "
            "(fresh=True in Python)"
        )
    return DistillResult(path, summary)
