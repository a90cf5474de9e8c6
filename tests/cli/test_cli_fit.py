import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clitools import done, fails, invoke, made_up, write_csv, write_jsonl

from trunkline.cli.fit import guessed
from trunkline.training.config import load_config

TASKS = "tasks: {mood: {kind: sequence, label: mood}}\n"


def test_a_csv_file_becomes_tasks_of_the_right_kinds_and_a_run(tmp_path, tiny_overrides):
    write_csv(tmp_path / "reviews.csv", made_up(240))
    result = done("fit", "reviews.csv", *tiny_overrides, "--json")
    summary = json.loads(result.stdout)
    assert {name: task["kind"] for name, task in summary["tasks"].items()} == {
        "mood": "sequence", "score": "regression", "topics": "multilabel"
    }  # fmt: skip
    assert 0 <= summary["tasks"]["mood"]["test"]["accuracy"] <= 1 and "pearson" in summary["tasks"]["score"]["test"]
    assert summary["cost"]["trained_parameters_total"] == sum(summary["cost"]["trained_parameters"].values()) > 0
    assert summary["rows"] == {"train": 192, "validation": 24, "test": 24}
    for said in ("'review' is the text", "'mood' is a sequence task", "'id' is not used", "trunkline init reviews.csv"):
        assert said in result.stderr
    run = Path(summary["run"])
    assert run.parent == Path("runs") and run.name.startswith("reviews-")
    assert {folder.name for folder in (run / "branches").iterdir()} == {"mood", "score", "topics"}
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["epochs"] == 3

    again = done("fit", "reviews.csv", *tiny_overrides)  # the same run: shown, not trained
    assert "already completed" in again.stderr and "epoch" not in again.stderr
    assert "accuracy" in again.stdout and "reads layer" in again.stdout and str(run) in again.stdout


def test_progress_goes_to_stderr_and_the_table_to_stdout(tmp_path, tiny_overrides):
    write_jsonl(tmp_path / "rows.jsonl", made_up(150))
    (tmp_path / "rows.yaml").write_text("data: {train: rows.jsonl, test: 20%}\n" + TASKS)
    result = done("fit", "rows.yaml", *tiny_overrides, "--run-dir", "here")
    for said in ("task mood: sequence, 2 labels", "layer states of train", "epoch 1/3", "epoch 3/3", "mood accuracy"):
        assert said in result.stderr and said not in result.stdout
    summary = json.loads((tmp_path / "here" / "result.json").read_text())
    assert f"{summary['tasks']['mood']['test']['accuracy']:.4f}" in result.stdout
    assert f"{summary['cost']['trained_parameters_total']:,} weights" in result.stdout
    fresh = done("fit", "rows.yaml", *tiny_overrides, "--run-dir", "here", "--fresh")
    assert "epoch 3/3" in fresh.stderr
    assert json.loads((tmp_path / "here" / "result.json").read_text())["tasks"] == summary["tasks"]


@pytest.mark.parametrize("test", ["", ", test: 20%"])
def test_the_commands_to_go_on_with_can_be_typed_as_they_are_shown(tmp_path, tiny_overrides, test):
    write_jsonl(tmp_path / "my rows.jsonl", made_up(80))
    (tmp_path / "rows.yaml").write_text(f"data: {{train: my rows.jsonl{test}}}\n" + TASKS)
    lines = done("fit", "rows.yaml", *tiny_overrides, "training.epochs=1", "--run-dir", "my run's").stderr.splitlines()
    typed = [shlex.split(line.partition("trunkline ")[2]) for line in lines if re.match(r"(predict|details|a branch): ", line)]
    scored = [["evaluate", "my run's"]] if test else []
    assert typed == [["predict", "my run's", "--text", "..."], *scored, ["info", "my run's/branches/mood"]]
    for command in typed:
        done(*command)


def test_commands_that_name_a_source_or_a_config_can_be_typed_as_they_are_shown(tmp_path, tiny_overrides):
    write_csv(tmp_path / "my rows.csv", made_up(80))
    said = done("fit", "my rows.csv", *tiny_overrides, "training.epochs=1").stderr
    assert "trunkline init 'my rows.csv', edit" in said
    said = done("init", "my rows.csv", "-o", "my config.yaml").stderr
    assert shlex.split(said.partition("trunkline ")[2]) == ["fit", "my config.yaml"]
    comment = next(
        line for line in (tmp_path / "my config.yaml").read_text().splitlines() if line.startswith("#     trunkline")
    )
    assert shlex.split(comment.partition("trunkline ")[2]) == ["fit", "my config.yaml"]


