import itertools
import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from seqeval import metrics as seqeval
from tasktools import corpus_of, fitted

from trunkline.data.corpus import build_corpus
from trunkline.data.table import Table
from trunkline.data.values.tags import spans_to_tags
from trunkline.errors import BadInput, TrunklineError
from trunkline.model.prepared import told_offsets
from trunkline.tasks import Task
from trunkline.tasks.labels import Reading
from trunkline.tasks.token import TokenConfig, rules

TOKENS = [["play", "Cher", "now"], ["stop"], ["New", "York", "Paris"], ["no", "tags"], []]
TAGS = [["O", "B-artist", "O"], ["O"], ["B-city", "I-city", "B-city"], None, []]


def tagged(tags=TAGS, source="train.jsonl"):
    table = Table(source, {"tokens": TOKENS, "tags": tags}, list(range(1, len(TOKENS) + 1)))
    return build_corpus(table, text=None, tokens="tokens")


def fit_tags(corpus=None, **config):
    return fitted("token", corpus or tagged(), tokens="tokens", tags="tags", **config)


def certain(targets, width, strength=8.0):
    """Logits that say what the targets say."""
    return np.eye(width, dtype=np.float32)[targets.values] * strength


def test_tags_of_any_scheme_are_read_from_any_column():
    columns = {
        "tokens": [["New", "York"], ["so", "Ann"]],
        "mine": [["LOC", "LOC"], ["O", "PER"]],
        "pos": [["N", "N"], ["A", "N"]],
    }
    corpus = build_corpus(Table("train.jsonl", columns), text=None, tokens="tokens")
    task = fitted("token", corpus, tokens="tokens", tags="mine")
    assert task.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"] and task.targets(corpus).values.tolist() == [1, 2, 0, 3]
    said = "the tags in column 'mine' without a prefix (IO): neighbouring words of one tag were read as one span."
    assert said in task.findings(corpus)
    parts = fitted("token", corpus, tokens="tokens", tags="pos")
    assert parts.targets(corpus).values.tolist() == [3, 3, 1, 3]


def test_targets_from_tags():
    corpus = tagged()
    task = fit_tags(corpus)
    assert task.labels == ["O", "B-artist", "I-artist", "B-city", "I-city"] and task.types == ["artist", "city"]
    assert task.outputs == 5 and task.answers.level == "unit" and task.columns() == ["tokens", "tags"]
    targets = task.targets(corpus)
    assert targets.offsets.tolist() == [0, 3, 4, 7, 9, 9]
    assert targets.values.tolist() == [0, 1, 0, 0, 3, 4, 3, 0, 0]
    assert targets.present.tolist() == [True] * 7 + [False] * 2
    assert task.strata(corpus) == ["artist", "(none)", "city", "", "(none)"]
    assert fit_tags(corpus, label_list=["city", "artist", "date"]).labels[1:4] == ["B-city", "I-city", "B-artist"]


def test_targets_from_spans_are_those_of_the_units_they_cover():
    spans = [[{"start": 5, "end": 9, "label": "artist"}], [], None]
    corpus = corpus_of(units=True, text=["play Cher now", "stop", "play it"], spans=spans)
    task = fitted("token", corpus, spans="spans")
    targets = task.targets(corpus)
    assert targets.values.tolist() == [0, 1, 0, 0, 0, 0] and targets.present.tolist() == [True] * 4 + [False] * 2
    assert [task.labels[v] for v in targets.values[:3]] == spans_to_tags(spans[0], corpus.units[0]).tags


