"""A study as tables for a terminal: what it has found, and what it would train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from trunkline.cli import show
from trunkline.errors import ascii_controls
from trunkline.events import metric_name
from trunkline.states.budget import readable
from trunkline.studies.progress import listing
from trunkline.studies.wording import score
from trunkline.trackers.wording import counted, duration

MOST_TASKS = 4  # whose best run is named
GROUP = ("trunk", "size", "regime")  # what a study may have several of, besides methods


def tables(summary: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A table for each task and data size; below them what has failed, and which methods are no better than a floor."""
    cells = summary["cells"]
    several = [key for key in GROUP if len({cell[key] for cell in cells}) > 1]
    stacked = False
    for name, task in summary["tasks"].items():
        groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for cell in cells:
            groups.setdefault(tuple(cell[key] for key in several), []).append(cell)
        for group, own in groups.items():
            about = [metric_name(task["metric"], task.get("positive")), *_told(several, group)]
            yield show.titled(f"{ascii_controls(name)}: {', '.join(about)}", _table(name, task, own, summary["methods"]))
            stacked = stacked or any((cell["cost"] or {}).get("stacked", 1) > 1 for cell in own)
    if stacked:
        yield Text(
            "seconds are those of a run; (n): it was trained together with others, n in all, and has its share of their time",
            style="dim",
        )
    for below in summary["below_floor"]:
        place = ", ".join(_told(several, [below[key] for key in several]))
        yield Text(ascii_controls(f"{place}: {below['sentence']}" if place else below["sentence"]))
    for cell in cells:
        for called, why in cell["failed"].items():
            run = ", ".join([*_told(several, [cell[key] for key in several]), called])
            yield Text(f"failed: {ascii_controls(run)}: {ascii_controls(why)}", style="red")


def _told(several: Sequence[str], values: Sequence[str]) -> list[str]:
    """What tells a table from the others, part by part."""
    return [f"{key} {value}" for key, value in zip(several, values, strict=True)]


def _table(
    name: str, task: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], methods: Mapping[str, Mapping[str, Any]]
) -> RenderableType:
    keys = list(dict.fromkeys(key for cell in cells for key in cell["settings"] or ()))
    heads = [] if not keys else [keys[0].rpartition(".")[2]] if len(keys) == 1 else ["chosen"]
    made = show.table("method", *heads, ">validation", ">test", ">seconds", ">trained")
    for column in made.columns[2 if len(keys) > 1 else 1 :]:  # a number is not broken; names are
        column.no_wrap = True
    ordered = sorted(cells, key=lambda cell: not methods[cell["method"]]["floor"])  # floors first
    best = _best([cell["tasks"][name]["test"] for cell in ordered if name in cell["tasks"]], task["higher_is_better"])
    floors = sum(methods[cell["method"]]["floor"] for cell in ordered)
    for number, cell in enumerate(ordered):
        found, cost = cell["tasks"].get(name), cell["cost"] or {}
        own = cell["settings"] or {}
        chosen = ", ".join(f"{value}" if len(keys) == 1 else f"{key.rpartition('.')[2]} {value}" for key, value in own.items())
        style = "bold" if found and best is not None and found["test"] == best else ""
        made.add_row(
            Text(ascii_controls(cell["method"]), style=style),
            *([Text(ascii_controls(chosen))] if keys else []),
            show.number(found["validation"]) if found else "-",
            Text(score(found) if found else "failed" if cell["failed"] else "-", style=style),
            _seconds(cost),
            _count(cost.get("trained_parameters")),
            end_section=number + 1 == floors,
        )
    return made


def best_runs(summary: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """By task, the method with the best mean validation score, and the best run of it, as a path in the study's folder.

    Simple baselines have no run that predicts.
    """
    found = {}
    for name, task in list(summary["tasks"].items())[:MOST_TASKS]:
        sign = 1 if task["higher_is_better"] else -1
        own = [cell for cell in summary["cells"] if not summary["methods"][cell["method"]]["floor"]]
        cells = [cell for cell in own if (cell["tasks"].get(name) or {}).get("validation") is not None]
        if best := max(cells, key=lambda cell: sign * cell["tasks"][name]["validation"], default=None):
            runs = [one for one in best["tasks"][name]["by_seed"] if one.get("run") and one["validation"] is not None]
            if runs:
                found[name] = best["method"], max(runs, key=lambda one: sign * one["validation"])["run"]
    return found


def _best(scores: Sequence[float | None], higher: bool) -> float | None:
    known = [score for score in scores if score is not None]
    return (max if higher else min)(known) if known else None


def _count(number: int | None) -> str:
    """A number of weights, in millions where it has so many."""
    return "-" if number is None else f"{number:,}" if number < 1_000_000 else f"{number / 1e6:,.2f}M"


def _seconds(cost: Mapping[str, Any]) -> str:
    if cost.get("seconds") is None:
        return "-"
    together = f" ({cost['stacked']})" if cost.get("stacked", 1) > 1 else ""
    return f"{cost['seconds']:,.{1 if cost['seconds'] < 10 else 0}f}{together}"


def plan(planned: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What would be trained, unit by unit, and what that needs."""
    cells = planned["cells"]
    several = [key for key in GROUP if len({cell[key] for cell in cells}) > 1]
    methods = show.table("method", *several, ">settings", ">seeds", ">runs")
    for cell in cells:
        settings, seeds = len(cell["settings"]), len(cell["seeds"])
        methods.add_row(
            Text(ascii_controls(cell["method"])),
            *(Text(cell[key]) for key in several),
            str(settings),
            str(seeds),
            str(settings + seeds - 1),
        )
    yield methods
    units = show.table("trained in this order", *several, "seeds", ">at once", ">estimated")
    for unit in planned["units"]:
        runs, seconds = unit["runs"], unit["seconds"]
        about = "unknown" if seconds is None else duration(seconds)
        drawn, group = ", ".join(map(str, unit["seeds"])), [Text(unit[key]) for key in several]
        units.add_row(Text(ascii_controls(listing(runs))), *group, drawn, str(len(runs)), about)
    yield units
    disk = planned["disk_bytes"]
    done = f"{planned['done']:,} of {counted(planned['runs'], 'run')} done; " if planned["done"] else ""
    unknown = sum(len(unit["runs"]) for unit in planned["units"] if unit["seconds"] is None)
    beside = f" and what {counted(unknown, 'run')} of unknown time will take" if unknown else ""
    floors, timing = planned["floors"], planned["timing"]
    parts = {"simple baselines": floors["seconds"], "timing predictions": timing["seconds"]}
    shares = [f"{duration(seconds)} for {what}" for what, seconds in parts.items() if seconds]
    within = f"; of that {' and '.join(shares)}" if shares else ""
    yield show.facts(
        {
            "time": f"{done}about {duration(planned['seconds'])}{beside}, if no run ends early{within}",
            "memory": f"about {readable(planned['memory_bytes'])} at the peak",
            "on disk": f"{readable(disk['runs'])} in {planned['path']}; {readable(disk['states'])} of new layer states",
        }
    )
