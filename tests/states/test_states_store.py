import gc
import os
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from light import LightTrunk, content, feed, few_files, light_build, light_corpus, light_state

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import cache_dir
from trunkline.states.handles import Handles
from trunkline.states.live import LiveStates
from trunkline.states.store import StatesStore, build_store
from trunkline.trunk.load import load_trunk

TEXTS = ["the film was great", "play a song", "it was a very bad film , not good", "tokyo", "book a table for two in paris"]


@pytest.fixture(scope="module")
def trunk(tiny_trunk_dir):
    return load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")


def open_files() -> list[Path]:
    return [Path(os.readlink(link)) for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.exists()]


def on_disk(rows, dtype):
    """The rows (N, K) float32 as a store of that dtype gives them back; int8 by the formula, in numpy."""
    if dtype == "int8":
        scale = np.maximum(np.abs(rows.numpy()).max(axis=1, keepdims=True) / np.float32(127), np.finfo(np.float32).tiny)
        return torch.from_numpy(np.rint(rows.numpy() / scale).astype(np.float32) * scale).bfloat16()
    return rows if dtype == "fp32" else rows.bfloat16()


@pytest.mark.parametrize("dtype", ["bf16", "fp32", "int8"])
def test_with_the_same_batches_the_store_gives_the_bits_of_the_live_feed(trunk, tmp_path, dtype):
    # A batch of one sequence is what batch_tokens=1 makes of every text; what is not padded alike differs by rounding.
    encoded = trunk.encode(TEXTS)
    store = build_store(trunk, encoded, tmp_path, dtype=dtype, batch_tokens=1)
    live = LiveStates(trunk, encoded)
    assert store.layers == live.layers == (0, 1, 2, 3) and store.hidden_size == live.hidden_size
    for order in ([0], [4, 2, 0], range(5)):
        found = feed(store, order, live.layers)
        for layer in live.layers:
            alone = torch.cat([feed(live, [number], [layer])[layer] for number in order])
            assert torch.equal(found[layer], on_disk(alone, dtype))


def test_with_other_batches_it_is_the_live_feed_but_for_rounding(trunk, tmp_path):
    encoded = trunk.encode(TEXTS)
    store, live = build_store(trunk, encoded, tmp_path, dtype="fp32"), LiveStates(trunk, encoded)
    for layer, rows in feed(store, [3, 1, 2], live.layers).items():
        torch.testing.assert_close(rows, feed(live, [3, 1, 2], [layer])[layer], atol=1e-5, rtol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_batch_of_any_corpus_equals_brute_force(tmp_path_factory, data):
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=30))
    dtype = data.draw(st.sampled_from(["bf16", "fp32", "int8"]))
    options = {"shard_bytes": data.draw(st.integers(40, 3000)), "batch_tokens": data.draw(st.integers(1, 60))}
    trunk, encoded = LightTrunk(), light_corpus(lengths, seed=len(lengths))
    store = light_build(trunk, encoded, tmp_path_factory.mktemp("root"), dtype=dtype, **options)
    for _ in range(3):
        batch = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=12)), dtype=np.int64)
        layers = data.draw(st.sets(st.integers(0, 3), min_size=1))
        tokens = [encoded.ids[encoded.offsets[s] : encoded.offsets[s + 1]] for s in batch]
        ids = np.concatenate([np.empty(0, np.int32), *tokens])
        for layer, rows in feed(store, batch, layers).items():
            assert torch.equal(rows, on_disk(light_state(ids, layer, 8), dtype) if len(ids) else rows[:0])
            assert rows.shape == (len(ids), 8)


def test_the_bytes_on_disk_are_the_rows_in_order_of_length(tmp_path):
    encoded = light_corpus([3, 1, 2, 1])
    store = light_build(LightTrunk(), encoded, tmp_path, layers=[2], dtype="fp32")
    ids = np.concatenate([encoded.ids[encoded.offsets[s] : encoded.offsets[s + 1]] for s in (1, 3, 2, 0)])
    assert (store.path / "layer-02.shard-0000.states").read_bytes() == light_state(ids, 2, 8).numpy().astype("<f4").tobytes()
    assert np.frombuffer((store.path / "lengths").read_bytes(), "<i4").tolist() == [3, 1, 2, 1]
    assert sorted(content(store.path)) == ["index", "layer-02.shard-0000.states", "lengths", "store.json"]


def test_layers_are_added_later_and_only_what_is_missing_is_computed(tmp_path):
    encoded = light_corpus(np.random.default_rng(0).integers(1, 20, 60))
    options = {"shard_bytes": 1000, "batch_tokens": 64}
    trunk = LightTrunk(padding=1 / 512)
    whole = light_build(trunk, encoded, tmp_path / "whole", layers=[0, 1, 3], **options)
    once = trunk.passes
    assert light_build(trunk, encoded, tmp_path / "parts", layers=[3], **options).layers == (3,)
    times = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "parts" / whole.path.name).glob("layer-*")}
    store = light_build(trunk, encoded, tmp_path / "parts", layers=[0, 1, 3], **options)
    assert store.layers == (0, 1, 3)
    assert content(store.path) == content(whole.path)
    assert {name: (store.path / name).stat().st_mtime_ns for name in times} == times
    trunk.passes = 0
    assert light_build(trunk, encoded, tmp_path / "parts", layers=[1], **options).layers == (0, 1, 3)
    assert trunk.passes == 0 and once > 0