def test_spans_that_cannot_be_kept_are_counted_and_their_types_stay_answers():
    spans = [
        [{"start": 0, "end": 13, "label": "city"}, {"start": 9, "end": 18, "label": "org"}],
        [{"start": 5, "end": 7, "label": "artist"}, {"start": 4, "end": 5, "label": "gap"}],
    ]
    corpus = corpus_of(units=True, text=["New York City Hall", "play Cher now"], spans=spans)
    task = fitted("token", corpus, spans="spans")
    assert task.types == ["artist", "city", "gap", "org"]
    assert [task.labels[v] for v in task.targets(corpus).values] == ["B-city", "I-city", "I-city", "O", "O", "B-artist", "O"]
    assert task.absent_labels(task.targets(corpus)) == ["gap", "org"]
    assert task.findings(corpus) == [
        "1 of the 4 spans of 't' not on word edges: every word that is touched was taken.",
        "1 of the 4 spans of 't' left out, as they touch no word.",
        "1 of the 4 spans of 't' left out, as they share a word with a longer span.",
        "no span of 't' is left of 'gap', 'org'.",
    ]
    assert fit_tags().findings(tagged()) == ["1 of 5 rows has no value in column 'tags', and is skipped by 't'."]
    spans = [[{"start": 4, "end": 5, "label": f"SECRET{i}"} for i in range(101)]]
    spans[0].append({"start": 0, "end": 4, "label": "kept"})
    corpus = corpus_of(units=True, text=["play x"], spans=spans)
    assert fitted("token", corpus, spans="spans").findings(corpus)[-1] == "no span of 't' is left of 101 of its labels."


def test_every_span_that_is_changed_or_lost_is_counted():
    text = "play Cher in Oslo"
    spans = [
        (0, 4, "verb"),
        (0, 4, "verb"),
        (5, 9, "artist"),
        (5, 17, "inner"),
        (13, 99, "late"),
        (40, 44, "far"),
        (9, 9, "none"),
    ]
    spans += [(12, 18, "city")]
    corpus = corpus_of(
        units=True, text=[text, "so  it is"], spans=[[dict(zip(("start", "end", "label"), s, strict=True)) for s in spans],
        [{"start": 2, "end": 7, "label": "wide"}, {"start": -1, "end": 1, "label": "under"}]],
    )  # fmt: skip
    task = fitted("token", corpus, spans="spans")
    assert task.findings(corpus) == [
        "1 of the 10 spans of 't' with blanks or other characters outside of words at an edge, which were left out.",
        "1 of the 10 spans of 't' end beyond their text and were cut at its end.",
        "2 of the 10 spans of 't' left out, as they lie outside their text.",
        "1 of the 10 spans of 't' left out, as they end where they begin, or before.",
        "1 of the 10 spans of 't' left out, as they are given more than once.",
        "2 of the 10 spans of 't' left out, as they share a word with a longer span.",
        "no span of 't' is left of 'city', 'far', 'inner', 'none', 'under'.",
    ]


