"""Folders of partitions, and what workers write into them: the bytes of one file, resumed and refused as they should be."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from bundletools import TEXTS, make
from clitools import write_jsonl
from tiny import tiny_bert

from trunkline.data.pieces import divided
from trunkline.errors import BadInput, TrunklineError
from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.serving import bulk
from trunkline.serving.bulk import predict_file
from trunkline.serving.ray import partitions as p
from trunkline.serving.ray.bulk import _collected
from trunkline.serving.ray.partitions import DONE, FINISHED, PLAN, Folder, partitions, planned
from trunkline.serving.ray.predictor import Predictor
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    trunk = load_trunk(tiny_bert(home / "trunk"), dtype="fp32", device="cpu")
    save_branch(make(trunk, "sequence"), home / "mood")
    return home


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """Where a worker asks Ray on which node it is."""
    context = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get_runtime_context=lambda: context))
    monkeypatch.setattr(bulk, "CHUNK", 3)


def asked(home, **options):
    bundle = {"branches": [str(home / "mood")], "trunk": None, "backend": None, "dtype": None, "allow_precision_change": False}
    read = {"columns": {}, "scores": False, "empty_texts": "skip", "min_confidence": None, **options}
    return {"bundle": bundle, "options": read, "format": "jsonl", "input": []}


def rows():
    # The first chunk has a column of the name that errors would have; the second has a column of the name of a prediction, and
    # no row that can be read.
    texts = [{"text": text, "error": "mine"} for text in TEXTS[:3]] + [{"text": 5, "mood": 1}, {"text": True}, {"text": [1]}]
    return [*texts, {"text": None}, *({"text": text} for text in TEXTS[3:6])]


def predicted(home, tmp_path, order, first=lambda folder: None, given=None, **options):
    """What is collected of partitions that are predicted in some order, by a worker each."""
    write_jsonl(tmp_path / "in.jsonl", given or rows())
    parts = partitions(divided(str(tmp_path / "in.jsonl"), 3))
    folder = Folder(tmp_path / "out", ".jsonl")
    with planned(folder, asked(home, **options), parts):
        first(folder)
        found = (
            (number, json.loads(Predictor(str(folder.path), 1)({"partition": np.array([number])})["found"][0]))
            for number in order
        )
        return _collected(folder, found, len(parts), lambda sentence: None, None)


def test_partitions_are_the_file_of_one_process_and_so_is_what_is_said(home, tmp_path):
    done = predicted(home, tmp_path, [2, 0, 3, 1])
    one = predict_file(Bundle.open(home / "mood"), tmp_path / "in.jsonl", tmp_path / "one.jsonl")
    files = sorted((tmp_path / "out").glob("part-*"))
    assert len(files) == 4 and b"".join(map(lambda file: file.read_bytes(), files)) == (tmp_path / "one.jsonl").read_bytes()
    assert (done.rows, done.bad_rows, done.findings) == (one.rows, one.bad_rows, one.findings) and done.bad_rows == 3
    assert {path.name for path in (tmp_path / "out").iterdir()} == {FINISHED, *(file.name for file in files)}


def test_the_only_column_is_read_as_the_texts_and_that_is_said(home, tmp_path):
    given = [{"body": row["text"]} for row in rows() if isinstance(row["text"], str)]
    done = predicted(home, tmp_path, [1, 0], given=given)
    one = predict_file(Bundle.open(home / "mood"), tmp_path / "in.jsonl", tmp_path / "one.jsonl")
    assert done.findings == one.findings == ["column 'body' is read as the texts, as it is the only one."]


def test_what_is_done_is_not_done_again_but_for_other_branches(home, tmp_path):
    with pytest.raises(TrunklineError, match=r"part-00003 is missing; the same command resumes"):
        predicted(home, tmp_path, [0, 1, 2])
    times = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("part-*")}
    (tmp_path / "out" / "part-00001.jsonl").write_text("cut")  # as no kill leaves it: its size is not what was noted
    done = predicted(home, tmp_path, [0, 1, 2, 3])
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("part-*")}
    assert done.resumed_rows == 6 and {name for name in times if times[name] == after[name]} == {
        "part-00000.jsonl",
        "part-00002.jsonl",
    }
    with pytest.raises(BadInput, match="found predictions that are finished, expected a new or empty folder"):
        predicted(home, tmp_path, [0])


def test_other_options_are_not_mixed_in(home, tmp_path):
    with pytest.raises(TrunklineError, match="is missing"):
        predicted(home, tmp_path, [0])
    with pytest.raises(BadInput, match=r"unfinished predictions of something else \(other options\)"):
        predicted(home, tmp_path, [0], scores=True)


def test_a_folder_that_a_kill_left_before_its_plan_is_taken(home, tmp_path):
    (tmp_path / "out" / DONE).mkdir(parents=True)
    (tmp_path / "out" / f".{PLAN}.trunkline-0a1b2c3d.tmp").write_text("{")
    assert predicted(home, tmp_path, [2, 0, 3, 1]).rows == len(rows())
    assert all(path.name == FINISHED or path.name.startswith("part-") for path in (tmp_path / "out").iterdir())


def test_two_commands_do_not_share_a_folder(home, tmp_path):
    def second(folder):
        with pytest.raises(TrunklineError, match="another process is predicting into this folder"):
            predicted(home, tmp_path, [0])

    predicted(home, tmp_path, [0, 1, 2, 3], second)


def test_a_partition_that_ends_every_worker_is_given_up(home, tmp_path):
    def lost(folder):
        (folder.path / DONE / "part-00000.begun").write_bytes(b"." * p.LOST)

    with pytest.raises(TrunklineError, match="10 workers were lost over part-00000"):
        predicted(home, tmp_path, [0], lost)
    done = predicted(home, tmp_path, [0, 1, 2, 3])  # the next command counts from the beginning
    assert done.rows == 10


def test_workers_with_other_versions_are_noticed(home, tmp_path, monkeypatch):
    def versions(folder):
        keep = Folder.keep

        def kept(self, number, found):
            found["identity"] = str(number % 2)
            keep(self, number, found)

        monkeypatch.setattr(Folder, "keep", kept)

    with pytest.raises(TrunklineError, match="found predictions of 2 different versions"):
        predicted(home, tmp_path, [0, 1, 2, 3], versions)


def test_a_worker_without_the_disk_says_so(tmp_path):
    found = json.loads(Predictor(str(tmp_path / "none"), 1)({"partition": np.array([0])})["found"][0])
    assert found["bad_input"] and "expected a folder on a disk that all machines share" in found["error"]


def test_an_unforeseen_error_is_told_by_its_place_alone(home, tmp_path, monkeypatch):
    def broken(*arguments, **more):
        raise ValueError("a text of a user")

    monkeypatch.setattr("trunkline.serving.bulk.predict_rows", broken)
    with pytest.raises(TrunklineError, match=r"^unexpected ValueError in test_partitions.py line \d+$"):
        predicted(home, tmp_path, [0])


def test_there_are_never_more_partitions_than_a_folder_can_hold(monkeypatch):
    monkeypatch.setattr(p, "MOST", 4)
    pieces = list(range(11))
    assert partitions(pieces) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]] and partitions(pieces[:4]) == [[0], [1], [2], [3]]
    assert PLAN.startswith("_") and DONE.startswith("_") and FINISHED.startswith("_")  # readers of data sets pass over these


def test_more_input_than_a_plan_can_hold_is_refused(home, tmp_path, monkeypatch):
    monkeypatch.setattr(p, "JSON_BYTES", 500)
    with pytest.raises(BadInput, match=r"found 4 pieces of input, expected about \d at most"):
        predicted(home, tmp_path, [])
