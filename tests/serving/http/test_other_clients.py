"""Other servers' clients get what they expect of their own servers: the real libraries against a server on loopback."""

from __future__ import annotations

import json
from contextlib import contextmanager

import httpx2 as httpx
import numpy as np
import pytest
from bundletools import TEXTS, make
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from pagetools import serving
from tiny import tiny_bert

from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.http.app import create_app
from trunkline.trunk.load import load_trunk

TEXT = TEXTS[0]


@contextmanager
def running(bundle):
    with Engine(bundle) as engine, serving(create_app(engine)) as address:
        yield address


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The client refuses every address, loopback too, where HF_HUB_OFFLINE is set."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    trunk = load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")
    return Bundle(
        trunk,
        {
            "mood": make(trunk, "sequence", max_length=12),
            "slots": make(trunk, "token", seed=2),
            "same": make(trunk, "sequence", seed=3, text_pair="other"),
        },
    )


@pytest.fixture(scope="module")
def address(bundle):
    with running(bundle) as address:
        yield address


@pytest.fixture(scope="module")
def alone(bundle):
    return bundle.only(["mood", "slots"]).predict_written([TEXT])[0]


@pytest.fixture(scope="module")
def tagged(bundle):
    """A text with spans, and these."""
    found = zip(TEXTS, bundle.only("slots").predict_written(TEXTS), strict=True)
    return next((text, row["slots"]["spans"]) for text, row in found if row["slots"]["spans"])


def test_the_client_of_huggingface_hub(address, alone, tagged):
    found = InferenceClient(base_url=f"{address}/models/mood").text_classification(TEXT)
    ranked = sorted(alone["mood"]["scores"].items(), key=lambda one: -one[1])
    assert [one.label for one in found] == [label for label, _ in ranked]
    assert [one.score for one in found] == pytest.approx([score for _, score in ranked], abs=1e-4)
    client = InferenceClient(base_url=f"{address}/models/slots")
    text, expected = tagged
    assert [(one.entity_group, one.word, one.start, one.end) for one in client.token_classification(text)] == [
        (span["label"], span["text"], span["start"], span["end"]) for span in expected
    ]
    assert len(InferenceClient(base_url=f"{address}/models/mood").text_classification(TEXT, top_k=1)) == 1
    with pytest.raises(HfHubHTTPError) as refused:
        InferenceClient(base_url=address).text_classification(TEXT)
    assert "/models/NAME" in refused.value.response.json()["error"] and refused.value.response.status_code == 422
    with pytest.raises(HfHubHTTPError):
        InferenceClient(base_url=f"{address}/models/mod").text_classification(TEXT)


def test_the_only_task_needs_no_name(bundle, tagged):
    with running(bundle.only("mood")) as address:
        assert InferenceClient(base_url=address).text_classification(TEXT)[0].label in "abc"
        assert httpx.post(f"{address}/predict", json={"inputs": TEXT}).json()[0]["label"] in "abc"
    with running(bundle.only("slots")) as address:
        assert InferenceClient(base_url=address).token_classification(tagged[0])[0].word


def test_predict_of_text_embeddings_inference(address, alone):
    def ask(name, inputs, **more):
        return httpx.post(f"{address}/models/{name}/predict", json={"inputs": inputs, **more})

    one = ask("mood", TEXT).json()
    assert {label["label"]: label["score"] for label in one} == pytest.approx(alone["mood"]["scores"], abs=1e-4)
    assert [label["score"] for label in one] == sorted((label["score"] for label in one), reverse=True)
    assert ask("mood", [[TEXT], ["so good"]]).json()[0] == one and ask("mood", [TEXT]).json() == one
    assert len(ask("same", [TEXT, "a film"]).json()) == 3  # a text and its second one
    assert len(ask("same", [[TEXT, "a film"], ["so", "good"]]).json()) == 2
    for name, inputs, more, status in (
        ("mood", TEXTS[1], {}, 422),  # too long
        ("mood", TEXT, {"raw_scores": True}, 422),
        ("mood", [TEXT, "a film"], {}, 422),
        ("same", TEXT, {}, 422),
        ("slots", TEXT, {}, 422),
        ("mood", [[TEXT], ["so", "good"]], {}, 422),
        ("mood", [], {}, 422),
        ("none", TEXT, {}, 404),
    ):
        refused = ask(name, inputs, **more)
        assert refused.status_code == status and set(refused.json()) == {"error", "error_type"}, (name, inputs)
    assert ask("mood", TEXTS[1], truncate=True).status_code == 200


def test_refusals_repeat_nothing(address):
    tensor = {"name": "text", "shape": [1234567], "datatype": "BYTES", "data": ["1234567"]}
    for path, asked in (
        ("/models/mood", {"inputs": []}),
        ("/models/mood", {"inputs": "a", "parameters": {"function_to_apply": "1234567"}}),
        ("/models/slots", {"inputs": "a", "1234567": 1}),
        ("/v2/models/mood/infer", {"inputs": [tensor]}),
        ("/v2/models/mood/infer", {"inputs": [tensor], "outputs": [{"name": "1234567"}]}),
        ("/v1/predict", {"text": "a", "tasks": ["1234567"]}),
    ):
        refused = httpx.post(f"{address}{path}", json=asked)
        assert refused.status_code == 422 and "1234567" not in refused.text, (path, asked)


def test_the_open_inference_protocol(address, alone):
    triton = pytest.importorskip("tritonclient.http", reason="needs the package tritonclient")
    client = triton.InferenceServerClient(address.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("mood")
    described = client.get_model_metadata("same")
    assert [one["name"] for one in described["inputs"]] == ["text", "pair"]

    def given(name, texts):
        tensor = triton.InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode() for text in texts], object), binary_data=False)
        return tensor

    wanted = [triton.InferRequestedOutput("prediction", binary_data=False)]
    answer = client.infer("mood", [given("text", [TEXT, "so good"])], outputs=wanted, request_id="7")
    found = [json.loads(one) for one in answer.as_numpy("prediction")]
    assert found[0]["label"] == alone["mood"]["label"] and len(found) == 2 and answer.get_response()["id"] == "7"
    pair = client.infer("same", [given("text", [TEXT]), given("pair", ["a film"])], outputs=wanted)
    assert json.loads(pair.as_numpy("prediction")[0])["label"] in "abc"
    with pytest.raises(Exception, match="those called text and pair"):
        client.infer("same", [given("text", [TEXT])], outputs=wanted)
    body = {"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": [TEXT]}]}
    assert "1 elements" in httpx.post(f"{address}/v2/models/mood/infer", json=body).json()["error"]


def test_json_may_come_without_a_content_type_but_not_from_a_page(address):
    body = json.dumps({"inputs": TEXT}).encode()
    assert httpx.post(f"{address}/models/mood", content=body).status_code == 200
    assert httpx.post(f"{address}/models/mood", content=body, headers={"Origin": "http://elsewhere.example"}).status_code == 415
    assert httpx.post(f"{address}/models/mood", content=body, headers={"Content-Type": "text/plain"}).status_code == 415
