import json
import shutil
from pathlib import Path

import pytest
from clitools import done, fails, made_up, write_jsonl
from sklearn.metrics import accuracy_score, f1_score

from trunkline.cli.common import below
from trunkline.data.table import Table
from trunkline.training import scoring
from trunkline.training.config import load_config
from trunkline.training.prepare import prepare


def test_the_runs_own_test_split_gives_the_scores_of_the_run(trained):
    found = json.loads(done("evaluate", trained, "--json").stdout)["tasks"]
    summary = json.loads((trained / "result.json").read_text())
    assert set(found) == set(summary["tasks"])
    for name, task in summary["tasks"].items():
        assert found[name]["rows"] == 60
        assert found[name]["metrics"].get("by_label") == task["test"].get("by_label")
        for metric, value in found[name]["metrics"].items():
            if isinstance(value, dict):
                continue
            assert value == pytest.approx(task["test"][metric], abs=1e-4), (name, metric)


def test_scores_on_other_data_are_those_of_the_predictions(trained, tmp_path):
    rows = made_up(80, seed=5)
    write_jsonl(tmp_path / "new.jsonl", rows)
    found = json.loads(done("evaluate", trained / "branches" / "mood", "new.jsonl", "--json").stdout)["tasks"]["mood"]
    predicted = [json.loads(line)["mood"]["label"] for line in done("predict", trained, "-i", "new.jsonl").stdout.splitlines()]
    right = [row["mood"] for row in rows]
    assert found["rows"] == 80 and found["data"] == "new.jsonl"
    assert found["metrics"]["accuracy"] == pytest.approx(accuracy_score(right, predicted))
    assert found["metrics"]["f1_macro"] == pytest.approx(f1_score(right, predicted, average="macro"))


def test_scores_stand_beside_those_of_the_baseline(trained, tmp_path):
    summary = json.loads((trained / "result.json").read_text())
    own = json.loads(done("evaluate", trained, "--json").stdout)["tasks"]
    for name, task in summary["tasks"].items():
        assert own[name]["baseline"] == {"rule": task["baseline"]["rule"], "metrics": pytest.approx(task["baseline"]["test"])}
    rows = [{**row, "mood": "negative"} for row in made_up(20, seed=5)] + made_up(20, seed=6)
    write_jsonl(tmp_path / "new.jsonl", rows)
    result = done("evaluate", trained, "new.jsonl")
    found = json.loads(done("evaluate", trained, "new.jsonl", "--json").stdout)["tasks"]
    counts = summary["tasks"]["mood"]["data"]["labels"]["train"]
    usual = max(counts, key=counts.get)
    share = sum(row["mood"] == usual for row in rows) / 40
    assert found["mood"]["baseline"]["metrics"]["accuracy"] == pytest.approx(share) and found["mood"]["positive"] == "positive"
    assert "baseline" not in found["city"]  # the words of the training rows are not kept
    assert "baseline of mood: always predicting the most frequent label" in result.stdout and "f1 (positive)" in result.stdout


def test_a_branch_that_never_predicts_a_label_of_the_data_is_told(trained, tmp_path):
    texts = "".join(json.dumps({**row, "text": "awful"}) + "\n" for row in made_up(9))  # one text, so one answer
    (tmp_path / "same.jsonl").write_text(texts)
    branch = trained / "branches" / "mood"
    said = json.loads(done("evaluate", branch, "same.jsonl", "--json").stdout)["findings"]
    moods = [row["mood"] for row in made_up(9)]
    lost = {name: moods.count(name) for name in moods}
    assert [one for one in said if "never predicts" in one] in [
        [f"same.jsonl: 'mood' never predicts {name!r} ({count} rows)."] for name, count in lost.items()
    ]


def test_the_table_has_every_branch_and_every_label(trained):
    text = done("evaluate", trained).stdout
    for said in ("mood", "accuracy", "city by label", "topics by label", "positive", "pearson", "support"):
        assert said in text


