"""How long baselines and the timing of predictions take: by hand from made-up measurements, on a clock of the test's own."""

from __future__ import annotations

import pytest
from synthetic import config, write_rows
from test_study_estimate import pace_of, planned

from trunkline.events import Finding
from trunkline.files import write_json
from trunkline.states.live import LiveStates
from trunkline.studies.estimates import floors as floor_estimates
from trunkline.studies.estimates import forecasting, probe
from trunkline.studies.estimates.floors import FloorPace, FloorWork, floors_ahead, forecast_floors, seconds_of_floors
from trunkline.studies.estimates.pace import Forecast, kind_of, method_of, trunk_of
from trunkline.studies.estimates.timing import forecast_times, seconds_of_side
from trunkline.studies.floors.embedding import Embeddings
from trunkline.studies.plan import units
from trunkline.studies.study import Study
from trunkline.training import clock
from trunkline.training.config import resolve
from trunkline.training.prepare import prepare

ROWS = {"100": 100, "all": 1000}
PACE = FloorPace(rows=1000, few=200, open=3.0, fitting=2.0, passing=0.01, tokens=10_000, others=4_000, found=0,
                 others_found=0, layer=6)  # fmt: skip
SECRET = "the text of a user"


def work(size, seed=None, trunk="a"):
    return FloorWork(trunk, size, seed, None)


@pytest.mark.parametrize(
    ("left", "changes", "opened", "fitted", "passed"),
    [
        ([work("all")], {}, 1, 1000, 14_000),
        ([work("100", 0)], {}, 1, 100, 5_000),
        ([work("100", 0), work("all")], {}, 2, 1100, 14_000),  # the small size is within all rows
        ([work("100", 0), work("100", 1), work("all")], {}, 3, 1200, 15_000),
        ([work("all"), work("100", 0)], {}, 2, 1100, 14_000),
        ([work("100", 0), work("100", 1)], {}, 2, 200, 6_000),  # others are the same, rows of another seed are not
        ([work("all"), work("all", trunk="b")], {}, 1, 1000, 14_000),  # nothing is known of the other trunk
        ([work("all")], {"found": 9_000, "others_found": 4_000}, 1, 1000, 1_000),
        ([work("100", 0), work("all")], {"layer": None}, 2, 1100, 19_000),  # nothing is stored
    ],
)
def test_baselines_read_once_what_is_stored_and_fit_as_many_rows_as_there_are(left, changes, opened, fitted, passed):
    pace = FloorPace(**{**vars(PACE), **changes})
    assert seconds_of_floors(left, {"a": pace}, ROWS) == pytest.approx(3 * opened + 2 * fitted / 200 + 0.01 * passed)


def test_what_one_trunk_has_stored_is_of_no_use_to_another():
    left = [work("all"), work("all", trunk="b")]
    assert seconds_of_floors(left, {"a": PACE, "b": PACE}, ROWS) == pytest.approx(2 * (3 + 10 + 0.01 * 14_000))


@pytest.fixture
def wait(monkeypatch):
    time = [100.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])

    def before(owner, name, seconds):
        own = getattr(owner, name)

        def slow(*given, **named):
            time[0] += seconds
            return own(*given, **named)

        monkeypatch.setattr(owner, name, slow)

    return before


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 90)


def test_floors_are_tried_on_few_rows_and_each_part_is_timed(tiny_trunk_dir, rows, wait, monkeypatch):
    made = resolve(config(tiny_trunk_dir, rows, tasks=("mood",), states="store"))
    monkeypatch.setattr(floor_estimates, "TRAIN", 30)
    monkeypatch.setattr(floor_estimates, "OTHERS", 5)
    wait(floor_estimates, "prepare", 1.0)
    wait(Embeddings, "_opened", 2.0)
    wait(floor_estimates, "floors_of", 7.0)
    wait(LiveStates, "feed", 4.0)
    seen, real = [], floor_estimates.floors_of

    def spied(groups, *given):
        seen.extend({name: len(split.corpus.texts) for name, split in group.splits.items()} for group in groups)
        return real(groups, *given)

    monkeypatch.setattr(floor_estimates, "floors_of", spied)
    found = floor_estimates.pace_of_floors(made)
    [group] = prepare(made)
    assert seen == [{name: 30 if name == "train" else 5 for name in group.splits}]
    assert (found.open, found.fitting) == (3.0, 7.0)  # the passes of the trunk are not part of fitting
    assert (found.rows, found.few) == (len(group.splits["train"].corpus.texts), 30)
    embeddings = Embeddings(made, [group], lambda event: None)
    layer = embeddings.feeds.trunk.num_layers
    tokens = {name: int(split.encoded.lengths.sum()) for name, split in group.splits.items()}
    assert (found.tokens, found.others) == (tokens.pop("train"), sum(tokens.values()))
    assert (found.found, found.others_found, found.layer) == (0, 0, layer)
    assert 0 < found.passing < 4.0
    embeddings.of(group.tasks["mood"], group.splits["train"])  # which stores its states
    again = floor_estimates.pace_of_floors(made)
    assert (again.found, again.others_found) == (found.tokens, 0)


