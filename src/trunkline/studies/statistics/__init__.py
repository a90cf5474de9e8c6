"""Statistics of runs on one test split: intervals, comparisons, claims, and what a method costs beside how good it is.

    runs = {"adalayers": [...], "lora": [...]}        # of each method, the `Answers` of its runs, a run per seed
    resampled = resample(runs)                        # scores on test sets drawn again, the same for all
    table = {name: estimate(one) for name, one in resampled.items()}
    found = claims(resampled, margin=0.5)             # better, worse, equivalent or undecided, in points

Functions of numpy arrays alone: nothing here reads a run, and only the counting of spans loads torch, with the package of the
tasks.
"""

from trunkline.studies.statistics.answers import Answers
from trunkline.studies.statistics.bootstrap import Estimate, estimate
from trunkline.studies.statistics.break_even import Price, break_even
from trunkline.studies.statistics.claims import Claim, claims, claims_together, resamples_for
from trunkline.studies.statistics.counts import Counted, counted
from trunkline.studies.statistics.curves import CurvePoint, learning_curve
from trunkline.studies.statistics.holm import holm
from trunkline.studies.statistics.mcnemar import McNemar, mcnemar
from trunkline.studies.statistics.paired import Difference, difference, randomisation
from trunkline.studies.statistics.pareto import pareto_front
from trunkline.studies.statistics.resampling import Resampled, resample

__all__ = [
    "Answers", "Claim", "Counted", "CurvePoint", "Difference", "Estimate", "McNemar", "Price", "Resampled",
    "break_even", "claims", "claims_together", "counted", "difference", "estimate", "holm", "learning_curve", "mcnemar",
    "pareto_front", "randomisation", "resample", "resamples_for",
]  # fmt: skip