def test_the_heading_says_what_was_scored_on(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.parent)
    shutil.copytree(trained, "other")
    write_jsonl(tmp_path / "new.jsonl", made_up(30, seed=5))
    first = [
        done("evaluate", *places).stdout.splitlines()[0]
        for places in (
            ("run",),
            ("run/branches/mood",),
            ("run/branches/mood", "other/branches/city"),
            ("run", tmp_path / "new.jsonl"),
        )
    ]
    assert first == [
        "Scores on the test split of run",
        "Scores on the test split of run",
        "Scores on the test split of run and that of other",
        f"Scores on {tmp_path / 'new.jsonl'}",
    ]
    monkeypatch.chdir(tmp_path)
    assert done("evaluate", trained).stdout.startswith(f"Scores on the test split of {trained}\n")


def test_rows_without_a_label_are_skipped(trained, tmp_path):
    rows = made_up(30, seed=5)
    for row in rows[10:]:
        del row["mood"]
    write_jsonl(tmp_path / "new.jsonl", rows)
    found = json.loads(done("evaluate", trained, "new.jsonl", "--json").stdout)["tasks"]
    assert found["mood"]["rows"] == 10 and found["score"]["rows"] == 30


def test_a_test_split_drawn_from_data_that_has_changed_is_refused(tmp_path, tiny_overrides):
    write_jsonl(tmp_path / "rows.jsonl", made_up(60))
    done("fit", "rows.jsonl", *tiny_overrides, "training.epochs=1", "--run-dir", "run")
    done("evaluate", "run")
    write_jsonl(tmp_path / "rows.jsonl", made_up(61))
    assert "its data has changed (61 rows, 60 when" in fails(2, "evaluate", "run")
    write_jsonl(tmp_path / "rows.jsonl", made_up(60)[::-1])  # the share drawn from these would hold trained rows
    assert "its data has changed (other rows or another order, or read in another way by an earlier version)" in fails(
        2, "evaluate", "run"
    )
    Path("run/result.json").write_text("{}")
    for command in (("evaluate", "run"), ("info", "run"), ("fit", "rows.jsonl", *tiny_overrides, "--run-dir", "run")):
        assert "run/result.json: not the result of a run, as it has no identity" in fails(2, *command)


def test_a_test_file_of_its_own_that_has_changed_is_scored_as_it_is_now(tmp_path, tiny_overrides):
    write_jsonl(tmp_path / "rows.jsonl", made_up(60))
    write_jsonl(tmp_path / "test.jsonl", made_up(20, seed=1))
    options = ["--test", "test.jsonl", *tiny_overrides, "training.epochs=1", "--run-dir", "run"]
    done("fit", "rows.jsonl", *options)
    write_jsonl(tmp_path / "rows.jsonl", made_up(61))  # training rows are not scored
    first = json.loads(done("evaluate", "run", "--json").stdout)
    assert not [said for said in first["findings"] if "has changed" in said]
    empty = {"text": " ", "mood": "positive"}
    write_jsonl(tmp_path / "test.jsonl", [empty, *({**row, "mood": "positive"} for row in made_up(21, seed=1))])
    found = json.loads(done("evaluate", "run", "--json").stdout)
    said = "run: its test data has changed since it was trained (21 rows, 20 when it was trained); it is scored as it is now"
    assert said in found["findings"] and found["tasks"]["mood"]["rows"] == 21
    assert any(said.startswith("test split of test.jsonl: 1 row") for said in found["findings"]), found["findings"]
    assert found["tasks"]["mood"]["baseline"]["metrics"]["accuracy"] in (0.0, 1.0)  # of the rows as they are now


