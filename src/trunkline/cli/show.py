"""Results as tables and bars for a terminal; everything here takes plain numbers and returns what rich can print."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trunkline.cli.common import UNLIMITED
from trunkline.errors import ascii_controls, label_name
from trunkline.events import metric_name
from trunkline.model.pass_cost import pass_sentence
from trunkline.states.budget import readable
from trunkline.training.result import decision_sentence, depth_sentence, tuned_sentence, weighs_layers

BAR = 24  # characters of a full bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


def table(*columns: str) -> Table:
    """A plain table: text on the left, numbers (columns whose name starts with '>') on the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        made.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return made


def number(value: Any) -> str:
    """A metric, four digits after the point; '-' where it is undefined."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics that are one number."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def headline(metrics: Mapping[str, Any], monitor: str) -> dict[str, Any]:
    """The monitored metric, then those that people ask for: not every average of precision and recall."""
    shown = {monitor: metrics[monitor]} if monitor in metrics else {}
    for name, value in flat(metrics).items():
        # One label per text makes every micro average equal to the accuracy.
        twin = name.endswith("_micro") and value == metrics.get("accuracy")
        if not name.startswith(("precision_", "recall_")) and name != "loss" and not twin:
            shown.setdefault(name, value)
    return shown


def scores(
    tasks: Mapping[str, Mapping[str, Any]], splits: Sequence[str] = ("validation", "test"), head: str = "task"
) -> RenderableType:
    """Metrics by task (rows) and split (columns), as a run's summary has them, each beside what its baseline has."""
    splits = [split for split in splits if any(split in task for task in tasks.values())]
    rules = {name: task["baseline"]["rule"] for name, task in tasks.items() if task.get("baseline")}
    pairs = [(split, of) for split in splits for of in ((split, "baseline") if rules else (split,))]
    made = table(head, "metric", *(f">{of}" for _, of in pairs))
    for name, task in tasks.items():
        monitor = task["monitor"]
        names = dict.fromkeys(metric for split in splits for metric in headline(task.get(split, {}), monitor))
        for row, metric in enumerate(names):
            style = "bold" if metric == monitor else ""
            cells = []
            for split, of in pairs:
                found = task.get(split) if of == split else task.get("baseline", {}).get(split)
                missing = of == "baseline" and metric not in (found or {})  # no loss is computed for it
                cells.append(Text("" if missing else number((found or {}).get(metric)), style=style if of == split else "dim"))
            made.add_row(
                Text(name if row == 0 else "", style="bold"),
                Text(metric_name(metric, task.get("positive")), style=style),
                *cells,
                end_section=row == len(names) - 1,
            )
    said = [(name, say(task)) for name, task in tasks.items() for say in (tuned_sentence, depth_sentence, decision_sentence)]
    notes = [Text(f"{ascii_controls(name)}: {sentence}", style="dim") for name, sentence in said if sentence]
    return Group(made, *baseline_rules(rules), *notes) if rules or notes else made


def baseline_rules(rules: Mapping[str, str]) -> list[Text]:
    """What the baselines of tasks are, a line for each rule."""
    tasks: dict[str, list[str]] = {}
    for name, rule in rules.items():
        tasks.setdefault(rule, []).append(name)
    of = {rule: f" of {', '.join(names)}" if len(tasks) > 1 else "" for rule, names in tasks.items()}
    return [Text(f"baseline{ascii_controls(of[rule])}: always {rule}", style="dim") for rule in tasks]


def titled(title: str, *parts: RenderableType) -> Group:
    """Parts under a title, which may be wider than they are: a table's own title would be broken to the table's width."""
    return Group(Text(title, style="bold"), *parts)


def by_label(metrics: Mapping[str, Any], title: str) -> RenderableType | None:
    """The nested table of a task's metrics: a row for each label or entity type."""
    rows = metrics.get("by_label")
    if not rows:
        return None
    names = list(next(iter(rows.values())))
    made = table("label", *(f">{name}" for name in names))
    for label, values in rows.items():
        made.add_row(Text(label_name(label)), *(number(values[name]) for name in names))
    return titled(title, made)


