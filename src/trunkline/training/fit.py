"""`fit`: train what a config says, once; the same call again resumes the run, or returns its result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trunkline.branches.auto import AutoConfig
from trunkline.data.guess.names import ByTask
from trunkline.errors import TRAIN_AGAIN, BadInput
from trunkline.events import AlreadyFinished, ColumnsInterpreted, Publisher, RunEnded, StopRun, Subscriber, metric_name
from trunkline.files import write_text
from trunkline.terminal import leads
from trunkline.trackers import trackers
from trunkline.trackers.progress import shown_from_python
from trunkline.training import rundir
from trunkline.training.agreement import wait_for_all
from trunkline.training.auto import choosing
from trunkline.training.clock import Clock
from trunkline.training.config import RunConfig
from trunkline.training.cost import forget_peak
from trunkline.training.given import config_of
from trunkline.training.keywords import refuse_more
from trunkline.training.result import auto_sentence, decision_sentence, depth_sentence, read_result, tuned_sentence
from trunkline.training.resumable import Interrupted
from trunkline.training.run import Run
from trunkline.training.train import Training

MOST_FINDINGS, MOST_TASKS = 6, 20  # that the repr of a result shows


@dataclass(repr=False)
class RunResult:
    """What a finished run leaves: `summary` is result.json, `path` the run's directory, absolute. `Bundle.open` takes it."""

    path: Path
    summary: dict[str, Any]

    def __post_init__(self) -> None:
        self.path = Path(os.path.abspath(self.path))  # the same folder after a change of the working directory

    @property
    def tasks(self) -> dict[str, Any]:
        """By task: validation and test metrics, the branch's directory, the layers it reads.

        A task that was named after a column is also found by the column's name.
        """
        return ByTask(self.summary["tasks"])

    @property
    def findings(self) -> list[str]:
        """What was noticed about the data and the scores, a sentence each."""
        return list(self.summary.get("findings", ()))

    @property
    def cost(self) -> dict[str, Any]:
        return self.summary["cost"]

    @property
    def branches(self) -> dict[str, Path]:
        """The directory of each task's branch."""
        return ByTask({name: self.path / "branches" / name for name in self.tasks})

    def __repr__(self) -> str:
        """The directory and the time, then a line for each task: its metric and that of its baseline on validation and test.

        The first findings follow, and how to predict.
        """
        lines = [f"RunResult({str(self.path)!r}), {self.cost.get('seconds', 0):.1f} s", *self.score_lines()]
        lines += [f"  note: {finding}" for finding in self.findings[:MOST_FINDINGS]]
        if (more := len(self.findings) - MOST_FINDINGS) > 0:
            lines.append(f"  and {more:,} more in .findings")
        return "\n".join([*lines, f"  to predict: trunkline.Bundle.open({str(self.path)!r})"])

    def score_lines(self) -> list[str]:
        """A line for each task, up to a number of tasks: its metric and that of its baseline on validation and test."""
        lines: list[str] = []
        width = max((len(name) for name in self.tasks), default=0)
        for name, task in list(self.tasks.items())[:MOST_TASKS]:
            metric, shown, errors = task["monitor"], [], []
            for split in ("validation", "test"):
                if split in task:
                    score, least = task[split].get(metric), task.get("baseline", {}).get(split, {}).get(metric)
                    beside = "" if least is None else f" (baseline {least:.4f})"
                    if least is None and "mae" in task[split] and "mae" in task.get("baseline", {}).get(split, {}):
                        errors.append(f"{split} {task[split]['mae']:.4g} (baseline {task['baseline'][split]['mae']:.4g})")
                    shown.append(f"{split} {'undefined' if score is None else format(score, '.4f')}{beside}")
            lines.append("  ".join([f"  {name:{width}}", metric_name(metric, task.get("positive")), *shown]))
            if errors:  # of a number, whose mean as the baseline correlates with nothing
                lines.append("  ".join([f"  {'':{width}}", "mae", *errors]))
            sentences = (say(task) for say in (tuned_sentence, depth_sentence, decision_sentence))
            lines += [f"  {'':{width}}  {said}" for said in (auto_sentence(self.summary, name), *sentences) if said]
        if (more := len(self.tasks) - MOST_TASKS) > 0:
            lines.append(f"  and {more:,} more in .tasks")
        return lines


