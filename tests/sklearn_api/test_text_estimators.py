"""The estimators among scikit-learn's own tools: pipelines, searches, cross-validation, pickles, types of y."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from synthetic import MOODS, row
from tiny import WORDS

from trunkline.errors import BadInput
from trunkline.sklearn import TextClassifier, TextRegressor, TokenTagger
from trunkline.states import live
from trunkline.training import resumable
from trunkline.trunk import shared

DRAW = random.Random(1)
ROWS = [row(DRAW) for _ in range(90)]
TEXTS = [one["text"] for one in ROWS]
LABELS = np.array([one["label"] for one in ROWS])
STARS = np.array([one["stars"] for one in ROWS])
TOPICS = [one["topics"] for one in ROWS]


@pytest.fixture
def settings(tiny_trunk_dir):
    return {
        "method": {"name": "probe"},
        "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"},
        "epochs": 1,
        "learning_rate": 0.03,
    }


def learned(settings):
    method = {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4}
    return settings | {"method": method, "epochs": 8, "learning_rate": 0.03, "training": {"batch_tokens": 64}}


def test_it_learns_and_answers_like_its_bundle(settings):
    model = TextClassifier(**learned(settings) | {"epochs": 14})
    assert model.fit(TEXTS, LABELS) is model
    assert model.classes_.tolist() == ["negative", "positive"]
    assert model.score(TEXTS, LABELS) > 0.7
    assert model.score(TEXTS, LABELS) == accuracy_score(LABELS, model.predict(TEXTS))
    shares = model.predict_proba(TEXTS)
    answers = [answer["label"] for answer in model.bundle_.predict(TEXTS)]
    assert shares.shape == (90, 2) and np.allclose(shares, [list(answer["scores"].values()) for answer in answers])
    assert model.predict(TEXTS).tolist() == [answer["label"] for answer in answers]
    assert set(model.validation_scores_) > {"loss", "accuracy"} and isinstance(model.findings_, list)
    shares = TextClassifier(**settings).fit(TEXTS, LABELS).predict_proba(TEXTS)
    again = TextClassifier(**settings).fit(TEXTS, LABELS)
    assert np.array_equal(again.predict_proba(TEXTS), shares)
    other = TextClassifier(**settings | {"random_state": 5}).fit(TEXTS, LABELS)
    assert not np.array_equal(other.predict_proba(TEXTS), shares)


CLASSES = {
    "strings": (["negative", "positive"], str),
    "whole numbers": ([10, 9], np.int64),
    "negative numbers": ([-1, 1], np.int8),
    "truth values": ([True, False], bool),
    "whole floats": ([1.0, 2.0], np.float64),
    "objects": (["b", "a"], object),
    "numbers as strings": (["1.0", "2.0"], str),
    "a number and a word that files read as missing": (["1", "nan"], str),
    "truth values as strings": (["True", "False"], object),
    "blanks around": ([" a", "a"], str),
    "words that files read as missing": (["nan", "NA"], object),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_labels_come_back_in_their_own_type(kind, settings):
    (first, second), dtype = CLASSES[kind]
    y = np.array([first if label == "negative" else second for label in LABELS], dtype=dtype)
    model = TextClassifier(**settings).fit(TEXTS[:40], y[:40])
    found = model.predict(TEXTS)
    assert model.classes_.dtype == y.dtype and model.classes_.tolist() == sorted({first, second})
    assert found.dtype == y.dtype and set(found.tolist()) <= {first, second}
    assert model.predict_proba(TEXTS).argmax(axis=1).tolist() == [model.classes_.tolist().index(one) for one in found.tolist()]
    assert (
        model.predict(["", " "]).shape == (2,) and np.isfinite(model.predict_proba(["", " "])).all()
    )  # a class for every sample
    task = model.bundle_.branches["label"].task
    if y.dtype.kind in "iufb":  # those of its bundle, too
        shown = model.bundle_.predict(TEXTS[0])["label"]["label"]
        assert isinstance(shown, bool if kind == "truth values" else int) and shown in {first, second}
    if kind == "whole numbers":
        assert task.labels == ["9", "10"]  # in the order of classes_, not of the names


def test_several_labels_as_a_matrix_or_as_lists(settings):
    names = ["film", "music", "table"]
    matrix = np.array([[name in row for name in names] for row in TOPICS]).astype(int)
    both = [TextClassifier(**settings).fit(TEXTS, y) for y in (matrix, TOPICS)]
    assert both[0].classes_.tolist() == [0, 1, 2] and both[1].classes_.tolist() == names
    assert np.allclose(both[0].predict_proba(TEXTS), both[1].predict_proba(TEXTS), atol=0.5)
    found = both[0].predict(TEXTS)
    assert found.shape == matrix.shape and set(np.unique(found)) <= {0, 1}
    assert both[0].score(TEXTS, matrix) == accuracy_score(matrix, found)
    lists = both[1].predict(TEXTS)
    assert all(isinstance(row, list) and set(row) <= set(names) for row in lists)
    right = sum(sorted(one) == sorted(two) for one, two in zip(lists, TOPICS, strict=True)) / len(TOPICS)
    assert both[1].score(TEXTS, TOPICS) == pytest.approx(right)
    assert both[1].score(TEXTS[:2], [["opera"], ["opera"]]) == 0  # never seen, so never right
    spread = TextClassifier(**settings).fit(TEXTS, sparse.csr_matrix(matrix))
    assert spread.predict(TEXTS).shape == matrix.shape


def test_a_label_that_no_row_has_keeps_its_column(settings):
    matrix = np.array([[0, 1], [0, 0]] * 20)
    model = TextClassifier(**settings).fit(TEXTS[:40], matrix)
    assert model.predict_proba(TEXTS).shape == (90, 2)
    lists = TextClassifier(**settings).fit(TEXTS[:4] * 5, [["text"], ["weight", "text"], [], ["weight"]] * 5)
    assert lists.classes_.tolist() == ["text", "weight"]
    numbers = TextClassifier(**settings).fit(TEXTS[:4] * 5, [[7], [8, 7], [], [8]] * 5)
    assert all(isinstance(label, int) for label in numbers.bundle_.predict(TEXTS[0])["label"]["scores"])


def test_a_regressor_answers_in_the_units_of_y(settings):
    model = TextRegressor(**settings).fit(TEXTS, 1000 * STARS)
    found = model.predict(TEXTS)
    assert found.dtype == np.float64 and found.shape == (90,)
    assert model.score(TEXTS, 1000 * STARS) == pytest.approx(r2_score(1000 * STARS, found))
    assert np.isfinite(model.predict(["", TEXTS[0]])).all()
    assert abs(found.mean() - 1000 * STARS.mean()) < 1000 * STARS.std()


def test_a_tagger_gives_a_tag_for_each_word(settings):
    words, tags = [one["tokens"] for one in ROWS], [one["tags"] for one in ROWS]
    model = TokenTagger(**learned(settings)).fit(words, tags)
    found = model.predict(words)
    assert [len(one) for one in found] == [len(one) for one in words]
    assert model.classes_.tolist() == ["O", "B-city", "I-city"]
    assert model.score(words, tags) > 0.4
    assert any(tag == "B-city" for row in found for tag in row) and {tag for row in found for tag in row} <= set(model.classes_)
    shares = model.predict_proba(words[:3])
    assert [one.shape for one in shares] == [(len(one), 3) for one in words[:3]]
    assert model.predict([["in", "paris"], []]).tolist() == [model.predict([["in", "paris"]])[0], []]
    assert len(cross_val_score(TokenTagger(**settings), words[:40], tags[:40], cv=2, error_score="raise")) == 2


@pytest.mark.parametrize(("city", "other"), [("LOC", "O"), ("NOUN", "X")])
def test_tags_without_prefixes_come_back_without(settings, tmp_path, city, other):
    words = [text.split() for text in TEXTS[:45]]
    tags = [[city if word in ("paris", "tokyo") else other for word in row] for row in words]
    model = TokenTagger(**settings | {"epochs": 12}).fit(words, tags)
    assert model.classes_.tolist() == ([other, city] if other == "O" else [city, other])
    found = model.predict(words)
    assert {tag for row in found for tag in row} <= set(model.classes_) and [len(row) for row in found] == [
        len(row) for row in tags
    ]
    shares = model.predict_proba(words[:3])
    assert all(np.allclose(own.sum(axis=1), 1, atol=1e-5) for own in shares)
    right = np.mean([one == two for row, true in zip(found, tags, strict=True) for one, two in zip(row, true, strict=True)])
    if other == "X":
        assert model.score(words, tags) == pytest.approx(right) and right > 0.6
    else:  # neighbouring words of one tag are one span
        assert model.score(words, found.tolist()) == 1.0
        prefixed = [["B-LOC" if tag == city else "O" for tag in row] for row in tags]
        assert model.score(words, tags) == pytest.approx(model.score(words, prefixed))
    assert any("prefix" in said or "parts of speech" in said for said in model.findings_)
    model.save(tmp_path / "model")
    assert TokenTagger.load(tmp_path / "model").predict(words).tolist() == found.tolist()


def test_it_works_in_a_pipeline_a_search_and_a_cross_validation(settings):
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, TextClassifier(**settings)).fit([text.upper() for text in TEXTS], LABELS)
    assert pipeline.predict(TEXTS).shape == (90,) and pipeline.classes_.tolist() == ["negative", "positive"]
    search = GridSearchCV(
        TextClassifier(**settings), {"epochs": [1, 2], "method": ["probe"]}, cv=2, scoring="neg_log_loss", error_score="raise"
    ).fit(pd.Series(TEXTS, index=range(90, 0, -1)), LABELS)
    assert search.best_estimator_.epochs in (1, 2) and np.isfinite(search.cv_results_["mean_test_score"]).all()
    scores = cross_val_score(TextClassifier(**settings), np.array(TEXTS), LABELS, cv=3, error_score="raise")
    assert scores.shape == (3,)
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()


def test_the_trunk_is_loaded_once_for_all_folds(settings, monkeypatch):
    shared.forget()
    loads, load = [], shared.load_trunk
    monkeypatch.setattr(shared, "load_trunk", lambda *given, **options: loads.append(given) or load(*given, **options))
    cross_val_score(TextClassifier(**settings), TEXTS, LABELS, cv=3, error_score="raise")
    assert len(loads) == 1
    config = Path(settings["trunk"]["name"]) / "config.json"
    config.write_text(config.read_text() + "\n")  # another file: what was loaded may be of another trunk
    TextClassifier(**settings).fit(TEXTS, LABELS)
    assert len(loads) == 2


def test_weights_of_samples_reach_the_loss(settings):
    heavy = {"epochs": 6, "training": {"batch_tokens": 64}}
    y = np.array([0, 1] * 45)  # nothing in the texts tells them apart
    first = TextClassifier(**settings | heavy).fit(TEXTS, y, sample_weight=np.where(y == 1, 30.0, 1.0))
    second = TextClassifier(**settings | heavy).fit(TEXTS, y, sample_weight=np.where(y == 0, 30.0, 1.0))
    assert first.predict_proba(TEXTS)[:, 1].mean() > 0.7 > 0.3 > second.predict_proba(TEXTS)[:, 1].mean()
    weights = np.arange(90) % 3
    dropped = TextClassifier(**settings).fit(
        [t for t, w in zip(TEXTS, weights, strict=True) if w], y[weights > 0], weights[weights > 0]
    )
    assert np.array_equal(TextClassifier(**settings).fit(TEXTS, y, weights).predict_proba(TEXTS), dropped.predict_proba(TEXTS))
    one = TextClassifier(**settings).fit(TEXTS, y, sample_weight=np.full(90, 7.0)).predict_proba(TEXTS)
    assert np.allclose(one, TextClassifier(**settings).fit(TEXTS, y).predict_proba(TEXTS), atol=1e-6)
    assert np.isfinite(TextRegressor(**settings).fit(TEXTS, STARS, sample_weight=STARS).predict(TEXTS)).all()


def test_a_pickle_holds_no_weights_and_says_where_they_were(settings, tmp_path, monkeypatch):
    model = TextClassifier(**settings | {"method": {"name": "adalayers", "dim": 64}}).fit(TEXTS, LABELS)
    data = pickle.dumps(model)
    count = sum(value.numel() for value in model.bundle_.branches["label"].weights().values())
    assert len(data) < count  # a byte a weight would be more
    back = pickle.loads(data)
    assert np.allclose(back.predict_proba(TEXTS), model.predict_proba(TEXTS), atol=1e-6)
    assert back.predict(TEXTS).tolist() == model.predict(TEXTS).tolist() and back.get_params() == model.get_params()
    assert pickle.loads(pickle.dumps(back)).score(TEXTS, LABELS) == model.score(TEXTS, LABELS)
    lost = pickle.loads(data)
    shutil.rmtree(lost.branch_path_)
    with pytest.raises(
        BadInput, match=r"a pickle holds no weights; expected a model that was moved by save\(folder\) and TextC"
    ):
        lost.predict(TEXTS)
    assert "bundle_" not in vars(pickle.loads(pickle.dumps(TextClassifier())))


@pytest.mark.parametrize("kind", ["one", "lists", "numbers", "tags"])
def test_what_is_saved_answers_the_same(kind, settings, tmp_path):
    words, tags = [one["tokens"] for one in ROWS], [one["tags"] for one in ROWS]
    model, X, y = {
        "one": (TextClassifier(**settings), TEXTS, LABELS == "positive"),
        "lists": (TextClassifier(**settings), TEXTS, TOPICS),
        "numbers": (TextRegressor(**settings), TEXTS, STARS),
        "tags": (TokenTagger(**settings), words, tags),
    }[kind]
    model.fit(X, y).save(tmp_path / "model")
    assert sorted(str(p.relative_to(tmp_path / "model")) for p in (tmp_path / "model").rglob("*") if p.is_file()) == [
        "branch/branch.json",
        "branch/weights.safetensors",
        "estimator.json",
    ]
    back = type(model).load(tmp_path / "model")
    found, expected = back.predict(X), model.predict(X)
    assert np.allclose(found, expected) if kind == "numbers" else list(found) == list(expected)
    assert back.score(X, y) == pytest.approx(model.score(X, y)) and back.get_params() == model.get_params()
    if kind == "one":
        assert back.classes_.dtype == bool
    back.save(tmp_path / "model")  # in the place of what it is itself
    assert type(model).load(tmp_path / "model").score(X, y) == pytest.approx(model.score(X, y))
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not empty; expected a new or empty folder, or one with an estimator that save has"):
        model.save(tmp_path / "model")
    other = TextRegressor if kind != "numbers" else TextClassifier
    with pytest.raises(BadInput, match=f"found a saved {type(model).__name__}, expected a {other.__name__}"):
        other.load(tmp_path / "model")


def test_a_model_that_is_not_fitted_says_so(settings, tmp_path):
    for model in (TextClassifier(), TextRegressor(), TokenTagger()):
        for ask in (lambda m=model: m.predict(["a"]), lambda m=model: m.save(tmp_path / "x")):
            with pytest.raises((NotFittedError, BadInput)):
                ask()
    with pytest.raises(NotFittedError):
        TextClassifier().predict_proba(["a"])
    (tmp_path / "run" / "branches").mkdir(parents=True)
    for folder, sentence in [
        (
            tmp_path,
            f"{tmp_path}: no saved estimator in it; expected one that TextClassifier.save has written, with estimator.json",
        ),
        (tmp_path / "nope", f"{tmp_path / 'nope'}: no such folder; expected one that TextClassifier.save has written"),
        (tmp_path / "run", f"{tmp_path / 'run'}: a branch or a run, and no saved estimator; Bundle.open opens it; expected"),
        (pd.DataFrame({"a": [1]}), "load: found DataFrame, expected the path of a folder"),
    ]:
        with pytest.raises(BadInput) as error:
            TextClassifier.load(folder)
        assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("model", "X", "y", "weights", "sentence"),
    [
        (
            TextClassifier,
            pd.DataFrame({"a": TEXTS, "b": TEXTS}),
            LABELS,
            None,
            "X: found DataFrame with 2 columns, expected one column of texts",
        ),
        (
            TextClassifier,
            np.array([TEXTS, TEXTS]).T,
            LABELS,
            None,
            "X: found an array of shape (90, 2), expected one",
        ),
        (TextClassifier, TEXTS, [np.nan, *LABELS[1:]], None, "y: label 1 is missing (None or NaN), expected a label for each"),
        (
            TextClassifier,
            TEXTS,
            [*LABELS[:-3], None, "a", None],
            None,
            "y: label 88 is missing (None or NaN), as is 1 more, expected a label for each text",
        ),
        (TextClassifier, TEXTS, [3, *LABELS[1:]], None, "y: found labels of types str (89) and int (1), expected one type"),
        (
            TextClassifier,
            TEXTS,
            pd.Series([True, *LABELS[1:]]),
            None,
            "y: found labels of types str (89) and bool (1)",
        ),
        (TextClassifier, TEXTS[:2] * 5, [["a"], ["b", 2]] * 5, None, "y: found labels of types str (10) and int (5), expected"),
        (TextClassifier, [*TEXTS[:-1], None], LABELS, None, "X: text 90 (X[89]): found None, expected a string"),
        (TextClassifier, TEXTS, LABELS[:-1], None, "y: found 89 for 90 samples of X, expected one for each"),
        (
            TextClassifier,
            TEXTS,
            [None, *LABELS[1:]],
            None,
            "y: label 1 is missing (None or NaN), expected a label for each text",
        ),
        (TextClassifier, TEXTS, [*LABELS[1:], ""], None, "y: found an empty string as a label"),
        (TextClassifier, TEXTS, STARS + 0.25, None, "Unknown label type: continuous"),
        (TextClassifier, TEXTS, ["a"] * 90, None, "y: found one class, expected at least two"),
        (TextClassifier, TEXTS, np.full((90, 2), 3), None, "y: found a matrix with other values than 0 and 1"),
        (TextClassifier, TEXTS, LABELS, [1.0], "sample_weight: found shape (1,), expected (90,)"),
        (TextClassifier, TEXTS, LABELS, [-1.0] * 90, "sample_weight: found a negative weight, NaN or infinity"),
        (TextClassifier, TEXTS, LABELS, [0.0] * 90, "sample_weight: every weight is zero"),
        (TextClassifier, TEXTS[0], LABELS, None, "X: found one string, expected a list of strings"),
        (TextClassifier, [], [], None, "X: found no samples, expected at least two"),
        (TextClassifier, TEXTS[:1], LABELS[:1], None, "y: found one class, expected at least two"),
        (TextRegressor, TEXTS[:1], STARS[:1], None, "expected ones that differ"),
        (TextRegressor, TEXTS, ["a"] * 90, None, "y: found values that are no numbers, expected a number for each text"),
        (TextRegressor, TEXTS, np.zeros((90, 2)), None, "y: found shape (90, 2), expected a number for each text"),
        (
            TextRegressor,
            TEXTS,
            [[1.0], [2.0, 3.0]] * 45,
            None,
            "y: found lists of different lengths, expected a number for each",
        ),
        (TextClassifier, TEXTS, STARS + 0.5, None, "y: Unknown label type: continuous, expected labels: strings, whole"),
        (TextClassifier, TEXTS, np.zeros((90, 2, 2)), None, "y: found shape (90, 2, 2), expected a label for each text, or a"),
        (TextRegressor, TEXTS, [np.nan] * 90, None, "y: found NaN or infinity, expected finite numbers (90 of 90"),
        (TokenTagger, TEXTS, TEXTS, None, "X: text 1 is str, expected a list of words"),
        (TokenTagger, [["a"]] * 4, [["O", "O"]] * 4, None, "y: found 2 tags for the 1 words of text 1, expected one for each"),
        (TokenTagger, [["a"]] * 4, [["O"], [1]] * 2, None, "y: tag 1 of text 2 is int, expected a string; numbers of tags are"),
        (TokenTagger, [["a", "b"]], [["O", None]], None, "y: tag 2 of text 1 is missing (None or NaN), expected a string"),
        (TokenTagger, [["a", 2]], [["O", "O"]], None, "X: word 2 of text 1 is int, expected a string"),
        (TokenTagger, [["a"]] * 4, [["B-x"], ["y"]] * 2, None, "y: text 2: found a word that is no tag, expected O or one of"),
        (TokenTagger, [["a"]] * 4, "OOOO", None, "y: found str, expected a list of tags for each text"),
    ],
)
def test_what_cannot_be_learned_from_is_one_sentence(model, X, y, weights, sentence, settings):
    with pytest.raises(BadInput) as error:
        model(**settings).fit(X, y, sample_weight=weights)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("settings_", "sentence"),
    [
        ({"method": "probes"}, "method.name: unknown name 'probes'; did you mean 'probe'?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown name 'epoch'"),
        ({"epochs": 0}, "training.epochs: found 0"),
        ({"validation_fraction": 2.0}, "validation_fraction: found 2.0, a share must lie between 0% and 100%"),
        ({"epochs": "3"}, "epochs: found '3', expected a whole number or None"),
        ({"epochs": 2.5}, "epochs: found 2.5, expected a whole number or None"),
        ({"epochs": True}, "epochs: found true, expected a whole number or None"),
        ({"learning_rate": "0.1"}, "learning_rate: found '0.1', expected a number or None"),
        ({"validation_fraction": "10%"}, "validation_fraction: found '10%', expected a number"),
        ({"training": ["epochs=3"]}, "training: found a list, expected a mapping or None"),
        ({"method": 3}, "method: found 3, expected a name or a mapping"),
        ({"trunk": None}, "trunk: found null, expected a name, a folder or a mapping"),
        ({"verbose": "no"}, "verbose: found 'no', expected a truth value or a number"),
    ],
)
def test_parameters_are_checked_as_a_config_is(settings_, sentence, settings):
    with pytest.raises(BadInput) as error:
        TextClassifier(**settings | settings_).fit(TEXTS, LABELS)
    assert sentence in str(error.value)


def test_numbers_of_numpy_are_parameters(settings):
    given = {"epochs": np.int64(1), "learning_rate": np.float32(0.03), "validation_fraction": np.float64(0.1)}
    assert TextClassifier(**settings | given).fit(TEXTS[:40], LABELS[:40]).predict(TEXTS).shape == (90,)


ONE_COLUMN = {
    "frame": lambda: pd.DataFrame({"review": TEXTS}),
    "array": lambda: np.array(TEXTS).reshape(-1, 1),
    "objects": lambda: np.array(TEXTS, dtype=object).reshape(-1, 1),
    "arrow": lambda: pa.table({"review": TEXTS}),
    "column transformer": lambda: ColumnTransformer([("text", "passthrough", ["review"])]).fit_transform(
        pd.DataFrame({"n": range(90), "review": TEXTS})
    ),
}


def test_one_column_of_texts_is_read(settings):
    model = TextClassifier(**settings).fit(ONE_COLUMN["frame"](), LABELS)
    expected = TextClassifier(**settings).fit(TEXTS, LABELS).predict_proba(TEXTS)
    for kind, make in ONE_COLUMN.items():
        assert np.array_equal(model.predict_proba(make()), expected), kind


def test_batches_by_rows_replace_those_by_tokens(settings):
    model = TextClassifier(**settings, training={"batch_size": 16}).fit(TEXTS, LABELS)
    assert model.predict(TEXTS).shape == (90,)


def test_the_moods_are_what_the_texts_say():
    assert all(MOODS[word] == one["label"] for one in ROWS for word in one["tokens"] if word in MOODS)
    assert json.dumps(TOPICS)


def test_held_out_folds_are_read_from_the_store_once_all_their_texts_are_in_it(settings, monkeypatch):
    exact = settings | {"training": {"states_dtype": "fp32"}}
    texts = [f"{text} {WORDS[number % len(WORDS)]}" for number, text in enumerate(TEXTS * 2)]
    model = TextClassifier(**exact).fit(texts, np.tile(LABELS, 2))
    passes, run = [], live.run_layers
    monkeypatch.setattr(live, "run_layers", lambda *given: passes.append(given) or run(*given))
    stored = model.predict_proba(texts)
    assert not passes
    model.bundle_.stored = None
    assert np.allclose(stored, model.predict_proba(texts), atol=1e-5) and passes
    model.bundle_.stored = "fp32"
    passes.clear()
    assert np.allclose(model.predict_proba(["so good", *texts])[1:], stored, atol=1e-5) and passes  # one is in no store


def test_a_request_to_stop_ends_a_search_over_parameters_and_promises_no_checkpoint(settings, monkeypatch):
    monkeypatch.setattr(resumable.StopRequest, "__enter__", lambda self: self._ask(signal.SIGINT, None))
    search = GridSearchCV(TextClassifier(**settings), {"learning_rate": [0.01, 0.02]}, cv=2)
    with pytest.raises(KeyboardInterrupt) as error:
        search.fit(TEXTS[:40], LABELS[:40])
    assert "checkpoint" not in str(error.value) and "another call of fit starts again" in str(error.value)


@pytest.mark.parametrize(
    "found", [{}, {"parameters": [], "fitted": {}}, {"parameters": {"no": 1}, "fitted": {}}, {"parameters": {}}]
)
def test_a_saved_estimator_with_other_keys_is_refused(found, tmp_path):
    (tmp_path / "estimator.json").write_text(json.dumps({"class": "TextClassifier", **found}))
    with pytest.raises(BadInput, match=r"estimator.json: found .*, expected what save writes"):
        TextClassifier.load(tmp_path)