def test_tasks_of_words_alone_need_no_trunk(rows, wait):
    wait(floor_estimates, "floors_of", 7.0)
    made = resolve(config(rows.parent / "no-such-trunk", rows, tasks=("cities",)))
    found = floor_estimates.pace_of_floors(made)
    assert (found.open, found.fitting, found.tokens, found.layer) == (0.0, 7.0, 0, None)


def test_a_task_with_few_labels_keeps_one_of_them(rows, monkeypatch):
    monkeypatch.setattr(floor_estimates, "TRAIN", 3)
    [group] = prepare(resolve(config(rows.parent / "no-such-trunk", rows, tasks=("mood",))))
    present = group.splits["train"].targets["mood"].present
    present[:] = False
    present[17] = True
    few = floor_estimates._on_few(group).splits["train"]
    assert len(few.corpus.texts) == 4 and few.targets["mood"].present.sum() == 1  # three drawn ones, and that


def test_the_size_with_most_rows_is_tried_once_and_a_failure_is_told_without_its_words(monkeypatch):
    tried, said = [], []
    monkeypatch.setattr(floor_estimates, "pace_of_floors", lambda given: tried.append(given) or PACE)
    left = [FloorWork("a", "100", 0, "small"), FloorWork("a", "all", None, "whole"), FloorWork("a", "100", 1, "small")]
    found = forecast_floors(left, ROWS)
    assert tried == ["whole"] and found.stored == {"a": (6, 14_000)} and found.failed is None
    assert found.seconds == seconds_of_floors(left, {"a": PACE}, ROWS)

    def fails(given):
        raise ValueError(SECRET)

    monkeypatch.setattr(floor_estimates, "pace_of_floors", fails)
    found = forecast_floors(left, ROWS, said.append)
    assert (found.seconds, found.failed) == (0.0, "ValueError")
    assert [event.text for event in said if isinstance(event, Finding)] == [floor_estimates.floors_not_estimated("ValueError")]


def test_baselines_that_are_kept_are_not_ahead(tmp_path):
    study = Study(planned(), tmp_path / "study")
    assert [(one.size, one.seed) for one in floors_ahead(study)] == [("100", 0), ("100", 1), ("all", None)]
    *_, (cell, _, _, place) = floor_estimates.floor_places(study)
    place.mkdir(parents=True)
    write_json(place / "floors.json", {})
    assert cell.size == "all" and [one.size for one in floors_ahead(study)] == ["100", "100"]
    assert not floors_ahead(Study(planned(study={"floors": False}), tmp_path / "study"))


def test_states_of_the_last_layer_are_there_for_units_that_read_no_other():
    searches = units(planned().searches())
    unit = searches[0]
    paces = {kind_of(unit): pace_of(unit, layers=(6,), stored=11_000)}
    forecast = Forecast(paces, {"100": 1000, "all": 1000}, stored={trunk_of(unit.runs[0]): (6, 10_000)})
    assert forecast.estimates([unit])[unit.key].before == pytest.approx(3 + 0.01 * 1_000)
    forecast.paces[kind_of(unit)] = pace_of(unit, layers=(5, 6), stored=11_000)
    assert forecast.estimates([unit])[unit.key].before == pytest.approx(3 + 0.01 * 11_000)


def timed():
    """By hand: probe and scalar_mix in units of 4 runs, LoRA by itself, 300 tokens, 4 rounds of which one does not count."""
    probe = 1.0 + 4 * (0.01 + 0.02 / 4) * 300
    both = 1.0 + 4 * (0.01 + 2 * 0.02 / 4) * 300
    return 2.0 + 2 * probe + both, 1.0 + 4 * 0.02 * 300