def test_the_test_share_of_a_run_that_kept_rows_without_a_text_is_found_again(tmp_path, tiny_overrides, monkeypatch):
    rows = made_up(60)
    for number in (3, 17, 40):
        rows[number]["text"], rows[number]["spans"] = "", []
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with monkeypatch.context() as patch:  # a version that did not skip them
        patch.setattr("trunkline.training.prepare.without_empty", lambda table, *how: (table, None))
        done("fit", "rows.jsonl", *tiny_overrides, "training.epochs=1", "--run-dir", "run")
    summary = json.loads(Path("run/result.json").read_text())
    assert sum(summary["rows"].values()) == 60
    found = json.loads(done("evaluate", "run", "--json").stdout)
    config = load_config("run/config.yaml")
    test = prepare(config, keep_empty=True)[0].splits["test"].corpus
    assert found["tasks"]["mood"]["rows"] == sum(text != "" for text in test.texts)
    write_jsonl(tmp_path / "rows.jsonl", rows[::-1])
    assert "so the share drawn for its test may contain training rows" in fails(2, "evaluate", "run")


def test_a_run_that_is_not_finished_says_so(trained, tmp_path):
    for name, empty in (("begun", False), ("emptied", True)):
        (tmp_path / name).mkdir()
        shutil.copy(trained / "config.yaml", tmp_path / name)
        if empty:
            (tmp_path / name / "branches").mkdir()
        for command in (("info", name), ("predict", name, "-t", "a film"), ("evaluate", name), ("evaluate", name, "x.jsonl")):
            if command[-1] == "x.jsonl":
                write_jsonl(tmp_path / "x.jsonl", made_up(3))
            assert f"{name}: this run is not finished; rerun the command that started it" in fails(2, *command)


def test_bad_input_is_one_sentence(trained, tmp_path):
    shutil.copytree(trained / "branches" / "mood", tmp_path / "deep" / "er" / "alone")
    write_jsonl(tmp_path / "new.jsonl", [{**row, "mood": "neutral"} for row in made_up(5)])  # none of the branch's labels
    write_jsonl(tmp_path / "bare.jsonl", [{"text": "a film"}])
    assert "give the data to evaluate on" in fails(2, "evaluate", "deep/er/alone")
    assert "no such file or folder" in fails(2, "evaluate", "runs/none")
    assert "not a run or a branch" in fails(2, "evaluate", trained, "new.jsonl", trained)
    assert "'neutral'" in fails(2, "evaluate", trained, "new.jsonl")
    assert "'mood'" in fails(2, "evaluate", trained / "branches" / "mood", "bare.jsonl")
    assert "no such file" in fails(2, "evaluate", trained, "none.jsonl")


@pytest.fixture
def apart(tmp_path, tiny_overrides):
    """A run of tasks with files of their own: mood rows.jsonl, city and topics films.jsonl; score has no test split."""
    write_jsonl(tmp_path / "rows.jsonl", [{key: row[key] for key in ("text", "mood", "score")} for row in made_up(80)])
    write_jsonl(tmp_path / "films.jsonl", [{key: row[key] for key in ("text", "spans", "topics")} for row in made_up(60, 1)])
    (tmp_path / "apart.yaml").write_text(
        "data: {train: rows.jsonl, test: 20%}\n"
        "tasks:\n"
        "  mood: {kind: sequence, label: mood}\n"
        "  city: {kind: token, spans: spans, data: {train: films.jsonl, test: 20%}}\n"
        "  topics: {kind: multilabel, labels: topics, data: {train: films.jsonl, test: 20%}}\n"
        "  score: {kind: regression, target: score, data: {train: rows.jsonl}}\n"
    )
    done("fit", "apart.yaml", *tiny_overrides, "training.epochs=1", "--run-dir", "run")
    return Path("run")


def test_tasks_with_files_of_their_own_are_scored_on_their_own_test_splits(apart):
    summary = json.loads((apart / "result.json").read_text())["tasks"]
    result = done("evaluate", apart, "--json")
    found = json.loads(result.stdout)["tasks"]
    assert {name: task["rows"] for name, task in found.items()} == {"city": 12, "mood": 16, "topics": 12}
    assert "score is not scored: the config defines no test split for it" in result.stderr
    for name, task in found.items():
        for metric, value in task["metrics"].items():
            if not isinstance(value, dict):
                assert value == pytest.approx(summary[name]["test"][metric], abs=1e-4), (name, metric)
    assert done("evaluate", apart).stdout.startswith("Scores on the test split of run\n")
    assert "give the data to evaluate on" in fails(2, "evaluate", apart / "branches" / "score")
    write_jsonl(Path("films.jsonl"), made_up(61, 1))
    assert "its data has changed (61 rows, 60 when it was trained)" in fails(2, "evaluate", apart)
    Path("films.jsonl").unlink()  # nor are the files of other tasks needed
    assert list(json.loads(done("evaluate", apart / "branches" / "mood", "--json").stdout)["tasks"]) == ["mood"]


