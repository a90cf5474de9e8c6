import datetime
import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from tasktools import corpus_of, fitted

from trunkline.errors import BadInput
from trunkline.tasks import Task, labels
from trunkline.tasks.labels import Reading
from trunkline.tasks.sequence import SequenceConfig


def test_labels_are_sorted_and_missing_rows_are_absent():
    corpus = corpus_of(label=["b", None, "a", "b", ""])
    task = fitted("sequence", corpus, label="label")
    assert task.labels == ["a", "b"] and task.outputs == 2 and task.answers.level == "text" and task.columns() == ["label"]
    targets = task.targets(corpus)
    assert targets.values[targets.present].tolist() == [1, 0, 1]
    assert targets.present.tolist() == [True, False, True, True, False]
    assert task.strata(corpus) == ["b", "", "a", "b", ""]


def test_numbers_and_booleans_are_labels_as_json_writes_them():
    assert fitted("sequence", corpus_of(label=[1, 0, 10]), label="label").labels == ["0", "1", "10"]
    assert fitted("sequence", corpus_of(label=[True, False]), label="label").labels == ["false", "true"]
    config = SequenceConfig(label="label", label_list=[1, 0], class_weights={0: 2, True: 1.0})
    assert config.label_list == ["1", "0"] and config.class_weights == {"0": 2.0, "true": 1.0}
    days = SequenceConfig(label="label", label_list=[datetime.date(2020, 1, 1), 2.0, 0.5, b"x"])
    assert days.label_list == ["2020-01-01", "2", "0.5", "x"]


def test_a_list_of_labels_gives_order_and_room_for_unseen_ones():
    corpus = corpus_of(label=["b", "a"])
    task = fitted("sequence", corpus, label="label", label_list=["c", "b", "a"], class_weights="balanced")
    assert task.labels == ["c", "b", "a"]
    assert task.targets(corpus_of(label=["c"])).values.tolist() == [0]
    said = r"found the label 'a', which is not among the 2 labels of the task; expected one of 'b', 'c'"
    with pytest.raises(BadInput, match=rf"train.jsonl line 2, column 'label': {said}"):
        fitted("sequence", corpus, label="label", label_list=["b", "c"])
    with pytest.raises(BadInput, match=r"tasks.t.label_list: found 'a' twice"):
        fitted("sequence", corpus, label="label", label_list=["a", "b", "a"])


@pytest.mark.parametrize(
    "values, message",
    [
        (["a", "a"], "train.jsonl, column 'label': found only the label 'a', expected at least two"),
        ([None, None], "train.jsonl, column 'label': found no row with a label"),
        (["a", ["b", "c"]], "train.jsonl line 2: column 'label' holds a list"),
        (["a", 0.5], "train.jsonl line 2: column 'label'"),
    ],
)
def test_what_cannot_be_labels_is_refused(values, message):
    with pytest.raises(BadInput) as error:
        fitted("sequence", corpus_of(label=values), label="label")
    assert message in str(error.value)


def test_a_missing_column_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'label'"):
        fitted("sequence", corpus_of(label=["a", "b"]), label="lable")


def test_an_unknown_label_names_file_line_and_the_nearest():
    task = fitted("sequence", corpus_of(label=["happy", "sad"]), label="label")
    with pytest.raises(BadInput, match=r"test.jsonl line 2, column 'label': found the label 'hapy'.*did you mean 'happy'\?"):
        task.targets(corpus_of(source="test.jsonl", label=["sad", "hapy"]))
    with pytest.raises(BadInput) as error:  # a column of texts taken for labels is not printed whole
        task.targets(corpus_of(label=["a private text " * 20]))
    assert len(str(error.value)) < 200


