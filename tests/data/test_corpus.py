import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.corpus import build_corpus, segment
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import BadInput


def words(text):
    return [text[start:end] for start, end in segment(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'd like turn_down, please.", ["I'd", "like", "turn_down", ",", "please", "."]),
        ("the dogs\u2019 o\u2019clock 9:30", ["the", "dogs", "\u2019", "o\u2019clock", "9", ":", "30"]),
        ("映画 is カメラ-X", ["映", "画", "is", "カ", "メ", "ラ", "-", "X"]),
        ("Play官方杂志", ["Play", "官", "方", "杂", "志"]),
        ("영화 좋다", ["영화", "좋다"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שלום, עולם", ["שלום", ",", "עולם"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # noqa: RUF001
        ("e\u0301tude \U0001f44d\U0001f3fd", ["e\u0301tude", "\U0001f44d\U0001f3fd"]),
        ("a\0b \u3000\n", ["a", "\0", "b"]),
        ("", []),
    ],
)
def test_words_marks_and_characters(text, expected):
    assert words(text) == expected


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(), max_size=40))
def test_units_are_in_order_and_leave_out_only_blanks(text):
    units = segment(text)
    edges = [0, *(edge for unit in units for edge in unit), len(text)]
    assert edges == sorted(edges) and all(start < end for start, end in units)
    outside = "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    assert not outside or outside.isspace()


def test_a_megabyte_is_divided_in_no_time():
    text = "x'y, \U0001f600語 " * 125_000
    assert len(segment(text)) == 125_000 * 4


def test_units_are_those_of_a_real_annotation():
    """Almost all rows of snips divide as its annotators' words do; the rest are two titles that mix scripts."""
    table = read_table("snips")
    corpus = build_corpus(table, text="text", units=True)
    made = [[text[a:b] for a, b in units] for text, units in zip(corpus.texts, corpus.units, strict=True)]
    assert sum(one != other for one, other in zip(made, table.columns["tokens"], strict=True)) <= 2


def test_tokens_are_looked_up_in_order():
    table = read_table("snips:test")
    corpus = build_corpus(table, text="text", tokens="tokens")
    assert corpus.texts == table.columns["text"]
    for text, units, tokens in zip(corpus.texts, corpus.units, table.columns["tokens"], strict=True):
        assert [text[a:b] for a, b in units] == tokens
        assert all(one[1] <= other[0] for one, other in pairwise(units))


def test_where_tokens_are_not_in_the_text_they_are_the_text():
    table = Table(
        "x",
        {"text": ["a b a", "the film", None, "no words"], "w": [["a", "a"], ["film", "the"], ["``", "", "é"], None]},
        [1, 2, 3, 4],
    )
    corpus = build_corpus(table, text="text", tokens="w")
    assert corpus.texts == ["a b a", "film the", "``  é", "no words"]
    assert corpus.units == [[(0, 1), (4, 5)], [(0, 4), (5, 8)], [(0, 2), (3, 3), (4, 5)], [(0, 2), (3, 8)]]
    only = build_corpus(Table("x", {"w": [["a", "bc"]]}), text=None, tokens="w")
    assert only.texts == ["a bc"] and only.units == [[(0, 1), (2, 4)]]


PENN = [
    ('He said "no" (twice)', ["He", "said", "``", "no", "''", "-LRB-", "twice", "-RRB-"]),
    ("and/or [a] {b}", ["and\\/or", "-LSB-", "a", "-RSB-", "-LCB-", "b", "-RCB-"]),
    ("\u201cwell\u201d \u2014 it\u2019s\u2026", ["``", "well", "''", "--", "it", "'s", "..."]),
    ("a `b' c", ["a", "`", "b", "'", "c"]),
]


@pytest.mark.parametrize(("text", "tokens"), PENN)
def test_tokens_of_the_penn_treebank_are_found_as_what_they_stand_for(text, tokens):
    corpus = build_corpus(Table("x", {"text": [text], "w": [tokens]}, [3]), text="text", tokens="w")
    assert corpus.texts == [text] and [text[a:b] for a, b in corpus.units[0]] == text_words(text, tokens)
    changed = text_words(text, tokens) != tokens
    assert corpus.findings() == (
        [
            "1 text has tokens in the spelling of the Penn Treebank (``, -LRB-), which were found as what they stand for; "
            "the first is x line 3."
        ]
        if changed
        else []
    )


