"""JSON that Trunkline reads back: whatever lies in its place is refused in a sentence, and nothing is waited for."""

from __future__ import annotations

import os

import pytest

from trunkline.errors import BadInput
from trunkline.files import JSON_BYTES, read_object

BROKEN = {
    "deep": "[" * 100_000,
    "deep and whole": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "not a number": '{"a": NaN}',
    "infinite": '{"a": -Infinity}',
    "too large for a float": '{"a": 1e999}',
    "too many digits": '{"a": ' + "9" * 10_000 + "}",
    "half a pair": r'{"a": "\ud83d"}',
    "truncated": '{"a": 1',
    "empty": "",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_json_is_refused(name, tmp_path):
    file = tmp_path / "branch.json"
    file.write_text(BROKEN[name])
    with pytest.raises(BadInput, match=r"branch\.json: cannot be read as JSON \(\w+\)$"):
        read_object(file)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, found in [
        ("fifo", "a FIFO"),
        ("folder", "a folder"),
        ("device", "a device"),
        ("loop", ""),
        ("absent", "No such"),
    ]:
        with pytest.raises(BadInput, match=f"{name}: .*{found}"):
            read_object(tmp_path / name)


def test_a_file_that_no_memory_holds_is_not_read(tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(JSON_BYTES + 1)
    with pytest.raises(BadInput, match="expected JSON of at most"):
        read_object(tmp_path / "huge")


def test_an_object_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"é🙂": [1, 2.5, 1e-300, null, {"b": "\\ud83d\\ude42"}]}')
    assert read_object(file) == {"é🙂": [1, 2.5, 1e-300, None, {"b": "🙂"}]}
