"""How long predictions take on this machine: of one branch of every method, and of all side branches in one pass.

    DIR/times.json    seconds by run, measured once the study is trained, and again when it has other methods

The texts are the first of the test split, at most TEXTS, and of at most TOKENS tokens together. The sides take turns in every
round, the first of which does not count; what is kept are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from accelerate import Accelerator

from trunkline.files import read_object, write_json
from trunkline.inputs.encoded import Encoded
from trunkline.model.bundle import Bundle
from trunkline.studies.outcomes import Outcome, outcomes
from trunkline.studies.study import Say, Study
from trunkline.training.environment import environment
from trunkline.training.prepare import prepare
from trunkline.trunk.load import Trunk

KEPT, TEXTS, TOKENS, ROUNDS = "times.json", 256, 16_384, 3


def measure_times(study: Study, say: Say = lambda sentence: None) -> None:
    """Measure what is not there yet.

    Args:
        study: trained.
        say: told in a sentence what is measured.
    """
    sides = {one.repeats[0].path.name: one for one in outcomes(study) if one.repeats}
    with study.locked("times", wait=True):
        if not sides or read_times(study).get("one", {}).keys() == sides.keys():
            return
        say("how long predictions take")
        shared = [name for name, one in sides.items() if not one.changes_trunk and one.cell.trunk == _first_trunk(sides)]
        inputs: dict[str, Any] = {}

        def predicting(names: Sequence[str]) -> Callable[[], Any]:
            bundle = Bundle.open([sides[name].repeats[0].path for name in names])
            inputs.update(inputs or _inputs(study, bundle.trunk))
            return lambda: bundle.predict(**inputs)

        asked: dict[tuple[str, ...], Callable[[], Any]] = {(name,): predicting([name]) for name in sides}
        if len(shared) > 1:
            asked[tuple(shared)] = predicting(shared)
        taken = _in_turns(asked)
        one = {name: taken[name,] for name in sides}
        together = {"runs": shared, "seconds": taken[tuple(shared)]} if len(shared) > 1 else None
        here = environment(Accelerator(cpu=study.plan.searches()[0].config.trunk.device == "cpu"))
        write_json(study.path / KEPT, {"texts": len(inputs["texts"]), "one": one, "together": together, "environment": here})


def read_times(study: Study) -> dict[str, Any]:
    """What `measure_times` has kept; empty where it has not."""
    return read_object(study.path / KEPT) if (study.path / KEPT).is_file() else {}


def seconds_of(one: Outcome, times: Mapping[str, Any]) -> float | None:
    """Seconds for 1,000 texts, of a method's first run; None where they were not measured."""
    if not one.repeats or (taken := times.get("one", {}).get(one.repeats[0].path.name)) is None:
        return None
    return 1000 * taken / times["texts"]


def _in_turns(sides: Mapping[tuple[str, ...], Callable[[], Any]]) -> dict[tuple[str, ...], float]:
    taken: dict[tuple[str, ...], list[float]] = {name: [] for name in sides}
    for turn in range(-1, ROUNDS):
        for name in sides if turn % 2 else reversed(list(sides)):
            began = time.perf_counter()
            sides[name]()
            if turn >= 0:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(own) for name, own in taken.items()}


def _first_trunk(sides: Mapping[str, Outcome]) -> str:
    return next(iter(sides.values())).cell.trunk


def _inputs(study: Study, trunk: Trunk) -> dict[str, Any]:
    """Texts of the test split, their words where tasks have such, and second texts where there are pairs."""
    config = study.plan.searches()[0].config
    [group, *_] = prepare(config)
    corpus = group.splits["test"].corpus
    found: dict[str, Any] = {"texts": corpus.texts, "pairs": corpus.pairs, "units": corpus.units}
    found = {name: values if values is None else values[:TEXTS] for name, values in found.items()}
    most = timed_texts(trunk.encode(**found, max_length=config.trunk.max_length))
    return {name: values if values is None else values[:most] for name, values in found.items()}


def timed_texts(encoded: Encoded) -> int:
    """How many texts of the test split are timed."""
    tokens = np.cumsum(np.bincount(encoded.text_of, encoded.lengths))
    return min(TEXTS, max(1, int(np.searchsorted(tokens, TOKENS, side="right"))))
