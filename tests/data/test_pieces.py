"""Files in pieces: read apart from each other they are the chunks of the file that is read from its beginning."""

import json
from itertools import count

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.data.chunks import file_chunks
from trunkline.data.pieces import FilePiece, divided
from trunkline.errors import BadInput

NUMBER = count()

objects = st.fixed_dictionaries({"text": st.text(max_size=8)}, optional={"n": st.integers(0, 9), "é\u2028": st.none()})
whole = st.builds(lambda value, ascii: json.dumps(value, ensure_ascii=ascii).encode("utf-8", "replace"), objects, st.booleans())
# what stands on lines of real files besides: blank ones, also of blanks that only Unicode knows; values; broken ones
others = st.sampled_from(
    [b"", b"  \t", b"\xc2\xa0", b"\x1c", b"7", b'{"text": ', b'{"text": "\xff"}', b"\xff", b'{"text": "a"} x']
)
lines = st.lists(st.tuples(st.one_of(whole, whole, others), st.sampled_from([b"\n", b"\r\n"])), min_size=1, max_size=12)


def facts(table):
    return table.columns, table.lines, table.rows, table.types, [(a, b, str(c)) for a, b, c in table.unread]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=whole, rest=lines, size=st.integers(1, 5), mark=st.booleans(), ended=st.booleans())
def test_pieces_of_lines_are_the_chunks_of_the_file(first, rest, size, mark, ended, tmp_path):
    path = tmp_path / f"{next(NUMBER)}.jsonl"
    text = first + b"\n" + b"".join(line + end for line, end in rest)
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + (text if ended else text.rstrip(b"\r\n")))
    try:
        pieces = divided(str(path), size)
    except BadInput as error:  # damaged all over: no file in UTF-8, or one line
        assert "UTF-8" in str(error) or "an object a line" in str(error)
        return
    assert [facts(one.read()) for one in pieces] == [facts(chunk.table) for chunk in file_chunks(str(path), size)]
    assert [FilePiece.of(json.loads(json.dumps(one.plain()))) for one in pieces] == pieces


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 23), group=st.integers(1, 9), size=st.integers(1, 8))
def test_pieces_of_parquet_are_the_chunks_of_the_file(rows, group, size, tmp_path, monkeypatch):
    path = tmp_path / f"{next(NUMBER)}.parquet"
    table = pa.table(
        {"text": [f"text {row}" for row in range(rows)], "spans": [[{"start": row}] * (row % 3) for row in range(rows)]}
    )
    pq.write_table(table, path, row_group_size=group)
    pieces = divided(str(path), size)
    assert [facts(one.read()) for one in pieces] == [facts(chunk.table) for chunk in file_chunks(str(path), size)]


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "_done.jsonl", ".hidden.jsonl"):
        (tmp_path / name).write_text(f'{{"text": "{name}"}}\n{{"text": "end"}}\n')
    pieces = divided(str(tmp_path), 1)
    assert [one.read().columns["text"] for one in pieces] == [["a.jsonl"], ["end"], ["b.jsonl"], ["end"]]
    assert pieces[1].read().where(0) == f"{tmp_path / 'a.jsonl'} line 2"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text\nx\n", "found another format, expected Parquet or JSON lines"),
        ("a.json", '[{"text": "x"}]', "found JSON that is not an object a line"),
        ("a.jsonl", '{"text":\n"x"}\n{"text": "x"}', "found JSON that is not an object a line"),
        ("a.jsonl", "", "the file is empty"),
        ("a.jsonl", '{"text": "x"}\r{"text": "y"}', "carriage returns"),
        ("a.jsonl", '{"text": "x", "label": "x"}\n'.encode("utf-16"), "another encoding than UTF-8"),
        ("a.jsonl.gz", "", "the file is empty"),
        ("a.parquet", "PAR1", "not a Parquet file"),
    ],
)
def test_what_has_to_be_read_from_its_beginning_is_refused(name, content, said, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=said):
        divided(str(path), 10)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder"):
        divided(str(tmp_path / "none.jsonl"), 10)
    with pytest.raises(BadInput, match="found no file in it"):
        divided(str(tmp_path), 10)
