"""Which format a file is read in, and what is said of those that are not read."""

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from trunkline.data.sources import locate, read_chunks, read_table
from trunkline.errors import BadInput


def test_a_format_that_is_named_is_used(tmp_path):
    (tmp_path / "eng.train").write_text("the DT\ncat NN\n\nit PRP\n")
    table = read_table("eng.train", base=tmp_path, format="conll")
    assert table.columns["tokens"] == [["the", "cat"], ["it"]]
    assert [len(piece) for piece in read_chunks("eng.train", 1, base=tmp_path, format="conll")] == [1, 1]
    assert len(read_table(["eng.train", "eng.train"], base=tmp_path, format="conll")) == 4
    (tmp_path / "x.json").write_text("text,label\na,b\n")
    assert read_table("x.json", base=tmp_path, format="csv").columns == {"text": ["a"], "label": ["b"]}
    with pytest.raises(BadInput, match=r"x\.json: format: unknown name 'conl'; did you mean 'conll'"):
        read_table("x.json", base=tmp_path, format="conl")
    with pytest.raises(BadInput, match=r"snips: found an embedded data set with the format 'csv', expected a file"):
        read_table("snips", format="csv")
    with pytest.raises(BadInput, match=r"gone\.train: found no file of that name with the format 'conll'"):
        read_table("gone.train", base=tmp_path, format="conll")


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        ("text\tlabel\na b\tx\nc\ty\n", {"text": ["a b", "c"], "label": ["x", "y"]}),
        ('{"text": "a", "label": "x"}\n', {"text": ["a"], "label": ["x"]}),
        ("text,label\na b,x\nc,y\n", {"text": ["a b", "c"], "label": ["x", "y"]}),
        ("text|label\na, b|x\nc|y\n", {"text": ["a, b", "c"], "label": ["x", "y"]}),
        ('[\n {"text": "a"},\n {"text": "b"}\n]', {"text": ["a", "b"]}),
    ],
)
def test_text_files_are_known_by_their_contents(tmp_path, data, columns):
    for name in ("x.txt", "x.dat", "train"):
        (tmp_path / name).write_text(data)
        assert read_table(f"./{name}", base=tmp_path).columns == columns


def test_plain_text_is_refused_with_the_way_to_predict_it(tmp_path):
    (tmp_path / "x.txt").write_text("A first sentence, of several words.\nA second one\n")
    with pytest.raises(BadInput, match=r"unknown suffix '\.txt', expected one of .*\.csv.*; only `trunkline predict` reads"):
        read_table("x.txt", base=tmp_path)
    (tmp_path / "x.txt").write_text("__label__a some words\n" * 3)
    with pytest.raises(BadInput, match=r"x\.txt: lines as fastText reads them are not read; write each as label, tab, text"):
        read_table("x.txt", base=tmp_path)
    (tmp_path / "x.dat").write_bytes(bytes(range(256)))
    with pytest.raises(BadInput, match=r"unknown suffix '\.dat', and it is no text in UTF-8; expected one of"):
        read_table("x.dat", base=tmp_path)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("x.xls", r"files with the suffix '\.xls' are not read; save the sheet as \.xlsx or as CSV"),
        ("x.ods", "save the sheet as"),
        ("x.pkl", "a pickle may run code when it is read, so none is; save the data as Parquet or CSV"),
        ("x.XML", "as JSON lines or CSV"),
        ("x.tar.gz", "unpack it"),
        ("x.ann", "brat"),
    ],
)
def test_what_is_not_read_is_refused_with_what_would_work(tmp_path, name, match):
    (tmp_path / name).write_bytes(b"\x80\x04some bytes")
    for read in (read_table, lambda source, base: list(read_chunks(source, 2, base=base))):
        with pytest.raises(BadInput, match=match) as caught:
            read(name, base=tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"no such file; did you mean"):
        read_table("y" + name, base=tmp_path)
    assert locate(name, tmp_path) == str(tmp_path / name)


@pytest.mark.parametrize(
    ("start", "match"),
    [
        (b"PK\x03\x04", r"x\.csv: is an Excel workbook or a zip archive; rename it to \.xlsx or \.zip"),
        (b"\xd0\xcf\x11\xe0", "is a workbook of older Excel"),
        (b"PAR1", r"is a Parquet file; rename it to \.parquet"),
        (b"\x1f\x8b", r"is a gzip file; add \.gz to its name"),
    ],
)
def test_a_file_with_a_wrong_suffix_is_told(tmp_path, start, match):
    (tmp_path / "x.csv").write_bytes(start + b"\x00\x01\x02\n")
    with pytest.raises(BadInput, match=match):
        read_table("x.csv", base=tmp_path)


@pytest.mark.filterwarnings("ignore:Feather V1")
def test_arrow_and_feather(tmp_path):
    frame = pd.DataFrame({"text": ["a", None, "c"], "n": [1, 2, 3]})
    wanted = {"text": ["a", None, "c"], "n": [1, 2, 3]}
    feather.write_feather(frame, tmp_path / "x.feather")
    feather.write_feather(frame, tmp_path / "old.feather", version=1)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, make in (("file.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with make(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    for name in ("x.feather", "old.feather", "file.arrow", "stream.arrow"):
        assert read_table(name, base=tmp_path).columns == wanted
        pieces = list(read_chunks(name, 2, base=tmp_path))
        assert [piece.columns["n"] for piece in pieces] == [[1, 2], [3]] and pieces[1].where(0).endswith("row 3")
    (tmp_path / "x.feather").write_bytes(b"ARROW1 no more")
    with pytest.raises(BadInput, match=r"x\.feather: not an Arrow file that can be read"):
        read_table("x.feather", base=tmp_path)


def test_label_names_of_an_arrow_file_of_datasets(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    made = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    made.save_to_disk(tmp_path / "saved")
    file = next((tmp_path / "saved").glob("*.arrow"))
    assert read_table(str(file)).columns == {"text": ["a", "b"], "label": ["good", "bad"]}
