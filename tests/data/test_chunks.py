"""Sources in chunks: rows that cannot be read keep their place, and what is shown of the progress."""

import bz2
import csv
import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.data.chunks import file_chunks, line_chunks, text_chunks
from trunkline.data.formats import csv as csv_format
from trunkline.data.sources import read_table
from trunkline.errors import BadInput

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1, max_size=8)


def in_place(chunks):
    """The rows of all chunks in order, and None where one could not be read; with what was wrong, by the line."""
    rows, errors, sizes = [], {}, []
    for chunk in chunks:
        table, done = chunk.table, 0
        for unread in table.unread:
            rows += [row(table, place) for place in range(done, unread.before)] + [None]
            errors[int(unread.where.rsplit(" ", 1)[1])] = str(unread.error)
            done = unread.before
        rows += [row(table, place) for place in range(done, len(table))]
        sizes.append(len(chunk))
    return rows, errors, sizes


def row(table, place):
    return {name: values[place] for name, values in table.columns.items() if values[place] is not None}


@SETTINGS
@given(
    lines=st.lists(
        st.one_of(
            TEXT.map(lambda text: json.dumps({"text": text}).encode()),
            TEXT.map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode()),
            st.sampled_from(
                [b"{broken", b'{"text": "caf\xe9"}', b"[1]", b'"text"', b'{"text": "a"} more', b"", b"  ", b"nul", b"[" * 9]
            ),
        ),
        min_size=1,
        max_size=60,
    ),
    size=st.integers(1, 9),
)
def test_lines_that_are_no_json_are_left_out_in_their_place(tmp_path, lines, size):
    """Compared with each line read by itself."""
    expected, bad = [], []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line.decode()) if line.strip() else {}
        except ValueError:
            value = None
        if line.strip():
            expected.append(value if isinstance(value, dict) else None)
            bad += [number] if expected[-1] is None else []
    many_undecodable = sum(b"\xe9" in line for line in lines)
    if not any(row for row in expected) or (many_undecodable > 1 and many_undecodable * 20 >= len(lines)):
        return
    shown = b"\n".join(lines).lstrip().split(b"\n")
    first = shown[0]
    if first.startswith((b"[", b"{")) and b"\n".join(lines).lstrip()[:1] == b"[":
        return  # it begins as an array, which is one value
    if first.startswith(b"{") and not next(readable(shown))[1] and not any(whole for _, whole in readable(shown[1:10])):
        return  # it begins as an object over several lines
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    rows, errors, sizes = in_place(file_chunks(str(tmp_path / "x.jsonl"), size))
    assert rows == expected and list(errors) == bad
    assert all(f"x.jsonl line {number}" in error for number, error in errors.items())
    assert set(sizes[:-1]) <= {size} and sizes[-1] <= size


def readable(lines):
    for line in lines:
        try:
            yield line, isinstance(json.loads(line.decode(errors="replace")), dict)
        except ValueError:
            yield line, False


@SETTINGS
@given(
    sentences=st.lists(
        st.lists(
            st.sampled_from([b"a B-x", b"b I-x", b"c O", b"alone", b"one too many", b"caf\xe9 O"]), min_size=1, max_size=4
        ),
        min_size=1,
        max_size=12,
    ),
    size=st.integers(1, 5),
)
def test_sentences_with_a_line_that_cannot_be_read_are_left_out_in_their_place(tmp_path, sentences, size):
    """Compared with each sentence by itself; the file begins with 40 whole ones."""
    whole = [b"Rome B-place", b"slept O"]
    lines = b"\n\n".join(b"\n".join(one) for one in [whole] * 40 + sentences).split(b"\n")
    (tmp_path / "x.conll").write_bytes(b"\n".join(lines) + b"\n")
    expected, bad, begins = [{"tokens": ["Rome", "slept"], "tags": ["B-place", "O"]}] * 40, [], 40 * 3
    if sum(b"\xe9" in line for line in lines) * 20 >= len(lines):
        return  # taken for a file in another encoding
    for one in sentences:
        wrong = [number for number, line in enumerate(one) if len(line.split()) != 2 or not line.isascii()]
        cells = [line.decode().split() for line in one] if not wrong else []
        expected.append(None if wrong else {"tokens": [word for word, _ in cells], "tags": [tag for _, tag in cells]})
        bad += [begins + wrong[0] + 1] if wrong else []
        begins += len(one) + 1
    rows, errors, _ = in_place(file_chunks(str(tmp_path / "x.conll"), size))
    assert rows == expected and list(errors) == bad
    assert all(f"x.conll line {number}: " in error for number, error in errors.items())


@SETTINGS
@given(
    rows=st.lists(
        st.one_of(
            st.tuples(TEXT, TEXT).map(list),
            st.just(["a", "b", "c"]),
            st.just(["alone"]),
            st.just(["two\nlines", 'a "quoted" one']),
        ),
        min_size=1,
        max_size=30,
    ),
    size=st.integers(1, 9),
    marks=st.sampled_from([("csv", ","), ("tsv", "\t")]),
)
def test_rows_with_other_numbers_of_cells_are_left_out_in_their_place(tmp_path, rows, size, marks):
    suffix, mark = marks
    with open(tmp_path / f"x.{suffix}", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=mark, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["text", "more"], *rows])
    if not any(len(row) == 2 for row in rows):
        return
    found, errors, _ = in_place(file_chunks(str(tmp_path / f"x.{suffix}"), size))
    assert found == [{"text": row[0], "more": row[1]} if len(row) == 2 else None for row in rows]
    begins = [2 + sum(1 + "".join(row).count("\n") for row in rows[:place]) for place in range(len(rows))]
    assert list(errors) == [begins[place] for place, row in enumerate(rows) if len(row) != 2]


