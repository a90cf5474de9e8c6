import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from tasktools import corpus_of, fitted

from trunkline.errors import BadInput
from trunkline.tasks import Targets, Task
from trunkline.tasks.labels import Reading
from trunkline.tasks.multilabel import MultilabelConfig, MultilabelLearned, MultilabelTask
from trunkline.tasks.thresholds import CANDIDATES, POSITIVES, label_thresholds, threshold_quality


def test_the_three_ways_to_write_labels_mean_the_same():
    lists = corpus_of(labels=[["joy", "fear"], [], None, ["anger"], ["joy", "joy"]])
    strings = corpus_of(labels=["joy; fear", "", None, "anger", "joy"])
    columns = corpus_of(
        anger=[0, 0, None, 1, 0], fear=["1", "0", None, "0", "0"], joy=[True, False, None, False, True]
    )  # fmt: skip
    a = fitted("multilabel", lists, labels="labels")
    b = fitted("multilabel", strings, labels="labels", separator=";")
    c = fitted("multilabel", columns, labels=["anger", "fear", "joy"])
    expected = [[0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    for task, corpus in ((a, lists), (b, strings), (c, columns)):
        assert task.labels == ["anger", "fear", "joy"]
        assert task.targets(corpus).values.astype(int).tolist() == expected
    for task, corpus in ((a, lists), (c, columns)):  # an empty list is "none of them", a missing cell is "not known"
        assert task.targets(corpus).present.tolist() == [True, True, False, True, True]
    assert a.columns() == ["labels"] and c.columns() == ["anger", "fear", "joy"]
    assert a.strata(lists) == ["fear", "(none)", "", "anger", "joy"]


@pytest.mark.parametrize(("words", "named"), [(12, True), (101, False)])
def test_labels_that_may_be_the_words_of_texts_are_not_named(words, named):
    seen = [f"SECRET{i}" for i in range(words)]
    task = fitted("multilabel", corpus_of(labels=[" ".join(seen)]), labels="labels", separator=" ")
    with pytest.raises(BadInput) as error:
        task.targets(corpus_of(labels=["PRIVATE"]))
    assert ("'SECRET0'" in str(error.value) and "'PRIVATE'" in str(error.value)) == named
    assert str(error.value).count("SECRET") == (8 if named else 0) and ("PRIVATE" in str(error.value)) == named
    assert str(error.value).startswith(
        "train.jsonl line 1, column 'labels': found "
    ) and f"the {words} labels of the task" in str(error.value)
    with pytest.raises(BadInput, match=r"tasks\.t\.class_weights: found the label 'PRIVATE'") as error:  # the user's own word
        fitted("multilabel", corpus_of(labels=[" ".join(seen)]), labels="labels", separator=" ", class_weights={"PRIVATE": 2})
    assert ("SECRET" in str(error.value)) == named


@pytest.mark.parametrize(
    "columns, config, message",
    [
        ({"labels": [["a"], "b"]}, {"labels": "labels"}, "train.jsonl line 2: column 'labels' holds a string, expected a list"),
        ({"labels": [["a"], [0.5]]}, {"labels": "labels"}, "train.jsonl line 2: column 'labels'"),
        ({"labels": [[], None]}, {"labels": "labels"}, "column 'labels': found no row with a label"),
        ({"a": [0, 1], "b": [1, 2]}, {"labels": ["a", "b"]}, "train.jsonl line 2: column 'b' holds '2', expected 0 or 1"),
        ({"a": [0, 1]}, {"labels": ["a", "a"]}, "tasks.t.labels: found 'a' twice"),
        ({"angry": [0, 1]}, {"labels": ["anger"]}, "did you mean 'angry'"),
    ],
)
def test_what_cannot_be_labels_is_refused(columns, config, message):
    with pytest.raises(BadInput) as error:
        fitted("multilabel", corpus_of(**columns), **config)
    assert message in str(error.value)


def test_an_unknown_label_names_file_line_and_the_nearest():
    task = fitted("multilabel", corpus_of(labels=[["joy"], ["fear"]]), labels="labels")
    with pytest.raises(BadInput, match=r"v.jsonl line 2, column 'labels': found the label 'jooy'.*did you mean 'joy'"):
        task.targets(corpus_of(source="v.jsonl", labels=[["fear"], ["joy", "jooy"]]))


def test_the_loss_is_bce_with_weights_of_positives():
    corpus = corpus_of(labels=[["a"], ["a", "b"], [], [], None])
    task = fitted("multilabel", corpus, labels="labels", class_weights="balanced")
    assert task.learned.class_weights == [1.0, 3.0]  # negatives / positives
    logits, truth = torch.tensor([[0.3, -2.0], [1.0, 0.1]]), torch.tensor([[True, False], [False, True]])
    p = torch.sigmoid(logits)
    by_hand = -torch.stack([p[0, 0].log(), (1 - p[0, 1]).log(), (1 - p[1, 0]).log(), 3 * p[1, 1].log()]).mean()
    torch.testing.assert_close(task.criterion().loss(logits, truth), by_hand)
    assert fitted("multilabel", corpus, labels="labels", class_weights={"b": 2}).learned.class_weights == [1.0, 2.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from(["f1_micro", "f1_macro", "f1_weighted", "accuracy"]))
def test_the_quality_of_every_threshold_is_that_of_scikit_learn(seed, size, metric):
    generator = np.random.default_rng(seed)
    scores = generator.choice([generator.random((12, size)), np.full((12, size), CANDIDATES[50])]).astype(np.float32)
    true = generator.random((12, size)) < 0.4
    true[0, 0] = True
    quality = threshold_quality(true, scores, metric)
    for at in range(0, len(CANDIDATES), 15):
        predicted = scores >= np.float32(CANDIDATES[at])
        if metric == "accuracy":
            expected = accuracy_score(true[:, 0], predicted[:, 0]) if size == 1 else accuracy_score(true, predicted)
        elif size == 1:
            expected = f1_score(true[:, 0], predicted[:, 0], zero_division=0)
        else:
            expected = f1_score(true, predicted, average=metric[3:], zero_division=0)
        assert quality[at] == pytest.approx(expected), CANDIDATES[at]


def multilabel_task(**config):
    return MultilabelTask("t", MultilabelConfig(labels="labels", **config), ["a", "b", "c"], MultilabelLearned())


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "accuracy"])
def test_tuning_finds_the_best_threshold_for_the_monitored_metric_and_decoding_uses_it(metric):
    generator = np.random.default_rng(1)
    logits = generator.standard_normal((400, 3)) - 3
    true = generator.random((400, 3)) < 1 / (1 + np.exp(-logits))
    task = multilabel_task(metric=metric)
    criterion, targets = task.criterion(), Targets(true, np.arange(400) % 10 > 0)
    before = task.score(criterion.decode(logits), targets)[metric]
    chosen = task.tune(torch.from_numpy(logits), targets)
    assert task.learned.threshold != 0.5
    after = task.score(criterion.decode(logits), targets)[metric]
    assert after >= before
    assert chosen == {
        "threshold": task.learned.threshold,
        "untuned_threshold": 0.5,
        "metric": metric,
        "tuned": pytest.approx(after),
        "untuned": pytest.approx(before),
    }
    tuned = task.learned.threshold
    for threshold in CANDIDATES[::5].tolist():
        task.learned.threshold = threshold
        assert task.score(criterion.decode(logits), targets)[metric] <= after + 1e-12
    task.learned.threshold = tuned
    again = Task.from_state("t", json.loads(json.dumps(task.state())))
    assert np.array_equal(again.criterion().decode(logits).values, criterion.decode(logits).values)


