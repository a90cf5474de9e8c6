"""What messages call the texts of a request: each address has them under keys of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trunkline.model.arguments import OfTexts

Naming = Callable[[str, int | None], str]  # the key of "texts", "pairs" or "units", of one of them (from 0) or of all (None)


def several(what: str, row: int | None) -> str:
    """As lists: `texts[3]`."""
    return what if row is None else f"{what}[{row}]"


def alone(what: str, row: int | None) -> str:
    """As the only one: `text`, and the `units` of its words."""
    return what if what == "units" else what.removesuffix("s")


def alone_with_lists(what: str, row: int | None) -> str:
    """As the only one: `text`, but with units that are a list for each text."""
    return several(what, row) if what == "units" else alone(what, row)


@contextmanager
def named(naming: Naming) -> Iterator[None]:
    """Let what is wrong with texts be said with their keys."""
    try:
        yield
    except OfTexts as error:
        raise error.at("", naming(error.what, error.row) + error.within) from None
