import json
import logging
import os
import shutil

import numpy as np
import pytest
from light import LightTrunk, content, feed, light_build, light_corpus

from trunkline.errors import BadInput, TrunklineError
from trunkline.states import checks
from trunkline.states.store import StatesStore

ENCODED = light_corpus(np.random.default_rng(0).integers(1, 20, 40))
OPTIONS = {"shard_bytes": 1000, "dtype": "int8"}
STATES, SCALES = "layer-01.shard-0002.states", "layer-01.shard-0002.scales"


@pytest.fixture
def path(tmp_path):
    return light_build(LightTrunk(), ENCODED, tmp_path, **OPTIONS).path


def edit(change):
    def apply(path):
        found = json.loads((path / "store.json").read_text())
        change(found)
        (path / "store.json").write_text(json.dumps(found))

    return apply


def cut(name, to):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:to])


def flip(name, at):
    def apply(path):
        data = bytearray((path / name).read_bytes())
        data[at] ^= 4
        (path / name).write_bytes(data)

    return apply


def fifo(path):
    path.unlink()
    os.mkfifo(path)


AT_OPENING = {
    "a shard is cut short": (cut(STATES, -1), f"{STATES} has .* bytes, expected"),
    "a shard is empty": (cut(STATES, 0), f"{STATES} has 0 bytes"),
    "a shard is too long": (lambda path: (path / STATES).open("ab").write(b"x"), f"{STATES} has"),
    "scales are cut short": (cut(SCALES, -4), f"{SCALES} has"),
    "a FIFO is in a shard's place": (lambda path: fifo(path / STATES), f"{STATES} is no file"),
    "a FIFO is in the place of store.json": (lambda path: fifo(path / "store.json"), "store.json is corrupt .found a FIFO"),
    "a FIFO is in the place of lengths": (lambda path: fifo(path / "lengths"), "lengths is missing or cannot be read"),
    "store.json nests too deep": (
        lambda path: (path / "store.json").write_text('{"layers":' * 100_000),
        r"store.json is corrupt .cannot be read as JSON",
    ),
    "a number is huge": (edit(lambda found: found["shards"][0].update(tokens=10**400)), "shard table"),
    "a number has too many digits": (
        lambda path: (path / "store.json").write_text('{"format": ' + "9" * 5000 + "}"),
        "store.json is corrupt",
    ),
    "a shard is missing": (lambda path: (path / STATES).unlink(), f"{STATES} is missing"),
    "lengths are missing": (lambda path: (path / "lengths").unlink(), "lengths is missing"),
    "a length has changed": (flip("lengths", 0), "lengths has another checksum"),
    "store.json is cut short": (cut("store.json", -20), "store.json is corrupt"),
    "store.json is empty": (cut("store.json", 0), "store.json is corrupt"),
    "store.json is not text": (lambda path: (path / "store.json").write_bytes(b"\xff\xfe\x00"), "store.json is corrupt"),
    "store.json is a list": (lambda path: (path / "store.json").write_text("[1]"), "store.json is corrupt"),
    "a field is missing": (edit(lambda found: found.pop("tokens")), r"store.json is corrupt \(at tokens\)"),
    "a field is of another type": (edit(lambda found: found.update(texts="40")), r"store.json is corrupt \(at texts\)"),
    "a layer has no number": (edit(lambda found: found["layers"].update(x=[])), "store.json is corrupt"),
    "a layer lacks shards": (edit(lambda found: found["layers"]["1"].pop()), "shard table"),
    "the shard table has changed": (edit(lambda found: found["shards"][0].update(tokens=1)), "shard table"),
    "scales are not listed": (edit(lambda found: found["layers"]["1"][2].update(scales=None)), "scales"),
    "a part of the key has changed": (edit(lambda found: found["key"].update(weights="v")), "built for another trunk"),
}


@pytest.mark.parametrize("case", AT_OPENING)
def test_refused_when_opened_and_computed_again_when_built(path, case, caplog):
    damage, message = AT_OPENING[case]
    sound = content(path)
    damage(path)
    with pytest.raises(TrunklineError, match=message) as caught:
        StatesStore.open(path)
    assert str(path) in str(caught.value) and "build it again" in str(caught.value)
    assert "\n" not in str(caught.value)
    caplog.set_level(logging.WARNING, "trunkline")
    store = light_build(LightTrunk(), ENCODED, path.parent, **OPTIONS)
    assert len(caplog.records) == 1 and "it is computed again" in caplog.text and str(path) in caplog.text
    assert store.path == path and content(path) == sound