def test_layers_that_nobody_reads_are_not_opened(tmp_path):
    store = light_build(LightTrunk(), light_corpus([4, 5, 6]), tmp_path)
    store = StatesStore.open(store.path)
    for layer in (0, 1, 3):
        (store.path / f"layer-{layer:02d}.shard-0000.states").unlink()
    feed(store, [0, 1], [2])
    opened = {file.name for file in open_files() if file.parent == store.path}  # other stores of this process may have others
    assert {name for name in opened if name.startswith("layer-")} == {"layer-02.shard-0000.states"}


def test_a_process_that_may_open_few_files(processes, tmp_path):
    parent, child = processes.Pipe()
    process = processes.Process(target=few_files, args=(tmp_path, 48, child))
    process.start()
    process.join()
    assert process.exitcode == 0
    shards, equal, most = parent.recv()
    assert shards > 48 and equal and most < 48


def test_the_file_used_longest_ago_is_closed_first(tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.states.handles.most_open", lambda: 2)
    monkeypatch.setattr("trunkline.states.handles._live", weakref.WeakSet())
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    handles = Handles()
    a, b = (handles.open(tmp_path / name) for name in "ab")
    assert handles.open(tmp_path / "a") is a
    handles.open(tmp_path / "c")
    assert handles.open(tmp_path / "a") is a and handles.open(tmp_path / "b") is not b
    assert b.read() == b"b"  # whoever holds it still can read
    another = Handles()
    assert list(handles._files) == [tmp_path / "b"]  # the two share
    del another


def test_no_file_is_left_to_be_closed_with_a_warning(tmp_path):
    trunk, encoded = LightTrunk(), light_corpus([3, 1, 4])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        store = light_build(trunk, encoded, tmp_path)
        feed(store, [0, 2], store.layers)
        path, held = store.path, open_files()
        del store
        gc.collect()
    assert not [str(one.message) for one in said if one.category is ResourceWarning]
    assert {file.name for file in held if file.parent == path} >= {"used", "layer-00.shard-0000.states"}
    assert not [file for file in open_files() if file.parent == path]


def test_the_key_is_of_all_that_the_bytes_depend_on(tmp_path):
    base = {"layers": [1], "dtype": "bf16", "batch_tokens": 64}
    encoded = light_corpus([4, 5])
    other = light_corpus([4, 5], seed=1)
    cases = [
        (LightTrunk(), encoded, base),
        (LightTrunk(weights="v"), encoded, base),
        (LightTrunk(tokenizer="u"), encoded, base),
        (LightTrunk(hidden=4), encoded, base),
        (LightTrunk(), other, base),
        (LightTrunk(), encoded, base | {"dtype": "fp32"}),
        (LightTrunk(), encoded, base | {"dtype": "int8"}),
        (LightTrunk(), encoded, base | {"batch_tokens": 65}),
    ]
    for change in ({"stack": "decoder"}, {"dtype": "bf16"}):
        trunk = LightTrunk()
        trunk.__dict__.update(change)
        cases.append((trunk, encoded, base))
    names = {light_build(trunk, corpus, tmp_path, **options).path.name for trunk, corpus, options in cases}
    assert len(names) == len(cases)
    # neither the trunk's name nor the layers are part of it
    renamed = LightTrunk()
    renamed.name = "another"
    assert light_build(renamed, encoded, tmp_path, **(base | {"layers": [2]})).path.name in names


def test_a_store_of_another_trunk_or_corpus_is_refused(tmp_path):
    encoded = light_corpus([4, 5])
    path = light_build(LightTrunk(), encoded, tmp_path).path
    assert StatesStore.open(path, trunk=LightTrunk(), encoded=encoded).layers == (0, 1, 2, 3)
    with pytest.raises(BadInput, match="another trunk or corpus"):
        StatesStore.open(path, trunk=LightTrunk(weights="v"))
    with pytest.raises(BadInput, match="another trunk or corpus"):
        StatesStore.open(path, encoded=light_corpus([4, 5], seed=1))


def test_layers_that_do_not_exist_are_refused(tmp_path):
    encoded = light_corpus([4, 5])
    for layers in ([4], [-1], []):
        with pytest.raises(BadInput, match="expected some of 0 to 3"):
            light_build(LightTrunk(), encoded, tmp_path, layers=layers)
    store = light_build(LightTrunk(), encoded, tmp_path, layers=[1])
    with pytest.raises(TrunklineError, match=r"has no layer 2 \(it has \[1\]\)"):
        feed(store, [0], [1, 2])
    with pytest.raises(BadInput, match="expected one of bf16, fp32, int8"):
        light_build(LightTrunk(), encoded, tmp_path, dtype="fp8")
    with pytest.raises(BadInput, match="no tokens"):
        light_build(LightTrunk(), light_corpus([]), tmp_path)


def test_the_default_place_is_the_cache(trunk):
    store = build_store(trunk, trunk.encode(TEXTS), layers=[1])
    assert store.path.parent == cache_dir() / "states"


def test_a_finished_store_may_lie_where_nobody_may_write(tmp_path, monkeypatch):
    encoded = light_corpus([4, 5])
    light_build(LightTrunk(), encoded, tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr("trunkline.states.store.lock_of", refuse)
    assert light_build(LightTrunk(), encoded, tmp_path, layers=[1]).layers == (0, 1, 2, 3)
    with pytest.raises(TrunklineError, match=r"cannot write the states store \(Permission denied\)"):
        light_build(LightTrunk(weights="v"), encoded, tmp_path)
