"""What `predict` writes is read back, guessed, trained on and scored without loss, in every format that is written and read."""

import json
from types import SimpleNamespace

import pytest
from bundletools import make
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import columns, label_sets
from trunkline.data.guess import guess_columns
from trunkline.data.sources import read_table
from trunkline.data.writing import output_format
from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.model.rows import OutputNames, Row, separators_of, writing
from trunkline.model.table_scores import score_table
from trunkline.serving.bulk import predict_file
from trunkline.tasks.labels import Reading
from trunkline.tasks.multilabel import MultilabelConfig, MultilabelLearned, MultilabelTask
from trunkline.training.config import resolve
from trunkline.training.prepare import prepare
from trunkline.trunk.load import load_trunk

NAMES = ["out.csv", "out.csv.gz", "out.tsv", "out.jsonl", "out.jsonl.gz", "out.json", "out.parquet", "out.xlsx"]
LABEL = st.sampled_from(["joy", "01", "no", "a b", "it's", "[x]", "é\U0001f600"])
SCORE = st.integers(0, 10**6).map(lambda n: n / 10**6)


@st.composite
def predictions(draw):
    text = draw(st.text(st.sampled_from("ab é\U0001f600,\"'\t"), min_size=1, max_size=10).filter(str.strip))
    start = draw(st.integers(0, len(text) - 1))
    end = draw(st.integers(start + 1, len(text)))
    span = {"start": start, "end": end, "label": draw(LABEL), "text": text[start:end], "score": draw(SCORE)}
    return Row(
        {"text": text, "id": draw(st.integers(0, 9))},
        {
            "mood": {"label": draw(LABEL), "score": draw(SCORE)},
            "topics": {"labels": draw(st.lists(LABEL, max_size=3, unique=True))},
            "city": {"spans": draw(st.sampled_from([[], [span]]))},
            "stars": {"value": round(draw(SCORE) - 0.5, 6)},
        },
    )


def write(path, rows):
    with (
        open(path, "wb") as file,
        writing(file, output_format(path, None), OutputNames(output_format(path, None).form.flat)) as put,
    ):
        put(rows)


def parsed(table):
    """All columns of predictions as tasks read them."""
    spans = columns.span_lists(table, "city")
    return (
        columns.labels(table, "mood"),
        label_sets.label_sets(table, "topics"),
        columns.numbers(table, "stars"),
        [None if row is None else sorted(row) for row in spans],
    )


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=8)
@given(rows=st.lists(predictions(), min_size=1, max_size=4))
def test_predictions_come_back_from_every_format(tmp_path_factory, name, rows):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    path = tmp_path_factory.mktemp("trip") / name
    write(path, rows)
    table = read_table(str(path))
    assert columns.texts(table, "text") == [row.own["text"] for row in rows]
    assert parsed(table) == (
        [row.answers["mood"]["label"] for row in rows],
        [row.answers["topics"]["labels"] for row in rows],
        [row.answers["stars"]["value"] for row in rows],
        [sorted((s["start"], s["end"], s["label"]) for s in row.answers["city"]["spans"]) for row in rows],
    )


def made_predictions(count=40):
    rows = []
    for number in range(count):
        text = f"text {'xyz'[number % 3]} number {number} in Oslo"
        at = text.index("Oslo")
        spans = [{"start": at, "end": at + 4, "label": "city", "text": "Oslo", "score": 0.9}] if number % 4 else []
        labels = ["film"] * (number % 2) + ["music"] * (number % 3 == 0)
        answers = {
            "mood": {"label": ("joy", "fear")[number % 2], "score": 0.5 + number / 1000},
            "topics": {"labels": labels},
            "city": {"spans": spans},
            "stars": {"value": number / 7},
        }
        rows.append(Row({"text": text, "id": number}, answers))
    rows[5] = Row(
        {"text": None, "id": 5},
        {"mood": {"label": None, "score": None}, "topics": {"labels": None}, "city": {"spans": None}, "stars": {"value": None}},
    )
    return rows


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("gz")])
def test_predictions_are_guessed_as_what_they_are(tmp_path, name):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    path = tmp_path / name
    write(path, made_predictions())
    table = read_table(str(path))
    found = guess_columns(table)
    assert found.text == "text" and {task: section["kind"] for task, section in found.tasks.items()} == {
        "mood": "sequence",
        "topics": "multilabel",
        "city": "token",
        "stars": "regression",
    }
    labels, topics, stars, city = parsed(table)
    assert labels[5] is stars[5] is city[5] is None and labels.count("joy") == 20 and topics[3] == ["film", "music"]
    (prepared,) = prepare(resolve(found.config(str(path))))
    assert prepared.tasks["mood"].labels == ["fear", "joy"] and prepared.tasks["topics"].labels == ["film", "music"]
    assert prepared.tasks["city"].types == ["city"] and sum(len(one.corpus) for one in prepared.splits.values()) == 39
    spans = sum((one.targets["city"].values == 1).sum() for one in prepared.splits.values())
    assert spans == sum(bool(row) for row in city if row is not None)
    assert any("1 row has no text and is skipped" in said for said in prepared.findings)
    assert not any("word edges" in said or "left out" in said for said in prepared.findings if "every cell" not in said)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_what_columns_of_zeros_and_ones_and_numbers_are_predicted_as_is_scored_and_said(tmp_path, tiny_trunk_dir, name):
    """Labels that were trained on in columns of 0 and 1 are written as lists, which are read as answers; nothing in a table
    tells such predictions from labels of people, but that all of them agree."""
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    bundle = Bundle(trunk, {"labels": make(trunk, "multilabel", seed=3), "stars": make(trunk, "regression")})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": "so good " * n}) + "\n" for n in range(1, 13)))
    predict_file(bundle, tmp_path / "in.jsonl", tmp_path / name)
    table, said = read_table(str(tmp_path / name)), []
    scores = score_table(bundle, table, said.append)
    assert scores["labels"]["metrics"]["accuracy"] == 1 and scores["stars"]["metrics"]["mae"] < 1e-5
    for task in bundle.branches:
        (of,) = [one for one in said if f"column {task!r}" in one]
        sure = "holds predictions, so the scores" if name == "out.jsonl" else "are what"
        assert sure in of and f"--column {task}=NAME names the column with the right answers" in of
    first = label_sets.label_sets(table, "labels")
    assert ["price"] in first or ["staff"] in first or ["price", "staff"] in first, first
    wrong = table.replaced({"topics": [["other"], *first[1:]], "stars": [3.0] * 12})
    said.clear()
    scores = score_table(bundle, wrong, said.append, columns={"labels": "topics"}, reading=Reading(True))
    assert scores["labels"]["metrics"]["accuracy"] == pytest.approx(11 / 12) and any("'other'" in one for one in said)
    assert not any("are what" in one for one in said)
    with pytest.raises(BadInput, match="column 'text' holds a string, expected a list of labels"):
        score_table(bundle, table, columns={"labels": "text"})


