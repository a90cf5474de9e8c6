"""A tagger of words: spans of several types in texts that are given as words."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from trunkline.data.memory import values_of
from trunkline.data.values.tags import to_iob2
from trunkline.errors import BadInput
from trunkline.model.words import joined, tags_of
from trunkline.sklearn.base import NO_Y, TASK, TextEstimator, of_objects, same_length

_TOKENS = "tokens"


class TokenTagger(TextEstimator):
    """A tag for each word.

    X is a list of texts, each a list of words; y has a list of tags for each (IOB2, IOB1 or BIOES). Predictions are in IOB2.

    Attributes:
        classes_: the tags: O, then B-x and I-x of every type.
        bundle_: a Bundle with the trained branch, called "label".
        validation_scores_: metrics on the rows that `fit` has set apart.
        findings_: what was noticed about the data, a sentence each.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a branch whose tags are chosen together, by a conditional random field.

        Args:
            X: texts as lists of words.
            y: as many tags for each.
            sample_weight: (texts,) what the loss of each text is multiplied by; texts of weight 0 are left out.

        Raises:
            BadInput: X, y, the weights or the parameters cannot be used. It is a ValueError.
        """
        words = _lists(X, "X", "words")
        if y is None:
            raise BadInput(NO_Y)
        tags = _lists(y, "y", "tags")
        same_length(words, tags)
        for number, (own, right) in enumerate(zip(words, tags, strict=True), start=1):
            if len(own) != len(right):
                raise BadInput(f"y: found {len(right)} tags for the {len(own)} words of text {number}, expected one for each")
            try:
                to_iob2(right)
            except BadInput as error:
                raise BadInput(f"y: text {number}: {error}") from None
        task = {"kind": "token", "tokens": _TOKENS, "tags": TASK, "crf": True}
        self._train({_TOKENS: words, TASK: tags}, task, sample_weight)
        self.classes_ = np.array(self._branch.task.labels)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return a tag in IOB2 for each word of each text: an array of lists, as tools of scikit-learn concatenate."""
        texts, units = joined(_lists(X, "X", "words"))
        answers = self._fitted().predict(texts, units=units, empty_texts="read")
        return of_objects([tags_of(answer[TASK]["spans"], own) for answer, own in zip(answers, units, strict=True)])

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Return for each text the probability of every tag at each word, fp32 (words, tags), in the order of `classes_`."""
        texts, units = joined(_lists(X, "X", "words"))
        return self._fitted().predict_proba(texts, units=units, empty_texts="read")[TASK]

    def score(self, X: Any, y: Any) -> float:
        """Return the F1 of spans: those whose words and type are right."""
        texts, units = joined(_lists(X, "X", "words"))
        return float(self._fitted().score(texts, _lists(y, "y", "tags"), units=units, empty_texts="read")["f1"])

    def _described(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist()}

    def _restore(self, described: dict[str, Any]) -> None:
        self.classes_ = np.array(described["classes"])


def _lists(given: Any, name: str, what: str) -> list[list[str]]:
    """Lists of strings, one for each text."""
    rows = values_of(given, name, f"a list of {what} for each text")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or not all(isinstance(one, str) for one in row):
            raise BadInput(f"{name}: text {number} is {type(row).__name__}, expected a list of {what}")
    return rows
