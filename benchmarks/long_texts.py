"""Claim: on IMDB reviews, minilm cut at 256 tokens is no less accurate with `long_texts: mean` than with the first window.

Rows of both labels alike are drawn from the published splits by a fixed seed: for training (10 % of them for validation) and
for test. For each `max_length`, each `long_texts` and several seeds a branch is trained from one store of states; all of them
then answer for the test rows in one pass. The ratio is the mean accuracy of `mean` over that of `first` at the first length.
Beside each accuracy stands the difference to `first` at the same length, with its 95 % interval from a bootstrap over test
texts of the mean over seeds. Not measured: time.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, parser, result
from shapes import shared_data

from trunkline import fit
from trunkline.model.bundle import Bundle

WAYS = ("first", "mean", "max")


def drawn(split: str, count: int, folder: Path) -> Path:
    """Write `count` rows of a split, half of them of each label, as text and label; return the file."""
    with gzip.open(shared_data("imdb", f"{split}.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    chosen = []
    for label in sorted({row["label"] for row in rows}, key=str):
        own = [row for row in rows if row["label"] == label]
        chosen += [own[i] for i in np.random.default_rng(0).permutation(len(own))[: count // 2]]
    order = np.random.default_rng(1).permutation(len(chosen))
    lines = [json.dumps({"text": chosen[i]["text"], "label": str(chosen[i]["label"])}) for i in order]
    path = folder / f"{split}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def trained(train: Path, way: str, length: int, seed: int, options: Any, folder: Path) -> Path:
    """Train a branch, and return where it is."""
    config: dict[str, Any] = {
        "trunk": {"name": "minilm", "max_length": length, "dtype": options.dtype},
        "data": {"train": str(train), "validation": "10%"},
        "tasks": {"review": {"kind": "sequence", "label": "label", "long_texts": way}},
        "method": options.method,
        "training": {"seed": seed, "epochs": options.epochs},
    }
    return fit(config, run_dir=folder / f"{way}-{length}-{seed}").path / "branches" / "review"


def right(branches: list[Path], test: Path) -> np.ndarray:
    """Whether each test text is right, float (branches, texts)."""
    rows = [json.loads(line) for line in test.read_text(encoding="utf-8").splitlines()]
    bundle = Bundle.open(branches)
    answers = bundle.predict([row["text"] for row in rows])
    labels = np.array([row["label"] for row in rows])
    return np.array([np.array([answer[name]["label"] for answer in answers]) == labels for name in bundle.branches], float)


def interval(differences: np.ndarray) -> list[float]:
    """The 95 % interval of the mean of (texts,), by a bootstrap over texts."""
    rng = np.random.default_rng(0)
    means = [differences[rng.integers(0, len(differences), len(differences))].mean() for _ in range(4000)]
    return [round(float(edge), 4) for edge in np.quantile(means, (0.025, 0.975))]


def main() -> None:
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--rows", type=int, default=1500, help="for training, and for test (1500)")
    arguments.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 128], help="max_length (256 512 128)")
    arguments.add_argument("--method", default="scalar_mix", help="a side branch (scalar_mix)")
    arguments.add_argument("--epochs", type=int, default=20, help="of training, at most (20)")
    arguments.add_argument("--dtype", default="bf16", help="of the trunk (bf16)")
    options = arguments.parse_args()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        train, test = (drawn(split, options.rows, place) for split in ("train", "test"))
        for length in options.lengths:
            seeds = range(options.repeats)
            made = [trained(train, way, length, seed, options, place) for way in WAYS for seed in seeds]
            found = right(made, test).reshape(len(WAYS), options.repeats, -1)
            for way, own in zip(WAYS, found, strict=True):
                difference = own.mean(0) - found[0].mean(0)
                low, high = interval(difference)
                runs.append(
                    {
                        "side": f"{way} at {length}", "accuracy": float(own.mean()), "difference": float(difference.mean()),
                        "low": low, "high": high, "seeds": own.mean(1).round(4).tolist(),
                    }
                )  # fmt: skip
    finish(result("long_texts", runs[1]["accuracy"] / runs[0]["accuracy"], ">= 1", runs), as_json=options.json)


if __name__ == "__main__":
    main()
