"""A classifier of texts: one label each, or any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets

from trunkline.data.memory import plain
from trunkline.errors import BadInput
from trunkline.model.decision import thresholds_of
from trunkline.sklearn.base import NO_Y, TASK, TextEstimator, of_objects, one_column, same_length, texts_from, unmasked
from trunkline.tasks.label_types import type_of_labels

Form = Literal["one", "indicators", "lists"]


class TextClassifier(ClassifierMixin, TextEstimator):
    """Labels of texts.

    `y` of `fit` is one label for each text (a string, a whole number or a truth value), a matrix of 0 and 1 with a column for
    each label, or a list of labels for each text. Predictions come in the same form and type.

    Attributes:
        classes_: the labels, sorted; of a matrix of 0 and 1 the numbers of its columns.
        bundle_: a Bundle with the trained branch, called "label".
        validation_scores_: metrics on the rows that `fit` has set apart.
        findings_: what was noticed about the data, a sentence each.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a branch.

        Args:
            X: texts, a list or a one-dimensional array of strings.
            y: what is right for each.
            sample_weight: (texts,) what the loss of each text is multiplied by; texts of weight 0 are left out.

        Raises:
            BadInput: X, y, the weights or the parameters cannot be used. It is a ValueError.
        """
        texts = texts_from(X)
        form, classes, rows = _labels_of(y)
        same_length(texts, rows)
        if form == "one" and len(classes) == 1:
            raise BadInput("y: found one class, expected at least two")
        names = _names(classes)
        if form == "one":
            task = {"kind": "sequence", "label": TASK, "label_list": names}
            held: dict[str, list] = {"text": texts, TASK: [names[row] for row in rows]}
        else:
            sets = [set(row) for row in rows]
            # A column for each label, so that those without a positive row are labels too.
            indicators = {_column(name): [int(place in row) for row in sets] for place, name in enumerate(names)}
            task, held = {"kind": "multilabel", "labels": list(indicators)}, {"text": texts, **indicators}
        self._train(held, task, sample_weight)
        own = self._branch.task
        own.label_type = type_of_labels(classes.tolist(), own.labels)  # the data that it was trained on had their names
        self.classes_, self._form = classes, form
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every label, fp32 (texts, labels), in the order of `classes_`."""
        return self._fitted().predict_proba(texts_from(X), empty_texts="read")[TASK]

    def predict(self, X: Any) -> Any:
        """Return the labels of texts, in the form that `fit` was given them in."""
        bundle = self._fitted()
        shares = self.predict_proba(X)
        if self._form == "one":
            return self.classes_[shares.argmax(axis=1)]
        branch = bundle.branches[TASK]
        held = shares >= np.asarray(thresholds_of(branch.task, branch.decision), shares.dtype)
        if self._form == "indicators":
            return held.astype(int)
        return of_objects([self.classes_[row].tolist() for row in held])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of texts whose label, or whose set of labels, is right."""
        if not self.__sklearn_is_fitted__() or self._form == "one":
            return super().score(X, y, sample_weight)
        if self._form == "indicators":
            return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))
        found = self.predict(X).tolist()
        if not _is_lists(y):
            raise BadInput("y: expected a list of labels for each text, as fit was given them")
        same_length(found, true := [{plain(label) for label in row} for row in y])
        return float(np.average([right == set(row) for right, row in zip(true, found, strict=True)], weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _described(self) -> dict[str, Any]:
        return {"form": self._form, "type": self.classes_.dtype.str, "classes": self.classes_.tolist()}

    def _restore(self, described: dict[str, Any]) -> None:
        self._form = described["form"]
        self.classes_ = np.array(described["classes"], dtype=np.dtype(described["type"]))


def _labels_of(y: Any) -> tuple[Form, np.ndarray, list[Any]]:
    """The form of y, its classes, and for each row the number of its class, or the numbers of those that it has."""
    if y is None:
        raise BadInput(NO_Y)
    y = y.toarray() if sparse.issparse(y) else unmasked(y)
    if _is_lists(y):
        _check_types([plain(label) for row in y for label in row])
        found = sorted({plain(label) for row in y for label in row})
        place = {label: number for number, label in enumerate(found)}
        return "lists", np.array(found), [sorted({place[plain(label)] for label in row}) for row in y]
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] > 1:
        if not np.isin(array, (0, 1)).all():
            raise BadInput("y: found a matrix with other values than 0 and 1, expected 0 or 1 for each label")
        return "indicators", np.arange(array.shape[1]), [np.flatnonzero(row == 1).tolist() for row in array]
    given = [plain(label) for label in np.asarray(y, dtype=object).ravel()]  # numpy makes strings of numbers beside strings
    if absent := [row for row, label in enumerate(given, start=1) if label is None]:
        more = f", as {'is' if len(absent) == 2 else 'are'} {len(absent) - 1:,} more" if len(absent) > 1 else ""
        raise BadInput(f"y: label {absent[0]} is missing (None or NaN){more}, expected a label for each text")
    _check_types(given)
    if getattr(getattr(y, "dtype", None), "kind", "") == "T":  # numpy's StringDType, which scikit-learn does not know
        y = np.array(given)
    labels = one_column(y, "a label for each text, or a matrix of 0 and 1")
    try:
        check_classification_targets(labels)
    except ValueError as error:  # its first sentence, which tools of scikit-learn look for
        first = str(error).split(". ")[0].rstrip(".")
        raise BadInput(f"y: {first}, expected labels: strings, whole numbers or truth values") from None
    classes, rows = np.unique(labels, return_inverse=True)
    return "one", classes, rows.tolist()


def _check_types(labels: list[Any]) -> None:
    """Raise BadInput for labels that cannot be sorted together: strings beside numbers."""
    counts = Counter(type(label).__name__ for label in labels)
    kinds = {"number" if isinstance(label, bool | int | float) else type(label).__name__ for label in labels}
    if len(kinds) > 1:
        named = " and ".join(f"{name} ({count:,})" for name, count in counts.most_common())
        raise BadInput(f"y: found labels of types {named}, expected one type")


def _is_lists(y: Any) -> bool:
    """Whether y is a list of labels for each row, rather than a row of 0 and 1."""
    if getattr(y, "ndim", 0) == 1 and getattr(y, "dtype", None) == np.dtype(object):
        y = y.tolist()
    if not isinstance(y, Sequence) or isinstance(y, str) or not y:
        return False
    if not all(isinstance(row, Sequence | Set) and not isinstance(row, str | bytes) for row in y):
        return False
    numbers = all(isinstance(row, list | tuple) and all(one in (0, 1) for one in row) for row in y)
    return not (numbers and len(set(map(len, y))) == 1 and len(y[0]))


def _names(classes: np.ndarray) -> list[str]:
    """The labels as the branch names them."""
    names = [
        str(one).lower() if isinstance(one, bool) else str(int(one)) if isinstance(one, float) else str(one)
        for one in classes.tolist()
    ]
    if not all(name.strip() for name in names):
        raise BadInput("y: found an empty string as a label, expected labels with a name")
    return names


def _column(name: str) -> str:
    """The column of a label, which is called by it unless another column is."""
    return f"{name} (label)" if name in ("text", "weight") else name
