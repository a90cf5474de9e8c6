import json

import numpy as np
import pytest
import torch
from tasktools import corpus_of, fitted

from trunkline.errors import BadInput
from trunkline.tasks import Task


def test_targets_are_standardised_in_the_loss_and_predictions_are_not():
    corpus = corpus_of(stars=[1, "2.5", None, 4.0, "-3e1"])
    task = fitted("regression", corpus, target="stars")
    targets = task.targets(corpus)
    numbers = np.array([1, 2.5, 4, -30])
    assert targets.present.tolist() == [True, True, False, True, True]
    assert targets.values[targets.present].tolist() == numbers.tolist()
    assert (task.learned.mean, task.learned.std) == pytest.approx((numbers.mean(), numbers.std()))
    standard = (numbers - numbers.mean()) / numbers.std()
    criterion, own = task.criterion(), torch.from_numpy(targets.values[targets.present])
    perfect = torch.tensor(standard, dtype=torch.float32)[:, None]
    assert float(criterion.loss(perfect, own)) < 1e-10
    assert float(criterion.loss(torch.zeros(4, 1), own)) == pytest.approx(1.0)  # the variance of standardised targets
    np.testing.assert_allclose(criterion.decode(perfect).values, numbers, rtol=1e-5)


def test_large_numbers_far_from_zero_keep_their_differences():
    years = [1_700_000_000 + i for i in range(5)]
    corpus = corpus_of(t=years)
    task = fitted("regression", corpus, target="t")
    standard = (np.array(years) - np.mean(years)) / np.std(years)
    loss = task.criterion().loss(torch.tensor(standard, dtype=torch.float32)[:, None], torch.tensor(years, dtype=torch.float64))
    assert float(loss) < 1e-10


@pytest.mark.parametrize(
    "values, message",
    [
        ([1, "many"], "train.jsonl line 2: column 'y' holds a string, expected a finite number"),
        ([1, True], "train.jsonl line 2: column 'y' holds a truth value"),
        ([1, float("inf")], "train.jsonl line 2: column 'y'"),
        ([1, 10**400], "train.jsonl line 2: column 'y'"),
        ([1, [2]], "train.jsonl line 2: column 'y' holds a list"),
        ([2, 2.0, None], "train.jsonl, column 'y': found numbers from 2 to 2, expected ones that differ"),
        ([None, None], "found no row with a label"),
        ([1e308, -1e308], "expected ones that differ, by less than 1e150"),
    ],
)
def test_what_are_no_numbers_is_refused(values, message):
    with pytest.raises(BadInput) as error:
        fitted("regression", corpus_of(y=values), target="y")
    assert message in str(error.value)


def test_mean_and_deviation_are_those_of_the_rows_learned_from():
    task = fitted("regression", corpus_of(y=[1, 2, 3, 1000]), target="y")
    task.learn(corpus_of(y=[1, None, 2, 3]))
    assert (task.learned.mean, task.learned.std) == pytest.approx((2, np.std([1, 2, 3])))
    with pytest.raises(BadInput, match="found numbers from 2 to 2, expected ones that differ"):
        task.learn(corpus_of(y=[2, 2]))
    assert task.absent_labels(task.targets(corpus_of(y=[2, 2]))) == []


def test_strata_are_tenths_of_the_rows():
    corpus = corpus_of(y=[*range(100), None])
    strata = fitted("regression", corpus, target="y").strata(corpus)
    assert strata[-1] == "" and [strata.count(str(i)) for i in range(10)] == [10] * 10
    assert len(set(fitted("regression", corpus, target="y").strata(corpus_of(y=[0] * 9 + [1])))) == 2


def test_score_present_state_and_monitor():
    corpus = corpus_of(y=[1.0, 2.0, 3.0, None])
    task = fitted("regression", corpus, target="y")
    decoded = task.criterion().decode(np.array([[-1.0], [0.0], [1.0], [9.0]]))
    result = task.score(decoded, task.targets(corpus))
    assert result["pearson"] == pytest.approx(1)
    assert {name for name, value in result.items() if not isinstance(value, dict)} == set(task.metric_names())
    assert task.outputs == 1 and task.monitor == "pearson" and task.higher_is_better
    assert not fitted("regression", corpus, target="y", metric="mae").higher_is_better
    shown = task.present(decoded, corpus)
    assert shown[1] == {"value": pytest.approx(2.0)}
    again = Task.from_state("t", json.loads(json.dumps(task.state())))
    assert again.present(again.criterion().decode(np.array([[0.5]])), corpus) == task.present(
        task.criterion().decode(np.array([[0.5]])), corpus
    )
    for learned in ({"mean": 0.0, "std": 0.0}, {"mean": 0.0}, {"mean": None, "std": 1.0}):
        with pytest.raises(BadInput, match="state of task 't'"):
            Task.from_state("t", {**task.state(), "learned": learned})


def test_missing_numbers_are_counted_and_the_notation_is_told():
    corpus = corpus_of(y=["1,5", "N/A", "2", None, float("nan"), "-"])
    task = fitted("regression", corpus, target="y")
    assert task.targets(corpus).present.tolist() == [True, False, True, False, False, False]
    assert task.findings(corpus) == [
        "4 of 6 rows have no value in column 'y', 1 of them 'N/A', 1 of them '-', and are skipped by 't'."
    ]
    assert task.label_findings(corpus) == ["'t': the numbers of column 'y' were read with a decimal comma."]
    given = corpus_of(y=[1.0, -999.0, 2.0])
    task = fitted("regression", given, target="y", missing=["-999"])
    assert task.learned.mean == 1.5 and "1 of 3 rows" in task.findings(given)[0] and task.label_findings(given) == []