def test_data_that_fits_some_branches_only_says_which_to_name(apart):
    write_jsonl(Path("new.jsonl"), [{"text": row["text"], "mood": row["mood"]} for row in made_up(20, 5)])
    result = json.loads(done("evaluate", apart, "new.jsonl", "--json").stdout)
    assert result["tasks"] == json.loads(done("evaluate", "run/branches/mood", "new.jsonl", "--json").stdout)["tasks"]
    (said,) = (one for one in result["findings"] if "not scored" in one)
    assert said == (
        "new.jsonl: 'city', 'topics', 'score' are not scored, as there is no column 'spans', 'topics', 'score'; "
        "--column city=NAME names one."
    )
    write_jsonl(Path("other.jsonl"), [{**row, "mood": "neutral"} for row in made_up(20, 5)])  # another task's labels
    sentence = fails(2, "evaluate", apart, "other.jsonl")
    assert "'neutral'" in sentence and "score run/branches/city run/branches/topics run/branches/score:" in sentence
    write_jsonl(Path("bare.jsonl"), [{"text": "a film"}])
    sentence = fails(2, "evaluate", apart, "bare.jsonl")
    assert sentence.startswith(
        "bare.jsonl: no column with answers, expected 'mood', 'spans', 'topics', 'score', found 'text'; "
    )


def test_spans_that_cannot_be_scored_are_told(trained, tmp_path):
    rows = made_up(20, seed=5)
    for row in rows:
        row["text"] = f"abc {row['text']}"
        row["spans"] = [{"start": 0, "end": 3, "label": "city"}, {"start": 1, "end": 3, "label": "city"}]
    write_jsonl(tmp_path / "new.jsonl", rows)
    told = done("evaluate", trained / "branches" / "city", "new.jsonl").stderr
    assert "new.jsonl: 20 of the 40 spans of 'city' left out, as they lie within another span." in told


def test_what_a_reader_left_out_is_told(trained, tmp_path):
    rows = [{**row, "_task_hash": number, "answer": "accept"} for number, row in enumerate(made_up(20))]
    rows[3]["answer"] = rows[4]["answer"] = "reject"
    write_jsonl(tmp_path / "new.jsonl", rows)
    result = done("evaluate", trained / "branches" / "mood", "new.jsonl")
    assert "new.jsonl: 2 rows left out: their answer in Prodigy is 'reject'." in result.stderr


def test_labels_that_a_branch_does_not_have_are_errors_or_refused(trained, tmp_path):
    rows = made_up(40, seed=5)
    for row in rows[:10]:
        row |= {"mood": "neutral", "topics": [*row["topics"], "food"], "spans": [{"start": 0, "end": 3, "label": "place"}]}
    write_jsonl(tmp_path / "new.jsonl", rows)
    result = json.loads(done("evaluate", trained, "new.jsonl", "--json").stdout)
    found, findings = result["tasks"], result["findings"]
    predicted = [json.loads(line) for line in done("predict", trained, "-i", "new.jsonl").stdout.splitlines()]
    said, right = [row["mood"]["label"] for row in predicted], [row["mood"] for row in rows]
    assert found["mood"]["rows"] == 40 and found["mood"]["metrics"]["accuracy"] == pytest.approx(accuracy_score(right, said))
    assert found["mood"]["metrics"]["f1_macro"] == pytest.approx(f1_score(right, said, average="macro", zero_division=0))
    assert found["topics"]["metrics"]["by_label"]["food"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 10,
        "predicted": 0,
    }
    assert found["city"]["metrics"]["by_label"]["place"]["support"] == 10
    of = "new.jsonl: 10 rows have labels that"
    for name, label in (("mood", "neutral"), ("topics", "food"), ("city", "place")):
        said = f"{of} {name!r} was not trained on and count as errors: {label!r} (10); --map GIVEN=TRAINED reads a label"
        assert any(one.startswith(said) for one in findings)
    assert "'neutral'" in fails(2, "evaluate", trained, "new.jsonl", "--unseen", "refuse")


