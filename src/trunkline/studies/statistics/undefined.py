"""Why a metric has no value of some answers, in words (trunkline.tasks.metrics says when it has none)."""

from __future__ import annotations

import numpy as np

from trunkline.studies.statistics.answers import Answers

# Where the answers are not kept, all that it can be.
GENERAL = {
    "pearson": "the numbers there or those answered are all the same",
    "spearman": "the numbers there or those answered are all the same",
    "r2": "there is one row",
    "average_precision": "no row there has a label",
}


def why_undefined(answers: Answers) -> str:
    """Return why the metric has no value of a run's answers to the test rows; empty where it has one."""
    true, predicted = answers.true[answers.present], answers.predicted[answers.present]
    if answers.metric == "average_precision":
        return "" if true.any() else "no test row has a label"
    if answers.metric not in ("pearson", "spearman", "r2"):
        return ""
    if len(true) == 1:
        return "there is one test row"
    if answers.metric == "r2":
        return ""
    if np.ptp(true) == 0:
        return "all test rows have the same number"
    return "it answers the same number to all test rows" if np.ptp(predicted) == 0 else ""
