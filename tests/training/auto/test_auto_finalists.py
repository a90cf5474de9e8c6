"""Which candidates are trained to the end, of a search whose outcome is written down here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from autotools import candidate

from trunkline.errors import TrunklineError
from trunkline.training.auto.budget import Budget, Price
from trunkline.training.auto.family import DEEP_RATES
from trunkline.training.auto.finalists import Searched
from trunkline.training.auto.halving import Round, Track

EPOCHS, STEPS = 4, 40
HIGH, LOW = DEEP_RATES
ADALAYERS = Price(10.0, 0.5)
PRICES = {"probe": Price(1.0, 0.5, linear=True), "ada": ADALAYERS, "layer": Price(3.0, 0.5), "wide": Price(14.0, 0.5)}
CANDIDATES = {
    "probe": candidate("probe", 1e-2, layer=3),
    "ada": candidate("adalayers", HIGH),
    "layer": candidate("single_layer", HIGH, layer=2),
    "wide": candidate("adalayers", HIGH, dim=192),
}
TRACKS = [
    Track("a", "linear", ("probe",), (Round(STEPS, 1),)),
    Track("a", "deep", ("ada", "layer", "wide"), (Round(4, 2), Round(8, 1))),
]
ROUNDS = {"probe": 1, "ada": 0, "layer": 2, "wide": 1}
SPENT = 4 * 1.5 + (0.1 * 4 * 10 + 0.5) + (0.2 * 4 * 3 + 2 * 0.5) + (0.2 * 4 * 14 + 2 * 0.5)  # by hand: steps, and looks
FIT = EPOCHS * 10.5

ADA_HIGH, ADA_LOW = (f"adalayers, rate {rate:g}" for rate in DEEP_RATES)
LAYER_HIGH, LAYER_LOW = (f"single_layer, layer 2, rate {rate:g}" for rate in DEEP_RATES)
WIDE_HIGH, WIDE_LOW = (f"adalayers, dim 192, rate {rate:g}" for rate in DEEP_RATES)


@pytest.fixture
def finalists(monkeypatch):
    """A function of the scores and of the epochs of cost that are left for the final training: names by kind."""

    def of(scores, left, rate=None):
        learners = {}
        for name, score in scores.items():
            failed = "the loss is nan" if score is None else None
            known = SimpleNamespace(rounds=ROUNDS[name], best_rank=[] if score is None else [score], failed=failed)
            learners[name] = SimpleNamespace(progress=known)
        monkeypatch.setattr("trunkline.training.auto.finalists.TOTAL", (SPENT + left) / FIT)
        budget = Budget({"a": ADALAYERS}, 0.0, EPOCHS, STEPS)
        found = Searched("a", TRACKS, CANDIDATES, PRICES, learners).finalists(budget, 2.0, rate)
        return {kind: one.name for kind, one in found.items()}

    return of


SCORES = {"probe": 0.5, "ada": 0.3, "layer": 0.6, "wide": 0.55}


def test_adalayers_at_both_rates_follows_the_best_one_and_then_those_that_survived_longest(finalists):
    assert list(finalists(SCORES, 1e6).items()) == [
        ("deep", LAYER_HIGH),
        ("deep 2", ADA_HIGH),
        ("deep 3", ADA_LOW),
        ("deep 4", LAYER_LOW),
        ("deep 5", WIDE_HIGH),
        ("deep 6", WIDE_LOW),
    ]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (3.5, [LAYER_HIGH]),
        (3.5 + 3.5, [LAYER_HIGH, LAYER_LOW]),  # AdaLayers costs more than is left
        (3.5 + 10.5, [LAYER_HIGH, ADA_HIGH]),
        (3.5 + 10.5 + 3.5, [LAYER_HIGH, ADA_HIGH, LAYER_LOW]),
        (3.5 + 10.5 + 10.5, [LAYER_HIGH, ADA_HIGH, ADA_LOW]),
    ],
)
def test_what_costs_more_than_is_left_is_skipped(epochs, expected, finalists):
    assert list(finalists(SCORES, EPOCHS * epochs + 0.01).values()) == expected


def test_the_best_deep_one_is_trained_whatever_is_left(finalists):
    assert finalists(SCORES, -100.0) == {"deep": LAYER_HIGH}


def test_a_linear_one_is_trained_only_where_it_is_ahead(finalists):
    assert finalists({**SCORES, "probe": 0.6}, 0.0) == {"deep": LAYER_HIGH}
    assert finalists({**SCORES, "probe": 0.61}, 0.0) == {"linear": "probe, layer 3, rate 0.01", "deep": LAYER_HIGH}


def test_a_rate_of_the_config_has_no_other(finalists):
    assert list(finalists(SCORES, 1e6, rate=HIGH).values()) == [LAYER_HIGH, ADA_HIGH, WIDE_HIGH]


def test_where_no_deep_one_has_a_score_the_linear_one_is_all(finalists):
    none = dict.fromkeys(("ada", "layer", "wide"))
    assert finalists({**SCORES, **none}, 1e6) == {"linear": "probe, layer 3, rate 0.01"}
    with pytest.raises(TrunklineError, match="the loss is nan"):
        finalists({"probe": None, **none}, 1e6)
