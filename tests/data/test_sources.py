"""Where data comes from. The hub is not reached; what is asked of it is."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trunkline.data.sources import EMBEDDED, embedded_names, read_chunks, read_table
from trunkline.errors import BadInput


def test_the_embedded_set_is_whole_and_has_its_licence():
    assert embedded_names() == ["snips"]
    train, test = read_table("snips"), read_table("snips:test")
    assert (len(train), len(test)) == (13_784, 700)
    assert list(train.columns) == list(test.columns) == ["text", "label", "spans", "tokens", "tags"]
    assert set(Counter(test.columns["label"]).values()) == {100} and len(set(train.columns["label"])) == 7
    assert len({span["label"] for row in train.columns["spans"] for span in row}) == 39
    assert sum(len(row) for table in (train, test) for row in table.columns["spans"]) == 37_542
    assert train.where(4) == "snips:train line 5"
    assert "CC0" in (EMBEDDED / "snips" / "LICENSE").read_text()


def test_adding_an_embedded_set_is_adding_a_folder(tmp_path, monkeypatch):
    import gzip

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    monkeypatch.setattr("trunkline.data.sources.EMBEDDED", tmp_path)
    assert read_table("mine").columns == {"text": ["a"]}


def test_paths_are_relative_to_base_and_a_list_is_one_source(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    table = read_table(["a.jsonl", str(tmp_path / "b.jsonl")], base=tmp_path)
    assert table.columns == {"text": ["a", "b"]}
    assert table.where(0) == "a.jsonl line 1" and table.where(1) == f"{tmp_path / 'b.jsonl'} line 1"


FILES = {
    "x.jsonl": '{"text": "a", "n": 1}\n\n{"text": "b", "n": 2}\n{"text": "c", "n": 3}\n',
    "x.csv": 'text,n\na,1\n"b\nb",2\n\nc,3\n',
    "x.tsv": 'text\tn\na\t1\nb"\t2\nc\t3\n',
    "quoted.tsv": '"text"\t"n"\n"a"\t1\n"b\tb"\t2\nc\t3\n',
    "x.conll": "a O\n\n-DOCSTART- O\n\nb B-X\nc O\n\nd O\n",
    "x.parquet": None,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_pieces_of_a_file_are_the_file(tmp_path, name, size):
    if FILES[name] is None:
        pq.write_table(pa.table({"text": ["a", None, "c"], "tags": [["O"], [], None]}), tmp_path / name)
    else:
        (tmp_path / name).write_text(FILES[name], newline="")
    whole, pieces = read_table(name, base=tmp_path), list(read_chunks(name, size, base=tmp_path))
    assert [len(piece) for piece in pieces] == [min(size, 3 - start) for start in range(0, 3, size)]
    for column, values in whole.columns.items():
        assert [value for piece in pieces for value in piece.columns[column]] == values
    if whole.lines is not None:
        assert [piece.where(i) for piece in pieces for i in range(len(piece))] == [whole.where(i) for i in range(3)]


def test_pieces_of_other_sources_and_what_is_wrong_with_a_piece(tmp_path):
    assert [len(piece) for piece in read_chunks("snips:test", 400)] == [400, 300]
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"text\n')
    pieces = read_chunks("x.jsonl", 2, base=tmp_path)
    assert next(pieces).columns == {"text": ["a", "b"]}
    with pytest.raises(BadInput, match=r"x\.jsonl line 3 column .*: broken JSON"):
        next(pieces)
    (tmp_path / "x.csv").write_text("text,n\na,1\nb\n")
    with pytest.raises(BadInput, match=r"x\.csv line 3: 1 cells found, expected 2"):
        list(read_chunks("x.csv", 1, base=tmp_path))
    for name, data, match in (("e.csv", "", "is empty"), ("h.csv", "text,n\n", "no rows"), ("h.jsonl", "\n", "no rows")):
        (tmp_path / name).write_text(data)
        with pytest.raises(BadInput, match=match):
            list(read_chunks(name, 2, base=tmp_path))
    with pytest.raises(BadInput, match=r"gone\.csv: no such file"):
        list(read_chunks("gone.csv", 2, base=tmp_path))


def test_a_file_named_like_an_embedded_set_is_reached_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "snips.jsonl").write_text('{"text": "mine"}\n')
    monkeypatch.chdir(tmp_path)
    assert len(read_table("./snips.jsonl")) == 1 and len(read_table("snips:test")) == 700


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("snips:tst", r"snips: split: unknown name 'tst'; did you mean 'test'"),
        ("snip", r"snip: no such embedded data set, file or folder; did you mean 'snips'"),
        ("emotions", r"expected snips, a path, or owner/name"),
        ("revews.csv", r"revews\.csv: no such file; did you mean 'reviews\.csv'"),
        ("./nothing", r"no such file in"),
        ("gone/far/x.csv", r"gone/far/x\.csv: no such file, and no folder"),
        ("reviews.csv:test", r"a file has no splits"),
        ("notes.md", r"notes\.md: unknown suffix '\.md', expected one of .*\.csv"),
        ("folder", r"not a folder saved by `datasets`, expected a file or a folder written by save_to_disk$"),
        (".", r"by `datasets`, .*; it holds 'other\.csv', 'reviews\.csv', of which one or a list can be named"),
        ([], r"an empty list"),
        (["reviews.csv", "other.csv"], r"other\.csv: its columns differ from those of reviews\.csv in 'more'"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(tmp_path, source, match):
    (tmp_path / "reviews.csv").write_text("text\na\n")
    (tmp_path / "other.csv").write_text("text,more\na,b\n")
    (tmp_path / "notes.md").write_text("hello")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=match) as caught:
        read_table(source, base=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def labelled():
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tags": datasets.List(datasets.ClassLabel(names=["O", "B-X"])),
        }
    )
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 1], [], [0]]}
    return datasets.Dataset.from_dict(rows, features=features)


NAMED = {"text": ["a", "b", "c"], "label": ["good", "bad", None], "tags": [["O", "B-X"], [], ["O"]]}


def test_a_saved_folder_gives_names_for_label_numbers(tmp_path, labelled):
    labelled.save_to_disk(tmp_path / "one")
    assert read_table("one", base=tmp_path).columns == NAMED
    with pytest.raises(BadInput, match="has no splits"):
        read_table("one:train", base=tmp_path)
    datasets.DatasetDict({"train": labelled, "test": labelled.select([1])}).save_to_disk(tmp_path / "two")
    assert read_table("two", base=tmp_path).columns == NAMED
    assert read_table(str(tmp_path / "two:test")).columns["text"] == ["b"]
    with pytest.raises(BadInput, match="did you mean 'test'"):
        read_table("two:tests", base=tmp_path)
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(BadInput, match="one: the saved data set cannot be read"):
        read_table("one", base=tmp_path)


def test_parquet_written_by_datasets_keeps_its_label_names(tmp_path, labelled):
    labelled.to_parquet(tmp_path / "x.parquet")
    assert read_table("x.parquet", base=tmp_path).columns == NAMED


def test_selected_rows_of_a_saved_set_are_the_selected_ones(tmp_path, labelled):
    labelled.select([2, 0]).save_to_disk(tmp_path / "some")
    assert read_table("some", base=tmp_path).columns["text"] == ["c", "a"]


def test_a_hub_id_is_loaded_with_its_split_and_revision(monkeypatch, labelled):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **more: asked.append((name, more)) or labelled)
    assert read_table("owner/name").columns == NAMED
    read_table("owner/na.me:test@refs/convert/parquet")
    assert asked == [
        ("owner/name", {"split": "train", "revision": None}),
        ("owner/na.me", {"split": "test", "revision": "refs/convert/parquet"}),
    ]


def test_a_hub_id_without_network_is_one_sentence():
    with pytest.raises(
        BadInput, match=r"nobody-here/nothing-there:test: no such file, and the hub data set could not"
    ) as caught:
        read_table("nobody-here/nothing-there:test")
    assert "\n" not in str(caught.value)


def test_no_code_of_a_data_set_runs(tmp_path, monkeypatch):
    """A folder with a loading script is data that `datasets` did not save; the script is not looked at."""
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(BadInput):
        read_table("evil", base=tmp_path)
    with pytest.raises(RuntimeError, match="scripts are no longer supported"):
        datasets.load_dataset(str(folder / "evil.py"))
    assert not Path(tmp_path / "ran").exists()
