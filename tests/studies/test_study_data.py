"""A study notices that its data are not what its runs were trained on, before it trains or shows anything."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from synthetic import write_rows

import trunkline.training.memory
from trunkline.data.sources import read_table
from trunkline.errors import FIT_AGAIN, TRAIN_AGAIN, BadInput
from trunkline.events import BatchEnded
from trunkline.studies import compare
from trunkline.studies.checks import check
from trunkline.studies.compare import run
from trunkline.studies.config import study_of
from trunkline.studies.estimates.forecasting import rehearse
from trunkline.studies.facts import facts
from trunkline.studies.floor_runs import train_floors
from trunkline.studies.plan import Plan
from trunkline.studies.readings import Readings, note_data, refuse_changed
from trunkline.studies.study import Study
from trunkline.studies.trunks import Trunks
from trunkline.studies.units import reason
from trunkline.training.own_folder import ANOTHER_FOLDER
from trunkline.training.prepare import prepare


def planned(trunk, folder, **changes):
    return Plan(
        study_of(
            {
                "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
                "data": {"train": str(folder / "rows.jsonl"), "validation": "20%", "test": str(folder / "test.jsonl")},
                "tasks": {"mood": {"kind": "sequence", "label": "label"}},
                "training": {"epochs": 1, "batch_tokens": 512, "learning_rate": 0.01, "patience": None},
                "methods": {"probe": None},
                "study": {"seeds": 2, "sizes": [30, "all"], "floors": False},
                **changes,
            }
        )
    )


@pytest.fixture(scope="module")
def finished(tiny_trunk_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder / "rows.jsonl", 80)
    write_rows(folder / "test.jsonl", 30, 9)
    study = Study(planned(tiny_trunk_dir, folder), folder / "study")
    study.train()
    return folder, study


@pytest.fixture
def data(finished):
    """The folder of the data, which are as they were once a test is over."""
    folder, _ = finished
    kept = {name: (folder / name).read_bytes() for name in ("rows.jsonl", "test.jsonl")}
    yield folder
    for name, content in kept.items():
        (folder / name).write_bytes(content)


def relabelled(file, row):
    """Give a row the label of another."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[row]["label"] = next(one["label"] for one in rows if one["label"] != rows[row]["label"])
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))


def without_the_last(lines):
    return "".join(lines.splitlines(True)[:-1])


def turned(lines):
    return "".join(reversed(lines.splitlines(True)))


def files(path):
    return {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.name not in ("results.json", "times.json")}


def test_a_finished_study_of_changed_data_is_refused_and_left_as_it_is(finished, data):
    _, study = finished
    for file, change, found in (
        (
            "rows.jsonl",
            lambda file: file.write_text(without_the_last(file.read_text())),
            "63 rows of train, then 64",
        ),
        ("test.jsonl", lambda file: relabelled(file, 4), "as many rows, but other texts or labels, or in another order"),
        ("test.jsonl", lambda file: file.write_text(turned(file.read_text())), "another order"),
    ):
        kept = (data / file).read_bytes()
        change(data / file)
        before = files(study.path)
        for again in (lambda: run(study, None), lambda: rehearse(study)):
            with pytest.raises(BadInput) as caught:
                again()
            said = str(caught.value)
            assert f"{data / file}: is not what runs in {study.path} were trained on (found " in said and found in said
            assert said.endswith("expected the data as they were, or another folder (--out)") and "\n" not in said
        assert files(study.path) == before
        (data / file).write_bytes(kept)
    assert run(study, None).summary["finished"]


