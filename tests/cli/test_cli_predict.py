import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from clitools import done, fails, made_up, write_csv, write_jsonl
from tiny import tiny_bert

from trunkline.data.writing import output_format
from trunkline.model.rows import OutputNames, Row, writing

TEXTS = [row["text"] for row in made_up(25, seed=9)]
NAMES = ["mood", "score", "topics", "city"]  # as in the config


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def close(one, other):
    """Whether two predictions are the same but for rounding: branches in a group share matrix products."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == (pytest.approx(other, abs=1e-4) if isinstance(one, float) else other)


def test_a_run_stands_for_its_branches_and_texts_keep_their_order(trained):
    rows = lines(done("predict", trained, *(part for text in TEXTS for part in ("--text", text))))
    assert [row["text"] for row in rows] == TEXTS
    assert all(list(row) == ["text", *NAMES] for row in rows)
    assert {row["mood"]["label"] for row in rows} <= {"positive", "negative"}
    for row in rows:
        assert set(row["mood"]) == {"label", "score"} and isinstance(row["score"]["value"], float)
        assert set(row["topics"]["labels"]) <= {"film", "music", "table"}
        for span in row["city"]["spans"]:
            assert row["text"][span["start"] : span["end"]] == span["text"]
    right = ["positive" if {"happy", "great"} & set(text.split()) else "negative" for text in TEXTS]
    assert sum(row["mood"]["label"] == label for row, label in zip(rows, right, strict=True)) >= 20


def test_several_branches_in_one_pass_say_what_each_says_alone(trained):
    source = "\n".join(TEXTS) + "\n"
    together = lines(done("predict", *(trained / "branches" / name for name in NAMES), input=source))
    for name in NAMES:
        alone = lines(done("predict", trained / "branches" / name, input=source))
        for one, among in zip(alone, together, strict=True):
            assert close(one[name], among[name])


def test_every_score_on_demand(trained):
    (row,) = lines(done("predict", trained, "--text", TEXTS[0], "--scores"))
    assert set(row["mood"]["scores"]) == {"positive", "negative"}
    assert sum(row["mood"]["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert set(row["topics"]["scores"]) == {"film", "music", "table"}


def test_rows_of_a_file_keep_their_own_columns(trained, tmp_path):
    rows = made_up(25, seed=9)
    write_jsonl(tmp_path / "new.jsonl", rows)
    found = lines(done("predict", trained, "-i", "new.jsonl"))
    for row, out in zip(rows, found, strict=True):
        assert out["id"] == row["id"] and out["text"] == row["text"]
        assert out["given_mood"] == row["mood"] and out["given_score"] == row["score"]  # the branches have these names
        assert out["spans"] == row["spans"] and out["given_topics"] == row["topics"]
    by_line = lines(done("predict", trained, input="\n".join(TEXTS)))
    assert [{name: out[name] for name in NAMES} for out in found] == [{name: out[name] for name in NAMES} for out in by_line]


def test_blanks_around_the_name_of_a_column_do_not_matter(trained, tmp_path):
    rows = made_up(25, seed=9)
    write_jsonl(tmp_path / "new.jsonl", rows)
    write_jsonl(tmp_path / "blanks.jsonl", [{f" {key} ": value for key, value in row.items()} for row in rows])
    right, found = lines(done("predict", trained, "-i", "new.jsonl")), lines(done("predict", trained, "-i", "blanks.jsonl"))
    assert [{name: out[name] for name in NAMES} for out in found] == [{name: out[name] for name in NAMES} for out in right]
    assert found[0][" mood "] == rows[0]["mood"]  # under its own name
    scores = [json.loads(done("evaluate", trained, name, "--json").stdout)["tasks"] for name in ("new.jsonl", "blanks.jsonl")]
    assert [{name: own["metrics"] for name, own in one.items()} for one in scores[:1]] == [
        {name: own["metrics"] for name, own in one.items()} for one in scores[1:]
    ]


def test_csv_in_and_out(trained, tmp_path):
    rows = made_up(25, seed=9)
    write_csv(tmp_path / "new.csv", rows)
    assert "'review'" not in done("predict", trained, "-i", "new.csv", "--column", "review", "-o", "out.csv").stdout
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    reference = lines(done("predict", trained, input="\n".join(TEXTS)))
    for row, out, right in zip(rows, found, reference, strict=True):
        assert out["review"] == row["text"] and out["id"] == str(row["id"]) and out["given_mood"] == row["mood"]
        assert out["mood"] == right["mood"]["label"] and float(out["mood.score"]) == right["mood"]["score"]
        assert float(out["score"]) == right["score"]["value"]
        assert json.loads(out["topics"]) == right["topics"]["labels"] and json.loads(out["city"]) == right["city"]["spans"]
    text = done("predict", trained / "branches" / "mood", "--format", "csv", "-t", 'a "good", film').stdout
    assert list(csv.reader(io.StringIO(text)))[1][0] == 'a "good", film'


def test_a_small_chunk_gives_the_same_answers(trained, tmp_path, monkeypatch):
    write_jsonl(tmp_path / "new.jsonl", made_up(25, seed=9))
    whole = lines(done("predict", trained, "-i", "new.jsonl"))
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 4)
    parts = lines(done("predict", trained, "-i", "new.jsonl"))
    assert [row["id"] for row in parts] == list(range(25))
    for one, other in zip(whole, parts, strict=True):  # other batches, so other rounding
        assert close(one, other)


def test_a_column_that_comes_too_late_for_the_csv_header_is_refused(trained, tmp_path, monkeypatch):
    rows = [{"text": row["text"]} for row in made_up(8, seed=9)]
    write_jsonl(tmp_path / "new.jsonl", [*rows[:6], {**rows[6], "late": 1}, rows[7]])
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 4)
    sentence = fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.csv")
    assert "'late'" in sentence and not (tmp_path / "out.csv").exists()


def test_a_chunk_is_written_before_the_next_one_is_read(trained, tmp_path, monkeypatch):
    """An array that breaks far down does not keep the rows before it from coming out: nothing is held back."""
    rows = made_up(8, seed=9)
    (tmp_path / "new.json").write_text("[" + ", ".join(json.dumps(row) for row in rows) + ",\n{broken\n]")
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 4)
    from clitools import invoke

    result = invoke("predict", trained / "branches" / "mood", "-i", "new.json")
    assert result.exit_code == 2 and "new.json line 2" in result.stderr
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == list(range(8))
    assert "line 2" in fails(2, "predict", trained / "branches" / "mood", "-i", "new.json", "-o", "out.jsonl")
    parts = ".out.jsonl.trunkline-parts"  # no half file; the predictions are there for a file that is mended
    assert sorted(path.name for path in tmp_path.iterdir()) == [parts, "new.json"]
    (tmp_path / "new.json").write_text(json.dumps(rows))
    told = json.loads(done("predict", trained / "branches" / "mood", "-i", "new.json", "-o", "out.jsonl", "--json").stdout)
    assert told["resumed_rows"] == 8 and (tmp_path / "out.jsonl").read_text() == result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.json", "out.jsonl"]


def test_a_row_that_cannot_be_read_has_an_error_in_its_place(trained, tmp_path):
    mood, rows = trained / "branches" / "mood", [json.dumps(row) for row in made_up(5, seed=9)]
    (tmp_path / "new.jsonl").write_text("\n".join([*rows[:2], "{broken", *rows[2:], '{"text": 7, "id": 5}']))
    told = json.loads(done("predict", mood, "-i", "new.jsonl", "--json").stdout)
    found = told["predictions"]
    assert (told["rows"], told["bad_rows"]) == (7, 2) and [row["id"] for row in found] == [0, 1, None, 2, 3, 4, 5]
    right = lines(done("predict", mood, input="\n".join(row["text"] for row in made_up(5, seed=9))))
    assert [row["mood"] for row in found if "error" not in row] == [row["mood"] for row in right]
    assert [row["mood"] for row in (found[2], found[6])] == [{"label": None, "score": None}] * 2 and found[6]["text"] == 7
    assert found[2]["error"].startswith("new.jsonl line 3 column 2: broken JSON")
    assert found[6]["error"] == "new.jsonl line 7: column 'text' holds a number, expected a string"
    said = "2 rows cannot be read, so they have no prediction and their error instead: new.jsonl line 3 column 2: broken JSON"
    assert told["findings"][0].startswith(said) and told["findings"][0].endswith("; also new.jsonl line 7.")
    assert lines(done("predict", mood, input=b"a film\ncaf\xe9\n"))[1]["error"].startswith("stdin line 2: byte 4")
    (tmp_path / "bad.jsonl").write_text("{broken\n" * 3)
    assert "bad.jsonl line 1" in fails(2, "predict", mood, "-i", "bad.jsonl", "-o", "out.jsonl")


def test_json_is_one_object(trained, tmp_path):
    result = json.loads(done("predict", trained, "-t", TEXTS[0], "-t", TEXTS[1], "--json").stdout)
    assert result["rows"] == 2 and result["branches"] == NAMES
    assert [row["text"] for row in result["predictions"]] == TEXTS[:2]
    told = json.loads(done("predict", trained, "-t", TEXTS[0], "--json", "-o", "out.jsonl").stdout)
    assert told["output"] == "out.jsonl" and told["rows"] == 1
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == result["predictions"][:1]


def test_odd_texts_get_through(trained):
    odd = ["", "   ", "naïve café ☕", "שלום עולם", "\ud83d", "word " * 500, "nul\x00nul"]
    result = done("predict", trained, *(part for text in odd for part in ("-t", text)))
    (empty, blank, *_) = rows = lines(result)
    assert (
        len(rows) == len(odd)
        and "2 rows have no text, so their predictions are empty; the first is --text row 1." in result.stderr
    )
    for row, text in ((empty, ""), (blank, "   ")):
        nothing = {"score": {"value": None}, "topics": {"labels": None}, "city": {"spans": None}}
        assert row == {"text": text, "mood": {"label": None, "score": None}, **nothing}
    assert rows[2]["text"] == odd[2] and len(rows[5]["text"]) == 2500
    blank = lines(done("predict", trained, input=b"one\n\n\xe2\x98\x95 three\r\n"))
    assert [row["text"] for row in blank] == ["one", "", "☕ three"]


def test_a_branch_that_was_copied_away_predicts_the_same(trained, tmp_path):
    shutil.copytree(trained / "branches" / "mood", tmp_path / "elsewhere")
    original = done("predict", trained / "branches" / "mood", input="\n".join(TEXTS)).stdout
    assert done("predict", "elsewhere", input="\n".join(TEXTS)).stdout == original


def test_the_trunk_may_lie_elsewhere_but_not_be_another(trained, tmp_path):
    described = json.loads((trained / "branches" / "mood" / "branch.json").read_text())
    moved = shutil.copytree(described["trunk"]["name"], tmp_path / "moved")
    other = tiny_bert(tmp_path / "other", seed=1)
    done("predict", trained, "--trunk", moved, "-t", "a film")
    sentence = fails(2, "predict", trained, "--trunk", other, "-t", "a film")
    assert described["trunk"]["weights"][:12] in sentence and f"encoder of {other.name}" in sentence


def test_bad_input_is_one_sentence(trained, tmp_path):
    (tmp_path / "folder").mkdir()
    write_csv(tmp_path / "new.csv", made_up(5))
    assert "not a run or a branch" in fails(2, "predict", "folder", "-t", "x")
    assert "no such file or folder" in fails(2, "predict", "runs/none", "-t", "x")
    assert "--json with --format csv" in fails(2, "predict", trained, "-t", "x", "--json", "--format", "csv")
    assert "both --text and --input" in fails(2, "predict", trained, "-t", "x", "-i", "new.csv")
    found = "new.csv: no column 'text', which holds the texts in training, found 'id', 'review', 'mood', 'score', 'topics'; "
    assert found in fails(2, "predict", trained, "-i", "new.csv")
    assert "did you mean 'review'?" in fails(2, "predict", trained, "-i", "new.csv", "--column", "reviews")
    assert "did you mean 'new.csv'?" in fails(2, "predict", trained, "-i", "mew.csv")
    assert "stdin line 1: byte 4 of the line (0xe9) is not UTF-8" in fails(2, "predict", trained, input=b"caf\xe9\n")
    assert "a file to write" in fails(2, "predict", trained, "-t", "x", "-o", "nowhere/out.jsonl")
    assert "given twice" in fails(2, "predict", trained / "branches" / "mood", trained / "branches" / "mood", "-t", "x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "branch.json").write_text("{")
    assert "cannot be read as JSON" in fails(2, "predict", "broken", "-t", "x")


@pytest.mark.slow
def test_a_closed_pipe_is_quiet_and_nothing_but_results_reaches_the_user(trained, environment):
    trunkline = shlex.quote(str(Path(sys.executable).with_name("trunkline")))  # its path may have a space in it
    script = f"yes 'a good film' | head -3000 | {trunkline} predict {trained} | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert json.loads(result.stdout)["text"] == "a good film"
    assert result.stderr == ""


def test_a_wide_csv_output_looks_each_name_up(tmp_path):
    """Counts comparisons of column names while rows are written: a search through the header makes their square."""
    compared = [0]

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared[0] += 1
            return str.__eq__(self, other)

    def row():
        return Row({Name(f"n{i}"): "1" for i in range(300)}, {})

    with (
        open(tmp_path / "out.csv", "wb") as file,
        writing(file, output_format(tmp_path / "out.csv", None), OutputNames(flat=True)) as write,
    ):
        for _ in range(3):
            write([row()])
    assert compared[0] < 10_000 and len((tmp_path / "out.csv").read_text().splitlines()) == 4


def test_an_output_keeps_its_mode_and_a_link_or_a_pipe_stays_what_it_is(trained, tmp_path):
    (tmp_path / "there.jsonl").write_text("old")
    (tmp_path / "there.jsonl").chmod(0o600)
    (tmp_path / "link.jsonl").symlink_to("there.jsonl")
    done("predict", trained, "--text", "a great film", "-o", "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink() and (tmp_path / "there.jsonl").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "there.jsonl").read_text())["text"] == "a great film"
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    done("predict", trained, "--text", "a great film", "-o", "pipe")
    reader.join(10)
    assert read == [(tmp_path / "there.jsonl").read_text()] and (tmp_path / "pipe").is_fifo()
    assert "/dev/full: cannot be written (No space left on device)" in fails(
        1, "predict", trained, "--text", "a", "-o", "/dev/full"
    )


def test_a_csv_file_without_a_header_is_told_without_its_texts(trained, tmp_path):
    rows = [("SECRET one", "positive"), ("SECRET two", "negative"), ("SECRET three", "positive"), ("four", "positive")]
    (tmp_path / "new.csv").write_text("".join(f"{text},{mood}\n" for text, mood in rows))
    (tmp_path / "run.yaml").write_text("data: {train: new.csv}\ntasks: {mood: {kind: sequence, label: mood}}\n")
    for command in (
        ("predict", trained, "-i", "new.csv"), ("evaluate", trained, "new.csv"), ("fit", "new.csv"), ("init", "new.csv"),
        ("fit", "run.yaml"),
    ):  # fmt: skip
        sentence = fails(2, *command)
        assert "new.csv" in sentence and "expected a header" in sentence and "SECRET" not in sentence


def test_the_texts_of_a_file_without_a_header_are_in_no_message(trained, tmp_path):
    for name, content in (
        ("one.csv", "secret plan\nso good\nnot bad\n"),
        ("two.csv", "secret plan,1\nso good,2\nnot bad,3\n"),
        ("three.tsv", "secret plan\tgood\nso good\tnice\nnot bad\tfine\n"),
    ):
        (tmp_path / name).write_text(content)
        for command in (("predict", trained, "-i", name), ("evaluate", trained, name)):
            sentence = fails(2, *command)
            assert name in sentence and "header" in sentence and "secret" not in sentence, sentence


def test_the_option_for_the_column_of_texts_is_named_as_it_works(trained, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"id": "x1", "title of it": "short one", "the body": "a happy film " * 9}])
    sentence = fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl")
    assert sentence.endswith("; --column 'the body' names the column of the texts")
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", *shlex.split("--column 'the body'"))


def test_a_plain_text_file_is_a_text_per_line(trained, tmp_path):
    content = "\n".join([*TEXTS[:4], "", *TEXTS[4:8]]) + "\n"
    (tmp_path / "new.txt").write_text(content)
    result = done("predict", trained, "-i", "new.txt")
    assert lines(result) == lines(done("predict", trained, input=content))
    assert "each line is read as one text." in result.stderr and "the first is new.txt line 5." in result.stderr
    (tmp_path / "commas.log").write_text("good, bad\nso, so\n")
    rows = lines(done("predict", trained / "branches" / "mood", "-i", "commas.log", "--input-format", "text"))
    assert [row["text"] for row in rows] == ["good, bad", "so, so"]
    write_csv(tmp_path / "new.data", made_up(3))
    rows = lines(
        done("predict", trained / "branches" / "mood", "-i", "new.data", "--input-format", "csv", "--column", "review")
    )
    assert len(rows) == 3
    assert "found --input-format and no file" in fails(2, "predict", trained, "--input-format", "csv", "-t", "x")
    assert "unknown name 'cvs'; did you mean 'csv'" in fails(2, "predict", trained, "-i", "new.data", "--input-format", "cvs")
    assert "only `trunkline predict` reads one text per line" in fails(2, "fit", "new.txt")


def test_a_file_after_the_branches_is_the_input(trained, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", made_up(3))
    mood = trained / "branches" / "mood"
    assert done("predict", mood, "new.jsonl").stdout == done("predict", mood, "-i", "new.jsonl").stdout
    assert "found new.jsonl and --text, expected one input" in fails(2, "predict", mood, "new.jsonl", "-t", "x")
    assert "new.jsonl and --input" in fails(2, "predict", mood, "new.jsonl", "-i", "new.jsonl")
    assert "new.jsonl: not a run or a branch" in fails(2, "predict", "new.jsonl", mood)


def test_the_only_column_of_a_file_is_the_texts(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 20)
    texts = [row["text"] for row in made_up(50)]  # more than one chunk
    (tmp_path / "new.csv").write_text("Tweet\n" + "".join(f"{text}\n" for text in texts))
    result = done("predict", trained / "branches" / "mood", "new.csv")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["Tweet"] for row in rows] == texts and all(row["mood"]["label"] for row in rows)
    assert result.stderr.count("column 'Tweet' is read as the texts, as it is the only one.") == 1


def test_several_inputs_are_told_from_branches_that_are_none(trained, tmp_path):
    for name in ("one.csv", "other.csv"):
        write_csv(tmp_path / name, made_up(3, seed=1))
    assert "found 2 inputs, one.csv and other.csv, expected one at a time" in fails(
        2, "predict", trained, "one.csv", "other.csv"
    )
