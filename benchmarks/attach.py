"""Claim: a branch that rides on a user's own model costs at most 5 % of its forward pass; eight cost at most 15 %.

Sides: the forward pass of a BERT-base-shaped `BertForSequenceClassification` (random weights) over 8 sequences of 128 tokens
in fp32, called as a user calls it; and the same call within `trunkline.attach` with 1 and with 8 AdaLayers branches of k = 64
on it (every layer, 8 heads), up to their answers. The ratio is that of one branch. Not measured: tokenising, and the check of
the model's weights, which `attach` makes once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from branches_per_pass import BATCH, LENGTH, make_branches
from common import finish, interleave, parser, ratio_of, result, runs_of
from shapes import bert_base
from transformers import BertConfig, BertForSequenceClassification

import trunkline
from trunkline.model.branch import Branch
from trunkline.model.trunk_ref import TrunkRef
from trunkline.tasks import kinds
from trunkline.trunk import Trunk

TARGETS = {"1 branch": 1.05, "8 branches": 1.15}


def as_branches(trunk: Trunk, count: int) -> dict[str, Branch]:
    """The branches of branches_per_pass.py, with the tasks that their answers need."""
    kind, ref, found = kinds.get("sequence"), TrunkRef.of(trunk), {}
    for name, module in make_branches(count, trunk, half=False).items():
        labels = [f"label {label}" for label in range(module.output.size)]
        task = kind(name, kind.Config(label="label"), labels, kind.Learned())
        found[name] = Branch(task, module.config, module, task.criterion(), ref, LENGTH, "fp32")
    return found


def users_model(trunk: Trunk) -> BertForSequenceClassification:
    """A model with a head whose trunk has the weights of `trunk`."""
    config = BertConfig.from_dict(trunk.model.config.to_dict())
    model = BertForSequenceClassification(config).eval()
    model.bert.load_state_dict(trunk.model.state_dict(), strict=False)
    return model


def attached(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], branches: dict[str, Branch]) -> Callable[[], object]:
    attachment = trunkline.attach(model, branches)

    def run() -> list[object]:
        with attachment as taps:
            model(**inputs)
        return [taps[name] for name in taps]

    return torch.no_grad()(run)


def main() -> None:
    options = parser(__doc__, repeats=9).parse_args()
    trunk = bert_base("fp32")
    model = users_model(trunk)
    torch.manual_seed(0)
    ids = torch.randint(4, 30_000, (BATCH, LENGTH))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    sides: dict[str, Callable[[], object]] = {"model alone": torch.no_grad()(lambda: model(**inputs))}
    for side, count in (("1 branch", 1), ("8 branches", 8)):
        sides[side] = attached(model, inputs, as_branches(trunk, count))
    times = interleave(sides, repeats=options.repeats, warmup=2)
    runs = runs_of(times)
    for run in runs:
        run["ratio"] = ratio_of(times, run["side"], "model alone")
        run["target"] = TARGETS.get(run["side"])
    finish(result("attach", ratio_of(times, "1 branch", "model alone"), "<= 1.05", runs), as_json=options.json)


if __name__ == "__main__":
    main()