def bar(share: float, full: float) -> str:
    """A bar of `share`, where `full` would fill BAR characters; in eighths of a character."""
    eighths = round(8 * BAR * share / full) if full else 0
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def layers(weights: Mapping[int, float], reads: Collection[int], title: str = "") -> RenderableType:
    """The share of each layer as a bar, and which layers are read at all."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right")
    grid.add_column(min_width=BAR, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    largest = max(weights.values(), default=0)
    for layer in sorted({*weights, *reads}):
        share = weights.get(layer)
        note = "not read" if layer not in reads else "read" if share is None else f"{share:6.1%}"
        grid.add_row(
            Text(str(layer)),
            Text(bar(share or 0, largest), style="cyan"),
            Text(note, style="dim" if layer not in reads else ""),
        )
    return titled(title, grid) if title else grid


def layers_of(tasks: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """The layer bars of the tasks of a run that weigh layers, side by side where a terminal has room."""
    parts: list[RenderableType] = []
    for name, task in tasks.items():
        if not weighs_layers(task):
            continue
        weights = {int(layer): share for layer, share in task["layers"].items()}
        bars = layers(weights, task["reads"], f"{name} reads {ranges(task['reads'])}")
        parts.append(Padding(bars, (0, 3, 1, 0), expand=False))
    return _SideBySide(parts)


def by_layer(tasks: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """What branches have measured or chosen of each layer: a row for each layer, a column for each task and measure."""
    named = {name: task["by_layer"] for name, task in tasks.items() if task.get("by_layer")}
    columns = {(name, what): values for name, found in named.items() for what, values in found.items()}
    made = table(">layer", *(f">{name}: {what}" if len(tasks) > 1 else f">{what}" for name, what in columns))
    for layer in sorted({int(layer) for values in columns.values() for layer in values}):
        cells = (values.get(str(layer)) for values in columns.values())
        made.add_row(str(layer), *("" if cell is None else f"{cell:.4g}" for cell in cells))
    return made


class _SideBySide:
    """Parts in columns on a terminal, one below the other where lines have no end."""

    def __init__(self, parts: Sequence[RenderableType]) -> None:
        self.parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if options.max_width < UNLIMITED:
            yield Columns(self.parts)
        else:
            yield from self.parts


def ranges(numbers: Collection[int]) -> str:
    """Layer numbers for people: ``"layers 0-3 and 6"``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    words = shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1] if shown else "none"
    return ("layer " if len(numbers) == 1 else "layers ") + words


