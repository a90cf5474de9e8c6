"""Trackers: where the events of a run are kept. One file of this package each; `trackers:` of a config names them."""

from trunkline.trackers.base import TrackerConfig, trackers

__all__ = ["TrackerConfig", "trackers"]