def fit(
    config: Any,
    *more: Any,
    text: str | int | None = None,
    label: str | int | Sequence[str | int] | None = None,
    tasks: Mapping[str, Any] | None = None,
    missing: str | Sequence[str] | None = None,
    method: str | Mapping[str, Any] | None = None,
    validation: Any = None,
    test: Any = None,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    overrides: str | Sequence[str] | Mapping[str, Any] = (),
    name: str | None = None,
    progress: bool = True,
    subscribers: Iterable[Subscriber] = (),
    **others: Any,
) -> RunResult:
    """Train the tasks of a config, or of data whose text and label columns are found by themselves; return their scores.

    The same call again continues a run that was stopped, or returns the result of one that is finished.

    Args:
        config: a YAML file, the same as a mapping, or a resolved config. Or data alone: a file, an embedded name, a hub id or a
            list of files; a pandas DataFrame, an Arrow table, a data set or a DatasetDict of `datasets`, a mapping of columns
            to lists, a list of rows as mappings.
        text: with data alone, the column of the texts.
        label: with data alone, the column of labels, or several; each becomes a task of the kind that its values suggest.
        tasks: with data alone, the tasks as a config has them.
        missing: with data alone, the strings that stand for a missing value beside labels, such as "N/A" (`data.missing` of a
            config). None and NaN always are missing.
        method: with data alone, the name of a method such as "lora", or the `method` section of a config; AdaLayers by default.
        validation: with data alone, more data, or a share such as "10%" of it; 10% by default.
        test: likewise; False for no test split.
        run_dir: where to keep the run; by default `runs/<name>-<hash of config, data and trunk>`.
        fresh: throw away what an earlier run in this directory has left.
        overrides: changes to the config: `["training.epochs=3"]`, or as a mapping `{"training.epochs": 3}`.
        name: of the run; by default that of the file, or "run" ("data" for data in memory).
        progress: write what happens to stderr, with bars where that is a terminal.
        subscribers: told of what happens (trunkline.events), besides the config's trackers; one that raises `StopRun` stops the
            run.
        more, others: none; what else is given is answered with what works in its place.

    Raises:
        TypeError: an argument that there is not.
        BadInput: the config, the data or the directory cannot be used; nothing was written.
        StopRun: a subscriber has raised it.
        KeyboardInterrupt: stopped by SIGINT (Ctrl-C) or SIGTERM; once training has begun, after a checkpoint was saved.
    """
    clock = Clock()
    refuse_more(more, others)
    with shown_from_python() if progress and leads() else nullcontext() as display:
        subscribers = [*([] if display is None else [display]), *subscribers]
        with clock.part("read"):
            given = config_of(
                config,
                overrides,
                text=text,
                label=label,
                tasks=tasks,
                missing=missing,
                method=method,
                validation=validation,
                test=test,
            )
        if given.sentences:
            Publisher(subscribers)(ColumnsInterpreted(given.sentences))
        where = None if run_dir is None else Path(run_dir)
        try:
            result = _fit(given.config, name or given.name or "run", where, fresh, subscribers, clock)
        except Interrupted:
            if display is not None:
                display.line("interrupted; a checkpoint was saved, and the same call of fit resumes")
            raise
        if display is not None:
            for line in (*result.score_lines(), f"the run is in {result.path}"):
                display.line(line, indent=4)
        return result


def _fit(
    config: RunConfig, name: str, run_dir: Path | None, fresh: bool, subscribers: list[Subscriber], clock: Clock
) -> RunResult:
    if "/" in name or "\0" in name:
        raise BadInput(f"name: found {name!r}, expected one without '/', as the run's folder is called by it")
    rundir.check_path(run_dir or Path("runs") / f"{name}-{'0' * 8}")
    forget_peak()
    with config.naming():
        run = Run(config, Publisher([*subscribers, *_trackers_of(config)]), clock)
    path = run_dir or Path("runs") / f"{name}-{run.identity[:8]}"
    main = run.accelerator.is_main_process
    with rundir.claimed(path) if main else nullcontext():  # for its siblings of one launch, too
        if main:
            rundir.tidy(path)
        if main and fresh:
            rundir.clear(path)
        wait_for_all(run.accelerator)
        if done := finished(path, run.identity, run.older_identity):
            if main:
                rundir.drop_checkpoint(path)  # of a run that was killed at its very end
            run.publish(AlreadyFinished(path))
            told = done.summary.get("findings", [])
            done.summary["findings"] = [*(one for one in config.memory.findings if one not in told), *told]
            return done
        rundir.check(path, run.identity)
        if main:
            write_text(path / rundir.CONFIG, yaml.safe_dump(run.config.as_dict(), sort_keys=False, allow_unicode=True))
        try:
            summary = choosing.train(run, path) if isinstance(config.method, AutoConfig) else Training(run, path).train()
        except StopRun:
            if main:
                rundir.give_up(path)
            run.publish(RunEnded(path, "stopped"))
            raise
        except BaseException as error:
            run.publish(RunEnded(path, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"))
            raise
        wait_for_all(run.accelerator)
        run.publish(RunEnded(path, "finished", summary))
    return RunResult(path, summary)


def _trackers_of(config: RunConfig) -> list[Subscriber]:
    made: list[Subscriber] = []
    for number, section in enumerate(config.trackers):
        try:
            made.append(trackers.get(section.name)(section))
        except BadInput as error:  # it does not know its place in the list
            raise error.at("", f"trackers.{number}.name") from None
    return made


def finished(path: Path, *identities: str) -> RunResult | None:
    """The result of an earlier run in `path`, if it is finished and of one of these identities."""
    if not (path / rundir.RESULT).exists():
        return None
    summary = read_result(path)
    if summary["identity"] not in identities:
        raise rundir.another_run(path)
    result = RunResult(path, summary)
    if gone := [folder for folder in result.branches.values() if rundir.missing_branch(folder)]:
        problem = f"{gone[0]}: this branch is missing, though its run is finished"
        raise BadInput(problem, remedy="restore it", option=TRAIN_AGAIN)
    return result
