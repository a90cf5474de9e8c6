"""Claim: two Ray workers of one thread each predict at least 0.85 times as fast as one process with two threads.

20,000 texts of SNIPS (its rows again where they are too few) are predicted with intent and slots on the embedded trunk, whose
branches are trained for a single step, as nothing here depends on the weights. The one process has its trunk loaded before the
clock starts, so the clock of the workers starts when the first of them begins its first partition, after all imports; how long
that took is told beside it. It ends when the folder is finished. Not measured: a network, and a disk that machines share.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from common import finish, interleave, parser, ratio_of, result, runs_of


def first_begun(folder: Path, seen: list[float], over: threading.Event) -> None:
    """Note when the first partition of a folder is begun."""
    while not over.is_set():
        if any(folder.glob("_done/*.begun")) or any(folder.glob("part-*")):
            seen.append(time.perf_counter())
            return
        time.sleep(0.005)


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--rows", type=int, default=20_000, metavar="N", help="texts that are predicted (20,000)")
    options = arguments.parse_args()
    import torch

    import trunkline
    from trunkline.cluster import Resources
    from trunkline.data.sources import read_table
    from trunkline.serving.bulk import predict_file
    from trunkline.serving.ray.bulk import predict_folder

    numbers, starts = iter(range(1 << 30)), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        texts = list(islice(cycle(read_table("snips").columns["text"]), options.rows))
        (home / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        config = {
            "trunk": "minilm",
            "data": {"train": "snips", "validation": "5%", "rows": 200},
            "tasks": {
                "intent": {"kind": "sequence", "label": "label"},
                "slots": {"kind": "token", "tokens": "tokens", "tags": "tags"},
            },
            "training": {"epochs": 1},
        }
        run = trunkline.fit(config, run_dir=home / "run", progress=False)
        torch.set_num_threads(2)
        bundle = trunkline.Bundle.open(run)

        def one() -> float:
            began = time.perf_counter()
            predict_file(bundle, home / "texts.jsonl", home / f"{next(numbers)}.jsonl")
            return options.rows / (time.perf_counter() - began)

        def workers(count: int) -> float:
            folder, seen, over = home / f"{next(numbers)}", list[float](), threading.Event()
            began = time.perf_counter()
            watching = threading.Thread(target=first_begun, args=(folder, seen, over))
            watching.start()
            # The machine has one `place`, and each worker asks for such a share of it that `count` of them have room.
            predict_folder([run.path], home / "texts.jsonl", folder, resources=Resources(resources={"place": 1 / count}))
            end = time.perf_counter()
            over.set()
            watching.join()
            starts.setdefault(f"start of {count}, in seconds", []).append(seen[0] - began)
            return options.rows / (end - seen[0])

        os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0", "0"
        import ray

        ray.init("local", num_cpus=2, resources={"place": 1}, include_dashboard=False, log_to_driver=False)
        sides: dict[str, Any] = {"one process, 2 threads": one, "1 worker, 1 thread": lambda: workers(1)}
        sides["2 workers, 1 thread each"] = lambda: workers(2)
        rates = interleave(sides, repeats=options.repeats, warmup=0, measure=lambda side: side())
        ray.shutdown()
    runs = runs_of(rates, "rows per second")
    runs += runs_of(starts, "seconds until the first partition")
    ratio = ratio_of(rates, "2 workers, 1 thread each", "one process, 2 threads")
    finish(result("scale", ratio, ">= 0.85", runs), as_json=options.json)


if __name__ == "__main__":
    main()
