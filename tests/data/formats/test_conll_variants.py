"""CoNLL files of corpora and tools: comments, headers, columns in other orders, tags of other kinds, CoNLL-U."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.data.sources import read_chunks, read_table
from trunkline.data.values.tags import to_iob2
from trunkline.errors import BadInput

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, data, **options):
    path.write_text(data, encoding="utf-8", newline="")
    whole, pieces = read_table(str(path), **options), list(read_chunks(str(path), 2, **options))
    for name, values in whole.columns.items():
        assert [value for piece in pieces for value in piece.columns[name]] == values
    assert pieces[-1].findings == whole.findings
    return whole


TOKENS, TAGS = [["EU", "rejects", "#"], ["Peter"]], [["B-ORG", "O", "O"], ["B-PER"]]
LINES = "EU B-ORG\nrejects O\n# O\n\nPeter B-PER\n"


def test_comments_are_told_from_a_token_that_is_a_hash(tmp_path):
    data = "# id 0 domain=x\nEU NNP _ B-ORG\nrejects VBZ _ O\n# NN _ O\n\n# id 1 domain=y\n# NN _ O\nPeter NNP _ B-PER\n"
    table = read(tmp_path / "x.conll", data)
    assert table.columns == {"tokens": [TOKENS[0], ["#", "Peter"]], "tags": [TAGS[0], ["O", "B-PER"]]}
    assert list(table.lines) == [2, 7]
    assert table.findings == ("2 lines left out as comments, as they begin with '#' and end in no tag.",)
    table = read(tmp_path / "x.bio", "#happy\tB-TAG\nday\tO\n\n# sent_id = 2\n#sad\tB-TAG\nday\tO\n")
    assert table.columns["tokens"] == [["#happy", "day"], ["#sad", "day"]] and not table.findings
    assert read(tmp_path / "x.bio", "#a\tO\n\n#b\tB-X\n").columns["tokens"] == [["#a"], ["#b"]]


@pytest.mark.parametrize("header", ["Token Tag", "word ner_tags", "#token label", "WORD POS"])
def test_a_header_line_is_no_token(tmp_path, header):
    table = read(tmp_path / "x.conll", f"{header}\n{LINES}")
    assert table.columns == {"tokens": TOKENS, "tags": TAGS} and list(table.lines) == [2, 6]
    assert table.findings == ("line 1 names the columns and was not read as a token.",)


def test_the_tag_may_come_first(tmp_path):
    table = read(tmp_path / "x.bio", "O\ta\nB-Genre\tfunny\nI-Genre\tfilm\n\nO\tO\nB-Actor\tBo\n")
    assert table.columns == {
        "tokens": [["a", "funny", "film"], ["O", "Bo"]],
        "tags": [["O", "B-Genre", "I-Genre"], ["O", "B-Actor"]],
    }
    assert table.findings == ("5 lines read as tag and token, as the first column holds the tags.",)


def test_tabs_and_spaces_may_be_mixed(tmp_path):
    table = read(tmp_path / "x.conll", "EU\tNNP B-ORG\n1 000\tCD\tO\n\nBo\tNNP\tB-PER\n")
    assert table.columns == {"tokens": [["EU", "1 000"], ["Bo"]], "tags": [["B-ORG", "O"], ["B-PER"]]}


def test_brackets_over_several_lines_are_refused(tmp_path):
    (tmp_path / "x.conll").write_text("#begin document (bc/x); part 000\nbc/x 0 0 Bo NNP (TOP* - - - - (PERSON) -\n")
    with pytest.raises(BadInput, match=r"x\.conll line 1: CoNLL-2012 marks spans by brackets"):
        read_table("x.conll", base=tmp_path)


def test_tokens_may_be_numbered(tmp_path):
    table = read(tmp_path / "x.conll", "#\thttp://x\n1\tEU\tB-ORG\n2\trejects\tO\n\n1\t7\tO\n2\tPeter\tB-PER\n")
    assert table.columns == {"tokens": [["EU", "rejects"], ["7", "Peter"]], "tags": [["B-ORG", "O"], ["O", "B-PER"]]}


def test_other_columns_of_tags_are_said_not_to_be_read(tmp_path):
    data = "1\tBad\tB-LOC\tO\n2\tHomburg\tI-LOC\tB-LOC\n3\tist\tO\tO\n\n1\tEs\tO\tO\n2\tist\tO\tO\n"
    table = read(tmp_path / "x.tsv.conll", data)
    assert table.columns["tags"][0] == ["O", "B-LOC", "O"]
    assert table.findings == ("tags were read from column 4; tags in column 3 were not read.",)


def test_tags_without_prefix_are_spans_of_neighbours(tmp_path):
    table = read(tmp_path / "x.conll", "New\tLOC\nYork\tLOC\nBo\tPER\nis\tO\nBo\tPER\n\na\tO\n")
    assert table.columns["tags"] == [["B-LOC", "I-LOC", "B-PER", "O", "B-PER"], ["O"]]
    assert table.findings == ("6 tags without a prefix (IO): neighbouring words of one tag were read as one span.",)


def test_parts_of_speech_are_spans_of_a_word_each(tmp_path):
    table = read(tmp_path / "x.conll", "the DT\ncat NN\nfood NN\n\nit S-PRO\nruns VBZ\n")
    assert table.columns["tags"] == [["B-DT", "B-NN", "B-NN"], ["B-S-PRO", "B-VBZ"]]
    assert "5 tags of which none is O" in table.findings[0]
    assert to_iob2(table.columns["tags"][0]) == ["B-DT", "B-NN", "B-NN"]


def test_other_spellings_of_prefixes(tmp_path):
    table = read(tmp_path / "x.conll", "a B_X\nb I_X\nc O\n\nd B_Y_Z\n")
    assert table.columns["tags"] == [["B-X", "I-X", "O"], ["B-Y_Z"]] and "4 tags with '_' after the prefix" in table.findings[0]
    table = read(tmp_path / "x.conll", "a B\nb I\nc O\n\nd B\n")
    assert (
        table.columns["tags"] == [["B-entity", "I-entity", "O"], ["B-entity"]]
        and "4 tags of a prefix alone" in table.findings[0]
    )
    table = read(tmp_path / "x.conll", "a B-X\nb M-X\nc E-X\nd S-X\ne O\n")
    assert to_iob2(table.columns["tags"][0]) == ["B-X", "I-X", "I-X", "B-X", "O"]


@pytest.mark.parametrize(
    ("tag", "match"),
    [
        ("B_ORG", r"line 3: found the tag 'B_ORG', expected O or one of B- I-"),
        ("secretword", r"line 3: found a word that is no tag, expected O or one of"),
        ("Z-X", r"line 3: found the tag 'Z-X'"),
    ],
)
def test_one_bad_tag_among_good_ones_is_named_with_its_line(tmp_path, tag, match):
    (tmp_path / "x.conll").write_text(f"EU B-ORG\nis O\nit {tag}\n\nPeter B-PER\nsays O\n")
    with pytest.raises(BadInput, match=match) as caught:
        read_table("x.conll", base=tmp_path)
    assert "secret" not in str(caught.value)
    assert len(next(read_chunks("x.conll", 9, base=tmp_path))) == 2  # to be predicted, it needs no tags


CONLLU = """\
# newdoc
# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No

