"""Trunks: load and fingerprint a pretrained transformer, and stream its layer states."""

from trunkline.trunk.load import Trunk, load_trunk
from trunkline.trunk.stream import read_layers, run_layers

__all__ = ["Trunk", "load_trunk", "read_layers", "run_layers"]
