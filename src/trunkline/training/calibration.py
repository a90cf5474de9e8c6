"""The calibration of a trunk in int8: measured on a sample of the training texts, or taken from a branch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trunkline.errors import BadInput
from trunkline.model.branch import load_branch
from trunkline.model.folders import branch_folders
from trunkline.training.prepare import Prepared
from trunkline.trunk.backends import Ranges
from trunkline.trunk.load import Trunk

SAMPLE = 300  # sequences; NNCF's own default, beyond which ranges hardly move


def calibrate(trunk: Trunk, groups: list[Prepared], seed: int) -> None:
    """Calibrate `trunk` on training texts of all data sets, drawn by `seed`, one at a time so that no padding is measured."""
    assert trunk.compiled is not None
    splits = [encoded for group in groups if (encoded := group.splits["train"].encoded) is not None]
    places = [(number, sequence) for number, encoded in enumerate(splits) for sequence in range(len(encoded.lengths))]
    drawn = np.random.default_rng(seed).permutation(len(places))[:SAMPLE]
    trunk.compiled.calibrate([trunk.collate(splits[places[i][0]], [places[i][1]]) for i in sorted(drawn.tolist())])


def ranges_of(path: str) -> Ranges:
    """The calibration that the branches of a run, or a branch, were trained with.

    Raises:
        BadInput: no branch there, or trained on a trunk that is not in int8.
    """
    for folder in branch_folders(Path(path)):
        if (ranges := load_branch(folder).trunk.ranges) is not None:
            return ranges
    raise BadInput(
        found=f"{path}, whose branches were not trained in int8", expected="a run or branch in int8", key="trunk.calibration"
    )
