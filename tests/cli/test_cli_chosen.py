"""What `method: auto` has compared, as a terminal shows it."""

from __future__ import annotations

from io import StringIO

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trunkline.cli.chosen import SHOWN, ordered, tables
from trunkline.events import RoundEnded, SearchEnded, SearchStarted
from trunkline.trackers.wording import told_finalists, told_round, told_search
from trunkline.training.result import auto_sentence


def row(name, rounds, validation, of=4, **more):
    return {"name": name, "cost": 0.5, "rounds": rounds, "of": of, "validation": validation, **more}


def auto(candidates, chosen, lower_is_better=False):
    own = {"chosen": chosen, "metric": "accuracy", "lower_is_better": lower_is_better, "candidates": candidates}
    return {"search_seconds": 12.34, "training_seconds": 65.0, "tasks": {"intent": own}}


ROWS = [
    row("probe, rate 0.01", 1, 0.91),
    row("probe, rate 0.03", 4, 0.95, trained=0.955),
    row("scalar_mix, rate 0.01", 3, 0.94),
    row("adalayers, rate 0.001", 4, 0.96, trained=0.97),
    row("adalayers, rate 1", 0, None, failed="the loss of task intent is nan"),
    *(row(f"single_layer, layer {layer}, rate 0.001", 0, 0.5 + layer / 100) for layer in range(6)),
]


def test_the_best_are_shown_the_chosen_one_first():
    out = StringIO()
    Console(file=out, width=120).print(tables(auto(ROWS, "adalayers, rate 0.001")))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0] == "intent: what auto compared, by accuracy on validation (* is the branch)"
    shown = [line for line in lines if "rate" in line]
    assert shown[0].split() == ["adalayers,", "rate", "0.001", "*", "0.50", "4", "of", "4", "0.9600", "0.9700"]
    assert shown[1].split() == ["probe,", "rate", "0.03", "0.50", "4", "of", "4", "0.9500", "0.9550"]
    assert shown[2].split()[0] == "scalar_mix," and shown[3].split()[:3] == ["probe,", "rate", "0.01"]
    other = row("adalayers, rate 0.0003", 0, None, of=0, trained=0.965)  # it was not compared
    out = StringIO()
    Console(file=out, width=120).print(tables(auto([*ROWS, other], "adalayers, rate 0.001")))
    [line] = [line for line in out.getvalue().splitlines() if "rate 0.0003" in line]
    assert line.split() == ["adalayers,", "rate", "0.0003", "0.50", "0.9650"]
    assert len(shown) == SHOWN and f"and {len(ROWS) - SHOWN} more in result.json" in lines
    assert lines[-1] == "compared in 12.3 s, the best trained in 1 min 05 s; cost: of an epoch, AdaLayers is 1"


@settings(max_examples=30, deadline=None)
@given(st.permutations(ROWS), st.booleans())
def test_the_order_does_not_depend_on_that_of_the_family(rows, lower):
    names = [one["name"] for one in ordered(auto(rows, "adalayers, rate 0.001", lower)["tasks"]["intent"])]
    singles = [f"single_layer, layer {layer}, rate 0.001" for layer in range(6)]
    assert names[:4] == ["adalayers, rate 0.001", "probe, rate 0.03", "scalar_mix, rate 0.01", "probe, rate 0.01"]
    assert names[4:] == [*(singles if lower else singles[::-1]), "adalayers, rate 1"]


def test_a_sentence_says_what_was_chosen():
    summary = {"auto": auto(ROWS, "adalayers, rate 0.001")}
    assert auto_sentence(summary, "intent") == (
        "auto chose adalayers, rate 0.001 of 11 candidates, accuracy 0.9700 on validation; probe, rate 0.03: 0.9550"
    )
    assert auto_sentence({}, "intent") is None and auto_sentence(summary, "slots") is None


def test_a_fit_tells_of_its_search():
    assert told_search(SearchStarted({"intent": 21, "slots": 20}, 64, 8)) == (
        "candidates: 21 for intent, 20 for slots; compared in at most 8 epochs of 64 steps"
    )
    ended = RoundEnded("intent", "deep", 1, 4, ("adalayers, rate 0.003", "probe, rate 0.01"), 4, 0.91239)
    assert told_round(ended, "accuracy") == (
        "intent, round 1 of 4: 2 of 4 deep candidates left; best: adalayers, rate 0.003, accuracy 0.9124"
    )
    assert told_round(RoundEnded("intent", "linear", 2, 2, (), 1, None), "f1") == (
        "intent, round 2 of 2: 0 of 1 linear candidate left"
    )
    assert told_finalists(SearchEnded({"intent": {"linear": "a", "deep": "b"}, "slots": {"deep": "c"}}, 71.0)) == (
        "compared in 71 s; now training the best as the config says: linear/intent: a; deep/intent: b; deep/slots: c"
    )