def test_after_a_broken_quote_reading_resumes_on_the_next_line(tmp_path, monkeypatch):
    (tmp_path / "x.csv").write_bytes(b'text,n\na,1\n"bad"x,2\nb,3\ncaf\xe9,4\n"never closed,5\nc,6\nd,7\n')
    rows, errors, _ = in_place(file_chunks(str(tmp_path / "x.csv"), 3))
    assert [row and row["n"] for row in rows] == ["1", None, "3", None, None, "6", "7"]
    assert list(errors) == [3, 5, 6] and "byte 4 of the line (0xe9) is not UTF-8" in errors[5]
    assert all("cells that cannot be separated" in errors[line] for line in (3, 6))
    monkeypatch.setattr(csv_format, "LONGEST_ROW", 3)  # so that a file is not held in memory to its end
    with open(tmp_path / "x.csv", "a") as file:
        file.writelines(f"e,{number}\n" for number in range(8, 30))
    rows, errors, _ = in_place(file_chunks(str(tmp_path / "x.csv"), 3))
    assert len(rows) == 29 and len(errors) == 3 and "a quote is not closed in 3 lines" in errors[6]


@pytest.mark.parametrize("name", ["x.log", "x.jsonl", "x.csv"])
def test_a_file_in_another_encoding_is_refused_as_a_whole(tmp_path, name):
    line = '{"text": "café"}' if name == "x.jsonl" else "café"
    (tmp_path / name).write_text("\n".join(["text" if name == "x.csv" else line, *[line] * 9]), encoding="latin-1")
    with pytest.raises(BadInput, match=r"is not UTF-8; save the file as UTF-8"):
        list(file_chunks(str(tmp_path / name), 4, format="text" if name == "x.log" else None))
    (tmp_path / "one.txt").write_bytes(b"a text\ncaf\xe9\nanother text\n")
    rows, errors, _ = in_place(file_chunks(str(tmp_path / "one.txt"), 4, otherwise="text"))
    assert rows == [{"text": "a text"}, None, {"text": "another text"}] and list(errors) == [2]


def test_a_broken_array_is_refused_where_it_breaks(tmp_path):
    (tmp_path / "x.json").write_text('[{"text": "a"},\n{"text": "b"},\n{broken\n]')
    chunks = iter(file_chunks(str(tmp_path / "x.json"), 1))
    assert next(chunks).table.columns == {"text": ["a"]}
    with pytest.raises(BadInput, match="line 3"):
        list(chunks)


ROWS = [{"text": f"row {number} " + "xyz" * (number % 50)} for number in range(4000)]


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".zip"])
def test_the_share_of_a_text_file_is_that_of_its_bytes(tmp_path, suffix):
    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    path = tmp_path / f"x.jsonl{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.jsonl", content)
    else:
        path.write_bytes({"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[suffix](content))
    shares = [chunk.share for chunk in file_chunks(str(path), 500)]
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == 8
    if suffix == "":  # the others read far ahead in so small a file
        assert all(abs(share - done / 8) < 0.15 for done, share in enumerate(shares, start=1))


def test_the_share_of_a_parquet_file_is_that_of_its_rows(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet", row_group_size=900)
    chunks = list(file_chunks(str(tmp_path / "x.parquet"), 1000))
    assert [chunk.share for chunk in chunks] == [0.25, 0.5, 0.75, 1.0]
    assert [text for chunk in chunks for text in chunk.table.columns["text"]] == [row["text"] for row in ROWS]


def test_chunks_of_long_lines_have_fewer_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.data.chunks.BYTES", 100_000)
    for length, size in ((10, 1000), (990, 101), (9_990, 64)):
        (tmp_path / "x.txt").write_text(("x" * (length - 1) + "\n") * 1000)
        chunks = file_chunks(str(tmp_path / "x.txt"), 1000, format="text")
        sizes = [len(chunk) for chunk in chunks]
        assert sum(sizes) == 1000 and abs(sizes[0] - size) <= 2


def test_the_first_chunk_may_be_looked_at_before_all_are_gone_through(tmp_path):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    chunks = file_chunks(str(tmp_path / "x.jsonl"), 2)
    assert chunks.first().table.columns == {"text": [row["text"] for row in ROWS[:2]]}
    for _ in range(2):  # a file is read again from its beginning
        assert [row["text"] for row in in_place(chunks)[0]] == read_table(str(tmp_path / "x.jsonl")).columns["text"]
    lines = line_chunks(io.BytesIO(b"a\ncaf\xe9\n\nb\r\n"), 3, "stdin")
    assert not lines.again and lines.first().share is None
    assert in_place(lines) == (
        [{"text": "a"}, None, {"text": ""}, {"text": "b"}],
        {2: "stdin line 2: byte 4 of the line (0xe9) is not UTF-8, expected UTF-8"},
        [3, 1],
    )
    for lines_given, noted in ((b'{"text": "a"}\n{"text": "b"}\n', True), (b'{"a": 1}\n{a}\n', False), (b"", False)):
        first = line_chunks(io.BytesIO(lines_given), 3, "stdin").first()
        assert noted == bool(
            first and any("JSON objects, and each is read as one text" in said for said in first.table.findings)
        )
    assert next(iter(text_chunks(["a\ud800", ""], "--text"))).table.columns == {"text": ["a\ufffd", ""]}
