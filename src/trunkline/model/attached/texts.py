"""The texts of what a model was given as token ids, and where their words lie: from a tokenizer, and better from the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trunkline.data.corpus import Unit, segment
from trunkline.errors import BadInput
from trunkline.inputs.cutting import Cut, find_units
from trunkline.inputs.text import TextProcessor

LONG = 1 << 30  # tokens; no text is cut


@dataclass(frozen=True)
class Read:
    """A text as the model read it.

    Attributes:
        text: as given, or decoded from the ids.
        units: the characters of its words.
        rows: int64 (units,): the token of each word's first piece, counted over real tokens; -1 where the model has none.
        cut: whether the model was given only a part of it.
    """

    text: str
    units: list[Unit]
    rows: np.ndarray
    cut: bool = False


class Reader:
    """Finds words in token ids.

    Args:
        tokenizer: a fast tokenizer of transformers.
        texts: what the model is given, in order; None: they are decoded from the ids.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str] | None) -> None:
        self.tokenizer, self.texts = tokenizer, texts
        self._processor = TextProcessor(tokenizer)
        self._special = [*tokenizer.all_special_ids, *tokenizer("", verbose=False)["input_ids"]]

    def read(self, ids: np.ndarray, number: int, *, decoder: bool = False) -> Read:
        """The text of real tokens `ids` (n,), the `number`-th of the block.

        Args:
            ids: what a stack of a model read.
            number: of the text.
            decoder: whether it was the decoder beside an encoder. Its texts are those that were given only where it read them
                whole, and otherwise its own, decoded. A decoder reads texts one token later, so that the row of a word
                is the one before its first piece.

        Raises:
            BadInput: texts were given to a model of one stack or to the encoder, and there is none for these, or another.
        """
        if decoder:
            found = self._located(self.texts[number], ids) if self.texts is not None and number < len(self.texts) else None
            if found is None or found.cut:
                found = self._decoded(ids)
            return replace(found, rows=np.where(found.rows > 0, found.rows - 1, -1))
        if self.texts is None:
            return self._decoded(ids)
        if number >= len(self.texts):
            more = f"the model was given {number + 1} or more"
            raise BadInput(f"texts: found {len(self.texts)}, but {more}; expected one for each")
        text = self.texts[number]
        found = self._located(text, ids)
        if found is None:
            raise BadInput(
                f"texts[{number}]: the model was given other tokens than the tokenizer makes of it; expected the texts in the "
                "order in which the model reads them, and the tokenizer that made the input"
            )
        return found

    def _located(self, text: str, ids: np.ndarray) -> Read | None:
        """The words of a text within ids that hold its tokens: all of them, or as many as are there; None if they do not."""
        units = segment(text)
        (whole,) = self._processor.encode([text], [Cut(LONG)], units=[units])
        assert whole.unit_rows is not None
        if np.array_equal(whole.ids, ids):
            return Read(text, units, whole.unit_rows)
        # Something stands before or behind it (an instruction, what was generated), or its end was cut off.
        plain = np.asarray(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], dtype=np.int64)
        first = _place(whole.ids, plain)
        kept = len(plain)
        at = _place(ids, plain)
        if at is None and first is not None:
            kept, at = _beginning(ids, plain)
        if first is None or at is None or not kept:
            return None
        rows = whole.unit_rows
        inside = (rows >= first) & (rows < first + kept)
        return Read(text, units, np.where(inside, rows - first + at, -1), kept < len(plain))

    def _decoded(self, ids: np.ndarray) -> Read:
        special = np.isin(ids, self._special)
        text = self.tokenizer.decode(ids[~special].tolist(), clean_up_tokenization_spaces=False).strip()
        found = self._located(text, ids) if text else None
        if found is not None and not found.cut:
            return found
        return self._by_pieces(ids, special)

    def _by_pieces(self, ids: np.ndarray, special: np.ndarray) -> Read:
        """Where decoding and tokenising again gives other tokens: the text that grows token by token."""
        text, spans, kept = "", [], np.flatnonzero(~special)
        for count in range(1, len(kept) + 1):
            grown = self.tokenizer.decode(ids[kept[:count]].tolist(), clean_up_tokenization_spaces=False)
            spans.append((min(len(text), len(grown)), len(grown)))
            text = grown
        units = segment(text)
        places = np.array(units, np.int64).reshape(-1, 2)
        return Read(text, units, find_units(np.array(spans, np.int64).reshape(-1, 2), kept.astype(np.int64), places))


def _place(ids: np.ndarray, part: np.ndarray) -> int | None:
    """Where `part` begins in `ids`, the first time; None if nowhere."""
    if not len(part) or len(part) > len(ids):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(ids, len(part))
    hits = np.flatnonzero((windows == part).all(1))
    return int(hits[0]) if len(hits) else None


def _beginning(ids: np.ndarray, plain: np.ndarray) -> tuple[int, int | None]:
    """How many of a text's first tokens stand in `ids`, and where: at least all of `ids` but for special tokens around."""
    for at in range(min(4, len(ids))):
        same = min(len(ids) - at, len(plain))
        different = np.flatnonzero(ids[at : at + same] != plain[:same])
        kept = int(different[0]) if len(different) else same
        if kept and at + kept >= len(ids) - 3:
            return kept, at
    return 0, None
