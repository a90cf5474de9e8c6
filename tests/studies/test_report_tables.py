"""The tables of a report, against the facts that they are made of."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studyfacts import FLOORS, facts
from studyfacts import claim as claim_of

from trunkline.errors import BadInput
from trunkline.studies.report import numbers
from trunkline.studies.report.claims import SIGNS, claims, sentence
from trunkline.studies.report.costs import TOGETHER, costs
from trunkline.studies.report.figures import front_pictures
from trunkline.studies.report.html import facts as told
from trunkline.studies.report.html import noticed
from trunkline.studies.report.provenance import failures, machine, runs, searched
from trunkline.studies.report.quality import MARKS, in_short, quality
from trunkline.studies.report.results import ClaimFacts, Results, Slice, read_results
from trunkline.studies.report.writing import report

FEW = ("joy", "anger", "fear")


def made(**more):
    return Results.model_validate(facts(labels=FEW, **more))


@pytest.fixture(scope="module")
def several():
    """Two sizes of two trunks."""
    return made(trunks=("minilm", "mpnet"))


def best_on_validation(given, task):
    own = {one["method"]: one["tasks"][task]["validation"] for one in given["cells"] if one["method"] not in FLOORS}
    return max(own, key=own.get)


def cell_of(results, grid, method):
    return next(row for row in grid.rows if row[0].text == method)


def test_quality_has_every_method_with_its_floors_and_the_best_in_bold():
    given = facts(labels=FEW, sizes=("all",))
    results = Results.model_validate(given)
    (grid,) = quality(results)
    assert [row[0].text for row in grid.rows] == list(given["methods"])
    assert grid.columns == ["method", "intent (accuracy)", "slots (f1)", "trained parameters", "time per epoch"]
    words = {"worse": "worse than", "equivalent": "equivalent to", "undecided": "not shown above"}
    words = {verdict: f"{said} the floor" for verdict, said in words.items()}
    for place, task in enumerate(("intent", "slots"), 1):
        scores = {one["method"]: one["tasks"][task]["test"] for one in given["cells"] if task in one["tasks"]}
        strong = [row[0].text for row in grid.rows if row[place].strong]
        leader = best_on_validation(given, task)
        assert strong == [max(scores, key=scores.get)]
        for one in given["cells"]:
            cell = cell_of(results, grid, one["method"])[place]
            if task not in one["tasks"]:
                assert cell.text == "\u2013" and not cell.below
                continue
            found = one["tasks"][task]
            assert cell.text.startswith(f"{found['test']:.4f}") and ("±" in cell.text) == (found["deviation"] is not None)
            interval, *beside = cell.below.split("\n")
            assert interval == f"{found['interval'][0]:.4f} to {found['interval'][1]:.4f}"
            floor = next(
                (c for c in given["claims"] if (c["task"], c["a"]) == (task, one["method"]) and c["b"] in FLOORS), None
            )
            assert beside == ([words[floor["verdict"]]] if floor and floor["verdict"] in words else [])
            verdict = next(
                (
                    claim["verdict"]
                    if claim["a"] == one["method"]
                    else {"better": "worse", "worse": "better"}.get(claim["verdict"], claim["verdict"])
                    for claim in given["claims"]
                    if claim["task"] == task and {claim["a"], claim["b"]} == {one["method"], leader}
                ),
                None,
            )
            assert cell.mark == MARKS.get(verdict, "")
    kinds = {row[0].text: row[0].below.partition("\n")[0] for row in grid.rows}
    assert {name for name, kind in kinds.items() if kind == "floor"} == set(FLOORS)
    assert {name for name, kind in kinds.items() if kind == "changes the trunk"} == {"lora", "full"}
    assert cell_of(results, grid, "full")[0].below == "changes the trunk\n1 run failed"
    assert grid.legend[-1] == "The floor is the one that is best on validation (embedding)."
    used = {row[place].mark for row in grid.rows for place in (1, 2)} - {""}
    assert used and used <= set(MARKS.values()) and all(f"{mark} " in grid.legend[-2] for mark in used)


def test_without_claims_what_is_below_a_floor_is_said_all_the_same():
    given = facts(labels=FEW, sizes=("all",)) | {"claims": []}
    (grid,) = quality(Results.model_validate(given))
    assert cell_of(None, grid, "layer layer=0")[1].below.endswith("\nnot above the floor")
    assert {row[place].mark for row in grid.rows for place in (1, 2)} == {""}


def test_where_less_is_better_the_lowest_is_best_and_said_to_be():
    given = facts(labels=FEW, sizes=("all",))
    given["tasks"]["intent"] |= {"higher_is_better": False, "metric": "mae"}
    given["claims"] = []
    (grid,) = quality(Results.model_validate(given))
    assert [row[0].text for row in grid.rows if row[1].strong] == ["majority"]
    (first, _) = in_short(Results.model_validate(given))
    assert first.startswith("intent: layer layer=0 is best on validation and has mae 0.6")
    assert "; the lowest mean is that of the floor majority, 0.0" in first


def test_in_short_the_best_on_validation_is_compared_with_the_others():
    given = facts(labels=FEW, sizes=("all",))
    for task, said in zip(("intent", "slots"), in_short(Results.model_validate(given)), strict=True):
        leader = best_on_validation(given, task)
        assert said.startswith(f"{task}: {leader} is best on validation and has ")
        about = [one for one in given["claims"] if one["task"] == task and one["a"] == leader]
        better = [one["b"] for one in about if one["verdict"] == "better"]
        assert f"better than {', '.join(better[:4])}" in said and (len(better) < 6 or f" and {len(better) - 4} more" in said)


def test_several_slices_have_a_table_each_and_an_overview_before(several):
    first, second, *rest = quality(several)
    assert first.columns == [
        "method",
        *(f"{trunk}, {size}" for trunk in ("minilm", "mpnet") for size in ("8 per class", "all rows")),
    ]
    assert second.caption == "slots (f1)" and second.rows[0][0].text == "tfidf"
    assert [grid.caption for grid in rest] == [f"Quality: {name}" for name in first.columns[1:]]
    assert len({id(grid.numbers) for grid in (first, second, *rest)}) == 1
    rows = first.numbers.rows
    assert len(rows) == len(several.cells) * len(several.tasks) and len(first.numbers.columns) == len(rows[0])
    assert several.main == Slice("minilm", "all", "separate") and several.called(several.main) == "minilm, all rows"


def test_costs_leave_out_what_nobody_measured():
    given = facts(labels=FEW, sizes=("all",))
    for one in given["cells"]:
        one["cost"].pop("bytes_per_task", None)
        one["cost"]["pass_share"] = None
    (grid,) = costs(Results.model_validate(given))
    assert grid.columns[1:4] == ["trained parameters", "added parameters", "training"]
    assert not {"bytes per task", "share of the pass"} & set(grid.columns)
    row = cell_of(None, grid, "full")
    assert [cell.text for cell in row[1:]] == ["22,732,466", "0", "1,900 s", "230 s", "1,250", "14.2", "2.25 GiB", "2.5 s", "1"]
    assert cell_of(None, grid, "tfidf")[3].text == "\u2013" and grid.legend[-1] == TOGETHER
    for one in given["cells"]:
        one["cost"] = {}
    assert costs(Results.model_validate(given)) == []


def test_claims_are_told_in_words_first_those_about_the_best_on_validation():
    given = facts(labels=FEW, sizes=("all",))
    results = Results.model_validate(given)
    grids = claims(results)
    assert len(grids) == 4
    for task, (about, others) in zip(("intent", "slots"), (grids[:2], grids[2:]), strict=True):
        leader = best_on_validation(given, task)
        assert about.caption == f"{task}: {leader}, the best on validation, against others"
        assert others.caption == f"{task}: the other methods against the floor embedding"
        assert about.columns == ["claim", "difference", "p", "p of equivalence", "effect (h)"]
        said = {row[0].text: row for grid in (about, others) for row in grid.rows}
        own = [ClaimFacts.model_validate(one) for one in given["claims"] if one["task"] == task]
        assert set(said) == {sentence(one) for one in own} and len(about.rows) == sum(one.a == leader for one in own)
        for one in own:
            row = said[sentence(one)]
            assert row[2].text == ("<0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}")
            assert float(row[1].text.replace("\u2212", "-")) == pytest.approx(one.difference, abs=0.006)
    words = " ".join(row[0].text for grid in grids for row in grid.rows)
    for verdict in ("is better than", "is worse than", "are equivalent", "is undecided"):
        assert verdict in words


def test_very_many_claims_are_signs_that_mirror_each_other():
    given = facts(labels=FEW, sizes=("all",))
    names = [name for name in given["methods"] if name not in FLOORS]
    pairs = list(itertools.combinations(names, 2)) * 3
    given["claims"] = [
        claim_of("intent", ("minilm", "all", "separate"), a, b, 3 * draw - 4)
        for draw, (a, b) in enumerate(pairs[: len(names) * (len(names) - 1) // 2])
    ]
    results = Results.model_validate(given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trunkline.studies.report.claims.MOST", 10)
        about, signs = claims(results)
    leader = best_on_validation(given, "intent")
    assert all(leader in row[0].text for row in about.rows) and len(about.rows) == len(names) - 1
    shown = [row[0].text.partition(" ")[2] for row in signs.rows]
    assert leader not in shown and signs.columns == ["method", *map(str, range(1, len(shown) + 1))]
    turned = {">": "<", "<": ">", "=": "=", "?": "?", "": ""}
    for i, j in itertools.product(range(len(shown)), repeat=2):
        assert signs.rows[i][j + 1].text == turned[signs.rows[j][i + 1].text]
    for one in results.claims:
        if leader not in (one.a, one.b):
            assert signs.rows[shown.index(one.a)][shown.index(one.b) + 1].text == SIGNS[one.verdict]


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(("better", "worse", "equivalent", "undecided")),
    st.floats(-50, 50),
    st.floats(0, 5),
    st.floats(-1, 1),
)
def test_a_claim_turned_twice_is_the_same_and_once_has_the_other_sign(verdict, difference, width, effect):
    claim = ClaimFacts(
        task="t", trunk="m", size="all", regime="separate", a="x", b="y", difference=difference,
        interval=(difference - width, difference + width), p=0.1, p_holm=0.2, effect=effect, verdict=verdict,
    )  # fmt: skip
    other = claim.about("y")
    assert (other.a, other.b) == ("y", "x") and other.about("x") == claim == claim.about("x")
    assert other.difference == -difference and other.interval == (-difference - width, -difference + width)
    assert {claim.verdict, other.verdict} in ({"better", "worse"}, {"equivalent"}, {"undecided"})


def test_what_is_to_be_known_first_is_said(several):
    said = noticed(several)
    assert len(said) == 2 and said[-1].startswith("The methods do not search")
    assert "methods not shown to be better than a floor somewhere" in said[0]  # too many for a sentence each
    given = facts(labels=FEW, sizes=("all",)) | {"finished": False}
    given["below_floor"] = given["below_floor"][:2]
    said = noticed(Results.model_validate(given))
    assert said[0].startswith("The study is not finished")
    assert [f"{one['sentence']}." for one in given["below_floor"]] == said[1:3]
    assert dict(told(several))["methods"] == "8, and 3 floors" and dict(told(several))["trunk"] == "minilm, mpnet"


def without_results(failed):
    """A study of which no run has a result, none tried yet or all failed."""
    given = facts(labels=FEW, sizes=("all",))
    cells = [cell for cell in given["cells"] if not cell["floor"]]
    for cell in cells:
        cell["tasks"], cell["cost"], cell["settings"] = {}, {}, None
        cell["failed"] = {f"{cell['method']}, seed 0": "the loss is nan"} if failed else {}
    methods = {cell["method"]: given["methods"][cell["method"]] for cell in cells}
    return given | {
        "cells": cells, "methods": methods, "claims": [], "below_floor": [], "fronts": {}, "break_even": None, "data": {},
        "tasks": {}, "finished": False, "findings": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (False, "No run has a result yet, so there is nothing to compare."),
        (True, "No run has a result: 8 runs failed, for the reasons below. The same command tries them again."),
    ],
)
def test_a_study_without_results_says_so_and_shows_no_empty_table(failed, said, tmp_path):
    results = Results.model_validate(without_results(failed))
    assert noticed(results) == [said] and quality(results) == [] and "seeds" not in dict(told(results))
    (tmp_path / "results.json").write_text(json.dumps(without_results(failed)))
    found = report(tmp_path)
    assert found.findings == [said] and found.left_out["Quality"] == "no method has a result"
    assert ("Failed runs" in found.left_out) != failed and not (tmp_path / "report" / "latex").exists()


def test_an_unfinished_study_tells_failed_runs_from_those_that_are_ahead():
    given = facts(labels=FEW, sizes=("all",)) | {"finished": False}
    assert noticed(Results.model_validate(given))[0] == (
        "The study is not finished: 1 run failed, for the reasons below; what else is missing here has not been trained yet."
    )


def test_one_method_is_not_compared_with_itself():
    given = facts(labels=FEW, sizes=("all",))
    given["cells"] = [cell for cell in given["cells"] if cell["method"] == "probe"]
    given |= {"methods": {"probe": given["methods"]["probe"]}, "claims": [], "below_floor": []}
    given["fronts"] = {"intent": {"seconds": ["probe"]}}
    results = Results.model_validate(given)
    for said in in_short(results):
        assert said.endswith(" on test; there is no other method to compare it with.")
        assert "best" not in said and "highest" not in said
    assert front_pictures(results) == []
    [grid] = quality(results)
    assert not any(cell.strong for row in grid.rows for cell in row) and not any("Bold" in line for line in grid.legend)


def test_search_and_failures_say_which_settings_were_kept_and_why_runs_failed(several):
    (table,) = searched(several).tables
    kept = [row for row in table.rows if row[-1] == "kept"]
    assert len(table.rows) == 2 * len(kept) and all(row[2] == "learning_rate 0.01" for row in kept)
    (table,) = failures(several).tables
    assert table.rows == [
        ("full", "mpnet, all rows", "full, learning_rate 0.001, seed 4", "RuntimeError: out of memory"),
    ]
    given = facts(labels=FEW)
    for one in given["cells"]:
        one["failed"], one["searched"] = {}, one["searched"][:1]
    results = Results.model_validate(given)
    assert searched(results).left_out and failures(results).left_out


def test_hardware_is_told_once_or_for_each_machine_with_its_runs():
    given = facts(labels=FEW, sizes=("all",), seeds=2)
    tables = {table.name: table for table in machine(Results.model_validate(given)).tables}
    assert {("processor", "Intel(R) Xeon(R) Processor"), ("cores", "2"), ("memory", "7.75 GiB")} <= set(
        tables["environment"].rows
    )
    every = [one["run"] for cell in given["cells"] for task in cell["tasks"].values() for one in task["by_seed"]]
    gpu = {"device": "cuda", "machine": {"processor": "AMD", "cores": 64, "gpu": "H200", "gpu_memory_bytes": 141 * 2**30}}
    own = sorted({run for run in every if "lora" in run})
    given["machines"] = [
        {"environment": given["environment"], "runs": sorted(set(every) - set(own)), "predictions": True},
        {"environment": gpu, "runs": own},
    ]
    results = Results.model_validate(given)
    section = machine(results)
    tables = {table.name: table for table in section.tables}
    assert "environment" not in tables and "not comparable" in section.note
    first, second = (dict(zip(tables["machines"].columns, row, strict=True)) for row in tables["machines"].rows)
    assert (first["cores"], first["gpu"], second["gpu"], second["gpu memory"]) == ("2", None, "H200", "141 GiB")
    assert first["measured"].endswith("runs, times of predictions") and second["measured"] == "2 runs"
    table = runs(results).tables[0]
    for row in (dict(zip(table.columns, row, strict=True)) for row in table.rows):
        assert row["machine"] == (2 if row["method"] == "lora" else 1)


def test_fronts_are_of_all_trunks_and_regimes_and_tell_them_apart():
    given = facts(labels=FEW, sizes=("all",), trunks=("minilm", "mpnet"), regimes=("separate", "joint"))
    pictures = {picture.numbers.name: picture for picture in front_pictures(Results.model_validate(given))}
    table = pictures["front_1_trained_parameters"].numbers
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    floors = [(row["method"], row["trunk"]) for row in rows if row["method"] in FLOORS]
    assert len(rows) == 4 * 8 + 2 * 3 and len(set(floors)) == len(floors)  # floors are the same in every regime
    front = [row for row in rows if row["on_front"]]
    expected = {
        tuple(one[key] for key in ("method", "trunk", "regime")) for one in given["fronts"]["intent"]["trained_parameters"]
    }
    assert {tuple(row[key] for key in ("method", "trunk", "regime")) for row in front} == expected
    for row in front:
        assert f"{row['method']} ({row['trunk']}, {row['regime']})" in pictures["front_1_trained_parameters"].alt
    alone = made(sizes=("all",))
    assert "(minilm" not in front_pictures(alone)[0].alt


def test_fronts_of_facts_with_names_alone_are_those_of_the_methods():
    given = facts(labels=FEW, sizes=("all",))
    names = {one["method"] for one in given["fronts"]["intent"]["seconds"]}
    given["fronts"] = {"intent": {"seconds": sorted(names)}}
    [picture] = front_pictures(Results.model_validate(given))
    assert {row[0] for row in picture.numbers.rows if row[-1]} == names


@pytest.mark.parametrize(
    ("shown", "value", "text"),
    [
        (numbers.score, 0.51234, "0.5123"), (numbers.score, 12345.6, "1.235e+04"), (numbers.score, None, "\u2013"),
        (numbers.points, -1.234, "\u22121.23"), (numbers.points, 0.5, "+0.50"), (numbers.probability, 0.0004, "<0.001"),
        (numbers.probability, 0.05, "0.050"), (numbers.size, 512, "512 B"), (numbers.size, 3 * 2**30, "3 GiB"),
        (numbers.seconds, 0.0123, "0.0123 s"), (numbers.percent, 0.5, "50 %"), (numbers.count, 1234.0, "1,234"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(shown, value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "found schema 2, expected 1"),
        ({"cells": []}, "cells: found none"),
        ({"cells": [{"method": "probe"}]}, r"cells.0.trunk: Field required"),
        ({"methods": {}}, "methods: 'adalayers' is missing"),
        ({"tasks": {}}, "tasks: 'intent' is missing"),
        ({"claims": [{"verdict": "perhaps"}]}, "claims.0"),
    ],
)
def test_damaged_facts_are_one_sentence(change, message, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(facts(labels=FEW, sizes=("all",)) | change))
    with pytest.raises(BadInput, match=message) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_study_with_nothing_finished_says_so(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(BadInput, match="none of this study is finished yet, so there is nothing to show; trunkline compare"):
        read_results(tmp_path)


def test_a_folder_without_facts_is_no_study(tmp_path):
    with pytest.raises(BadInput, match=r"results.json: no such file; expected the folder of a study"):
        read_results(tmp_path)
