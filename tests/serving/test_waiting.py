"""Which texts make the next batch: a brute-force check of its promises."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from trunkline.serving.waiting import Text, Waiting, next_batch

LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=30)


def texts_of(drawn):
    return [Text(number, length, length + extra, kind) for number, (length, extra, kind) in enumerate(drawn)]


def padded(batch):
    return max(text.length for text in batch) * len(batch) + sum(text.tokens - text.length for text in batch)


@given(LENGTHS, st.integers(1, 200))
def test_a_batch_has_the_oldest_text_and_those_next_to_it_in_length(drawn, batch_tokens):
    window = texts_of(drawn)
    batch = next_batch(window, batch_tokens)
    kind = window[0].kind
    assert window[0] in batch and all(text.kind == kind for text in batch)
    assert len(batch) == 1 or padded(batch) <= batch_tokens
    alike = sorted((text for text in window if text.kind == kind), key=lambda text: text.length)
    first = alike.index(batch[0])
    assert alike[first : first + len(batch)] == batch  # no gap: nothing of a length in between is left behind
    neighbours = alike[max(0, first - 1) : first] + alike[first + len(batch) : first + len(batch) + 1]
    assert all(padded([*batch, text]) > batch_tokens for text in neighbours)  # and it is as full as can be


@given(LENGTHS, st.integers(1, 200))
def test_every_text_is_taken_once_and_the_oldest_first(drawn, batch_tokens):
    waiting, texts = Waiting(batch_tokens, 0.0), texts_of(drawn)
    waiting.put(texts)
    waiting.close()
    left, taken = list(range(len(drawn))), []
    while (found := waiting.take()) is not None:
        batch, most = found
        assert left[0] in batch  # so no text waits for one that came after it, but those of its own batch
        eighth = sum(texts[number].tokens for number in left) // 8
        assert most == max(batch_tokens, min(eighth, 2 * batch_tokens))  # larger ones only where many are left behind
        assert len(batch) == 1 or padded([texts[number] for number in batch]) <= most
        left = [number for number in left if number not in batch]
        taken += batch
    assert sorted(taken) == list(range(len(drawn)))


@given(LENGTHS, st.sets(st.integers(0, 29)))
def test_texts_that_nobody_waits_for_are_dropped(drawn, gone):
    waiting = Waiting(50, 0.0, keep=lambda number: number not in gone)
    waiting.put(texts_of(drawn))
    waiting.close()
    taken = []
    while (found := waiting.take()) is not None:
        taken += found[0]
    assert sorted(taken) == [number for number in range(len(drawn)) if number not in gone]


def test_dropped_texts_make_room_for_others_that_are_asked_about_too():
    waiting = Waiting(1, 0.0, keep=lambda number: number == 0)
    waiting.put([Text(number, 1, 1) for number in (1, *range(1, 20), 0)])
    waiting.close()
    assert waiting.take() == ([0], 1) and waiting.take() is None


def test_a_batch_waits_for_texts_that_are_expected():
    waiting = Waiting(100, 60.0)
    waiting.expect(1)
    waiting.put([Text("first", 5, 5)])
    taken = []
    thread = threading.Thread(target=lambda: taken.append(waiting.take()))
    thread.start()
    thread.join(0.05)
    assert taken == []
    waiting.put([Text("second", 5, 5)])
    waiting.expect(-1)
    thread.join(30)
    assert taken == [(["first", "second"], 100)]