def test_only_what_is_broken_is_computed_again_and_a_flipped_bit_is_found_before(path, caplog):
    sound = content(path)
    flip(STATES, 7)(path)
    flip(SCALES, 0)(path)
    (path / "layer-03.shard-0000.states").unlink()  # of a layer that is not asked for
    times = {file.name: file.stat().st_mtime_ns for file in path.glob("layer-*")}
    trunk = LightTrunk()
    caplog.set_level(logging.WARNING, "trunkline")
    store = light_build(trunk, ENCODED, path.parent, layers=[1], **OPTIONS)
    assert f"{STATES} has changed since it was written; it is computed again" in caplog.text
    assert store.layers == (0, 1, 2) and trunk.passes > 0
    assert {name for name in times if (path / name).stat().st_mtime_ns != times[name]} == {STATES, SCALES}
    found = feed(store, range(40), [1])
    light_build(trunk, ENCODED, path.parent, **OPTIONS)
    assert content(path) == sound
    assert found[1].equal(feed(StatesStore.open(path), range(40), [1])[1])


def test_a_newer_format_is_refused_and_kept(path):
    edit(lambda found: found.update(format=99))(path)
    kept = content(path)
    message = "newer Trunkline .format 99, this one reads 1.; upgrade, or delete this directory"
    for attempt in (lambda: StatesStore.open(path), lambda: light_build(LightTrunk(), ENCODED, path.parent, **OPTIONS)):
        with pytest.raises(TrunklineError, match=message):
            attempt()
    assert content(path) == kept
    shutil.rmtree(path)
    light_build(LightTrunk(), ENCODED, path.parent, **OPTIONS).verify()


@pytest.mark.parametrize("name", [STATES, SCALES])
@pytest.mark.parametrize("at", [0, -1])
def test_a_flipped_bit_is_found_before_the_first_row_is_handed_over(path, name, at):
    flip(name, at)(path)
    store = StatesStore.open(path)
    inside = np.flatnonzero(store._shard_starts[2] == store._first)
    outside = np.flatnonzero(store._first < store._shard_starts[2])
    feed(store, outside, [1])
    feed(store, inside, [0, 2])
    for _ in range(2):
        with pytest.raises(TrunklineError, match=f"corrupt .{name} has changed since it was written.; build it again"):
            feed(store, inside, [1])
    with pytest.raises(TrunklineError, match=name):
        store.verify()
    store.verify([0, 2, 3])


def test_a_shard_that_shrinks_or_goes_while_in_use(path):
    store = StatesStore.open(path)
    everything = np.arange(40)
    feed(store, everything, [1])
    cut(STATES, 8)(path)
    with pytest.raises(TrunklineError, match="layer 1 has changed since it was opened"):
        feed(store, everything, [1])
    (path / "layer-02.shard-0000.states").unlink()
    with pytest.raises(TrunklineError, match=r"layer-02\.shard-0000\.states was removed while the store was in use"):
        feed(store, everything, [2])


def test_a_renamed_store_and_what_is_none(path, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nothing", path / "lengths"):
        with pytest.raises(BadInput, match="not a states store"):
            StatesStore.open(place)
    renamed = path.rename(path.parent / ("0" * 64))
    with pytest.raises(TrunklineError, match="built for another trunk"):
        StatesStore.open(renamed)


def test_a_file_is_hashed_again_only_after_it_was_written(path, monkeypatch):
    hashed, plain = [], checks.sha256_file
    monkeypatch.setattr(checks, "sha256_file", lambda file: (hashed.append(file.name), plain(file))[1])
    long_ago = checks.time.time_ns() + 2 * checks.SETTLED  # as if that much time had passed since it was written
    monkeypatch.setattr(checks.time, "time_ns", lambda: long_ago)
    StatesStore.open(path).verify()
    once = len(hashed)
    StatesStore.open(path).verify()
    assert once > 0 and len(hashed) == once
    flip(STATES, 0)(path)
    with pytest.raises(TrunklineError, match=STATES):
        StatesStore.open(path).verify()
    assert hashed[once:] == [STATES]


def test_a_file_that_was_just_written_is_hashed_every_time(path, monkeypatch):
    hashed, plain = [], checks.sha256_file
    monkeypatch.setattr(checks, "sha256_file", lambda file: (hashed.append(file.name), plain(file))[1])
    now = checks.time.time_ns()
    monkeypatch.setattr(checks.time, "time_ns", lambda: now)
    StatesStore.open(path).verify()
    once = len(hashed)
    StatesStore.open(path).verify()
    assert len(hashed) == 2 * once > 0
