"""The word that was meant, as messages guess it."""

from __future__ import annotations

import pytest

from trunkline.errors import shown, unknown_name


@pytest.mark.parametrize(
    ("found", "meant"),
    [("LHOA", "LOHA"), ("LROA", "LORA"), ("LOR", "LORA"), ("teh", "the"), ("epoch", "epochs")],
)
def test_swapped_letters_are_nearer_than_others(found, meant):
    known = ["LOHA", "LORA", "LOKR", "the", "tea", "ten", "epochs"]
    assert str(unknown_name("here", found, known)) == f"here: unknown name {found!r}; did you mean {meant!r}?"


def test_all_are_listed_where_none_is_near():
    assert str(unknown_name("here", "xyz", ["b", "a"])) == "here: unknown name 'xyz'; expected one of a, b"


def test_names_that_are_listed_are_few_and_no_texts():
    names = ["a text of somebody that stands where a name should", *(f"n{i}" for i in range(30_000))]
    sentence = str(unknown_name("here", "xyz", names))
    assert len(sentence) < 500 and "(30,001 in all)" in sentence and "somebody" not in sentence
    assert shown("BookRestaurant") == "'BookRestaurant'" and shown("New York") == "'New York'" and shown(7) == "'7'"
    assert shown("my name is Ann Smith") == "'my name ...'" and shown("一二三四五六七八九十一二三") == "'一二三四五六七八...'"