def test_predictions_are_timed_by_the_measured_pass_as_often_as_it_is_repeated(tmp_path):
    study = Study(planned(study={"seeds": 2, "tune": {"learning_rate": [0.1, 0.2]}}), tmp_path / "study")
    stacked, lora, _ = units(study.plan.searches())
    assert [len(stacked.runs), len(lora.runs)] == [4, 1]
    paces = {kind_of(stacked): pace_of(stacked), kind_of(lora): pace_of(lora, passing=0.0, layers=())}
    found = forecast_times(study, Forecast(paces, {"all": 1000}))
    assert (found.seconds, found.unknown) == (pytest.approx(sum(timed())), 0)
    failed = Forecast({kind_of(stacked): pace_of(stacked)}, {"all": 1000}, {kind_of(lora): "the loss is nan"})
    found = forecast_times(study, failed)
    assert (found.seconds, found.unknown) == (pytest.approx(timed()[0]), 1)
    assert forecast_times(study, Forecast()).unknown == 3 and forecast_times(study, Forecast()).seconds == 0.0


def test_what_reads_lower_layers_takes_a_part_of_the_pass(tmp_path):
    """By hand: probe and scalar_mix as above, the first with a quarter of the pass, the second with half of it."""
    study = Study(planned(study={"seeds": 2, "tune": {"learning_rate": [0.1, 0.2]}}), tmp_path / "study")
    [stacked, *_] = units(study.plan.searches())
    methods = {run.cell.method: method_of(run) for run in stacked.runs}
    depths = {methods["probe"]: 0.25, methods["scalar_mix"]: 0.5}
    found = forecast_times(study, Forecast({kind_of(stacked): pace_of(stacked, depths=depths)}, {"all": 1000}, {"x": ""}))
    one, other = (1.0 + 4 * (0.01 * share + 0.02 / 4) * 300 for share in (0.25, 0.5))
    both = 1.0 + 4 * (0.01 * 0.5 + 2 * 0.02 / 4) * 300
    lora = 1.0 + 4 * (0.01 + 0.02 / 4) * 300  # nothing is known of it but the nearest unit
    assert found.seconds == pytest.approx(2.0 + one + other + both + (lora if not found.unknown else 0.0))


def test_without_stored_states_each_side_takes_the_pass_that_scoring_holds(tmp_path):
    [stacked, *_] = units(planned().searches())
    live = pace_of(stacked, passing=0.0, layers=())
    assert seconds_of_side([live]) == seconds_of_side([live, live]) == pytest.approx(1 + 4 * 0.02 * 300)


def test_predictions_of_the_same_runs_are_timed_once(tmp_path):
    study = Study(planned(), tmp_path / "study")
    study.claim()
    stacked = units(study.plan.searches())[0]
    forecast = Forecast({kind_of(stacked): pace_of(stacked)}, ROWS)
    keys = [study.plan.run(cell, 0, cell.seeds[0]).key for cell in study.plan.cells]
    write_json(study.path / "times.json", {"one": dict.fromkeys(keys[1:], 1.0)})
    assert forecast_times(study, forecast).seconds > 0
    write_json(study.path / "times.json", {"one": dict.fromkeys(keys, 1.0)})
    assert forecast_times(study, forecast).seconds == 0 and forecast_times(study, forecast).unknown == 0


def test_the_time_of_a_dry_run_is_that_of_units_baselines_and_timing(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    values = {
        "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "methods": {"probe": None, "scalar_mix": None, "lora": {"seeds": 1}},
        "study": {"seeds": 1, "tune": {"learning_rate": [0.1, 0.2]}},
    }
    monkeypatch.setattr(probe.Probe, "measure", lambda self, unit: pace_of(unit, rows=54, size="all"))
    monkeypatch.setattr(floor_estimates, "pace_of_floors", lambda given: FloorPace(54, 54, 3.0, 2.0))
    found = forecasting.rehearse(Study(planned(**values), tmp_path / "study"))
    each = sum(unit["seconds"] for unit in found["units"])
    assert found["floors"] == {"seconds": 5.0, "not_estimated": None}
    lora = 1.0 + 4 * (0.01 + 0.02) * 300
    assert found["timing"] == {"seconds": round(timed()[0] + lora, 2), "unknown": 0}
    assert found["seconds"] == pytest.approx(each + found["floors"]["seconds"] + found["timing"]["seconds"], abs=0.05)
