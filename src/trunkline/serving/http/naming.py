"""What messages call the texts of a request: each address has them under keys of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trunkline.model.arguments import OfTexts

Naming = Callable[[str, int | None], str]  # the key of "texts" or "pairs", of one of them (from 0) or of all (None)


def several(what: str, row: int | None) -> str:
    """As lists: `texts[3]`."""
    return what if row is None else f"{what}[{row}]"


def alone(what: str, row: int | None) -> str:
    """As the only one: `text`."""
    return what.removesuffix("s")


@contextmanager
def named(naming: Naming) -> Iterator[None]:
    """Let what is wrong with texts be said with their keys."""
    try:
        yield
    except OfTexts as error:
        raise error.at("", naming(error.what, error.row)) from None