def test_balanced_and_named_class_weights():
    values = ["a"] * 6 + ["b"] * 3 + ["c"]
    corpus = corpus_of(label=[*values, None])
    task = fitted("sequence", corpus, label="label", class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=values)
    assert task.learned.class_weights == pytest.approx(expected.tolist())
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    loss = torch.nn.functional.cross_entropy(logits, targets, weight=torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(task.criterion().loss(logits, targets), loss)
    assert fitted("sequence", corpus, label="label", class_weights={"b": 3}).learned.class_weights == [1.0, 3.0, 1.0]
    with pytest.raises(BadInput, match=r"tasks.t.class_weights: found the label 'bb'.*did you mean 'b'"):
        fitted("sequence", corpus, label="label", class_weights={"bb": 3})


def test_focal_lowers_the_share_of_easy_rows():
    task = fitted("sequence", corpus_of(label=["a", "b"]), label="label", loss="focal")
    assert task.config.gamma == 2.0
    logits = torch.tensor([[3.0, 0.0]])
    p = torch.softmax(logits, 1)[0, 0]
    torch.testing.assert_close(task.criterion().loss(logits, torch.tensor([0])), -((1 - p) ** 2) * p.log())


@pytest.mark.parametrize(
    "config",
    [
        {"loss": "hinge"}, {"gamma": 2.0}, {"loss": "focal", "gamma": -1}, {"class_weights": {"a": 0}},
        {"class_weights": "even"}, {"weights": "balanced"}, {"label_list": []},
    ],
)  # fmt: skip
def test_bad_keys_are_refused(config):
    with pytest.raises(ValidationError):
        SequenceConfig(label="label", **config)


def test_decoding_scoring_and_presenting():
    corpus = corpus_of(label=["a", "b", None])
    task = fitted("sequence", corpus, label="label")
    decoded = task.criterion().decode(np.log(np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])))
    result = task.score(decoded, task.targets(corpus))
    assert result["accuracy"] == 0.5 and result["recall"] == 0.0
    assert {name for name, value in result.items() if not isinstance(value, dict)} == set(task.metric_names())
    shown = task.present(decoded, corpus)
    assert [row["label"] for row in shown] == ["a", "a", "b"]
    assert shown[2]["score"] == pytest.approx(0.8) and shown[2]["scores"] == pytest.approx({"a": 0.2, "b": 0.8})
    json.dumps(shown)


def test_the_monitor():
    corpus = corpus_of(label=["a", "b", "c"])
    task = fitted("sequence", corpus, label="label")
    assert task.monitor == "accuracy" and task.higher_is_better
    assert fitted("sequence", corpus, label="label", metric="f1_macro").monitor == "f1_macro"
    assert not fitted("sequence", corpus, label="label", metric="loss").higher_is_better
    with pytest.raises(BadInput, match=r"tasks.t.metric: unknown name 'f1_marco'; did you mean 'f1_macro'"):
        fitted("sequence", corpus, label="label", metric="f1_marco")
    with pytest.raises(BadInput, match=r"tasks.t.metric"):  # only of two labels
        fitted("sequence", corpus, label="label", metric="recall")


def test_state_goes_through_json():
    corpus = corpus_of(label=["b", "a", "ü"])
    task = fitted("sequence", corpus, label="label", class_weights="balanced", loss="focal", gamma=1.5, metric="f1_macro")
    again = Task.from_state("t", json.loads(json.dumps(task.state())))
    assert again.state() == task.state() and type(again) is type(task)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2])
    assert torch.equal(again.criterion().loss(logits, targets), task.criterion().loss(logits, targets))
    assert not task.criterion().state_dict()  # weights of classes belong to the state, not to the tensors


def test_state_is_refused_where_it_does_not_fit():
    good = fitted("sequence", corpus_of(label=["a", "b"]), label="label", class_weights="balanced").state()
    for change, message in [
        ({"schema_version": 2}, "found schema version 2, expected 1"),
        ({"kind": "sequnce"}, "did you mean 'sequence'"),
        ({"labels": ["a"]}, "found 1 labels and 2 weights"),
        ({"labels": ["a", "a"]}, "labels: found one twice"),
        ({"labels": [1, 2]}, "labels.0"),
        ({"extra": 1}, "extra"),
        ({"learned": {"class_weights": [1.0, float("nan")]}}, "class_weights.1"),
        ({"config": {"kind": "sequence"}}, "label"),
    ]:
        with pytest.raises(BadInput) as error:
            Task.from_state("t", {**good, **change})
        assert message in str(error.value)
    for state in ({k: v for k, v in good.items() if k != "labels"}, [], None):
        with pytest.raises(BadInput):
            Task.from_state("t", state)


