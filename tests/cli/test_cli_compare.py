"""`trunkline compare`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from clitools import done, fails, made_up, write_csv, write_jsonl

CONFIG = """
data: {train: rows.jsonl, validation: 20%, test: 20%}
tasks:
  mood: {kind: sequence, label: mood}
training: {epochs: 2, batch_tokens: 256}
methods:
  probe:
  broken: {method: {name: single_layer, layer: 1, dim: 8, heads: 2}, training: {learning_rate: 1e30, clip_norm: null}, tune: {}}
study: {seeds: 1, tune: {learning_rate: [1e-3, 1e-2]}, floors: false}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_overrides):
    """The folder with a config, the overrides for a tiny trunk, and what the command said of it."""
    folder = tmp_path_factory.mktemp("compare")
    write_jsonl(folder / "rows.jsonl", made_up(60))
    (folder / "moods.yaml").write_text(CONFIG)
    overrides = [one for one in tiny_overrides if one.startswith("trunk")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TRUNKLINE_CACHE", str(folder / "cache"))
        return folder, overrides, done("compare", "moods.yaml", *overrides)


def test_a_study_is_a_table_for_each_task_and_a_line_for_each_unit(study):
    folder, _, said = study
    table = [line.split() for line in said.stdout.splitlines()]
    assert table[0] == ["mood:", "accuracy"]
    assert table[2] == ["method", "learning_rate", "validation", "test", "seconds", "trained"]
    [probe, broken] = [row for row in table if row and row[0] in ("probe", "broken")]
    assert probe[1] in ("0.001", "0.01") and broken[1:] == ["-", "failed", "-", "-"]
    run = next(
        line.rpartition(" ")[2] for line in said.stderr.splitlines() if line.startswith("best on validation for mood: probe")
    )
    result = json.loads((folder / run / "result.json").read_text())
    assert probe[2:4] == [f"{result['tasks']['mood'][split]['accuracy']:.4f}" for split in ("validation", "test")]
    assert probe[-1] == str(result["cost"]["trained_parameters_total"])
    lines = said.stderr.splitlines()
    assert lines[:2] == ["compare moods.yaml: loading libraries", "reading the data"]
    assert any(re.fullmatch(r"measuring a few batches of probe and 1 more \(1 of \d\)", line) for line in lines)
    assert any(line.startswith("probe, broken (3 runs together); 0 of 3 runs done") for line in lines)
    assert [
        line.partition(": the loss")[0] for line in lines + said.stdout.splitlines() if "the loss of task mood" in line
    ] == [
        "  failed: broken",
        "failed: broken, seed 0",
    ]
    assert lines[-1] == "the study is in studies/moods; the same command resumes it"
    assert any(re.match(r"training took .* were estimated", line) for line in lines)
    assert not any(ord(letter) < 32 for line in [*lines, *said.stdout.splitlines()] for letter in line)


def test_json_is_one_object_and_the_rest_is_said_on_stderr(study, monkeypatch):
    folder, overrides, before = study
    monkeypatch.chdir(folder)
    said = done("compare", "moods.yaml", *overrides, "--json")
    found = json.loads(said.stdout)
    lines = said.stderr.splitlines()
    assert lines[:2] == ["compare moods.yaml: loading libraries", "reading the data"]
    assert any(re.match(r"(probe, )?broken.*; \d of 3 runs done", line) for line in lines)
    assert any(line.startswith("  failed: broken") for line in lines)
    assert not any(line.startswith("the study is in") for line in lines)  # that and the table are in the object
    assert not found["finished"] and [bool(cell["failed"]) for cell in found["cells"]] == [False, True]
    assert f"{found['cells'][0]['tasks']['mood']['test']:.4f}" in before.stdout


def test_a_dry_run_shows_the_plan_and_leaves_the_folder_alone(study, monkeypatch):
    folder, overrides, _ = study
    monkeypatch.chdir(folder)
    kept = {path: path.stat().st_mtime_ns for path in (folder / "studies").rglob("*")}
    said = done("compare", "moods.yaml", *overrides, "study.seeds=2", "--dry-run")
    rows = [line.split() for line in said.stdout.splitlines()]
    assert ["probe", "2", "2", "3"] in rows and ["broken", "1", "2", "2"] in rows  # settings, seeds, runs
    units = [row for row in rows if row and row[-1] in ("s", "min", "unknown")]
    assert units[0][-2:] == ["1", "unknown"] and units[1][-3] == "2"  # what has failed, and the second seed of both
    facts = {row[0]: row[1:] for row in rows if row}
    assert facts["time"][:5] == ["2", "of", "5", "runs", "done;"] and facts["memory"][0] == "about" and facts["on"][-2:]
    assert said.stderr.splitlines()[-1] == "nothing was trained; without --dry-run the same command does"
    assert {path: path.stat().st_mtime_ns for path in (folder / "studies").rglob("*")} == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["moods.yaml", "study.seeds=0"], "override 'study.seeds=0': study.seeds: "),
        (["moods.yaml", "study.sizes=[9999]"], "found 9999, but"),
        (["moods.yaml", "tasks.mood.metric=bleu"], "bleu"),
        (["moods.yaml", "--out", "rows.jsonl"], "rows.jsonl: is a file; expected a new or empty folder, or that of a study"),
        (["nowhere.yaml"], "nowhere.yaml: no such file; expected a YAML config of a study"),
        (["moods.yaml", "rows.jsonl"], "rows.jsonl: found a second source after moods.yaml"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(arguments, message, study, monkeypatch):
    folder, overrides, _ = study
    monkeypatch.chdir(folder)
    before = set(folder.rglob("*"))
    assert message in fails(2, "compare", arguments[0], *overrides, *arguments[1:])
    assert set(folder.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(study, monkeypatch):
    folder, overrides, _ = study
    monkeypatch.chdir(folder)
    assert fails(2, "compare", "moods.yaml", *overrides, "--out", "rows.jsonl/study").endswith("(Not a directory)")


@pytest.mark.slow
def test_a_data_file_is_compared_without_a_config(tiny_overrides):
    write_csv(Path("moods.csv"), made_up(80))
    tiny = [one for one in tiny_overrides if one.startswith("trunk")]
    small = ["training.epochs=1", "study.seeds=1", "tasks.score=null", "tasks.topics=null"]
    said = done("compare", "moods.csv", *tiny, *small)
    assert {"probe", "adalayers", "lora"} <= {line.split()[0] for line in said.stdout.splitlines() if line.strip()}
    assert "the study is in studies/moods" in said.stderr and "'mood'" in said.stderr
