"""Estimators for scikit-learn: texts in, predictions out, in pipelines, cross-validation and searches over parameters."""

from trunkline.sklearn.classifier import TextClassifier
from trunkline.sklearn.regressor import TextRegressor
from trunkline.sklearn.tagger import TokenTagger

__all__ = ["TextClassifier", "TextRegressor", "TokenTagger"]
