"""What the tests of guesses share: a table with a text and the columns in question, and what is guessed of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from trunkline.data.guess import Guess, guess_columns
from trunkline.data.table import Table

WORDS = "the film was good bad slow great plot actor scene music never ever again".split()


def sentences(n: int, seed: int = 0, least: int = 4) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(least, 12))) + f" {i}" for i in range(n)]


def cycle(values: Sequence[Any], n: int) -> list[Any]:
    return [values[i % len(values)] for i in range(n)]


def guess(n: int = 60, **columns: list) -> Guess:
    return guess_columns(Table("x.csv", {"text": sentences(n), **columns}))


def roles(found: Guess) -> dict[str, str]:
    return {decision.column: decision.role for decision in found.decisions}
