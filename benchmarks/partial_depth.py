"""Claim: a request that needs only the lower half of the layers costs at most 0.6x of a full pass.

Sides: texts of the Snips test split through a BERT-base-shaped trunk (random weights) for one AdaLayers branch that reads
layers 0 to 6, and for one that reads layers 0 to 12; the same batches, tokenised before, in the precision that this machine
prefers. Not measured: tokenising and decoding, which cost the same on both sides.
"""

from __future__ import annotations

import torch
from common import finish, interleave, parser, ratio_of, result, runs_of
from shapes import bert_base, vocabulary

from trunkline.branches import Output, TrunkShape, methods
from trunkline.data.sources import read_table
from trunkline.model.apply import collect_logits
from trunkline.states.live import LiveStates


class Task:
    """What `collect_logits` needs to know of a task with seven labels."""

    level, outputs = "text", 7


def main() -> None:
    options = parser(__doc__, repeats=5).parse_args()
    texts = read_table("snips:test").columns["text"][:256]
    trunk = bert_base("auto", vocabulary(texts))
    encoded = trunk.encode(texts, max_length=128)
    method = methods.get("adalayers")
    sides = {}
    for name, layers in (("layers 0-6", "0-6"), ("layers 0-12", "0-12")):
        torch.manual_seed(0)
        config = method.Config(name="adalayers", dim=64, layers=layers)
        branch = method(config, TrunkShape(trunk.num_layers, trunk.hidden_size), Output("text", Task.outputs)).eval()
        sides[name] = lambda branch=branch: collect_logits(
            {"task": (Task, branch)},
            LiveStates(trunk, encoded),
            encoded,
            precision=trunk.dtype,
            device=torch.device(trunk.device),
        )
    times = interleave(sides, repeats=options.repeats)
    outcome = result("partial_depth", ratio_of(times, "layers 0-6", "layers 0-12"), "<= 0.6", runs_of(times, dtype=trunk.dtype))
    finish(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
