import errno
import logging
import random
import signal
import threading
import time
from unittest import mock

import numpy as np
import pytest
import torch
from light import (
    BUILD,
    LENGTHS,
    LightTrunk,
    build_and_die,
    build_and_report,
    content,
    fill_light,
    light_build,
    light_corpus,
    light_pass,
    peak_memory,
    reference_build,
)
from limits import largest_file

from trunkline.errors import TrunklineError
from trunkline.states import fill
from trunkline.states.locks import lock_of
from trunkline.states.store import StatesStore


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    store, _ = reference_build(tmp_path_factory.mktemp("whole"))
    assert len(store.manifest.shards) >= 8
    return content(store.path)


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(processes, tmp_path, uninterrupted):
    draw = random.Random(1)
    kills, resumed = 0, 0
    for number in range(5):
        root = tmp_path / str(number)
        while True:
            child = processes.Process(target=build_and_die, args=(root, draw.randrange(150)))
            child.start()
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
            kills += 1
            for path in root.glob("?" * 64):
                if (path / "store.json").exists() and any(path.glob("layer-*")):
                    resumed += 1
        (path,) = root.glob("?" * 64)
        assert content(path) == uninterrupted
        StatesStore.open(path).verify()
    assert kills >= 6 and resumed >= 4


def test_killed_from_outside(processes, tmp_path, uninterrupted):
    _, child = processes.Pipe()
    for delay in (0.05, 0.15, 0.3):
        process = processes.Process(target=build_and_report, args=(tmp_path, 0.002, child))
        process.start()
        time.sleep(delay)
        process.kill()
        process.join()
    store, _ = reference_build(tmp_path)
    assert content(store.path) == uninterrupted


def test_an_unfinished_store_opens_with_the_layers_that_are_whole(tmp_path):
    encoded = light_corpus(LENGTHS)
    light_build(LightTrunk(padding=1 / 512), encoded, tmp_path, **(BUILD | {"layers": [2]}))
    with stop_after(20), pytest.raises(KeyboardInterrupt):
        reference_build(tmp_path)
    (path,) = tmp_path.glob("?" * 64)
    assert StatesStore.open(path).layers == (2,)
    with stop_after(2), pytest.raises(KeyboardInterrupt):
        reference_build(tmp_path / "other")
    (path,) = (tmp_path / "other").glob("?" * 64)
    with pytest.raises(TrunklineError, match="no layer of this store is finished; build it again"):
        StatesStore.open(path)


def stop_after(passes):
    def stopping(trunk, *args):
        if trunk.passes >= passes:
            raise KeyboardInterrupt
        light_pass(trunk, *args)

    return mock.patch("light.light_pass", stopping)