def measured(true, predicted, metric):
    if metric == "accuracy":
        return accuracy_score(true, predicted)
    return f1_score(true, predicted, average=metric[3:], zero_division=0)


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "f1_weighted", "accuracy"])
def test_labels_with_enough_positives_have_a_threshold_of_their_own(metric):
    generator = np.random.default_rng(3)
    logits = (generator.standard_normal((300, 3)) * 2 - 1).astype(np.float32)
    true = generator.random((300, 3)) < 1 / (1 + np.exp(-logits * np.array([1.0, 3.0, 1.0]) - np.array([1.5, -1.0, 0.0])))
    true[:, 2] = np.arange(300) < POSITIVES - 1
    task = multilabel_task(threshold="per_label", metric=metric)
    chosen = task.tune(logits, Targets(true, np.ones(300, bool)))
    scores, own = torch.sigmoid(torch.from_numpy(logits)).numpy(), np.array(chosen["thresholds"], np.float32)
    assert chosen["thresholds"][2] == task.learned.threshold == chosen["threshold"] and len({*own}) > 1
    best = measured(true, scores >= own, metric)
    assert chosen["tuned"] == pytest.approx(best) and chosen["metric"] == metric
    assert best > measured(true, scores >= np.float32(chosen["threshold"]), metric)
    for label in (0, 1):  # no other threshold of one label is better
        for candidate in CANDIDATES[::4]:
            other = own.copy()
            other[label] = candidate
            assert measured(true, scores >= other, metric) <= best + 1e-12
    alone = multilabel_task(metric=metric).tune(logits, Targets(true, np.ones(300, bool)))
    assert alone == {key: value for key, value in chosen.items() if key != "thresholds"} | {"tuned": alone["tuned"]}


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "accuracy"])
def test_of_equally_good_thresholds_of_a_label_the_one_nearest_the_shared_one_is_taken(metric):
    true = np.repeat([[True], [False]], POSITIVES, axis=0)
    scores = np.repeat(np.float32([[0.9], [0.1]]), POSITIVES, axis=0)
    for shared in CANDIDATES[[10, 50, 118]]:
        [found] = label_thresholds(true, scores, shared, metric)
        right = CANDIDATES[(CANDIDATES > 0.1) & (CANDIDATES <= 0.9)]
        assert found == right[np.abs(right - shared).argmin()]


