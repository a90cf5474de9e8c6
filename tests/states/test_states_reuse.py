"""Sequences found again in the stores of other corpora: the same states, computed once."""

import logging
import shutil
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from light import LightTrunk, content, feed, light_build, light_pass, light_state, open_and_report

from trunkline.inputs.encoded import Encoded
from trunkline.states.budget import OverBudget, list_stores, prune
from trunkline.states.index import find, write_index
from trunkline.states.live import LiveStates
from trunkline.states.reuse import LEAST_SHARE, find_stored, open_states
from trunkline.states.store import StatesStore
from trunkline.trunk.load import load_trunk

RNG = np.random.default_rng(3)
UNIVERSE = [RNG.integers(1, 1000, RNG.integers(1, 12)).astype(np.int32) for _ in range(40)]


def corpus(numbers, pool=UNIVERSE, segments=None) -> Encoded:
    """The sequences `numbers` of the pool, in that order."""
    ids = [pool[number] for number in numbers]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in ids], dtype=np.int64)]).astype(np.int64)
    return Encoded(np.concatenate(ids), offsets, segments, np.arange(len(ids), dtype=np.int32), None, None)


def opened(trunk, encoded, root, only=None, **options):
    """What `find_stored` and `open_states` give with the light pass in place of the real one's."""
    budget = {key: options.pop(key) for key in ("budget_bytes",) if key in options}
    with mock.patch("trunkline.states.live.run_layers", light_pass):
        return open_states(trunk, find_stored(trunk, encoded, root, only=only, **options), root, **budget, **options)


def keys(root):
    return {store.key for store in list_stores(root)}


def alone(encoded, sequences, layer):
    tokens = [encoded.ids[encoded.offsets[s] : encoded.offsets[s + 1]] for s in sequences]
    return light_state(np.concatenate([np.empty(0, np.int32), *tokens]), layer, 8)


