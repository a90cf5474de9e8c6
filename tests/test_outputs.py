"""Where a user's output goes: the mode of a file, links, pipes and devices, and what is left when writing does not end well."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trunkline import outputs
from trunkline.errors import TrunklineError
from trunkline.files import NotWritten
from trunkline.outputs import output_file


def write(path: Path, data: bytes = b"new") -> None:
    with output_file(path) as file:
        file.write(data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=["unnamed", "named", "copied"])
def way(request, monkeypatch):
    """The three ways to a whole file: on Linux, where no file without a name can be made, and where it cannot be given one."""
    if request.param == "named":
        monkeypatch.setattr(outputs, "_unnamed", lambda folder: None)
    if request.param == "copied":

        def fails(*args, **kwargs):
            raise OSError(errno.ENOENT, "no /proc")

        monkeypatch.setattr(os, "link", fails)
    return request.param


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_what_the_umask_leaves_and_an_old_one_keeps_its_mode(way, mask, tmp_path):
    before = os.umask(mask)
    try:
        write(tmp_path / "new")
        with open(tmp_path / "compared", "wb"):
            pass
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == mode(tmp_path / "compared") == 0o666 & ~mask
    for kept in (0o600, 0o640, 0o664):
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "old").chmod(kept)
        write(tmp_path / "old")
        assert mode(tmp_path / "old") == kept and (tmp_path / "old").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compared", "new", "old"]


def test_links_are_written_through(way, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "one").symlink_to("there/file")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "dangling").symlink_to("there/not yet")
    write(tmp_path / "two")
    write(tmp_path / "dangling", b"first")
    assert (tmp_path / "one").is_symlink() and (tmp_path / "two").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == {"file": b"new", "not yet": b"first"}


def test_a_pipe_gets_what_is_written_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join(10)
    assert read == [b"new"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    write(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


SHELL = """{ echo before; "$0" -c '
import sys
from pathlib import Path
from trunkline.outputs import output_file
with output_file(Path(sys.argv[1])) as file:
    file.write(b"new\\n")
' "$1"; echo after; } %s"""


@pytest.mark.parametrize(
    ("path", "redirected"),
    [("/dev/stdout", "> out"), ("/dev/stdout", "| cat > out"), ("/proc/self/fd/1", "> out"), ("link", "> out")],
)
def test_stdout_by_its_path_is_written_in_its_turn(path, redirected, tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    subprocess.run(["bash", "-c", SHELL % redirected, sys.executable, path], check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "before\nnew\nafter\n"


def test_what_is_there_stays_when_the_block_fails(way, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), output_file(tmp_path / "file") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


WRITER = """
import os, signal, sys
from pathlib import Path
from trunkline import outputs
if sys.argv[2] == "named":
    outputs._unnamed = lambda folder: None
with outputs.output_file(Path(sys.argv[1])) as file:
    file.write(b"texts of a user")
    file.flush()
    print("ready", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["unnamed", "named"])
def test_what_a_kill_leaves(kind, tmp_path):
    """Nothing where a file needs no name; else the next writer of the same file clears it away, but not while it is written."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file"), kind]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    if kind == "unnamed" and not sys.platform.startswith("linux"):
        pytest.skip("only Linux has files without names")
    mine = tmp_path / ".file.abcdefgh.tmp"
    mine.write_text("of somebody else")
    written = [path for path in tmp_path.iterdir() if path != mine]
    assert len(written) == (kind == "named")
    write(tmp_path / "file")
    assert all(path.exists() for path in written)
    writer.communicate("\n")
    assert writer.returncode == -signal.SIGKILL
    write(tmp_path / "file", b"newer")
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "file"] and (tmp_path / "file").read_bytes() == b"newer"


@pytest.mark.parametrize("place", ["nowhere/file", "folder", "/dev/full"])
def test_what_cannot_be_written_is_one_sentence(place, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotWritten, match=r"cannot be written \((No such file|Is a directory|No space left)") as error:
        write(tmp_path / place, b"x" * 100_000)
    assert isinstance(error.value, TrunklineError) and "\n" not in str(error.value)


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, how: how != os.W_OK)  # root may write everything, so it is only said
    with pytest.raises(NotWritten, match="Permission denied"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
