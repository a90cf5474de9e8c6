import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest
from light import LightTrunk, feed, light_build, light_corpus, read_slowly

from trunkline.errors import BadInput, TrunklineError
from trunkline.states.budget import OverBudget, list_stores, needed_bytes, prune, readable
from trunkline.states.locks import lock_of, unused
from trunkline.states.store import StatesStore

ENCODED = light_corpus([4, 5, 6])  # 15 tokens x 8 numbers


def disk(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("trunkline.states.budget.shutil.disk_usage", lambda path: usage(10**12, 0, free))


@pytest.mark.parametrize(("dtype", "layers"), [("bf16", [0, 1]), ("fp32", [2]), ("int8", [0, 1, 2, 3])])
def test_the_need_is_what_is_then_written(tmp_path, dtype, layers):
    store = light_build(LightTrunk(), ENCODED, tmp_path, dtype=dtype, layers=layers)
    assert sum(file.stat().st_size for file in store.path.glob("layer-*")) == needed_bytes(15, 8, len(layers), dtype)


def test_by_default_half_of_the_free_disk_may_be_filled(tmp_path, monkeypatch):
    disk(monkeypatch, 2 * 960 - 1)
    with pytest.raises(OverBudget) as caught:
        light_build(LightTrunk(), ENCODED, tmp_path / "root")
    message = str(caught.value)
    for part in ("3 texts", "15 tokens x 4 layers x 8 numbers in bf16", "need 960 bytes", "959 bytes are allowed"):
        assert part in message
    for way_out in ("fewer layers", "int8", "training.states: live", "training.states_budget_gb"):
        assert way_out in message
    assert not list((tmp_path / "root").glob("?" * 64))
    disk(monkeypatch, 2 * 960)
    light_build(LightTrunk(), ENCODED, tmp_path / "root")
    disk(monkeypatch, 0)  # nothing is missing, so nothing is needed
    light_build(LightTrunk(), ENCODED, tmp_path / "root")


def test_a_budget_of_one_s_own_is_for_the_whole_store(tmp_path, monkeypatch):
    disk(monkeypatch, 1000)
    with pytest.raises(OverBudget, match=r"480 bytes on disk, but 479 bytes are allowed \(of a budget of 479 bytes"):
        light_build(LightTrunk(), ENCODED, tmp_path, layers=[0, 1], budget_bytes=479)
    light_build(LightTrunk(), ENCODED, tmp_path, layers=[0, 1], budget_bytes=480)
    with pytest.raises(OverBudget, match="480 bytes on disk, but 479 bytes are allowed"):
        light_build(LightTrunk(), ENCODED, tmp_path, budget_bytes=959)
    disk(monkeypatch, 100)
    with pytest.raises(OverBudget, match=r"100 bytes are allowed \(what is free under"):
        light_build(LightTrunk(), ENCODED, tmp_path, budget_bytes=10**9)


def test_bytes_for_people():
    assert [readable(n) for n in (0, 999, 1000, 99_500, 1_913_000_000, 2.5e12, 4e15)] == [
        "0 bytes", "999 bytes", "1.0 KB", "100 KB", "1.9 GB", "2.5 TB", "4000 TB",
    ]  # fmt: skip


@pytest.fixture
def three(tmp_path):
    """Three stores, the first used longest ago: one, two and three days."""
    paths = []
    for days, layers in ((3, [0]), (2, [0, 1]), (1, [0, 1, 2])):
        path = light_build(LightTrunk(weights=str(days)), ENCODED, tmp_path, layers=layers).path
        os.utime(path / "used", (time.time() - days * 86400,) * 2)
        paths.append(path)
    (tmp_path / "not a store").mkdir()
    return paths


def left(root):
    return {info.path for info in list_stores(root)}


def test_a_list_of_what_is_there(tmp_path, three):
    infos = list_stores(tmp_path)
    assert [info.path for info in infos] == three[::-1]
    newest = infos[0]
    assert (newest.key, newest.trunk, newest.dtype, newest.layers) == (three[2].name, "light", "bf16", (0, 1, 2))
    assert (newest.texts, newest.tokens, newest.problem) == (3, 15, None)
    assert newest.bytes == sum(file.stat().st_size for file in three[2].iterdir())
    assert time.time() - newest.last_used == pytest.approx(86400, abs=60)
    feed(StatesStore.open(three[0]), [0], [0])
    assert list_stores(tmp_path)[0].path == three[0]
    assert list_stores(tmp_path / "nowhere") == []


def test_a_broken_store_is_listed_with_its_problem_and_can_be_pruned(tmp_path, three):
    (three[1] / "store.json").write_text("{")
    (problem,) = [info.problem for info in list_stores(tmp_path) if info.problem]
    assert "store.json is corrupt" in problem
    prune(tmp_path, keys=[three[1].name])
    assert left(tmp_path) == {three[0], three[2]}


def test_one_broken_store_hides_no_other(tmp_path, three, monkeypatch):
    (three[0] / "store.json").write_text('{"layers":' * 100_000)
    (three[1] / "store.json").unlink()
    os.mkfifo(three[1] / "store.json")
    (three[2] / "lengths").write_bytes(b"")
    infos = list_stores(tmp_path)
    assert {info.path for info in infos} == set(three) and all(info.problem for info in infos)
    assert {info.path for info in prune(tmp_path, all=True)} == set(three)


def test_a_store_that_changes_while_it_is_listed(tmp_path, three, monkeypatch):
    (three[0] / ".lengths.x.tmp").write_bytes(b"1234")
    status = Path.stat

    def just_renamed(path, **options):
        if path.suffix == ".tmp":
            path.unlink(missing_ok=True)
        if path == three[1] and options.get("follow_symlinks", True):  # removed by another process in between
            shutil.rmtree(path, ignore_errors=True)
        return status(path, **options)

    monkeypatch.setattr(Path, "stat", just_renamed)
    assert {info.path for info in list_stores(tmp_path)} == {three[0], three[2]}


def test_prune_by_size_by_age_by_key_and_all(tmp_path, three):
    sizes = {info.path: info.bytes for info in list_stores(tmp_path)}
    assert prune(tmp_path, keep_bytes=sum(sizes.values())) == []
    assert [info.path for info in prune(tmp_path, keep_bytes=sum(sizes.values()) - 1)] == [three[0]]
    assert [info.path for info in prune(tmp_path, older_than_days=1.5)] == [three[1]]
    assert prune(tmp_path, older_than_days=1.5) == []
    assert [info.path for info in prune(tmp_path, keys=[three[2].name[:8]])] == [three[2]]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == ["not a store"]


def test_prune_all(tmp_path, three):
    assert [info.path for info in prune(tmp_path, all=True, dry_run=True)] == three
    assert left(tmp_path) == set(three)
    assert [info.path for info in prune(tmp_path, all=True)] == three
    assert left(tmp_path) == set() and (tmp_path / "not a store").is_dir()


def test_prune_refuses_what_it_does_not_understand(tmp_path, three):
    with pytest.raises(BadInput, match="expected the stores to remove"):
        prune(tmp_path)
    with pytest.raises(BadInput, match="no stores have a key that begins with 'xyz'"):
        prune(tmp_path, keys=["xyz"])
    with pytest.raises(BadInput, match="3 stores have a key that begins with ''"):
        prune(tmp_path, keys=[""])
    assert left(tmp_path) == set(three)


def test_a_store_that_is_being_built_stays(tmp_path, three):
    with lock_of(three[0]):
        assert [info.path for info in prune(tmp_path, all=True)] == three[1:]
    assert left(tmp_path) == {three[0]}


def test_a_removal_cut_short_leaves_no_store_and_is_finished_by_the_next(tmp_path, three, monkeypatch):
    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("trunkline.states.budget.shutil.rmtree", cut)
        prune(tmp_path, keys=[three[0].name])
    prune(tmp_path, keys=[three[1].name])
    assert left(tmp_path) == {three[2]}
    assert not list(tmp_path.glob(".*.removed"))


def test_a_store_that_is_being_read_stays(tmp_path, three, processes, caplog):
    """Of this process and of another one, to the last row that is read."""
    reader = StatesStore.open(three[0])
    ready, done = processes.Event(), processes.Event()
    process = processes.Process(target=read_slowly, args=(three[1], ready, done))
    process.start()
    assert ready.wait(120)
    assert [info.path for info in prune(tmp_path, all=True, dry_run=True)] == [three[2]]
    assert [info.path for info in prune(tmp_path, all=True)] == [three[2]]
    assert caplog.text.count("is being read, so it is kept") == 4
    assert set(feed(reader, [0, 1], [0])) == {0}
    done.set()
    process.join()
    assert process.exitcode == 0
    del reader
    assert {info.path for info in prune(tmp_path, all=True)} == {three[0], three[1]}


def test_a_store_that_is_being_removed_is_not_opened(tmp_path, three):
    with unused(three[0]), pytest.raises(TrunklineError, match="another process is removing this store; run again"):
        StatesStore.open(three[0])
    StatesStore.open(three[0])


def test_what_is_no_part_of_a_store_is_never_removed(tmp_path, three, caplog):
    (three[0] / "notes.txt").write_text("mine")
    (three[1] / "layer-00.shard-0000.states.d").mkdir()
    (tmp_path / ".old.removed").mkdir()
    assert [info.path for info in prune(tmp_path, all=True)] == [three[2]]
    assert "notes.txt, which does not belong to a store" in caplog.text
    assert (three[0] / "notes.txt").read_text() == "mine" and (tmp_path / ".old.removed").is_dir()


def test_a_store_that_cannot_be_removed_keeps_no_other(tmp_path, three, monkeypatch, caplog):
    def refuse(path, target):
        if path == three[1]:
            raise PermissionError(13, "Permission denied")
        os.rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    assert [info.path for info in prune(tmp_path, all=True)] == [three[0], three[2]]
    assert "cannot be removed (Permission denied), so it is kept" in caplog.text
