"""How long a study takes, worked out by hand from made-up measurements, and on a clock that stands still but for the test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.studies.config import study_of
from trunkline.studies.estimates.pace import Estimate, Forecast, Pace, kind_of, trunk_of
from trunkline.studies.estimates.time_left import PRIOR, TimeLeft
from trunkline.studies.plan import Plan, units
from trunkline.training import clock


def planned(**changes):
    values = {
        "data": {"train": "rows.jsonl", "test": "10%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "training": {"epochs": 5},
        "methods": {"probe": None, "scalar_mix": None, "lora": {"seeds": 1}},
        "study": {"seeds": 2, "tune": {"learning_rate": [0.1, 0.2]}, "sizes": [100, "all"]},
    }
    return Plan(study_of(values | changes))


@pytest.fixture(scope="module")
def searches():
    return units(planned().searches())


def pace_of(unit, **changes):
    first = unit.runs[0]
    made = Pace(
        trunk=trunk_of(first), size=first.cell.size, stacked=unit.stacked, runs=len(unit.runs), rows=1000, epochs=5,
        load=1.0, read=2.0, passing=0.01, training=0.03, scoring=0.02, rest=4.0, tokens=10_000, judged=5_000, last=1_500,
        timed=300, stored=11_000, found=0, tested=500, layers=(1, 2), bytes=100, disk=700, memory=9_000,
    )  # fmt: skip
    return replace(made, **changes)


def test_a_unit_takes_its_parts_and_shares_what_others_have_stored(searches):
    (small, lora_small, _, whole, lora, _) = searches
    assert [len(unit.runs) for unit in searches] == [4, 1, 1, 4, 1, 1] and small.stacked and whole.stacked
    paces = {
        kind_of(small): pace_of(small, tokens=1_000, stored=2_000, rows=100),
        kind_of(whole): pace_of(whole),
        kind_of(lora): pace_of(lora, passing=0.0, tested=0, stored=0, layers=()),
    }
    forecast = Forecast(paces, {"100": 100, "all": 1000})
    found = forecast.estimates(searches)
    assert found[small.key] == Estimate(1 + 2 + 20, 5 * 0.03 * 1_000 + 0.02 * 5_000, 0.02 * 1_500 + 0.01 * 500 + 4)
    assert found[whole.key].before == pytest.approx(1 + 2 + 0.01 * (11_000 - 2_000))  # the small size is within it
    assert found[lora.key] == Estimate(3.0, 5 * 0.03 * 10_000 + 100.0, 34.0)
    assert found[lora_small.key].training == pytest.approx(5 * 0.03 * 1_000 + 100.0)  # a tenth of the rows
    need = forecast.need(searches)
    assert (need.states, need.runs, need.memory) == (100 * 11_000, 12 * 700, 9_000)


def test_states_of_other_layers_or_trunks_are_computed_anew(searches):
    (small, _, _, whole, *_) = searches
    for changes, new in (
        ({"layers": (2,)}, 9_000),
        ({"layers": (1, 2, 3)}, 11_000),
        ({"trunk": "another"}, 11_000),
        ({"found": 10_500}, 500),
    ):
        paces = {kind_of(small): pace_of(small, stored=2_000), kind_of(whole): pace_of(whole, **changes)}
        found = Forecast(paces, {"100": 100, "all": 1000}).estimates([small, whole])
        assert found[whole.key].before == pytest.approx(3 + 0.01 * new), changes


def test_units_of_a_kind_take_equally_long(searches):
    plan = planned()
    again = units(plan.repeats(dict.fromkeys(plan.cells, 1)))
    first = units(plan.repeats(dict.fromkeys(plan.cells, 0)))
    assert [kind_of(unit) for unit in again] == [kind_of(unit) for unit in first]  # another learning rate
    assert len({kind_of(unit) for unit in searches}) == 3  # both sizes of LoRA are measured once
    assert not {kind_of(unit) for unit in first} & {kind_of(unit) for unit in searches}  # fewer runs at once
    longer = planned(methods={"lora": {"training": {"epochs": 9}}})
    assert kind_of(units(longer.searches())[0]) not in {kind_of(unit) for unit in searches}


def test_a_unit_that_was_not_measured_takes_what_the_nearest_one_does(searches):
    (small, lora, _, whole, *_) = searches
    plan = planned()
    fewer = units(plan.repeats(dict.fromkeys(plan.cells, 0)))[-1]
    assert fewer.stacked and len(fewer.runs) == 2 and fewer.runs[0].cell.size == "all"
    paces = {kind_of(small): pace_of(small), kind_of(whole): pace_of(whole, training=0.5)}
    forecast = Forecast(paces, {"100": 100, "all": 1000})
    found = forecast.pace(fewer)
    assert (found.runs, found.training, found.rest, found.read) == (2, 0.25, 2.0, 2.0)
    assert forecast.pace(lora) is None and lora.key not in forecast.estimates(searches)
    assert Pace.from_dict(found.as_dict()) == found


@pytest.fixture
def wait(monkeypatch):
    time = [100.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])

    def forward(seconds):
        time[0] += seconds

    return forward


def test_the_time_left_is_what_was_estimated_while_that_is_right(searches, wait):
    estimates = {unit.key: Estimate(10.0, 70.0, 20.0) for unit in searches}
    left = TimeLeft()
    left.plan(searches, estimates)
    assert (left.seconds(), left.done()) == (600.0, 0.0)
    for number, unit in enumerate(searches):
        left.begin(unit)
        wait(45)
        left.reached("training", 0.5)
        assert left.seconds() == pytest.approx(600 - 100 * number - 45)
        assert left.done() == pytest.approx((100 * number + 45) / 600)
        wait(55)
        left.end(unit, 100.0)
    assert (left.seconds(), left.done()) == (0.0, 1.0)


def test_the_time_left_is_corrected_by_units_of_the_same_methods_first(searches, wait):
    (stacked, first, second, *_) = searches
    left = TimeLeft()
    left.plan([stacked, first, second], {unit.key: Estimate(0.0, 1000.0, 0.0) for unit in searches})
    left.begin(stacked)
    wait(3000)
    left.end(stacked, 3000.0)
    overall = (3000 + PRIOR) / (1000 + PRIOR)
    assert left.seconds() == pytest.approx(2 * 1000 * overall)
    left.begin(first)
    wait(500)
    left.reached("training", 0.5)  # as it was estimated
    overall = (3000 + 500 + PRIOR) / (1500 + PRIOR)
    own = (500 + PRIOR * overall) / (500 + PRIOR)
    assert left.seconds() == pytest.approx((500 + 1000) * own)
    left.drop(second)  # another process has it
    assert left.seconds() == pytest.approx(500 * own)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4)), min_size=6, max_size=6),
    st.lists(st.floats(0, 1), max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_nothing_is_left_at_the_end_and_never_less_than_nothing(searches, parts, shares):
    left = TimeLeft()
    left.plan(searches, {unit.key: Estimate(*own) for unit, own in zip(searches, parts, strict=True)})
    before = 0.0
    for unit in searches:
        left.begin(unit)
        for share in sorted(shares):
            left.reached("training", share)
            assert left.seconds() >= 0 and before - 1e-9 <= left.done() <= 1 + 1e-9
            before = left.done()
        left.end(unit, 1.0)
    assert left.seconds() == 0 and left.done() == 1.0