def transfer(reports: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The orders of a sequence, one below the other."""
    title = "every task after every stage"
    if len(reports) == 1:
        return _order(reports[0], title)
    parts: list[RenderableType] = [Text("The scores above are of the first order.")]
    for place, report in enumerate(reports, 1):
        parts += ["", _order(report, f"order {place} of {len(reports)}: {', '.join(report['order'])}; {title}")]
    return Group(*parts)


def _order(report: Mapping[str, Any], title: str) -> RenderableType:
    """One order as a heat map: a row for each stage, a column for each task, its score after that stage."""
    order = report["order"]
    made = table("after", *(f">{task} ({report['metric'][task]})" for task in order))
    for stage, (task, row) in enumerate(zip(order, report["matrix"], strict=True)):
        cells = (_heat(score) if j <= stage else Text("") for j, score in enumerate(row))  # the others are not trained yet
        made.add_row(Text(task, style="bold"), *cells)
    made.add_section()
    made.add_row(Text("alone", style="bold"), *(_heat(score) for score in report["alone"]))
    means = {key.replace("_", " "): report[key] for key in ("forgetting", "backward_transfer", "forward_transfer")}
    return titled(title, made, facts({name: "-" if value is None else f"{value:+.4f}" for name, value in means.items()}))


def attention(task: str, shares: Mapping[str, Mapping[str, float]]) -> RenderableType:
    """What a fusion attends to: a row for each block, a column for each adapter."""
    adapters = list(next(iter(shares.values())))
    made = table(">block", *(f">{name}" for name in adapters))
    for block, row in shares.items():
        made.add_row(Text(block, style="bold"), *(_heat(row[name]) for name in adapters))
    return titled(f"{task}: attention over adapters, by block", made)


def _heat(score: float | None) -> Text:
    """A score on a ground that is the greener the nearer it is to 1; '-' where it is undefined."""
    if score is None:
        return Text(" - ")
    level = round(40 + 120 * min(max(score, 0.0), 1.0))
    return Text(f" {score:.4f} ", style=f"white on rgb(20,{level},60)")


def cost(summary: Mapping[str, Any]) -> RenderableType:
    """What a run cost, and where it is."""
    spent = summary["cost"]
    trained, trunk, epochs = spent["trained_parameters_total"], spent["trunk_parameters"], spent["epochs"]
    stages = summary.get("stages", ())
    if stages:  # each task's last would leave out what it was trained for before
        trained = sum(stage["cost"]["trained_parameters_total"] for stage in stages)
    rows: dict[str, str] = {"took": seconds(spent["seconds"])}
    if parts := spent.get("parts"):  # none in the runs of version 0.1
        rows["took"] += ": " + ", ".join(f"{SPENT_ON[name]} {seconds(value)}" for name, value in parts.items() if value >= 0.05)
    if epochs:
        mean = sum(epoch["seconds"] for epoch in epochs) / len(epochs)
        rate = sum(epoch["tokens"] for epoch in epochs) / max(sum(epoch["seconds"] for epoch in epochs), 1e-9)
        rows["epochs"] = f"{len(epochs)}, training {mean:.1f} s each at {rate:,.0f} tokens/s"
    disk = f"branches {readable(sum(spent['disk_bytes'].values()))}"
    if spent.get("stages_bytes"):  # none in the runs of version 0.1
        disk += f", stages {readable(spent['stages_bytes'])}"
    if spent["states_bytes"]:
        disk += f", layer states {readable(spent['states_bytes'])} (shared by later runs)"
    together = f" in {len(stages)} stages together" if stages else ""
    passes = {name: task["pass"] for name, task in summary.get("tasks", {}).items() if "pass" in task}
    share = 100 * trained / max(trunk, 1)
    part = f"{share:.2g}" if share < 10 else f"{share:,.0f}"
    return facts(
        {
            "trained": f"{trained:,} weights{together}, {part} % of the trunk's {trunk:,}",
            **rows,
            **({"pass": pass_sentence(passes)} if passes else {}),
            "memory": f"{readable(spent['peak_memory_bytes'])} at its peak",
            "on disk": disk,
            "run": summary["run"],
            "config": "config.yaml of the run: its data, its seed and all other settings",
        }
    )


SPENT_ON = {
    "load": "loading the trunk",
    "read": "reading data",
    "states": "layer states",
    "training": "training",
    "judging": "evaluating",
    "saving": "saving",
    "other": "other",
}


def facts(rows: Mapping[str, object]) -> RenderableType:
    """Names and values, one a line; without blanks at the end where lines have no end."""
    return _Facts(rows)


class _Facts:
    """Names and values: a grid on a terminal, which breaks long values, and plain lines elsewhere."""

    def __init__(self, rows: Mapping[str, object]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if options.max_width < UNLIMITED:
            yield _grid(self.rows)
            return
        width = max(map(cell_len, self.rows), default=0)
        for name, value in self.rows.items():
            yield Text.assemble((set_cell_size(name, width), "bold"), "  ", ascii_controls(str(value)))


def _grid(rows: Mapping[str, object]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(name, Text(ascii_controls(str(value))))
    return grid


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
