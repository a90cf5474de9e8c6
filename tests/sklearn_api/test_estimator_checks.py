"""scikit-learn's own checks of estimators, those that make sense where a sample is a text.

`check_estimator` runs only the first few by itself, as the tags say that X is no matrix. The others make X of numbers;
here each row of numbers is read as a text of a few words (`texts`), so that they can run all the same. Left out, and why:

- check_estimators_dtypes, check_complex_data, check_dtype_object, check_estimators_nan_inf, check_estimator_sparse_*,
  check_f_contiguous_array_estimator, check_readonly_memmap_input, check_n_features_in*: about matrices of numbers
- check_classifiers_train, check_regressors_train, check_regressors_int, check_classifier_data_not_an_array,
  check_regressor_data_not_an_array: ask for a score on blobs of numbers, or for predictions equal to the last bit, whatever
  holds the numbers
- check_sample_weight_equivalence_on_dense_data: holds for a solver that reaches the optimum; a weight is compared with repeated
  rows in tests/training/test_weights_of_rows.py instead
- check_estimators_empty_data_messages: asks for the words that scikit-learn has for a matrix without a column
- check_fit2d_1sample, check_fit2d_1feature, check_fit1d, check_estimators_partial_fit_n_features: no such X, no such method
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.utils import estimator_checks as checks

from trunkline.sklearn import TextClassifier, TextRegressor, TokenTagger

WORDS = "so good bad great awful slow fast play".split()


def texts(X):
    """Each row of numbers as a text: a word for each of its first numbers, by its size."""
    rows = np.asarray(X, dtype=float)
    if rows.ndim != 2:
        raise ValueError("Expected 2D array, got something else. Reshape your data")
    return [" ".join(WORDS[int(abs(value) * 3) % len(WORDS)] for value in row[:6]) or "so" for row in rows]


class OfNumbers:
    """Reads rows of numbers as texts, and says in its tags that it wants such rows."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, False, True
        return tags


class TextClassifierOfNumbers(OfNumbers, TextClassifier):
    def fit(self, X, y, sample_weight=None):
        return super().fit(texts(X), y, sample_weight)

    def predict_proba(self, X):
        return super().predict_proba(texts(X))


class TextRegressorOfNumbers(OfNumbers, TextRegressor):
    def fit(self, X, y, sample_weight=None):
        return super().fit(texts(X), y, sample_weight)

    def predict(self, X):
        return super().predict(texts(X))


ANY = """check_estimator_cloneable check_estimator_tags_renamed check_valid_tag_types check_estimator_repr
    check_no_attributes_set_in_init check_parameters_default_constructible check_do_not_raise_errors_in_init_or_set_params
    check_mixin_order check_get_params_invariance check_set_params""".split()
FITTED = """
    check_fit_score_takes_y check_estimators_overwrite_params check_dont_overwrite_parameters
    check_estimators_fit_returns_self check_estimators_unfitted check_dict_unchanged check_fit_check_is_fitted
    check_fit_idempotent check_sample_weights_list check_sample_weights_not_an_array check_sample_weights_pandas_series
    check_sample_weights_shape check_sample_weights_not_overwritten check_all_zero_sample_weights_error
    check_estimators_pickle check_supervised_y_2d check_supervised_y_no_nan check_requires_y_none
    check_pipeline_consistency check_methods_subset_invariance check_methods_sample_order_invariance
""".split()
CLASSIFIER = """check_classifiers_classes check_classifiers_one_label check_classifiers_regression_target
    check_classifiers_multilabel_output_format_predict check_classifiers_multilabel_output_format_predict_proba
    check_classifiers_multilabel_representation_invariance""".split()


@pytest.mark.parametrize("kind", [TextClassifier, TextRegressor, TokenTagger])
def test_the_checks_that_need_no_data(kind):
    for name in ANY:
        if check := getattr(checks, name, None):
            run(check, kind())


def run(check, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(type(estimator).__name__, estimator)


@pytest.fixture
def settings(tiny_trunk_dir):
    return {"method": "probe", "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"}, "epochs": 1}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TextClassifierOfNumbers, name) for name in FITTED + CLASSIFIER] + [(TextRegressorOfNumbers, name) for name in FITTED],
)
def test_the_checks_that_fit(kind, name, settings):
    run(getattr(checks, name), kind(**settings))
