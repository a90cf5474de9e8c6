"""Exports of annotation tools, made here as their documentation shows them."""

import json

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.data.columns import labels
from trunkline.data.formats.annotations import tools
from trunkline.data.guess import guess_columns
from trunkline.data.memory import table_of
from trunkline.data.sources import read_chunks, read_table
from trunkline.errors import BadInput

SPAN = {"start": 0, "end": 5, "label": "TREE"}


def read(path, rows):
    lines = path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows, indent=1))
    whole, pieces = read_table(str(path)), list(read_chunks(str(path), 2))
    for name, values in whole.columns.items():
        assert [value for piece in pieces for value in piece.columns[name]] == values
    assert {finding for piece in pieces for finding in piece.findings} == set(whole.findings)
    return whole


def test_every_tool_has_a_name():
    assert tools.names() == ["doccano", "gliner", "label_studio", "label_studio_min", "prodigy", "spacy"]


# doccano


@pytest.mark.parametrize("key", ["label", "labels", "entities"])
def test_doccano_triples_become_spans(tmp_path, key):
    rows = [
        {"id": 1, "text": "amber", key: [[0, 5, "TREE"]], "Comments": []},
        {"id": 2, "text": "x y", key: [], "Comments": []},
    ]
    table = read(tmp_path / "x.jsonl", rows)
    assert table.columns == {"id": [1, 2], "text": ["amber", "x y"], "spans": [[SPAN], []]} and not table.findings


def test_doccano_offsets_and_relations(tmp_path):
    entity = {"id": 7, "label": "TREE", "start_offset": 0, "end_offset": 5}
    row = {
        "id": 1,
        "text": "amber",
        "entities": [entity],
        "relations": [{"from_id": 7, "to_id": 7, "type": "x"}],
        "cats": ["a"],
    }
    table = read(tmp_path / "x.jsonl", [row, {**row, "relations": [], "cats": ["b"]}])
    assert table.columns["spans"] == [[{**SPAN, "id": 7}]] * 2 and table.columns["labels"] == [["a"], ["b"]]
    assert table.findings[0] == "1 relation left out: relations between spans are not read."


def test_doccano_classes(tmp_path):
    rows = [{"id": i, "data": f"t{i}", "label": [label], "Comments": []} for i, label in enumerate("abab")]
    table = read(tmp_path / "x.jsonl", rows)
    assert table.columns == {"id": [0, 1, 2, 3], "text": ["t0", "t1", "t2", "t3"], "labels": [["a"], ["b"], ["a"], ["b"]]}
    assert labels(table, "labels") == ["a", "b", "a", "b"]
    assert guess_columns(table).tasks == {"labels": {"kind": "sequence", "label": "labels"}}
    rows[2]["label"], rows[3]["label"] = ["a", "b"], []
    table = read(tmp_path / "x.json", rows)
    assert table.columns["labels"] == [["a"], ["b"], ["a", "b"], []] and "label" not in table.columns
    assert guess_columns(table).tasks == {"labels": {"kind": "multilabel", "labels": "labels"}}


# Label Studio


def region(start=0, end=5, labels=("TREE",), **more):
    value = {"start": start, "end": end, "text": "amber", "labels": list(labels)}
    return {"from_name": "ner", "to_name": "text", "type": "labels", "value": value, **more}


def choice(*names, control="mood"):
    return {"from_name": control, "to_name": "text", "type": "choices", "value": {"choices": list(names)}}


def task(number, *annotations, text="amber birch"):
    made = [
        {"id": i, "was_cancelled": False, "result": one} if isinstance(one, list) else one for i, one in enumerate(annotations)
    ]
    return {
        "id": number,
        "data": {"text": text, "origin": "x"},
        "annotations": made,
        "predictions": [{"result": [region(6, 11)]}],
    }


def test_label_studio_regions_and_choices(tmp_path):
    rows = [task(1, [region(), choice("glad")]), task(2, [choice("sad")]), task(3, [region(6, 11, ("ROCK", "HILL"))])]
    table = read(tmp_path / "x.json", rows)
    assert list(table.columns) == ["id", "text", "origin", "spans", "mood"]
    assert table.columns["spans"] == [
        [SPAN],
        [],
        [{"start": 6, "end": 11, "label": "ROCK"}, {"start": 6, "end": 11, "label": "HILL"}],
    ]
    assert table.columns["mood"] == [["glad"], ["sad"], None]


