"""The report of a study: one HTML page, Markdown, CSV and LaTeX, made of its results.json.

from trunkline.studies.report import report
report("studies/emotion")
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.files import atomic_directory, write_json
from trunkline.pages.folder import PAGE, folder_to_write
from trunkline.pages.section import Grid, Section
from trunkline.studies.report.html import page
from trunkline.studies.report.latex import FOLDER, latex
from trunkline.studies.report.markdown import markdown
from trunkline.studies.report.results import read_results

SCHEMA, RECORD, MARKDOWN = 1, "report.json", "report.md"
DEFAULT = "report"  # below the folder of the study
IN_PAPERS = {"Quality": "quality", "Significance": "significance", "Cost": "cost"}  # sections whose tables are written in LaTeX


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: the HTML file to open.
        files: all files, but for the record of them.
        left_out: by title, why sections have nothing to show.
        findings: what is to be known before any number, a sentence each.
    """

    page: Path
    files: list[Path]
    left_out: dict[str, str]
    findings: list[str]


def report(study: str | Path, out: str | Path | None = None, say: Callable[[str], None] = lambda sentence: None) -> Report:
    """Write the report of a study.

    Args:
        study: its folder.
        out: the folder to write: new, empty, or written by `report` before, which is replaced; by default `report` in that of
            the study.
        say: told, in a sentence, what could not be shown.

    Raises:
        BadInput: no study, or facts that cannot be read; a folder that holds other files.
    """
    folder = Path(study)
    results = read_results(folder)
    target = folder_to_write(folder / DEFAULT if out is None else Path(out), "trunkline report", RECORD)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # which names characters of labels, where no font has them
        made = page(results, folder)
        written = made.files()
    written[MARKDOWN] = markdown(made.heading, made.facts, made.sections).encode("utf-8")
    written |= {f"{FOLDER}/{name}": content for name, content in latex(_tables(made.sections)).items()}
    left_out = {section.title: section.note for section in made.sections if section.left_out}
    for title, why in left_out.items():
        say(f"{title}: left out: {why}")
    findings = list(made.sections[0].sentences)
    _write(target, written, {"study": str(folder), "left_out": left_out})
    return Report(target / PAGE, [target / name for name in sorted(written)], left_out, findings)


def _tables(sections: Sequence[Section]) -> dict[str, Grid]:
    found: dict[str, Grid] = {}
    for section in sections:
        name = IN_PAPERS.get(section.title)
        for number, grid in enumerate(section.grids if name else (), 1):
            found[f"{name}_{number}" if len(section.grids) > 1 else str(name)] = grid
    return found


def _write(target: Path, files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
    """Write all files and a record of them, whole or not at all."""
    with atomic_directory(target) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        write_json(folder / RECORD, {"schema": SCHEMA, **record, "files": sorted(files)})
