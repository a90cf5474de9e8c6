"""What `predict` writes is read back, guessed, trained on and scored without loss, in every format that is written and read."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import columns, label_sets
from trunkline.data.guess import guess_columns
from trunkline.data.sources import read_table
from trunkline.data.writing import output_format
from trunkline.model.rows import OutputNames, Row, separators_of, writing
from trunkline.tasks.multilabel import MultilabelConfig, MultilabelLearned, MultilabelTask
from trunkline.training.config import resolve
from trunkline.training.prepare import prepare

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


@pytest.mark.parametrize("name", NAMES)
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
