"""Successive halving against what its rules say, written out."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.training.auto.budget import FIRST, LARGEST, LINEAR_SHARE, SEARCH, TOTAL, Budget, Price, plan_search
from trunkline.training.auto.halving import Halving, Round, Track, best_of, plan_rounds
from trunkline.training.learner import Progress

COSTS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def affordable(steps, looks, count, length, part) -> bool:
    """Whether a part of the budget pays for so many steps of any `count` candidates, and for judging them."""
    chosen = itertools.combinations(range(len(steps)), count)
    return all(sum(steps[i] * length + looks[i] for i in some) <= part for some in chosen)


@settings(max_examples=50, deadline=None)
@given(COSTS, st.integers(0, 4000), st.integers(1, 60))
def test_a_round_has_as_many_steps_as_its_part_pays_for_whoever_is_left(steps, budget, most):
    looks = [2 * cost for cost in steps]
    rounds = plan_rounds(steps, looks, budget, most)
    if sum(steps) * most + sum(looks) <= budget:
        assert rounds == (Round(most, 1),)
        return
    count, before = len(steps), 0
    parts = next(parts for parts in (1, 2, 3, 4) if 2**parts >= count or parts == 4)
    assert 1 <= len(rounds) <= parts
    for number, one in enumerate(rounds):
        last = number + 1 == len(rounds)
        length = one.last - before
        assert length >= 1
        # The last may end where the training does; one step is the least, whatever it costs.
        assert affordable(steps, looks, count, length, budget / parts) or length == 1
        assert not affordable(steps, looks, count, length + 1, budget / parts) or one.last == most
        assert one.kept == (1 if last else math.ceil(count / 2))
        before, count = one.last, math.ceil(count / 2)
    assert before <= most and (before == most or len(rounds) == parts)


def judged_in_turn(tracks, scores, steps):
    """Drive the halving as the loop does: the learners in the end, what was told, and who was judged at each step."""
    learners = {name: SimpleNamespace(progress=Progress()) for track in tracks for name in track.names}
    told, looked = [], {}
    halving = Halving(tracks, lambda track, number, left: told.append((track.task, number, left)))
    for step in range(1, steps + 1):
        if due := halving.due(step, learners, epoch_ends=step % 7 == 0):
            looked[step] = due
            for name in due:
                progress = learners[name].progress
                progress.best_rank = max(progress.best_rank, [scores[name][step]])
            halving.cut(step, learners)
    return learners, told, looked


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 9))
def test_the_best_half_goes_on(draw, count):
    names = [f"c{number}" for number in range(count)]
    rounds = plan_rounds([1.0] * count, [0.0] * count, 6.0 * count, 40)
    scores = {name: draw.choices(range(6), k=41) for name in names}  # few values, so that there are ties
    learners, told, looked = judged_in_turn([Track("a", "deep", tuple(names), rounds)], scores, 40)
    left, best, survived = list(names), dict.fromkeys(names, -1), dict.fromkeys(names, 0)
    for number, one in enumerate(rounds, 1):
        assert looked[one.last] == left
        for name in left:
            best[name] = max(best[name], scores[name][one.last])
        order = sorted(range(len(left)), key=lambda place: (-best[left[place]], place))  # of equal ones the earlier
        kept = [left[place] for place in order[: one.kept]]
        assert told[number - 1] == ("a", number, kept)
        survived |= {name: survived[name] + 1 for name in kept}
        left = [name for name in left if name in kept]
    assert {name: one.progress.rounds for name, one in learners.items()} == survived
    assert all(one.progress.stopped for one in learners.values())
    assert best_of(Track("a", "deep", tuple(names), rounds), learners) == left[0]


def test_tracks_are_halved_apart_and_who_has_failed_is_left_out():
    tracks = [
        Track("a", "linear", ("w", "x"), (Round(2, 1),)),
        Track("a", "deep", ("p", "q", "r"), (Round(1, 2), Round(4, 1))),
    ]
    learners = {name: SimpleNamespace(progress=Progress()) for track in tracks for name in track.names}
    halving = Halving(tracks, lambda *told: None)
    for name, rank in {"p": 3, "q": 2, "r": 1, "w": 0, "x": 5}.items():
        learners[name].progress.best_rank = [rank]
    learners["p"].progress.stopped, learners["p"].progress.failed = True, "the loss was no longer a number"
    assert halving.due(1, learners, False) == ["q", "r"] and halving.due(3, learners, False) == []
    assert halving.due(3, learners, True) == ["w", "x"]  # linear ones are judged after each epoch
    halving.cut(1, learners)
    assert [learners[name].progress.stopped for name in "qrwx"] == [False, False, False, False]
    halving.cut(2, learners)
    assert [learners[name].progress.stopped for name in "qrwx"] == [False, False, True, True]
    assert [best_of(track, learners) for track in tracks] == ["x", "q"]  # the second has not come to its end
    halving.cut(4, learners)
    assert learners["q"].progress.rounds == 2 and halving.due(5, learners, True) == []


def test_who_has_stopped_early_may_still_be_the_best():
    track = Track("a", "deep", ("p", "q"), (Round(3, 1), Round(9, 1)))
    learners = {name: SimpleNamespace(progress=Progress(best_rank=[rank])) for name, rank in (("p", 2), ("q", 1))}
    learners["p"].progress.stopped = True  # no better score in so many evaluations
    halving = Halving([track], lambda *told: None)
    assert halving.due(3, learners, False) == ["q"]
    halving.cut(3, learners)
    assert learners["q"].progress.stopped and best_of(track, learners) == "p"


EPOCHS, STEPS = 8, 800
PRICES = {"probe": (2, True), "mix": (4, True), "ada": (100, False), "layer": (40, False), "wide": (135, False)}


def priced(scale=1, **more):
    found = {**PRICES, **more}
    return {name: Price(cost * scale, cost * scale / 30, linear) for name, (cost, linear) in found.items()}


def worst(track, prices, looks=1):
    """What the rounds of a track cost if the most expensive candidates are left, and after how many steps it ends."""
    spent, before, left = 0.0, 0, len(track.names)
    for one in track.rounds:
        dearest = sorted((prices[name] for name in track.names), key=lambda price: -price.epoch)[:left]
        epochs = (one.last - before) * EPOCHS / STEPS
        spent += sum(price.epoch * epochs + price.judged * (1 + (epochs if price.linear else 0)) for price in dearest)
        before, left = one.last, math.ceil(left / 2)
    return spent, before


@pytest.mark.parametrize("reading", [0.0, 50.0, 20000.0])
def test_the_search_keeps_to_its_budget(reading):
    prices = {task: {f"{n}/{task}": p for n, p in priced(s, routing=(2000, False)).items()} for task, s in (("a", 1), ("b", 3))}
    reference = {task: own[f"ada/{task}"] for task, own in prices.items()}
    plan = plan_search(prices, Budget(reference, reading, EPOCHS, STEPS))
    assert plan.left_out == {
        name: "an epoch costs 20.0 times as much as one of AdaLayers" for name in ("routing/a", "routing/b")
    }
    assert 1.35 < LARGEST < 20
    kinds = {(track.task, track.kind): track for track in plan.tracks}
    assert kinds["a", "linear"].names == ("probe/a", "mix/a")
    assert kinds["b", "deep"].names == ("ada/b", "layer/b", "wide/b")
    spent = [worst(track, prices[track.task]) for track in plan.tracks]
    fit = EPOCHS * (sum(one.epoch + one.judged for one in reference.values()) + reading)
    longest = max(last for _, last in spent)
    assert sum(cost for cost, _ in spent) + reading * EPOCHS * longest / STEPS <= SEARCH * fit
    # Linear maps cost next to nothing, and are trained to the end.
    assert all(kinds[task, "linear"].rounds == (Round(STEPS, 1),) for task in "ab")
    last = kinds["a", "deep"].rounds[-1].last
    assert last == pytest.approx(kinds["b", "deep"].rounds[-1].last, abs=4)
    assert last == STEPS if reading > 1000 else 0 < last < STEPS


def test_linear_candidates_that_cost_much_are_halved_too():
    prices = {"a": {"ada/a": Price(100, 0), **{f"probe{n}/a": Price(10, 0, True) for n in range(6)}}}
    [linear, deep] = plan_search(prices, Budget({"a": Price(100, 0)}, 0.0, EPOCHS, STEPS)).tracks
    assert linear.kind == "linear" and [one.kept for one in linear.rounds] == [3, 2, 1]
    spent, _ = worst(linear, prices["a"])
    assert spent <= LINEAR_SHARE * SEARCH * EPOCHS * 100
    assert deep.names == ("ada/a",) and len(deep.rounds) == 1


def test_so_many_take_part_that_the_first_round_is_long_enough():
    names = [f"ada{n}/a" for n in range(20)]
    budget = Budget({"a": Price(100, 0)}, 0.0, EPOCHS, STEPS)
    plan = plan_search({"a": {name: Price(100, 0) for name in names}}, budget)
    [track] = plan.tracks
    many = len(track.names)
    assert list(track.names) == names[:many] and list(plan.left_out) == names[many:]
    assert set(plan.left_out.values()) == {f"the budget pays for {many} deep candidates"}
    rounds = math.ceil(math.log2(many))
    assert track.rounds[0].last == SEARCH * EPOCHS * 100 / rounds // (many * EPOCHS * 100 / STEPS)
    assert track.rounds[0].last >= FIRST * STEPS - 1
    more = many + 1  # one more would have made it shorter
    assert SEARCH * STEPS / min(4, math.ceil(math.log2(more))) / more < FIRST * STEPS


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_what_a_candidate_has_cost_is_what_its_steps_and_evaluations_cost(survived):
    rounds = (Round(100, 2), Round(300, 1))
    budget = Budget({"a": Price(100, 5)}, 0.0, EPOCHS, STEPS)
    epochs, looks = (1, 1) if survived == 0 else (3, 2)
    assert budget.spent(Price(40, 2), rounds, survived) == epochs * 40 + looks * 2
    assert budget.spent(Price(40, 2, linear=True), rounds, survived) == epochs * (40 + 2)


@pytest.mark.parametrize("reading", [0.0, 50.0])
def test_the_final_training_keeps_to_what_is_left(reading):
    reference = {"a": Price(100, 5), "b": Price(300, 15)}
    budget = Budget(reference, reading, EPOCHS, STEPS)
    fit = EPOCHS * (105 + 315 + reading)
    left = {task: budget.share(task, TOTAL, read=1.5) for task in reference}
    assert sum(left.values()) + 1.5 * EPOCHS * reading == pytest.approx(TOTAL * fit)
    assert left["b"] == pytest.approx(3 * left["a"])
    prices = {"first": Price(60, 3), "large": Price(135, 6), "second": Price(40, 2), "third": Price(40, 2)}
    found = budget.further(prices.items(), EPOCHS * (63 + 42 + 41))
    assert found == ["first", "second"]
    assert budget.further(prices.items(), EPOCHS * (63 + 42 + 42)) == ["first", "second", "third"]
    assert budget.further(prices.items(), EPOCHS * 41) == []
