"""Tuners: methods that change a trunk's computation for a task. A method is one file of this package.

The trunk itself stays as it is: a tuner works on a private copy that shares every frozen tensor with it (tuned.py), and a
head, which is a side branch, reads the copy's layer states as it would read the trunk's.
"""

from trunkline.branches.fold import methods
from trunkline.tuners.base import Tuner, TunerConfig
from trunkline.tuners.states import TunedStates
from trunkline.tuners.tuned import TunedTrunk

methods.add_package(__name__)  # `method:` of a config names tuners like side branches

__all__ = ["TunedStates", "TunedTrunk", "Tuner", "TunerConfig"]
