"""`trunkline sweep`: search the values of a config's keys, and train the best ones again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, below, err, guarded, out, program, tell
from trunkline.cli.on_ray import Engine, EngineName, RayOptions, resources_of
from trunkline.terminal import refuse_launch

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trunkline.events import Event

MOST_FINDINGS = 10


@guarded
def sweep(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML config with a section sweep.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the config, e.g. sweep.trials=50.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the sweep; sweeps/NAME by default.", show_default=False),
    ] = None,
    engine: Engine = EngineName.local,
    ray: RayOptions = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Search the values of a config's keys with Optuna; every trial is an ordinary run, judged on validation alone.

    The same command again continues a sweep that was stopped. Several at once, also on other machines, share its trials. The
    best settings are written to best.yaml, trained again and judged on test, once.

    [bold]Examples[/]

    \b
    trunkline sweep examples/studies/emotion_sweep.yaml
    trunkline sweep sweep.yaml sweep.trials=50
    trunkline sweep sweep.yaml sweep.storage=postgresql://user@host/trials
    """
    refuse_launch("sweep", "one process; start trunkline sweep several times instead, which share its trials")
    from trunkline.studies.sweep.storage import require_optuna

    require_optuna()
    resources = resources_of(engine, ray)
    tell(f"sweep {config}: loading libraries")
    from trunkline.studies.sweep.config import load_sweep
    from trunkline.studies.sweep.plan import Plan
    from trunkline.studies.sweep.search import Sweep

    plan = Plan(load_sweep(config, overrides or []))
    for finding in plan.findings[:MOST_FINDINGS]:
        tell(f"note: {finding}")
    if (more := len(plan.findings) - MOST_FINDINGS) > 0:
        tell(f"and {more:,} more notes, in --json")
    path = folder or Path("sweeps") / plan.config.name
    made = Sweep(plan, path)
    tell(f"{plan.trials} trials for the {'highest' if plan.goal.direction == 'maximize' else 'lowest'} {plan.goal.named()}")
    tell(f"the trials are kept in {made.storage.name}, the runs in {path}")
    with SweepProgress(plan.trials) as progress:
        if resources is not None:
            from trunkline.cluster import connected
            from trunkline.studies.on_ray import search_on_ray

            with connected(resources, progress.line) as cluster:
                search_on_ray(made, config, overrides or [], cluster, progress, progress.line)
        facts = made.search(progress, progress.line).facts
    if not as_json:
        show_sweep(facts)
    return facts


