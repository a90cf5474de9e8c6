"""A config trained for every depth: which runs these are, what a pass to a depth computes, and what is said of the scores."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from synthetic import config, write_rows

from trunkline.branches import Output, SideBranch, TrunkShape, methods
from trunkline.errors import BadInput
from trunkline.training.config import resolve
from trunkline.training.depths import fit_depths, lowest_near, means, nearest, pass_seconds, shares_of_time, variants
from trunkline.trunk.load import load_trunk

TRUNK = TrunkShape(3, 32)


def resolved(**method):
    return resolve({"data": {"train": "snips"}, "tasks": {"intent": {"kind": "sequence", "label": "label"}}, "method": method})


def layers_of(**method):
    return [(by, allowed, getattr(one, "layers", None)) for by, allowed, one in variants(resolved(**method), TRUNK)]


def test_the_deepest_run_is_that_of_the_config_and_the_others_read_fewer_layers():
    expected = [("layers", 3, None), ("layers", 2, "0-2"), ("layers", 1, "0-1"), ("layers", 0, "0")]
    assert layers_of(name="adalayers", dim=8) == layers_of(name="scalar_mix") == expected
    assert layers_of(name="adalayers", layers="1-2") == [("layers", 2, "1-2"), ("layers", 1, "1")]
    assert layers_of(name="scalar_mix", layers=[0, 3, 2]) == [
        ("layers", 3, [0, 3, 2]),
        ("layers", 2, [0, 2]),
        ("layers", 0, "0"),
    ]
    assert [one.layer for _, _, one in variants(resolved(name="probe"), TRUNK)] == [3, 2, 1, 0]


SIDE_BRANCHES = [name for name in methods.names() if issubclass(methods.get(name), SideBranch)]
CHOOSING = [name for name in SIDE_BRANCHES if {"layers", "layer"} & methods.get(name).Config.model_fields.keys()]


@pytest.mark.parametrize("name", CHOOSING)
def test_no_side_branch_may_read_above_its_depth(name):
    """Every method, as it is by default."""
    deepest = []
    for _, allowed, one in variants(resolved(name=name), TRUNK):
        with torch.device("meta"):
            layers = methods.get(name)(one, TRUNK, Output("text", 2)).layers
        assert layers and max(layers) == allowed
        deepest.append(allowed)
    assert deepest[0] == 3 and deepest == sorted(deepest, reverse=True) and len(deepest) >= 3


def test_a_price_is_trained_as_it_stands_and_left_out_of_the_others():
    first, *others = variants(resolved(name="adalayers", dim=8, depth_penalty=0.5), TRUNK)
    assert first[:2] == ("depth_penalty", 3) and first[2].depth_penalty == 0.5
    assert [one.depth_penalty for _, _, one in others] == [0, 0, 0, 0]


def test_a_method_that_changes_the_trunk_has_no_depths(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    values = config(tiny_trunk_dir, rows, tasks=("mood",)) | {"method": {"name": "lora"}}
    with pytest.raises(BadInput, match=r"method\.name: found lora, expected a side branch"):
        fit_depths(values)


def test_a_pass_to_a_depth_runs_so_many_blocks(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    ran = []
    for number, block in enumerate(trunk.taps.blocks, 1):
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    encoded = trunk.encode(["a film", "the music was good"])
    for depth in range(4):
        ran.clear()
        seconds = pass_seconds(trunk, encoded, [depth], rounds=2)
        assert ran == 3 * [*range(1, depth + 1)] and len(seconds[depth]) == 2  # the first round does not count
    assert {depth: len(own) for depth, own in pass_seconds(trunk, encoded, range(4), rounds=2).items()} == dict.fromkeys(
        range(4), 2
    )


def test_shares_of_time_are_of_the_same_round():
    found = shares_of_time({0: [0.0, 0.0, 0.0], 2: [1.0, 10.0, 3.0], 4: [2.0, 20.0, 12.0]})
    assert found == {0: 0, 2: 0.5, 4: 1} and statistics.median([0.5, 0.5, 0.25]) == 0.5


def points(scores, metric="accuracy", test=True):
    """scores: by depth, a list with one a seed."""
    return [
        {"task": "mood", "metric": metric, "by": "layers", "allowed": depth, "blocks": depth, "of": 4, "seed": seed}
        | {"share_of_blocks": depth / 4, "share_of_time": 0.1 + 0.225 * depth, "run": "r"}
        | {"validation": score, "test": score - 0.1 if test else None}
        for depth, own in scores.items()
        for seed, score in enumerate(own)
    ]


def test_the_lowest_depth_within_a_point_by_the_means_over_seeds():
    # A single seed of depth 1 would do, its mean does not; depth 2 is within a point by its mean alone.
    found = points({4: [0.90, 0.92], 3: [0.905, 0.915], 2: [0.890, 0.916], 1: [0.91, 0.85], 0: [0.5, 0.5]})
    said = nearest("mood", found)
    assert said.startswith("mood: 2 of 4 blocks (0.55x of the full pass) are the fewest within one point of 4 on validation:")
    assert said.endswith("accuracy 0.9030 and 0.9100, on test 0.8030 and 0.8100")
    assert nearest("mood", points({4: [0.9], 0: [0.9]}, test=False)).endswith("accuracy 0.9000 and 0.9000")
    assert nearest("mood", points({4: [0.9], 0: [0.9]}, "mse")) is None
    undefined = {"validation": None, "test": None}
    assert lowest_near("mood", [*points({4: [0.9], 1: [0.9]}), {**points({0: [0.0]})[0], **undefined}]) == 1
    assert lowest_near("mood", [*points({3: [0.9]}), {**points({4: [0.0]})[0], **undefined}]) is None
    assert means(found, 1)["validation"] == pytest.approx(np.mean([0.91, 0.85]))
