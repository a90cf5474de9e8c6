"""The HTTP server gives the engine's answers, and refuses the rest with one sentence."""

from __future__ import annotations

import pytest
from bundletools import TEXTS, make
from starlette.testclient import TestClient
from tiny import tiny_bert

from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.http.app import create_app
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def bundle(trunk):
    return Bundle(trunk, {"mood": make(trunk, "sequence", max_length=12), "slots": make(trunk, "token", seed=2)})


@pytest.fixture(scope="module")
def engine(bundle):
    with Engine(bundle) as engine:
        yield engine


@pytest.fixture(scope="module")
def client(engine):
    with TestClient(create_app(engine)) as client:
        yield client


def test_predictions_are_those_of_the_bundle(client, bundle):
    texts = [TEXTS[0], TEXTS[3], " "]
    answer = client.post("/v1/predict", json={"texts": texts, "scores": True}).json()
    assert answer["trunk"] == "tiny-bert" and answer["long_texts"] == [1] and answer["tokens"] > 0
    for found, text in zip(answer["predictions"], texts, strict=True):
        (alone,) = bundle.predict_written([text])
        assert found["mood"]["label"] == alone["mood"]["label"]
        assert found["mood"]["scores"] == (alone["mood"]["scores"] and pytest.approx(alone["mood"]["scores"], abs=1e-4))
        assert [span["text"] for span in found["slots"]["spans"] or ()] == [
            span["text"] for span in alone["slots"]["spans"] or ()
        ]
    one = client.post("/v1/predict", json={"text": texts[0], "tasks": ["mood"]}).json()
    assert len(one["predictions"]) == 1 and list(one["predictions"][0]) == ["mood"]
    assert set(one["predictions"][0]["mood"]) == {"label", "score"}
