"""What a method has to be better than: the floors of some examples, as a table. `make bench` omits it, as it claims nothing.

Data, splits and metric are those of `examples/<data>.yaml` with its seed; of HWU64 the 64 intents and the slots. C, and what
else a floor chooses, is chosen on validation. `seconds` are those of one floor, with the states of the trunk's last layer
computed for the first time (in a cache of the script's own). Not measured: a method to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from shapes import shared_data

from trunkline.studies.floors.measuring import measure_floors
from trunkline.training.config import RunConfig, load_config

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DATA = ("snips", "emotion", "hwu64", "cola", "wnut17")
LEFT_OUT = {"hwu64": ("scenario", "action")}  # tasks that take as long again and tell nothing new


def example(name: str) -> RunConfig:
    """The config of an example, with its data where they are beside the checkout."""
    written = load_config(EXAMPLES / f"{name}.yaml").data
    sources = {split: getattr(written, split) for split in ("train", "validation", "test")}
    files = {split: str(source) for split, source in sources.items() if str(source).endswith(".gz")}
    found = [f"data.{split}={shared_data(name, Path(file).name)}" for split, file in files.items()]
    return load_config(EXAMPLES / f"{name}.yaml", [*found, *(f"tasks.{task}=null" for task in LEFT_OUT.get(name, ()))])


def rows_of(name: str) -> list[dict[str, Any]]:
    """A row for each floor of each task."""
    config, rows = example(name), []
    for floor in measure_floors(config).results:
        metrics, metric = floor.measured.metrics, floor.monitor
        rows.append(
            {
                "data": name,
                "task": floor.task,
                "floor": floor.title,
                "metric": metric,
                **{split: round(metrics[split][metric], 4) for split in ("validation", "test")},
                "seconds": round(floor.seconds, 1),
                "parameters": floor.measured.parameters,
                "chosen": ", ".join(f"{key} {value}" for key, value in floor.measured.chosen.items()),
                "findings": floor.measured.findings,
            }
        )
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    arguments.add_argument("--data", nargs="+", default=DATA, choices=DATA, help="which examples (all)")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRUNKLINE_CACHE"] = cache
        rows = [row for name in options.data for row in rows_of(name)]
    if options.json:
        print(json.dumps({"name": "floors", "runs": rows}, allow_nan=False), flush=True)
        return
    columns = [key for key in rows[0] if key != "findings"]
    table = Table(*columns, title="floors")
    for row in rows:
        table.add_row(*(str(row[key]) for key in columns))
    Console().print(table)
    for said in (f"{row['data']} {row['task']}, {row['floor']}: {finding}" for row in rows for finding in row["findings"]):
        print(said)


if __name__ == "__main__":
    main()
