"""Claim: `cross_val_score` with five folds of 2,000 SNIPS intents costs less than 2.5 times one fit on the same rows.

Sides: `TextClassifier().fit` on the rows, and `cross_val_score` of a `TextClassifier()` over five folds of them, each with an
empty states store and no trunk in memory. Both load the trunk and run it over the texts; the folds share what the first ones
have stored, and train five times on four fifths of the rows. Not measured: imports, and reading the data.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from typing import Any

from common import finish, interleave, parser, ratio_of, result, runs_of
from sklearn.model_selection import StratifiedKFold, cross_val_score

from trunkline.data.sources import read_table
from trunkline.sklearn import TextClassifier
from trunkline.trunk import shared
from trunkline.trunk.machine import pick_device, pick_dtype

ROWS, FOLDS = 2_000, 5


def alone(side: Callable[[], Any]) -> Callable[[], Any]:
    """The same with an empty cache and no trunk that a side before has loaded."""

    def run() -> Any:
        shared.forget()
        with tempfile.TemporaryDirectory() as cache:
            os.environ["TRUNKLINE_CACHE"] = cache
            return side()

    return run


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--rows", type=int, default=ROWS, help=f"rows of SNIPS ({ROWS})")
    arguments.add_argument("--method", default=None, help="a method in place of the estimator's default")
    options = arguments.parse_args()
    columns = read_table("snips").columns
    rows = random.Random(0).sample(range(len(columns["text"])), options.rows)  # the file is sorted by label
    texts, intents = ([columns[name][row] for row in rows] for name in ("text", "label"))
    dtype = pick_dtype("auto", pick_device("auto"))  # measured here, once, and not by each side
    own = {} if options.method is None else {"method": options.method}
    folds, scores = StratifiedKFold(FOLDS, shuffle=True, random_state=0), []

    def estimator() -> TextClassifier:
        return TextClassifier(trunk={"name": "minilm", "dtype": dtype}, **own)

    def validated() -> None:
        scores[:] = cross_val_score(estimator(), texts, intents, cv=folds, error_score="raise").tolist()

    sides = {"one fit": alone(lambda: estimator().fit(texts, intents)), "five folds": alone(validated)}
    times = interleave(sides, repeats=options.repeats, warmup=0)
    runs = runs_of(times)
    for run in runs:
        run["accuracy by fold"] = scores if run["side"] == "five folds" else []
    finish(result("cross_validation", ratio_of(times, "five folds", "one fit"), "<= 2.5", runs), as_json=options.json)


if __name__ == "__main__":
    main()
