"""Tasks are added, replaced and removed over HTTP, by those who hold an admin key."""

from __future__ import annotations

import json
import pickle
import threading
from dataclasses import replace
from urllib.parse import unquote

import pytest
from bundletools import TEXTS, make
from starlette.testclient import TestClient
from tiny import tiny_bert

from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.http.app import create_app
from trunkline.serving.http.keys import Keys
from trunkline.serving.http.settings import Settings
from trunkline.trunk.load import load_trunk

USER, ADMIN = {"Authorization": "Bearer user-key-1"}, {"Authorization": "Bearer admin-key-1"}


def saved(branch, folder):
    branch.task.name = folder.name
    save_branch(branch, folder)
    return folder


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def folder(trunk, tmp_path_factory):
    """A run with the branches one and two, a link to two, and the branch slots."""
    folder = tmp_path_factory.mktemp("branches")
    saved(make(trunk, "sequence", seed=1), folder / "run" / "branches" / "one")
    saved(make(trunk, "sequence", seed=2), folder / "run" / "branches" / "two")
    saved(make(trunk, "token", seed=3), folder / "slots")
    narrow = make(trunk, "sequence", seed=4, precision="bf16")
    narrow.trunk = replace(narrow.trunk, dtype="bf16")
    saved(narrow, folder / "narrow")
    (folder / "neither").mkdir()
    (folder / "link").symlink_to("run/branches/two", target_is_directory=True)
    return folder


@pytest.fixture
def client(trunk, folder):
    with Engine(Bundle(trunk, {"mood": make(trunk, "sequence")})) as engine:
        settings = Settings(keys=Keys(None, ["user-key-1"]), admin_keys=Keys(None, ["admin-key-1"]), branches=folder)
        with TestClient(create_app(engine, settings), headers=ADMIN) as client:  # one event loop, as in a server
            yield client


def names(client):
    return [task["name"] for task in client.get("/v1/tasks").json()["tasks"]]


def files(folder):
    return {"branch": (folder / "branch.json").read_bytes(), "weights": (folder / "weights.safetensors").read_bytes()}


def test_a_task_of_the_folder_is_added_replaced_and_removed(client, trunk, folder, caplog):
    caplog.set_level("INFO", "trunkline.serving")
    assert client.put("/v1/tasks/slots", json={"branch": "slots"}).status_code == 201
    assert names(client) == ["mood", "slots"]
    task = client.put("/v1/tasks/slots", json={"branch": "slots"})
    assert task.status_code == 200 and task.json() == client.get("/v1/tasks/slots").json()
    assert task.json()["labels"] == ["x", "y"] and task.json()["card"].startswith("# slots")
    assert client.put("/v1/tasks/two", json={"branch": "run"}).status_code == 201  # the task of that name in a run
    assert client.put("/v1/tasks/other", json={"branch": "link"}).status_code == 201  # that one under another name
    both = client.post("/v1/predict", json={"text": TEXTS[0], "tasks": ["two", "other"]}).json()["predictions"][0]
    assert both["two"] == both["other"] and client.delete("/v1/tasks/other").status_code == 204
    found = client.post("/v1/predict", json={"text": TEXTS[0], "tasks": ["two"]}).json()["predictions"][0]["two"]
    (expected,) = Bundle.open([folder / "run/branches/two"], trunk=trunk).predict_written([TEXTS[0]])
    assert found == pytest.approx({key: expected["two"][key] for key in ("label", "score")}, abs=1e-5)
    assert client.delete("/v1/tasks/slots").status_code == 204 and client.delete("/v1/tasks/slots").status_code == 404
    assert names(client) == ["mood", "two"] and (folder / "slots" / "branch.json").is_file()
    changes = [told.facts for told in caplog.records if told.facts["method"] in ("PUT", "DELETE")]
    assert [(one["status"], one.get("task")) for one in changes] == [
        (201, "slots"), (200, "slots"), (201, "two"), (201, "other"), (204, "other"), (204, "slots"), (404, None)
    ]  # fmt: skip
    for name in names(client):
        client.delete(f"/v1/tasks/{name}")
    refused = client.post("/v1/predict", json={"text": "a"})  # ready all the same: a task may be added
    assert (refused.status_code, refused.json()["error_type"]) == (503, "unavailable") and "no task" in refused.json()["error"]
    assert (
        client.get("/readyz").status_code == 200 and client.put("/v1/tasks/slots", json={"branch": "slots"}).status_code == 201
    )


def test_tasks_say_what_they_are_computed_in(client):
    told = client.get("/v1/tasks").json()
    assert (told["trunk"]["backend"], told["trunk"]["dtype"]) == ("torch", "fp32")
    assert "computed by torch in fp32, as in training." in told["tasks"][0]["card"]
    put = client.put("/v1/tasks/narrow", json={"branch": "narrow"}).json()
    assert (put["backend"], put["dtype"]) == ("torch", "bf16") and put == client.get("/v1/tasks/narrow").json()
    told = client.get("/v1/tasks").json()
    assert [(one["name"], one["backend"], one["dtype"]) for one in told["tasks"]] == [
        ("mood", "torch", "fp32"), ("narrow", "torch", "bf16")
    ]  # fmt: skip
    assert told["trunk"]["backend"] is told["trunk"]["dtype"] is None  # they differ
    assert client.put("/v1/tasks/mood", json={"branch": "narrow"}).json()["dtype"] == "bf16"  # replaced by another precision
    assert client.get("/v1/tasks").json()["trunk"]["dtype"] == "bf16"