def test_weights_are_those_of_the_rows_learned_from_and_labels_those_of_all():
    task = fitted("sequence", corpus_of(y=["a", "a", "b", "c", None]), label="y", class_weights="balanced")
    rest = corpus_of(y=["a", "a", "a", "b", None])
    task.learn(rest)
    assert task.labels == ["a", "b", "c"] and task.learned.class_weights == pytest.approx([4 / 9, 4 / 3, 1])
    assert task.absent_labels(task.targets(rest)) == ["c"]
    named = fitted("sequence", corpus_of(y=["a", "b"]), label="y", class_weights={"b": 3})
    named.learn(corpus_of(y=["a", "a"]))
    assert named.learned.class_weights == [1, 3]


def test_rows_without_a_label_are_counted_and_named_by_what_stands_there():
    corpus = corpus_of(label=["1", None, "2", "N/A", " ", "1", "n/a", float("nan"), "N/A"])
    task = fitted("sequence", corpus, label="label")
    assert task.labels == ["1", "2"]
    said = "6 of 9 rows have no value in column 'label', 2 of them 'N/A', 1 of them 'n/a', and are skipped by 't'."
    assert task.findings(corpus) == [said]
    assert task.findings(corpus.table and corpus_of(label=["1", "2"])) == []
    other = corpus_of(label=["yes", "unknown", "no", "nan"])
    task = fitted("sequence", other, label="label", missing=["unknown", "nan"])
    assert task.labels == ["no", "yes"] and "1 of them 'unknown'" in task.findings(other)[0]
    assert task.label_findings(other) == []
    assert Task.from_state("t", json.loads(json.dumps(task.state()))).targets(other).present.tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_labels_that_may_stand_for_a_missing_value_are_told():
    corpus = corpus_of(label=["yes", "nan", "no", "nan", "N/A"])
    task = fitted("sequence", corpus, label="label")
    assert task.labels == ["N/A", "nan", "no", "yes"] and task.findings(corpus) == []
    (said,) = task.label_findings(corpus)
    assert said.startswith("'t': 'N/A' (1) and 'nan' (2) count as labels, but often stand for a missing value; ")
    assert said.endswith(
        "; 'data.missing=[N/A, nan]' (in a config `missing: [N/A, nan]` under `data`, in Python "
        "missing=['N/A', 'nan']) skips these rows."
    )
    assert fitted("sequence", corpus, label="label", missing=[]).label_findings(corpus) == []
    listed = fitted("sequence", corpus, label="label", label_list=["yes", "no", "nan", "N/A"])
    assert listed.label_findings(corpus) == []
    among_numbers = corpus_of(label=["1", "NA", "2"])
    assert fitted("sequence", among_numbers, label="label").labels == ["1", "2"]
    task = fitted("sequence", among_numbers, label="label", label_list=["1", "2", "NA"])
    assert task.targets(among_numbers).values.tolist() == [0, 2, 1] and task.findings(among_numbers) == []
    assert SequenceConfig(label="label", missing="nan").missing == ["nan"]


