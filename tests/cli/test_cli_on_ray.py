"""What commands with `--engine ray` refuse before anything is started: none of it needs Ray."""

import importlib.util

import pytest
from clitools import fails, write_jsonl

from trunkline.cluster import Connected, Resources
from trunkline.errors import BadInput
from trunkline.serving.ray import Asked, application

MISSING = "--engine ray needs Ray, which is not installed; install it with pip install 'trunkline[ray]'"


@pytest.fixture
def without_ray(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "ray" else find(name, *more))


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "run", "-i", "x.jsonl", "-o", "out"),
        ("states", "build", "x.yaml"),
        ("compare", "x.yaml"),
        ("sweep", "x.yaml"),
    ],
    ids=lambda command: command[0],
)
def test_without_ray_the_extra_is_named(command, without_ray):
    assert fails(2, *command, "--engine", "ray") == MISSING


def test_a_deployment_without_ray_names_the_extra(without_ray):
    with pytest.raises(BadInput, match=r"^a Ray Serve deployment needs Ray, .* pip install 'trunkline\[ray\]'$"):
        application(Asked(branches="a,b"))


def test_resources_are_read_in_the_terms_of_ray():
    found = Resources.parse(["address=head:6379", "num_cpus=4", "num_gpus=0.5", "resources.tpu=2"])
    assert found == Resources("head:6379", 4.0, 0.5, {"tpu": 2.0})
    assert Resources.parse([]) == Resources()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["num_cpu=1"], "unknown name 'num_cpu'; did you mean 'num_cpus'?"),
        (["num_cpus"], "found 'num_cpus', expected KEY=VALUE"),
        (["num_cpus=1", "num_cpus=2"], "found num_cpus twice"),
        (["num_gpus=two"], "num_gpus: found 'two', expected a whole number, or a share below 1"),
        (["num_gpus=1.5"], "found '1.5', expected a whole number"),
        (["num_cpus=nan"], "found 'nan', expected a whole number"),
        (["resources.=1"], "unknown name"),
    ],
)
def test_what_is_no_resource_is_refused(given, said):
    with pytest.raises(BadInput, match=r"^--ray: ") as raised:
        Resources.parse(given)
    assert said in str(raised.value)


def test_a_machine_has_room_for_as_many_workers_as_its_scarcest_resource():
    worker = Connected({"num_cpus": 2.0, "num_gpus": 0.5, "resources": {"disk": 1.0}})
    machine = {"CPU": 9.0, "GPU": 1.0, "disk": 7.0}
    assert worker._on(machine) == 2 and worker._on({**machine, "GPU": 4.0}) == 4 and worker._on({"CPU": 8.0}) == 0


def test_ray_without_its_engine_and_input_that_it_does_not_take_are_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.cluster.require_ray", lambda *what: None)
    write_jsonl(tmp_path / "x.jsonl", [{"text": "a"}])
    ray = ["--engine", "ray"]
    assert fails(2, "predict", trained, "-t", "x", "--ray", "num_cpus=1") == (
        "found --ray and the engine local, expected --engine ray"
    )
    assert "found --text and --engine ray" in fails(2, "predict", trained, "-t", "x", *ray)
    assert "found --engine ray and no file" in fails(2, "predict", trained, *ray, "-o", "out")
    assert "found --engine ray and no --output" in fails(2, "predict", trained, "-i", "x.jsonl", *ray)
    assert "unknown name 'csv'" in fails(2, "predict", trained, "-i", "x.jsonl", "-o", "out", "--format", "csv", *ray)
    assert "found JSON lines and the format parquet, expected jsonl" in fails(
        2, "predict", trained, "-i", "x.jsonl", "-o", "out", "--format", "parquet", *ray
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "found 'mine.txt' in it, expected a new or empty folder" in fails(
        2, "predict", trained, "-i", "x.jsonl", "-o", "out", *ray
    )
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