def test_a_threshold_that_is_given_or_has_nothing_to_go_by_stays():
    logits, true = np.zeros((2, 3)) - 2, np.array([[True, False, False], [False, True, False]])
    fixed = fitted("multilabel", corpus_of(labels=[["a"], ["b", "c"]]), labels="labels", threshold=0.3)
    assert fixed.tune(logits, Targets(true, np.ones(2, bool))) == {} and fixed.learned.threshold == 0.3
    task = multilabel_task()
    task.tune(logits, Targets(np.zeros((2, 3), bool), np.ones(2, bool)))
    assert task.learned.threshold == 0.5
    task = multilabel_task(metric="average_precision")  # wants no threshold: micro F1 decides
    task.tune(logits, Targets(true, np.ones(2, bool)))
    assert task.learned.threshold <= 0.12


def test_of_equally_good_thresholds_the_one_nearest_one_half_is_taken():
    task = multilabel_task()
    task.tune(np.array([[2.0, -2.0, -2.0]]), Targets(np.array([[True, False, False]]), np.ones(1, bool)))
    assert task.learned.threshold == 0.5


def test_a_label_at_the_threshold_holds():
    assert multilabel_task().criterion().decode(np.array([[0.0, -0.01, 0.01]])).values.tolist() == [[True, False, True]]


def test_presenting_and_scoring():
    corpus = corpus_of(labels=[["a", "b"], [], None])
    task = fitted("multilabel", corpus, labels="labels")
    decoded = task.criterion().decode(np.array([[1.0, 2.0], [-1.0, -1.0], [3.0, -3.0]]))
    shown = task.present(decoded, corpus)
    assert [row["labels"] for row in shown] == [["a", "b"], [], ["a"]]
    assert shown[2]["scores"] == pytest.approx({"a": 0.952574, "b": 0.047426}, abs=1e-5)
    result = task.score(decoded, task.targets(corpus))
    assert result["accuracy"] == 1.0 and result["f1_micro"] == 1.0
    assert {name for name, value in result.items() if not isinstance(value, dict)} == set(task.metric_names())
    assert task.monitor == "f1_micro" and task.higher_is_better
    json.dumps(shown)


@pytest.mark.parametrize(
    "config", [{"threshold": 0}, {"threshold": 1.0}, {"threshold": "best"}, {"separator": ""}, {"label": "x"}]
)
def test_bad_keys_are_refused(config):
    with pytest.raises(ValidationError):
        MultilabelConfig(labels="labels", **config)


def test_weights_are_those_of_the_rows_learned_from_and_labels_those_of_all():
    task = fitted("multilabel", corpus_of(y=[["a"], ["a", "b"], ["c"], []]), labels="y", class_weights="balanced")
    rest = corpus_of(y=[["a"], ["a"], ["a", "b"], [], None])
    task.learn(rest)
    assert task.labels == ["a", "b", "c"] and task.learned.class_weights == pytest.approx([1 / 3, 3, 1])
    assert task.absent_labels(task.targets(rest)) == ["c"]


