"""What a program hands to a bundle to predict: texts in any kind of list; and the answers and probabilities that it gets."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from itertools import pairwise
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from everykind import TEXTS

from trunkline.data.corpus import segment
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.model.tables import predict_table

WAY_OUT = "an empty string stands for a missing text (fillna('') of a Series puts it there)"
LISTS = {
    "tuple": tuple,
    "array": np.array,
    "objects": lambda texts: np.array(texts, dtype=object),
    "series": lambda texts: pd.Series(texts, index=range(5, 5 + len(texts))),
    "arrow": pa.array,
    "column of a data set": lambda texts: datasets.Dataset.from_dict({"text": texts})["text"],
    "generator": iter,
}


@pytest.mark.parametrize("kind", LISTS)
def test_texts_may_stand_in_any_kind_of_list(bundle, kind):
    assert bundle.predict(LISTS[kind](TEXTS)) == bundle.predict(TEXTS)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            pd.DataFrame({"text": TEXTS}),
            "texts: found DataFrame, expected a string or a list of strings, such as one of its columns",
        ),
        (pa.table({"text": TEXTS}), "texts: found Table, expected a string or a list of strings, such as one of its columns"),
        (
            datasets.Dataset.from_dict({"text": TEXTS}),
            "texts: found Dataset, expected a string or a list of strings, such as one of its columns",
        ),
        ({"text": "a"}, "texts: found dict, expected a string or a list of strings"),
        (b"abc", "texts: found bytes, expected a string or a list of strings"),
        (None, "texts: found NoneType, expected a string or a list of strings"),
        (["a", None], f"text 2 (texts[1]): found None, expected a string; {WAY_OUT}"),
        (pd.Series(["a", np.nan], dtype=object), f"text 2 (texts[1]): found NaN, expected a string; {WAY_OUT}"),
        (["a", pd.NA, None, "b"], f"text 2 (texts[1]): found <NA> (and 1 more missing value), expected a string; {WAY_OUT}"),
        (["a", b"b"], "text 2 (texts[1]): found bytes, expected a string"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_by_every_method(bundle, texts, sentence):
    for ask in (bundle.predict, bundle.predict_proba, lambda texts: bundle.score(texts, {"mood": ["a"]})):
        with pytest.raises(BadInput) as error:
            ask(texts)
        assert str(error.value) == sentence


def test_the_name_of_a_data_file_is_told_from_a_text(bundle, tmp_path, recwarn):
    (tmp_path / "rows.csv").write_text("text\na film\n")
    for text in (str(tmp_path / "none.csv"), "x" * 2000, "a\0.csv", str(tmp_path)):
        bundle.predict(text)
    assert not [one for one in recwarn if "data file" in str(one.message)]
    with pytest.warns(UserWarning, match="texts: found the name of a data file, whose characters are read as a text"):
        bundle.predict(str(tmp_path / "rows.csv"))


def test_probabilities_are_those_of_the_predictions(bundle):
    found, answers = bundle.predict_proba(TEXTS), bundle.predict(TEXTS)
    assert list(found) == ["mood", "flag", "topics", "columns", "slots", "chained"]  # a number has none
    for name in ("mood", "flag", "topics", "columns"):
        labels = bundle.branches[name].task.classes
        expected = [[answer[name]["scores"][label] for label in labels] for answer in answers]
        assert found[name].shape == (len(TEXTS), len(labels)) and np.allclose(found[name], expected)
    for name in ("slots", "chained"):
        assert [rows.shape for rows in found[name]] == [
            (len(segment(text)), len(bundle.branches[name].task.labels)) for text in TEXTS
        ]
        assert all(np.allclose(rows.sum(axis=1), 1, atol=1e-5) for rows in found[name])


def test_labels_have_the_type_of_the_training_data_in_python_and_are_strings_in_files(bundle):
    answers = bundle.predict(TEXTS)
    assert {type(answer["flag"]["label"]) for answer in answers} == {bool}
    assert all(answer["flag"]["scores"][answer["flag"]["label"]] == answer["flag"]["score"] for answer in answers)
    assert type(bundle.predict(TEXTS[0])["flag"]["label"]) is bool and bundle.predict("")["flag"]["label"] is None
    written = predict_table(bundle, Table("x", {"text": TEXTS}), scores=True)
    for row, answer in zip(written, answers, strict=True):
        assert row.answers["flag"]["label"] == str(answer["flag"]["label"]).lower()
        assert list(row.answers["flag"]["scores"]) == ["false", "true"]


def test_probabilities_of_one_text_are_its_row(bundle):
    several, one = bundle.predict_proba(TEXTS), bundle.predict_proba(TEXTS[1])
    assert one["mood"].shape == (3,) and np.allclose(one["mood"], several["mood"][1], atol=1e-5)
    assert one["slots"].shape == several["slots"][1].shape
    assert {name: len(rows) for name, rows in bundle.predict_proba([]).items()} == dict.fromkeys(several, 0)
    assert bundle.predict_proba([])["mood"].shape == (0, 3)


def test_marginals_of_a_chain_are_those_of_all_its_paths(bundle):
    task, criterion = bundle.branches["chained"].task, bundle.branches["chained"].criterion
    tags, generator = len(task.labels), torch.Generator().manual_seed(1)
    logits, crf = torch.randn(4, tags, generator=generator), criterion.crf
    offsets = np.array([0, 3, 3, 4])
    found, expected = criterion.probabilities(logits, offsets), np.zeros((4, tags))
    for start, end in ((0, 3), (3, 4)):
        total = 0.0
        for path in np.ndindex(*[tags] * (end - start)):
            if not crf.first[path[0]] or not all(crf.allowed[a, b] for a, b in pairwise(path)):
                continue
            score = crf.start[path[0]] + crf.end[path[-1]] + sum(logits[start + i, tag] for i, tag in enumerate(path))
            score = score + sum(crf.transitions[a, b] for a, b in pairwise(path))
            total += (weight := float(score.detach().exp()))
            for i, tag in enumerate(path):
                expected[start + i, tag] += weight
        expected[start:end] /= total
    assert np.allclose(found, expected, atol=1e-5)


def test_one_branch_is_named_alone(bundle):
    assert list(bundle.only("stars").branches) == ["stars"]
    with pytest.raises(BadInput, match="branch: unknown name 'star'; did you mean 'stars'"):
        bundle.only("star")


def test_only_numbers_have_no_probabilities(bundle):
    with pytest.raises(BadInput, match="found only branches that predict numbers"):
        bundle.only(["stars"]).predict_proba(TEXTS)


BLANK = ["play a song", "", "so good", " \n"]


def test_blank_texts_have_empty_predictions_as_on_the_command_line(bundle):
    answers, read = bundle.predict(BLANK), bundle.predict(BLANK, empty_texts="read")
    on_the_command_line = [row.answers for row in predict_table(bundle, Table("x", {"text": BLANK}), scores=True)]
    for row in (1, 3):
        assert answers[row] == on_the_command_line[row]
        assert all(part is None for answer in answers[row].values() for part in answer.values())
        assert all(part is not None for answer in read[row].values() for part in answer.values())
    assert answers[1] == bundle.predict("") and set(answers[1]["mood"]) == {"label", "score", "scores"}
    for row in (0, 2):
        assert answers[row]["mood"]["scores"] == pytest.approx(bundle.predict(BLANK[row])["mood"]["scores"], abs=1e-5)
        assert answers[row]["stars"] == pytest.approx(read[row]["stars"], abs=1e-5)
    assert bundle.predict(["", ""]) == [answers[1]] * 2
    shares = bundle.predict_proba(BLANK)
    assert np.isnan(shares["mood"][[1, 3]]).all() and not np.isnan(shares["mood"][[0, 2]]).any()
    assert [len(rows) for rows in shares["slots"]] == [3, 0, 2, 0] and shares["mood"].dtype == np.float32
    assert not np.isnan(bundle.predict_proba(BLANK, empty_texts="read")["mood"]).any()
    for ask in (bundle.predict, bundle.predict_proba, lambda texts, **how: bundle.score(texts, {"mood": ["a"] * 4}, **how)):
        with pytest.raises(BadInput, match=r"text 2 \(texts\[1\]\): found a blank string, expected a text"):
            ask(BLANK, empty_texts="refuse")
        with pytest.raises(BadInput, match="empty_texts: unknown name 'skp'; did you mean 'skip'"):
            ask(BLANK, empty_texts="skp")


def test_branches_that_read_pairs_need_both_texts(bundle):
    mood = bundle.branches["mood"]
    both = Bundle(bundle.trunk, {"mood": mood, "pair": dataclasses.replace(mood, text_pair="second")})
    answers = both.predict(["so good", "so good", ""], ["it is", "", "it is"])
    assert [[answer[name]["label"] is None for name in ("mood", "pair")] for answer in answers] == [
        [False, False], [False, True], [True, True]
    ]  # fmt: skip
    with pytest.raises(BadInput, match=r"second text 2 \(pairs\[1\]\): found a blank string"):
        both.predict(["so", "good"], ["it is", " "], empty_texts="refuse")
    with pytest.warns(UserWarning) as said:
        found = both.score(["so good", "so good", ""], {"mood": ["a", "b", "x"], "pair": ["a", "b", "x"]}, ["it", "", "is"])
    assert [str(one.message) for one in said] == [
        "1 text is blank and is not scored.", "2 texts are blank and are not scored."
    ]  # fmt: skip
    assert sum(row["support"] for row in found["mood"]["by_label"].values()) == 2
    assert sum(row["support"] for row in found["pair"]["by_label"].values()) == 1


WORDS = {
    "lists": lambda rows: rows,
    "tuples": lambda rows: tuple(map(tuple, rows)),
    "series of arrays": lambda rows: pd.Series([np.array(row, dtype=object) for row in rows]),
    "column of a data set": lambda rows: datasets.Dataset.from_dict({"words": rows})["words"],
    "arrow": pa.array,
}


@pytest.mark.parametrize("kind", WORDS)
def test_texts_may_be_lists_of_words_where_a_branch_tags_words(bundle, kind):
    rows = [["so", "good"], ["table-for", "paris", "."], ["it's", "two words"]]
    texts, units = (
        ["so good", "table-for paris .", "it's two words"],
        [[(0, 2), (3, 7)], [(0, 9), (10, 15), (16, 17)], [(0, 4), (5, 14)]],
    )
    given = WORDS[kind](rows)
    expected = bundle.predict(texts, units=units)
    for answer, plain, own in zip(bundle.predict(given), expected, units, strict=True):
        for name in ("slots", "chained"):
            tags = answer[name].pop("tags")
            first = {span["start"]: span["label"] for span in plain[name]["spans"]}
            begins = {start for start, _ in own}
            assert len(tags) == len(own) and {start for (start, _), tag in zip(own, tags, strict=True) if tag[0] == "B"} == set(
                first
            )
            assert begins >= set(first)
            inside = {
                n for span in plain[name]["spans"] for n, (a, b) in enumerate(own) if span["start"] <= a and b <= span["end"]
            }
            assert {n for n, tag in enumerate(tags) if tag != "O"} == inside
        assert answer == plain
    assert all(
        np.array_equal(a, b)
        for a, b in zip(bundle.predict_proba(given)["slots"], bundle.predict_proba(texts, units=units)["slots"], strict=True)
    )
    tags = [answer["slots"]["tags"] for answer in bundle.predict(given)]
    assert bundle.only("slots").score(given, tags)["f1"] == 1.0 and any(tag != "O" for row in tags for tag in row)


def test_lists_of_words_that_do_not_fit_are_one_sentence(bundle):
    for sentence, texts, more in (
        ("text 1 (texts[0][1]): found float, expected a string, one word", [["so", np.nan]], {}),
        ("text 2 (texts[1]): found str, expected a list of words as other texts are", [["so"], "good"], {}),
        ("units: found spans beside texts that are lists of words, expected none", [["so"]], {"units": [[(0, 2)]]}),
    ):
        with pytest.raises(BadInput) as error:
            bundle.predict(texts, **more)
        assert str(error.value) == sentence
    with pytest.raises(
        BadInput, match=r"text 1 \(texts\[0\]\): found list, expected a string, as no task that is asked tags words"
    ):
        bundle.only(["mood"]).predict([["so"]])
    with pytest.raises(BadInput, match=r"labels of slots, text 1: found 1 tag for 2 words, expected one for each$"):
        bundle.score([["so", "good"]], {"slots": [["O"]]})
    answer = bundle.predict([["so"], []])[1]
    assert answer["slots"] == {"spans": None, "tags": None} and answer["mood"]["label"] is None


def test_it_says_in_a_line_what_it_holds(bundle):
    assert repr(bundle.only(["mood", "slots", "stars"])) == (
        f"Bundle(trunk {bundle.trunk.name!r}, branches: mood (sequence, 3 labels), slots (token, 2 labels), stars (regression))"
    )
    assert repr(bundle.only([])).endswith("branches: none)")
    many = Bundle(bundle.trunk, {f"b{number}": bundle.branches["stars"] for number in range(9)})
    assert repr(many).endswith("b7 (regression), ... (9 in all))")
    mood = dataclasses.replace(bundle.branches["mood"], path=Path("runs/x/branches/mood"))
    assert repr(mood) == (
        f"Branch('t': sequence, 3 labels, method probe, trunk {bundle.trunk.name!r}, saved in 'runs/x/branches/mood')"
    )


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_not_pickled(bundle, make):
    with pytest.raises(BadInput, match="a Bundle cannot be pickled or copied; open it by its path in each process"):
        make(bundle)


def test_what_is_opened_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "one" / "branches").mkdir(parents=True)
    for given, sentence in (
        ("nowhere", "nowhere: no such folder; expected that of a branch or of a run"),
        ("runs", "runs: not a branch or a run; expected a folder with branch.json and weights.safetensors, or that of a run, "
         "such as runs/one"),
        (3, "found int, expected the folder of a branch or of a run, what fit returned, or a list of these"),
        (
            pd.DataFrame({"text": TEXTS}),
            "found DataFrame, expected the folder of a branch or of a run, what fit returned, or a list of these",
        ),
        ([None], "found list, expected the folder of a branch or of a run, what fit returned, or a list of these"),
    ):  # fmt: skip
        with pytest.raises(BadInput) as error:
            Bundle.open(given)
        assert str(error.value) == sentence


def test_branches_are_added_from_where_they_are_saved_and_named_alone_or_together(bundle, tmp_path):
    save_branch(bundle.branches["mood"], tmp_path / "run" / "branches" / "mood")
    save_branch(bundle.branches["flag"], tmp_path / "run" / "branches" / "flag")
    other = bundle.only("stars", "flag")
    assert list(other.branches) == ["stars", "flag"]
    other.add("x", tmp_path / "run" / "branches" / "mood")
    assert other.predict("so good")["x"] == bundle.predict("so good")["mood"]
    for given, sentence in (
        (tmp_path / "run", "branch: found 2 branches ('flag', 'mood'), expected one; a path such as run.branches[NAME] is one"),
        (3, "found int, expected the folder of a branch or of a run, what fit returned, or a list of these"),
    ):
        with pytest.raises(BadInput) as error:
            other.add("y", given)
        assert str(error.value) == sentence
    with pytest.raises(BadInput, match="branch: found list, expected the name of one branch"):
        other.remove(["x"])
    with pytest.raises(BadInput, match="branch: unknown name 3"):
        other.only(3)
    both = Bundle.open(tmp_path / "run" / "branches" / "mood", tmp_path / "run" / "branches" / "flag", trunk=bundle.trunk)
    assert len(both.branches) == 2


def test_a_branch_is_found_by_the_name_of_its_column_where_that_is_clear(bundle):
    named = Bundle(
        bundle.trunk,
        {"Overall_rating": bundle.branches["mood"], "a_b": bundle.branches["flag"], "a_b_2": bundle.branches["flag"]},
    )
    assert named.branches["Overall rating"] is bundle.branches["mood"]
    assert list(named.only("Overall rating").branches) == ["Overall_rating"]
    found = named.score(TEXTS, pd.DataFrame({"Overall rating": list("abca")}))
    assert found == named.score(TEXTS, {"Overall_rating": list("abca")}) and found["Overall rating"] == found["Overall_rating"]
    with pytest.raises(BadInput, match="branch: unknown name 'a b'; did you mean 'a_b'"):
        named.only("a b")  # or a_b_2
    with pytest.raises(KeyError, match="no task 'a b', expected one of 'Overall_rating', 'a_b', 'a_b_2'"):
        named.branches["a b"]
    with pytest.raises(BadInput, match="labels: found 'Overall_rating' twice"):
        named.score(TEXTS, {"Overall rating": list("abca"), "Overall_rating": list("abca")})
