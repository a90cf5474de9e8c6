"""Tables with a token a row."""

import csv

import pandas as pd
import pytest

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
    rows = [("Word", "Tag")]
    for word, tag, first in zip(WORDS, TAGS, FIRST, strict=True):
        rows += [("", ""), (word, tag)] if first and len(rows) > 1 else [(word, tag)]
    table = write(tmp_path / "x.csv", rows)
    assert table.columns == SENTENCES


def test_parts_of_speech_are_tags_too_and_other_columns_stay(tmp_path):
    rows = [("Sentence #", "Word", "POS", "Tag", "Length", "Source"), *zip(
        WAYS["given once"], WORDS, POS, TAGS, map(len, WORDS), ["a"] * 3 + ["b"] * 4, strict=True
    )]  # fmt: skip
    table = write(tmp_path / "x.csv", rows)
    assert list(table.columns) == ["tokens", "tags", "POS", "Sentence #", "Length", "Source"]
    assert table.columns["POS"] == [["B-NN", "B-NN", "B-CD"], ["B-NN", "B-VB", "B-RB"], ["B-NN"]]
    assert table.columns["Sentence #"] == ["Sentence: 1", "Sentence: 2", "Sentence: 3"]
    assert table.columns["Source"] == ["a", "b", "b"] and table.columns["Length"][0] == ["5", "5", "1"]
    without = write(tmp_path / "y.csv", [row[:3] for row in rows])
    assert without.columns["tags"] == table.columns["POS"] and "POS" not in without.columns


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