@pytest.mark.parametrize("weights", ["none", {"a": 3.0, "b": 0.5}])
def test_the_first_logits_are_the_constant_ones_with_the_least_loss(weights):
    rows = [["a"]] * 900 + [["a", "b"]] * 40 + [[]] * 1060 + [None] * 500
    corpus = corpus_of(labels=rows)
    task = fitted("multilabel", corpus, labels="labels", class_weights=weights)
    targets = task.targets(corpus)
    first = task.first_logits(targets).requires_grad_()
    present = torch.from_numpy(targets.values[targets.present])
    task.criterion().loss(first.expand(len(present), 2), present).backward()
    assert first.grad.abs().max() < 2e-4 and first[0] > first[1]
    shifted = (first.detach() + 0.1).requires_grad_()
    task.criterion().loss(shifted.expand(len(present), 2), present).backward()
    assert (shifted.grad.abs() > 4 * first.grad.abs()).all()


def test_the_first_logits_of_a_label_that_all_or_no_rows_have_are_finite():
    corpus = corpus_of(all=[1, 1, 1], none=[0, 0, 0])
    task = fitted("multilabel", corpus_of(all=[1, 1, 0], none=[0, 1, 0]), labels=["all", "none"])
    assert task.first_logits(task.targets(corpus)).tolist() == pytest.approx([np.log(7), -np.log(7)])


def test_vectors_have_the_labels_of_their_places():
    rows = corpus_of(labels=[[0, 1, 0], [1, 1, 0], [0, 0, 0], None])
    task = fitted("multilabel", rows, labels="labels", class_weights="balanced")
    skipped = "1 of 4 rows has no value in column 'labels', and is skipped by 't'."
    assert task.findings(rows) == [skipped]
    holes = corpus_of(labels=[[0, 1, 0], [1, None, 0], [0, 0, 0], None])
    assert fitted("multilabel", holes, labels="labels").findings(holes) == [
        skipped, "1 of 4 rows has a missing value in the vector in column 'labels', and is skipped by 't'."
    ]  # fmt: skip
    assert task.labels == ["label_0", "label_1", "label_2"] and task.absent_labels(task.targets(rows)) == ["label_2"]
    assert task.targets(rows).values.astype(int).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
    (said,) = task.label_findings(rows)
    assert said.startswith("'t': column 'labels' holds vectors of 3 zeros and ones; their labels are called label_0 to label_2")
    named = fitted("multilabel", rows, labels="labels", label_list=["joy", "calm", "rage"])
    assert named.labels == ["joy", "calm", "rage"] and named.label_findings(rows) == []
    again = Task.from_state("t", json.loads(json.dumps(named.state())))
    assert again.targets(rows).values.astype(int).tolist() == task.targets(rows).values.astype(int).tolist()
    assert again.targets(corpus_of(labels=[["rage"], ["calm", "joy"]])).values.astype(int).tolist() == [[0, 0, 1], [1, 1, 0]]
    with pytest.raises(BadInput, match=r"train\.jsonl: column 'labels' holds vectors of 2 zeros and ones, expected 3"):
        again.targets(corpus_of(labels=[[0, 1]]))


def test_label_list_gives_order_and_room_and_is_of_one_column():
    corpus = corpus_of(labels=[["b"], ["a", "b"]])
    assert fitted("multilabel", corpus, labels="labels", label_list=["c", "b", "a"]).labels == ["c", "b", "a"]
    with pytest.raises(BadInput, match=r"line 2, column 'labels': found the label 'a', which is not among the 1 labels"):
        fitted("multilabel", corpus, labels="labels", label_list=["b"])
    with pytest.raises(BadInput, match=r"tasks\.t\.label_list: found 'a' twice"):
        fitted("multilabel", corpus, labels="labels", label_list=["a", "b", "a"])
    with pytest.raises(ValidationError, match="label_list names the labels of one column"):
        MultilabelConfig(labels=["a", "b"], label_list=["a", "b"])


