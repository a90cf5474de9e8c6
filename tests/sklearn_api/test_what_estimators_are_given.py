"""What the estimators are given, read without training: masked arrays, types of numpy, settings given twice, and sentences."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.errors import BadInput
from trunkline.sklearn import TextClassifier, TextRegressor
from trunkline.sklearn.base import _of_arguments, of_objects
from trunkline.sklearn.classifier import _labels_of
from trunkline.sklearn.parameters import checked


def test_a_masked_value_is_a_missing_one():
    mask = [False, True, False]
    with pytest.raises(BadInput, match=r"y: label 2 is missing \(None or NaN\), expected a label for each text"):
        TextClassifier().fit(["a", "b", "c"], np.ma.array([1, 2, 1], mask=mask))
    with pytest.raises(BadInput, match="y: label 2 is missing"):
        _labels_of(np.ma.array(["x", "y", "x"], mask=mask))
    with pytest.raises(BadInput, match=r"y: found NaN or infinity, expected finite numbers \(1 of 3 are not, the first is 2"):
        TextRegressor().fit(["a", "b", "c"], np.ma.array([1, 2, 1], mask=mask))
    with pytest.raises(BadInput, match="sample_weight: found a negative weight, NaN or infinity"):
        TextClassifier().fit(["a", "b", "c"], [0, 1, 0], sample_weight=np.ma.array([1, 2, 1], mask=mask))
    assert _labels_of(np.ma.array([3, 2, 3]))[1].tolist() == [2, 3]  # nothing masked


def test_strings_of_numpys_own_type_are_labels():
    form, classes, rows = _labels_of(np.array(["b", "a", "b"], dtype=np.dtypes.StringDType()))
    assert (form, classes.tolist(), rows) == ("one", ["a", "b"], [1, 0, 1])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"epochs": 1, "training": {"epochs": 3}},
            "training: found epochs, which epochs= sets; expected it in one place",
        ),
        (
            {"learning_rate": 0.1, "training": {"learning_rate": 0.2}},
            "training: found learning_rate, which learning_rate= sets; expected it in one place",
        ),
        (
            {"training": {"seed": 3}},
            "training: found seed, which random_state= sets; expected it in one place",
        ),
    ],
)
def test_a_setting_is_given_once(given, sentence):
    with pytest.raises(BadInput) as error:
        checked(TextClassifier(**given).get_params())
    assert str(error.value) == sentence
    assert checked(TextClassifier(training={"epochs": 3, "patience": 2}).get_params())["training"] == {
        "epochs": 3,
        "patience": 2,
    }


def test_sentences_name_the_arguments_of_an_estimator():
    for said, expected in (
        (
            "config: data.validation: found 1.5, a share must lie between 0% and 100%",
            "validation_fraction: found 1.5, a share must lie between 0% and 100%",
        ),
        ("data.train, column 'label': found numbers from 3 to 3", "y: found numbers from 3 to 3"),
        ("data.train row 1: column 'label', found a word that is no tag", "y 1: found a word that is no tag"),
        ("data.train: a share of 1", "X: a share of 1"),
    ):
        assert _of_arguments(said) == expected


def test_lists_of_one_length_are_elements_and_concatenate():
    one = of_objects([["a", "b"], ["c", "d"]])
    assert one.shape == (2,) and np.concatenate([one, of_objects([["e"], []])]).tolist() == [["a", "b"], ["c", "d"], ["e"], []]
    assert of_objects([]).shape == (0,)
