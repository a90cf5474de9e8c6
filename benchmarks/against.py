"""Another commit against this checkout: the same benchmark scripts, each side with its own copy, in turn.

    benchmarks/against.py COMMIT branches_per_pass partial_depth demo --rounds 2 [-- arguments of the scripts]

For every side that a script measures (its `runs`), the ratio is the median over the rounds of the other commit's figure by this
one's; for times, above 1 means that this checkout is faster. `demo` is the training of `trunkline demo --fresh`: seconds of its
epochs. Both sides compute with the same threads, each with a cache of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
DEMO = """
import json, statistics, subprocess, sys
out = subprocess.run([sys.executable, "-c", "from trunkline.cli import main; main()", "demo", "--fresh", "--json"],
                     stdout=subprocess.PIPE, text=True, check=True).stdout
from pathlib import Path
(found,) = Path("runs").glob("demo*/result.json")
cost = json.loads(found.read_text())["cost"]
epochs = [epoch["seconds"] for epoch in cost["epochs"]]
print(json.dumps({"runs": [{"side": "epoch of the demo", "median": statistics.median(epochs)},
                           {"side": "the whole demo", "median": cost["seconds"]}]}))
"""


def measure(tree: Path, cache: Path, script: str, arguments: list[str]) -> dict[str, float]:
    """By side, the median that a script of `tree` has measured."""
    environment = os.environ | {"PYTHONPATH": f"{tree / 'src'}:{tree / 'benchmarks'}", "TRUNKLINE_CACHE": str(cache)}
    with tempfile.TemporaryDirectory() as folder:
        command = ["-c", DEMO] if script == "demo" else [str(tree / "benchmarks" / f"{script}.py"), "--json", *arguments]
        done = subprocess.run(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=folder
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    shown = ("side", "trunk", "dtype", "method")
    return {" ".join(str(run[key]) for key in shown if key in run): _seconds(run) for run in found["runs"]}


def _seconds(run: dict[str, Any]) -> float:
    if "examples per second" in run:
        return 1 / run["examples per second"]
    return run.get("median", run.get("mean epoch"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("commit", help="the other side")
    options.add_argument("scripts", nargs="+", help="names of scripts in this folder, or demo")
    options.add_argument("--rounds", type=int, default=2, help="rounds in which both sides run each script (2)")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given, rest = options.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    console = Console(width=110)
    console.print(machine())
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        other.mkdir()
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", given.commit], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(other)], input=archive, check=True)
        for script in given.scripts:
            table = Table(script, given.commit, "this", "ratio (median)", "of each round")
            sides: dict[str, list[tuple[float, float]]] = {}
            for turn in range(given.rounds):
                trees = {"other": other, "this": ROOT}
                order = list(trees) if turn % 2 == 0 else list(reversed(trees))
                found = {name: measure(trees[name], Path(folder) / f"cache-{name}", script, rest) for name in order}
                for side in found["other"].keys() & found["this"].keys():
                    sides.setdefault(side, []).append((found["other"][side], found["this"][side]))
            for side, pairs in sides.items():
                ratios = [one / two for one, two in pairs]
                medians = [f"{statistics.median(column):.4g}" for column in zip(*pairs, strict=True)]
                table.add_row(side, *medians, f"{statistics.median(ratios):.3f}", " ".join(f"{ratio:.3f}" for ratio in ratios))
            console.print(table)


if __name__ == "__main__":
    main()
