import errno
import os

import pytest

from trunkline import files
from trunkline.errors import BadInput
from trunkline.files import (
    NotWritten,
    atomic_directory,
    distinct_names,
    put_back_unmarked,
    recover_directory,
    safe_name,
    sweep,
    write_text,
)  # fmt: skip


def killed(work, rename: int) -> None:
    """Do `work` in a process that dies at its `rename`-th rename, as by SIGKILL: nothing is cleared away."""
    child = os.fork()
    if child == 0:
        real, calls = os.replace, []

        def replace(source, target):
            calls.append(source)
            if len(calls) == rename:
                os._exit(0)
            real(source, target)

        os.replace = replace
        if rename == LATER:  # after all renames, before anything is cleared away
            files._remove = lambda left, path: os._exit(0)
        work()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


LATER = 3


def write(path, text):
    with atomic_directory(path) as temporary:
        (temporary / "state").write_text(text)


@pytest.mark.parametrize("rename", [1, 2, LATER])
@pytest.mark.parametrize("next_to_come", ["recover", "write", "sweep"])
def test_a_directory_is_whole_whichever_rename_a_kill_falls_on(tmp_path, rename, next_to_come):
    path = tmp_path / "check.point"
    write(path, "old")
    killed(lambda: write(path, "new"), rename)
    if next_to_come == "recover":
        recover_directory(path)
        assert (path / "state").read_text() == ("new" if rename == LATER else "old")
        return
    if next_to_come == "sweep":
        sweep(tmp_path)
        assert (path / "state").read_text() == ("new" if rename == LATER else "old")
    else:
        with pytest.raises(ZeroDivisionError), atomic_directory(path):
            assert (path / "state").read_text() == ("new" if rename == LATER else "old")
            raise ZeroDivisionError
        write(path, "newest")
        assert (path / "state").read_text() == "newest"
    assert os.listdir(tmp_path) == ["check.point"]


@pytest.mark.parametrize("rename", [1, 2])
def test_a_rename_that_fails_leaves_the_old_directory(tmp_path, monkeypatch, rename):
    path = tmp_path / "checkpoint"
    write(path, "old")
    real, calls = os.replace, []

    def fails(source, target):
        calls.append(source)
        if len(calls) == rename:
            raise OSError(errno.ENOSPC, "full")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(NotWritten, match=r"checkpoint: cannot be written \(No space left on device\)"):
        write(path, "new")
    assert (path / "state").read_text() == "old" and os.listdir(tmp_path) == ["checkpoint"]


def test_a_block_that_fails_leaves_the_old_directory_and_no_rest(tmp_path):
    path = tmp_path / "checkpoint"
    write(path, "old")
    with pytest.raises(RuntimeError), atomic_directory(path):
        raise RuntimeError
    assert (path / "state").read_text() == "old" and os.listdir(tmp_path) == ["checkpoint"]


