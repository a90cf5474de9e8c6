"""The report as one page: which sections there are, and in which order."""

from __future__ import annotations

from pathlib import Path

from trunkline.pages.folder import Page
from trunkline.pages.section import Section
from trunkline.studies.report.claims import claims, verdicts
from trunkline.studies.report.costs import costs
from trunkline.studies.report.details import confusions, labels
from trunkline.studies.report.examples import Texts
from trunkline.studies.report.figures import curve_pictures, front_pictures, quality_pictures
from trunkline.studies.report.provenance import configs, data, failures, machine, runs, searched
from trunkline.studies.report.quality import in_short, quality
from trunkline.studies.report.results import Results
from trunkline.trackers.wording import counted

MOST = 6  # sentences about methods that do not beat a floor


def page(results: Results, folder: Path) -> Page:
    """The page about a study.

    Args:
        results: its facts.
        folder: where it lies: answers and configs of its runs are read from there.
    """
    sections = [
        _short(results),
        _quality(results),
        _sizes(results),
        _significance(results),
        _costs(results),
        labels(results),
        confusions(results),
        _errors(results, folder),
        searched(results),
        failures(results),
        runs(results),
        configs(results, folder),
        data(results),
        machine(results),
    ]
    return Page(f"{results.name}: which method, at what price", facts(results), sections)


def facts(results: Results) -> list[tuple[str, str]]:
    """What the study is about, as names and values."""
    tasks = [f"{name} ({task.kind}, by {task.metric}{_labels(task.labels)})" for name, task in results.tasks.items()]
    floors = sum(one.floor for one in results.methods.values())
    trunks = list(dict.fromkeys(cell.trunk for cell in results.cells))
    sizes = list(dict.fromkeys(cell.size for cell in results.cells))
    trained = results.data.by_size
    told = [f"{size} ({trained[size]:,} rows)" if size in trained and not size.isdecimal() else size for size in sizes]
    regimes = list(dict.fromkeys(cell.regime for cell in results.cells))
    seeds = [
        len(found.by_seed) for cell in results.cells if not results.methods[cell.method].floor for found in cell.tasks.values()
    ]
    few, most = min(seeds, default=0), max(seeds, default=0)
    rows = {name: count for name, count in results.data.rows.items() if len(sizes) == 1 or not name.endswith("train")}
    found = [
        ("tasks", "; ".join(tasks)),
        ("methods", f"{len(results.methods) - floors}, and {counted(floors, 'floor')}"),
        ("seeds", ("" if not most else str(most)) if few == most else f"{few} to {most}"),
        ("trunk", ", ".join(trunks)),
        ("training sizes" if len(sizes) > 1 else "training size", ", ".join(told)),
        ("regime", ", ".join(regimes)),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())),
        ("margin", "" if results.margin is None else f"{results.margin:g} points"),
    ]
    return [(name, value) for name, value in found if value]


def noticed(results: Results) -> list[str]:
    """What is to be known before any number: what is not finished, floors that are not beaten, findings."""
    return [*_unfinished(results), *_below_floors(results), *results.findings]


def _unfinished(results: Results) -> list[str]:
    """What is missing: runs that failed, and those that were not trained yet."""
    failed = sum(len(cell.failed) for cell in results.cells)
    why = f"{counted(failed, 'run')} failed, for the reasons below"
    if not any(cell.tasks for cell in results.cells if not results.methods[cell.method].floor):
        if failed:
            return [f"No run has a result: {why}. The same command tries them again."]
        return ["No run has a result yet, so there is nothing to compare."]
    if results.finished:
        return []
    missing = f"{why}; what else is missing here" if failed else "what is missing here"
    return [f"The study is not finished: {missing} has not been trained yet."]


def _below_floors(results: Results) -> list[str]:
    """What is said of methods that do not beat a floor; of very many, how many these are."""
    if len(results.below_floor) > MOST:
        methods = list(dict.fromkeys(one.method for one in results.below_floor))
        many = f"{counted(len(methods), 'method')} not shown to be better than a floor somewhere, as the tables of quality say"
        return [f"{many}: {', '.join(methods)}."]
    said = []
    for one in results.below_floor:
        called, sentence = results.called(one.slice), one.sentence.removesuffix(".") + "."
        said.append(f"{called}: {sentence}" if called else sentence)
    return said


def _labels(labels: list[str] | None) -> str:
    return "" if labels is None else f", {counted(len(labels), 'label')}"


def _short(results: Results) -> Section:
    return Section("In short", sentences=[*in_short(results), *noticed(results)], note="" if results.cells else "no results")


def _quality(results: Results) -> Section:
    grids = quality(results)
    return Section("Quality", quality_pictures(results), grids=grids, note="" if grids else "no method has a result")


def _sizes(results: Results) -> Section:
    pictures = curve_pictures(results)
    return Section("Training sizes", pictures, note="" if pictures else "the study has one training size")


def _significance(results: Results) -> Section:
    grids = claims(results)
    if not grids:
        return Section("Significance", note="no two methods were compared")
    return Section(
        "Significance", grids=grids, note="What may be said of two methods on the same test rows:", sentences=verdicts(results)
    )


def _costs(results: Results) -> Section:
    sentence = (results.break_even or {}).get("sentence")
    pictures, grids = front_pictures(results), costs(results)
    note = "" if grids or pictures or sentence else "no costs are known"
    return Section("Cost", pictures, note=note, sentences=[str(sentence)] if sentence else [], grids=grids)


def _errors(results: Results, folder: Path) -> Section:
    """Errors with their texts, of each task."""
    texts, tables, said = Texts(folder), [], []
    for number, task in enumerate(results.tasks, 1):
        cell = results.shown(task)
        if cell is None:
            continue
        found = texts.errors(results, task, cell, number)
        tables += found.tables
        said += [f"{task}: {found.note}"] if found.note else []
    if not tables:
        return Section("Errors", note="; ".join(said) or "no method has a result")
    return Section("Errors", tables=tables, sentences=said)
