"""Completion in real shells: each sources the script that `--show-completion` prints in it, and is asked as a user asks."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

# What a user types before the tab key -> what has to be there then.
TYPED = {"trunkline pre": "predict", "trunkline states bu": "build", "trunkline fit --valid": "--validation"}
TYPED |= {"trunkline export --format o": "onnx", "trunkline fit some_da": "some_data.csv"}
SECONDS = 60  # for a shell to answer


@pytest.fixture
def home(tmp_path) -> Path:
    """The user's folder, and the one that is worked in."""
    (tmp_path / "some_data.csv").touch()
    return tmp_path


@pytest.fixture
def shell(request, home, environment):
    """shell(arguments) -> what a shell prints; skipped where it is not installed."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**environment, "PATH": path, "HOME": str(home), "TERM": "dumb", "PS1": "$ "}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [name, *arguments], cwd=home, env=variables, capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout

    run.environment = variables
    return run


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash"], indirect=True)
def test_bash(shell, home):
    (home / "script").write_text(shell("-c", "trunkline --show-completion; true"))
    for typed, completed in TYPED.items():
        words = typed.split(" ")
        asked = f"source ./script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=()"
        given = shell("-c", f'{asked}; _trunkline_completion trunkline; echo "${{COMPREPLY[@]}}"')
        if completed == "some_data.csv":  # names of files are the shell's, as `complete -o default` says
            assert "default" in shell("-c", "source ./script; complete -p trunkline")
        else:
            assert completed in given.split(), (typed, given)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["fish"], indirect=True)
def test_fish(shell, home):
    (home / "script").write_text(shell("-c", "trunkline --show-completion; true"))
    for typed, completed in TYPED.items():
        given = shell("-c", f"source ./script; complete -C '{typed}'")
        assert completed in [line.split("\t")[0] for line in given.splitlines()], (typed, given)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["zsh"], indirect=True)
def test_zsh(shell, home):
    """zsh completes at a terminal alone: one is made, and the tab key is pressed in it."""
    (home / "script").write_text(shell("-fc", "trunkline --show-completion; true"))
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(home)
        os.execvpe("zsh", ["zsh", "-f", "-i"], shell.environment)
    try:
        os.write(terminal, b"autoload -Uz compinit; compinit -u; source ./script; echo 'rea''dy'\n")
        read_until(terminal, "ready")
        for typed, completed in TYPED.items():
            os.write(terminal, f"{typed}\t".encode())
            read_until(terminal, f"{typed.rpartition(' ')[0]} {completed}")
            os.write(terminal, b"\x15")  # which empties the line
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def read_until(terminal: int, wanted: str) -> None:
    """Read what the terminal shows until `wanted` is there, whatever moves of the cursor are between its characters."""
    end, seen = time.monotonic() + SECONDS, ""
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode("utf-8", "replace")
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\x07]", "", seen)
        if wanted in shown:
            return
    raise AssertionError(f"found {seen!r}, expected {wanted!r}")
