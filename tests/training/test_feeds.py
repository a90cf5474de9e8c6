"""Where a run's states come from: what `states: auto` decided is kept for the whole run, and by all processes of a launch."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.events import Evaluated, Finding, Resumed, quiet
from trunkline.files import cache_dir
from trunkline.states.store import build_store
from trunkline.training.checkpoint import noted_states
from trunkline.training.config import resolve
from trunkline.training.feeds import Noted
from trunkline.training.fit import fit
from trunkline.training.run import Run
from trunkline.trunk.stream import run_layers


class Stopped(BaseException):
    pass


@pytest.fixture
def disk(monkeypatch):
    """disk(free): from now on so many bytes are free."""
    usage = namedtuple("usage", "total used free")

    def set_free(free):
        monkeypatch.setattr("trunkline.states.budget.shutil.disk_usage", lambda path: usage(10**12, 0, free))

    return set_free


@pytest.fixture(params=["adalayers", "bitfit on stored states"])
def values(request, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    made = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2, evaluate_every=1)
    if request.param != "adalayers":
        made["method"] = {"name": "full", "top": 1}
    return made


def stop_after_a_checkpoint(values, run):
    seen = []

    def stop(event):
        if isinstance(event, Evaluated) and (run / "checkpoint" / "state.json").exists():
            seen.append(event)
            if len(seen) == 2:
                raise Stopped

    with pytest.raises(Stopped):
        fit(values, run_dir=run, subscribers=[stop])


def weights(run):
    return load_file(run / "branches" / "mood" / "weights.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_a_run_that_began_live_stays_live_when_there_is_room(values, tmp_path, disk):
    disk(10**12)
    fit(values, run_dir=tmp_path / "stored")
    shutil.rmtree(cache_dir() / "states")
    disk(10)
    fit(values, run_dir=tmp_path / "live")
    assert not same(weights(tmp_path / "live"), weights(tmp_path / "stored"))  # or the test would show nothing
    stop_after_a_checkpoint(values, tmp_path / "run")
    disk(10**12)
    told = []
    fit(values, run_dir=tmp_path / "run", subscribers=[told.append])
    assert any(isinstance(event, Resumed) for event in told)
    texts = [event.text for event in told if isinstance(event, Finding)]
    assert any("the trunk runs in every epoch, as it did before" in text for text in texts)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "live"))
    assert not (cache_dir() / "states").exists()


def test_a_run_that_began_with_stored_states_does_not_go_on_without(values, tmp_path, disk):
    disk(10**12)
    fit(values, run_dir=tmp_path / "stored")
    stop_after_a_checkpoint(values, tmp_path / "run")
    shutil.rmtree(cache_dir() / "states")
    disk(10)
    with pytest.raises(
        BadInput, match=r"this run started with stored states, .* free disk space, or train again with --fresh"
    ) as caught:
        fit(values, run_dir=tmp_path / "run")
    assert "\n" not in str(caught.value)
    disk(10**12)
    fit(values, run_dir=tmp_path / "run")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "stored"))


def test_a_checkpoint_of_an_older_version_says_nothing(values, tmp_path):
    stop_after_a_checkpoint(values, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint" / "state.json"
    assert {noted.states for noted in noted_states(file.parent).values()} == {"store"}
    state = json.loads(file.read_text())
    environment = state["position"]["environment"]
    del environment["stores"]  # as version 0.1 has left it
    file.write_text(json.dumps(state))
    assert set(noted_states(file.parent).values()) == {Noted("store", None)}
    for content in (state | {"position": {}}, state | {"position": {"environment": {}}}, [], 1):
        file.write_text(json.dumps(content))
        assert noted_states(file.parent) == {}
    file.unlink()
    assert noted_states(file.parent) == {}


def of_rows(tiny_trunk_dir, folder, name, rows):
    """The config of a fit on some rows, whose validation split is apart; states in fp32, so that rounding shows."""
    (folder / f"{name}.jsonl").write_text("".join(rows))
    made = config(tiny_trunk_dir, folder / f"{name}.jsonl", tasks=("mood",), epochs=2, evaluate_every=1)
    made["data"] |= {"validation": str(folder / "validation.jsonl"), "test": None}
    made["training"]["states_dtype"] = "fp32"
    return made


@pytest.fixture
def shared(tiny_trunk_dir, tmp_path):
    """shared(name, rows): configs of fits on rows of one file."""
    rows = write_rows(tmp_path / "rows.jsonl", 60).read_text().splitlines(keepends=True)
    distinct = list(dict.fromkeys(rows))
    (tmp_path / "validation.jsonl").write_text("".join(distinct[:10]))
    rest = distinct[10:]
    return lambda name, part: of_rows(tiny_trunk_dir, tmp_path, name, rest[part])


def stores():
    return sorted(path.parent.name for path in (cache_dir() / "states").glob("*/store.json"))


def rounded_otherwise(trunk, inputs, layers, receive):
    run_layers(trunk, inputs, layers, lambda layer, state: receive(layer, state + 1e-3))


def test_a_resumed_run_reads_the_stores_that_it_began_with(shared, tmp_path, monkeypatch):
    half, whole = shared("half", slice(0, 20)), shared("whole", slice(0, 40))
    fit(half, run_dir=tmp_path / "half")
    before = stores()
    fit(whole, run_dir=tmp_path / "uninterrupted")
    (new,) = set(stores()) - set(before)
    stop_after_a_checkpoint(whole, tmp_path / "run")
    noted = noted_states(tmp_path / "run" / "checkpoint")["mood/train"]
    assert noted.states == "store" and len(noted.stores) == 2 and new in noted.stores and set(noted.stores) <= set(stores())
    begins = Run(resolve(whole), quiet)  # a run that begins now would read the store that is made here
    with monkeypatch.context() as patched:
        patched.setattr("trunkline.states.live.run_layers", rounded_otherwise)
        build_store(begins.trunk, begins.groups[0].splits["train"].encoded, layers=begins.layers, dtype="fp32")
    fit(whole, run_dir=tmp_path / "anew")
    assert not same(weights(tmp_path / "anew"), weights(tmp_path / "uninterrupted"))
    told = []
    fit(whole, run_dir=tmp_path / "run", subscribers=[told.append])
    assert any(isinstance(event, Resumed) for event in told)
    assert not any("computed again" in event.text for event in told if isinstance(event, Finding))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "uninterrupted"))


def test_a_resumed_run_says_when_its_states_were_computed_again(shared, tmp_path):
    whole = shared("whole", slice(0, 40))
    fit(shared("half", slice(0, 20)), run_dir=tmp_path / "half")
    first = stores()
    stop_after_a_checkpoint(whole, tmp_path / "run")
    own = next(key for key in noted_states(tmp_path / "run" / "checkpoint")["mood/train"].stores if key in first)
    shutil.rmtree(cache_dir() / "states" / own)
    told = []
    fit(whole, run_dir=tmp_path / "run", subscribers=[told.append])
    said = [event.text for event in told if isinstance(event, Finding) and "computed again" in event.text]
    assert len(said) == 1 and said[0].startswith("train: states that this run started with are missing")
