"""Tag schemes against the rules of the CoNLL scorer, written out here as its Perl original has them."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.values.tags import REASONS, Placed, spans_to_tags, tags_to_spans, to_iob2
from trunkline.errors import BadInput

SETTINGS = settings(max_examples=50, deadline=None)
LABELS = st.sampled_from(["A", "B", "C-D"])


def conlleval_chunks(tags):
    """endOfChunk and startOfChunk of conlleval.pl (2004), with S of its later ports; (label, first, last exclusive)."""

    def split(tag):
        return ("O", "") if tag == "O" else tuple(tag.split("-", 1))

    def ends(before, tag, kind_before, kind):
        return (
            (before == "B" and tag == "B") or (before == "B" and tag == "O")
            or (before == "I" and tag == "B") or (before == "I" and tag == "O")
            or (before == "B" and tag == "S") or (before == "I" and tag == "S")
            or before in ("E", "S")
            or (before != "O" and kind_before != kind)
        )  # fmt: skip

    def starts(before, tag, kind_before, kind):
        return (
            tag in ("B", "S")
            or (before == "E" and tag in ("E", "I"))
            or (before == "S" and tag in ("E", "I"))
            or (before == "O" and tag in ("E", "I"))
            or (tag != "O" and kind_before != kind)
        )

    chunks, first = [], None
    before, kind_before = "O", ""
    for i, (tag, kind) in enumerate([*map(split, tags), ("O", "")]):
        if first is not None and ends(before, tag, kind_before, kind):
            chunks.append((kind_before, first, i))
            first = None
        if starts(before, tag, kind_before, kind):
            first = i
        before, kind_before = tag, kind
    return chunks


TAG = st.just("O") | st.builds("{}-{}".format, st.sampled_from("BIES"), LABELS)


@SETTINGS
@given(st.lists(TAG, max_size=14))
def test_chunks_are_those_of_conlleval(tags):
    assert tags_to_spans(tags) == conlleval_chunks(tags)
    assert conlleval_chunks(to_iob2(tags)) == conlleval_chunks(tags)
    assert to_iob2(to_iob2(tags)) == to_iob2(tags)
    assert {tag[0] for tag in to_iob2(tags)} <= set("OBI")


@st.composite
def chunked(draw):
    """(length, chunks that do not overlap)."""
    chunks, place = [], 0
    for gap, size, label in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), LABELS), max_size=6)):
        chunks.append((label, place + gap, place + gap + size))
        place += gap + size
    return place + draw(st.integers(0, 2)), chunks


def write(length, chunks, scheme):
    tags = ["O"] * length
    for number, (label, first, last) in enumerate(chunks):
        for i in range(first, last):
            ends, begins = i == last - 1, i == first
            if scheme == "IOB1":
                touches = begins and number > 0 and chunks[number - 1][2] == first and chunks[number - 1][0] == label
                prefix = "B" if touches else "I"
            elif scheme == "IOB2":
                prefix = "B" if begins else "I"
            else:
                single, last_one = ("S", "E") if scheme == "BIOES" else ("U", "L")
                prefix = single if begins and ends else "B" if begins else last_one if ends else "I"
            tags[i] = f"{prefix}-{label}"
    return tags


@SETTINGS
@given(chunked(), st.sampled_from(["IOB1", "IOB2", "BIOES", "BILOU"]))
def test_every_scheme_means_the_same_spans(case, scheme):
    length, chunks = case
    assert to_iob2(write(length, chunks, scheme)) == write(length, chunks, "IOB2")
    assert tags_to_spans(write(length, chunks, scheme)) == chunks


@pytest.mark.parametrize("tag", ["NOUN", "B", "B-", "B- ", "-A", "X-A", "", "o", "b-A"])
def test_other_tags_are_refused(tag):
    with pytest.raises(BadInput, match="expected O or one of B- I-"):
        to_iob2(["O", tag])


@st.composite
def words(draw):
    """Character spans of words, some touching."""
    units, place = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=8)):
        units.append((place + gap, place + gap + size))
        place += gap + size
    return units


@SETTINGS
@given(words(), st.data())
def test_spans_on_word_edges_come_back(units, data):
    edges = sorted(data.draw(st.sets(st.integers(0, len(units)), max_size=6)))
    chunks = [("L" + str(i % 2), a, b) for i, (a, b) in enumerate(pairwise(edges)) if i % 3 != 2]
    spans = [(units[first][0], units[last - 1][1], label) for label, first, last in chunks]
    placed = spans_to_tags(data.draw(st.permutations(spans)), units)
    assert placed == Placed(placed.tags) and tags_to_spans(placed.tags) == chunks
    assert spans_to_tags([{"start": s, "end": e, "label": x} for s, e, x in spans], units) == placed


@SETTINGS
@given(words(), st.lists(st.tuples(st.integers(-2, 30), st.integers(-1, 8), st.sampled_from("xy")), max_size=5))
def test_the_longest_of_spans_on_a_word_is_kept_and_every_other_one_is_counted(units, raw):
    """Against a character-by-character search."""
    length = units[-1][1] + 1 if units else 3
    spans = [(start, start + size, label) for start, size, label in raw]
    taken, kept, widened, trimmed, cut, lost = {}, [], 0, 0, 0, []
    for start, end, label in sorted(spans, key=lambda s: (-(s[1] - s[0]), s[0], s[2])):
        touched = [i for i, (a, b) in enumerate(units) if any(start <= c < end for c in range(a, b))]
        others = [taken[i] for i in touched if i in taken]
        if start < 0 or (start >= length and end > start):
            lost.append(("outside", label))
        elif end <= start:
            lost.append(("empty", label))
        elif not touched:
            lost.append(("wordless", label))
        elif (start, end, label) in others:
            lost.append(("repeated", label))
        elif any(a <= start and end <= b for a, b, _ in others):
            lost.append(("nested", label))
        elif others:
            lost.append(("overlapping", label))
        else:
            held = {c for i in touched for c in range(*units[i])}
            within = set(range(start, min(end, length)))
            widened += bool(held - set(range(start, end)))
            trimmed += not held - set(range(start, end)) and (min(held) > start or max(held) < max(within))
            cut += end > length
            taken.update(dict.fromkeys(touched, (start, end, label)))
            kept.append((touched[0], label))
    firsts = dict(kept)
    tags = [("B-" + firsts[i] if i in firsts else "I-" + taken[i][2]) if i in taken else "O" for i in range(len(units))]
    assert spans_to_tags(spans, units, length) == Placed(tags, widened, trimmed, cut, tuple(lost))
    assert {reason for reason, _ in lost} <= set(REASONS)
