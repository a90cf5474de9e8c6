"""Claim: half of minilm's blocks, distilled, are within 1.5 points on Emotion, SNIPS and HWU64 intents at <= 0.55x of its pass.

The student has 3 of the 6 blocks. It is distilled as `examples/distill_minilm.yaml` says, from texts without labels, or
given by `--student`. Then AdaLayers are trained on both trunks as `examples/emotion.yaml`, `snips.yaml` (its intents) and
`hwu64.yaml` (its 64 intents) say, a run for each seed, and judged on the test splits. The ratio is the time of the bare pass of
the student beside that of minilm, over 256 validation texts of Emotion in the precision that this machine prefers, both in
turn. It holds if the ratio is met and no accuracy (the mean over seeds) is more than 1.5 points lower.

`--rows N` takes N texts of each data set to distil from and N rows to train on: a trial, whose figures say nothing. Not
measured: tokenising and the arithmetic of the branches, which are the same for both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, interleave, parser, ratio_of, result, runs_of
from shapes import shared_data

import trunkline
from trunkline.data.sources import read_table
from trunkline.inputs.batching import token_batches
from trunkline.states.live import LiveStates
from trunkline.training.distillation.config import load_distillation

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MOST_POINTS = 1.5
TASKS = {  # by data set: the task, and others of its example that are left out
    "emotion": ("emotion", ()),
    "snips": ("intent", ("slots",)),
    "hwu64": ("intent", ("scenario", "action", "slots")),
}


def distilled(options: argparse.Namespace, out: Path) -> Path:
    """The folder of the student: the one that was given, or one distilled now (or resumed) into `out`."""
    if options.student is not None:
        return options.student
    example = EXAMPLES / "distill_minilm.yaml"
    data = [str(shared_data("emotion", "train.jsonl.gz")), "snips", str(shared_data("hwu64", "train.jsonl.gz"))]
    data.append(str(shared_data("imdb", "train.jsonl.gz")))
    if options.rows is None:
        return trunkline.distill(example, out=out, overrides={"data.train": data}).path
    texts = []
    for source in data:
        own = read_table(source).columns["text"]
        texts += own[:: max(1, len(own) // options.rows)][: options.rows]
    values = load_distillation(example).as_dict()
    values["data"]["train"] = {"text": texts}
    return trunkline.distill(values, out=out).path


def accuracies(name: str, trunk: str, options: argparse.Namespace, runs: Path, side: str) -> list[float]:
    """Test accuracies in percent of AdaLayers on a trunk, a seed after the other."""
    task, left_out = TASKS[name]
    changes: dict[str, Any] = {f"tasks.{other}": None for other in left_out}
    changes |= {"trunk": trunk} if options.rows is None else {"trunk": trunk, "data.rows": options.rows}
    if name != "snips":
        changes |= {f"data.{split}": str(shared_data(name, f"{split}.jsonl.gz")) for split in ("train", "validation", "test")}
    found = []
    for seed in range(options.seeds):
        fitted = trunkline.fit(
            EXAMPLES / f"{name}.yaml",
            overrides=changes | {"training.seed": seed},
            run_dir=runs / f"{name}-{side}-{seed}",
            progress=False,
        )
        found.append(100 * fitted.tasks[task]["test"]["accuracy"])
        print(f"{name} on the {side}, seed {seed}: {found[-1]:.2f}", file=sys.stderr, flush=True)
    return found


def passes(name: str) -> Any:
    """A function that runs a trunk over 256 validation texts of Emotion, to its last layer."""
    trunk = trunkline.load_trunk(name)
    encoded = trunk.encode(read_table(str(shared_data("emotion", "validation.jsonl.gz"))).columns["text"][:256])
    feed, batches = LiveStates(trunk, encoded), token_batches(encoded.lengths, tokens=4096)

    def run() -> None:
        for batch in batches:
            feed.feed(np.asarray(batch), (trunk.num_layers,), lambda layer, rows: None)

    return run


def main() -> None:
    arguments = parser(__doc__, repeats=7)
    arguments.add_argument("--student", type=Path, help="the folder of a student that was distilled before")
    arguments.add_argument("--seeds", type=int, default=1, help="runs of each trunk and data set (1)")
    arguments.add_argument("--rows", type=int, help="a trial with so many rows of each data set")
    arguments.add_argument("--keep", type=Path, help="a folder that keeps student and runs, so that a second call resumes")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        student = str(distilled(options, keep / "student"))
        times = interleave({"teacher": passes("minilm"), "student": passes(student)}, repeats=options.repeats)
        runs = runs_of(times)
        for name in TASKS:
            scores = {
                side: accuracies(name, trunk, options, keep / "runs", side)
                for side, trunk in {"teacher": "minilm", "student": student}.items()
            }
            means = {side: statistics.mean(own) for side, own in scores.items()}
            difference = means["student"] - means["teacher"]
            runs.append({"side": name, "median": None, **means, "difference": difference, "accuracies": scores})
    outcome = result("distilled", ratio_of(times, "student", "teacher"), "<= 0.55", runs)
    outcome["holds"] = outcome["holds"] and all(run.get("difference", 0.0) >= -MOST_POINTS for run in runs)
    finish(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
