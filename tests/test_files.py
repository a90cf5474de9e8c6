import os

import pytest

from trunkline.files import atomic_directory, recover_directory


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
