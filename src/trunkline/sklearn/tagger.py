"""A tagger of words: spans of several types in texts that are given as words."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from trunkline.data.formats.conll_tags import SAID, Scheme, converted, scheme_of_lists
from trunkline.data.memory import values_of
from trunkline.data.values.tags import to_iob2
from trunkline.errors import BadInput
from trunkline.model.words import joined, tags_of
from trunkline.sklearn.base import NO_Y, TASK, TextEstimator, of_objects, same_length

_TOKENS = "tokens"


class TokenTagger(TextEstimator):
    """A tag for each word.

    X is a list of texts, each a list of words; y has a list of tags for each, in any scheme that a CoNLL file may have: with
    prefixes (IOB2, IOB1, BIOES), without them (IO), or parts of speech. Predictions are in IOB2, but without prefixes where y
    has none.

    Attributes:
        classes_: the tags: O, then B-x and I-x of every type; without prefixes O and the types; parts of speech these alone.
        bundle_: a Bundle with the trained branch, called "label".
        validation_scores_: metrics on the rows that `fit` has set apart.
        findings_: what was noticed about the data, a sentence each.
    """

    _scheme: Scheme = "iob"  # of y

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
        _check_lengths(words, tags)
        scheme = scheme_of_lists(tags)
        tags = [converted(row, scheme) for row in tags]
        for number, row in enumerate(tags, start=1):
            try:
                to_iob2(row)
            except BadInput as error:
                raise BadInput(f"y: text {number}: {error}") from None
        task = {"kind": "token", "tokens": _TOKENS, "tags": TASK, "crf": True}
        self._train({_TOKENS: words, TASK: tags}, task, sample_weight)
        own = self._branch.task
        self._scheme = scheme
        self.classes_ = np.array({"io": ["O", *own.types], "pos": own.types}.get(scheme, own.labels))
        if (said := SAID.get(scheme)) is not None:
            self.findings_.append(said.format("the tags in y"))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return a tag of `classes_` for each word of each text: an array of lists, as tools of scikit-learn concatenate."""
        texts, units = joined(words := _lists(X, "X", "words"))
        answers = self._fitted().predict(texts, units=units, empty_texts="read")
        rows = [tags_of(answer[TASK]["spans"], own) for answer, own in zip(answers, units, strict=True)]
        if self._scheme in ("io", "pos"):
            rows = [[tag[2:] or tag for tag in row] for row in rows]
        if self._scheme == "pos" and (outside := [number for number, row in enumerate(rows) if "O" in row]):
            shares = self.predict_proba([words[number] for number in outside])
            for number, own in zip(outside, shares, strict=True):  # a word that no span has still is of some part of speech
                best = self.classes_[own.argmax(axis=1)].tolist()
                rows[number] = [other if tag == "O" else tag for tag, other in zip(rows[number], best, strict=True)]
        return of_objects(rows)

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Return for each text the probability of every tag at each word, fp32 (words, tags), in the order of `classes_`."""
        texts, units = joined(_lists(X, "X", "words"))
        found = self._fitted().predict_proba(texts, units=units, empty_texts="read")[TASK]
        if self._scheme not in ("io", "pos"):
            return found
        found = [np.concatenate([own[:, :1], own[:, 1::2] + own[:, 2::2]], axis=1) for own in found]  # B-x or I-x
        if self._scheme == "pos":
            found = [own[:, 1:] / own[:, 1:].sum(axis=1, keepdims=True) for own in found]
        return found

    def score(self, X: Any, y: Any) -> float:
        """Return the F1 of spans: those whose words and type are right; of parts of speech the share that is right."""
        bundle, words, tags = self._fitted(), _lists(X, "X", "words"), _lists(y, "y", "tags")
        _check_lengths(words, tags)
        if self._scheme == "pos":
            found = [tag for row in self.predict(words) for tag in row]
            return float(np.mean(np.array(found) == np.array([tag for row in tags for tag in row])))
        texts, units = joined(words)
        scheme = self._scheme if set(self.classes_).issuperset(tag for row in tags for tag in row) else scheme_of_lists(tags)
        right = [converted(row, scheme) for row in tags]
        return float(bundle.score(texts, right, units=units, empty_texts="read")["f1"])

    def _described(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "scheme": self._scheme}

    def _restore(self, described: dict[str, Any]) -> None:
        self.classes_, self._scheme = np.array(described["classes"]), described.get("scheme", "iob")


def _check_lengths(words: list[list[str]], tags: list[list[str]]) -> None:
    """Raise BadInput unless there is a tag for each word of each text."""
    same_length(words, tags)
    for number, (own, right) in enumerate(zip(words, tags, strict=True), start=1):
        if len(own) != len(right):
            raise BadInput(f"y: found {len(right)} tags for the {len(own)} words of text {number}, expected one for each")


def _lists(given: Any, name: str, what: str) -> list[list[str]]:
    """Lists of strings, one for each text."""
    rows = values_of(given, name, f"a list of {what} for each text")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list):
            raise BadInput(f"{name}: text {number} is {type(row).__name__}, expected a list of {what}")
        for place, one in enumerate(row, start=1):
            if not isinstance(one, str):
                found = "missing (None or NaN)" if one is None else type(one).__name__
                how = "; numbers of tags are to be replaced by the names of these" if isinstance(one, int | float) else ""
                hint = f"a string{how if what == 'tags' else ''}"
                raise BadInput(f"{name}: {what[:-1]} {place} of text {number} is {found}, expected {hint}")
    return rows
