"""The facts of a study against its runs: scores, claims, baselines, costs."""

from __future__ import annotations

import json
import shutil
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import write_rows

from trunkline.errors import BadInput
from trunkline.files import write_json
from trunkline.studies.config import study_of
from trunkline.studies.facts import facts, read_facts, write_facts
from trunkline.studies.floor_runs import floor_places, train_floors
from trunkline.studies.plan import Plan
from trunkline.studies.report import report
from trunkline.studies.study import Study
from trunkline.studies.times import TEXTS, TOKENS, measure_times, read_times, timed_texts
from trunkline.training.answered import load_answers


@pytest.fixture(scope="module")
def study(tiny_trunk_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    rows, test = (
        write_rows(folder / f"{name}.jsonl", count, seed) for name, count, seed in (("rows", 120, 0), ("test", 60, 9))
    )
    made = Study(
        Plan(
            study_of(
                {
                    "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"},
                    "data": {"train": str(rows), "validation": "20%", "test": str(test)},
                    "tasks": {
                        "mood": {"kind": "sequence", "label": "label"},
                        "cities": {"kind": "token", "tokens": "tokens", "tags": "tags"},
                    },
                    "training": {"epochs": 1, "batch_tokens": 256, "learning_rate": 0.01, "patience": None},
                    "methods": {
                        "adalayers": {"method": {"name": "adalayers", "dim": 16, "heads": 2}},
                        "probe": None,
                        "broken": {
                            "method": {"name": "probe", "dropout": 0.1},
                            "training": {"learning_rate": 1e38, "clip_norm": None},
                        },
                        "bitfit": {"seeds": 1, "training": {"learning_rate": 1e-3}},
                    },
                    "study": {"seeds": 2, "sizes": [40, "all"]},
                }
            )
        ),
        folder / "study",
    )
    made.claim()
    train_floors(made)
    made.train()
    return made


@pytest.fixture(scope="module")
def found(study):
    return write_facts(study)


def test_facts_are_plain_json_and_read_again(study, found):
    assert json.loads(json.dumps(found, allow_nan=False)) == read_facts(study.path) == found
    with pytest.raises(BadInput, match="no such file; expected the folder of a study"):
        read_facts(study.path / "runs")


def test_machines_are_told_with_the_runs_that_were_trained_there(study, found, tmp_path):
    runs = {one["run"] for cell in found["cells"] if not cell["floor"] for t in cell["tasks"].values() for one in t["by_seed"]}
    [here] = found["machines"]
    assert set(here["runs"]) == runs and not here["predictions"] and here["environment"] == found["environment"]
    assert here["environment"] == json.loads((study.path / here["runs"][0] / "result.json").read_text())["environment"]
    other = Study(study.plan, tmp_path / "study")
    shutil.copytree(study.path, other.path)
    file = other.path / here["runs"][1] / "result.json"
    result = json.loads(file.read_text())
    result["environment"]["machine"]["cores"] += 1
    file.write_text(json.dumps(result))
    write_json(other.path / "times.json", {"texts": 60, "one": {}, "together": None, "environment": result["environment"]})
    first, second = facts(other)["machines"]
    assert second["runs"] == [here["runs"][1]] and set(first["runs"]) == runs - set(second["runs"])
    assert (first["predictions"], second["predictions"]) == (False, True)
    assert second["environment"]["machine"]["cores"] == first["environment"]["machine"]["cores"] + 1


def test_scores_are_means_of_the_runs(study, found):
    cells = {(cell["method"], cell["size"]): cell for cell in found["cells"]}
    for method, seeds in (("adalayers", 2), ("probe", 2), ("bitfit", 1)):
        for size in ("40", "all"):
            for task, metric in (("mood", "accuracy"), ("cities", "f1")):
                own = cells[method, size]["tasks"][task]
                runs = [json.loads((study.path / one["run"] / "result.json").read_text()) for one in own["by_seed"]]
                assert len(runs) == seeds
                assert own["test"] == pytest.approx(statistics.fmean(run["tasks"][task]["test"][metric] for run in runs))
                assert own["interval"][0] <= own["test"] <= own["interval"][1]
                assert (own["deviation"] is None) == (seeds == 1)
    assert found["data"]["by_size"] == {"40": 40, "all": 96}
    assert cells["adalayers", "all"]["cost"]["stacked"] > 1 and cells["bitfit", "all"]["cost"]["stacked"] == 1