def test_one_task_of_label_studio_in_a_file_of_its_own(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(task(1, [region(), choice("glad")])))
    assert read_table("x.json", base=tmp_path).columns["spans"] == [[SPAN]]


def test_label_studio_takes_the_first_completed_annotation_and_says_what_it_left_out(tmp_path):
    cancelled = {"id": 9, "was_cancelled": True, "result": [choice("wrong")]}
    of_region = {"type": "choices", "from_name": "mood", "value": {"start": 0, "end": 5, "text": "amber", "choices": ["glad"]}}

    own = {"text": "amber birch", "spans": [SPAN, SPAN]}

    def rated(number):
        return {"type": "rating", "from_name": "stars", "value": {"rating": number}}

    rows = [
        task(1, cancelled, [choice("glad", "calm")], [choice("sad")]),
        task(2, cancelled),
        task(3),
        task(4, [choice("sad"), {"type": "relation", "from_id": "a", "to_id": "b"}, region(labels=())]),
        {**task(5, [rated(3), rated(2), choice("sad"), of_region, {**of_region, "type": "new {x}"}]), "data": own},
    ]
    table = read(tmp_path / "x.json", rows)
    assert table.columns["id"] == [1, 3, 4, 5] and table.columns["mood"] == [["glad", "calm"], None, ["sad"], ["sad"]]
    assert table.columns["stars"] == [None, None, None, 2]
    assert table.findings == (
        "1 row annotated several times: the first annotation that was completed is read.",
        "1 row left out: skipped in Label Studio (was_cancelled).",
        "1 row without an annotation: predictions are not read.",
        "1 relation left out: relations between spans are not read.",
        "1 annotation left out, without a label.",
        "1 value left out, as the same control has a later one ('stars').",
        "2 annotations left out: of a region and not of the whole text ('mood').",
        "1 row with spans in its data, in whose place the regions are read.",
    )
    with pytest.raises(BadInput, match=r"looks like a task .*; 2 rows without an annotation: predictions are not read\)?$"):
        bare = [{key: part for key, part in task(i, text=f"a b {i}").items() if key != "annotations"} for i in range(2)]
        guess_columns(read(tmp_path / "y.json", bare))


LONG = "a body of the text that goes on for some more words"


@pytest.mark.parametrize(
    ("on", "data", "kept", "findings"),
    [
        # by the names of the fields, by the words that are marked, and what is left over where those are not there
        ("tb", {}, "ROCK", ["2 regions left out, as they are on another text than those that are read ('title')."]),
        ("tb", {"text": "x y"}, "TREE", ["2 regions left out, as they are on another text", "the regions are on 'title'"]),
        (["title", "body"], {}, "ROCK", ["2 regions left out, as they are on another text"]),
        ("t", {}, "TREE", ["the regions are on 'title', while 'body' looks like the texts: name 'title' as the text column"]),
        ("b", {}, "ROCK", []),
    ],
)
def test_label_studio_regions_of_one_text_are_read(tmp_path, on, data, kept, findings):
    parts = {"t": ("TREE", "amber"), "b": ("ROCK", "a bod"), "title": ("TREE", None), "body": ("ROCK", None)}
    result = []
    for place, name in enumerate(on):
        label, covered = parts[name]
        made = region(labels=[label], to_name=name)
        made["value"]["text"] = covered if place == 0 else None
        result.append(made)
    rows = [{**task(i, result), "data": {"title": f"amber {i}", "body": f"{LONG} {i}", **data}} for i in range(2)]
    table = read(tmp_path / "x.json", rows)
    assert [[span["label"] for span in spans] for spans in table.columns["spans"]] == [[kept]] * 2
    assert len(table.findings) == len(findings)
    assert all(said.startswith(start) for said, start in zip(table.findings, findings, strict=True))


def test_label_studio_html_has_offsets_of_the_whole_text(tmp_path):
    value = {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 3, "endOffset": 8}
    value |= {"hypertextlabels": ["TREE"], "globalOffsets": {"start": 0, "end": 5}}
    part = {"from_name": "ner", "to_name": "text", "type": "hypertextlabels", "value": value}
    assert read(tmp_path / "x.json", [task(1, [part]), task(2, [])]).columns["spans"] == [[SPAN], []]


