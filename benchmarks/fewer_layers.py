"""Claim: on Emotion, a branch on fewer layers of minilm is within one point of the full depth at no more than 0.6x of its pass.

`examples/emotion.yaml`, trained for every depth and several seeds by what `trunkline fit CONFIG --depths` runs. The depth is
chosen on validation: the lowest whose mean accuracy is at most one point below that of all layers. The ratio is the time of the
bare trunk up to that depth beside that of all its blocks, over 256 validation texts in the precision that this machine prefers,
all depths in turn; the accuracies on test stand beside it. Not measured: tokenising and the arithmetic of the branch, which
hardly depend on depth.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from common import finish, parser, result
from shapes import shared_data

from trunkline.training.depths import fit_depths, lowest_near, means

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "emotion.yaml"


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--runs", type=Path, help="a folder that keeps the runs, so that a second call resumes")
    options = arguments.parse_args()
    data = [f"data.{split}={shared_data('emotion', f'{split}.jsonl.gz')}" for split in ("train", "validation", "test")]
    with tempfile.TemporaryDirectory() as folder:
        found = fit_depths(
            EXAMPLE,
            overrides=data,
            seeds=options.repeats,
            run_dir=options.runs or folder,
            say=lambda sentence: print(sentence, file=sys.stderr, flush=True),
        )
    points = found["points"]
    chosen = lowest_near("emotion", points)
    assert chosen is not None, "an accuracy has points"
    runs: list[dict[str, Any]] = []
    for allowed in sorted({point["allowed"] for point in points}):
        scores = {split: [one[split] for one in points if one["allowed"] == allowed] for split in ("validation", "test")}
        runs.append({"side": f"layers 0-{allowed}", **means(points, allowed), "scores": scores})
    finish(result("fewer_layers", runs[chosen]["share_of_time"], "<= 0.6", runs), as_json=options.json)


if __name__ == "__main__":
    main()
