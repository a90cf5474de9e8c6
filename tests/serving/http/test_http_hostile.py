"""Whatever is sent is answered with a 4xx of one sentence without the text, and the next request is served."""

from __future__ import annotations

import gc
import json
import threading
import time

import pytest
from bundletools import make
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tiny import tiny_bert

from trunkline.data.columns import clean
from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.http import bodies, errors
from trunkline.serving.http.app import create_app
from trunkline.serving.http.models import PredictRequest
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    trunk = load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")
    branches = {"mood": make(trunk, "sequence"), "slots": make(trunk, "token"), "pair": make(trunk, "sequence", text_pair="b")}
    with (
        Engine(Bundle(trunk, branches)) as engine,
        TestClient(create_app(engine), raise_server_exceptions=False) as client,
    ):
        yield client


MOOD, SLOTS = {"tasks": ["mood"]}, {"tasks": ["slots"]}
SECRET = "sesame"  # in texts that are refused: no answer repeats it

BROKEN = {
    "nothing": b"",
    "a blank": b" ",
    "half an object": b'{"text": "sesame',
    "a comma too much": b'{"text": "sesame",}',
    "single quotes": b"{'text': 'sesame'}",
    "two values": b'{"text": "a"} {"text": "sesame"}',
    "not UTF-8": b'{"text": "sesame\xff"}',
    "UTF-16": '{"text": "sesame"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"text": "sesame"}',
    "half a surrogate pair, and half an object": b'{"text": "sesame \\ud800"',
    "a control character": b'{"text": "sesame\x00"}',
    "deep lists": b'{"texts": ' + b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of many digits": b'{"text": "sesame", "top_k": ' + b"9" * 100_000 + b"}",
    "another number of many digits": b'{"text": "sesame", "timeout": ' + b"9" * 100_000 + b"}",
    "NaN": b'{"text": "sesame", "threshold": nan}',
}
UNFIT = {
    "null": b"null",
    "a list": b'["sesame"]',
    "a string": b'"sesame"',
    "a number": b"1",
    "true": b"true",
    "Infinity": b'{"text": "sesame", "min_confidence": Infinity}',
    "a huge number": b'{"text": "sesame", "top_k": 1e400}',
    "an empty key": b'{"text": "a", "": "sesame"}',
    "a word as a key": b'{"text": "a", "sesame": 1}',
    "a text as a key": b'{"text": "a", "open, sesame!": 1}',
    "a key of 1 MB": b'{"text": "a", "' + b"sesame" * 170_000 + b'": 1}',
}
TYPES = {
    "no text": {},
    "null texts": {"text": None},
    "both": {"text": "sesame", "texts": ["sesame"]},
    "a number as text": {"text": 1},
    "an object as text": {"text": {"sesame": "sesame"}},
    "a string as texts": {"texts": "sesame"},
    "null in texts": {"texts": ["a", None]},
    "nested texts": {"texts": [[["sesame"]]]},
    "words for a task of texts": {"texts": [["open", "sesame"]], **MOOD},
    "a pair for texts": {"texts": ["a"], "pair": "sesame"},
    "pairs for a text": {"text": "a", "pairs": ["sesame"]},
    "too few pairs": {"texts": ["a", "b"], "pairs": ["sesame"], "tasks": ["pair"]},
    "pairs that nobody reads": {"texts": ["a"], "pairs": ["sesame"], **MOOD},
    "no pairs": {"text": "sesame", "tasks": ["pair"]},
    "units outside": {"text": "sesame", "units": [[[0, 99]]], "tasks": ["slots"]},
    "units backwards": {"text": "sesame", "units": [[[3, 1]]], "tasks": ["slots"]},
    "units below 0": {"text": "sesame", "units": [[[-3, 1]]], "tasks": ["slots"]},
    "units of three": {"text": "sesame", "units": [[[0, 1, 2]]], "tasks": ["slots"]},
    "huge units": {"text": "sesame", "units": [[[0, 10**30]]], "tasks": ["slots"]},
    "units for too many": {"text": "sesame", "units": [[], []], "tasks": ["slots"]},
    "an unknown task": {"text": "a", "tasks": ["mod"]},
    "a path as task": {"text": "a", "tasks": ["../../etc/passwd"]},
    "a task of 1 MB": {"text": "a", "tasks": ["a" * 1_000_000]},
    "a text as task": {"text": "a", "tasks": ["sesame; sesame"]},
    "a repeated task": {"text": "a", "tasks": ["mood", "mood"]},
    "no tasks": {"text": "a", "tasks": []},
    "null as a task": {"text": "a", "tasks": [None]},
    "a unit that ends far behind": {"text": "sesame", "units": [[[0, 10**400]]], "tasks": ["slots"]},
    "a unit of three": {"text": "sesame", "units": [[[0, 1, 2]]], "tasks": ["slots"]},
    "top_k 0": {"text": "a", "top_k": 0, **MOOD},
    "top_k as text": {"text": "a", "top_k": "3", **MOOD},
    "top_k 1.5": {"text": "a", "top_k": 1.5, **MOOD},
    "scores as text": {"text": "a", "scores": "true", **MOOD},
    "a threshold without use": {"text": "a", "threshold": 0.5, **MOOD},
    "a threshold over 1": {"text": "a", "threshold": 1.01, **MOOD},
    "a timeout of 0": {"text": "a", "timeout": 0, **MOOD},
    "another way for long texts": {"text": "a", "long_texts": "sesame", **MOOD},
    "a long text refused": {"text": "sesame " * 100, "long_texts": "refuse", **MOOD},
    "a blank text refused": {"text": " ", "empty_texts": "refuse", **MOOD},
}
LARGE = {
    "1 MB of one character": {"text": "a" * 1_000_000, **MOOD},
    "10,000 texts": {"texts": ["a"] * 10_000, **MOOD},
    "5 MB": {"text": "sesame " * 720_000, **MOOD},
    "a second text of 1 MB": {"text": "a", "pair": "a" * 1_000_000, "tasks": ["pair"]},
    "texts of a script with a token a character": {"texts": ["\u4e2d" * 34_000] * 2, "tasks": ["slots"]},
    "characters without width": {"text": "\u200b" * 70_000, "tasks": ["slots"]},
    "many words": {"texts": [["sesame"] * 40_000] * 10, "tasks": ["slots"]},
}


