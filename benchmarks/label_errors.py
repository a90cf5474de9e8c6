"""Claim: of the 5 % of Emotion's training rows whose labels are doubted most, at least 70 % have labels that were flipped.

5 % of the 16,000 training labels are replaced on purpose, by a seed, each by one of the five others, all equally likely; then
`trunkline label-errors` ranks the rows with the settings of examples/emotion.yaml but for the epochs (five folds, trunk
minilm). The ratio is the share of flipped rows among the top 5 %. Beside it stand, from the same probabilities: the ranking by
normalised margin, and the suspected rows (precision and recall). The other rows of the top 5 % are no mistakes for certain:
Emotion's own labels come from hashtags. `--seeds` also averages the probabilities of several seeds. Not measured: time.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, parser, result
from shapes import shared_data

from trunkline.tasks.label_quality import OneLabelQuality, self_confidence, suspects
from trunkline.training.config import resolve
from trunkline.training.out_of_fold import OutOfFold, predict_out_of_fold

SHARE, TARGET = 0.05, ">= 0.7"
METHOD = {"name": "adalayers", "dim": 128, "alpha": 16, "dropout": 0.3}
TRAINING = {"learning_rate": 1e-3, "schedule": "one_cycle", "weight_decay": 0.05}


def flipped(rows: list[dict[str, Any]], share: float, seed: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The rows with a share of their labels replaced by others, and which ones."""
    rng = np.random.default_rng(seed)
    labels = sorted({row["label"] for row in rows})
    chosen = rng.permutation(len(rows))[: round(share * len(rows))]
    made = [dict(row) for row in rows]
    for number in chosen:
        made[number]["label"] = rng.choice([label for label in labels if label != rows[number]["label"]]).item()
    wrong = np.zeros(len(rows), bool)
    wrong[chosen] = True
    return made, wrong


def shares(found: OutOfFold, wrong: np.ndarray) -> dict[str, float]:
    """Of each ranking, the share of flipped rows in its top 5 %; of the suspected rows, precision and recall."""
    assert found.targets.present.all()
    given, p = found.targets.values, found.probabilities
    top = int(wrong.sum())
    by_confidence = OneLabelQuality.judged(found.task.labels, p, found.targets).order()
    own, others = self_confidence(p, given), p.copy()
    others[np.arange(len(given)), given] = -1
    by_margin = np.argsort(own - others.max(axis=1), kind="stable")
    suspected = suspects(p, given)
    return {
        "self-confidence": float(wrong[by_confidence[:top]].mean()),
        "normalised margin": float(wrong[by_margin[:top]].mean()),
        "suspected rows": int(suspected.sum()),
        "precision of these": float(wrong[suspected].mean()),
        "recall of these": float(suspected[wrong].mean()),
        "accuracy on rows not flipped": float((p.argmax(axis=1) == given)[~wrong].mean()),
    }


def main() -> None:
    arguments = parser(__doc__, repeats=1)
    arguments.add_argument("--rows", type=int, default=None, help="the first rows of train only")
    arguments.add_argument("--epochs", type=int, nargs="+", default=[4], help="epochs of each branch; several are compared (4)")
    arguments.add_argument("--seeds", type=int, default=1, help="seeds whose probabilities are averaged (1)")
    options = arguments.parse_args()
    with gzip.open(shared_data("emotion", "train.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][: options.rows]
    runs, ratios = [], []
    for repeat in range(options.repeats):
        made, wrong = flipped(rows, SHARE, repeat)
        with tempfile.TemporaryDirectory() as folder:
            train = Path(folder) / "train.jsonl"
            train.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
            for epochs in options.epochs:
                config = resolve(
                    {
                        "trunk": "minilm",
                        "data": {"train": str(train), "validation": "10%"},
                        "tasks": {"emotion": {"kind": "sequence", "label": "label"}},
                        "method": METHOD,
                        "training": {**TRAINING, "epochs": epochs, "seed": repeat},
                    }
                )
                [found] = predict_out_of_fold(config, seeds=options.seeds, say=lambda said: print(said, file=sys.stderr))
                about = shares(found, wrong)
                runs.append({"side": f"{epochs} epochs, flips of seed {repeat}", "flipped": int(wrong.sum()), **about})
                if epochs == options.epochs[0]:
                    ratios.append(about["self-confidence"])
    finish(result("label_errors", float(np.mean(ratios)), TARGET, runs), as_json=options.json)


if __name__ == "__main__":
    main()
