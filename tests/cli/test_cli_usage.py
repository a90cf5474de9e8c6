"""How a command line that cannot be parsed is answered: one sentence, in our words, for every parameter of every command."""

from __future__ import annotations

import re
from enum import Enum
from inspect import unwrap
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from clitools import fails, invoke

from trunkline.cli import app

LIBRARIES = re.compile("Input should|Value error|Invalid value|valid integer|pydantic|unable to parse|Usage:|[╭│]")


def parameters(group=None, words=()):
    """The words of each command, an option of it or None for an argument, and what its function allows there."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from parameters(command, (*words, name))
            continue
        hints = get_type_hints(unwrap(command.callback))
        for param in command.params:
            if param.name in hints:
                yield (*words, name), next((one for one in param.opts if one[0] == "-"), None), leaves(hints[param.name])


def leaves(hint) -> set:
    if get_origin(hint) is Literal or not get_args(hint):
        return {hint}
    return {leaf for part in get_args(hint) for leaf in leaves(part)}


def choices(kinds: set) -> list[str]:
    enums = [member.value for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum) for member in kind]
    return enums + [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


EVERY = list(parameters())
CHOSEN = [(words, option, choices(kinds)) for words, option, kinds in EVERY if choices(kinds)]
NUMBERS = [(words, option, "a whole number" if int in kinds else "a number") for words, option, kinds in EVERY
           if kinds & {int, float}]  # fmt: skip


def test_there_are_parameters_of_each_kind():
    assert len(CHOSEN) > 8 and len(NUMBERS) > 8


def test_a_wrong_choice_is_answered_by_those_that_there_are():
    for words, option, known in CHOSEN:
        # Before what else is missing: values are looked at in the order in which they were given.
        sentence = fails(2, *words, *([option, "nonesuch"] if option else ["nonesuch"]))
        assert not LIBRARIES.search(sentence), sentence
        assert re.match(r"(--[a-z-]+|[A-Z]+): found 'nonesuch', expected ", sentence), sentence
        assert sentence.endswith(f"one of {', '.join(known)}" if len(known) > 1 else known[0])


def test_a_word_in_the_place_of_a_number_is_answered_by_what_is_expected():
    for words, option, expected in NUMBERS:
        sentence = fails(2, *words, option, "many")
        assert sentence == f"{option}: found 'many', expected {expected}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("label-errors x --folds 1", "--folds: found '1', expected a whole number of at least 2"),
        ("serve x --timeout 0", "--timeout: found '0', expected a number of at least 0.001"),
        ("export a --dtype", "--dtype: found no value, expected one"),
        ("info --json=3 x", "--json: found a value, expected none"),
        ("export", "export: found no BRANCH... [FOLDER], expected one; `trunkline export --help` shows an example"),
        ("fit x.csv --epochs 3", "fit: unknown option --epochs; did you mean training.epochs=3?"),
        ("fit x.csv --lr=3e-4", "fit: unknown option --lr; did you mean training.learning_rate=3e-4?"),
        ("info x --jsn", "info: unknown option --jsn; did you mean --json?"),
        ("--nonesuch", "unknown option --nonesuch; `trunkline --help` shows which there are"),
        ("train x.csv", "unknown command 'train'; did you mean fit?"),
        ("states buidl", "states: unknown command 'buidl'; did you mean build?"),
        ("states x", "states: unknown command 'x'; expected one of build, info, prune"),
        ("info a b", "info: got unexpected extra argument(s) (b); `trunkline info --help` shows an example"),
    ],
)
def test_what_cannot_be_parsed_is_one_sentence(given, said):
    assert fails(2, *given.split()) == said


MISSING = """
fit missing.csv | fit missing.yaml | compare missing.yaml | sweep missing.yaml | init missing.csv | report missing
distill missing.yaml --out student | evaluate missing | predict missing texts.txt | info missing | explain missing --out page
export missing folder | export missing folder --format onnx | import missing folder | ensemble missing missing --output folder
relabel missing a=b | label-errors missing.csv | serve missing | states build missing.yaml
"""


@pytest.mark.parametrize("given", [one.strip() for line in MISSING.split("\n") for one in line.split("|") if one.strip()])
def test_a_missing_file_is_one_sentence(given):
    sentence = fails(2, *given.split())
    assert "missing" in sentence and "unexpected" not in sentence and "Errno" not in sentence


def test_a_group_alone_shows_its_help():
    assert "Usage" in invoke("states").output
