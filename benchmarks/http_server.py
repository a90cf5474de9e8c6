"""Claim: over HTTP the engine answers at least 85 % as many requests as when it is called in process.

Sides, both in fp32 with 8 tasks (AdaLayers at its defaults, random weights): `trunkline serve` in a process of its own, asked
over 256 connections by this one; and 256 threads of this process that ask an engine. A request is a tweet (Emotion, test), for
all tasks. What the clients cost counts on both sides. A second row has requests of 16 texts.

Then overload: three times the requests a second that the first row carried, for `--seconds` seconds. Asked for: 90 % or more of
that rate of answers, refusals (429) within 20 ms (99th percentile), memory that does not grow, every /livez answered.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import uvloop
from common import finish, interleave, parser, ratio_of, result, runs_of
from http_load import Load, closed_loop, liveness, open_loop, prepared
from shapes import random_branches, shared_data

from trunkline.data.sources import read_table
from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine, Limits
from trunkline.serving.request import Request
from trunkline.serving.workers import divide_cores
from trunkline.trunk import load_trunk

TASKS, CONNECTIONS, TEXTS = 8, 256, 1024
QUEUE = 1 << 20  # tokens: no refusals where both sides are compared


def served(folders: list[Path], *more: str) -> tuple[subprocess.Popen[str], str]:
    """A server of branches, and its host and port."""
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "serve", *map(str, folders)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json", *more], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    lines = ""
    while True:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start")
        lines += line
        try:
            return process, json.loads(lines)["address"].removeprefix("http://")
        except json.JSONDecodeError:
            continue


def in_process(engine: Engine, requests: list[list[str]]) -> None:
    left = iter(requests)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                texts = next(left, None)
            if texts is None:
                return
            engine.answer(Request(texts))

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def over_http(host: str, requests: list[list[str]]) -> None:
    bodies = prepared(host, [json.dumps({"texts": texts}).encode() for texts in requests])
    load = uvloop.run(closed_loop(host, bodies, CONNECTIONS))
    assert load.answered == len(requests), {status: len(times) for status, times in load.seconds.items()}


async def overload(host: str, texts: list[str], rate: float, duration: float, each: Callable[[], None]) -> tuple[Load, Load]:
    live, ended = Load(), asyncio.Event()
    watching = asyncio.create_task(liveness(host, live, ended))
    bodies = prepared(host, [json.dumps({"texts": [text]}).encode() for text in texts])
    load = await open_loop(host, bodies, rate, duration, each)
    ended.set()
    await watching
    return load, live


def main() -> None:
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--seconds", type=float, default=30.0, help="of overload (30)")
    arguments.add_argument("--backend", default="torch", help="of the trunk, on both sides: torch, openvino or onnx (torch)")
    options = arguments.parse_args()
    texts = read_table(str(shared_data("emotion", "test.jsonl.gz"))).columns["text"][:TEXTS]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRUNKLINE_CACHE"] = f"{folder}/cache"
        trunk = load_trunk("minilm", dtype="fp32", device="cpu")
        folders = []
        for name, branch in random_branches(trunk, [6 + number % 7 for number in range(TASKS)]).items():
            folders.append(Path(folder) / name)
            save_branch(branch, folders[-1])
        runs, ratios = [], {}
        computed = ("--backend", options.backend)
        patient, host = served(folders, "--queue-tokens", str(QUEUE), *computed)
        try:
            bundle = Bundle.open(folders, backend=options.backend)
            with Engine(bundle, Limits(QUEUE, workers=divide_cores(bundle.trunk))) as engine:
                for size in (1, 16):
                    requests = [texts[first : first + size] for first in range(0, TEXTS, size)]
                    sides = {
                        "HTTP": lambda r=requests: over_http(host, r),
                        "in process": lambda r=requests: in_process(engine, r),
                    }
                    times = interleave(sides, repeats=options.repeats)
                    ratios[size] = ratio_of(times, "in process", "HTTP")
                    for run in runs_of(times, texts_a_request=size):
                        runs.append({**run, "texts_a_second": TEXTS / run["median"]})
        finally:
            patient.terminate()
            patient.wait(30)
        process, host = served(folders, *computed)
        try:
            over_http(host, [[text] for text in texts[:256]])  # warm
            rate, memory = runs[0]["texts_a_second"], []
            observed = psutil.Process(process.pid)
            gc.collect()
            gc.freeze()  # the client's own full collections would count as delays of the server
            load, live = uvloop.run(
                overload(host, texts, 3 * rate, options.seconds, lambda: memory.append(observed.memory_info().rss / 2**20))
            )
        finally:
            process.terminate()
            process.wait(30)
        refused = load.seconds.get(429, [0.0])
        runs.append(
            {
                "side": "3x overload",
                "goodput": load.within / options.seconds / rate,
                "refused_ms_p99": float(np.percentile(refused, 99)) * 1000,
                "answered_ms_p99": float(np.percentile(load.seconds[200], 99)) * 1000,
                "statuses": {str(status): len(times) for status, times in load.seconds.items()},
                "memory_mib": f"{memory[len(memory) // 3]:.0f} -> {memory[-1]:.0f}",
                "livez": "all green" if set(live.seconds) == {200} else str(set(live.seconds)),
                "livez_ms_max": max(map(max, live.seconds.values())) * 1000,
            }
        )
    finish(result(f"http_server, {options.backend}", ratios[1], ">= 0.85", runs), as_json=options.json)


if __name__ == "__main__":
    main()