def utf16(text, word):
    """Where a word is in UTF-16 code units, as a browser counts."""
    start = len(text[: text.index(word)].encode("utf-16-le")) // 2
    return {"start": start, "end": start + len(word.encode("utf-16-le")) // 2, "label": "city"}


def test_offsets_in_utf_16_are_recognised_and_read_on_demand():
    face = "\U0001f600"
    texts = [f"{face * (number % 4)} go to Oslo now" for number in range(20)]
    corpus = corpus_of(units=True, text=texts, spans=[[utf16(text, "Oslo")] for text in texts])
    said = fitted("token", corpus, spans="spans").findings(corpus)
    assert said[0] == "15 of the 20 spans of 't' not on word edges: every word that is touched was taken." or "15 of" in said[0]
    assert "`offsets: utf-16` in the task reads them so" in said[-1]
    task = fitted("token", corpus, spans="spans", offsets="utf-16")
    assert task.findings(corpus) == []
    targets = task.targets(corpus)
    shown = task.present(task.criterion().decode(certain(targets, task.outputs), targets.offsets), corpus)
    assert {(row["spans"][0]["text"], len(row["spans"])) for row in shown} == {("Oslo", 1)}  # offsets are of characters again
    assert all(text[row["spans"][0]["start"] :].startswith("Oslo") for text, row in zip(texts, shown, strict=True))
    again = corpus_of(units=True, text=texts, spans=[row["spans"] for row in shown])  # what was written is read in characters
    assert task.targets(again).values.tolist() == targets.values.tolist()
    assert task.findings(again) == [
        "the offsets of 't' are read as characters, as the texts of its spans show, and not as `offsets: utf-16`."
    ]
    said = "the offsets of 'b' in the predictions count characters, while those of its training data count utf-16."
    assert told_offsets({"a": fitted("token", corpus, spans="spans"), "b": task}) == [said]
    quoting = [[{**utf16(text, "Oslo"), "text": "Oslo"}] for text in texts]  # of a browser's tool that quotes the text as well
    assert task.targets(corpus_of(units=True, text=texts, spans=quoting)).values.tolist() == targets.values.tolist()
    with pytest.raises(ValidationError, match="belongs to spans"):
        TokenConfig(tokens="a", tags="b", offsets="utf-16")


def test_types_that_training_lacks_count_as_missed():
    train = tagged()
    task = fit_tags(train)
    other = tagged([["O", "B-artist", "O"], ["B-song"], ["B-city", "I-city", "B-song"], ["O", "B-song"], []], source="v.jsonl")
    targets = task.targets(other, Reading())
    assert targets.unseen == {"song": 3} and targets.unseen_rows == 3
    assert task.unseen_labels(targets) == ["3 rows have labels that 't' was not trained on and count as errors: 'song' (3)."]
    known = task.for_loss(targets)
    assert known.values[known.present].max() < task.outputs and known.present.sum() == len(targets.values) - 3
    logits = certain(known, task.outputs + 2)[:, : task.outputs]
    found = task.score(task.criterion().decode(logits, targets.offsets), targets)
    gold = [["O", "B-artist", "O"], ["B-song"], ["B-city", "I-city", "B-song"], ["O", "B-song"]]
    said = [["O", "B-artist", "O"], ["O"], ["B-city", "I-city", "O"], ["O", "O"]]
    assert found["recall"] == pytest.approx(seqeval.recall_score(gold, said))
    assert found["f1_macro"] == pytest.approx(seqeval.f1_score(gold, said, average="macro", zero_division=0))
    assert found["by_label"]["song"]["support"] == 3 and found["by_label"]["song"]["recall"] == 0.0
    renamed = task.targets(other, Reading(names={"song": "city"}))
    assert not renamed.unseen and (renamed.values == task.labels.index("B-city")).sum() == 4
    with pytest.raises(BadInput, match=r"v.jsonl line 2, column 'tags': found the label 'song'"):
        task.targets(other)
    with pytest.raises(BadInput, match="none of the labels that are found there"):
        task.targets(tagged([["B-song", "O", "O"], None, None, None, None]), Reading())


@pytest.mark.parametrize(
    "tags, message",
    [
        ([["O", "O"], *TAGS[1:]], "train.jsonl line 1: 3 tokens in column 'tokens' but 2 tags in column 'tags'"),
        ([["O", "Q-x", "O"], *TAGS[1:]], "train.jsonl line 1: column 'tags', found the tag 'Q-x'"),
        (["O O O", *TAGS[1:]], "train.jsonl line 1: column 'tags' holds a string"),
        ([["O"] * len(t) for t in TOKENS], "train.jsonl, column 'tags': found no span in any row"),
        ([None] * 5, "column 'tags': found no span in any row"),
    ],
)
def test_what_cannot_be_tags_is_refused(tags, message):
    with pytest.raises(BadInput) as error:
        fit_tags(tagged(tags))
    assert message in str(error.value)


def test_unknown_types_and_unlabelled_splits_are_refused():
    task = fit_tags()
    other = [["O", "B-artst", "O"], *TAGS[1:]]
    with pytest.raises(BadInput, match=r"v.jsonl line 1, column 'tags': found the label 'artst'.*did you mean 'artist'"):
        task.targets(tagged(other, source="v.jsonl"))
    with pytest.raises(BadInput, match=r"v.jsonl, column 'tags': found no row with a label"):
        task.targets(tagged([None] * 5, source="v.jsonl"))
    assert not task.targets(tagged([["O"] * len(t) for t in TOKENS])).values.any()  # labelled, with no span: valid
    with pytest.raises(BadInput, match="expected one of 'artist'"):
        fit_tags(label_list=["artist"])


def test_tags_need_the_units_of_their_tokens():
    corpus = tagged()
    other = build_corpus(
        Table("x", {**corpus.table.columns, "text": ["play Cher now !", *corpus.texts[1:]]}), text="text", units=True
    )  # fmt: skip
    with pytest.raises(BadInput, match=r"x row 1, column 'tags': found 3 tags for 4 words"):
        fit_tags(other)


@pytest.mark.parametrize(
    "config, message",
    [
        ({}, "either tags"), ({"tags": "a", "spans": "b", "tokens": "c"}, "either tags"), ({"tags": "a"}, "need tokens"),
        ({"spans": "a", "crf": True, "loss": "focal"}, "not both"), ({"spans": "a", "gamma": 1}, "belongs to loss: focal"),
        ({"spans": "a", "clf": 1}, "clf"),
    ],
)  # fmt: skip
def test_bad_keys_are_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        TokenConfig(**config)


def test_rules_are_those_of_iob2():
    allowed, first = rules(2)
    tags = ["O", "B-a", "I-a", "B-b", "I-b"]
    for i, before in enumerate(tags):
        assert bool(first[i]) == (not before.startswith("I"))
        for j, tag in enumerate(tags):
            assert bool(allowed[i, j]) == (not tag.startswith("I") or before[2:] == tag[2:])


@pytest.mark.parametrize("crf", [False, True])
def test_what_the_targets_say_comes_back_as_spans(crf):
    corpus = tagged()
    task = fit_tags(corpus, crf=crf)
    targets = task.targets(corpus)
    decoded = task.criterion().decode(certain(targets, task.outputs), targets.offsets)
    shown = task.present(decoded, corpus)
    bare = [[{k: v for k, v in span.items() if k != "score"} for span in row["spans"]] for row in shown]
    assert bare == [
        [{"start": 5, "end": 9, "label": "artist", "text": "Cher"}],
        [],
        [
            {"start": 0, "end": 8, "label": "city", "text": "New York"},
            {"start": 9, "end": 14, "label": "city", "text": "Paris"},
        ],
        [],
        [],
    ]
    assert all(0.9 < span["score"] <= 1 for row in shown for span in row["spans"])
    result = task.score(decoded, targets)
    assert result["f1"] == result["accuracy"] == 1.0 and set(result) == {*task.metric_names(), "by_label"}
    assert result["by_label"]["city"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2, "predicted": 2}
    assert task.monitor == "f1"
    json.dumps(shown)


@pytest.mark.parametrize("crf", [False, True])
def test_tags_against_the_rules_never_come_out(crf):
    corpus = tagged()
    task = fit_tags(corpus, crf=crf)
    offsets = task.targets(corpus).offsets
    logits = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    logits[:, [2, 4]] += 3
    decoded = task.criterion().decode(logits, offsets)
    for a, b in itertools.pairwise(offsets):
        before = "O"
        for tag in (task.labels[v] for v in decoded.values[a:b]):
            assert not tag.startswith("I") or before[2:] == tag[2:]
            before = tag


def test_argmax_is_read_as_conlleval_does():
    task = fit_tags()
    tags = [2, 2, 4, 1, 4, 4, 0, 2, 1]  # I-a I-a I-c | B-a | I-c I-c O | I-a B-a
    decoded = task.criterion().decode(np.eye(5)[tags], np.array([0, 3, 4, 7, 9]))
    assert decoded.values.tolist() == [1, 2, 3, 1, 3, 4, 0, 1, 1]


def test_the_score_of_a_span_is_the_mean_of_its_units():
    corpus = tagged()
    task = fit_tags(corpus)
    targets = task.targets(corpus)
    probabilities = np.full((9, 5), 0.01)
    probabilities[np.arange(9), targets.values] = 0.96
    probabilities[5] = [0.1, 0.1, 0.1, 0.1, 0.6]
    shown = task.present(task.criterion().decode(np.log(probabilities), targets.offsets), corpus)
    assert [span["score"] for span in shown[2]["spans"]] == pytest.approx([(0.96 + 0.6) / 2, 0.96], abs=1e-5)


def test_offsets_hold_in_texts_beyond_ascii():
    text = "😀 שלום Zoë\u0301 東京 ok"
    at = text.index("東京")
    corpus = corpus_of(units=True, text=[text], spans=[[{"start": at, "end": at + 2, "label": "city"}]])
    task = fitted("token", corpus, spans="spans")
    targets = task.targets(corpus)
    (row,) = task.present(task.criterion().decode(certain(targets, 3), targets.offsets), corpus)
    assert [(s["start"], s["end"], s["text"]) for s in row["spans"]] == [(at, at + 2, "東京")]


def test_missing_rows_take_no_part_in_the_scores():
    corpus = tagged()
    task = fit_tags(corpus)
    targets = task.targets(corpus)
    logits = certain(targets, 5)
    logits[7:] = [0, 99, 0, 0, 0]  # nonsense in the row that has no tags
    assert task.score(task.criterion().decode(logits, targets.offsets), targets)["f1"] == 1.0


def test_a_crf_learns_what_the_emissions_cannot_say():
    # Tags depend on the tag before only; emissions are empty: a CRF must find O B I B I ..., argmax cannot.
    torch.manual_seed(0)
    gold = torch.tensor([0, 1, 2, 1, 2, 1, 2] * 20)
    groups = torch.arange(20).repeat_interleave(7)
    corpus = corpus_of(units=True, text=["a b"], spans=[[{"start": 0, "end": 1, "label": "x"}]])
    criterion = fitted("token", corpus, spans="spans", crf=True).criterion()
    optimiser = torch.optim.Adam(criterion.parameters(), lr=0.2)
    for _ in range(100):
        optimiser.zero_grad()
        loss = criterion.loss(torch.zeros(140, 3), gold, groups)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05
    decoded = criterion.decode(np.zeros((14, 3)), np.array([0, 7, 14]))
    assert decoded.values.tolist() == gold[:14].tolist()
    assert (decoded.scores > 0.8).all()


def test_state_goes_through_json_and_is_refused_where_tags_do_not_fit():
    task = fit_tags(crf=True, metric="f1_macro")
    state = json.loads(json.dumps(task.state()))
    again = Task.from_state("t", state)
    assert again.state() == task.state() and again.types == task.types
    assert again.criterion().state_dict().keys() == {"crf.start", "crf.end", "crf.transitions"}
    for labels in (["O"], ["O", "B-a"], ["B-a", "I-a", "O"], ["O", "B-a", "I-b"]):
        with pytest.raises(BadInput, match="expected O, then B- and I- of each entity type"):
            Task.from_state("t", {**state, "labels": labels})


def test_logits_that_are_not_finite_are_refused():
    task = fit_tags()
    with pytest.raises(TrunklineError, match="NaN"):
        task.criterion().decode(np.full((2, 5), np.nan), np.array([0, 2]))


def test_types_that_no_row_has_are_named():
    words = {"words": [["in", "New", "York"], ["jazz"]]}
    task = fitted(
        "token", corpus_of("words", True, tags=[["O", "B-city", "I-city"], ["B-genre"]], **words), tokens="words", tags="tags"
    )
    rest = corpus_of("words", True, tags=[["O", "B-city", "O"], None], **words)  # and no I-city, which is nothing to tell
    assert task.absent_labels(task.targets(rest)) == ["genre"]


def test_types_that_differ_only_in_case_are_told():
    corpus = tagged([["B-City", "O", "O"], ["B-none"], ["B-city", "O", "O"], None, []])
    assert fit_tags(corpus).label_findings(corpus) == [
        "'t': labels that differ only in case or blanks count as different ones (1 case): 'City' and 'city'; "
        "if they are one, write them alike in the data."
    ]
    assert fit_tags(corpus, label_list=["City", "city", "none"]).label_findings(corpus) == []


def test_spans_in_the_column_of_tags_are_read_by_the_words_that_they_are_on():
    words = [["so", "oslo"], ["a", "b"]]
    task = fitted("token", corpus_of(tokens="words", words=words, ner=[["O", "B-x"], ["O", "O"]]), tokens="words", tags="ner")
    span = {"start": 3, "end": 7, "label": "x", "text": "oslo", "score": 0.5}
    for spans in ([[span], []], [json.dumps([span]), "[]"], [{"spans": [span]}, {"spans": []}]):
        corpus = corpus_of(units=True, text=["so oslo", "a b"], ner=spans)
        assert task.targets(corpus).values.tolist() == [0, 1, 0, 0]
        beside = corpus_of(tokens="words", text=["so oslo", "a b"], words=words, ner=spans)
        assert task.targets(beside).values.tolist() == [0, 1, 0, 0]
    nothing = corpus_of(units=True, text=["so oslo", "a b"], ner=[[], []])
    assert task.targets(nothing).values.tolist() == [0, 0, 0, 0]
    off = corpus_of(units=True, text=["so oslo", "a b"], ner=[[{**span, "start": 5}], []])
    assert any("not on word edges" in said for said in task.findings(off))