def test_simple_baselines_answer_the_same_rows(study, found):
    floors = [cell for cell in found["cells"] if cell["floor"]]
    assert {cell["method"] for cell in floors} >= {"majority class", "most frequent tag of each word"} or len(floors) >= 4
    run = next(cell for cell in found["cells"] if cell["method"] == "probe" and cell["size"] == "all")
    for cell in floors:
        for task, own in cell["tasks"].items():
            kept = load_answers(study.path / own["by_seed"][0]["run"], task)
            assert kept.same_rows(load_answers(study.path / run["tasks"][task]["by_seed"][0]["run"], task))
    majority = next(cell for cell in floors if cell["method"] == "majority class" and cell["size"] == "all")
    assert majority["tasks"]["mood"]["test"] == pytest.approx(
        json.loads((study.path / run["tasks"]["mood"]["by_seed"][0]["run"] / "result.json").read_text())["tasks"]["mood"][
            "baseline"
        ]["test"]["accuracy"]
    )


def test_the_best_on_validation_is_compared_with_all_and_all_with_the_best_baseline(found):
    for task in ("mood", "cities"):
        for size in ("40", "all"):
            cells = [cell for cell in found["cells"] if cell["size"] == size and task in cell["tasks"]]
            best = max((c for c in cells if not c["floor"]), key=lambda c: c["tasks"][task]["validation"])
            floor = max((c for c in cells if c["floor"]), key=lambda c: c["tasks"][task]["validation"])
            pairs = {(c["a"], c["b"]) for c in found["claims"] if (c["task"], c["size"]) == (task, size)}
            own = {c["method"] for c in cells if not c["floor"]}
            assert {b for a, b in pairs if a == best["method"]} == own - {best["method"]} | {floor["method"]}
            assert {a for a, b in pairs if b == floor["method"]} == own
    for claim in found["claims"]:
        assert claim["verdict"] in ("better", "worse", "equivalent", "undecided")
        assert claim["interval"][0] <= claim["difference"] <= claim["interval"][1]


def test_what_does_not_beat_a_baseline_is_said_in_words(found):
    claims = {(c["task"], c["size"], c["a"], c["b"]): c["verdict"] for c in found["claims"]}
    said = {(one["task"], one["size"], one["method"], one["floor"]): one["sentence"] for one in found["below_floor"]}
    floors = {cell["method"] for cell in found["cells"] if cell["floor"]}
    expected = {key for key, verdict in claims.items() if key[3] in floors and verdict != "better"}
    assert said.keys() == expected and expected
    words = {"worse": "is worse than", "equivalent": "is equivalent to", "undecided": "is not shown to be better than"}
    assert all(words[claims[key]] in sentence for key, sentence in said.items())


def test_failures_are_kept_and_the_study_is_not_finished(found):
    assert not found["finished"]
    broken = [cell for cell in found["cells"] if cell["method"] == "broken"]
    assert all(cell["tasks"] == {} and cell["failed"] for cell in broken)


def test_fronts_and_curves(found):
    cells = [cell for cell in found["cells"] if cell["size"] == "all" and cell["tasks"] and not cell["floor"]]
    front = found["fronts"]["mood"]["trained_parameters"]
    for cell in cells:
        dominated = any(
            other["tasks"]["mood"]["test"] >= cell["tasks"]["mood"]["test"]
            and other["cost"]["trained_parameters"] <= cell["cost"]["trained_parameters"]
            and (
                other["tasks"]["mood"]["test"] > cell["tasks"]["mood"]["test"]
                or other["cost"]["trained_parameters"] < cell["cost"]["trained_parameters"]
            )
            for other in cells
        )
        assert ({key: cell[key] for key in ("method", "trunk", "size", "regime")} in front) != dominated
    assert [point["size"] for point in found["curves"]["mood"]["probe"]] == ["40", "all"]


def test_from_so_many_tasks_on_branches_take_less_room(study, found):
    results = [json.loads(file.read_text()) for file in study.path.glob("runs/*/result.json")]
    sizes = {changes: [] for changes in (True, False)}
    for one in results:
        sizes[one["tasks"]["mood"]["method"] == "bitfit"] += one["cost"]["disk_bytes"].values()
    trunk, branch, tuned = 4 * results[0]["cost"]["trunk_parameters"], max(sizes[False]), min(sizes[True])
    cheaper = [tasks for tasks in range(1, 100) if trunk + tasks * branch < tasks * (trunk + tuned)]
    assert found["break_even"]["tasks_by_bytes"] == cheaper[0] and str(cheaper[0]) in found["break_even"]["sentence"]


