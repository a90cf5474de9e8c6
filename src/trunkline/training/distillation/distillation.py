"""A distillation with all that it needs: texts, teacher, student and losses; then trained, and written to its folder."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trunkline.allocator import keep_freed_memory
from trunkline.events import Finding, Preparing, RunStarted, Subscriber, quiet
from trunkline.files import write_json
from trunkline.model.frozen import FROZEN
from trunkline.training.agreement import agreed
from trunkline.training.checkpoint import noted_states
from trunkline.training.clock import Clock
from trunkline.training.cost import Cost, count_parameters, peak_memory
from trunkline.training.distillation import folder
from trunkline.training.distillation.config import DistillConfig
from trunkline.training.distillation.data import encode_texts, read_texts
from trunkline.training.distillation.learner import StudentLearner
from trunkline.training.distillation.loop import STUDENT, StudentLoop, Texts
from trunkline.training.distillation.losses import Comparison
from trunkline.training.distillation.student import Student, make_student
from trunkline.training.environment import environment
from trunkline.training.feeds import Feeds
from trunkline.trunk.fastest import pick_backend
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.trunk.machine import pick_device, pick_dtype
from trunkline.trunk.pretrained import quiet_loading
from trunkline.trunk.shared import shared_trunk


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