def test_labels_that_differ_only_in_case_or_blanks_are_told_and_kept():
    corpus = corpus_of(label=["Pos", "pos ", "neg", "x  y", "X y", "neg"])
    task = fitted("sequence", corpus, label="label")
    assert task.labels == ["Pos", "X y", "neg", "pos ", "x  y"]
    assert task.label_findings(corpus) == [
        "'t': labels that differ only in case or blanks count as different ones (2 cases): 'Pos' and 'pos '; 'X y' and 'x  y'; "
        "if they are one, write them alike in the data."
    ]
    many = corpus_of(label=["SECRET", "secret", *(f"SECRET{i}" for i in range(100))])
    assert "SECRET" not in fitted("sequence", many, label="label").label_findings(many)[0]


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        (["False", "True"], [True, False]),
        (["false", "true"], ["False", "TRUE"]),
        (["0.0", "1.0"], [0, 1]),
        (["1.0", "1.5"], ["1.0", "1"]),
    ],
)
def test_a_task_knows_its_labels_in_any_spelling_of_truth_values_and_whole_numbers(earlier, now):
    """Those of branches of earlier versions, which kept what CSV said, and those of a list in the config."""
    state = fitted("sequence", corpus_of(label=["a", "b"]), label="label").state()
    task = Task.from_state("t", {**state, "labels": earlier})
    values = task.targets(corpus_of(label=now)).values.tolist()
    assert [earlier[value].lower().removesuffix(".0") for value in values] == [
        str(one).lower().removesuffix(".0") for one in now
    ]
    listed = fitted("sequence", corpus_of(label=now), label="label", label_list=earlier, class_weights={earlier[1]: 3})
    assert listed.labels == earlier and listed.learned.class_weights == [1.0, 3.0]


def test_labels_that_training_lacks_count_as_errors_as_scikit_learn_counts_them():
    task = fitted("sequence", corpus_of(label=["no", "yes"]), label="label")
    true = ["no", "maybe", "yes", None, "yes", "maybe", "never", "no"]
    corpus = corpus_of(source="v.jsonl", label=true)
    targets = task.targets(corpus, Reading())
    assert targets.unseen == {"maybe": 2, "never": 1} and targets.unseen_rows == 3 and targets.present.sum() == 7
    assert task.unseen_labels(targets) == [
        "3 rows have labels that 't' was not trained on and count as errors: 'maybe' (2), 'never' (1)."
    ]
    predicted = ["no", "no", "yes", "no", "no", "yes", "no", "no"]
    logits = np.eye(2, dtype=np.float32)[[task.labels.index(label) for label in predicted]] * 9
    found = task.score(task.criterion().decode(logits), targets)
    gold, said = zip(*((g, p) for g, p in zip(true, predicted, strict=True) if g is not None), strict=True)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(gold, said))
    for average in ("macro", "weighted", "micro"):
        assert found[f"f1_{average}"] == pytest.approx(sk.f1_score(gold, said, average=average, zero_division=0))
    assert found["f1"] == pytest.approx(sk.f1_score(gold, said, labels=["yes"], average=None)[0])
    assert {label: row["support"] for label, row in found["by_label"].items()} == {"no": 2, "yes": 2, "maybe": 2, "never": 1}
    known = task.for_loss(targets)
    assert known.present.tolist() == [True, False, True, False, True, False, False, True]
    with pytest.raises(BadInput, match=r"v.jsonl line 2, column 'label': found the label 'maybe'"):
        task.targets(corpus)
    renamed = task.targets(corpus, Reading(count=False, names={"maybe": "no", "never": "no"}))
    assert renamed.values[renamed.present].tolist() == [0, 0, 1, 1, 0, 0, 0]


def test_rows_that_have_none_of_the_labels_are_refused_and_texts_are_never_named():
    task = fitted("sequence", corpus_of(label=["no", "yes"]), label="label")
    with pytest.raises(BadInput, match=r"'never', which is not among.*the task has none of the labels that are found there"):
        task.targets(corpus_of(label=["never", "ever"]), Reading())
    long = "SECRET words of a text that somebody took for a label by mistake"
    targets = task.targets(corpus_of(label=["no", long]), Reading())
    assert task.unseen_labels(targets) == ["1 row has labels that 't' was not trained on and count as errors: 1 labels."]


def test_labels_with_blanks_are_named_whole_unless_they_may_be_texts():
    names = ["brand new account", "close it"]
    assert "'brand new account' (15)" in labels.unseen_sentence("topic", ["open", "close it"], {names[0]: 15}, 15)
    assert "found the label 'brand new account'" in str(labels.unknown_label("x.csv", names[0], ["open", "close it"]))
    text = "I have been waiting for my new card for weeks"
    assert "waiting" not in str(labels.unknown_label("x.csv", text, names))
