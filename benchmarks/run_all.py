"""Run every benchmark script of this folder, one after the other, and print a table of what they found (`make bench`).

Exit code 1 if a script failed or missed its target.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import machine
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent
# Compares two commits; write tables of the docs; prints a table without a claim.
OTHERS = {Path(__file__).name, "against.py", "attach_architectures.py", "floors.py", "scale_costs.py"}


def scripts(folder: Path = FOLDER) -> list[Path]:
    """The scripts that state a claim: those that can be run, unlike what they share."""
    runnable = (path for path in folder.glob("*.py") if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8"))
    return sorted(path for path in runnable if path.name not in OTHERS)


def run(script: Path) -> dict[str, Any]:
    """Run one script with --json; return its object with ``seconds`` it took, or ``{"name", "error"}`` if it gave none."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, str(script), "--json"], stdout=subprocess.PIPE, text=True, check=False)
    took = {"seconds": round(time.perf_counter() - start, 1)}
    if done.returncode != 0:
        return {"name": script.stem, "error": f"exit code {done.returncode}", **took}
    try:
        return json.loads(done.stdout.strip().splitlines()[-1]) | took
    except (IndexError, json.JSONDecodeError):
        return {"name": script.stem, "error": "no JSON object at the end of its output", **took}


def commit() -> str:
    """The short hash of the checkout, with ``+`` if it has changes; ``-`` outside of one."""
    git = ["git", "-C", str(FOLDER)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "-"
    return head + ("+" if changed else "")


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = arguments.parse_args(argv)
    progress = Console(stderr=True)
    outcomes = []
    for script in scripts():
        progress.print(f"{script.name} ...")
        outcomes.append(run(script))
    about = {"date": datetime.date.today().isoformat(), "commit": commit(), "machine": machine()}
    if options.json:
        print(json.dumps({**about, "benchmarks": outcomes}))
    else:
        show(outcomes, about)
    return 0 if all(outcome.get("holds") for outcome in outcomes) else 1


def show(outcomes: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Print the table, and below it where and when it was measured, ready for benchmarks/LOG.md."""
    table = Table("benchmark", "ratio", "target", "holds", "seconds")
    for outcome in outcomes:
        if "error" in outcome:
            table.add_row(outcome["name"], "-", "-", f"[red]{outcome['error']}", str(outcome["seconds"]))
        else:
            holds = "[green]yes" if outcome["holds"] else "[red]no"
            table.add_row(outcome["name"], f"{outcome['ratio']:.3g}", outcome["target"], holds, str(outcome["seconds"]))
    console = Console()
    console.print(table)
    box = about["machine"]
    versions = " ".join(f"{name} {version}" for name, version in box["versions"].items())
    console.print(
        f"{about['date']} · {about['commit']} · {box['cpu']} ({' '.join(box['flags'])}), {box['cores']} cores, "
        f"{box['memory_gib']} GiB, {box['accelerator'] or 'no accelerator'}, {versions}",
        soft_wrap=True,
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