def test_a_branch_is_sent_as_its_two_files(client, folder):
    assert client.put("/v1/tasks/new", files=files(folder / "slots")).status_code == 201
    assert "spans" in client.post("/v1/predict", json={"text": "so good", "tasks": ["new"]}).json()["predictions"][0]["new"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    trunk = load_trunk(tiny_bert(folder / "trunk", seed=7), dtype="fp32", device="cpu")
    return saved(make(trunk, "sequence"), folder / "mood")


def test_what_is_no_branch_of_this_trunk_is_refused_and_changes_nothing(client, folder, foreign, tmp_path):
    own, before = files(folder / "slots"), client.post("/v1/predict", json={"text": TEXTS[0]}).json()["predictions"]
    described = json.loads(own["branch"])
    secret = tmp_path / "secret"
    secret.write_text("{}")
    tuned = {**described, "method": {"name": "adapter", "start": str(secret)}}
    refused = [
        ({"branch": "nowhere"}, "no branch or run of that name"),
        ({"branch": "neither"}, "no branch or run of that name"),
        ({"branch": "../" + folder.name + "/slots"}, "found a name"),
        ({"branch": str(folder / "slots")}, "found a name"),
        ({"branch": "run/branches/one"}, "found a name"),
        ({"branch": "run"}, "tasks one, two, expected one with the task of that name, or with one task; under another name"),
        ({"branch": 3}, "branch: found a number, expected a string"),
        ({"folder": "slots"}, "found an unknown key; expected one of branch"),
        (files(foreign), "the upload: trained on"),
        ({**own, "weights": pickle.dumps({"a": 1})}, "weights.safetensors: cannot be read as safetensors"),
        ({**own, "weights": own["weights"][:-10]}, "weights.safetensors: "),
        ({**own, "branch": b"{}"}, "branch.json: found schema None"),
        ({**own, "branch": json.dumps({**described, "max_length": 9}).encode()}, "branch.json: not what was saved"),
        ({**own, "branch": json.dumps(tuned).encode()}, "method.start: found a path"),
        ({**own, "weights": (folder / "run/branches/one/weights.safetensors").read_bytes()}, "saved with another branch.json"),
        ({"branch": own["branch"]}, "expected the files"),
        ({**own, "more": b"x"}, "no form with the two files"),
    ]
    for body, sentence in refused:
        as_json = not isinstance(next(iter(body.values())), bytes)
        answer = client.put("/v1/tasks/new", **({"json": body} if as_json else {"files": body}))
        assert answer.status_code in (400, 422), sentence
        assert answer.json()["error_type"] == "bad_input" and sentence in answer.json()["error"], answer.text
        assert "/tmp" in str(body) or "/tmp" not in answer.text
    assert names(client) == ["mood"]
    assert client.post("/v1/predict", json={"text": TEXTS[0]}).json()["predictions"] == before


@pytest.mark.parametrize("name", ["..%2fslots", "..%5cslots", "%2e%2e%2fx", ".hidden", "a%20b", "a%2fb", "a" * 300, "-x"])
def test_a_name_that_leads_elsewhere_is_refused(client, name):
    answer = client.put(f"/v1/tasks/{name}", json={"branch": "slots"})
    assert answer.status_code == 422 and answer.json()["error"].startswith("the name of the task: found")
    assert unquote(name) not in answer.text.replace("'-', '.', '@'", "")
    assert client.get(f"/v1/tasks/{name}").status_code == client.delete(f"/v1/tasks/{name}").status_code == 404


def test_only_an_admin_changes_tasks(client, trunk):
    assert client.put("/v1/tasks/slots", json={"branch": "slots"}, headers=USER).status_code == 403
    assert client.delete("/v1/tasks/mood", headers=USER).status_code == 403
    assert client.delete("/v1/tasks/mood", headers={"Authorization": ""}).status_code == 401
    assert names(client) == ["mood"]
    with Engine(Bundle(trunk, {"mood": make(trunk, "sequence")})) as engine:
        nobody = TestClient(create_app(engine)).delete("/v1/tasks/mood")
    assert nobody.status_code == 403 and "none was given" in nobody.json()["error"]


def test_tasks_come_and_go_while_requests_run(client, folder):
    upload, ended, failed = files(folder / "slots"), threading.Event(), []
    expected = client.post("/v1/predict", json={"texts": TEXTS[:3], "tasks": ["mood"]}).json()["predictions"]

    def ask():
        while not ended.is_set():
            answer = client.post("/v1/predict", json={"texts": TEXTS[:3], "tasks": ["mood"]})
            if answer.status_code != 200 or [a["mood"]["label"] for a in answer.json()["predictions"]] != [
                a["mood"]["label"] for a in expected
            ]:
                failed.append(answer.text)

    asking = threading.Thread(target=ask)
    asking.start()
    sent = []

    def put():
        sent.append(client.put("/v1/tasks/new", files=upload).status_code)

    for _ in range(2):
        putting = [threading.Thread(target=put) for _ in range(2)]
        for thread in putting:
            thread.start()
        for thread in putting:
            thread.join()
        assert client.delete("/v1/tasks/new").status_code == 204
    ended.set()
    asking.join()
    assert failed == [] and sorted(sent) == [200, 200, 201, 201]
