"""The pictures of a report: means with intervals, learning curves over training sizes, Pareto fronts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trunkline.pages.section import Picture, Table, drawn
from trunkline.pictures.by_rows import Trained, by_rows, drawn_methods
from trunkline.pictures.fronts import Priced, front, thinned
from trunkline.pictures.intervals import Measured, intervals
from trunkline.studies.report import numbers
from trunkline.studies.report.results import OnFront, Results, Slice
from trunkline.trackers.wording import counted


def named(name: str, number: int, of: int) -> str:
    """The name of one of several files: with its number where it is not the only one."""
    return name if of == 1 else f"{name}_{number}"


def quality_pictures(results: Results) -> list[Picture]:
    """A picture for each task within each slice."""
    wanted = [
        (one, task)
        for one in results.slices
        for task in results.tasks
        if any(results.score(cell, task) is not None for cell in results.within(one))
    ]
    return [_quality(results, one, task, named("means", number, len(wanted))) for number, (one, task) in enumerate(wanted, 1)]


def curve_pictures(results: Results) -> list[Picture]:
    """A picture for each task, trunk and regime with scores at several training sizes."""
    wanted = []
    for one in dict.fromkeys(one._replace(size="") for one in results.slices):
        for task in results.curves:
            lines = _lines(results, task, one)
            if task in results.tasks and any(len(points) > 1 for points in lines.values()):
                wanted.append((one, task, lines))
    return [
        _curves(results, one, task, lines, named("curves", number, len(wanted)))
        for number, (one, task, lines) in enumerate(wanted, 1)
    ]


def _lines(results: Results, task: str, one: Slice) -> dict[str, list[Trained]]:
    """By method, the points of a trunk and regime by rising size; sizes whose rows are not known are left out."""
    lines = {}
    for method, own in results.curves[task].items():
        points = []
        for point in own:
            rows = results.data.by_size.get(point.size) if point.rows is None else point.rows
            here = point.trunk in (None, one.trunk) and point.regime in (None, one.regime)
            if here and rows is not None and point.mean is not None:
                points.append(Trained(rows, point.mean, *(point.interval or (None, None))))
        if points:
            lines[method] = sorted(points, key=lambda point: point.rows)
    return lines


def front_pictures(results: Results) -> list[Picture]:
    """A picture for each task and each cost that fronts are known for: of all trunks and regimes, at the largest size."""
    tasks = [task for task in results.fronts if task in results.tasks]
    made = []
    for number, task in enumerate(tasks, 1):
        for key, labels in results.fronts[task].items():
            if key in numbers.BY_KEY:
                name = f"front_{key}" if len(tasks) == 1 else f"front_{number}_{key}"
                made.append(_front(results, task, numbers.BY_KEY[key], labels, name))
    return [picture for picture in made if picture is not None]


def _quality(results: Results, one: Slice, task: str, name: str) -> Picture:
    facts, cells = results.tasks[task], results.within(one)
    best = results.best(task, cells)
    methods, rows = list[Measured](), []
    for cell in cells:
        mean = results.score(cell, task)
        if mean is None:
            continue
        found = cell.tasks[task]
        low, high = found.interval or (None, None)
        runs = [seed.test for seed in found.by_seed if seed.test is not None]
        floor = results.methods[cell.method].floor
        methods.append(Measured(cell.method, mean, low, high, runs if len(runs) > 1 else (), floor, cell is best))
        rows.append((cell.method, mean, low, high))
    called = results.called(one)
    kind = f"{facts.metric} on test" + (f", {called}" if called else "")
    caption = (
        f"{task}: mean and 95 % interval; small marks are runs, hollow squares are floors, black is the best. "
        "A method far behind is written at the edge."
    )
    many, ahead = counted(len(methods), "method"), best.method if best else "unknown"
    alt = f"{task}, {kind}: means of {many} with intervals; the best is {ahead}."
    figure = drawn(intervals(task, kind, facts.metric, methods, facts.higher_is_better))
    return Picture(figure, Table(name, ("method", "mean", "low", "high"), rows, caption, shown=0), alt)


def _curves(results: Results, one: Slice, task: str, lines: dict[str, list[Trained]], name: str) -> Picture:
    facts = results.tasks[task]
    floors = [method for method in lines if method in results.methods and results.methods[method].floor]
    last = {method: points[-1].mean for method, points in lines.items()}
    shown = drawn_methods(last, floors, facts.higher_is_better)
    rows = [(method, point.rows, point.mean, point.low, point.high) for method, points in lines.items() for point in points]
    more = f" The {len(shown)} methods that are best at the largest size, of {len(lines)}." if len(shown) < len(lines) else ""
    called = results.called(one)
    where = f"{task} ({called})" if called else task
    caption = f"{where}: {facts.metric} on test by the number of training rows, with 95 % intervals.{more}"
    panel = by_rows(task, facts.metric, lines, shown, floors, facts.higher_is_better)
    alt = f"{where}: lines of {len(shown)} methods, {facts.metric} by training rows."
    return Picture(drawn(panel), Table(name, ("method", "rows", "mean", "low", "high"), rows, caption), alt)


def _front(results: Results, task: str, cost: numbers.Cost, fronts: Sequence[OnFront], name: str) -> Picture | None:
    facts = results.tasks[task]
    methods, rows = list[Priced](), []
    for cell in results.of_size(results.main.size):
        price, score, about = cost.of(cell.cost), results.score(cell, task), results.methods[cell.method]
        if price is not None and score is not None:
            inside = any(one.is_of(cell) for one in fronts)
            methods.append(Priced(results.placed(cell), price, score, about.floor, about.changes_trunk, inside))
            rows.append((cell.method, cell.trunk, cell.regime, price, score, int(inside)))
    if len(methods) < 2 or not any(one.front for one in methods):
        return None
    called = results.sized(results.main.size)
    caption = (
        f"{task}: {facts.metric} and {cost.name}{f' ({called})' if called else ''}; the numbered methods are on the front."
    )
    on_front = ", ".join(one.name for one in methods if one.front)
    alt = f"{task}: {facts.metric} against {cost.name} of {len(methods)} methods; on the front: {on_front}."
    shown: Callable[[float], str] = (
        thinned if "parameters" in cost.key or "bytes" in cost.key else lambda value: cost.shown(value)
    )
    panel = front(task, f"quality and {cost.name}", methods, (cost.name, facts.metric), shown, facts.higher_is_better)
    return Picture(
        drawn(panel), Table(name, ("method", "trunk", "regime", cost.key, "test", "on_front"), rows, caption, shown=0), alt
    )
