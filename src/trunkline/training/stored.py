"""The layer states that fitting a config would read, outside of a run: looked up, or computed ahead of time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import Finding, Subscriber, quiet
from trunkline.files import cache_dir
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.states.budget import needed_bytes
from trunkline.states.checks import read_manifest
from trunkline.states.fill import Fill, fill_here
from trunkline.states.manifest import key_parts, store_key
from trunkline.states.reuse import find_stored
from trunkline.states.store import BATCH_TOKENS
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Split
from trunkline.training.run import Run

STORED = ("train", "validation")  # the test texts are read once, so their states are not stored


@dataclass(frozen=True)
class SplitStates:
    """Where the states of one split are stored.

    Attributes:
        key, path: of the store with what no other store holds of the split; the last of `stores` where all is in others.
        texts, tokens: of the split.
        layers: that fitting reads.
        bytes: what these take, wherever they are stored.
        built: the layers of the whole split that are stored.
        stores: the keys of the stores that are read.
        stored: how many of the split's sequences are stored with all `layers`.
        sequences: how many there are: texts, and windows of long ones.
    """

    split: str
    key: str
    path: Path
    texts: int
    tokens: int
    layers: tuple[int, ...]
    bytes: int
    built: tuple[int, ...]
    stores: tuple[str, ...]
    stored: int
    sequences: int


def find_states(config: RunConfig) -> list[SplitStates]:
    """Look up the stores that fitting `config` would read; nothing is computed but the tokens."""
    _check_method(config)
    with config.naming():
        return _look(Run(config, quiet))


def build_states(config: RunConfig, publish: Subscriber = quiet, fill: Fill = fill_here) -> list[SplitStates]:
    """Compute the layer states that fitting `config` would read, where they are not there yet.

    Args:
        config: whose states.
        publish: told how far it is.
        fill: fills the shards of the stores.

    Raises:
        BadInput: the config or the data cannot be used, or the states need more than may be written.
    """
    _check_method(config)
    stored = config.model_copy(update={"training": config.training.model_copy(update={"states": "store"})})
    with config.naming():
        run = Run(stored, publish)
    run.feeds.fill = fill
    for finding in run.findings:
        publish(Finding(finding))
    for split in _splits(run):
        run.feeds.open(split, FROZEN, run.layers, run.cost)
    return _look(run)


def _check_method(config: RunConfig) -> None:
    if not approach_of(config.method).stores_ahead:
        raise BadInput(f"method {config.method.name}: changes the trunk, so no layer states can be stored before a fit")


def _splits(run: Run) -> list[Split]:
    return [group.splits[name] for group in run.groups for name in STORED]


def _look(run: Run) -> list[SplitStates]:
    layers = tuple(run.layers)
    dtype = run.config.training.states_dtype
    found = []
    for split in _splits(run):
        encoded = split.encoded
        assert encoded is not None
        root = cache_dir() / "states"
        stored = find_stored(run.trunk, encoded, root, layers, dtype)
        lacking, tokens, sequences = stored.lacking, len(encoded.ids), len(encoded.lengths)
        key = stored.keys[-1] if lacking is None else store_key(key_parts(run.trunk, lacking, dtype, BATCH_TOKENS))
        built: tuple[int, ...] = tuple(layers) if lacking is None else ()
        if lacking is encoded:
            with suppress(TrunklineError):  # none there, or one that has to be built again
                built = read_manifest(root / key)[0].complete()
        size = needed_bytes(tokens, run.trunk.hidden_size, len(layers), dtype)
        there = sequences - len(stored.missing)
        about = (encoded.n_texts, tokens, layers, size, built, tuple(stored.keys), there, sequences)
        found.append(SplitStates(split.name, key, root / key, *about))
    return found
