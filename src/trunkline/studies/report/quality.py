"""The tables of quality: every method with its floors, trained parameters and time beside it, and what is said of the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trunkline.pages.section import Cell, Grid, Table
from trunkline.studies.report import numbers
from trunkline.studies.report.results import CellFacts, Found, Results, Slice
from trunkline.trackers.wording import counted

# Beside a score: how the method compares with the one that is best on validation.
MARKS = {"worse": "†", "equivalent": "=", "undecided": "?"}
MEANS = "Mean over seeds on the test split ± standard deviation over seeds, with its interval of 95 %."
VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}
BELOW = {
    "worse": "worse than the floor",
    "equivalent": "equivalent to the floor",
    "undecided": "not shown above the floor",
    "better": "not above the floor",  # where no claim says more
}
BESIDE = ("trained_parameters", "epoch_seconds")  # of COSTS: what stands beside quality
NAMED = 4  # methods that a sentence names; of more, their number


def quality(results: Results) -> list[Grid]:
    """A table for each trunk, size and regime: a row a method, a column a task.

    Where there are several of these, before them a table for each task, with a column for each of them.
    """
    whole = _numbers(results)
    overviews = [_overview(results, task, whole) for task in results.tasks] if len(results.slices) > 1 else []
    scored = [one for one in results.slices if any(cell.tasks for cell in results.within(one))]
    return [*(grid for grid in overviews if grid.rows), *(_quality(results, one, whole) for one in scored)]


def in_short(results: Results) -> list[str]:
    """A sentence or two for each task within each slice: which method is best, and than which it is better."""
    return [said for one in results.slices for task in results.tasks if (said := _in_short(results, one, task))]


def method_cell(results: Results, method: str, cell: CellFacts | None = None) -> Cell:
    """The name of a method, what kind it is, and how many of the runs of a cell failed."""
    facts = results.methods[method]
    kind = "floor" if facts.floor else "changes the trunk" if facts.changes_trunk else ""
    failed = f"{counted(len(cell.failed), 'run')} failed" if cell is not None and cell.failed else ""
    return Cell(method, below="\n".join(line for line in (kind, failed) if line))


def legend(results: Results, used: set[str], leaders: Mapping[str, CellFacts]) -> list[str]:
    """What bold and the marks that a table uses mean."""
    margin = "" if results.margin is None else f" (a difference below {results.margin:g} points)"
    said = {
        "worse": f"{MARKS['worse']} significantly worse",
        "equivalent": f"{MARKS['equivalent']} equivalent{margin}",
        "undecided": f"{MARKS['undecided']} undecided",
    }
    told = ["Bold: the best mean of its column."]
    if marks := [said[key] for key in said if key in used]:
        names = {task: cell.method for task, cell in leaders.items()}
        than = "; ".join(f"{task}: {name}" for task, name in names.items())
        than = than if len(set(names.values())) > 1 else next(iter(names.values()))
        told.append(f"Compared with the method that is best on validation ({than}): {', '.join(marks)}.")
    return told


def _quality(results: Results, one: Slice, whole: Table) -> Grid:
    cells = results.within(one)
    tasks = [task for task in results.tasks if any(task in cell.tasks for cell in cells)]
    several = len(cells) > 1  # one by itself is not marked as the best
    best = {task: results.best(task, cells) if several else None for task in tasks}
    leaders = {task: leader for task in tasks if (leader := results.leader(task, one)) is not None}
    against = {task: results.claims_about(task, one, leader.method) for task, leader in leaders.items()}
    below = {(found.method, found.task): found.floor for found in results.below_floor if found.slice == one}
    used, rows = set[str](), []
    for cell in cells:
        row = [method_cell(results, cell.method, cell)]
        for task in tasks:
            claim = against.get(task, {}).get(cell.method)
            verdict = "" if claim is None else claim.about(cell.method).verdict
            used |= {verdict}
            floor = below.get((cell.method, task))
            words = "" if floor is None else _beside_floor(results, cell, task, floor)
            row.append(_score(cell, cell.tasks.get(task), cell is best[task], MARKS.get(verdict, ""), words))
        row += [Cell(numbers.BY_KEY[key].shown(numbers.BY_KEY[key].of(cell.cost)), number=True) for key in BESIDE]
        rows.append(row)
    columns = ["method", *(f"{task} ({results.tasks[task].metric})" for task in tasks)]
    columns += [numbers.BY_KEY[key].heading for key in BESIDE]
    called = results.called(one)
    title = f"Quality: {called}" if called else "Quality"
    return Grid(columns, rows, whole, title, [MEANS, *(legend(results, used, leaders) if several else []), *_floors(below)])


def _score(cell: CellFacts, found: Found | None, best: bool, mark: str, words: str) -> Cell:
    if found is None or found.test is None:
        below = "failed" if cell.failed and not cell.tasks else "no value" if found is not None else ""
        return Cell(numbers.NONE, number=True, below=below)
    text = numbers.score(found.test) + ("" if found.deviation is None else f" ± {numbers.score(found.deviation)}")
    lines = [line for line in (numbers.between(found.interval) or found.no_interval, words) if line]
    return Cell(text, number=True, strong=best, mark=mark, below="\n".join(lines))


def _beside_floor(results: Results, cell: CellFacts, task: str, floor: str) -> str:
    """How a method that is not better than a floor compares with it."""
    claim = results.claims_about(task, cell.slice, cell.method).get(floor)
    return BELOW[claim.verdict if claim is not None else "better"]


def _floors(below: Mapping[tuple[str, str], str]) -> list[str]:
    """Which floor is meant for each task."""
    floors = {task: floor for (_, task), floor in below.items()}
    if not floors:
        return []
    one = len(set(floors.values())) == 1
    named = next(iter(floors.values())) if one else "; ".join(f"{task}: {floor}" for task, floor in floors.items())
    return [f"The floor is the one that is best on validation ({named})."]


def _overview(results: Results, task: str, whole: Table) -> Grid:
    best = {one: results.best(task, results.within(one)) for one in results.slices}
    rows = []
    for method in results.methods:
        own = {cell.slice: cell for cell in results.cells if cell.method == method and task in cell.tasks}
        if not own:
            continue
        row = [method_cell(results, method)]
        for one in results.slices:
            cell = own.get(one)
            row.append(
                Cell(numbers.NONE, number=True) if cell is None else _score(cell, cell.tasks[task], cell is best[one], "", "")
            )
        rows.append(row)
    columns = ["method", *(results.called(one) for one in results.slices)]
    return Grid(columns, rows, whole, f"{task} ({results.tasks[task].metric})", [MEANS, *legend(results, set(), {})])


def _in_short(results: Results, one: Slice, task: str) -> str:
    """The method that is best on validation, its score on test, and how others compare with it."""
    leader, best = results.leader(task, one), results.best(task, results.within(one))
    if leader is None or best is None or results.score(leader, task) is None:
        return ""
    facts, found, called = results.tasks[task], leader.tasks[task], results.called(one)
    alone = sum(results.score(cell, task) is not None for cell in results.within(one)) == 1
    chosen = "" if found.validation is None or alone else " is best on validation and"
    inside = numbers.between(found.interval)
    said = f"{task}{f' ({called})' if called else ''}: {_with_kind(results, leader.method)}{chosen} has {facts.metric} "
    said += numbers.score(found.test) + (f" (95 % interval {inside})" if inside else "") + " on test"
    if alone:
        return f"{said}; there is no other method to compare it with."
    which = "highest" if facts.higher_is_better else "lowest"
    if best is leader:
        said += f", the {which} mean"
    else:
        said += f"; the {which} mean is that of {_with_kind(results, best.method)}, {numbers.score(results.score(best, task))}"
    against = results.claims_about(task, one, leader.method)
    parts = []
    for verdict, words in VERDICTS.items():
        names = [name for name, claim in against.items() if claim.verdict == verdict]
        if names:
            parts.append(f"{words} {_named(names)}")
    return f"{said}. It is {'; '.join(parts)}." if parts else f"{said}."


def _with_kind(results: Results, method: str) -> str:
    return f"the floor {method}" if results.methods[method].floor else method


def _named(names: list[str]) -> str:
    few, more = names[:NAMED], len(names) - NAMED
    if more > 1:
        return f"{', '.join(few)} and {more} more"
    return ", ".join(names)


def _numbers(results: Results) -> Table:
    scores = ("validation", "test", "deviation", "low", "high", "seeds", "failed")
    columns = ("trunk", "size", "regime", "task", "metric", "method", "floor", *scores)
    return Table("quality", columns, list(_rows(results)), shown=0)


def _rows(results: Results) -> Iterator[tuple[object, ...]]:
    for one in results.slices:
        for cell in results.within(one):
            for task, facts in results.tasks.items():
                found = cell.tasks.get(task, Found())
                known = (found.validation, found.test, found.deviation, *(found.interval or (None, None)))
                floor = int(results.methods[cell.method].floor)
                yield (*one, task, facts.metric, cell.method, floor, *known, len(found.by_seed), len(cell.failed))
