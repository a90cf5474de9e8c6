"""How long the simple baselines of a study take (floor_runs.py), from what a few hundred rows of each trunk's data showed.

    seconds of a place = open + passing x tokens without stored states + fitting x rows / few

A place is a trunk, a size and, where rows are drawn, a seed. Fitting is of all floors of all tasks on `few` training rows, and
grows with the rows. The pass of the trunk is that of the floor that reads its last layer; no other needs the trunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trunkline.events import Finding, Preparing, Subscriber, quiet
from trunkline.model.frozen import FROZEN
from trunkline.studies.config import ALL
from trunkline.studies.estimates.pace import trunk_of
from trunkline.studies.estimates.probe import Held
from trunkline.studies.estimates.work import encoded_of
from trunkline.studies.floor_runs import KEPT, floor_places
from trunkline.studies.floors.base import floors
from trunkline.studies.floors.embedding import Embedding, Embeddings
from trunkline.studies.floors.measuring import floors_of
from trunkline.studies.study import Study
from trunkline.studies.units import reason
from trunkline.training import clock
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Prepared, Split, prepare

TRAIN, OTHERS = 200, 50  # rows that floors are tried on: of the training data, and of each other split, at most


@dataclass(frozen=True)
class FloorPace:
    """What a few rows showed of all floors of a trunk.

    Attributes:
        rows: of the training data, and
        few: of those, how many the floors were fitted to.
        open: seconds to read the data and, where a floor needs it, the trunk, and to tokenise.
        fitting: seconds on `few` rows, without passes of the trunk.
        passing: seconds a token of a pass of the trunk.
        tokens, others: of the training texts, and of the other splits, that are passed; none where no floor needs the trunk.
        found, others_found: of those, how many have stored states already.
        layer: that is stored; None where states are not.
    """

    rows: int
    few: int
    open: float
    fitting: float
    passing: float = 0.0
    tokens: int = 0
    others: int = 0
    found: int = 0
    others_found: int = 0
    layer: int | None = None

    def on(self, rows: int) -> FloorPace:
        """The same with another number of training rows of such texts."""
        share = rows / self.rows
        return replace(self, rows=rows, tokens=round(self.tokens * share), found=round(self.found * share))


@dataclass(frozen=True)
class FloorWork:
    """Baselines that are not there yet: the `trunk:` section, the size, the seed (None: all rows are read), and a config."""

    trunk: str
    size: str
    seed: int | None
    config: RunConfig


@dataclass(frozen=True)
class FloorForecast:
    """What baselines will take: seconds; by trunk the layer and the tokens that they store; why one could not be measured."""

    seconds: float
    stored: Mapping[str, tuple[int, int]]
    failed: str | None = None


def floors_ahead(study: Study) -> list[FloorWork]:
    """What is to be measured yet, in order."""
    return [
        FloorWork(trunk_of(study.plan.run(cell, 0, seed)), cell.size, None if cell.size == ALL else seed, config)
        for cell, seed, config, place in floor_places(study)
        if not (place / KEPT).is_file()
    ]


def forecast_floors(left: Sequence[FloorWork], rows: Mapping[str, int], publish: Subscriber = quiet) -> FloorForecast:
    """Try the floors of each trunk on a few rows of the size with most, and say what those of all sizes will take.

    Args:
        left: what is ahead.
        rows: of the training data, by size.
        publish: told of what is measured.
    """
    largest: dict[str, FloorWork] = {}
    for work in left:
        if work.trunk not in largest or rows[work.size] > rows[largest[work.trunk].size]:
            largest[work.trunk] = work
    paces: dict[str, FloorPace] = {}
    failed = None
    for trunk, work in largest.items():
        publish(Preparing("measuring simple baselines on a few rows"))
        try:
            paces[trunk] = pace_of_floors(work.config)
        except Exception as error:  # of whatever library, whose words might hold a text
            failed = reason(error)
            publish(Finding(floors_not_estimated(failed)))
    seconds = seconds_of_floors(left, paces, rows)
    stored = {
        trunk: (pace.layer, pace.on(max(rows[one.size] for one in left if one.trunk == trunk)).tokens + pace.others)
        for trunk, pace in paces.items()
        if pace.layer is not None
    }
    return FloorForecast(seconds, stored, failed)


def seconds_of_floors(left: Sequence[FloorWork], paces: Mapping[str, FloorPace], rows: Mapping[str, int]) -> float:
    """Seconds of baselines that are measured in this order: states that one has stored are there for the next.

    Smaller sizes of a seed are within its larger ones; those of different seeds are taken to have no training text in common.
    """
    there: list[tuple[FloorWork, int]] = []  # and training tokens
    total = 0.0
    for work in left:
        if (pace := paces.get(work.trunk)) is None:
            continue
        pace, before = pace.on(rows[work.size]), [one for one in there if one[0].trunk == work.trunk]
        found, others = pace.found, pace.others_found
        if pace.layer is not None and before:
            others = pace.others
            within = [tokens for one, tokens in before if work.seed is None or one.seed in (None, work.seed)]
            found = max([found, *within])
        new = max(0, pace.tokens - found) + pace.others - others
        total += pace.open + pace.passing * new + pace.fitting * pace.rows / pace.few
        there.append((work, pace.tokens))
    return total


def pace_of_floors(config: RunConfig) -> FloorPace:
    """Measure all floors of a config on a few of its rows; the layer states are kept in memory.

    Raises:
        Exception: of whatever library, as the floors would fail in the study.
    """
    with config.naming():
        began = clock.now()
        groups = prepare(config)
        embeddings = Embeddings(config, groups, quiet)
        passed = [group for group in groups if any(Embedding.unsuited(group, task) is None for task in group.tasks.values())]
        feeds = embeddings.feeds if passed else None
        opened = clock.now() - began
        held = None if feeds is None else Held(feeds.config, feeds.trunk, feeds.accelerator, stores=True)
        small = [_on_few(group) for group in groups]
        tried = Embeddings(config, small, quiet, held)
        began = clock.now()
        floors_of(small, list(config.tasks), tried, [floors.get(name) for name in floors.names()])
        took = clock.now() - began
    rows, few = (sum(len(group.splits["train"].corpus.texts) for group in some) for some in (groups, small))
    if held is None or feeds is None:
        return FloorPace(rows, few, opened, took)
    tokens = {True: 0, False: 0}  # of training texts, and of others
    found, layer = {True: 0, False: 0}, feeds.trunk.num_layers
    stores = True
    for group in passed:
        for name, split in group.splits.items():
            own, lacking = int(encoded_of(split).lengths.sum()), feeds.lacking(split, FROZEN, [layer])
            tokens[name == "train"] += own
            found[name == "train"] += 0 if lacking is None else own - lacking
            stores = stores and lacking is not None
    return FloorPace(
        rows=rows,
        few=few,
        open=opened,
        fitting=max(took - held.seconds, 0.0),
        passing=held.passing,
        tokens=tokens[True],
        others=tokens[False],
        found=found[True],
        others_found=found[False],
        layer=layer if stores else None,
    )


def _on_few(group: Prepared) -> Prepared:
    """A group with a few texts of each split, with a label of each task of whole texts among them."""
    return replace(group, splits={name: _few(group, split) for name, split in group.splits.items()})


def _few(group: Prepared, split: Split) -> Split:
    most = TRAIN if split.name == "train" else OTHERS
    texts = np.random.default_rng(0).permutation(len(split.corpus.texts))[:most]
    more: list[int] = []
    for name, task in group.tasks.items():
        if task.answers.level == "text" and not (present := split.targets[name].present)[texts].any():
            more += np.flatnonzero(present)[:1].tolist()
    texts = np.unique(np.concatenate([texts, np.array(more, texts.dtype)]))
    targets = {name: own.of_texts(texts) for name, own in split.targets.items()}
    encoded = None if split.encoded is None else split.encoded.of_texts(texts)
    return Split(split.name, split.corpus.select(texts.tolist()), targets, encoded)


def floors_not_estimated(why: str) -> str:
    """What to say of baselines that could not be measured."""
    return f"simple baselines: their time is not estimated, as measuring them on a few rows failed: {why}"
