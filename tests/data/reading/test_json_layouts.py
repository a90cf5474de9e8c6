"""JSON as it is written in practice: lines, arrays, indented objects, and what pandas makes of a data frame."""

import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.data.reading import json_values
from trunkline.data.reading.lines import read_blocks
from trunkline.data.sources import read_chunks, read_table
from trunkline.errors import BadInput

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROWS = [{"text": "amber [delta]", "label": "a"}, {"text": 'birch "x" {', "label": None}, {"text": "cedar\n", "label": "b"}]
COLUMNS = {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]}


def read(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    whole, pieces = read_table(str(path)), list(read_chunks(str(path), 2))
    for name, values in whole.columns.items():
        assert [value for piece in pieces for value in piece.columns.get(name, [None] * len(piece))] == values
    places = [whole.where(row) for row in range(len(whole))]
    assert [piece.where(row) for piece in pieces for row in range(len(piece))] == places
    return whole


LAYOUTS = {
    "lines": "\n".join(map(json.dumps, ROWS)),
    "array": json.dumps(ROWS),
    "array of lines": "[" + ",\n".join(map(json.dumps, ROWS)) + "]\n",
    "indented array": json.dumps(ROWS, indent=2),
    "indented objects": "\n".join(json.dumps(row, indent=4) for row in ROWS),
    "objects on one line": "".join(map(json.dumps, ROWS)),
    "array under a key": json.dumps({"version": "1.0", "data": ROWS}),
    "array beside others": json.dumps({"features": [{"name": "text"}], "rows": ROWS}),
    "array under any key": json.dumps({"reviews": ROWS}, indent=1),
    "columns": json.dumps(COLUMNS),
    "pandas": pd.DataFrame(ROWS).to_json(),
    "pandas split": pd.DataFrame(ROWS).to_json(orient="split"),
    "pandas index": pd.DataFrame(ROWS).to_json(orient="index"),
    "pandas records": pd.DataFrame(ROWS).to_json(orient="records", indent=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(tmp_path, layout):
    assert read(tmp_path / "x.json", LAYOUTS[layout]).columns == COLUMNS


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if "column" not in layout and "key" not in layout][:6])
def test_arrays_and_indented_objects_are_read_under_the_suffix_of_lines_too(tmp_path, layout):
    assert read(tmp_path / "x.jsonl", LAYOUTS[layout]).columns == COLUMNS


@pytest.mark.parametrize(
    "texts", [["SECRET is a slow film", "so bad a film", "SECRET"], [f"SECRET {i}" for i in range(12)], ["SECRET"] * 12]
)
def test_texts_as_the_keys_of_an_object_are_refused_and_not_shown(tmp_path, texts):
    value = {f"{text}{' ' * i}": ["pos", "neg"][i % 2] for i, text in enumerate(texts)}
    message = rf"found one object with a label or number for each of {len(value)} texts, expected rows, such as \[\{{\"text\""
    with pytest.raises(BadInput, match=message) as error:
        read(tmp_path / "x.json", value)
    assert "SECRET" not in str(error.value)
    answers = {"text": "a film", "is it a good one": "yes", "was it too long": "no", **{f"q{i}": "no" for i in range(12)}}
    for row in (answers, {"what do you think?": "a film", "is it a good one?": "yes", "was it too long?": "no"}):
        assert read(tmp_path / "x.json", row).columns == {name: [value] for name, value in row.items()}


def test_an_object_of_one_row_stays_a_row(tmp_path):
    row = {"tokens": ["a", "b"], "tags": ["O", "O"]}
    assert read(tmp_path / "x.json", row).columns == {"tokens": [["a", "b"]], "tags": [["O", "O"]]}
    row = {"text": "a", "annotations": [{"name": "x"}], "topics": [{"name": "y"}]}
    assert read(tmp_path / "x.json", row).columns == {name: [value] for name, value in row.items()}
    row = {"text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}]}
    assert read(tmp_path / "x.json", row).columns == {"text": ["a"], "spans": [row["spans"]]}
    assert read(tmp_path / "x.jsonl", {"labels": ["a", "b"]}).columns == {"labels": [["a", "b"]]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@SETTINGS
@given(
    rows=st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES, min_size=1), min_size=2, max_size=5),
    indent=st.sampled_from([None, 0, 3]),
    array=st.booleans(),
    size=st.integers(1, 40),
)
def test_a_stream_of_values_is_what_json_wrote(tmp_path, monkeypatch, rows, indent, array, size):
    """With windows of a few characters, so that every value is cut somewhere."""
    made = json.dumps(rows, indent=indent) if array else "\n".join(json.dumps(row, indent=indent) for row in rows)
    (tmp_path / "x.json").write_text(made)
    monkeypatch.setattr(json_values, "read_blocks", lambda path, source, **more: read_blocks(path, source, size, **more))
    stream = json_values._Stream(tmp_path / "x.json", "x.json")
    found = list(stream.items() if array else stream.values())
    assert [value for _, value in found] == rows
    lines = made.split("\n")
    assert all("{" in lines[line - 1] for line, _ in found)
    assert [line for line, _ in found] == sorted(line for line, _ in found)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ('[{"a": 1},\n {"a": }]', r"x\.json line 2 column 8: broken JSON"),
        ('[{"a": 1}\n {"a": 2}]', r"x\.json line 2 column 2: broken JSON \(expected ',' or '\]'\)"),
        ('[{"a": 1}, {"a": "cut', r"x\.json line 1 column 18: broken JSON \(the file ends inside a string\)"),
        (
            '{"a": 1}\n{"a": "cut\n{"a": 3}',
            r"line 2 column 7: broken JSON \(the line ends inside a string\), expected one JSON",
        ),
        ('{"a": 1}\n{"a": 1, "b"\n{"a": 3}', r"line 2 column 13: broken JSON \(the line ends too early\)"),
        ('{"a": 1}\n{"a": 1 "b": 2}', r"line 2 column 9: broken JSON \(a comma is missing between two values\)"),
        ('{"a": 1}\n{"a": }', r"line 2 column 7: broken JSON \(a value is missing\)"),
        ('{"a": 1}\n{"a": 1} 2', r"line 2 column 10: broken JSON \(something follows the value\)"),
        ('[{"a": 1}', r"line 1 column 10: broken JSON"),
        ('[{"a": 1}] {"a": 2}', r"line 1 column 12: broken JSON \(something follows the array\)"),
        ('[{"a": 1}, 7]', r"x\.json row 2: found a number, expected JSON objects, such as"),
        ('{\n"a": 1\n}\n{\n"a": tru\n}', r"line 5 column 6: broken JSON"),
        ("[]", r"no rows found"),
        ('[["a", "x"], ["b", "y"]]', r"x\.json row 1: found a list, expected JSON objects, such as"),
        ("{'a': 1}\n{'a': 2}", r"line 1 column 2: broken JSON .*, with double quotes as json\.dumps writes them"),
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', r"found several arrays of rows \('train', 'test'\), expected one"),
        ('{"text": ["a", "b"], "label": ["x"]}', r"the lists of its columns differ in length, 2 in 'text' and 1 in 'label'"),
        ('["a", "b"]', r"line 1: found a list, expected one JSON object"),
    ],
)
def test_broken_layouts_are_one_sentence(tmp_path, data, match):
    (tmp_path / "x.json").write_text(data)
    for read_it in (read_table, lambda path: list(read_chunks(path, 2))):
        with pytest.raises(BadInput, match=match) as caught:
            read_it(str(tmp_path / "x.json"))
        assert "\n" not in str(caught.value)


def test_a_large_array_is_read_in_windows(tmp_path, monkeypatch):
    """No window holds much more than a block, though the file is one line."""
    monkeypatch.setattr(json_values, "read_blocks", lambda path, source, **more: read_blocks(path, source, 500, **more))
    (tmp_path / "x.json").write_text(json.dumps([{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(3000)]))
    held = []
    more = json_values._Stream.more
    monkeypatch.setattr(json_values._Stream, "more", lambda self, n: (more(self, n), held.append(len(self.text)))[0])
    assert sum(len(piece) for piece in read_chunks("x.json", 7, base=tmp_path)) == 3000
    assert len(held) > 100 and max(held) < 2000