def test_the_nearest_label_is_named_with_the_option_that_takes_it(trained, tmp_path):
    rows = made_up(40, seed=5)
    for row in rows[:10]:
        row["mood"] = "Positiv" if row["mood"] == "positive" else "so so"
    write_jsonl(tmp_path / "new.jsonl", [{"body": row["text"], "feeling": row["mood"]} for row in rows])
    columns = ("--column", "text=body", "--column", "mood=feeling")
    mood, count = trained / "branches" / "mood", sum(row["mood"] == "Positiv" for row in rows)
    (said,) = (
        one
        for one in json.loads(done("evaluate", mood, "new.jsonl", *columns, "--json").stdout)["findings"]
        if "not trained on" in one
    )
    assert f"'Positiv' ({count}, nearest: 'positive')" in said and "'so so' (" in said
    assert said.endswith("; --map Positiv=positive reads a label of the data as one of the branch.")
    found = json.loads(done("evaluate", mood, "new.jsonl", *columns, "--map", "Positiv=positive", "--json").stdout)
    assert not any("Positiv" in one for one in found["findings"])
    sentence = fails(2, "evaluate", mood, "new.jsonl", *columns, "--unseen", "refuse")
    assert "column 'feeling'" in sentence and "'mood'" not in sentence and "--map GIVEN=TRAINED" in sentence
    assert "--column text=body" not in fails(2, "evaluate", mood, "new.jsonl", *columns[:2])
    sentence = fails(2, "evaluate", mood, "new.jsonl", *columns[:2])
    assert sentence.endswith("; --column mood=feeling names the column with the answers of 'mood'")
    sentence = fails(2, "evaluate", mood, "new.jsonl", *columns[2:])
    assert sentence.endswith("; --column body names the column of the texts")


def test_findings_name_the_column_that_was_named(trained, tmp_path):
    rows = [{"body": row["text"], "feeling": row["mood"], "mood": "positive"} for row in made_up(30, seed=5)]
    rows[3]["feeling"] = None
    write_jsonl(tmp_path / "new.jsonl", rows)
    columns = ("--column", "text=body", "--column", "mood=feeling")
    found = json.loads(done("evaluate", trained / "branches" / "mood", "new.jsonl", *columns, "--json").stdout)["findings"]
    assert "new.jsonl: 1 of 30 rows has no value in column 'feeling', and is skipped by 'mood'." in found


def test_data_with_other_columns_and_other_labels_is_scored_by_naming_them(trained, tmp_path):
    rows = made_up(40, seed=5)
    write_jsonl(tmp_path / "new.jsonl", rows)
    renamed = {"text": "body", "mood": "feeling", "score": "points", "spans": "marks", "topics": "about"}
    other = [{renamed.get(key, key): value for key, value in row.items()} for row in rows]
    for row in other:
        row |= {"feeling": {"positive": "pos", "negative": "neg"}[row["feeling"]], "text": "wrong", "mood": "negative"}
        row["marks"] = [{**span, "label": "LOC"} for span in row["marks"]]
    write_jsonl(tmp_path / "other.jsonl", other)
    roles = [f"{role}={name}" for role, name in (("text", "body"), ("mood", "feeling"), ("score", "points"), ("city", "marks"))]
    options = [part for role in (*roles, "topics=about") for part in ("--column", role)]
    maps = [part for pair in ("pos=positive", "neg=negative", "LOC=city") for part in ("--map", pair)]
    right = json.loads(done("evaluate", trained, "new.jsonl", "--json").stdout)["tasks"]
    found = json.loads(done("evaluate", trained, "other.jsonl", *options, *maps, "--json").stdout)["tasks"]
    assert list(found) == list(right) == ["mood", "score", "topics", "city"]
    for name in right:
        assert found[name]["metrics"] == right[name]["metrics"]
    told = done("evaluate", trained, "other.jsonl", "--column", "text=body").stderr  # of the roles, `mood` alone is there
    assert "'score', 'topics', 'city' are not scored, as there is no column 'score', 'topics', 'spans'; --column" in told
    assert "--column: unknown name 'moods'; did you mean 'mood'" in fails(
        2, "evaluate", trained, "new.jsonl", "--column", "moods=mood"
    )
    assert "'positve'" in fails(2, "evaluate", trained, "new.jsonl", "--map", "pos=positve")
    assert "and no data" in fails(2, "evaluate", trained, "--map", "pos=positive")


