import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from trunkline.cli.common import below, guarded, program


@pytest.fixture
def script(tmp_path, monkeypatch):
    """script(place) -> a command there that is the one that runs; the shell finds none by name."""

    def make(place: str) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\necho it runs\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "argv", [place, "demo"])
        return path

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return make


@pytest.mark.parametrize("place", [".venv/bin/trunkline", "my tools/trunkline", "trunkline"])
def test_a_command_that_the_shell_does_not_find_is_named_by_its_path(script, place):
    script(place)
    assert subprocess.run(program(), shell=True, capture_output=True, text=True).stdout == "it runs\n"
    assert shlex.split(program()) == [place if "/" in place else "./trunkline"]


def test_one_elsewhere_is_named_from_the_root(script, tmp_path, monkeypatch):
    path = script("elsewhere/bin/trunkline")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", [str(path)])
    assert program() == str(path)


def test_one_that_the_shell_finds_is_named_by_its_name(script, tmp_path, monkeypatch):
    path = script(".venv/bin/trunkline")
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}/bin")
    assert program() == "trunkline"
    other = script("other/bin/trunkline")  # the shell would run the first one
    assert program() == str(other.relative_to(tmp_path))


def test_started_from_python_it_is_named_by_its_name(script, monkeypatch):
    script(".venv/bin/trunkline")
    monkeypatch.setattr(sys, "argv", ["/usr/lib/python3/pytest/__main__.py"])
    assert program() == "trunkline"


def test_a_path_is_shown_from_the_working_directory(tmp_path):
    assert below(tmp_path / "runs" / "a") == below(Path("runs/a")) == "runs/a"
    assert below(tmp_path.parent) == str(tmp_path.parent)


def test_the_place_of_an_unexpected_error_is_in_the_package_whatever_the_folder_of_its_caller_is_called(capsys):
    code = compile("def command(make):\n    make(None)\n", "/home/me/trunkline/tests/mine.py", "exec")  # a clone's natural name
    exec(code, found := {})
    with pytest.raises(typer.Exit):
        guarded(found["command"])(below)  # os.path.abspath(None) in common.py, below the caller and above the library
    assert re.fullmatch(r"trunkline: unexpected TypeError in common\.py line \d+; .*\n", capsys.readouterr().err)
    exec(compile("def command():\n    raise KeyError\n", "/home/me/trunkline/tests/mine.py", "exec"), found)
    with pytest.raises(typer.Exit):
        guarded(found["command"])()
    assert "unexpected KeyError in common.py line" in capsys.readouterr().err


@pytest.mark.parametrize("rank", ["0", "1"])
def test_own_warnings_are_said_and_those_of_libraries_are_not(rank, capsys, monkeypatch):
    monkeypatch.setenv("RANK", rank)

    def command():
        logging.getLogger("trunkline.states.budget").warning("a store is in use, so it stays")
        logging.getLogger("transformers.models").warning("of no interest")

    before = logging.getLogger("trunkline").level
    guarded(command)()
    said = "trunkline: a store is in use, so it stays\n" if rank == "0" else ""  # one process of several talks
    assert capsys.readouterr().err == said
    assert logging.getLogger("trunkline").level == before