def text_words(text, tokens):
    """The same text divided by hand: what is left of it without blanks, cut into pieces as many as tokens."""
    spelled = {"``": 1, "''": 1, "--": 1, "...": 1, "`": 1, "'": 1}
    rest, out = text.replace(" ", ""), []
    for token in tokens:
        size = spelled.get(token, 1 if token.startswith("-") else len(token.replace("\\", "")))
        out.append(rest[:size])
        rest = rest[size:]
    assert not rest
    return out


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda words: [word.lower() for word in words], "they are in it if upper and lower case are taken for the same"),
        (lambda words: ["##" + word.lower() for word in words], "they are word pieces of a tokenizer, expected whole words"),
        (lambda words: [*words, "gone"], ""),
    ],
)
def test_tokens_that_are_not_in_the_text_are_counted_with_a_likely_reason(make, said):
    texts = ["Oslo is FAR", "so is Rome"]
    table = Table("x", {"text": [*texts, "here"], "w": [*(make(text.split()) for text in texts), ["here"]]}, [4, 5, 6])
    corpus = build_corpus(table, text="text", tokens="w")
    apart = len(corpus.apart)
    (found,) = corpus.findings()
    assert corpus.texts[0] == " ".join(make(texts[0].split())) and apart == 2
    assert found == (
        "2 texts have tokens that are not in the text: the tokens joined by blanks are read instead; the first is x line 4"
        + (f"; {said}." if said else ".")
    )
    kept = build_corpus(table, text="text", tokens="w", keep_text=True)
    assert kept.texts == table.columns["text"] and kept.units[0] == segment(texts[0]) and kept.units[2] == [(0, 4)]
    assert "the words of the text are read instead" in kept.findings()[0]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Zs", "Cc", "Cs"]), min_size=1, max_size=5), max_size=8), st.integers()
)
def test_tokens_cut_from_a_text_are_found_where_they_were(tokens, seed):
    rng = random.Random(seed)
    text, expected = "", []
    for token in tokens:
        text += " " * rng.randrange(3)
        expected.append((len(text), len(text) + len(token)))
        text += token
    corpus = build_corpus(Table("x", {"text": [text], "w": [tokens]}), text="text", tokens="w")
    assert corpus.units == [expected]


def test_surrogates_keep_offsets():
    table = Table("x", {"text": ["\ud83d film \udc00"], "w": [["\ud83d", "\udc00"]]})
    corpus = build_corpus(table, text="text", tokens="w")
    assert corpus.texts == ["\ufffd film \ufffd"] and corpus.units == [[(0, 1), (7, 8)]]


def test_pairs_and_no_units():
    table = Table("x", {"a": ["p", "q"], "b": ["r", ""]})
    corpus = build_corpus(table, text="a", text_pair="b")
    assert (corpus.texts, corpus.pairs, corpus.units, len(corpus)) == (["p", "q"], ["r", ""], None, 2)


@pytest.mark.parametrize(
    ("columns", "named", "match"),
    [
        ({"text": ["a", None]}, {"text": "text"}, r"x\.csv line 4: no text, expected a string in column 'text'"),
        ({"text": ["a", 7]}, {"text": "text"}, r"x\.csv line 4: column 'text' holds a number, expected a string"),
        ({"text": ["a", None], "w": [["a"], None]}, {"text": "text", "tokens": "w"}, r"x\.csv line 4: no text"),
        (
            {"w": [["a"], ["a", 1]]},
            {"text": None, "tokens": "w"},
            r"x\.csv line 4: column 'w' holds a number as value 2 of its list, expected a list of strings",
        ),
        ({"text": ["a", "b"]}, {"text": "txt"}, r"x\.csv: column for data\.text: .*did you mean 'text'"),
        ({"text": ["a", "b"], "q": ["a", None]}, {"text": "text", "text_pair": "q"}, r"x\.csv line 4: no text.* column 'q'"),
        ({"label": ["a", "b"]}, {"text": None}, r"x\.csv: no column of texts was named"),
    ],
)
def test_rows_without_a_text_are_refused(columns, named, match):
    with pytest.raises(BadInput, match=match):
        build_corpus(Table("x.csv", columns, [2, 4]), **named)
