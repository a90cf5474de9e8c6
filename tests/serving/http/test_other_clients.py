"""Other servers' clients get what they expect of their own servers: the real libraries against a server on loopback."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import httpx2 as httpx
import numpy as np
import pytest
from bundletools import TEXTS, make
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given, settings
from hypothesis import strategies as st
from pagetools import serving
from tiny import tiny_bert

from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.http.app import create_app
from trunkline.serving.http.routes import binary_tensors
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
    for name, asked, said in (
        ("mood", {"inputs": TEXT, "parameters": {"bogus": 1}}, "parameters: found an unknown key"),
        ("mood", {"inputs": TEXT, "parameters": {"ignore_labels": ["O"]}}, "parameters.ignore_labels: .* kind sequence"),
        ("slots", {"inputs": TEXT, "parameters": {"top_k": 1}}, "parameters.top_k: .* kind token"),
        ("same", {"inputs": [TEXT]}, "inputs: found texts alone, expected pairs"),
        ("slots", {"inputs": [TEXT, "a" * 200_001]}, r"inputs\[1\]: found 200001 characters"),
    ):
        assert re.match(said, httpx.post(f"{address}/models/{name}", json=asked).json()["error"])


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
    for name, inputs, more, status, said in (
        ("mood", TEXTS[1], {}, 422, "inputs: found more than 12 tokens, .* or truncate: true$"),
        ("mood", [[TEXT], [TEXTS[1]]], {}, 422, r"inputs\[1\]: found more than 12 tokens"),
        ("mood", TEXT, {"raw_scores": True}, 422, "raw_scores: found true"),
        ("mood", TEXT, {"truncation_direction": "Left"}, 422, "truncation_direction: .* expected Right"),
        ("mood", TEXT, {"truncation_direction": "right or so"}, 422, "truncation_direction: found a string"),
        ("mood", [TEXT, "a film"], {}, 422, "inputs: found pairs of texts, expected texts alone"),
        ("same", TEXT, {}, 422, "inputs: found texts alone, expected pairs"),
        ("mood", "a" * 200_001, {}, 413, "inputs: found 200001 characters"),
        ("mood", [[TEXT], [" "]], {}, 422, r"inputs\[1\]: found a blank string"),
        ("slots", TEXT, {}, 422, "a task of kind token"),
        ("mood", [[TEXT], ["so", "good"]], {}, 422, "inputs: found"),
        ("mood", [], {}, 422, "inputs: found a list of 0, expected a string or a list of at least 1"),
        ("none", TEXT, {}, 404, "no task"),
        ("mood/more", TEXT, {}, 404, "no such address"),
    ):
        refused = ask(name, inputs, **more)
        assert refused.status_code == status and set(refused.json()) == {"error", "error_type"}, (name, said)
        assert re.search(said, refused.json()["error"]), (said, refused.json()["error"])
    assert ask("mood", TEXT, truncation_direction="Right").json() == one
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

    def given(name, texts, binary=False):
        tensor = triton.InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode() for text in texts], object), binary_data=binary)
        return tensor

    wanted = [triton.InferRequestedOutput("prediction", binary_data=False)]
    answer = client.infer("mood", [given("text", [TEXT, "so good"])], outputs=wanted, request_id="7")
    found = [json.loads(one) for one in answer.as_numpy("prediction")]
    assert found[0]["label"] == alone["mood"]["label"] and len(found) == 2 and answer.get_response()["id"] == "7"
    pair = client.infer("same", [given("text", [TEXT]), given("pair", ["a film"])], outputs=wanted)
    assert json.loads(pair.as_numpy("prediction")[0])["label"] in "abc"
    # Without more being said, its tensors are binary, in both directions.
    pairs = [given("text", [TEXT, "\u00e9t\u00e9"], True), given("pair", ["a film", " "], True)]
    with pytest.raises(Exception, match=r"pair\[1\]: found a blank string"):
        client.infer("same", pairs)
    pairs[1] = given("pair", ["a film", "\U0001f600"])  # one tensor of either kind
    one, other = client.infer("same", pairs), client.infer("same", pairs, outputs=wanted)
    assert one.get_output("prediction")["parameters"]["binary_data_size"] > 0
    found, same = ([json.loads(text) for text in answer.as_numpy("prediction")] for answer in (one, other))
    assert found == same and len(found) == 2
    both = [triton.InferRequestedOutput("prediction")]
    assert len(client.infer("mood", [given("text", [TEXT], True)], outputs=both).as_numpy("prediction")) == 1
    classes = [triton.InferRequestedOutput("prediction", class_count=2)]
    for more, said in (
        (
            {"outputs": classes},
            r"outputs\[0\]\.parameters\.classification: found a number, expected none, as the output has the sc",
        ),
        ({"parameters": {"top_k": 2}}, "parameters: found an unknown key"),
        ({"outputs": wanted, "timeout": 5}, "parameters: found an unknown key"),
    ):
        with pytest.raises(Exception, match=said):
            client.infer("mood", [given("text", [TEXT])], **more)
    for missing in ("config", "versions/1", "foo"):
        answer = httpx.get(f"{address}/v2/models/mood/{missing}")
        assert answer.status_code == 404 and "no such address" in answer.json()["error"]
    with pytest.raises(Exception, match="those called text and pair"):
        client.infer("same", [given("text", [TEXT])], outputs=wanted)
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}
    unset = dict.fromkeys(("binary_data", "content_type", "classification"))  # null: not given
    body["outputs"] = [{"name": "prediction", "parameters": unset}]
    body["parameters"] = {"binary_data_output": None, "content_type": None}
    answer = httpx.post(f"{address}/v2/models/mood/infer", json=body)
    assert answer.status_code == 200 and "label" in answer.json()["outputs"][0]["data"][0], answer.text
    body["inputs"][0]["shape"] = [3]
    assert "1 elements" in httpx.post(f"{address}/v2/models/mood/infer", json=body).json()["error"]


HEAD = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}]}


@pytest.mark.parametrize(
    ("head", "data", "length", "said"),
    [
        (HEAD, b"\x02\0\0\0a", None, "longer than its tensor"),
        (HEAD, b"\x01\0\0\0\xff", None, "no UTF-8"),
        (HEAD, b"\x01\0\0", None, "does not agree"),
        (HEAD, b"\x01\0\0\0aa", None, "found 1 bytes behind"),
        (HEAD, b"\x01\0\0\0a", "999", "no length of a part"),
        (HEAD, b"\x01\0\0\0a", "-1", "no length of a part"),
        (HEAD, b"\x01\0\0\0a", "7", "no valid JSON"),
        ({**HEAD, "id": "\ud83d", "outputs": [{"name": "a"}]}, b"\x01\0\0\0a", None, "expected prediction"),
        ({"inputs": [{**HEAD["inputs"][0], "data": ["a"]}]}, b"\x01\0\0\0a", None, "does not agree"),
        ({"inputs": [7]}, b"", None, "found a number, expected an object"),
        ([], b"", None, "found a list"),
    ],
)
def test_binary_tensors_that_are_none(address, head, data, length, said):
    body = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(body))}
    answer = httpx.post(f"{address}/v2/models/mood/infer", content=body + data, headers=headers)
    assert answer.status_code in (400, 422) and said in answer.json()["error"], answer.json()


@given(texts=st.lists(st.text(max_size=8).filter(lambda text: text.isprintable()), max_size=5))
@settings(max_examples=50, deadline=None)
def test_strings_in_binary_form_are_those_of_the_other_library(texts):
    utils = pytest.importorskip("tritonclient.utils", reason="needs the package tritonclient")
    data = utils.serialize_byte_tensor(np.array(texts, object)).item() if texts else b""
    assert binary_tensors._strings(data) == texts
    answer = binary_tensors.binary_response({"outputs": [{"data": list(texts)}]})
    assert answer.body[int(answer.headers[binary_tensors.HEADER]) :] == data


def test_json_may_come_without_a_content_type_but_not_from_a_page(address):
    body = json.dumps({"inputs": TEXT}).encode()
    assert httpx.post(f"{address}/models/mood", content=body).status_code == 200
    assert httpx.post(f"{address}/models/mood", content=body, headers={"Origin": "http://elsewhere.example"}).status_code == 415
    assert httpx.post(f"{address}/models/mood", content=body, headers={"Content-Type": "text/plain"}).status_code == 415