def test_evaluations_within_an_epoch_are_told_by_step(tmp_path, tiny_overrides):
    write_jsonl(tmp_path / "rows.jsonl", made_up(150))
    (tmp_path / "rows.yaml").write_text("data: {train: rows.jsonl}\n" + TASKS)
    result = done("fit", "rows.yaml", *tiny_overrides, "training.evaluate_every=2", "training.epochs=1", "training.states=live")
    assert "step 2 " in result.stderr and "step 4 " in result.stderr and "layer states" not in result.stderr


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("data: {train: rows.jsonl}\ntask: {}\n" + TASKS, "bad.yaml: task: unknown name 'task'; did you mean 'tasks'?"),
        (
            "data: {train: rows.jsonl}\n" + TASKS + "training: {epoch: 3}",
            "training.epoch: unknown name 'epoch'; did you mean 'epochs'?",
        ),
        ("data: {train: rows.jsonl}\n" + TASKS + "method: adalayer", "did you mean 'adalayers'?"),
        ("data: {train: rows.jsonl}\n" + TASKS.replace("label: mood", "label: moods"), "did you mean 'mood'?"),
        ("data: {train: rows.jsonl, text: txt}\n" + TASKS, "did you mean 'text'?"),
        ("data: {train: ./row.jsonl}\n" + TASKS, "did you mean 'rows.jsonl'?"),
        ("data: {train: rows.jsonl}\n", "bad.yaml: tasks: missing"),
        ("data: {train: rows.jsonl}\n" + TASKS + "training: {epochs: many}", "training.epochs: found 'many'"),
        ("data: [\n", "bad.yaml line 2: not YAML"),
        ("- data\n", "bad.yaml: found a list, expected a mapping"),
        ("data: {train: rows.jsonl, test: other.jsonl, unseen_labels: refuse}\n" + TASKS, "other.jsonl line 2"),
        ("data: {train: rows.jsonl}\ntrunk: ./nowhere\n" + TASKS, "nowhere"),
    ],
)
def test_a_bad_config_is_one_sentence_and_exit_code_2(tmp_path, config, sentence):
    rows = made_up(40)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "other.jsonl", [rows[0], {**rows[1], "mood": "neutral"}])
    (tmp_path / "bad.yaml").write_text(config)
    found = fails(2, "fit", "bad.yaml")
    assert sentence in found
    assert not (tmp_path / "runs").exists()


def test_other_bad_input_is_one_sentence_too(tmp_path):
    write_csv(tmp_path / "reviews.csv", made_up(40))
    (tmp_path / "texts.csv").write_text("id,note\n1,one thing said here\n2,another thing there\n")
    (tmp_path / "broken.jsonl").write_text('{"text": "a film", "mood": "x"}\n{"text": \n')
    (tmp_path / "latin.csv").write_bytes(b"text,label\ncaf\xe9,a\n")
    assert "did you mean 'reviews.csv'?" in fails(2, "fit", "review.csv")
    assert "missing.yaml: no such file" in fails(2, "fit", "missing.yaml")
    assert "expected key.sub=value" in fails(2, "fit", "reviews.csv", "other.csv")
    assert "'epochs'" in fails(2, "fit", "reviews.csv", "training.epoch=3")
    assert "expected one, or a config" in fails(2, "fit", "texts.csv")
    assert "broken.jsonl line 2" in fails(2, "fit", "broken.jsonl")
    assert "latin.csv line 2" in fails(2, "fit", "latin.csv")


def test_validation_and_test_data_of_a_guessed_config(tmp_path, tiny_overrides):
    rows = made_up(120)
    (tmp_path / "reviews").mkdir()
    for name, some in {"train": rows[:80], "dev no 1": rows[80:95], "yes": rows[95:]}.items():
        write_csv(tmp_path / "reviews" / f"{name}.csv", some)
    options = ["--validation", "reviews/dev no 1.csv", "--test", "reviews/yes.csv", "training.epochs=1", "--json"]
    summary = json.loads(done("fit", "reviews/train.csv", *options, *tiny_overrides).stdout)
    assert summary["rows"] == {"train": 80, "validation": 15, "test": 25}
    assert Path(summary["run"]).name.startswith("reviews-")


@pytest.mark.parametrize(
    ("share", "parsed"), [("20%", 0.2), ("0.2", 0.2), ("yes", "yes"), ("[x", "[x"), ("owner/set:test", "owner/set:test")]
)
def test_options_that_name_data_are_overrides_whatever_yaml_makes_of_them(share, parsed):
    from trunkline.cli.fit import _split_overrides
    from trunkline.training.config import resolve
    from trunkline.training.overrides import override

    overrides = _split_overrides(validation=share, test=None)
    values = {"data": {"train": "snips"}, "tasks": {"intent": {"kind": "sequence", "label": "label"}}}
    assert resolve(override(values, overrides), overrides=overrides).data.validation == parsed


def test_a_missing_file_is_compared_with_others_without_their_suffix(tmp_path):
    for name in ("notes.csv", "reviews.csv", "films.jsonl"):
        (tmp_path / name).write_text("text,label\n")
    assert fails(2, "fit", "nosuch.csv").endswith("nosuch.csv: no such file in '.'")
    for typed, meant in {"review.csv": "reviews.csv", "Reviews.tsv": "reviews.csv", "films.csv": "films.jsonl"}.items():
        assert fails(2, "fit", typed).endswith(f"did you mean {meant!r}?")
    assert fails(2, "fit", "reviews").endswith("did you mean 'reviews.csv'?")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("text,label\n")
    assert fails(2, "fit", "data/trian.csv").endswith("did you mean 'data/train.csv'?")