def test_a_directory_has_what_the_umask_leaves_and_a_new_one_the_mode_of_the_old(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "new", "a")
        write_text(tmp_path / "file", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750 and (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    (tmp_path / "new").chmod(0o700)
    write(tmp_path / "new", "b")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_files_in_a_directory_have_what_the_umask_leaves_whoever_made_them(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_directory(tmp_path / "d") as temporary:
            (temporary / "sub").mkdir()
            for file in (temporary / "weights", temporary / "sub" / "private"):
                os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
    finally:
        os.umask(before)
    assert {oct((tmp_path / "d" / name).stat().st_mode & 0o777) for name in ("weights", "sub/private")} == {"0o640"}


def test_a_directory_within_one_that_is_being_written_leaves_and_tells_no_names_of_its_own(tmp_path):
    with pytest.raises(NotWritten, match=r"/a: cannot be written \(No space"), atomic_directory(tmp_path / "a") as outer:
        for part in ("", "part"):
            write(outer / part, "new")
        with atomic_directory(outer / "more"):
            assert [path.name for path in tmp_path.iterdir()] == [outer.name]
            assert {path.name for path in outer.iterdir()} == {"state", "part", "more"}
            raise OSError(errno.ENOSPC, "full")
    assert os.listdir(tmp_path) == []


def test_only_names_of_this_package_are_swept_and_only_in_the_folder_that_is_named(tmp_path):
    theirs = [".data.old", ".mine.tmp", ".model.abcdefgh.tmp", ".a.trunkline-12.tmp", "a.trunkline-12345678.tmp"]
    for name in theirs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "work").write_text("mine")
    below = tmp_path / ".mine.tmp" / ".a.trunkline-12345678.tmp"
    below.mkdir()
    (tmp_path / ".result.json.trunkline-0123abcd.tmp").write_text("half")
    sweep(tmp_path)
    write(tmp_path / "model", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*theirs, "model"]) and below.is_dir()


def test_an_older_directory_goes_back_to_its_own_name_alone(tmp_path):
    """A name may begin like another one."""
    (tmp_path / ".a.b.trunkline-01234567.old" / "was").mkdir(parents=True)
    (tmp_path / ".a.b.abcdefgh.old" / "was").mkdir(parents=True)
    recover_directory(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    recover_directory(tmp_path / "a.b")
    assert (tmp_path / "a.b").is_dir()


def test_what_has_no_mark_is_put_back_but_never_removed(tmp_path):
    for name in (".a.20240101.old/was", ".b.20240101.old/was", ".c.20240101.old", ".d.20240101.tmp/was", "b", "e/was"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "work").write_text("mine")
    put_back_unmarked(tmp_path)
    for name in "abcd":
        recover_directory(tmp_path / name)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("work")}
    assert found == {
        f"{folder}/work" for folder in ("a", "b", ".b.20240101.old/was", ".c.20240101.old", ".d.20240101.tmp/was", "e/was")
    }
    assert not (tmp_path / ".a.20240101.old").exists()


def test_a_directory_that_somebody_writes_is_not_cleared_away_by_the_next(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "a") as mine:
        write(tmp_path / "a", "of another writer")
        assert mine.is_dir()
        raise ZeroDivisionError
    assert (tmp_path / "a" / "state").read_text() == "of another writer" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        Exception("No space left on device (os error 28)"),  # of tokenizers
        RuntimeError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'),  # of safetensors
    ],
)
def test_a_full_disk_is_one_sentence_whichever_library_notices(tmp_path, error):
    write(tmp_path / "a", "old")
    with (
        pytest.raises(NotWritten, match=r"^[^\n]*a: cannot be written \(No space left on device\)$"),
        atomic_directory(tmp_path / "a"),
    ):
        raise error
    assert (tmp_path / "a" / "state").read_text() == "old" and os.listdir(tmp_path) == ["a"]
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "a"):  # of reading something else
        (tmp_path / "b").read_text()


UNSAFE = [None, 3, True, ["a"], "", ".", "..", "/abs/victim", "a/b", "a\\b", "../a", ".hidden", "-o", "a\0b", "a\nb"]
UNSAFE += ["\x1b[31m", "[/b]", " a", "a b", "a,b", "a:b", "a" * 201, "\u6587" * 67, "e\u0301", "\u202ea"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_is_no_folder_of_its_own_is_refused_without_printing_it_raw(name):
    with pytest.raises(BadInput, match=r"^branch.json: name: found ") as error:
        safe_name(name, "branch.json: name")
    assert str(error.value).isprintable() and len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["a", "Intent", "sst-2", "a.b", "_", "2", "감정", "x" * 200, "a..b", "sst-2@ukp"])
def test_a_name_that_is_one_is_returned(name):
    assert safe_name(name, "tasks") == name


@pytest.mark.parametrize(
    "pair", [("intent", "Intent"), ("straße", "STRASSE"), ("감정", "\u1100\u1161\u11b7\u110c\u1165\u11bc"), ("ﬁ", "fi")]
)
def test_names_that_some_disks_take_for_one_are_refused(pair):
    with pytest.raises(BadInput, match=r"tasks: found .* one folder on some disks"):
        distinct_names(["other", *pair], "tasks")
    distinct_names(["intent", "intents", "감정", "감"], "tasks")