def test_times_of_predictions_are_measured_once_and_say_from_when_on_sharing_pays(study):
    said = []
    for _ in range(2):
        measure_times(study, said.append)
    assert said == ["how long predictions take"]
    times, found = read_times(study), facts(study)
    assert times["environment"] == found["environment"] and found["machines"][0]["predictions"]
    cells = {cell["tasks"]["mood"]["by_seed"][0]["run"]: cell for cell in found["cells"] if cell["tasks"] and not cell["floor"]}
    assert {run.removeprefix("runs/") for run in cells} == times["one"].keys()
    for run, cell in cells.items():
        assert cell["cost"]["predict_seconds"] == pytest.approx(1000 * times["one"][run.removeprefix("runs/")] / 60)
    alone = max(times["one"][name] for name in times["together"]["runs"])
    each = max(0, (times["together"]["seconds"] - alone) / (len(times["together"]["runs"]) - 1))
    tuned = min(times["one"][run.removeprefix("runs/")] for run, cell in cells.items() if cell["method"] == "bitfit")
    cheaper = [tasks for tasks in range(1, 10**4) if alone + (tasks - 1) * each < tasks * tuned]
    assert found["break_even"]["tasks_by_time"] == (cheaper[0] if each < tuned else None)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.sampled_from((16, 512)), st.randoms(use_true_random=False))
def test_predictions_are_timed_on_the_first_texts_that_are_not_too_long_together(count, longest, draw):
    texts = [[draw.randint(1, longest) for _ in range(draw.randint(1, 3))] for _ in range(count)]
    windows = [(number, length) for number, lengths in enumerate(texts) for length in lengths]
    encoded = SimpleNamespace(text_of=np.array([one for one, _ in windows]), lengths=np.array([one for _, one in windows]))
    found, tokens = timed_texts(encoded), [sum(lengths) for lengths in texts]
    assert 1 <= found <= min(TEXTS, len(texts)) and (found == 1 or sum(tokens[:found]) <= TOKENS)
    assert found in (TEXTS, len(texts)) or sum(tokens[: found + 1]) > TOKENS


def test_facts_of_a_study_that_has_only_begun(tiny_trunk_dir, study, tmp_path):
    empty = Study(study.plan, tmp_path / "study")
    empty.claim()
    found = facts(empty)
    assert not found["finished"] and found["claims"] == [] and found["data"] == {}
    assert all(cell["tasks"] == {} for cell in found["cells"])


def test_a_table_has_the_baselines_of_one_reading_of_the_data(tmp_path):
    """Methods of a table may differ in keys that baselines depend on: then these are of the first, and of no two of them."""
    given = {
        "data": {"train": "rows.jsonl", "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "methods": {"probe": {"each": {"tasks.mood.class_weights": ["none", "balanced"]}}},
        "study": {"sizes": [20, "all"], "seeds": 2},
    }
    places = list(floor_places(Study(Plan(study_of(given)), tmp_path / "study")))
    assert [(cell.size, seed) for cell, seed, _, _ in places] == [("20", 0), ("20", 1), ("all", 0)]
    assert {config.tasks["mood"].class_weights for _, _, config, _ in places} == {"none"}


def test_a_study_of_which_all_runs_failed_has_its_baselines(study, found, tmp_path):
    config = study.plan.config
    alone = config.model_copy(update={"methods": {"broken": config.methods["broken"]}})
    other = Study(Plan(alone), tmp_path / "study")
    shutil.copytree(study.path, other.path)
    given = write_facts(other)
    assert {name: task["kind"] for name, task in given["tasks"].items()} == {"mood": "sequence", "cities": "token"}
    assert [cell["method"] for cell in given["cells"] if not cell["floor"]] == ["broken", "broken"]
    floors = [cell for cell in found["cells"] if cell["floor"]]
    assert [cell["tasks"] for cell in given["cells"] if cell["floor"]] == [cell["tasks"] for cell in floors]
    made = report(other.path)
    assert "No run has a result: 2 runs failed, for the reasons below. The same command tries them again." in made.findings
    assert "Quality" not in made.left_out
