"""Trunks: load and fingerprint a pretrained transformer, and stream its layer states."""

from trunkline.trunk.load import Trunk, load_trunk
from trunkline.trunk.stream import attach, run_layers

__all__ = ["Trunk", "attach", "load_trunk", "run_layers"]
