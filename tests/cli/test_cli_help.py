import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from clitools import invoke

import trunkline
from trunkline.cli import app


def commands(group=None, words=()):
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


def test_these_are_the_commands():
    assert {" ".join(words) for words in commands()} == {
        "demo", "fit", "init", "evaluate", "predict", "serve", "info", "explain", "export", "import", "ensemble", "relabel",
        "label-errors", "schema", "compare", "sweep", "report", "distill",
        "states build", "states info", "states prune",
    }  # fmt: skip


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example_that_begins_with_its_name(words):
    result = invoke(*words, "--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    start = next(i for i, line in enumerate(lines) if line in ("Example", "Examples"))
    examples = [line for line in lines[start + 1 :] if line][:1]
    assert examples[0].startswith(f"trunkline {' '.join(words)}")
    assert "--json" in result.stdout and "--debug" in result.stdout


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_in_80_columns_each_example_is_one_line_and_no_line_ends_early(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke(*words, "--help")
    described, _, examples = result.stdout.partition("╭")[0].partition("Example")
    lines = [line.strip() for line in described.splitlines()]
    for line, following in itertools.pairwise(lines):
        if line and following and not line.startswith("Usage:"):
            assert len(f"{line} {following.split()[0]}") > 78, line  # a blank on either side
    lines = "\n".join(line.strip() for line in examples.splitlines()[1:]).strip().partition("\n\n")[0].splitlines()
    assert lines and [line for line in lines if not line.startswith(("trunkline ", "cat "))] == []  # can be pasted


# Not pydantic: typer itself imports it, where a command takes values.
HEAVY = {"torch", "transformers", "numpy", "datasets", "yaml", "peft", "pyarrow", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--help"], {}, "predict"),
        (["states", "--help"], {}, "prune"),
        ([], {"_TRUNKLINE_COMPLETE": "complete_bash", "COMP_WORDS": "trunkline pre", "COMP_CWORD": "1"}, "predict"),
    ],
    ids=["help", "help of a group", "completion"],
)
def test_help_and_completion_load_nothing_heavy(arguments, environment, said):
    probe = (
        "import sys; from trunkline.cli import app\n"
        f"try: app({arguments}, prog_name='trunkline')\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", probe]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    assert said in run.stdout
    assert HEAVY & set(run.stderr.split()) == set() and "trunkline.cli" in run.stderr.split()


def test_version_and_no_arguments():
    assert invoke("--version").stdout.strip() == trunkline.__version__
    assert "Usage" in invoke().output


def test_every_command_lies_in_a_file_of_its_own():
    folder = Path(trunkline.__file__).parent / "cli"
    # `import` is a word of Python's own, so that its file is import_.py.
    assert {words[0].replace("-", "_") for words in commands()} <= {file.stem.rstrip("_") for file in folder.glob("*.py")}