def test_what_is_skipped_or_taken_for_none_is_counted():
    ticks = corpus_of(a=["1", None, None, "1"], b=[None, "1", None, None], c=["0", "1", "0", None])
    task = fitted("multilabel", ticks, labels=["a", "b"])
    assert task.findings(ticks) == ["5 blank cells of 't' count as 0, in columns that hold nothing but 1 and blanks."]
    task = fitted("multilabel", ticks, labels=["a", "b", "c"])
    assert task.targets(ticks).present.tolist() == [True, True, True, False]
    assert task.findings(ticks) == [
        "1 of 4 rows has no value in column 'c', and is skipped by 't'. "
        "One blank skips a row; `blanks: 0` in the task reads a blank as 0.",
        "4 blank cells of 't' count as 0, in columns that hold nothing but 1 and blanks.",
    ]
    long = "Mentions: staff and "
    holes = corpus_of(
        **{f"{long}prices of the menu": ["1", None, "0", "n/a"], f"{long}places in the city": ["0", None, "1", "1"]}
    )
    names = [name for name in holes.table.columns if name != "text"]
    task = fitted("multilabel", holes, labels=names)
    assert task.targets(holes).present.tolist() == [True, False, True, False]
    assert task.findings(holes)[0].startswith(
        "2 of 4 rows have no value in one of 2 columns ('Mentions: staff and prices of the menu' 2, "
        "'Mentions: staff and places in the city' 1), 1 of them 'n/a', and are skipped by 't'. One blank skips a row;"
    )
    task = fitted("multilabel", holes, labels=names, blanks=0)
    assert task.targets(holes).values.tolist() == [[True, False], [False, False], [False, True], [False, True]]
    assert task.targets(holes).present.all()
    assert task.findings(holes) == ["3 blank cells of 't' count as 0, as `blanks: 0` says."]
    with pytest.raises(ValidationError, match="belongs to labels that lists columns of 0 and 1"):
        MultilabelConfig(labels="labels", blanks=0)
    lists = corpus_of(labels=[["a", "a", "", "b", None], ["b", "a"], None, []])
    assert fitted("multilabel", lists, labels="labels").findings(lists) == [
        "1 of 4 rows has no value in column 'labels', and is skipped by 't'. "
        "An empty list would say that a text has none of the labels.",
        "1 labels of 't' stand twice in one list, and count once.",
        "2 labels of 't' are blank, and left out.",
    ]
    divided = corpus_of(labels=["a;b", None, "nan", "b"])
    task = fitted("multilabel", divided, labels="labels", separator=";")
    assert task.labels == ["a", "b", "nan"] and len(task.label_findings(divided)) == 1
    opening = "1 of 4 rows have a blank cell or null in column 'labels', which with a separator means none of the labels;"
    choice = "'data.missing=[\"\"]' (in a config `missing: [\"\"]` under `data`, in Python missing=['']) makes them "
    choice += "missing values, and skips these rows."
    assert task.findings(divided) == [f"{opening} {choice}"]
    both = corpus_of(labels=["a;b", None, "", "b"])  # JSON lines tell them apart, CSV cannot
    assert task.findings(both) == [f"{opening} 1 more have an empty string, which means the same; {choice}"]
    task = fitted("multilabel", divided, labels="labels", separator=";", missing=["nan"])
    assert task.labels == ["a", "b"] and task.targets(divided).present.tolist() == [True, True, False, True]
    assert "1 of them 'nan'" in task.findings(divided)[0]
    task = fitted("multilabel", divided, labels="labels", separator=";", missing=[""])
    assert task.targets(divided).present.tolist() == [True, False, True, True]
    assert task.findings(divided) == ["1 of 4 rows has no value in column 'labels', and is skipped by 't'."]


def test_labels_that_training_lacks_are_missed_as_scikit_learn_counts_them():
    task = fitted("multilabel", corpus_of(labels=[["a", "b"], ["b"]]), labels="labels")
    corpus = corpus_of(labels=[["a"], ["new"], ["b", "new"], [], None, ["a", "b"]])
    targets = task.targets(corpus, Reading())
    assert targets.unseen == {"new": 2} and targets.unseen_rows == 2
    logits = np.array([[9, -9], [-9, 9], [-9, 9], [-9, -9], [9, 9], [9, -9]], np.float32)
    found = task.score(task.criterion().decode(logits), targets)
    gold = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]])
    said = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    for average in ("micro", "macro", "weighted"):
        assert found[f"f1_{average}"] == pytest.approx(f1_score(gold, said, average=average, zero_division=0))
    assert found["accuracy"] == pytest.approx(accuracy_score(gold, said))
    assert found["average_precision"] == pytest.approx(average_precision_score(gold, said, average="macro"))
    assert found["by_label"]["new"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2, "predicted": 0}
    assert task.for_loss(targets).values.shape == (6, 2)
    task.tune(logits, targets)  # counts what can never be found too
    assert 0 < task.learned.threshold < 1
    with pytest.raises(BadInput, match="'new'"):
        task.targets(corpus)
