"""The word that was meant, as messages guess it."""

from __future__ import annotations

import pytest

from trunkline.errors import unknown_name


@pytest.mark.parametrize(
    ("found", "meant"),
    [("LHOA", "LOHA"), ("LROA", "LORA"), ("LOR", "LORA"), ("teh", "the"), ("epoch", "epochs")],
)
def test_swapped_letters_are_nearer_than_others(found, meant):
    known = ["LOHA", "LORA", "LOKR", "the", "tea", "ten", "epochs"]
    assert str(unknown_name("here", found, known)) == f"here: unknown name {found!r}; did you mean {meant!r}?"


def test_all_are_listed_where_none_is_near():
    assert str(unknown_name("here", "xyz", ["b", "a"])) == "here: unknown name 'xyz'; expected one of a, b"