BOUNDS = {
    "top_k": ("0", "a number of at least 1"),
    "timeout": ("0", "a number above 0"),
    "threshold": ("1.5", "a number of at most 1"),
    "min_confidence": ("-1", "a number of at least 0"),
}


@pytest.mark.parametrize("key, value, expected", [(key, *of) for key, of in BOUNDS.items()])
def test_bounds_are_said_in_words(client, key, value, expected):
    assert refused(client, 422, f'{{"text": "a", "{key}": {value}}}'.encode()) == f"{key}: found a number, expected {expected}"


def test_a_whole_number_may_be_written_with_a_point_and_a_huge_one_is_not_repeated(client):
    headers, answers = {"Content-Type": "application/json"}, []
    for top_k in (b"1", b"1.0"):
        answer = client.post("/v1/predict", content=b'{"text": "a", "tasks": ["mood"], "top_k": %s}' % top_k, headers=headers)
        answers.append(answer.json()["predictions"])
    assert answers[0] == answers[1]
    for digits in (400, 4000):
        body = b'{"text": "a", "tasks": ["slots"], "units": [[[0, 1%s]]]}' % (b"0" * digits)
        assert "0000" not in refused(client, 422, body)


def refused(client, status, body):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/predict", content=body, headers=headers)
    assert answer.status_code == status, answer.text[:300]
    told = answer.json()
    assert set(told) == {"error", "error_type"} and told["error_type"] == ("too_large" if status == 413 else "bad_input")
    assert 10 < len(told["error"]) < 300 and "\n" not in told["error"] and SECRET not in told["error"]
    served = client.post("/v1/predict", json={"text": "so good", **MOOD})
    assert served.status_code == 200 and served.json()["predictions"][0]["mood"]["label"] in ("a", "b", "c")
    return told["error"]


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_is_refused(client, body):
    refused(client, 400, body)


@pytest.mark.parametrize("body", UNFIT.values(), ids=UNFIT)
def test_other_json_is_refused(client, body):
    refused(client, 422, body)


@pytest.mark.parametrize("body", TYPES.values(), ids=TYPES)
def test_what_cannot_be_answered_is_refused(client, body):
    refused(client, 422, json.dumps(body).encode())


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_what_is_too_large_is_refused(client, body):
    refused(client, 413, json.dumps(body).encode())


