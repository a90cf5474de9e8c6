"""What `make site` adds to docs/: pages and files of the rest of the repository, the API reference and the schemas.

Links between files of the repository work in a clone as they stand; here those that leave docs/ lead to the copy on the site.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "benchmarks/README.md", "benchmarks/LOG.md")
FILES = ("LICENSE", "CITATION.cff", "examples/**/*", "src/trunkline/*.schema.json")
OWN = ("api.md", "style.css")  # of this folder
OUTSIDE = "repository/"  # what the copies of files outside of docs/ are under
HISTORY = (OUTSIDE + "CHANGELOG.md", OUTSIDE + "benchmarks/LOG.md")  # they name everything, and explain little of it
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


@cache
def places() -> dict[str, Path]:
    """Path on the site -> file, of what is added."""
    copied = {OUTSIDE + name: ROOT / name for name in PAGES}
    for pattern in FILES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and "__pycache__" not in name and not name.startswith("docs/"):
                copied[f"schemas/{path.name}" if path.name.endswith(".schema.json") else OUTSIDE + name] = path
    return copied | {name: Path(__file__).parent / name for name in OWN}


def on_files(files: Files, config: Any) -> Files:
    """Add the files that `places` names."""
    for name, path in places().items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links between files of the repository to where these are on the site; let the search find pages before logs."""
    if page.file.src_uri in HISTORY:
        page.meta["search"] = {"boost": 0.2}
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, place: str) -> str:
    """The text of the page at `place` of the site, with its links as they have to be there; code is left as it is."""
    parts = FENCE.split(markdown)
    return "".join(
        part if number % 2 else LINK.sub(lambda match: _led(match, place), part) for number, part in enumerate(parts)
    )


def _led(match: re.Match[str], place: str) -> str:
    added = {path: name for name, path in places().items()}
    source = added_source(place)
    target = Path(os.path.normpath(source.parent / match[2]))
    if target.is_relative_to(ROOT / "docs"):
        there = target.relative_to(ROOT / "docs").as_posix()
    elif target in added:
        there = added[target]
    elif target == ROOT / "examples":
        there = "examples.md"
    else:
        return match[0]  # which the strict build finds, if it leads nowhere
    return f"{match[1]}{os.path.relpath(there, os.path.dirname(place) or '.')}{match[3]}"


def added_source(place: str) -> Path:
    """The file that the page at `place` of the site is made of."""
    return places().get(place, ROOT / "docs" / place)