def test_label_studio_min(tmp_path):
    more = {"annotator": 1, "annotation_id": 4, "created_at": "2024-01-01", "updated_at": "2024-01-01", "lead_time": 3.2}
    spans = [{"start": 0, "end": 5, "text": "amber", "labels": ["TREE"]}]
    rows = [
        {"id": 1, "text": "amber", "ner": spans, "mood": "glad", **more},
        {"id": 1, "text": "amber", "mood": "sad", **more},
        {"id": 2, "text": "birch", "mood": "sad", "topics": {"choices": ["a", "b"]}, **more},
        {"id": 3, "text": "cedar", "mood": "sad", "topics": "a", **more},
    ]
    table = read(tmp_path / "x.json", rows)
    assert table.columns == {
        "id": [1, 2, 3],
        "text": ["amber", "birch", "cedar"],
        "spans": [[{**SPAN, "text": "amber"}], [], []],
        "mood": ["glad", "sad", "sad"],
        "topics": [None, ["a", "b"], ["a"]],
    }
    assert table.findings == ("1 row left out: another annotation of the same task.",)
    mark = {"start": 0, "end": 5, "labels": ["TREE"]}
    parts = {"a": [{**mark, "text": "amber"}], "b": [{**mark, "text": "a bod"}], "c": [mark]}  # where c is, nothing says
    rows = [{"id": i, "title": f"amber {i}", "body": f"{LONG} {i}", **more, **parts} for i in range(2)]
    table = read(tmp_path / "y.json", rows)
    assert table.columns["spans"] == [[{**SPAN, "text": "a bod"}, SPAN]] * 2
    assert table.findings == ("2 regions left out, as they are on another text than those that are read ('title').",)


# Prodigy


def test_prodigy_keeps_what_was_accepted(tmp_path):
    rows = [
        {"text": f"amber {i}", "_input_hash": i, "_task_hash": 7 * i, "spans": [{**SPAN, "token_start": 0}], "answer": answer}
        for i, answer in enumerate(["accept", "reject", "ignore", "accept", "reject"])
    ]
    rows[3]["spans"], rows[3]["_timestamp"] = [{"start": 0, "end": 5}], 1700000000
    table = read(tmp_path / "x.jsonl", rows)
    assert table.columns == {"text": ["amber 0", "amber 3"], "spans": [[SPAN], []]} and list(table.lines) == [1, 4]
    assert table.findings == (
        "2 rows left out: their answer in Prodigy is 'reject'.",
        "1 row left out: their answer in Prodigy is 'ignore'.",
        "1 span left out, without offsets or a label.",
    )


PRODIGY = [
    {"text": f"amber {i}", "_task_hash": i, "spans": [SPAN], "accept": ["a"] if i else ["a", "b"], "answer": answer}
    for i, answer in enumerate(["accept", "Reject", None, "ACCEPT", "ignore", "accept"])
]


def prodigy_source(tmp_path, form):
    """The export in a format, or in memory."""
    path, frame = tmp_path / f"x.{form}", pandas.DataFrame(PRODIGY)
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in PRODIGY))
    elif form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path, index=False)
    else:
        return table_of({"frame": frame, "rows": PRODIGY}[form], "given")
    return read_table(str(path))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "frame", "rows"])
def test_prodigy_answers_count_in_any_case_and_any_format(tmp_path, form):
    table = prodigy_source(tmp_path, form)
    assert table.columns == {
        "text": ["amber 0", "amber 2", "amber 3", "amber 5"],
        "spans": [[SPAN]] * 4,
        "labels": [["a", "b"], ["a"], ["a"], ["a"]],
    }
    assert table.findings == (
        "1 row left out: their answer in Prodigy is 'reject'.",
        "1 row without an answer in Prodigy, read as if accepted.",
        "1 row left out: their answer in Prodigy is 'ignore'.",
    )
    assert table.where(2).split()[-2:] == (["line", "5"] if form == "csv" else ["line" if form == "jsonl" else "row", "4"])


def test_answers_in_memory_without_the_texts_are_a_column(tmp_path):
    rows = [{"label": "a", "answer": "accept"}, {"label": "b", "answer": "reject"}]  # right answers of two branches
    assert table_of(rows, "labels").columns == {"label": ["a", "b"], "answer": ["accept", "reject"]}
    with pytest.raises(BadInput, match=r"given: no rows found \(1 row left out: their answer in Prodigy is 'reject'\)"):
        table_of([{"text": "x", **rows[1]}], "given")