some = st.lists(st.integers(0, len(UNIVERSE) - 1), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_corpora_that_share_sequences_equal_brute_force(tmp_path_factory, data):
    root, dtype = tmp_path_factory.mktemp("root"), data.draw(st.sampled_from(["fp32", "int8"]))
    trunk, shard_bytes = LightTrunk(), data.draw(st.integers(40, 3000))
    for _ in range(3):
        encoded = corpus(data.draw(some))
        with mock.patch("trunkline.states.manifest.SHARD_BYTES", shard_bytes):
            states = opened(trunk, encoded, root, dtype=dtype, layers=[0, 2], batch_tokens=30)
        batch = data.draw(st.lists(st.integers(0, len(encoded.lengths) - 1), max_size=20))
        for layer, rows in feed(states, np.array(batch, dtype=np.int64), [0, 2]).items():
            torch.testing.assert_close(rows.float(), alone(encoded, batch, layer), atol=0.02 if dtype == "int8" else 0, rtol=0)
    assert not len(find_stored(trunk, encoded, root, layers=[2], dtype=dtype, batch_tokens=30).missing)


@pytest.fixture(scope="module")
def trunk(tiny_trunk_dir):
    return load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")


TEXTS = ["the film was great", "play a song", "it was a very bad film , not good", "tokyo", "book a table", "a", "rain today"]


@settings(max_examples=12, deadline=None)
@given(splits=st.lists(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=9), min_size=2, max_size=3))
def test_any_splits_of_texts_have_the_states_of_each_text_alone(trunk, tmp_path_factory, splits):
    root = tmp_path_factory.mktemp("root")
    for texts in splits:
        encoded = trunk.encode(texts)
        states = open_states(trunk, find_stored(trunk, encoded, root, dtype="fp32"), root, dtype="fp32")
        found = feed(states, range(len(texts)), states.layers)
        for layer in states.layers:
            expected = [feed(LiveStates(trunk, trunk.encode([text])), [0], [layer])[layer] for text in texts]
            torch.testing.assert_close(found[layer], torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_other_orders_and_fewer_rows_compute_nothing_and_more_rows_the_new_ones_alone(tmp_path):
    trunk = LightTrunk()
    opened(trunk, corpus(range(30)), tmp_path)
    trunk.passes = 0
    for numbers in (range(29, -1, -1), range(5, 20), [7, 7, 3]):
        assert opened(trunk, corpus(numbers), tmp_path).keys == list(keys(tmp_path))
    assert trunk.passes == 0 and len(keys(tmp_path)) == 1
    told = []
    with mock.patch("trunkline.states.live.run_layers", light_pass):
        encoded = corpus([*range(20, 40), 35, 36])
        stored = find_stored(trunk, encoded, tmp_path)
        assert stored.missing.tolist() == list(range(10, 22))
        states = open_states(trunk, stored, tmp_path, progress=lambda *call: told.append(call))
    new = sum(len(one) for one in UNIVERSE[30:])
    assert told[-1] == (new, new) and len(states.keys) == 2  # each new sequence once
    assert StatesStore.open(states.stores[1].path).manifest.tokens == new
    assert torch.equal(feed(states, [21, 0], [1])[1].float(), alone(encoded, [21, 0], 1).bfloat16().float())


def test_five_folds_take_one_pass_and_the_second_time_none(tmp_path):
    trunk = LightTrunk()

    def cross_validation():
        trunk.passes = 0
        for start in range(5):
            for split in ([number for number in range(40) if number % 5 != start], range(start, 40, 5)):
                encoded = corpus(split)
                states = opened(trunk, encoded, tmp_path)
                assert torch.equal(feed(states, [3], [2])[2].float(), alone(encoded, [3], 2).bfloat16().float())
        return sum(store.tokens for store in list_stores(tmp_path))

    assert cross_validation() == sum(map(len, UNIVERSE)) and trunk.passes > 0
    assert cross_validation() == sum(map(len, UNIVERSE)) and trunk.passes == 0


def test_a_corpus_with_a_store_of_its_own_is_read_from_that(tmp_path):
    trunk = LightTrunk(padding=1 / 512)  # so that the bits tell
    own = light_build(trunk, corpus(range(10)), tmp_path)
    opened(trunk, corpus(range(5, 30)), tmp_path)
    states = opened(trunk, corpus(range(10)), tmp_path)
    assert states.keys == [own.path.name]
    assert torch.equal(feed(states, range(10), [1])[1], feed(own, range(10), [1])[1])
    # begun, but with other layers: completed, not gone around
    light_build(trunk, corpus(range(8)), tmp_path, layers=[0])
    assert opened(trunk, corpus(range(8)), tmp_path, layers=[0, 1]).stores[0].layers == (0, 1)


def test_states_of_another_trunk_precision_or_dtype_are_not_read(tmp_path):
    opened(LightTrunk(), corpus(range(10)), tmp_path, layers=[1])
    changed = [LightTrunk(weights="v"), LightTrunk(hidden=4)]
    for change in ({"stack": "decoder"}, {"dtype": "bf16"}):
        changed.append(LightTrunk())
        changed[-1].__dict__.update(change)
    for trunk in changed:
        assert len(find_stored(trunk, corpus(range(5)), tmp_path, layers=[1]).missing) == 5
    for options in ({"layers": [1], "dtype": "fp32"}, {"layers": [1, 2]}):
        assert len(find_stored(LightTrunk(), corpus(range(5)), tmp_path, **options).missing) == 5
    segments = np.zeros(len(corpus(range(5)).ids), np.int8)  # pairs are other sequences
    assert len(find_stored(LightTrunk(), corpus(range(5), segments=segments), tmp_path, layers=[1]).missing) == 5
    assert not len(find_stored(LightTrunk(), corpus(range(5)), tmp_path, layers=[1]).missing)


def test_a_store_that_adds_few_sequences_is_left_out(tmp_path):
    pool = [np.array([number + 1, 7], dtype=np.int32) for number in range(300)]
    opened(LightTrunk(), corpus(range(299, 300), pool), tmp_path)
    opened(LightTrunk(), corpus(range(200), pool), tmp_path)
    stored = find_stored(LightTrunk(), corpus(range(300), pool), tmp_path)
    assert len(stored.stores) == 1 and len(stored.missing) == 100 and round(LEAST_SHARE * 300) > 1


@pytest.mark.parametrize("damage", ["a bit", "a file"])
def test_what_is_broken_is_not_read_but_computed_again(tmp_path, caplog, damage):
    trunk = LightTrunk()
    with mock.patch("trunkline.states.manifest.SHARD_BYTES", 400):
        first = opened(trunk, corpus(range(30)), tmp_path).stores[0]
        name = sorted(file.name for file in first.path.glob("layer-01*"))[-1]
        file = first.path / name
        if damage == "a bit":
            file.write_bytes(bytes([file.read_bytes()[0] ^ 4]) + file.read_bytes()[1:])
        else:
            file.unlink()
        caplog.set_level(logging.WARNING, "trunkline")
        encoded = corpus(range(29, -1, -1))
        states = opened(trunk, encoded, tmp_path, layers=[1])
    assert states.keys != [first.path.name]
    assert (f"{name} has changed since it was written); it is not read" in caplog.text) == (damage == "a bit")
    assert torch.equal(feed(states, range(30), [1])[1].float(), alone(encoded, range(30), 1).bfloat16().float())


def test_checksums_are_compared_of_the_shards_that_are_read(tmp_path):
    with mock.patch("trunkline.states.manifest.SHARD_BYTES", 400):
        store = opened(LightTrunk(), corpus(range(30)), tmp_path).stores[0]
    short = np.argsort(store.lengths, kind="stable")[:3]
    last = len(store.manifest.shards) - 1
    file = store.path / f"layer-01.shard-{last:04d}.states"
    file.write_bytes(bytes(len(file.read_bytes())))
    assert last > 0 and opened(LightTrunk(), corpus(short), tmp_path, layers=[1]).keys == [store.path.name]
    assert opened(LightTrunk(), corpus(range(29, -1, -1)), tmp_path, layers=[1]).keys != [store.path.name]


def test_an_index_that_is_broken_or_of_another_store_is_not_believed(tmp_path):
    first, second = (opened(LightTrunk(), corpus(own), tmp_path).stores[0].path for own in (range(10), range(10, 20)))
    index = (first / "index").read_bytes()
    for broken in (index[:-1], index[:40] + bytes([index[40] ^ 1]) + index[41:], (second / "index").read_bytes(), b""):
        (first / "index").write_bytes(broken)
        assert len(find_stored(LightTrunk(), corpus(range(9)), tmp_path).missing) == 9
    opened(LightTrunk(), corpus(range(10)), tmp_path)  # its own corpus finds it, and mends the index
    assert (first / "index").read_bytes() == index


def test_a_store_of_an_earlier_version_is_read_and_from_then_on_by_others(tmp_path):
    path = light_build(LightTrunk(), corpus(range(10)), tmp_path).path
    sound = content(path)
    (path / "index").unlink()
    assert len(find_stored(LightTrunk(), corpus(range(5)), tmp_path).missing) == 5
    assert opened(LightTrunk(), corpus(range(10)), tmp_path).keys == [path.name]
    assert content(path) == sound
    assert not len(find_stored(LightTrunk(), corpus(range(5)), tmp_path).missing)


def test_only_the_stores_that_are_named_are_read_and_in_their_order(tmp_path):
    trunk = LightTrunk(padding=1 / 512)
    large, small = light_build(trunk, corpus(range(20)), tmp_path), light_build(trunk, corpus(range(5, 10)), tmp_path)
    encoded, named = corpus(range(4, 12)), [small.path.name, large.path.name]
    assert opened(trunk, encoded, tmp_path).keys == [large.path.name]
    states = opened(trunk, encoded, tmp_path, only=named)
    assert states.keys == named
    assert torch.equal(feed(states, [1, 5], [1])[1], feed(small, [0, 4], [1])[1])
    assert torch.equal(feed(states, [0, 6], [1])[1], feed(large, [4, 10], [1])[1])
    shutil.rmtree(small.path)
    assert opened(trunk, encoded, tmp_path, only=named).keys == [large.path.name]
    assert len(find_stored(trunk, encoded, tmp_path, only=[]).missing) == 8


def test_the_budget_is_for_what_is_new(tmp_path):
    opened(LightTrunk(), corpus(range(30)), tmp_path)
    new = sum(len(one) for one in UNIVERSE[30:]) * 8 * 2 * 4
    with pytest.raises(OverBudget):
        opened(LightTrunk(), corpus(range(40)), tmp_path, budget_bytes=new - 1)
    assert len(opened(LightTrunk(), corpus(range(40)), tmp_path, budget_bytes=new).keys) == 2


def test_stores_that_are_read_are_not_removed(tmp_path, caplog):
    opened(LightTrunk(), corpus(range(30)), tmp_path)
    states = opened(LightTrunk(), corpus(range(20, 40)), tmp_path)
    assert prune(tmp_path, all=True) == [] and caplog.text.count("is being read, so it is kept") == 2
    feed(states, range(20), [0])
    del states
    assert len(prune(tmp_path, all=True)) == 2


def test_two_processes_that_lack_the_same_sequences_compute_them_once(processes, tmp_path):
    opened(LightTrunk(), corpus(range(10)), tmp_path)
    parent, child = processes.Pipe()
    encoded = corpus(range(40))
    both = [processes.Process(target=open_and_report, args=(tmp_path, encoded, child)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    one, other = parent.recv(), parent.recv()
    assert one["keys"] == other["keys"] and len(one["keys"]) == 2 and min(one["passes"], other["passes"]) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_look_up_by_brute_force(rows, wanted):
    unique = {one[0]: one for one in rows}  # as digests are: the first half tells them apart
    index = np.array([unique[one[0]] for one in rows], dtype="<u8").reshape(-1, 2)
    found = find(index, np.array(wanted, dtype="<u8").reshape(-1, 2))
    assert found.tolist() == [next((n for n, row in enumerate(index.tolist()) if tuple(row) == one), -1) for one in wanted]


def test_an_index_is_written_whole(tmp_path):
    write_index(tmp_path, corpus(range(3)).digests)
    assert (tmp_path / "index").stat().st_size == 32 + 3 * 16
