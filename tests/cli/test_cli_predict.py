import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clitools import done, fails, made_up, write_csv, write_jsonl
from tiny import tiny_bert

from trunkline.data.writing import output_format
from trunkline.model.rows import OutputNames, Row, answer_columns, writing

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
    monkeypatch.setattr("trunkline.cli.predict.CHUNK", 4)
    parts = lines(done("predict", trained, "-i", "new.jsonl"))
    assert [row["id"] for row in parts] == list(range(25))
    for one, other in zip(whole, parts, strict=True):  # other batches, so other rounding
        assert close(one, other)


def test_a_column_that_comes_too_late_for_the_csv_header_is_refused(trained, tmp_path, monkeypatch):
    rows = [{"text": row["text"]} for row in made_up(8, seed=9)]
    write_jsonl(tmp_path / "new.jsonl", [*rows[:6], {**rows[6], "late": 1}, rows[7]])
    monkeypatch.setattr("trunkline.cli.predict.CHUNK", 4)
    sentence = fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.csv")
    assert "'late'" in sentence and not (tmp_path / "out.csv").exists()


def test_a_chunk_is_written_before_the_next_one_is_read(trained, tmp_path, monkeypatch):
    """A broken line far down does not keep the rows before it from coming out: nothing is held back."""
    rows = made_up(8, seed=9)
    write_jsonl(tmp_path / "new.jsonl", rows)
    with open(tmp_path / "new.jsonl", "a") as file:
        file.write("{broken\n")
    monkeypatch.setattr("trunkline.cli.predict.CHUNK", 4)
    from clitools import invoke

    result = invoke("predict", trained / "branches" / "mood", "-i", "new.jsonl")
    assert result.exit_code == 2 and "new.jsonl line 9" in result.stderr
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == list(range(8))
    assert "line 9" in fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["new.jsonl"]  # no half file


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
    assert described["trunk"]["weights"][:12] in sentence and str(other) in sentence


