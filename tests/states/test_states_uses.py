import os
import threading

from trunkline.states.uses import NAME, note_use, read_uses


def test_each_data_set_and_split_is_noted_once(tmp_path):
    threads = [threading.Thread(target=note_use, args=(tmp_path, f"data {number % 5}", "train")) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for split in ("train", "validation", "train"):
        note_use(tmp_path, "data 0", split)
    assert sorted((use.data, use.split) for use in read_uses(tmp_path)) == sorted(
        [(f"data {number}", "train") for number in range(5)] + [("data 0", "validation")]
    )


def test_lines_that_cannot_be_read_are_passed_over(tmp_path):
    note_use(tmp_path, "a\u2028\ud800b", "train")
    with open(tmp_path / NAME, "ab") as file:
        file.write(b'[1]\n{"data": 1, "split": "x", "since": "y"}\n\xff\n{"data"')
    (use,) = read_uses(tmp_path)
    assert use.data == "a\u2028\ud800b" and use.split == "train"


def test_where_nothing_can_be_noted_nothing_happens(tmp_path):
    note_use(tmp_path / "none", "a", "train")
    os.mkfifo(tmp_path / NAME)
    note_use(tmp_path, "a", "train")
    assert read_uses(tmp_path) == read_uses(tmp_path / "none") == []