def test_prodigy_choices(tmp_path):
    options = [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}]
    row = {"text": "x", "options": options, "answer": "accept", "_task_hash": 1}
    table = read(tmp_path / "x.jsonl", [{**row, "accept": ["a"]}, {**row, "accept": ["a", "b"]}, {**row, "accept": []}])
    assert table.columns == {"text": ["x"] * 3, "labels": [["a"], ["a", "b"], []]}
    single = {**row, "config": {"choice_style": "single"}}
    table = read(tmp_path / "x.jsonl", [{**single, "accept": ["a"]}, {**single, "accept": []}])
    assert table.columns == {"text": ["x", "x"], "label": ["a", None]}


def test_a_column_called_answer_alone_is_no_prodigy(tmp_path):
    rows = [{"text": "a", "answer": "accept"}, {"text": "b", "answer": "reject"}]
    assert read(tmp_path / "x.jsonl", rows).columns == {"text": ["a", "b"], "answer": ["accept", "reject"]}
    rows = [{"question": "a", "label": "x", "answer": "yes"}, {"question": "b", "label": "y", "answer": "reject"}]
    assert read(tmp_path / "x.jsonl", rows).columns["answer"] == ["yes", "reject"]


def test_all_rows_rejected_says_why_there_is_none(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "_task_hash": 1, "answer": "reject"}\n')
    with pytest.raises(BadInput, match=r"no rows found \(1 row left out: their answer in Prodigy is 'reject'\)"):
        read_table("x.jsonl", base=tmp_path)
    with pytest.raises(BadInput, match=r"no rows found \(1 row left out: their answer"):
        list(read_chunks("x.jsonl", 2, base=tmp_path))


# spaCy


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_spacy_pairs(tmp_path, name):
    more = {"words": ["amber"], "tags": ["NN"], "heads": [0]}
    rows = [["amber", {"entities": [[0, 5, "TREE"]], **more}], ["x", {"entities": [], "tags": ["X"]}], ["y", {}]]
    table = read(tmp_path / name, rows)
    assert table.columns == {"text": ["amber", "x", "y"], "spans": [[SPAN], [], None]}
    assert table.findings == ("2 rows with annotations that are not read ('tags', 'heads').",)


def test_spacy_categories(tmp_path):
    rows = [["x", {"cats": {"A": 1.0, "B": 0.0}}], ["y", {"cats": {"A": 0, "B": 1}}]]
    table = read(tmp_path / "x.json", rows)
    assert table.columns == {"text": ["x", "y"], "labels": [["A"], ["B"]]} and not table.findings
    rows = [{"text": "x", "cats": {"A": 0.9, "B": 0.7}, "n": 1}, {"text": "y", "cats": {"A": 0, "B": 0}, "n": 2}]
    rows += [{"text": "z", "cats": {}}, {"text": "w"}]  # no category holds; nobody said which
    table = read(tmp_path / "x.jsonl", rows)
    assert table.columns == {"text": ["x", "y", "z", "w"], "labels": [["A", "B"], [], [], None], "n": [1, 2, None, None]}
    assert not table.findings


def test_spacy_categories_between_none_and_all_are_counted(tmp_path):
    soft = [{"A": 0.45, "B": 0.35, "C": 0.2}, {"A": 0.9, "B": 0.1, "C": 0}, {"A": 0.1, "B": 0.9, "C": 0.1}, {"A": 0.4}]
    table = read(tmp_path / "x.json", [[f"t{i}", {"cats": cats}] for i, cats in enumerate(soft)])
    assert table.columns["labels"] == [[], ["A"], ["B"], []]
    assert table.findings == (
        "2 rows without a label, as none of their categories in cats is 0.5 or more.",
        "1 name of cats below 0.5 in every row, and so no label ('C').",
    )


def test_spacy_objects_are_read_as_pairs_are(tmp_path):
    parts = [{"entities": [[0, 5, "TREE"]], "cats": {"A": 1, "B": 0}}, {"entities": [], "cats": {"A": 0, "B": 1}}]
    pairs = read(tmp_path / "x.json", [["amber", one] for one in parts])
    objects = read(tmp_path / "x.jsonl", [{"text": "amber", **one} for one in parts])
    assert pairs.columns == objects.columns == {"text": ["amber"] * 2, "spans": [[SPAN], []], "labels": [["A"], ["B"]]}


