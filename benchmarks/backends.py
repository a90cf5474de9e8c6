"""Claim: OpenVINO in int8 computes all layer states of minilm at least 3.5x as fast as torch in fp32 (32 x 64 tokens).

Sides: one batch of 32 SNIPS texts that were laid end to end to 64 tokens each, through torch in fp32 and in bf16 and through
every backend that is installed, in each of its precisions; every side gives all 7 states, and uses the threads that torch
does. The table has tokens per second, the ratio to torch in fp32, and how far the states lie from its states (the norm of the
difference by the norm, the worst layer). Not measured: tokenising, and compiling, which is done once.

On a processor with fast bfloat16 or AMX, take it twice: `ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI` makes torch and OpenVINO behave
as on one without.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from common import finish, interleave, parser, ratio_of, result, runs_of

from trunkline.data.sources import read_table
from trunkline.states.live import LiveStates
from trunkline.trunk.backends import backends, installed
from trunkline.trunk.load import Trunk, load_trunk

TEXTS, TOKENS = 32, 64


def batch_texts(trunk: Trunk, count: int) -> list[str]:
    """So many texts of at least TOKENS tokens: consecutive rows of the SNIPS train split, joined."""
    rows, found, start = read_table("snips").columns["text"], [], 0
    while len(found) < count:
        end = start + 1
        while trunk.encode([" ".join(rows[start:end])], max_length=TOKENS).lengths[0] < TOKENS:
            end += 1
        found.append(" ".join(rows[start:end]))
        start = end
    return found


def sides_here() -> list[tuple[str, str]]:
    """(backend, precision) of what is installed."""
    found = [("torch", "fp32"), ("torch", "bf16")]
    for name in backends.names():
        if installed(name):
            found += [(name, precision) for precision in backends.get(name).precisions]
    return found


def main() -> None:
    arguments = parser(__doc__, repeats=15)
    arguments.add_argument("--trunk", default="minilm", help="alias or folder of the trunk (minilm)")
    arguments.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"], help="those to measure (all)")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRUNKLINE_CACHE"] = folder
        plain = load_trunk(options.trunk, dtype="fp32", device="cpu")
        texts = batch_texts(plain, 2 * TEXTS)
        encoded, sample = (plain.encode(part, max_length=TOKENS) for part in (texts[:TEXTS], texts[TEXTS:]))
        assert encoded.lengths.sum() == TEXTS * TOKENS
        layers, sides, states = (
            range(plain.num_layers + 1),
            dict[str, Callable[[], None]](),
            dict[str, dict[int, torch.Tensor]](),
        )
        for backend, precision in [side for side in sides_here() if side[1] in options.precisions]:
            trunk = load_trunk(options.trunk, dtype=precision, device="cpu", backend=backend)
            if trunk.compiled is not None and trunk.compiled.calibrates:
                trunk.compiled.calibrate([trunk.collate(sample, [number]) for number in range(TEXTS)])
            feed, found = LiveStates(trunk, encoded), dict[int, torch.Tensor]()
            feed.feed(np.arange(TEXTS), layers, lambda layer, rows, found=found: found.update({layer: rows.float().clone()}))
            name = f"{backend} {precision}"
            states[name] = found
            sides[name] = lambda feed=feed: feed.feed(np.arange(TEXTS), layers, lambda layer, rows: None)
        times = interleave(sides, repeats=options.repeats, warmup=3)
    base = states["torch fp32"]
    runs = []
    for run in runs_of(times):
        found = states[run["side"]]
        run["tokens per second"] = TEXTS * TOKENS / run["median"]
        run["ratio to torch fp32"] = ratio_of(times, "torch fp32", run["side"])
        run["difference"] = max(float((found[n] - base[n]).norm() / base[n].norm()) for n in layers)
        runs.append(run)
    ratio = ratio_of(times, "torch fp32", "openvino int8") if "openvino int8" in times else 0.0
    finish(result("backends", ratio, ">= 3.5", runs), as_json=options.json)


if __name__ == "__main__":
    main()
