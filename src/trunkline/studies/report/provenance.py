"""Where the numbers come from: every run with its scores, what was searched, what failed, configs, data, versions, hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from trunkline.errors import listed
from trunkline.pages.section import Listing, Section, Table, with_values
from trunkline.studies.report import numbers
from trunkline.studies.report.results import CellFacts, Results
from trunkline.trackers.wording import counted

SEARCHED = 60  # candidates that the page shows
RUNS = 20


def searched(results: Results) -> Section:
    """The candidates of each method with their scores on validation; the one that was kept is named."""
    title = "Search on validation"
    cells = [cell for cell in results.cells if len(cell.searched) > 1]
    if not cells:
        return Section(title, note="no method has a choice of settings")
    rows = []
    for cell in cells:
        for one in cell.searched:
            scores = [(one.validation or {}).get(task) for task in results.tasks]
            kept = "kept" if one.settings == cell.settings else ""
            rows.append((cell.method, *_where(results, cell), _settings(one.settings), *scores, kept))
    columns = ("method", *_varied(results), "settings", *(f"validation of {task}" for task in results.tasks), "choice")
    table = Table("searched", columns, rows, shown=SEARCHED)
    note = (
        "Every candidate is trained with the first seed; the best on validation is repeated with the others and scored on test."
    )
    return Section(title, tables=(table,), note=note)


def failures(results: Results) -> Section:
    """The runs that have no result, and why."""
    rows = [(cell.method, *_where(results, cell), run, reason) for cell in results.cells for run, reason in cell.failed.items()]
    if not rows:
        return Section("Failed runs", note="none")
    table = Table("failed", ("method", *_varied(results), "run", "reason"), rows, shown=len(rows))
    return Section("Failed runs", tables=(table,), note="The other runs of a method count as usual.")


def runs(results: Results) -> Section:
    """Every run with its scores and folder, and all metrics as a file."""
    title = "Runs"
    every = list(_runs(results))
    if not every:
        return Section(title, note="no run has a result")
    places = _machine_of(results)
    scores = [
        (
            *(cell.method, *_where(results, cell), task, seed.seed, seed.validation, seed.test, seed.run),
            *([places.get(seed.run or "")] if places else []),
        )
        for cell, task, seed in every
    ]
    columns = ("method", *_varied(results), "task", "seed", "validation", "test", "folder", *(["machine"] if places else []))
    metrics = [
        (*cell.slice, task, cell.method, seed.seed, name, value)
        for cell, task, seed in every
        for name, value in seed.metrics.items()
        if isinstance(value, int | float) or value is None
    ]
    names = ("trunk", "size", "regime", "task", "method", "seed", "metric", "test")
    tables = [with_values("runs", columns, scores), Table("metrics", names, metrics, shown=0)]
    tables[0] = Table("runs", tables[0].columns, tables[0].rows, shown=RUNS)
    note = "Folders are below that of the study. metrics.csv has every metric of every run on test."
    return Section(title, tables=tables, note=note)


def configs(results: Results, folder: Path) -> Section:
    """The config of the study, and of each method that of its first run, with all defaults filled in."""
    listings = [Listing("The study", _yaml(results.config))] if results.config else []
    missing = []
    for cell in results.cells:
        called = results.called(cell.slice)
        name = f"{cell.method} ({called})" if called else cell.method
        run = next((seed.run for found in cell.tasks.values() for seed in found.by_seed if seed.run), None)
        file = None if run is None else folder / run / "config.yaml"
        text = None if file is None else _read(file)
        if text is not None:
            listings.append(Listing(name, text))
        elif not results.methods[cell.method].floor:
            missing.append(name)
    note = "As the study was written, and for each method the config of its first run, defaults filled in."
    if missing:
        note += f" Without a run whose config can be read: {listed(missing, quoted=False, whole=True)}."
    return Section("Configs", note=note, listings=listings)


def data(results: Results) -> Section:
    """Rows and digests of the splits, and rows of the training sizes."""
    title, found = "Data", results.data
    splits = list(dict.fromkeys([*found.rows, *found.digests]))
    tables = []
    if splits:
        rows = [(split, found.rows.get(split), found.digests.get(split)) for split in splits]
        tables.append(Table("data", ("split", "rows", "digest"), rows, shown=len(rows)))
    if found.by_size:
        sizes = [(size, rows) for size, rows in found.by_size.items()]
        tables.append(Table("sizes", ("size", "training rows"), sizes, "Rows of the training sizes", shown=len(sizes)))
    if not tables:
        return Section(title, note="no fingerprints are known")
    note = "A digest is the SHA-256 of the texts and labels of a split, in their order."
    return Section(title, tables=tables, note=note)


def machine(results: Results) -> Section:
    """Versions and hardware."""
    title = "Versions and hardware"
    tables = []
    several = len(results.machines) > 1
    for name, caption, values in (
        ("versions", "Versions", results.versions),
        ("environment", "Hardware and settings", {} if several else results.environment),
    ):
        if rows := list(_flat(values)):
            tables.append(Table(name, ("name", "value"), rows, caption, shown=len(rows)))
    if several:
        tables.append(_machines(results))
    note = "Runs come from several machines or settings: their times are not comparable with each other." if several else ""
    return Section(title, tables=tables, note=note if tables else "nothing is known of them")


def _machines(results: Results) -> Table:
    """A row for each machine, with what was measured there."""
    every = [dict(_flat(one.environment)) for one in results.machines]
    names = list(dict.fromkeys(name for one in every for name in one))
    rows = []
    for number, (values, one) in enumerate(zip(every, results.machines, strict=True), 1):
        parts = [counted(len(one.runs), "run") if one.runs else "", "times of predictions" if one.predictions else ""]
        rows.append((number, *(values.get(name) for name in names), ", ".join(part for part in parts if part)))
    return Table("machines", ("machine", *names, "measured"), rows, "Hardware and settings", shown=len(rows))


def _machine_of(results: Results) -> dict[str, int]:
    """By the folder of a run, the number of its machine; empty where there is but one."""
    numbered = enumerate(results.machines, 1) if len(results.machines) > 1 else ()
    return {run: number for number, one in numbered for run in one.runs}


def _runs(results: Results) -> Iterator[tuple[CellFacts, str, Any]]:
    for cell in results.cells:
        for task, found in cell.tasks.items():
            for seed in found.by_seed:
                yield cell, task, seed


def _varied(results: Results) -> tuple[str, ...]:
    """A column for what tells slices apart, where there are several."""
    return ("within",) if len(results.slices) > 1 else ()


def _where(results: Results, cell: CellFacts) -> tuple[str, ...]:
    return (results.called(cell.slice),) if len(results.slices) > 1 else ()


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "as written"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False))


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, "" if key == "machine" else f"{before}{key}.")
        elif key.endswith("_bytes") and isinstance(value, int):
            yield f"{before}{key.removesuffix('_bytes').replace('_', ' ')}", numbers.size(value)
        else:
            yield f"{before}{key}", str(value)