@pytest.mark.parametrize("name", ["out.parquet", "out.xlsx"])
def test_offsets_are_of_the_text_that_is_written(tmp_path, tiny_trunk_dir, name):
    """Also where a format holds line ends or lone surrogates in another way."""
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    bundle = Bundle(trunk, {"city": make(trunk, "token")})
    texts = ["so\r\n good in\r\nparis", "\ud83d so good", "a\rb\r\nparis", "so good"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = predict_file(bundle, tmp_path / "in.jsonl", tmp_path / name)
    table = read_table(str(tmp_path / name))
    spans = columns.cells(table, "city")
    for text, own, there in zip(texts, columns.texts(table, "text"), spans, strict=True):
        words = [text[one["start"] : one["end"]] for one in bundle.predict(text.replace("\ud83d", "\ufffd"))["city"]["spans"]]
        assert words and [own[one["start"] : one["end"]] for one in there] == [one["text"] for one in there]
        assert [one["text"].replace("\n", "") for one in there] == [
            word.replace("\r", "").replace("\n", "").replace("\ud83d", "\ufffd") for word in words
        ] or not name.endswith("xlsx")
    assert [one for one in done.findings if "line ends" in one] == (
        [
            "2 texts have line ends of two characters (CR LF), which are one (LF) in .xlsx; offsets in predictions are of the "
            "texts there, and any that the input has itself are not."
        ]
        if name.endswith("xlsx")
        else []
    )


LISTED = ["a|b", "a | b", "[x]", "1", "nan", "joy"]


@settings(deadline=None, max_examples=30)
@given(
    labels=st.lists(st.sampled_from(LISTED) | st.text('ab |;,["1', min_size=1).map(str.strip), min_size=1, unique=True),
    mark=st.sampled_from(["|", " | ", ";", ", ", " "]),
    data=st.data(),
)
def test_joined_labels_come_back_from_tables(tmp_path_factory, labels, mark, data):
    """Labels are joined as in the data that a task was trained on, where nothing is lost by it."""
    task = MultilabelTask("t", MultilabelConfig(labels="topics", separator=mark), labels, MultilabelLearned())
    branch = SimpleNamespace(task=task)
    held = data.draw(st.lists(st.lists(st.sampled_from(labels), unique=True), min_size=1, max_size=4))
    rows = [Row({"text": "so"}, {"topics": {"labels": one}}) for one in held]
    path = tmp_path_factory.mktemp("trip") / "out.csv"
    with (
        open(path, "wb") as file,
        writing(file, output_format(path, None), OutputNames(True), None, separators_of({"topics": branch})) as put,
    ):
        put(rows)
    table = read_table(str(path))
    wanted = [[label for label in one if label.strip()] for one in held]
    assert label_sets.label_sets(table, "topics", separator=mark) == wanted
    if all(label.isalpha() for label in labels):
        assert table.columns["topics"] == [mark.join(one) or None for one in held]


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_joined_where_a_cell_holds_no_list(tmp_path, name):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    path = tmp_path / name
    rows = [Row({"text": "so"}, {"topics": {"labels": one}}) for one in (["film", "music"], ["music"], [], None)]
    form = output_format(path, None)
    with open(path, "wb") as file, writing(file, form, OutputNames(form.form.flat), None, {"topics": "|"}) as put:
        put(rows)
    found = read_table(str(path)).columns["topics"]
    joined = [value["labels"] if isinstance(value, dict) else value for value in found]
    lists = [["film", "music"], ["music"], [], None]
    assert joined == (lists if name.endswith(("jsonl", "jsonl.gz", "json", "parquet")) else ["film|music", "music", None, None])
