"""What `predict` writes: columns of any type and name, formats, rows without a text, offsets."""

import csv
import io
import json
import os
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clitools import done, fails, made_up, write_jsonl

from trunkline.data.corpus import segment
from trunkline.data.sources import read_table
from trunkline.data.values.tags import spans_to_tags
from trunkline.model.rows import OutputNames, Row, answer_columns

TEXTS = [row["text"] for row in made_up(25, seed=9)]
NAMES = ["mood", "score", "topics", "city"]  # as in the config


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


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
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 2)
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
    assert json.loads(first["nested"]) == one["nested"] and first["raw"] == "AP8=" and second["nan"] == ""
    assert first["mood"] == one["mood"]["label"] and second["at"] == "" and first["price"] == "1.10"
    whole = json.loads(done("predict", trained / "branches" / "mood", "-i", "odd.parquet", "--json").stdout)
    assert whole["predictions"] == [one, other, last]


def test_parquet_output_of_mixed_values(trained, tmp_path, monkeypatch):
    values = [1, "a", [2], None, {"b": 1}]
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "odd": value, "n": 1} for value in values])
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.parquet")
    assert pq.read_table("out.parquet").column("odd").to_pylist() == ["1", "a", "[2]", None, '{"b": 1}']
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 2)
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "n": value} for value in (1, 2, "SECRET words")])
    sentence = fails(2, "predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "late.parquet")
    assert "column 'n' holds values that are not of the type of the first rows (int64)" in sentence and "SECRET" not in sentence
    assert not (tmp_path / "late.parquet").exists()
    assert "expected a file" in fails(2, "predict", trained, "-t", "x", "--format", "parquet")


def test_a_lone_surrogate_is_written_to_parquet_as_to_csv(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 1)
    values = [("a\ud800", ["b", "\udfff"], {"k": "\ud800"}), ("a\udc00b", ["\udc01"], {"k": "\udc02"})]
    write_jsonl(tmp_path / "new.jsonl", [{"text": "a film", "one": one, "many": many, "nested": n} for one, many, n in values])
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.parquet")
    done("predict", trained / "branches" / "mood", "-i", "new.jsonl", "-o", "out.csv")
    found = pq.read_table("out.parquet")
    with open("out.csv", newline="", encoding="utf-8") as file:
        assert [row["one"] for row in csv.DictReader(file)] == found.column("one").to_pylist() == ["a\ufffd", "a\ufffdb"]
    assert found.column("many").to_pylist() == [["b", "\ufffd"], ["\ufffd"]]
    assert found.column("nested").to_pylist() == [{"k": "\ufffd"}] * 2
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
        assert "found the input as the output too" in sentence
    assert (tmp_path / "new.jsonl").read_bytes() == before


def test_the_suffix_names_the_format(trained, tmp_path):
    import gzip

    mood = trained / "branches" / "mood"
    done("predict", mood, "-t", "a great film", "-o", "out.tsv")
    assert (tmp_path / "out.tsv").read_text().splitlines()[0] == "text\tmood\tmood.score"
    done("predict", mood, "-t", "a great film", "-o", "out.csv.gz")
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).startswith(b"text,mood,mood.score\n")
    sentence = fails(2, "predict", mood, "-t", "a", "-o", "out.txt")
    assert "out.txt: unknown suffix '.txt', expected one of .conll" in sentence and not (tmp_path / "out.txt").exists()
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
    assert "no column 'review'" in sentence and str(tagger / "branches" / "city") in sentence
    assert "--column text names the column of the texts" in sentence
    rows = lines(done("predict", trained / "branches" / "mood", tagger, "-i", "new.jsonl", "--column", "text"))
    assert [set(row) for row in rows] == [{"text", "n", "mood", "city"}] * 2
    assert "expected [ROLE=]NAME" in fails(2, "predict", tagger, "-i", "new.jsonl", "--column", "=x")
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
    assert told["findings"] == ["new.csv: 2 rows left out, as every cell is empty."]


def test_words_and_predicted_tags_are_written_as_columns_and_read_again(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.serving.bulk.CHUNK", 2)
    city = trained / "branches" / "city"
    write_jsonl(tmp_path / "new.jsonl", [{"text": text} for text in (*TEXTS[:4], " ", "")])
    done("predict", city, "new.jsonl", "-o", "out.conll")
    table = read_table("out.conll")
    spans = [row["city"]["spans"] for row in lines(done("predict", city, "new.jsonl"))[:4]]
    assert table.columns["tokens"] == [[text[a:b] for a, b in segment(text)] for text in TEXTS[:4]]
    assert table.columns["tags"] == [spans_to_tags(own, segment(text)).tags for text, own in zip(TEXTS, spans, strict=False)]
    assert any(spans)
    sentence = fails(2, "predict", trained, "new.jsonl", "-o", "out.conll")
    assert "mood (sequence), score (regression), topics (multilabel), city (token) and the format conll, which" in sentence
    assert done("predict", city, "-t", TEXTS[0], "--format", "conll").stdout.count("\t") == len(segment(TEXTS[0]))
