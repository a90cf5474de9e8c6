"""Tables with a token a row."""

import csv

import pandas as pd
import pytest

from trunkline.data.guess import guess_columns
from trunkline.data.sentences import in_sentences, is_token_per_row
from trunkline.data.sources import read_chunks, read_table
from trunkline.data.table import Table
from trunkline.errors import BadInput

WORDS = ["amber", "delta", "2", "birch", "is", "here", "cedar"]
TAGS = ["B-tree", "I-tree", "O", "B-tree", "O", "O", "O"]
POS = ["NN", "NN", "CD", "NN", "VB", "RB", "NN"]
FIRST = [True, False, False, True, False, False, True]
SENTENCES = {"tokens": [WORDS[:3], WORDS[3:6], WORDS[6:]], "tags": [TAGS[:3], TAGS[3:6], TAGS[6:]]}


def number(first):
    return sum(FIRST[: first + 1])


WAYS = {
    "given once": [f"Sentence: {number(i)}" if first else "" for i, first in enumerate(FIRST)],
    "on every row": [f"doc{number(i)}" for i in range(7)],
    "numbers": [10 - number(i) for i in range(7)],
    "numbers of tokens": [1, 2, 3, 1, 2, 3, 1],
}


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return read_table(str(path))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_rows_of_tokens_become_sentences(tmp_path, way, suffix):
    rows = [("unit", "Wort", "marke"), *zip(WAYS[way], WORDS, TAGS, strict=True)]
    table = write(tmp_path / f"x{suffix}", rows)
    assert {name: table.columns[name] for name in ("tokens", "tags")} == SENTENCES
    assert list(table.lines) == [2, 5, 8]
    assert table.findings == (
        "7 rows with a token each were read as 3 sentences: column 'Wort' as 'tokens', 'marke' as 'tags'.",
    )
    pieces = list(read_chunks(str(tmp_path / f"x{suffix}"), 2))
    assert [piece.columns["tokens"] for piece in pieces] == [SENTENCES["tokens"][:2], SENTENCES["tokens"][2:]]


def test_empty_rows_may_divide_sentences(tmp_path):
    for name, tags in (("Tag", TAGS), ("POS", POS)):
        rows = [("Word", name)]
        for word, tag, first in zip(WORDS, tags, FIRST, strict=True):
            rows += [("", ""), (word, tag)] if first and len(rows) > 1 else [(word, tag)]
        table = write(tmp_path / "x.csv", rows)
        assert table.columns["tokens"] == SENTENCES["tokens"]
    assert table.columns["tags"] == [["B-NN", "B-NN", "B-CD"], ["B-NN", "B-VB", "B-RB"], ["B-NN"]]
    words = [f"w{i}" for i in range(400)]  # a list of words with a gap in it is no text of two sentences
    assert not is_token_per_row(Table("x", {"word": words, "pos": POS * 57 + ["NN"]}, [*range(2, 200), *range(201, 403)]))


@pytest.mark.parametrize("tags", [TAGS, POS])
@pytest.mark.parametrize(
    ("columns", "begins"),
    [
        ({"doc_id": "aaabbbb", "sent_id": "1112223"}, "1001001"),
        ({"doc_id": "aaabbbb", "sent_id": "1120001"}, "1011001"),
        ({"doc_id": "aaabbbb", "sent_id": "0000111"}, "1001100"),  # the second begins with the number that the first ends with
        ({"doc_id": "aaaaabb", "sentence": "0010011"}, "1011010"),
        ({"sentence": "0011001"}, "1010101"),  # numbers begin again, and no column names the document
        ({"doc": ["a", None, None, "b", *[None] * 3], "sentence": "1120000"}, "1011000"),
        ({"doc": "aaabbbb", "token_id": "1231212"}, "1001010"),
        ({"token_id": "1231231"}, "1001001"),
        ({"doc": "aaabbbb"}, "1001000"),
    ],
)  # fmt: skip
def test_of_sentences_and_documents_the_sentences_count(columns, begins, tags):
    table = in_sentences(Table("x.csv", {**{name: [*own] for name, own in columns.items()}, "token": WORDS, "pos": tags}))
    firsts = [i for i, one in enumerate(begins) if one == "1"]
    assert table.columns["tokens"] == [WORDS[i:j] for i, j in zip(firsts, [*firsts[1:], 7], strict=True)]


def test_documents_are_divided_by_empty_rows_if_these_divide_them_all():
    columns = {"doc_id": [*"aaabbbb"], "token": WORDS, "ner": TAGS}
    lengths = {lines: list(map(len, in_sentences(Table("x", columns, lines)).columns["tokens"])) for lines in (
        (1, 2, 3, 5, 6, 8, 9), (1, 2, 3, 4, 5, 7, 8)
    )}  # fmt: skip
    assert [*lengths.values()] == [[3, 2, 2], [3, 4]]


