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
from trunkline.events import Evaluated, Finding, Resumed
from trunkline.files import cache_dir
from trunkline.training.checkpoint import noted_states
from trunkline.training.fit import fit


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
    with pytest.raises(BadInput, match=r"this run began with stored states, .* make room, or use --fresh") as caught:
        fit(values, run_dir=tmp_path / "run")
    assert "\n" not in str(caught.value)
    disk(10**12)
    fit(values, run_dir=tmp_path / "run")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "stored"))


def test_a_checkpoint_of_an_older_version_says_nothing(values, tmp_path):
    stop_after_a_checkpoint(values, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint" / "state.json"
    assert set(noted_states(file.parent).values()) == {"store"}
    state = json.loads(file.read_text())
    for content in (state | {"position": {}}, state | {"position": {"environment": {}}}, [], 1):
        file.write_text(json.dumps(content))
        assert noted_states(file.parent) == {}
    file.unlink()
    assert noted_states(file.parent) == {}