# text = (Ja) 10 000
1\t(\t(\tPUNCT\t_\t_\t2\tpunct\t_\tSpaceAfter=No
2\tJa\tja\tINTJ\t_\t_\t0\troot\t_\tSpaceAfter=No
3\t)\t)\tPUNCT\t_\t_\t2\tpunct\t_\t_
3.1\tist\tsein\tVERB\t_\t_\t_\t_\t_\t_
4\t10 000\t_\tNUM\t_\t_\t2\tdep\t_\t_
"""


@pytest.mark.parametrize("name", ["x.conllu", "x.conll", "de-ud-train.txt"])
def test_conllu_has_forms_and_parts_of_speech(tmp_path, name):
    table = read(tmp_path / name, CONLLU)
    assert table.columns == {
        "text": [None, "(Ja) 10 000"],  # the syntactic words of the first do not stand in its text
        "tokens": [["Vamos", "nos", "a", "el", "mar"], ["(", "Ja", ")", "10 000"]],
        "tags": [["B-VERB", "B-PRON", "B-ADP", "B-DET", "B-NOUN"], ["B-PUNCT", "B-INTJ", "B-PUNCT", "B-NUM"]],
    }
    assert list(table.lines) == [5, 13]
    assert table.findings[1:] == (
        "2 lines left out: a word of which the tokens follow.",
        "1 line left out: an empty node, which is in no text.",
    )


@pytest.mark.parametrize("name", ["eng.train", "eng.testa", "wnut.dev", "corpus.txt", "x.data.gz"])
def test_a_file_with_the_contents_of_conll_needs_no_suffix(tmp_path, name):
    import gzip

    data = LINES.replace(" ", "\t") * 3
    (tmp_path / name).write_bytes(gzip.compress(data.encode()) if name.endswith(".gz") else data.encode())
    assert read_table(name, base=tmp_path).columns["tokens"] == TOKENS[:1] + [TOKENS[1] + TOKENS[0]] * 2 + TOKENS[1:]


@pytest.mark.parametrize("name", ["train.tsv", "x.csv", "x.tab.gz"])
def test_tokens_and_tags_without_a_header_are_no_table(tmp_path, name):
    """As many corpora name them, of BioBERT's for one."""
    import gzip

    data = LINES.replace(" ", "\t")
    (tmp_path / name).write_bytes(gzip.compress(data.encode()) if name.endswith(".gz") else data.encode())
    assert read_table(name, base=tmp_path).columns == {"tokens": TOKENS, "tags": TAGS}
    assert [len(piece) for piece in read_chunks(name, 1, base=tmp_path)] == [1, 1]
    (tmp_path / "y.tsv").write_text("word\ttag\n" + data)
    assert list(read_table("y.tsv", base=tmp_path).columns) == ["tokens", "tags"]
    assert list(read_table("y.tsv", base=tmp_path, format="tsv").columns) == ["tokens", "tags"]


WORD = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=5)
TAG = st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b-c", "S-a", "E-b"])


@SETTINGS
@given(
    sentences=st.lists(st.lists(st.tuples(WORD, TAG), min_size=1, max_size=4), min_size=1, max_size=5),
    separator=st.sampled_from([" ", "\t", "   "]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    middle=st.sampled_from([[], ["NN", "_"]]),
)
def test_what_is_written_comes_back(tmp_path, sentences, separator, end, middle):
    # Words that look like tags, headers or comments at the beginning have tests of their own.
    if any(word[0] == "#" or word == "-DOCSTART-" for sentence in sentences for word, _ in sentence[:1]):
        return
    if all(tag == "O" for sentence in sentences for _, tag in sentence) or all(
        word == "O" for one in sentences for word, _ in one
    ):
        return
    blocks = [end.join(separator.join([word, *middle, tag]) for word, tag in sentence) for sentence in sentences]
    table = read(tmp_path / "x.conll", (end * 2).join(blocks) + end)
    assert table.columns["tokens"] == [[word for word, _ in sentence] for sentence in sentences]
    assert [to_iob2(tags) for tags in table.columns["tags"]] == [to_iob2([tag for _, tag in one]) for one in sentences]
