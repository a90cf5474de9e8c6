"""Side branches: small modules that read the layer states of a frozen trunk. A method is one file of this package."""

from trunkline.branches.fold import BranchConfig, LayerState, Output, SideBranch, TrunkShape, methods
from trunkline.branches.group import BranchGroup

__all__ = ["BranchConfig", "BranchGroup", "LayerState", "Output", "SideBranch", "TrunkShape", "methods"]