def test_no_text_of_the_user_is_in_an_error(tmp_path):
    (tmp_path / "secret.csv").write_text("text,label\n" + "a secret that nobody may read,x\n" * 4 + '"an open quote,y\n')
    assert "secret that" not in fails(2, "fit", "secret.csv")


def test_an_unforeseen_error_names_its_place_and_shows_its_traceback_on_demand(tmp_path, monkeypatch, tiny_overrides):
    def breaks(*_, **__):
        raise KeyError("a user's own words")

    write_csv(tmp_path / "reviews.csv", made_up(40))
    monkeypatch.setattr("trunkline.training.given.guess_columns", breaks)
    result = invoke("fit", "reviews.csv", *tiny_overrides)
    assert result.exit_code == 1 and "own words" not in result.stderr
    assert "unexpected KeyError in given.py line" in result.stderr and "--debug" in result.stderr
    debug = invoke("fit", "reviews.csv", *tiny_overrides, "--debug")
    assert debug.exit_code == 1 and "Traceback" in debug.stderr and "KeyError" in debug.stderr


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path, tiny_overrides, environment):
    write_csv(tmp_path / "reviews.csv", made_up(150))
    arguments = ["fit", "reviews.csv", *tiny_overrides, "training.epochs=8", "--json"]
    command = [Path(sys.executable).with_name("trunkline"), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("epoch 2/8"):
            os.kill(process.pid, signal.SIGINT)
    stdout, code = process.stdout.read(), process.wait(timeout=60)
    assert (code, stdout) == (130, ""), seen
    assert "rerun the same command to resume" in seen[-1] and "Traceback" not in "".join(seen)
    after = done(*arguments)  # here, as another process would only import the same again
    assert "resuming after step" in after.stderr
    assert len(json.loads(after.stdout)["cost"]["epochs"]) == 8


def test_the_format_of_a_file_can_be_named(tmp_path):
    (tmp_path / "eng.train").write_text("".join(f"word{n} X\nother Y\n\n" for n in range(20)))
    given = guessed("eng.train", [], "conll")
    config, name = given.config, given.name
    assert (config.data.format, name) == ("conll", "eng") and config.tasks["tags"].tags == "tags"
    done("init", "eng.train", "--format", "conll", "-o", "made.yaml")
    assert load_config("made.yaml").tasks == config.tasks and load_config("made.yaml").data.format == "conll"
    assert "unknown suffix" in fails(2, "fit", "eng.train")
    assert "expected data.format=conll instead" in fails(2, "fit", "made.yaml", "--format", "conll")


def test_columns_of_labels_and_of_the_texts_can_be_named(tmp_path):
    write_csv(tmp_path / "rows.csv", made_up(60))
    given = guessed("rows.csv", [], label=["mood"], text="review")
    assert list(given.config.tasks) == ["mood"] and given.config.data.text == "review"
    assert list(guessed("rows.csv", [], label=["mood", "topics"]).config.tasks) == ["mood", "topics"]
    assert list(guessed("rows.csv", ["tasks.score=null"]).config.tasks) == ["mood", "topics"]
    assert "did you mean 'mood'?" in fails(2, "fit", "rows.csv", "--label", "moods")
    assert "did you mean 'score'?" in fails(2, "fit", "rows.csv", "tasks.scores=null")
    (tmp_path / "rows.yaml").write_text("data: {train: rows.csv, text: review}\n" + TASKS)
    assert "expected data.text=x instead" in fails(2, "fit", "rows.yaml", "--text", "x")
    assert "found --label with a config" in fails(2, "fit", "rows.yaml", "--label", "mood")


def test_help_is_not_offered_for_every_unknown_option(tmp_path):
    result = invoke("fit", "rows.csv", "--hello", "1")
    assert result.exit_code == 2 and "unknown option --hello" in result.stderr and "Possible" not in result.stderr


def test_how_a_file_was_read_is_told_before_its_columns_and_once(tmp_path, tiny_overrides):
    rows = [f"{row['text']};{row['mood']}\n" for row in made_up(60)]
    (tmp_path / "rows.csv").write_text("text;mood\n" + "".join(rows))
    said = done("fit", "rows.csv", *tiny_overrides, "training.epochs=1").stderr
    assert said.count("semicolons") == 1 and said.index("rows.csv: the cells") < said.index("'text' is the text")


def test_a_file_of_a_config_is_named_as_one_types_it(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "mood": "b"}\n{"text"\n')
    (tmp_path / "rows.yaml").write_text("data: {train: rows.jsonl}\n" + TASKS)
    assert fails(2, "fit", "rows.yaml").startswith("rows.jsonl line 2")