def test_rows_without_a_text_are_not_scored(trained, tmp_path):
    rows = made_up(30, seed=5)
    rows[3]["text"] = ""
    rows[4]["text"] = None
    write_jsonl(tmp_path / "new.jsonl", rows)
    result = json.loads(done("evaluate", trained, "new.jsonl", "--json").stdout)
    assert {task["rows"] for task in result["tasks"].values()} == {28}
    assert "new.jsonl: 2 rows have no text and are skipped (the first is new.jsonl line 4)." in result["findings"]
    assert "line 4: found no text" in fails(2, "evaluate", trained, "new.jsonl", "--empty", "refuse")


def test_several_runs_are_named_as_they_are_typed(trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    if not Path("again").exists():
        shutil.copytree(trained, "again")
    found = json.loads(done("evaluate", "run", "again/branches/mood", "--json").stdout)["tasks"]
    assert list(found) == ["run/mood", "run/score", "run/topics", "run/city", "again/mood"]
    result = json.loads(Path("again/result.json").read_text())
    result["digests"]["train"] = "0" * 64
    Path("again/result.json").write_text(json.dumps(result))
    assert fails(2, "evaluate", "run", "again/branches/mood").startswith("again: its data has changed")
    shutil.rmtree("again")


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_what_predict_wrote_is_scored_on_the_labels_of_before(trained, tmp_path, name):
    rows = [{key: value for key, value in row.items() if key in ("text", "mood")} for row in made_up(30, seed=5)]
    write_jsonl(tmp_path / "new.jsonl", rows)
    mood = trained / "branches" / "mood"
    right = json.loads(done("evaluate", mood, "new.jsonl", "--json").stdout)["tasks"]["mood"]["metrics"]
    done("predict", mood, "-i", "new.jsonl", "-o", name)
    itself = json.loads(done("evaluate", mood, name, "--json").stdout)
    assert itself["tasks"]["mood"]["metrics"]["accuracy"] == 1.0  # of its own answers, which is said
    assert [said for said in itself["findings"] if "holds predictions" in said and "such as 'given_mood'" in said]
    found = json.loads(done("evaluate", mood, name, "--column", "mood=given_mood", "--json").stdout)
    assert found["tasks"]["mood"]["metrics"] == right and not [said for said in found["findings"] if "predictions" in said]


def test_the_own_test_split_is_called_by_its_path_from_here_and_read_without_a_word(trained, tmp_path, monkeypatch):
    home = trained.parent
    monkeypatch.chdir(home)
    assert {task["data"] for task in json.loads(done("evaluate", "run", "--json").stdout)["tasks"].values()} == {"rows.jsonl"}
    monkeypatch.chdir(tmp_path)
    assert f"scored on 60 rows of {home / 'rows.jsonl'}" in done("evaluate", trained).stderr
    table = Table(f"{home}/a.csv + {home}/b.csv", {"text": ["x", "y"]}, files=[f"{home}/a.csv", f"{home}/b.csv"])
    monkeypatch.chdir(home)
    named = scoring._as_named(table, below)
    assert named.source == "a.csv + b.csv" and named.where(1) == "b.csv row 2"
    assert scoring._as_named(Table("snips:test", {"text": []}), below).source == "snips:test"
