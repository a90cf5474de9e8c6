import os
import shutil
from contextlib import suppress

import pytest

from trunkline.errors import BadInput
from trunkline.files import atomic_directory, distinct_names, recover_directory, safe_name, sweep


class Killed(BaseException):
    pass


@pytest.mark.parametrize("rename", [1, 2, 3])
def test_a_directory_is_whole_whichever_rename_a_kill_falls_on(tmp_path, monkeypatch, rename):
    path = tmp_path / "checkpoint"
    with atomic_directory(path) as temporary:
        (temporary / "state").write_text("old")
    real, calls = os.replace, []

    def killed(source, target):
        calls.append(source)
        if len(calls) == rename:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    try:
        with atomic_directory(path) as temporary:
            (temporary / "state").write_text("new")
    except Killed:
        pass
    monkeypatch.undo()
    recover_directory(path)
    assert (path / "state").read_text() == ("old" if rename <= 2 else "new")


def test_a_block_that_fails_leaves_the_old_directory_and_no_rest(tmp_path):
    path = tmp_path / "checkpoint"
    with atomic_directory(path) as temporary:
        (temporary / "state").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(path) as temporary:
        raise RuntimeError
    assert (path / "state").read_text() == "old" and os.listdir(tmp_path) == ["checkpoint"]


def test_sweeping_puts_back_what_was_moved_aside_and_clears_the_rest(tmp_path, monkeypatch):
    def write(name, text, killed_at=None):
        """Write a directory; killed before its renames, between them or after them: what a SIGKILL leaves."""
        original, calls = os.replace, []

        def replace(source, target):
            calls.append(target)
            if len(calls) == killed_at:
                raise Killed
            original(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # a killed process clears nothing away
            with suppress(Killed), atomic_directory(tmp_path / "branches" / name) as folder:
                (folder / "text").write_text(text)

    for name in ("moved.aside", "kept"):
        write(name, "first")
    write("moved.aside", "second", killed_at=2)  # between the two renames
    write("kept", "second", killed_at=1)  # before both
    write("kept", "third")  # after both: the older one is left beside it
    (tmp_path / "branches" / ".result.json.abc.tmp").write_text("half")
    left = {path.name.rsplit(".")[-1] for path in (tmp_path / "branches").iterdir() if path.name.startswith(".")}
    assert left == {"tmp", "old"}
    sweep(tmp_path)
    held = {str(path.relative_to(tmp_path / "branches")): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert held == {"moved.aside/text": "first", "kept/text": "third"}
    assert {path.name for path in (tmp_path / "branches").iterdir()} == {"moved.aside", "kept"}


UNSAFE = [None, 3, True, ["a"], "", ".", "..", "/abs/victim", "a/b", "a\\b", "../a", ".hidden", "-o", "a\0b", "a\nb"]
UNSAFE += ["\x1b[31m", "[/b]", " a", "a b", "a,b", "a:b", "a" * 201, "\u6587" * 67, "e\u0301", "\u202ea"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_is_no_folder_of_its_own_is_refused_without_printing_it_raw(name):
    with pytest.raises(BadInput, match=r"^branch.json: name: found ") as error:
        safe_name(name, "branch.json: name")
    assert str(error.value).isprintable() and len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["a", "Intent", "sst-2", "a.b", "_", "2", "감정", "x" * 200, "a..b"])
def test_a_name_that_is_one_is_returned(name):
    assert safe_name(name, "tasks") == name


@pytest.mark.parametrize(
    "pair", [("intent", "Intent"), ("straße", "STRASSE"), ("감정", "\u1100\u1161\u11b7\u110c\u1165\u11bc"), ("ﬁ", "fi")]
)
def test_names_that_some_disks_take_for_one_are_refused(pair):
    with pytest.raises(BadInput, match=r"tasks: found .* one folder on some disks"):
        distinct_names(["other", *pair], "tasks")
    distinct_names(["intent", "intents", "감정", "감"], "tasks")