def test_a_missing_boundary_of_sentences_is_said():
    for tags in (TAGS, POS):
        table = Table("x.csv", {"Word": WORDS * 5, "Tag": tags * 5}, range(2, 37))
        with pytest.raises(BadInput, match="its rows are words with a tag each, and nothing shows where a sentence begins"):
            guess_columns(table)


def test_parts_of_speech_are_tags_too_and_other_columns_stay(tmp_path):
    rows = [("Sentence #", "Word", "POS", "Tag", "Length", "Source"), *zip(
        WAYS["given once"], WORDS, POS, TAGS, map(len, WORDS), ["a"] * 3 + ["b"] * 4, strict=True
    )]  # fmt: skip
    table = write(tmp_path / "x.csv", rows)
    assert list(table.columns) == ["tokens", "tags", "POS", "Sentence #", "Length", "Source"]
    assert table.columns["POS"] == [["B-NN", "B-NN", "B-CD"], ["B-NN", "B-VB", "B-RB"], ["B-NN"]]
    assert table.columns["Sentence #"] == ["Sentence: 1", "Sentence: 2", "Sentence: 3"]
    assert table.columns["Source"] == ["a", "b", "b"] and table.columns["Length"][0] == ["5", "5", "1"]
    (given,) = read_chunks(str(tmp_path / "x.csv"), 9)  # as `predict` reads it, which hands on what it does not read
    assert given.columns == {**table.columns, "POS": [POS[:3], POS[3:6], POS[6:]]}
    without = write(tmp_path / "y.csv", [row[:3] for row in rows])
    assert without.columns["tags"] == table.columns["POS"] and "POS" not in without.columns
    assert next(read_chunks(str(tmp_path / "y.csv"), 9)).columns["tags"] == given.columns["POS"]


def test_other_files_of_rows_with_tokens(tmp_path):
    frame = pd.DataFrame({"sentence_id": WAYS["numbers"], "word": WORDS, "ner": TAGS})
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    for name in ("x.parquet", "x.jsonl"):
        table = read_table(name, base=tmp_path)
        assert {column: table.columns[column] for column in ("tokens", "tags")} == SENTENCES
        assert table.columns["sentence_id"] == [9, 8, 7]


def test_missing_words_and_tags_are_counted():
    words, tags = [*WORDS], [*TAGS]
    words[1], tags[4] = None, None
    table = in_sentences(_table("".join(["x"] * 3), words * 20, tags * 20))
    assert table.columns["tokens"][0] == ["amber", "2"] and table.columns["tags"][1] == ["B-tree", "O", "O"]
    assert table.findings[1:] == ("20 rows without a token left out.", "20 tokens without a value in 'Tag' read as O.")


def _table(source, words, tags):
    ids = [f"s{i // 7}-{number(i % 7)}" for i in range(len(words))]
    return Table(source, {"Sentence": ids, "Word": words, "Tag": tags}, range(2, len(words) + 2))


@pytest.fixture(autouse=True)
def _few_may_miss(monkeypatch):
    monkeypatch.setattr("trunkline.data.sentences.MOST", 0.85)


def test_a_bad_tag_is_named_with_its_line():
    tags = TAGS * 20
    tags[30] = "B_tree"
    with pytest.raises(BadInput, match=r"x\.csv line 32: column 'Tag' holds no tag, expected O or one of B-"):
        in_sentences(_table("x.csv", WORDS * 20, tags))


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["amber delta", "birch is", "cedar", "x y"], "tag": ["O", "B-x", "O", "O"], "id": ["1", "1", "2", "2"]},
        {"text": ["one", "two", "three", "four"], "label": ["O", "A", "B", "AB"], "id": ["1", "1", "2", "2"]},
        {"Word": ["one", "two", "three", "four"], "Tag": ["O", "B-x", "O", "O"], "n": ["4", "7", "1", "2"]},
        {"word": ["one", "two", "three", "four"], "pos": ["x", "y", "x", "y"], "user": ["1", "1", "2", "2"]},
        {"tokens": [["a"], ["b"], ["c"], ["d"]], "tags": [["O"]] * 4, "sentence": ["1", "1", "2", "2"]},
    ],
)
def test_other_tables_stay(columns):
    assert not is_token_per_row(Table("x", columns))


def test_a_column_may_be_named_as_in_the_file():
    rows = {"Word": ["a", "b", "c", "d"], "Tag": ["O", "B-x", "O", "B-x"], "Sentence #": ["s1", None, "s2", None]}
    table = in_sentences(Table("x.csv", rows))
    assert table.read_as == {"Word": "tokens", "Tag": "tags"} == table.select([0]).read_as
    with pytest.raises(BadInput, match=r"x\.csv: column for tasks\.t\.tags: 'Tag' is read as 'tags'; expected that name"):
        table.column("Tag", "tasks.t.tags")