def test_bad_input_is_one_sentence(trained, tmp_path):
    (tmp_path / "folder").mkdir()
    write_csv(tmp_path / "new.csv", made_up(5))
    assert "not a run or a branch" in fails(2, "predict", "folder", "-t", "x")
    assert "not a run or a branch" in fails(2, "predict", "runs/none", "-t", "x")
    assert "--json with --format csv" in fails(2, "predict", trained, "-t", "x", "--json", "--format", "csv")
    assert "both --text and --input" in fails(2, "predict", trained, "-t", "x", "-i", "new.csv")
    assert "new.csv: column for data.text: unknown name 'text'" in fails(2, "predict", trained, "-i", "new.csv")
    assert "did you mean 'review'?" in fails(2, "predict", trained, "-i", "new.csv", "--column", "reviews")
    assert "did you mean 'new.csv'?" in fails(2, "predict", trained, "-i", "mew.csv")
    assert "stdin line 2: byte 4 is not UTF-8" in fails(2, "predict", trained, input=b"fine\ncaf\xe9\n")
    assert "a file to write" in fails(2, "predict", trained, "-t", "x", "-o", "nowhere/out.jsonl")
    assert "given twice" in fails(2, "predict", trained / "branches" / "mood", trained / "branches" / "mood", "-t", "x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "branch.json").write_text("{")
    assert "cannot be read as JSON" in fails(2, "predict", "broken", "-t", "x")


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


@pytest.fixture
def odd_columns(tmp_path):
    """Texts in Parquet beside columns of the types that JSON and Python have no name for; the table as pyarrow reads it."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901)
    ghost = pa.array([1, 253_402_300_800_000_000, None], pa.timestamp("us"))  # the second lies after the year 9999
    columns = {
        "text": TEXTS[:3],
        "mood": ["a", "b", None],
        "at": pa.array([moment, None, moment], pa.timestamp("us", tz="Europe/Oslo")),
        "nanos": pa.array([1, 2, 1_700_000_000_123_456_789], pa.timestamp("ns")),
        "ghost": ghost,
        "day": pa.array([date(2026, 1, 2), None, None]),
        "hour": pa.array([time(1, 2, 3), None, None]),
        "took": pa.array([timedelta(1, 2, 3), None, None], pa.duration("us")),
        "nan": [1.5, float("nan"), float("inf")],
        "price": pa.array([Decimal("1.10"), None, Decimal("-2.00")], pa.decimal128(9, 2)),
        "raw": pa.array([b"\x00\xff", None, b""]),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "nested": [{"a": [1, 2], "b": {"c": None}}, None, {"a": [], "b": {"c": "d"}}],
        "pairs": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "small": pa.array([1, 2, None], pa.int8()),
        "empty": pa.nulls(3),
    }
    pq.write_table(pa.table(columns), tmp_path / "odd.parquet")
    return pq.read_table(tmp_path / "odd.parquet")


def test_parquet_keeps_columns_of_any_type_that_only_pass_through(trained, odd_columns, monkeypatch):
    monkeypatch.setattr("trunkline.cli.predict.CHUNK", 2)
    done("predict", trained, "-i", "odd.parquet", "-o", "out.parquet")
    found = pq.read_table("out.parquet")
    for name in odd_columns.column_names:
        kept = found.column(f"given_{name}" if name in NAMES else name)
        assert kept.type == odd_columns.column(name).type
        same = kept.to_pandas().equals(odd_columns.column(name).to_pandas()) if name == "nan" else None
        assert same or kept.combine_chunks().equals(odd_columns.column(name).combine_chunks())
    right = lines(done("predict", trained, *(part for text in TEXTS[:3] for part in ("-t", text))))
    assert found.column("mood").to_pylist() == [row["mood"]["label"] for row in right]
    assert found.column("score").to_pylist() == pytest.approx([row["score"]["value"] for row in right], abs=1e-4)
    assert [[span["label"] for span in spans] for spans in found.column("city").to_pylist()] == [
        [span["label"] for span in row["city"]["spans"]] for row in right
    ]


def test_json_and_csv_write_columns_of_any_type(trained, odd_columns):
    one, other, last = lines(done("predict", trained / "branches" / "mood", "-i", "odd.parquet"))
    assert one["at"] == "2026-01-02T03:04:05.678901+01:00" or one["at"].startswith("2026-01-02T04:04:05.678901")
    assert last["nanos"] == "2023-11-14T22:13:20.123456789" and other["ghost"].startswith("10000-01-01 00:00:00")
    assert (one["day"], one["hour"], one["price"], last["price"]) == ("2026-01-02", "01:02:03", "1.10", "-2.00")
    assert (one["nan"], other["nan"], last["nan"]) == (1.5, None, None)
    assert (one["raw"], one["kind"], one["small"], one["empty"]) == ("AP8=", "x", 1, None)
    assert one["nested"] == {"a": [1, 2], "b": {"c": None}} and one["pairs"] == [["k", 1]] and other["nested"] is None
    assert one["given_mood"] == "a" and set(one["mood"]) == {"label", "score"}
    text = done("predict", trained / "branches" / "mood", "-i", "odd.parquet", "--format", "csv").stdout
    first, second, _ = csv.DictReader(io.StringIO(text))
    assert json.loads(first["nested"]) == one["nested"] and first["raw"] == "AP8=" and second["nan"] == "nan"
    assert first["mood"] == one["mood"]["label"] and second["at"] == "" and first["price"] == "1.10"
    whole = json.loads(done("predict", trained / "branches" / "mood", "-i", "odd.parquet", "--json").stdout)
    assert whole["predictions"] == [one, other, last]


def test_parquet_output_of_mixed_values(trained, tmp_path, monkeypatch):
    values = [1, "a", [2], None, {"b": 1}]
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "odd": value, "n": 1} for value in values])
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.parquet")
    assert pq.read_table("out.parquet").column("odd").to_pylist() == ["1", "a", "[2]", None, '{"b": 1}']
    monkeypatch.setattr("trunkline.cli.predict.CHUNK", 2)
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "n": value} for value in (1, 2, "SECRET words")])
    sentence = fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "late.parquet")
    assert "column 'n' holds values that are not of the type of the first rows (int64)" in sentence and "SECRET" not in sentence
    assert not (tmp_path / "late.parquet").exists()
    assert "expected a file" in fails(2, "predict", trained, "-t", "x", "--format", "parquet")


def test_a_lone_surrogate_is_written_to_parquet_as_to_csv(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.cli.predict.CHUNK", 1)
    values = [("a\ud800", ["b", "\udfff"], {"k": "\ud800"}), ("a\udc00b", ["\udc01"], {"k": "\udc02"})]
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "one": one, "many": many, "nested": n} for one, many, n in values])
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.parquet")
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.csv")
    found = pq.read_table("out.parquet")
    with open("out.csv", newline="", encoding="utf-8") as file:
        assert [row["one"] for row in csv.DictReader(file)] == found.column("one").to_pylist() == ["a\\ud800", "a\\udc00b"]
    assert found.column("many").to_pylist() == [["b", "\\udfff"], ["\\udc01"]]
    assert found.column("nested").to_pylist() == [{"k": "\\ud800"}, {"k": "\\udc02"}]
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "n\ud800": 1}])
    sentence = fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "names.parquet")
    assert "column 'n\\ud800' has a name that is not Unicode, expected another, or --format jsonl" in sentence


def test_no_column_of_the_input_is_lost_to_a_prediction(trained, tmp_path):
    own = {"mood": "m", "given_mood": "g", "mood.score": 7, "mood.scores": [8], "given_mood.score": "s"}
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", **own}])
    mood = trained / "branches" / "mood"
    (row,) = lines(done("predict", mood, "-i", "new.jsonl", "--scores"))
    assert row.pop("given_mood_2") == "m" and set(row.pop("mood")) == {"label", "score", "scores"}
    assert row == {"text": "a film", **{name: value for name, value in own.items() if name != "mood"}}
    said = done("predict", mood, "-i", "new.jsonl", "--scores", "-o", "out.parquet").stderr
    assert "are renamed: 'mood' as 'given_mood_2', 'mood.score' as 'given_mood.score_2'," in said and "wrote 1 row to" in said
    found = pq.read_table("out.parquet").to_pylist()[0]
    assert (
        isinstance(found.pop("mood.score"), float)
        and found.pop("mood") in ("positive", "negative")
        and found.pop("mood.scores")
    )
    kept = {"text": "a film", "given_mood_2": "m", "given_mood": "g", "given_mood.score": "s", "given_mood.score_2": 7}
    assert found == {**kept, "given_mood.scores": [8]}
    done("predict", mood, "-i", "new.jsonl", "-o", "out.csv")
    with open("out.csv", newline="", encoding="utf-8") as file:
        (cells,) = csv.DictReader(file)
    assert cells["given_mood.score_2"] == "7" and cells["mood.scores"] == "[8]"  # not of a prediction without --scores


def test_names_of_earlier_rows_stay_when_a_column_comes_later():
    said = []
    names = OutputNames(flat=False, say=said.append)
    (first,) = names.renamed([Row({"mood": 1}, {"mood": {"label": "a"}})])
    (later,) = names.renamed([Row({"mood": 1, "given_mood": 2, "given_mood_2": 3}, {"mood": {"label": "a"}})])
    assert first.own == {"given_mood": 1} and later.own == {"given_mood": 1, "given_given_mood": 2, "given_mood_2": 3}
    assert len(said) == 2


def test_every_prediction_has_a_column_of_its_own():
    answers = {"a": {"label": "x", "score": 1}, "a.score": {"label": "y", "score": 2}, "a.score_2": {"value": 3}}
    places = answer_columns(answers)
    assert sorted(places.values()) == [
        ("a", "label"),
        ("a", "score"),
        ("a.score", "label"),
        ("a.score", "score"),
        ("a.score_2", "value"),
    ]
    assert places["a.score"] == ("a.score", "label") and places["a.score_3"] == ("a", "score")


def test_rows_without_a_text_keep_their_place_or_are_refused(trained, tmp_path):
    rows = [{"n": 0, "text": None}, {"n": 1, "text": TEXTS[0]}, {"n": 2, "text": "  "}]
    write_jsonl(tmp_path / "new.jsonl", rows)
    full = lines(done("predict", trained, "-t", TEXTS[0]))[0]
    for name in ("out.csv", "out.parquet"):
        said = done("predict", trained, "-i", "new.jsonl", "-o", name).stderr
        assert "2 rows have no text, so their predictions are empty; the first is new.jsonl line 1." in said
    found = pq.read_table("out.parquet").to_pylist()
    assert [row["n"] for row in found] == [0, 1, 2] and [row["mood"] for row in found] == [None, full["mood"]["label"], None]
    assert found[0]["city"] is None and found[2]["mood.score"] is None and found[1]["topics"] == full["topics"]["labels"]
    with open("out.csv", newline="", encoding="utf-8") as file:
        assert [(row["n"], row["mood"], row["city"] == "") for row in csv.DictReader(file)] == [
            ("0", "", True), ("1", full["mood"]["label"], False), ("2", "", True)
        ]  # fmt: skip
    told = json.loads(done("predict", trained, "-i", "new.jsonl", "--json").stdout)
    assert told["findings"] == ["2 rows have no text, so their predictions are empty; the first is new.jsonl line 1."]
    assert "new.jsonl line 1: found no text" in fails(2, "predict", trained, "-i", "new.jsonl", "--empty", "refuse")


def test_the_input_is_never_replaced(trained, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", made_up(3))
    before = (tmp_path / "new.jsonl").read_bytes()
    (tmp_path / "link.jsonl").symlink_to("new.jsonl")
    os.link(tmp_path / "new.jsonl", tmp_path / "hard.jsonl")
    for output in ("new.jsonl", tmp_path / "new.jsonl", "link.jsonl", "hard.jsonl"):
        sentence = fails(2, "predict", trained, "-i", "new.jsonl", "-o", output)
        assert "the file of --input as --output too" in sentence
    assert (tmp_path / "new.jsonl").read_bytes() == before


def test_the_suffix_names_the_format(trained, tmp_path):
    import gzip

    mood = trained / "branches" / "mood"
    done("predict", mood, "-t", "a great film", "-o", "out.tsv")
    assert (tmp_path / "out.tsv").read_text().splitlines()[0] == "text\tmood\tmood.score"
    done("predict", mood, "-t", "a great film", "-o", "out.csv.gz")
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).startswith(b"text,mood,mood.score\n")
    sentence = fails(2, "predict", mood, "-t", "a", "-o", "out.txt")
    assert "out.txt: unknown suffix '.txt', expected one of .csv" in sentence and not (tmp_path / "out.txt").exists()
    done("predict", mood, "-t", "a great film", "-o", "out.txt", "--format", "csv")


def test_answers_are_readable_on_a_terminal_and_json_elsewhere(trained, monkeypatch):
    from trunkline.cli import predict as _  # noqa: F401

    row = lines(done("predict", trained, "-t", "a great film in paris", "-t", ""))[0]
    monkeypatch.setattr(sys.modules["trunkline.cli.predict"], "_on_terminal", lambda: True)
    said = done("predict", trained, "-t", "a great film in paris", "-t", "", "-t", "b\x1b[2J\nc").stdout
    assert "\nb\\x1b[2J\\nc\n" in said
    assert said.startswith("a great film in paris\n") and f"mood: {row['mood']['label']} (" in said and "%)" in said
    assert "topics: " in said and "city: " in said and "(no text)" in said and "{" not in said
    assert json.loads(done("predict", trained, "-t", "a film", "--json").stdout)["rows"] == 1
    assert lines(done("predict", trained, "-t", "a film", "--format", "jsonl"))[0]["text"] == "a film"
    assert lines(done("predict", trained, input="a film\n"))[0]["text"] == "a film"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory, tiny_overrides):
    """A run that was trained on a text column `review`, tokens and tags."""
    home = tmp_path_factory.mktemp("tagger")
    rows = [{"review": row["text"], "words": row["text"].split()} for row in made_up(200)]
    for row in rows:
        row["tags"] = ["B-city" if word in ("paris", "tokyo") else "O" for word in row["words"]]
    write_jsonl(home / "rows.jsonl", rows)
    (home / "rows.yaml").write_text(
        "data: {train: rows.jsonl, text: review, validation: 20%}\ntasks: {city: {kind: token, tokens: words, tags: tags}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
        done("fit", home / "rows.yaml", *tiny_overrides, "training.epochs=8", "--run-dir", home / "run")
    return home / "run"


def test_offsets_are_of_the_text_that_is_written(tagger, tmp_path):
    """Also where tokens are not in the text, and where there is no text but a column that is called so."""
    words = ["we", "love", "paris", "-LRB-", "tokyo", "-RRB-"]
    rows = [
        {"review": "we love paris (tokyo)", "words": words},  # the Penn Treebank's spelling
        {"review": "so  we  love  tokyo", "words": ["other", "tokyo", "words"]},
        {"words": ["love", "tokyo"], "text": "no text of these words", "review": None},
    ]
    for some, shown in (
        (rows, ["review", "review", "review"]),
        ([{k: v for k, v in rows[2].items() if k != "review"}], ["text of words"]),
    ):
        write_jsonl(tmp_path / "new.jsonl", some)
        result = done("predict", tagger, "-i", "new.jsonl")
        for row, column in zip(lines(result), shown, strict=True):
            for span in row["city"]["spans"]:
                assert row[column][span["start"] : span["end"]] == span["text"], row
        if len(some) == 3:
            assert all(row["city"]["spans"] for row in lines(result)) and lines(result)[2]["review"] == "love tokyo"
            assert (
                "1 row has tokens and no text, which is the tokens joined by blanks; the first is new.jsonl line 3"
                in result.stderr
            )
            assert "1 row has tokens that are not in the text, so the words of the text are read instead" in result.stderr
    assert lines(result)[0]["text"] == "no text of these words"


def test_of_several_runs_the_error_names_the_one_that_cannot_read_the_data(trained, tagger, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film"}, {"text": "b", "n": 1}])
    sentence = fails(2, "predict", trained, tagger, "-i", "new.jsonl")
    assert "unknown name 'review'" in sentence and str(tagger / "branches" / "city") in sentence
    assert "--column NAME names the column of the texts" in sentence
    rows = lines(done("predict", trained / "branches" / "mood", tagger, "-i", "new.jsonl", "--column", "text"))
    assert [set(row) for row in rows] == [{"text", "n", "mood", "city"}] * 2
    assert "expected ROLE=NAME" in fails(2, "predict", tagger, "-i", "new.jsonl", "--column", "=x")
    assert "--column: unknown name 'txt'" in fails(2, "predict", tagger, "-i", "new.jsonl", "--column", "txt=text")


def test_what_a_reader_left_out_is_told(trained, tmp_path):
    rows = [{"text": f"a happy film {number}", "_task_hash": number, "answer": "accept"} for number in range(5)]
    rows[3]["answer"] = "reject"
    write_jsonl(tmp_path / "new.jsonl", rows)
    result = done("predict", trained / "branches" / "mood", "-i", "new.jsonl")
    assert len(result.stdout.splitlines()) == 4
    assert "1 row left out: their answer in Prodigy is 'reject'." in result.stderr
    (tmp_path / "new.csv").write_text("text,more\na happy film,x\n,\n,\n")
    told = json.loads(done("predict", trained / "branches" / "mood", "-i", "new.csv", "-o", "out.jsonl", "--json").stdout)
    assert told["findings"] == ["2 rows left out, as every cell is empty."]
