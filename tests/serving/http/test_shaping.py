"""Answers in the shape that a client asks for, of every kind of task."""

from __future__ import annotations

import pytest
from everykind import TEXTS, bundle_of_every_kind
from starlette.testclient import TestClient

from trunkline.serving.engine import Engine
from trunkline.serving.http.app import create_app


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of_every_kind(tmp_path_factory.mktemp("every") / "tiny-bert")


@pytest.fixture(scope="module")
def ask(bundle):
    """ask(**keys) -> the predictions for TEXTS and a blank text."""
    with Engine(bundle) as engine, TestClient(create_app(engine)) as client:

        def asked(**keys):
            answer = client.post("/v1/predict", json={"texts": [*TEXTS, " "], **keys})
            return answer.json()["predictions"] if answer.status_code == 200 else answer

        yield asked


@pytest.fixture(scope="module")
def whole(bundle):
    return bundle.predict_written([*TEXTS, " "])


def near(value):
    """As the server rounds it, and batches of another size may have it."""
    return pytest.approx(value, abs=2e-6) if isinstance(value, float) else value


def test_the_parts_of_every_kind_and_no_more(ask, whole):
    for found, expected in zip(ask(), whole, strict=True):
        for name, prediction in expected.items():
            kept = {key: part for key, part in prediction.items() if key != "scores"}
            assert set(found[name]) == set(kept)
            for key, part in kept.items():
                if key == "spans" and part is not None:
                    assert found[name][key] == [{name: near(value) for name, value in span.items()} for span in part]
                else:
                    assert found[name][key] == near(part)


def test_scores_of_all_labels_or_of_the_best(ask, whole):
    every, best = ask(scores=True), ask(top_k=2)
    for all_scores, two, expected in zip(every, best, whole, strict=True):
        for name in ("mood", "flag", "topics", "columns"):
            scores = expected[name]["scores"]
            if scores is None:
                assert all_scores[name]["scores"] is two[name]["scores"] is None
                continue
            assert all_scores[name]["scores"] == {label: near(score) for label, score in scores.items()}
            order = sorted(scores, key=scores.get, reverse=True)[:2]
            assert list(two[name]["scores"]) == order
        assert "scores" not in two["slots"] and "scores" not in two["stars"]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9, 1.0])
def test_a_threshold_decides_which_labels_hold(ask, whole, threshold):
    for found, expected in zip(ask(threshold=threshold), whole, strict=True):
        scores = expected["topics"]["scores"]
        held = None if scores is None else [label for label, score in scores.items() if score >= threshold]
        assert found["topics"]["labels"] == held and "scores" not in found["topics"]
        assert found["mood"]["label"] == expected["mood"]["label"]
    assert ask(threshold=threshold, tasks=["mood", "slots"]).status_code == 422


@pytest.mark.parametrize("least", [0.0, 0.5, 1.0])
def test_no_answer_below_the_least_confidence(ask, bundle, least):
    expected = bundle.predict([*TEXTS, " "], min_confidence=least)
    for found, own in zip(ask(min_confidence=least), expected, strict=True):
        assert (found["mood"]["label"], found["mood"]["abstained"]) == (own["mood"]["label"], own["mood"]["abstained"])
        assert (found["topics"]["labels"], found["topics"]["abstained"]) == (
            own["topics"]["labels"],
            own["topics"]["abstained"],
        )
        assert found["slots"]["left_out"] == own["slots"]["left_out"]
        assert len(found["slots"]["spans"] or ()) == len(own["slots"]["spans"] or ())


def test_what_a_task_reads(ask, bundle):
    with Engine(bundle) as engine, TestClient(create_app(engine)) as client:
        answer = client.post("/v1/predict", json={"text": TEXTS[0], "layers": True, "tasks": ["mood", "slots"]}).json()
    for name in ("mood", "slots"):
        shares = bundle.branches[name].layer_weights()
        assert answer["layers"][name] == ({str(layer): near(share) for layer, share in shares.items()} or None)


def test_words_have_tags_and_units_of_one_text_may_stand_alone(ask, bundle):
    words = [["so", "good", "a", "film"], ["paris"], []]
    own = bundle.only("slots").predict(words)
    found = ask(texts=words, tasks=["slots"])
    assert [row["slots"]["tags"] for row in found] == [row["slots"]["tags"] for row in own]
    assert any(tag != "O" for row in own for tag in row["slots"]["tags"] or ())
    text, units = "so good a film", [[0, 2], [3, 14]]
    alone = ask(texts=None, text=text, units=units, tasks=["slots"])
    assert (
        alone == ask(texts=None, text=text, units=[units], tasks=["slots"]) == ask(texts=[text], units=[units], tasks=["slots"])
    )
    assert "tags" not in alone[0]["slots"] and ask(texts=None, text=text, units=[], tasks=["slots"])[0]["slots"]["spans"] == []
    assert "for each" in ask(texts=[text], units=units, tasks=["slots"]).json()["error"]
