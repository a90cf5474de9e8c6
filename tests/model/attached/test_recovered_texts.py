"""Words in token ids: texts that were given or decoded, whole, cut or with something around."""

from __future__ import annotations

import numpy as np
import pytest
from attachtools import TEXTS, users_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer
from tiny_zoo import tokenizer_of

from trunkline.data.corpus import segment
from trunkline.errors import BadInput
from trunkline.inputs.cutting import Cut
from trunkline.inputs.text import TextProcessor
from trunkline.model.attached.texts import Reader

NAMES = ["bert", "roberta", "t5", "gpt2", "llama"]


def rows_of(tokenizer, text):
    """The words' rows as a trunk finds them."""
    (encoded,) = TextProcessor(tokenizer).encode([text], [Cut(1000)], units=[segment(text)])
    return encoded.ids.astype(np.int64), encoded.unit_rows


@pytest.mark.parametrize("name", NAMES)
def test_words_lie_where_a_trunk_finds_them(name):
    tokenizer = tokenizer_of(name)
    for text in [*TEXTS, "The film, was GREAT 10/10!"]:
        ids, rows = rows_of(tokenizer, text)
        read = Reader(tokenizer, [text]).read(ids, 0)
        assert read.text == text and read.units == segment(text) and np.array_equal(read.rows, rows) and not read.cut


@pytest.mark.parametrize("name", NAMES)
def test_something_around_a_text_moves_its_words(name):
    tokenizer = tokenizer_of(name)
    text = TEXTS[1]
    ids, rows = rows_of(tokenizer, text)
    plain = np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
    first = next(i for i in range(len(ids)) if np.array_equal(ids[i : i + len(plain)], plain))
    around = np.concatenate([[7, 8, 9, 10, 11], plain, [12, 13]])
    read = Reader(tokenizer, [text]).read(around, 0)
    assert np.array_equal(read.rows, rows - first + 5) and not read.cut


@pytest.mark.parametrize("name", NAMES)
def test_words_that_were_cut_off_have_no_token(name):
    tokenizer, text = tokenizer_of(name), TEXTS[1]
    ids = np.array(tokenizer(text, truncation=True, max_length=8)["input_ids"])
    read = Reader(tokenizer, [text]).read(ids, 0)
    _, whole = rows_of(tokenizer, text)
    kept = read.rows >= 0
    assert read.cut and 0 < kept.sum() < len(whole) and np.array_equal(read.rows[kept], whole[kept])
    assert not kept[np.argmin(kept) :].any()


@pytest.mark.parametrize("name", NAMES[1:])  # the tiny BERT's has no decoder
def test_decoded_words_have_the_token_of_their_first_piece(name, zoo):
    tokenizer = users_tokenizer(zoo, name)
    for text in TEXTS:
        ids, _ = rows_of(tokenizer, text)
        read = Reader(tokenizer, None).read(ids, 0)
        assert read.text.split() == text.split()
        expected_ids, expected = rows_of(tokenizer, read.text)
        shift = 0 if np.array_equal(expected_ids, ids) else None
        assert shift is None or np.array_equal(read.rows, expected)
        pieces = [tokenizer.decode([ids[row]]).replace("##", "").strip().lower() for row in read.rows]
        words = [read.text[start:end].lower() for start, end in read.units]
        assert all(word.startswith(piece) or not piece for word, piece in zip(words, pieces, strict=True))


@pytest.mark.parametrize("name", ["roberta", "t5"])
def test_a_decoders_words_lie_one_row_earlier_and_are_its_own(name):
    tokenizer, text = tokenizer_of(name), TEXTS[1]
    ids, rows = rows_of(tokenizer, text)
    later = np.concatenate([[tokenizer.pad_token_id], ids[:-1]])
    read = Reader(tokenizer, [text]).read(later, 0, decoder=True)
    assert read.text == text and np.array_equal(read.rows, rows)
    begun = Reader(tokenizer, [text]).read(later[:6], 0, decoder=True)  # it has written no more of it
    assert text.startswith(begun.text) and begun.text != text and len(begun.rows) > 0 and begun.rows.max() < 5
    assert np.array_equal(begun.rows, rows[: len(begun.rows)])
    other = Reader(tokenizer, [TEXTS[0]]).read(later, 1, decoder=True)  # for which no text was given
    assert other.text == text and np.array_equal(other.rows, rows)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(5, 330), min_size=1, max_size=30))
def test_any_ids_have_words_within_their_text(ids):
    """Also ids that no text is tokenised to: each word begins with a token of these, in order."""
    for tokenizer in (tiny_tokenizer(), tokenizer_of("gpt2")):
        own = np.array(ids) % len(tokenizer)
        read = Reader(tokenizer, None).read(own, 0)
        rows = read.rows[read.rows >= 0]
        assert len(read.rows) == len(read.units) and (np.diff(rows) >= 0).all() and (rows < len(own)).all()
        assert all(0 <= start <= end <= len(read.text) for start, end in read.units)


def test_texts_that_do_not_fit_are_refused():
    tokenizer = tiny_tokenizer()
    ids, _ = rows_of(tokenizer, TEXTS[0])
    with pytest.raises(BadInput, match=r"texts\[0\]: the model was given other tokens"):
        Reader(tokenizer, [TEXTS[1]]).read(ids, 0)
    with pytest.raises(BadInput, match="texts: found 1, but the model was given 2 or more"):
        Reader(tokenizer, [TEXTS[0]]).read(ids, 1)
