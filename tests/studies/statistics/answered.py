"""Answers of runs, made up: of each kind of task, and the same scored by the metrics of the tasks."""

from __future__ import annotations

import numpy as np

from trunkline.studies.statistics import Answers


def one_of(labels, true, predicted, metric="accuracy", **more):
    true = np.asarray(true)
    present = more.pop("present", np.ones(len(true), bool))
    names = [f"label_{number}" for number in range(labels)]
    return Answers("sequence", metric, names, true, np.asarray(predicted), present, **more)


def rights(rights, metric="accuracy", true=None):
    """A run of two labels with these rows right."""
    right = np.asarray(rights, bool)
    true = np.zeros(len(right), int) if true is None else true
    return one_of(2, true, np.where(right, true, 1 - true), metric)


def numbers(true, predicted, metric="mse"):
    true = np.asarray(true, float)
    return Answers("regression", metric, [], true, np.asarray(predicted, float), np.ones(len(true), bool))


def errors(values, metric="mae"):
    """A run whose absolute error of each row is that."""
    return numbers(np.zeros(len(values)), values, metric)


def several(true, predicted, scores=None, metric="f1_micro"):
    names = [f"label_{number}" for number in range(true.shape[1])]
    return Answers("multilabel", metric, names, true, predicted, np.ones(len(true), bool), scores=scores)


def tagged(types, true, predicted, offsets, metric="f1", present=None):
    names = [f"type_{number}" for number in range(types)]
    present = np.ones(len(true), bool) if present is None else present
    return Answers("token", metric, names, true, predicted, present, offsets)


def drawn_tags(draw, texts, types, longest=6, right=0.7):
    """True and predicted tags of texts of different lengths, and their offsets."""
    lengths = draw.integers(1, longest + 1, texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    true = draw.integers(0, 1 + 2 * types, offsets[-1])
    predicted = np.where(draw.random(len(true)) < right, true, draw.integers(0, 1 + 2 * types, len(true)))
    return true, predicted, offsets
