"""Claim: 32 AdaLayers branches on one pass cost at most 1.35x the bare pass of a BERT-base, with every layer read.

Sides: the bare forward of a BERT-base-shaped trunk (random weights) over 8 sequences of 128 tokens, and the same pass with
1, 8 and 32 branches riding on it to their logits (k = 64, 8 heads, self-attention head, 2 to 9 classes), in fp32. Beside
it: 32 branches of which each has half of the layers cut off, its own half (target 1.2x), and everything in bf16. Not
measured: tokenising and decoding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from common import finish, interleave, parser, ratio_of, result, runs_of
from shapes import bert_base

from trunkline.branches import Output, SideBranch, TrunkShape, methods
from trunkline.inputs.batching import Layout
from trunkline.model.apply import frozen_group
from trunkline.trunk import Trunk, run_layers

BATCH, LENGTH = 8, 128


def make_branches(count: int, trunk: Trunk, *, half: bool) -> dict[str, SideBranch]:
    """Branches with random weights; with `half`, each drops its own half of the layers."""
    method = methods.get("adalayers")
    config = method.Config(name="adalayers", dim=64, heads=8, alpha=16, cutoff=0.01)
    draw = np.random.default_rng(0)
    branches = {}
    for i in range(count):
        torch.manual_seed(i)
        branch = method(config, TrunkShape(trunk.num_layers, trunk.hidden_size), Output("text", 2 + i % 8)).eval()
        if half:
            cut = draw.choice(trunk.num_layers + 1, (trunk.num_layers + 1) // 2, replace=False)
            with torch.no_grad():
                branch.p[cut] = -10.0
        branches[f"task{i}"] = branch
    return branches


def with_branches(trunk: Trunk, inputs: dict, branches: dict[str, SideBranch]) -> Callable[[], dict]:
    group = frozen_group(branches, trunk.dtype)
    layout = Layout(torch.full((BATCH,), LENGTH))

    def run() -> dict:
        batch = group.start(layout)
        run_layers(trunk, inputs, group.wanted(), lambda layer, state: batch.read(layer, state.flatten(0, 1)))
        return batch.finish()

    return torch.no_grad()(run)


def main() -> None:
    options = parser(__doc__, repeats=9).parse_args()
    runs, ratios = [], {}
    for dtype in ("fp32", "bf16"):
        trunk = bert_base(dtype)
        torch.manual_seed(0)
        ids = torch.randint(4, 30_000, (BATCH, LENGTH))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        bare = torch.no_grad()(lambda trunk=trunk, inputs=inputs: trunk.model(**inputs))
        sides = {"bare pass": bare}
        for count in (1, 8, 32):
            sides[f"{count} branches"] = with_branches(trunk, inputs, make_branches(count, trunk, half=False))
        sides["32 branches, half cut off"] = with_branches(trunk, inputs, make_branches(32, trunk, half=True))
        times = interleave(sides, repeats=options.repeats, warmup=2)
        for run in runs_of(times, dtype=dtype):
            run["ratio"] = ratio_of(times, run["side"], "bare pass")
            ratios[dtype, run["side"]] = run["ratio"]
            run["target"] = {"32 branches": 1.35, "32 branches, half cut off": 1.2}.get(run["side"])
            runs.append(run)
    finish(result("branches_per_pass", ratios["fp32", "32 branches"], "<= 1.35", runs), as_json=options.json)


if __name__ == "__main__":
    main()
