"""A regressor of texts: a number for each."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from trunkline.errors import BadInput
from trunkline.sklearn.base import NO_Y, TASK, TextEstimator, one_column, same_length, texts_from, unmasked


class TextRegressor(RegressorMixin, TextEstimator):
    """A number for each text, by the mean squared error; `score` is the coefficient of determination.

    Attributes:
        bundle_: a Bundle with the trained branch, called "label".
        validation_scores_: metrics on the rows that `fit` has set apart.
        findings_: what was noticed about the data, a sentence each.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a branch.

        Args:
            X: texts, a list or a one-dimensional array of strings.
            y: (texts,) finite numbers.
            sample_weight: (texts,) what the loss of each text is multiplied by; texts of weight 0 are left out.

        Raises:
            BadInput: X, y, the weights or the parameters cannot be used. It is a ValueError.
        """
        texts = texts_from(X)
        if y is None:
            raise BadInput(NO_Y)
        given = one_column(unmasked(y, np.nan), "a number for each text")
        try:
            numbers = given.astype(np.float64)
        except (TypeError, ValueError):
            raise BadInput("y: found values that are no numbers, expected a number for each text") from None
        if not np.isfinite(numbers).all():
            raise BadInput(f"y: found NaN or infinity, expected finite numbers ({_place(numbers)})")
        same_length(texts, numbers.tolist())
        self._train({"text": texts, TASK: numbers.tolist()}, {"kind": "regression", "target": TASK}, sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return a number for each text, fp64 (texts,), in the units of y."""
        answers = self._fitted().predict(texts_from(X), empty_texts="read")
        return np.array([answer[TASK]["value"] for answer in answers], np.float64)


def _place(numbers: np.ndarray) -> str:
    """Which numbers are not finite, and how many."""
    rows = np.flatnonzero(~np.isfinite(numbers))
    return f"{len(rows):,} of {len(numbers):,} are not, the first is {rows[0] + 1:,}"