SMALL_BUT_MANY = {  # a body of few bytes whose work is large
    "numbers as texts": ({"texts": [1] * 100_000}, 422, "texts[0]: found a number, expected a string or a list"),
    "empty lists": (b'{"texts": [' + b"[]," * 300_000 + b"[]]}", 413, "elements"),
    "words that are numbers": ({"texts": [[1] * 100_000]}, 422, "texts[0][0]: found a number, expected a string"),
    "unknown keys": ({"text": "a"} | {f"k{number}": 1 for number in range(50_000)}, 422, "50000 errors"),
    "unknown tasks": ({"text": "a", "tasks": [f"k{number}" for number in range(50_000)]}, 422, "at most the 3 that are served"),
    "units": (
        {"text": "abc", "units": [[[0, 0]] * 20_000], "tasks": ["slots"]},
        422,
        "units[0]: found 20000, expected at most 3",
    ),
}


@pytest.mark.parametrize("body, status, said", SMALL_BUT_MANY.values(), ids=SMALL_BUT_MANY)
def test_only_the_first_of_many_errors_is_looked_at(client, body, status, said, monkeypatch):
    counts = []

    def first(error, of=errors.validation_sentence):
        counts.append(error.error_count())
        return of(error)

    monkeypatch.setattr(bodies, "validation_sentence", first)
    assert said in refused(client, status, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert all(count <= 3 or count == 50_000 for count in counts)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"text": "a", "pair": "b", **MOOD}, 422, "pair: found second texts, expected none, as none of the branches that are"),
        ({"texts": ["a", ["b"]], **MOOD}, 422, "texts[1]: found list, expected a string, as no task that is asked tags words"),
        ({"texts": [["a"], "b"], **SLOTS}, 422, "texts[1]: found str, expected a list of words"),
        ({"text": "abc", "units": [[0, 1], [2, 9]], **SLOTS}, 422, "units[1]: found (2, 9)"),
        ({"text": "abc", "units": [[[2, 9]]], **SLOTS}, 422, "units[0][0]: found (2, 9)"),
        ({"texts": ["a", "b"], "units": [[], [[0, 2]]], **SLOTS}, 422, "units[1][0]: found (0, 2)"),
        ({"text": "a", "units": [[0, 0]] * 2, **SLOTS}, 422, "units: found 2, expected at most 1"),
        ({"text": "a", "tasks": ["pair"]}, 422, "pair: found none"),
        ({"text": "a" * 200_001, **MOOD}, 413, "text: found 200001 characters"),
        ({"text": "sesame " * 100, "long_texts": "refuse", **MOOD}, 422, "text: found more than"),
        ({"texts": ["a", " "], "empty_texts": "refuse", **MOOD}, 422, "texts[1]: found a blank string"),
        ({"text": "a", "tasks": []}, 422, "tasks: found a list of 0, expected a list of at least 1"),
    ],
)
def test_a_sentence_names_the_keys_that_were_used(client, body, status, said):
    assert refused(client, status, json.dumps(body).encode()).startswith(said)


@given(st.lists(st.sampled_from(["\ud83d", "\ude00", "\\", "ud83d", "d8", '"', "é\n", "\U0001f600"]), max_size=9).map("".join))
@settings(max_examples=50, deadline=None)
def test_halves_of_surrogate_pairs_are_read_as_in_files(text):
    body = json.dumps({"text": text}).encode()
    for one in (body, body.replace(b"\\ud", b"\\uD").replace(b"\\uDe", b"\\uDE")):
        expected = clean(json.loads(one)["text"])
        assert json.loads(bodies.without_halves(one))["text"] == expected
        assert bodies.parse(one, PredictRequest).text == expected


def test_a_text_with_half_a_surrogate_pair_is_answered(client):
    half, other = (b'{"text": "play \\u%s Bowie", "tasks": ["mood"]}' % code for code in (b"d83d", b"fffd"))
    found, expected = (
        client.post("/v1/predict", content=one, headers={"Content-Type": "application/json"}) for one in (half, other)
    )
    assert found.status_code == 200 and found.json()["predictions"] == expected.json()["predictions"]


def test_elements_are_counted_outside_of_strings():
    bodies.check_elements(json.dumps({"texts": ['\\",[{\\\\', "[" * 1000]}).encode(), 3)
    with pytest.raises(errors.Refused):
        bodies.check_elements(json.dumps({"texts": ["a", "b", '"']}).encode(), 3)


