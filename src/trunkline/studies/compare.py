"""`trunkline.compare`: a study from its config to what it has found. The same call again resumes it, or returns that."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from trunkline.events import ColumnsInterpreted, Event, Preparing, Publisher, Subscriber
from trunkline.studies.checks import check
from trunkline.studies.estimates.forecasting import Keeper, ahead, measure, rows_of
from trunkline.studies.estimates.kept import compared, keep_paces, paces_of
from trunkline.studies.estimates.pace import Forecast
from trunkline.studies.facts import write_facts
from trunkline.studies.floor_runs import train_floors
from trunkline.studies.given import study_given
from trunkline.studies.progress import StudyProgress
from trunkline.studies.readings import Readings, note_data, refuse_changed
from trunkline.studies.study import Elsewhere, Study
from trunkline.studies.times import measure_times
from trunkline.studies.trunks import Trunks
from trunkline.studies.unit_events import UnitEnded
from trunkline.studies.wording import score
from trunkline.terminal import leads, refuse_launch
from trunkline.trackers.lines import stderr_of_python
from trunkline.training.keywords import overrides_of
from trunkline.training.resumable import Interrupted


@dataclass(repr=False)
class Comparison:
    """What a study has found: `summary` is what `--json` prints, `path` the study's folder."""

    path: Path
    summary: dict[str, Any]

    @property
    def findings(self) -> list[str]:
        """What is to be noticed, a sentence each."""
        return list(self.summary["findings"])

    def __repr__(self) -> str:
        """The folder, then by task a line for each method: its test score, and the settings that were chosen."""
        lines = [f"Comparison({str(self.path)!r})" + ("" if self.summary["finished"] else ", not finished")]
        for name, task in self.summary["tasks"].items():
            lines.append(f"  {name} ({task['metric']} on test)")
            cells = [cell for cell in self.summary["cells"] if name in cell["tasks"]]
            several = {key for key in ("trunk", "size", "regime") if len({cell[key] for cell in self.summary["cells"]}) > 1}
            called = [", ".join([cell["method"], *(f"{key} {cell[key]}" for key in sorted(several))]) for cell in cells]
            width = max(map(len, called), default=0)
            for cell, label in zip(cells, called, strict=True):
                chosen = ", ".join(f"{key} {value}" for key, value in (cell["settings"] or {}).items())
                lines.append(f"    {label:{width}}  {score(cell['tasks'][name])}  {chosen}".rstrip())
        return "\n".join([*lines, *(f"  note: {finding}" for finding in self.findings)])


def compare(
    study: str | PathLike[str] | Mapping[str, Any],
    *,
    out: str | PathLike[str] | None = None,
    overrides: str | Sequence[str] | Mapping[str, Any] = (),
    progress: bool = True,
    subscribers: Iterable[Subscriber] = (),
) -> Comparison:
    """Train and compare all methods of a study; return what was found.

    The same call again resumes a study that was stopped, trains what was added to its config, or returns what it found.

    Args:
        study: a YAML file, or the same as a mapping. Or a file with data, an embedded name or a hub id, whose columns are
            found by themselves: then probe, adalayers and lora are compared.
        out: where to keep the study; by default `studies/` and the name of the config or of the data ("study" for a mapping).
        overrides: changes to the config: `["study.seeds=1"]`, or as a mapping `{"study.seeds": 1}`.
        progress: write what happens to stderr, with bars where that is a terminal.
        subscribers: told of what happens in the study (studies/unit_events.py) and its runs (trunkline.events).

    Raises:
        BadInput: the config, the data or the folder cannot be used; nothing was trained.
        KeyboardInterrupt: stopped by SIGINT (Ctrl-C) or SIGTERM; what is finished is kept, what was under way has a checkpoint.
    """
    given = study_given(study, overrides_of(overrides))
    own = Study(given.plan, Path("studies") / given.name if out is None else Path(out))
    console = stderr_of_python() if progress and leads() else None
    found = run(own, console, given.sentences, subscribers)
    if console is not None:
        console.print(repr(found), markup=False, soft_wrap=True)
    return found


def run(
    study: Study,
    console: Console | None,
    sentences: Sequence[str] = (),
    subscribers: Iterable[Subscriber] = (),
    elsewhere: Elsewhere | None = None,
) -> Comparison:
    """Check a study, train what it lacks and return what it has found.

    Args:
        study: to be trained.
        console: where its progress is shown, if it is.
        sentences: how the columns of its data were interpreted, if they were.
        subscribers: told of what happens.
        elsewhere: trains units in other processes.

    Raises:
        BadInput: in a launch of several processes.
    """
    refuse_launch("compare", "one process; start the same study several times instead, which share its runs")
    with _interrupted(study):
        forecast = Forecast()
        display = None if console is None else StudyProgress(console, study, forecast)
        with nullcontext() if display is None else display:
            publish = Publisher([*([] if display is None else [display]), Keeper(study, forecast), _Found(study), *subscribers])
            if sentences:
                publish(ColumnsInterpreted(tuple(sentences)))
            study.refuse_other()
            publish(Preparing("reading the data"))
            readings, trunks, left = Readings(), Trunks(study), ahead(study)
            if left:
                forecast.rows.update(rows_of(check(study.plan, readings)))
            refuse_changed(study, readings)
            trunks.refuse_changed()
            if left:
                study.claim()
                note_data(study, readings)
                trunks.note()
            del readings
            if left:
                forecast.paces.update(paces_of(study))
                if measure(study, forecast, publish):
                    keep_paces(study, forecast.paces)
                train_floors(study, publish, lambda what: publish(Preparing(what)))
            study.train(publish, elsewhere=elsewhere)
            measure_times(study, lambda what: publish(Preparing(what)))
            publish(Preparing("comparing what was found"))
            found = write_facts(study)
        return Comparison(Path(os.path.abspath(study.path)), {**found, "estimate": compared(study)})


class _Found:
    """A subscriber that keeps what a study has found so far, so that one that is under way or was killed can be reported.

    Not after every unit: comparing takes a twentieth of the time at most.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.next = study, 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, UnitEnded) and (began := time.monotonic()) >= self.next:
            write_facts(self.study)
            ended = time.monotonic()
            self.next = ended + 19 * (ended - began)


@contextmanager
def _interrupted(study: Study) -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, and an interruption say what is kept."""
    before: Any = None
    main = threading.current_thread() is threading.main_thread()
    if main:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as error:
        kept = f"{study.done():,} of {study.plan.total():,} runs are done and kept in {study.path}"
        saved = "; what was under way has a checkpoint" if isinstance(error, Interrupted) else ""
        raise KeyboardInterrupt(f"interrupted: {kept}{saved}; the same command resumes") from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