def test_the_file_of_an_annotator_for_spacy_with_its_classes_and_gaps(tmp_path):
    made = {"classes": ["TREE"], "annotations": [["amber", {"entities": [[0, 5, "TREE"]]}], None, ["x", {"entities": []}]]}
    (tmp_path / "x.json").write_text(json.dumps(made))
    table = read_table("x.json", base=tmp_path)
    assert table.columns == {"text": ["amber", "x"], "spans": [[SPAN], []]}
    assert table.findings == ("1 row left out: null in the place of a text.",)


def test_a_bad_row_of_a_tool_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a b", "label": [[0, 1, "X"]]}\n{"text": "c", "label": [[0, null, "X"]]}\n')
    with pytest.raises(BadInput, match=r"x\.jsonl line 2: label has a span that is none, expected \[start, end, label\]"):
        read_table("x.jsonl", base=tmp_path)
    (tmp_path / "x.jsonl").write_text('["a", {"entities": []}]\n["b", {"entities": [["x", 1, "Y"]]}]\n')
    with pytest.raises(BadInput, match=r"x\.jsonl line 2: entities has a span that is none, expected \[start, end, label\]"):
        read_table("x.jsonl", base=tmp_path)


# GLiNER


def test_gliner_ends_are_inclusive(tmp_path):
    rows = [
        {"tokenized_text": ["New", "York", "is", "big"], "ner": [[0, 1, "city"], [0, 0, "part"], [3, 3, "size"]]},
        {"tokenized_text": ["a"], "ner": []},
    ]
    table = read(tmp_path / "x.json", rows)
    assert table.columns == {
        "tokens": [["New", "York", "is", "big"], ["a"]],
        "tags": [["B-city", "I-city", "O", "B-size"], ["O"]],
    }
    assert table.findings == ("1 span left out, as another of the row has a token of theirs ('part').",)
    other = [
        {"label": "news", **{"tokens" if key == "tokenized_text" else key: part for key, part in row.items()}} for row in rows
    ]
    again = read(tmp_path / "x.jsonl", other)
    assert again.columns == {**table.columns, "label": ["news", "news"]}
    assert again.findings[1:] == ("2 rows with tokens and ner, read as GLiNER's: a span ends with the last token it names.",)
    for ner in (["B-city", "I-city", "O", "O"], [[0, 1]]):  # tags of another spelling, or something else
        assert read(tmp_path / "x.jsonl", [{"tokens": ["a"] * 4, "ner": ner}]).columns["ner"] == [ner]
    rows[1]["ner"] = [[0, 1, "x"]]
    with pytest.raises(BadInput, match=r"x\.json line \d+: ner has the span 0\.\.1 in 1 tokens"):
        read(tmp_path / "x.json", rows)


JUNK = st.sampled_from([None, 0, 1.5, True, "x", [], {}, [1], ["a"], {"a": 1}, [[0, 1, "X"]], [None], {"choices": [1]}])
EXPORTS = [
    {"id": 1, "text": "amber", "label": [[0, 5, "T"]], "relations": []},
    task(1, [region(), choice("a"), {"type": "taxonomy", "value": {"taxonomy": [["a", "b"]]}}]),
    {
        "id": 1,
        "text": "a",
        "ner": [{"start": 0, "end": 1, "labels": ["T"]}],
        "c": {"choices": ["a"]},
        "annotator": 1,
        "lead_time": 2,
    },
    {"text": "a", "spans": [SPAN], "answer": "accept", "accept": ["a"], "config": {"choice_style": "single"}, "relations": []},
    ["amber", {"entities": [[0, 5, "X"]], "cats": {"A": 1.0}, "spans": {"sc": [[0, 1, "X"]]}}],
    {"tokenized_text": ["a", "b"], "ner": [[0, 0, "X"]]},
]


def places(value, place=()):
    yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*place, key))


def changed(value, place, to):
    if not place:
        return to
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(value[place[0]], place[1:], to)
    return copy


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("export", range(len(EXPORTS)))
def test_a_value_of_another_type_anywhere_in_an_export_is_read_or_one_sentence(tmp_path, export, data):
    row = EXPORTS[export]
    broken = changed(row, data.draw(st.sampled_from(list(places(row)))), data.draw(JUNK))
    (tmp_path / "x.json").write_text(json.dumps([row, broken, row]))
    try:
        read_table("x.json", base=tmp_path)
    except BadInput as error:
        assert "\n" not in str(error)
