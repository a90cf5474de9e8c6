"""What a program hands to a bundle to score: right answers in any kind of list, frame or data set."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from everykind import TEXTS
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from trunkline.data.corpus import build_corpus, segment
from trunkline.data.table import Table
from trunkline.errors import BadInput

BLANK = ["play a song", "", "so good", " \n"]


def test_scores_are_those_of_scikit_learn(bundle):
    answers = bundle.predict(TEXTS)
    mood, stars = ["a", "b", "c", "a"], [1.0, 2.0, 3.0, 4.0]
    topics = [["p"], ["q", "r"], [], ["p", "q", "r"]]
    found = bundle.score(TEXTS, {"stars": stars, "mood": np.array(mood), "topics": topics})
    assert list(found) == ["stars", "mood", "topics"]
    assert found["mood"]["accuracy"] == accuracy_score(mood, [answer["mood"]["label"] for answer in answers])
    assert found["stars"]["mae"] == pytest.approx(mean_absolute_error(stars, [answer["stars"]["value"] for answer in answers]))
    true = np.array([[label in row for label in "pqr"] for row in topics])
    guess = np.array([[label in answer["topics"]["labels"] for label in "pqr"] for answer in answers])
    assert found["topics"]["f1_micro"] == pytest.approx(f1_score(true, guess, average="micro"))
    assert bundle.score(TEXTS, {"topics": true.astype(int)})["topics"] == found["topics"]
    assert bundle.only(["mood"]).score(TEXTS, pd.Series(mood)) == found["mood"]
    with pytest.warns(UserWarning, match="1 text has no right answer for 'flag' and is not scored"):
        assert bundle.score(TEXTS, {"flag": [True, None, True, False]})["flag"]["accuracy"] in (0, 1 / 3, 2 / 3, 1)
    assert bundle.score(TEXTS, {"columns": [["p"], [], ["r"], ["r", "p"]]}) == bundle.score(
        TEXTS, {"columns": [[0, 1], [0, 0], [1, 0], [1, 1]]}
    )


@pytest.mark.parametrize("name", ["slots", "chained"])
def test_tags_and_spans_are_right_answers_of_a_token_task(bundle, name):
    answers = [answer[name]["spans"] for answer in bundle.predict(TEXTS)]
    assert any(answers)
    assert bundle.score(TEXTS, {name: answers})[name]["f1"] == 1.0
    triples = [[(span["start"], span["end"], span["label"]) for span in row] for row in answers]
    assert bundle.score(TEXTS, {name: triples})[name]["f1"] == 1.0
    tags = []
    for text, row in zip(TEXTS, answers, strict=True):
        first = {span["start"]: span["label"] for span in row}
        inside = {start: span for span in row for start in range(span["start"], span["end"])}
        tags.append(
            [
                f"B-{first[start]}" if start in first else f"I-{inside[start]['label']}" if start in inside else "O"
                for start, _ in segment(text)
            ]
        )
    assert bundle.score(TEXTS, {name: tags})[name]["f1"] == 1.0
    assert bundle.score(TEXTS, {name: [["O"] * len(row) for row in tags]})[name]["f1"] == 0.0


def test_blank_texts_are_not_scored(bundle):
    only, labels = bundle.only(["mood"]), ["a", "b", "c", "a"]
    with pytest.warns(UserWarning, match=r"^2 texts are blank and are not scored\.$"):
        found = only.score(BLANK, labels)
    assert found == only.score([BLANK[0], BLANK[2]], ["a", "c"])
    assert found != only.score(BLANK, labels, empty_texts="read")
    with pytest.raises(BadInput, match="texts: found blank strings only, expected at least one text"):
        only.score(["", " "], ["a", "b"])
    with pytest.raises(BadInput, match="labels row 3, column 'mood'"):
        only.score(BLANK, ["a", "b", "x", "c"], unseen_labels="refuse")


def test_labels_that_training_lacked_count_as_errors_or_are_refused(bundle):
    answers = bundle.predict(TEXTS)
    mood = [answer["mood"]["label"] for answer in answers[:3]] + ["B"]
    topics = [answer["topics"]["labels"] for answer in answers[:3]] + [["z"]]
    spans = [answer["chained"]["spans"] for answer in answers[:3]] + [[(0, 2, "w")]]
    with pytest.warns(UserWarning) as said:
        found = bundle.score(TEXTS, {"mood": mood, "topics": topics, "chained": spans})
    assert found["mood"]["accuracy"] == 0.75 and found["mood"]["by_label"]["B"]["support"] == 1
    assert found["topics"]["by_label"]["z"]["recall"] == found["chained"]["by_label"]["w"]["recall"] == 0.0
    assert [str(one.message) for one in said] == [
        "1 row has labels that 't' was not trained on and count as errors: 'B' (1, nearest: 'b').",
        "1 row has labels that 't' was not trained on and count as errors: 'z' (1).",
        "1 row has labels that 't' was not trained on and count as errors: 'w' (1).",
    ]
    for name, labels in (("mood", mood), ("topics", topics), ("chained", spans)):
        with pytest.raises(BadInput, match=r"labels row 4, column '.*': found the label '.', which is not among"):
            bundle.score(TEXTS, {name: labels}, unseen_labels="refuse")
    with pytest.raises(BadInput, match="the task has none of the labels that are found there"):
        bundle.score(TEXTS, {"mood": ["x"] * 4})


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a"] * 4, "labels: found list, expected a mapping of branch to labels, as there are 7 branches ("),
        ({"mod": ["a"] * 4}, "labels: branch: unknown name 'mod'; did you mean 'mood'?"),
        ({"mood": ["a"] * 3}, "labels of mood: found 3 for 4 texts, expected one for each"),
        ({"mood": "aaaa"}, "labels of mood: found str, expected a list with one for each text"),
        ({"mood": pd.DataFrame({"a": [1]})}, "labels of mood: found DataFrame, expected a list with one for each text"),
        ({"mood": ["a", "b", "d", "a"]}, "labels row 3, column 'mood': found the label 'd', which is not among the 3 labels"),
        ({"stars": ["a"] * 4}, "labels row 1: column 'stars' holds a string, expected a finite number"),
        ({"topics": ["other"] * 4}, "labels row 1: column 'topics' holds a string, expected a list of labels"),
        (
            {"mood": [["a", "b"]] * 4},
            "labels row 1: column 'mood' holds a list, expected a label (a string, a whole number or a truth value); lists of "
            "labels are for kind: multilabel",
        ),
        (
            {"mood": pd.cut([1.0, 2, 3, 4], 2)},
            "labels row 1: column 'mood' holds Interval, expected a label (a string, a whole number or a truth value); "
            ".astype(str) of the column makes strings of its values",
        ),
        (
            {"flag": [0, 1, 1, 0]},
            "labels row 1, column 'flag': found the label '0', which is not among the 2 labels of the task; expected one of "
            "'false', 'true'; the labels of the branch are truth values, which numbers become by .astype(bool)",
        ),
        (pd.DataFrame({"q": [1] * 4}), "labels: columns 'p', 'r' are missing, expected one for each label of 'topics'"),
        (
            pd.DataFrame({"mood": ["a"] * 4, "text": TEXTS}),
            "labels: branch: unknown name 'text'; expected one of chained, columns, flag, mood, slots, stars, topics; only "
            "columns with answers can be given, here ['mood']",
        ),
        (
            {"slots": [["O"]] * 4},
            "labels of slots, text 1: found 1 tag for 3 words, expected one for each; the words were found in the text: texts "
            "as lists of words say which they are",
        ),
        ({"slots": [[0, 0, 0]] * 4}, "labels of slots, text 1: found whole numbers, expected tags or spans; the numbers of a"),
        (
            {"mood": [0, 1, 2, 0]},
            "labels row 1, column 'mood': found the label '0', which is not among the 3 labels of the task; expected one of "
            "'a', 'b', 'c'; the numbers of a ClassLabel become labels by its int2str",
        ),
        (pd.DataFrame({"mod": ["a"] * 4}), "labels: branch: unknown name 'mod'; did you mean 'mood'?"),
        ({"mood": [None] * 4}, "labels, column 'mood': found no row with a label, expected at least one"),
    ],
)
def test_labels_that_do_not_fit_are_one_sentence(bundle, labels, sentence):
    with pytest.raises(BadInput) as error:
        bundle.score(TEXTS, labels, unseen_labels="refuse")
    assert str(error.value).startswith(sentence)


def test_a_label_alone_stands_for_a_list_of_it_as_beside_lists(bundle):
    alone, listed = (bundle.score(TEXTS, {"topics": [one] * 4}) for one in ("p", ["p"]))
    assert alone == listed


def test_a_frame_is_a_mapping_of_branch_to_labels(bundle):
    answers = {"mood": ["a", "b", None, "a"], "stars": [1.0, 2.0, 3.0, 4.0]}
    with pytest.warns(UserWarning):
        expected = bundle.score(TEXTS, answers)
        frame = pd.DataFrame(answers, index=range(3, 7))
        assert [bundle.score(TEXTS, one) for one in (frame, pa.table(answers), datasets.Dataset.from_dict(answers))] == [
            expected
        ] * 3
    assert bundle.score(TEXTS, frame[["stars"]]) == {"stars": expected["stars"]}


def test_numbers_of_a_data_set_that_has_names_for_them_are_these(bundle):
    mood = datasets.ClassLabel(names=["c", "b", "a"])
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-x", "I-x", "B-y", "I-y"]))
    words = [text.split() for text in TEXTS]
    numbers = {"mood": [2, 1, -1, 0], "slots": [[0] * (len(row) - 1) + [3] for row in words]}
    given = datasets.Dataset.from_dict(numbers, features=datasets.Features(mood=mood, slots=tags))
    names = {"mood": ["a", "b", None, "c"], "slots": [["O"] * (len(row) - 1) + ["B-y"] for row in words]}
    with pytest.warns(UserWarning, match="1 text has no right answer for 'mood'"):
        expected = bundle.score(words, names)
        assert bundle.score(words, given) == expected
        assert bundle.score(words, {name: given[name] for name in names}) == expected


def test_texts_without_a_right_answer_are_counted(bundle):
    spans = [None, [], [(0, 2, "x")], None]
    with pytest.warns(UserWarning) as said:
        bundle.score([*TEXTS[:3], ""], {"mood": [None, np.nan, "a", "b"], "stars": [1.0, None, 2.0, 3.0], "chained": spans})
    assert [str(one.message) for one in said] == [
        "1 text is blank and is not scored.",
        "2 texts have no right answer for 'mood' and are not scored.",
        "1 text has no right answer for 'stars' and is not scored.",
        "1 text has no right answer for 'chained' and is not scored.",
    ]


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_what_is_changed_of_the_right_answers_is_told_as_for_files(bundle):
    text = "play a song of Abba"
    spans = [(0, 3, "x"), (5, 6, "x"), (5, 11, "x"), (7, 9, "x"), (17, 40, "x"), (40, 44, "x")]
    whole = Table(
        "rows.jsonl", {"text": [text], "spans": [[dict(zip(("start", "end", "label"), s, strict=True)) for s in spans]]}
    )
    task = bundle.branches["chained"].task
    with pytest.warns(UserWarning) as said:
        bundle.only("chained").score([text], [spans])
    told = [str(one.message) for one in said]
    assert told == task.findings(build_corpus(whole, text="text", units=True)) and len(told) >= 4
    assert "2 of the 6 spans of 't' not on word edges: every word that is touched was taken." in told
    with pytest.warns(UserWarning) as said:
        found = bundle.only("topics").score(TEXTS, [["p", None], ["q", np.nan], ["r", "r"], []])
    assert [str(one.message) for one in said] == [
        "1 labels of 't' stand twice in one list, and count once.", "2 labels of 't' are blank, and left out."
    ]  # fmt: skip
    assert found == bundle.only("topics").score(TEXTS, [["p"], ["q"], ["r"], []])


def test_answers_and_texts_of_other_indexes_are_refused_as_by_fit(bundle):
    texts = pd.Series(TEXTS, index=[3, 1, 2, 0])
    sentence = (
        "are Series with different indexes, expected the same one: a DataFrame of both joins them by it, and .to_numpy() of "
        "each leaves it out"
    )
    mood = pd.Series(list("abca"))
    for labels, name in (
        ({"mood": mood}, "labels of mood"),
        (pd.DataFrame({"mood": mood}), "labels"),
        ({"stars": [1, 2, 3, 4], "mood": mood}, "labels of mood"),
    ):
        with pytest.raises(BadInput) as error:
            bundle.score(texts, labels)
        assert str(error.value) == f"score: 'texts' and '{name}' {sentence}"
    assert bundle.score(texts.to_numpy(), {"mood": mood}) == bundle.score(texts, {"mood": mood.set_axis(texts.index)})
    with pytest.raises(BadInput, match="score: 'labels of mood' and 'labels of stars' are Series with different indexes"):
        bundle.score(TEXTS, {"mood": mood, "stars": pd.Series([1.0, 2, 3, 4], index=[3, 1, 2, 0])})


def test_a_multilabel_task_is_scored_on_the_columns_that_it_was_trained_on(bundle):
    frame = pd.DataFrame({"r": [1, 0, 1, 0], "p": [True, False, False, True], "mood": list("abca")})
    found = bundle.score(TEXTS, frame)
    assert found["columns"] == bundle.score(TEXTS, {"columns": [["r", "p"], [], ["r"], ["p"]]})["columns"]
    assert found == bundle.score(TEXTS, dict(frame)) and list(found) == ["mood", "columns"]
    vectors = pd.DataFrame({"q": [1, 0, 1, 0], "r": [0, 0, 1, 1], "p": [0, 1, 0, 0]})  # of a task that was trained on lists
    assert bundle.only("topics").score(TEXTS, vectors) == bundle.only("topics").score(
        TEXTS, {"topics": [["q"], ["p"], ["q", "r"], ["r"]]}
    )
    only = bundle.only("columns")
    assert only.score(TEXTS, frame[["p", "r"]]) == {"columns": found["columns"]}
    with pytest.raises(BadInput, match="labels: column 'p' is missing, expected one for each label of 'columns'"):
        bundle.score(TEXTS, frame[["r"]])
    with pytest.raises(BadInput, match="labels row 2: column 'p' holds '7', expected 0 or 1"):
        bundle.score(TEXTS, {"r": [0, 1, 0, 1], "p": [0, 7, 1, 1]})


def test_parts_of_speech_are_answers_of_a_branch_that_has_learned_them(bundle):
    words = [["so", "good"], ["paris"]]
    tags = {"slots": [["B-x", "B-y"], ["B-y"]]}
    assert bundle.score(words, {"slots": [["x", "y"], ["y"]]}) == bundle.score(words, tags)
    assert bundle.score(words, {"slots": [["x", "x"], ["O"]]}) == bundle.score(words, {"slots": [["B-x", "I-x"], ["O"]]})  # IO
    with pytest.raises(BadInput, match="found a word that is no tag"):
        bundle.score(words, {"slots": [["x", "z"], ["y"]]})


def test_the_numbers_of_single_rows_are_not_in_the_repr_of_scores(bundle):
    found = bundle.score(TEXTS, {"stars": [1.0, 2.0, 3.0, 4.0]})
    assert "sample" in found["stars"] and "sample" not in repr(found) and "'mae': " in repr(found)
