"""Files predicted in chunks: what was stopped anywhere ends as if it had not been, and bad rows keep their place."""

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count

import pandas as pd
import pyarrow.parquet as pq
import pytest
from bundletools import make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import WORDS, tiny_bert

from trunkline.errors import BadInput, TrunklineError
from trunkline.model.bundle import Bundle
from trunkline.model.prepared import Prepared
from trunkline.serving import bulk
from trunkline.serving.bulk import predict_file
from trunkline.serving.parts import Parts
from trunkline.serving.ready import Options
from trunkline.trunk.load import load_trunk

NUMBER = count()
TEXTS = [" ".join(WORDS[i : i + 1 + 7 * i % 5]) for i in range(20)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    trunk = load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")
    return Bundle(trunk, {"mood": make(trunk, "sequence"), "slots": make(trunk, "token", seed=1)})


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 3)


def write_lines(path, lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Stopped(BaseException):
    """As a kill, it is caught by nobody."""


@pytest.fixture
def stopping(monkeypatch):
    """stopping(n) raises Stopped at the n-th (from 1) of the steps that compute or change what is on the disk; .asked counts
    the chunks that were computed.
    """

    class Stopping:
        def __init__(self):
            self.left = self.asked = 0

        def __call__(self, step):
            self.left = step

        def step(self):
            self.left -= 1
            if self.left == 0:
                raise Stopped

    control = Stopping()

    def counted(function, asks=False):
        def called(*arguments, **more):
            control.step()
            control.asked += asks
            return function(*arguments, **more)

        return called

    monkeypatch.setattr(Prepared, "ask", counted(Prepared.ask, asks=True))
    monkeypatch.setattr(os, "fsync", counted(lambda handle: None))  # what is tested needs no disk
    for name in ("replace", "link", "unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    writing = bulk.writing

    def watched(*arguments, **more):
        block = writing(*arguments, **more)
        write = block.__enter__()
        block.__enter__ = lambda: None

        class Block:
            def __enter__(self):
                return counted(write)

            def __exit__(self, *error):
                return block.__exit__(*error)

        return Block()

    monkeypatch.setattr(bulk, "writing", watched)
    return control


def made_up(text):
    spans = [{"start": 0, "end": len(text) - 1, "label": "x", "text": text[:-1], "score": 1 / len(text)}]
    return {"mood": {"label": text[-1], "score": len(text) / 7, "scores": {"a": 0.5}}, "slots": {"spans": spans}}


LINE = st.one_of(
    st.sampled_from(TEXTS).map(lambda text: {"text": text, "n": len(text)}),
    st.sampled_from([{"text": None, "n": 0}, {"text": 7, "n": 1}, {"n": 2}, "{broken"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINE, min_size=1, max_size=11),
    name=st.sampled_from(["out.jsonl", "out.json", "out.jsonl.gz", "out.csv", "out.parquet"]),
    steps=st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_a_run_that_was_stopped_anywhere_is_resumed(bundle, tmp_path, monkeypatch, stopping, lines, name, steps):
    """With predictions that take no time; those of a trunk are in the other tests."""
    monkeypatch.setattr(Bundle, "predict_written", lambda self, texts, pairs, units, cut: [made_up(text) for text in texts])
    folder, chunks = tmp_path / str(next(NUMBER)), -(-(len(lines) + 1) // 3)
    folder.mkdir()
    source = write_lines(folder / "in.jsonl", [{"text": "so good", "n": 3}, *lines])
    stopping(0)
    predict_file(bundle, source, folder / name)
    expected = (folder / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted(["in.jsonl", name])
    (folder / name).write_text("of before")
    stopping.asked, bound = 0, 0
    for step in steps:
        stopping(step)
        try:
            predict_file(bundle, source, folder / name)
            whole = True
        except Stopped:
            whole = (folder / name).read_bytes() == expected
            assert whole or (folder / name).read_bytes() == b"of before"
        # A stop loses the chunk at hand at most, but for one that comes when the output is there and the parts are removed.
        bound += chunks + 1 if whole else 1
        (folder / name).write_text("of before")
    stopping(0)
    predict_file(bundle, source, folder / name)
    assert (folder / name).read_bytes() == expected
    assert stopping.asked <= chunks + bound
    assert sorted(path.name for path in folder.iterdir()) == sorted(["in.jsonl", name])


def stopped_after(bundle, stopping, chunks, source, output, **more):
    """Stop when so many chunks are done."""
    stopping.asked = 0
    ask = Prepared.ask

    def some(self, *arguments):
        if stopping.asked == chunks:
            raise Stopped
        return ask(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prepared, "ask", some)
        with pytest.raises(Stopped):
            predict_file(bundle, source, output, **more)


def test_what_is_done_is_not_computed_again(bundle, tmp_path, stopping):
    source, said, shares = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), [], []
    stopped_after(bundle, stopping, 4, source, tmp_path / "out.csv")
    parts = tmp_path / ".out.csv.trunkline-parts"
    assert sorted(path.name for path in parts.iterdir()) == ["manifest.json", *(f"part-0000000{i}.json.gz" for i in range(4))]
    stopping.asked = 0
    done = predict_file(
        bundle, source, tmp_path / "out.csv", say=said.append, progress=lambda rows, share: shares.append((rows, share))
    )
    assert (done.rows, done.resumed_rows, stopping.asked) == (20, 12, 3)
    assert said == ["resuming after 12 rows that are done already"]
    assert [rows for rows, _ in shares] == [3, 6, 9, 12, 15, 18, 20] and shares[-1][1] == 1


@pytest.mark.parametrize("change", ["branches", "options", "input", "later rows", "damage"])
def test_parts_of_something_else_are_not_used(bundle, tmp_path, stopping, change):
    source, said, output = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), [], tmp_path / "out.jsonl"
    stopped_after(bundle, stopping, 4, source, output)
    parts, options, other, asked = tmp_path / ".out.jsonl.trunkline-parts", Options(), bundle, 7
    sentence = f"{parts}: the parts that are done are of another input, so they are not used"
    if change == "branches":
        other = Bundle(bundle.trunk, {"mood": make(bundle.trunk, "sequence", seed=5), "slots": bundle.branches["slots"]})
        sentence = f"{parts}: the parts that are done are of other branches, so they are not used"
    elif change == "options":
        options = Options(scores=True)
        sentence = f"{parts}: the parts that are done are of other options, so they are not used"
    elif change == "input":
        write_lines(source, [{"text": text} for text in ["so", *TEXTS]])
    elif change == "later rows":
        write_lines(source, [{"text": text} for text in [*TEXTS[:7], "so", *TEXTS[7:]]])
        sentence, asked = f"{parts}: the parts that are done are from part 3 on of another input, so they are not used", 5
    else:
        (parts / "part-00000001.json.gz").write_bytes(b"\x1f\x8b of no use")
        sentence, asked = None, 6
    stopping.asked = 0
    predict_file(other, source, output, options=options, say=said.append)
    assert said[:1] == ([sentence] if sentence else ["resuming after 3 rows that are done already"]) and stopping.asked == asked
    predict_file(other, source, tmp_path / "whole.jsonl", options=options)
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not parts.exists()


def test_data_are_no_paths(bundle, tmp_path):
    frame = pd.DataFrame({"text": ["secret words"]})
    with pytest.raises(
        BadInput, match=r"^source: found DataFrame, expected the path of a file; bundle\.predict takes texts in"
    ):
        predict_file(bundle, frame, tmp_path / "out.csv")
    with pytest.raises(BadInput, match=r"^output: found DataFrame, expected the path of a file to write$"):
        predict_file(bundle, "x.csv", frame)


def test_nothing_that_trunkline_did_not_write_is_touched(bundle, tmp_path, stopping):
    source, output = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), tmp_path / "out.jsonl"
    parts = tmp_path / ".out.jsonl.trunkline-parts"
    (tmp_path / "empty").mkdir()
    for make_it in (
        lambda: [parts.mkdir(), (parts / "mine").write_text("")],
        lambda: parts.write_text("mine"),
        lambda: parts.symlink_to(tmp_path / "empty"),
    ):
        make_it()
        with pytest.raises(
            BadInput, match=r"found what Trunkline has not written, where it keeps finished parts of out\.jsonl"
        ):
            predict_file(bundle, source, output)
        shutil.rmtree(parts) if parts.is_dir() and not parts.is_symlink() else parts.unlink()
    parts.mkdir()  # empty: of a kill at the very end
    stopped_after(bundle, stopping, 2, source, output)
    (parts / "notes.txt").write_text("mine")
    predict_file(bundle, source, output)
    assert [path.name for path in parts.iterdir()] == ["notes.txt"] and len(rows_of(output)) == 20


def test_two_processes_do_not_write_the_same_output(bundle, tmp_path, stopping):
    source, output = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), tmp_path / "out.jsonl"
    stopped_after(bundle, stopping, 2, source, output)
    handle = os.open(tmp_path / ".out.jsonl.trunkline-parts", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(TrunklineError, match="another process is predicting into this file"):
        predict_file(bundle, source, output)
    os.close(handle)
    predict_file(bundle, source, output)


def test_the_second_of_two_that_begin_at_the_same_moment_is_refused(tmp_path):
    output, folder = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.trunkline-parts"
    first = Parts(output, {"a": 1}, print)
    for _ in range(2):  # also once the first has kept something
        with pytest.raises(TrunklineError, match=r"out\.jsonl: another process is predicting into this file"):
            Parts(output, {"a": 1}, print)
        first.keep(0, "x", [1])
    first.close()
    again = Parts(output, {"a": 1}, print)  # as after a kill
    assert again.find(0, "x") == [1]
    again.remove()
    after = Parts(output, {"a": 1}, print)  # it is free as soon as the folder is removed
    again.close()
    with pytest.raises(TrunklineError, match="another process"):
        Parts(output, {"a": 1}, print)
    after.close()
    assert not folder.exists()  # nothing was kept


def test_a_pipe_gets_its_rows_once(bundle, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    with open(tmp_path / "there", "wb") as file:
        predict_file(bundle, source, f"/dev/fd/{file.fileno()}", format="jsonl")
    predict_file(bundle, source, tmp_path / "out.jsonl")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


BAD = [*({"text": text, "n": place} for place, text in enumerate(TEXTS[:7])), "{broken", {"text": 5, "n": 7}, {"n": 8}]


@pytest.mark.parametrize("own", [{}, {"error": "mine"}])
def test_a_table_has_a_column_of_errors_if_there_are_any(bundle, tmp_path, own):
    """The first bad row comes in the third chunk, when a header has been written."""
    lines = [line if isinstance(line, str) else {**line, **own} for line in BAD]
    source, said = write_lines(tmp_path / "in.jsonl", lines), []
    done = predict_file(bundle, source, tmp_path / "out.jsonl")
    assert (done.rows, done.bad_rows, done.resumed_rows) == (10, 2, 0)
    name, right = "error_2" if own else "error", rows_of(tmp_path / "out.jsonl")
    assert [row.get(name) for row in right[:7]] == [None] * 7 and right[7][name].startswith(f"{source} line 8 column 2: broken")
    assert right[8][name] == f"{source} line 9: column 'text' holds a number, expected a string" and name not in right[9]
    assert [row["n"] for row in right] == [0, 1, 2, 3, 4, 5, 6, None, 7, 8] and right[9]["mood"]["label"] is None
    predict_file(bundle, source, tmp_path / "out.csv", say=said.append)
    predict_file(bundle, source, tmp_path / "out.parquet")
    with open(tmp_path / "out.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row[name] or None for row in cells] == [row[name] for row in found] == [row.get(name) for row in right]
    assert [row["mood"] or None for row in cells] == [row["mood"] for row in found] == [row["mood"]["label"] for row in right]
    assert said == [] and all(row["error"] == "mine" for row in found if own and row["n"] is not None)
    good = write_lines(tmp_path / "good.jsonl", BAD[:7])
    predict_file(bundle, good, tmp_path / "good.csv")
    assert "error" not in (tmp_path / "good.csv").read_text()


def test_bad_rows_of_csv_keep_their_place(bundle, tmp_path):
    (tmp_path / "in.csv").write_bytes(b'text,n\nso good,1\nbad,2,3\n"a"b,3\ncaf\xe9,4\nthe film,5\n' + b"so,6\n" * 50)
    done = predict_file(bundle, tmp_path / "in.csv", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["n"] for row in rows] == ["1", "", "", "", "5", *["6"] * 50] and done.bad_rows == 3
    assert [bool(row["error"]) for row in rows[:6]] == [False, True, True, True, False, False]
    assert [bool(row["mood"]) for row in rows[:6]] == [True, False, False, False, True, True]
    assert done.findings[0].startswith(f"3 rows cannot be read, so they have no prediction and their error instead: {tmp_path}")
    assert done.findings[0].endswith(f"; also {tmp_path}/in.csv line 4, {tmp_path}/in.csv line 5.")


def test_a_source_without_a_row_that_can_be_read_is_refused(bundle, tmp_path):
    for lines in (["{broken"] * 8, [{"text": 1}] * 8):
        source = write_lines(tmp_path / "in.jsonl", lines)
        with pytest.raises(BadInput, match=r"in\.jsonl line 1"):
            predict_file(bundle, source, tmp_path / "out.jsonl")
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_what_breaks_in_the_thread_that_reads_is_raised_here(bundle, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    with pytest.raises(BadInput, match="unknown name 'txt'"):
        predict_file(bundle, source, tmp_path / "out.jsonl", options=Options(columns={"text": "txt"}))
    write_lines(source, [{"text": text} for text in [*TEXTS[:7], ""]])
    with pytest.raises(BadInput, match="line 8: found no text"):
        predict_file(bundle, source, tmp_path / "out.jsonl", options=Options(empty_texts="refuse"))


@pytest.mark.slow
def test_a_process_that_was_killed_is_resumed(bundle, tmp_path):
    """With a kill that no process can catch, at several moments."""
    from trunkline.model.branch import save_branch

    save_branch(make(bundle.trunk, "sequence"), tmp_path / "mood")
    source = write_lines(tmp_path / "in.jsonl", [{"text": TEXTS[place % 20], "n": place} for place in range(3000)])
    script = (
        "from trunkline.model.bundle import Bundle; from trunkline.serving import bulk; bulk.CHUNK = 20\n"
        f"bundle = Bundle.open({str(tmp_path / 'mood')!r}, device='cpu')\n"
        f"print(bulk.predict_file(bundle, {str(source)!r}, 'out.csv').resumed_rows)"
    )
    command = [sys.executable, "-c", script]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert subprocess.run(command, cwd=whole, check=True, capture_output=True, text=True).stdout == "0\n"
    for kill in range(4):
        process = subprocess.Popen(command, cwd=tmp_path)
        parts = tmp_path / ".out.csv.trunkline-parts"
        while len(list(parts.glob("part-*"))) < 10 + 30 * kill:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out.csv").exists()
    resumed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert 2000 <= int(resumed) < 3000
    assert (tmp_path / "out.csv").read_bytes() == (whole / "out.csv").read_bytes() and not parts.exists()