def short_names(keys: list[str]) -> dict[str, str]:
    """By key of the config what it is called in a line: its last part, where that tells it from the others."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def shown_value(value: Any) -> str:
    """A value of a setting, with the digits that matter."""
    import json

    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class SweepProgress:
    """A subscriber to a sweep: a line for each trial; on a terminal a bar for all of them, elsewhere a line a minute within a
    trial."""

    def __init__(self, total: int) -> None:
        from trunkline.trackers.bars import progress_bars
        from trunkline.trackers.every_minute import EveryMinute

        self.console, self.bars = err(), progress_bars(err())
        self._bar = self.bars.add_task("trials", total=total, note="")
        self._seconds: list[float] = []
        self._now, self._done, self._total, self._minute = "", 0, total, EveryMinute(self.console)

    def __enter__(self) -> SweepProgress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def line(self, sentence: str) -> None:
        from trunkline.terminal import wrapped

        width = self.console.width if self.console.is_terminal else None
        for part in wrapped(sentence, width):
            self.bars.console.print(part, markup=False, soft_wrap=True)
        self._minute.written()

    @property
    def _left(self) -> str:
        """How long the other trials take, in words."""
        from trunkline.trackers.wording import duration

        left = (self._total - self._done) * sum(self._seconds) / max(len(self._seconds), 1)
        return f"; about {duration(left)} left" if left >= 1 else ""

    def _meanwhile(self, what: str) -> None:
        """Say in a log, once a minute, how far that which is under way has come."""
        if self._minute.due:
            self.line(f"{self._now}{what}; {self._done} of {self._total} trials done{self._left}")

    def __call__(self, event: Event) -> None:
        from trunkline.events import BatchEnded, EvaluationProgress, Preparing, StatesProgress
        from trunkline.studies.sweep.trials import TrialEnded, TrialStarted
        from trunkline.trackers.wording import judged_reached, states_reached

        match event:
            case TrialStarted(number=number):
                self._now = f"trial {number}: "
                self.bars.update(self._bar, description=f"trial {number}", note="")
            case Preparing(what=what):
                self.bars.update(self._bar, note=what)
            case BatchEnded(epoch=epoch, batch=batch, batches=batches):
                self.bars.update(self._bar, note=(share := f"epoch {epoch + 1}, {batch / batches:.0%}"))
                self._meanwhile(share)
            case StatesProgress():
                self._meanwhile(states_reached(event))
            case EvaluationProgress():
                self._meanwhile(judged_reached(event))
            case TrialEnded():
                self._ended(event)

    def _ended(self, event: Any) -> None:
        from trunkline.trackers.wording import duration

        names = short_names(list(event.settings))
        settings = ", ".join(f"{names[key]} {shown_value(value)}" for key, value in event.settings.items())
        score = "-" if event.value is None else f"{event.value:.4f}"
        if event.state == "failed":
            score = f"failed ({event.why})"
        elif event.state == "pruned":
            score = f"pruned at {score}"
        elif event.best is not None and event.best[1] == event.number:
            score += ", the best so far"
        self._seconds.append(event.seconds)
        self._now, self._done, self._total = "", event.done, event.total
        count = f"{event.done:>{len(str(event.total))}}/{event.total}"
        self.line(f"{count}  trial {event.number}: {settings}: {score}; {duration(event.seconds)}{self._left}")
        self.bars.update(self._bar, completed=event.done, total=event.total)


def show_sweep(facts: Mapping[str, Any]) -> None:
    """Print the best trials, how much each key matters, and the scores of the best settings."""
    from rich.text import Text

    from trunkline.cli import show

    console, counts = out(), facts["trials"]
    console.print(_trials(facts))
    parts = [f"{counts[state]} {state}" for state in ("complete", "pruned", "failed") if counts[state]]
    console.print(Text(f"{counts['total']} trials: {', '.join(parts)}", style="dim"), "", sep="\n")
    if facts["importances"]:
        made = show.table("key", "importance", ">")
        most = max(facts["importances"].values())
        for key, share in facts["importances"].items():
            made.add_row(key, Text(show.bar(share, most), style="cyan"), f"{share:.0%}")
        console.print(made)
    if facts["tasks"]:
        console.print(_scores(facts))
    best = facts["best"]
    typed = shlex.quote(below(Path(best["config"])))
    tell(f"best settings: {below(Path(best['config']))}; {program()} fit {typed}")
    if facts["repeated"]:
        tell(f'predict:  {program()} predict {shlex.quote(below(Path(next(iter(facts["repeated"].values())))))} --text "..."')


def _trials(facts: Mapping[str, Any]) -> RenderableType:
    from trunkline.cli import show

    keys = list(facts["best"]["settings"])
    names, tasks = short_names(keys), list(facts["metrics"]) if len(facts["metrics"]) > 1 else []
    made = show.table(">trial", f">{facts['goal']}", *(f">{task}" for task in tasks), *(f">{names[key]}" for key in keys), ">s")
    for trial in facts["top"]:
        scores = (show.number(trial["scores"].get(task)) for task in tasks)
        seconds = "" if trial["seconds"] is None else f"{trial['seconds']:.1f}"
        values = (shown_value(trial["settings"][key]) for key in keys)
        made.add_row(str(trial["number"]), show.number(trial["value"]), *scores, *values, seconds)
    return made


def _scores(facts: Mapping[str, Any]) -> RenderableType:
    from trunkline.cli import show

    tasks = facts["tasks"]
    splits = [split for split in ("validation", "test") if any(split in task for task in tasks.values())]
    made = show.table("best settings", "metric", ">seeds", *(f">{split}" for split in splits))
    for name, task in tasks.items():
        cells = []
        for split in splits:
            found = task.get(split, {"mean": None, "deviation": None})
            spread = "" if found["deviation"] is None else f" ± {found['deviation']:.4f}"
            cells.append(show.number(found["mean"]) + spread)
        made.add_row(name, task["metric"], str(len(facts["repeated"])), *cells)
    return made
