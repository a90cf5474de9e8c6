"""Sentences of where, what was found and what was expected; what they show of a value; the word that was meant."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.errors import (
    LONGEST,
    LONGEST_NAME,
    TRAIN_AGAIN,
    BadInput,
    TrunklineError,
    clipped,
    listed,
    literal,
    shown,
    unknown_name,
)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"problem": "a.csv: empty"}, "a.csv: empty"),
        ({"where": "run.yaml", "key": "method.dim", "found": "0", "expected": "more"},
         "run.yaml: method.dim: found 0, expected more"),
        ({"where": "run.yaml", "found": "a list", "expected": "a mapping"}, "run.yaml: found a list, expected a mapping"),
        ({"key": "method", "expected": "a section"}, "method: expected a section"),
        ({"key": "trunk", "found": "'x'", "problem": "none", "expected": "a folder"}, "trunk 'x': none; expected a folder"),
        ({"problem": "a: gone", "remedy": "restore it"}, "a: gone; restore it"),
        ({"where": "a", "found": "9", "option": "use --b"}, "a: found 9; use --b"),
        ({"problem": "gone", "expected": "a file", "remedy": "restore it", "option": "use --b"},
         "gone; expected a file; restore it, or use --b"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_of_its_parts(parts, sentence):
    for kind in (BadInput, TrunklineError):
        error = kind(**parts)
        assert str(error) == sentence and sentence in repr(error)
        assert str(pickle.loads(pickle.dumps(error))) == sentence  # as it comes out of another process


def test_a_floor_above_says_where_it_was_if_nothing_did():
    error = BadInput(key="layers", found="9", expected="at most 6")
    placed = error.at("run.yaml", "method.layers")
    assert str(placed) == "run.yaml: method.layers: found 9, expected at most 6" and type(placed) is BadInput
    assert str(error) == "layers: found 9, expected at most 6"
    assert str(placed.at("elsewhere")) == str(placed)


def test_another_command_says_its_own_option_where_there_is_one_at_all():
    gone = BadInput("a: gone", remedy="restore it", option=TRAIN_AGAIN)
    assert str(gone.at("run").with_option("use --out")) == "run: a: gone; restore it, or use --out"
    assert str(gone) == f"a: gone; restore it, or {TRAIN_AGAIN}" and type(gone.with_option("use --out")) is BadInput
    assert str(BadInput("a: empty", remedy="fill it").with_option("use --out")) == "a: empty; fill it"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"), (True, "true"), (3, "3"), (0.5, "0.5"), ({"a": 1}, "a mapping"), ([1], "a list"), ("tpu9", "'tpu9'"),
        (10**5000, "a number of more than 20 digits"), ("a text of a user " * 9, f"'{('a text of a user ' * 9)[:37]}...'"),
        ("\ud800\x1b[0m", "'\\ud800\\x1b[0m'"), (b"x" * 99, "a bytes"),
    ],
    ids=lambda value: str(type(value)),
)  # fmt: skip
def test_values_of_a_config_are_shown_short(value, said):
    assert literal(value) == said


@given(st.text() | st.integers() | st.floats() | st.binary() | st.dates() | st.lists(st.text()))
@settings(max_examples=50, deadline=None)
def test_whatever_is_shown_is_one_short_line_that_can_be_printed(value):
    for said in (literal(value), clipped(value)):
        assert said.isprintable() and len(said) <= 10 * LONGEST + 2
        said.encode("utf-8")


@pytest.mark.parametrize(
    ("found", "meant"),
    [("LHOA", "LOHA"), ("LROA", "LORA"), ("LOR", "LORA"), ("teh", "the"), ("epoch", "epochs")],
)
def test_swapped_letters_are_nearer_than_others(found, meant):
    known = ["LOHA", "LORA", "LOKR", "the", "tea", "ten", "epochs"]
    assert str(unknown_name("here", found, known)) == f"here: unknown name {found!r}; did you mean {meant!r}?"


def test_all_are_listed_where_none_is_near():
    assert str(unknown_name("here", "LoRA", ["lora", "full"])) == "here: unknown name 'LoRA'; did you mean 'lora'?"
    assert str(unknown_name("here", "xyz", ["b", "a"])) == "here: unknown name 'xyz'; expected one of a, b"


def test_names_that_are_listed_are_few_and_no_texts():
    names = ["a text of somebody that stands where a name should", *(f"n{i}" for i in range(30_000))]
    sentence = str(unknown_name("here", "xyz", names))
    assert len(sentence) < 500 and "(30,001 in all)" in sentence and "somebody" not in sentence
    assert shown("BookRestaurant") == "'BookRestaurant'" and shown("New York") == "'New York'" and shown(7) == "'7'"
    named = "Which of these do you use at least once a month: the app or the website"
    assert shown(named, whole=True) == "'Which of these do you use at least on...e app or the website'"
    assert shown(named[:60], whole=True) == repr(named[:60])
    assert shown("my name is Ann Smith") == "'my name ...'" and shown("一二三四五六七八九十一二三") == "'一二三四五六七八...'"


def test_what_is_known_to_be_a_name_is_shown_whole():
    names = ["Customer Utterance", "brand new account", "Größe der Wohnung"]
    assert shown(names[0], whole=True) == "'Customer Utterance'" and len(shown("long " * 99, whole=True)) == LONGEST_NAME + 2
    assert listed(names, whole=True) == "'Customer Utterance', 'brand new account', 'Größe der Wohnung'"
    assert str(unknown_name("here", "xyz", names[:1], whole=True)).endswith("expected one of Customer Utterance")