def test_what_was_refused_is_let_go_without_a_garbage_collection(client):
    """Its error holds the body."""
    words = ["so good " * 1000] * 8
    bodies = [
        json.dumps({"texts": words}) + "x",
        json.dumps({"texts": words, "none": 1}),
        '{"texts": [' + "1," * 300_000 + "1]}",
    ]
    headers = {"content-type": "application/json"}
    gc.collect()
    gc.disable()
    try:
        for body, status in zip(bodies, (400, 422, 413), strict=True):
            assert client.post("/v1/predict", content=body, headers=headers).status_code == status
            until = time.monotonic() + 10  # the request may end a moment after its answer
            while any(type(one) is errors.Refused for one in gc.get_objects()):
                assert time.monotonic() < until
    finally:
        gc.enable()


def test_a_large_body_is_worked_on_in_another_thread(client, monkeypatch):
    """Its parsing, its checks and its submission: the event loop serves others meanwhile."""
    threads, engine = {}, client.app.state.service.engine
    for place, name, work in ((bodies, "parse", bodies.parse), (engine, "submit", engine.submit)):

        def noted(*given, name=name, of=work):
            threads[name] = threading.current_thread().name
            return of(*given)

        monkeypatch.setattr(place, name, noted)
    loop = {}

    async def noting(scope, receive, send, of=client.app.outermost):
        loop[scope["path"]] = threading.current_thread().name
        await of(scope, receive, send)

    monkeypatch.setattr(client.app, "outermost", noting)
    for size, apart in ((10, False), (40_000, True)):
        assert client.post("/v1/predict", json={"text": "a" * size, **MOOD}).status_code == 200
        assert all((name != loop["/v1/predict"]) == apart for name in threads.values()), (threads, loop)


@pytest.mark.parametrize(
    "text", ["", "\x00", "\u202e\u0000\ufffe", "\U0001f600" * 500, "a" * 100_000, "\u0301" * 1000, "[MASK] [SEP] <s> {{7*7}}"]
)
def test_odd_texts_are_answered(client, text):
    answer = client.post("/v1/predict", json={"texts": [text, "so good"], "tasks": ["mood", "slots"]})
    assert answer.status_code == 200, answer.text[:300]
    first, second = answer.json()["predictions"]
    assert (first["mood"]["label"] is None) == (not text) and second["mood"]["label"] is not None


def test_other_addresses_and_methods(client):
    for method, path, status in [
        ("GET", "/v1/predict", 405), ("TRACE", "/v1/predict", 405), ("SESAME", "/v1/tasks", 405), ("GET", "/v1/sesame", 404),
        ("GET", "/v1/tasks/", 404), ("GET", "/v1/tasks/..%2f..%2fetc%2fpasswd", 404), ("GET", "/v1/tasks/%00", 404),
        ("GET", "/v1/tasks/mood%0a", 404), ("GET", "/livez%0A", 404), ("GET", "/%0a", 404), ("POST", "/v1/predict%0a", 404),
        ("GET", "/page/..%2f..%2fapi.js", 404), ("GET", "/docs", 404),
    ]:  # fmt: skip
        answer = client.request(method, path)
        assert answer.status_code == status, (method, path)
        assert answer.json()["error"] and SECRET not in answer.text
    for method, path, allowed in [
        ("GET", "/v1/predict", "POST"), ("POST", "/v1/tasks/mood", "DELETE, GET, PUT"), ("POST", "/livez", "GET, HEAD")
    ]:  # fmt: skip
        assert client.request(method, path).headers["allow"] == allowed


def test_every_operation_is_described_with_examples_and_all_of_its_errors(client):
    described = client.get("/openapi.json").json()
    predict = described["paths"]["/v1/predict"]["post"]
    assert set(predict["responses"]) == {"200", *map(str, (400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504))}
    schemas = described["components"]["schemas"]
    asked = schemas["PredictRequest"]
    assert predict["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PredictRequest")
    assert asked["additionalProperties"] is False
    for example in asked["examples"]:
        assert client.post("/v1/predict", json={**example, "tasks": ["mood"]}).status_code == 200
    assert set(described["paths"]["/v1/tasks/{name}"]) == {"get", "put", "delete"}
    own = ("/v1/predict", "/v1/tasks", "/v1/tasks/{name}", "/livez", "/readyz", "/metrics")
    for path in own:
        for operation in described["paths"][path].values():
            for status, answer in operation["responses"].items():
                assert status < "400" or answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    jsonschema = pytest.importorskip("jsonschema")
    answered = client.post(
        "/v1/predict", json={"texts": ["so good", ""], "tasks": ["mood", "slots"], "scores": True, "layers": True}
    )
    tasks = client.get("/v1/tasks")
    for value, name in ((answered.json(), "PredictAnswer"), (tasks.json(), "TasksAnswer")):
        jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": described["components"]})