def test_a_row_that_only_some_runs_have_drawn_is_noticed_where_it_is_one_of_theirs(tiny_trunk_dir, finished, data, tmp_path):
    """Of the runs on 30 rows, each draws its own: what no run has read may change."""
    folder, _ = finished
    drawn = planned(tiny_trunk_dir, folder, study={"seeds": 2, "sizes": [30], "floors": False})
    study = Study(drawn, tmp_path / "study")
    study.train()
    runs = [*drawn.searches(), *drawn.repeats(study.chosen())]
    assert len(runs) == 2
    read = [{text for split in prepare(one.config)[0].splits.values() for text in split.corpus.texts} for one in runs]
    rows = [json.loads(line) for line in (data / "rows.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows]
    none = next(place for place, text in enumerate(texts) if text not in read[0] | read[1])
    second = next(place for place, text in enumerate(texts) if text in read[1] - read[0])
    for place, noticed in ((none, False), (second, True)):
        changed = [{**row, "text": row["text"] + " anew"} if number == place else row for number, row in enumerate(rows)]
        (data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
        if noticed:
            with pytest.raises(BadInput, match="as many rows, but other texts or labels"):
                run(study, None)
        else:
            assert run(study, None).summary["finished"]


def test_baselines_are_of_the_same_data_too(tiny_trunk_dir, finished, data, tmp_path):
    folder, _ = finished
    plan = planned(tiny_trunk_dir, folder, study={"seeds": 1})
    study = Study(plan, tmp_path / "study")
    run(study, None)
    for one in plan.searches():
        shutil.rmtree(study.place(one))  # stopped before the first run was finished
    relabelled(data / "rows.jsonl", 3)
    with pytest.raises(BadInput, match=r"rows.jsonl: is not what simple baselines in .* were fitted on"):
        run(study, None)


def test_facts_say_where_runs_have_been_trained_on_different_data(finished, tmp_path):
    _, study = finished
    other = Study(study.plan, tmp_path / "study")
    shutil.copytree(study.path, other.path)
    assert not facts(other)["findings"]
    [*_, last] = other.plan.repeats(other.chosen())
    file = other.place(last) / "result.json"
    result = json.loads(file.read_text())
    file.write_text(json.dumps({**result, "digests": {**result["digests"], "validation": "0" * 64}}))
    [said] = facts(other)["findings"]
    assert said.startswith("the validation split was not the same in all runs: another one in probe, seed 1, so scores are not")


def test_each_source_is_read_once_for_all_sizes_and_seeds(finished, monkeypatch):
    _, study = finished
    read = []
    monkeypatch.setattr(
        trunkline.training.memory, "read_table", lambda source, **more: read.append(source) or read_table(source, **more)
    )
    plan = Plan(study.plan.config)
    read.clear()
    found = check(plan)
    assert {size: len(groups[0].splits["train"].corpus) for size, groups in found.items()} == {"30": 30, "all": 64}
    assert sorted(name.rpartition("/")[2] for name in read) == ["rows.jsonl", "test.jsonl"]


def test_data_that_changed_before_any_run_was_finished_are_refused_in_words_of_a_study(finished, data, tmp_path):
    _, before = finished
    study = Study(before.plan, tmp_path / "study")
    study.claim()
    note_data(study, Readings())
    kept = (data / "test.jsonl").read_bytes()
    relabelled(data / "test.jsonl", 4)
    refuse_changed(study, Readings())  # nothing was begun
    (study.path / "stacks" / "some").mkdir()
    with pytest.raises(BadInput, match=r"test.jsonl: is not what runs in .* were begun on \(found as many rows, .*--out\)$"):
        run(study, None)
    (data / "test.jsonl").write_bytes(kept)
    refuse_changed(study, Readings())


@pytest.mark.parametrize(
    ("changed", "said"),
    [("model.safetensors", "other weights"), ("config.json", "other settings of the model"), ("tokenizer.json", "tokenizer")],
)
def test_a_folder_that_holds_another_trunk_under_the_same_name_is_refused(tmp_path, finished, tiny_trunk_dir, changed, said):
    folder, _ = finished
    trunk = shutil.copytree(tiny_trunk_dir, tmp_path / "trunk")
    study = Study(planned(trunk, folder, study={"seeds": 1, "floors": False}), tmp_path / "study")
    study.train()
    Trunks(study).refuse_changed()
    file = trunk / changed
    if file.suffix == ".safetensors":
        with_other_weights(trunk)
    else:
        values = json.loads(file.read_text())
        if changed == "config.json":
            values["layer_norm_eps"] = 1e-3
        else:
            vocabulary = values["model"]["vocab"]
            last, other = sorted(vocabulary, key=vocabulary.get)[-2:]
            vocabulary[last], vocabulary[other] = vocabulary[other], vocabulary[last]
        file.write_text(json.dumps(values))
    kept = files(study.path)
    for again in (lambda: run(study, None), lambda: rehearse(study)):
        with pytest.raises(BadInput) as caught:
            again()
        assert f"{trunk}: is not the trunk that runs in {study.path} were trained on (found " in str(caught.value)
        assert said in str(caught.value) and str(caught.value).endswith("or another folder (--out)")
    assert files(study.path) == kept


def with_other_weights(trunk):
    tensors = load_file(file := trunk / "model.safetensors")
    name = min(tensors)
    save_file({**tensors, name: tensors[name] + 1}, file, metadata={"format": "pt"})


def test_a_trunk_that_changed_before_any_run_was_finished_is_refused_before_one_is_tried(
    signalled, finished, tiny_trunk_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(compare, "measure", lambda *arguments: False)  # takes longer than all the rest
    folder, _ = finished
    trunk = shutil.copytree(tiny_trunk_dir, tmp_path / "trunk")
    study = Study(planned(trunk, folder, study={"seeds": 1, "floors": False}), tmp_path / "study")

    def stop(event):
        if isinstance(event, BatchEnded):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(study, None, subscribers=[stop])
    Trunks(study).refuse_changed()
    with_other_weights(trunk)
    kept = files(study.path)
    for again in (lambda: run(study, None), lambda: rehearse(study)):
        with pytest.raises(BadInput) as caught:
            again()
        assert str(caught.value) == (
            f"{trunk}: is not the trunk that runs in {study.path} were begun on (found other weights); "
            "expected the trunk as it was, or another folder (--out)"
        )
    assert files(study.path) == kept
    study.train()  # unchecked, a run that fails says why in words of a study, which has no --fresh
    why = {study.failure(run) for run in study.plan.searches()} - {None}
    assert why and all(one.endswith("another trunk; train in another folder (--out)") for one in why)


def test_a_trunk_may_change_until_something_was_made_with_it(finished, tiny_trunk_dir, tmp_path):
    folder, _ = finished
    trunk, other = (shutil.copytree(tiny_trunk_dir, tmp_path / name) for name in ("trunk", "other"))
    study = Study(planned(trunk, folder, study={"seeds": 1, "sizes": [30]}), tmp_path / "study")
    study.claim()
    Trunks(study).note()
    with_other_weights(trunk)
    Trunks(study).refuse_changed()
    Trunks(study).note()
    train_floors(study)
    Trunks(Study(planned(other, folder), study.path)).note()  # by an override; what is noted of the other one stays
    Trunks(study).refuse_changed()
    with_other_weights(trunk)
    with pytest.raises(
        BadInput, match=r"trunk: is not the trunk that simple baselines in .*study were fitted on \(found other"
    ):
        Trunks(study).refuse_changed()
    with_other_weights(other)
    Trunks(Study(planned(other, folder), study.path)).refuse_changed()


def test_options_of_fit_stand_apart_from_what_is_wrong_wherever_an_error_names_them():
    """So that a study can say its own: only as `option` of an error, never within its problem or its remedy."""
    options, found = {"TRAIN_AGAIN", "FIT_AGAIN", "ANOTHER_FOLDER"}, set()
    for file in Path(trunkline.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert "(fresh=True" not in text or file.name == "errors.py", file
        if not any(option in text for option in options):
            continue
        nodes, apart = list(ast.walk(ast.parse(text))), set()
        used = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in options]
        for node in nodes:
            match node:
                case ast.keyword(arg="option", value=value) | ast.Assign(targets=[ast.Attribute(attr="option")], value=value):
                    apart |= {id(part) for part in ast.walk(value)}
                case ast.Dict(keys=keys, values=values):
                    named = zip(keys, values, strict=True)
                    apart |= {id(value) for key, value in named if isinstance(key, ast.Constant) and key.value == "option"}
        assert {id(node) for node in used} <= apart, file
        found |= {node.id for node in used}
    assert found == options
    for option in (TRAIN_AGAIN, FIT_AGAIN, ANOTHER_FOLDER):
        assert reason(BadInput("a: gone", remedy="restore it", option=option)) == (
            "a: gone; restore it, or train in another folder (--out)"
        )


def test_answers_that_are_gone_are_told_in_words_of_a_study(finished, tmp_path):
    _, before = finished
    study = Study(before.plan, tmp_path / "study")
    shutil.copytree(before.path, study.path)
    file = next(study.path.glob("runs/*/answers/mood.safetensors"))
    file.unlink()
    with pytest.raises(BadInput) as caught:
        facts(study)
    assert str(caught.value) == (
        f"{file}: no such file; expected the answers of a run with a test split; restore it, or train in another folder (--out)"
    )