def test_two_processes_that_build_one_store_share_the_work(processes, tmp_path, uninterrupted):
    parent, child = processes.Pipe()
    both = [processes.Process(target=build_and_report, args=(tmp_path, 0.003, child)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    _, trunk = reference_build(tmp_path / "alone")
    assert sorted([parent.recv(), parent.recv()]) == [0, trunk.passes]
    (path,) = tmp_path.glob("?" * 64)
    assert content(path) == uninterrupted


def test_who_waits_says_so(tmp_path, caplog, uninterrupted):
    path = reference_build(tmp_path / "elsewhere")[0].path
    (tmp_path / "root").mkdir()
    lock = lock_of(tmp_path / "root" / path.name)
    caplog.set_level(logging.WARNING, "trunkline")
    with lock:
        thread = threading.Thread(target=reference_build, args=(tmp_path / "root",))
        thread.start()
        while not caplog.records:
            time.sleep(0.01)
        assert not (tmp_path / "root" / path.name).exists()
    thread.join()
    assert "another process builds" in caplog.text
    assert content(tmp_path / "root" / path.name) == uninterrupted


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, uninterrupted):
    def full(trunk, *args):
        if trunk.passes >= 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        light_pass(trunk, *args)

    with (
        mock.patch("light.light_pass", full),
        pytest.raises(TrunklineError, match=r"No space left on device\); finished parts"),
    ):
        reference_build(tmp_path)
    (path,) = tmp_path.glob("?" * 64)
    assert any(path.glob("layer-*")) and not list(path.glob(".*"))
    assert content(reference_build(tmp_path)[0].path) == uninterrupted


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
@pytest.mark.parametrize("room", [0.2, 0.6, 0.99])
def test_a_write_that_is_cut_short_is_that_sentence_too(tmp_path, dtype, room):
    encoded, build = light_corpus(LENGTHS), {"layers": [0], "dtype": dtype}
    whole = content(light_build(LightTrunk(hidden=64), encoded, tmp_path / "whole", **build).path)
    largest = max(map(len, whole.values()))
    message = r"cannot write the states store \(File too large\); finished parts are kept"
    with largest_file(int(largest * room)), pytest.raises(TrunklineError, match=message):
        light_build(LightTrunk(hidden=64), encoded, tmp_path / "root", **build)
    (path,) = (tmp_path / "root").glob("?" * 64)
    assert not any(path.glob("layer-*"))
    assert content(light_build(LightTrunk(hidden=64), encoded, tmp_path / "root", **build).path) == whole


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_states_that_are_not_finite_are_not_stored(tmp_path, dtype, value):
    def broken(trunk, inputs, layers, receive):
        light_pass(trunk, inputs, layers, lambda layer, state: receive(layer, state + (value if layer == 2 else 0)))

    with mock.patch("light.light_pass", broken), pytest.raises(TrunklineError, match="layer 2 contains NaN or infinity"):
        light_build(LightTrunk(), light_corpus([3, 4]), tmp_path, dtype=dtype)
    with mock.patch("light.light_pass", broken):
        assert light_build(LightTrunk(), light_corpus([3, 4]), tmp_path, dtype=dtype, layers=[0, 1, 3]).layers == (0, 1, 3)


def test_a_pass_that_loses_tokens_is_not_stored(tmp_path):
    def short(trunk, inputs, layers, receive):
        receive(1, torch.zeros(1, 1, 8))

    with mock.patch("light.light_pass", short), pytest.raises(TrunklineError, match="returned 1 tokens of layer 1, expected 3"):
        light_build(LightTrunk(), light_corpus([3]), tmp_path, layers=[1])


def test_progress_counts_the_tokens_that_are_left_to_do(tmp_path):
    calls = []
    encoded = light_corpus(LENGTHS)
    light_build(LightTrunk(), encoded, tmp_path, progress=lambda *call: calls.append(call), **BUILD)
    done = [call[0] for call in calls]
    assert (
        done == sorted(done) and done[0] == 0 and done[-1] == LENGTHS.sum() and {call[1] for call in calls} == {LENGTHS.sum()}
    )
    calls.clear()
    light_build(LightTrunk(), encoded, tmp_path, progress=lambda *call: calls.append(call), **BUILD)
    assert not calls


def test_batches_stay_within_the_budget_of_tokens(tmp_path):
    seen = []

    def watched(trunk, inputs, layers, receive):
        seen.append(inputs["attention_mask"].shape)
        light_pass(trunk, inputs, layers, receive)

    lengths = [50, *LENGTHS.tolist()]
    with mock.patch("light.light_pass", watched):
        light_build(LightTrunk(), light_corpus(lengths), tmp_path, batch_tokens=40)
    assert sum(count for count, _ in seen) == len(lengths)
    assert all(count * longest <= 40 or count == 1 for count, longest in seen)
    assert np.mean([count * longest for count, longest in seen]) > 25


def test_memory_stays_flat_when_the_corpus_grows_tenfold(processes, tmp_path):
    found = []
    for texts in (1_500, 15_000):
        parent, child = processes.Pipe()
        process = processes.Process(target=peak_memory, args=(tmp_path / str(texts), texts, child))
        process.start()
        found.append(parent.recv())
        process.join()
    (small, few), (large, many) = found
    assert large > 9 * small > 200e6
    assert many - few < (large - small) / 6, "what is held depends on a batch, not on the corpus"


def test_a_shard_is_filled_alike_in_any_order_and_by_any_process(processes, tmp_path, uninterrupted):
    encoded, trunk = light_corpus(LENGTHS), LightTrunk(padding=1 / 512)
    store = light_build(trunk, encoded, tmp_path, **BUILD)
    missing = [BUILD["layers"]] * len(store.manifest.shards)
    jobs = list(fill._jobs(store.manifest, encoded.lengths, missing, BUILD["batch_tokens"]))
    (tmp_path / "elsewhere").mkdir()
    with processes.Pool(2) as pool:
        filled = pool.starmap(fill_light, [(trunk, encoded, tmp_path / "elsewhere", job) for job in jobs[::-1]], chunksize=1)
    assert [dict(store.manifest.layers)[str(layer)] for layer in BUILD["layers"]] == [
        [one[layer] for one in filled[::-1]] for layer in BUILD["layers"]
    ]
    states = {name: data for name, data in uninterrupted.items() if name.startswith("layer-")}
    assert content(tmp_path / "elsewhere") == states
