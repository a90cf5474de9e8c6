"""Stores filled by workers: the bytes of one process, in whatever order shards are done, and whatever is killed."""

import json
import os
import random
from types import SimpleNamespace

import pytest
from clitools import made_up, write_jsonl
from raytools import command, ended, until
from tiny import WORDS, tiny_bert

from trunkline.cluster import Connected, raise_error
from trunkline.errors import BadInput, TrunklineError
from trunkline.inputs.text import encode
from trunkline.states import manifest, on_ray
from trunkline.states.on_ray import RayFill
from trunkline.states.store import StatesStore, build_store
from trunkline.trunk.load import load_trunk


class Here(Connected):
    """Calls what workers would, here: in another order, and with what JSON leaves of the arguments but for the arrays."""

    def map(self, work, calls):
        numbered = list(enumerate(calls))
        random.Random(0).shuffle(numbered)
        for number, (*plain, arrays) in numbered:
            for array in arrays.values():
                if array is not None:
                    array.flags.writeable = False  # as Ray's are
            found = json.loads(json.dumps(work(*json.loads(json.dumps(plain)), arrays)))
            raise_error(found)
            yield number, found


HERE = Here({"num_cpus": 1.0, "num_gpus": 0.0, "resources": {}})


def content(path):
    own = {"used", "data"}  # when it was read, and for what
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name not in own}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def encoded(trunk):
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 20))) for _ in range(150)]
    pairs = [" ".join(draw.choices(WORDS, k=draw.randint(1, 20))) for _ in range(150)]
    return encode(texts, trunk.tokenizer, pairs=pairs, max_length=64)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_store_filled_by_workers_has_the_bytes_of_one_process(trunk, encoded, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "SHARD_BYTES", 1 << 15)
    said = []
    one = build_store(trunk, encoded, tmp_path / "one", None, dtype)
    many = build_store(
        trunk, encoded, tmp_path / "many", None, dtype, progress=lambda *done: said.append(done), fill=RayFill(HERE)
    )
    assert len(one.manifest.shards) > 3 and content(many.path) == content(one.path)
    StatesStore.open(many.path).verify()
    tokens = int(encoded.lengths.sum())
    assert said[0] == (0, tokens) and said[-1] == (tokens, tokens)


def test_a_worker_with_another_trunk_of_that_name_is_refused(trunk, encoded, tmp_path, monkeypatch):
    other = SimpleNamespace(fingerprint=trunk.fingerprint.__class__("w", "t", config="c", tokenizer_settings="s"))
    monkeypatch.setattr("trunkline.trunk.shared.shared_trunk", lambda **asked: other)
    with pytest.raises(BadInput, match="a worker finds another trunk of that name, expected the same on all machines"):
        build_store(trunk, encoded, tmp_path, fill=RayFill(HERE))


def test_a_worker_without_the_disk_says_so(trunk, encoded, tmp_path, monkeypatch):
    fill = on_ray.fill_on_worker
    monkeypatch.setattr(on_ray, "fill_on_worker", lambda a, b, place, *more: fill(a, b, f"{place}-elsewhere", *more))
    with pytest.raises(BadInput, match="is not found by a worker; expected a store on a disk that all machines share"):
        build_store(trunk, encoded, tmp_path, fill=RayFill(HERE))


def test_an_unforeseen_error_of_a_worker_is_told_by_its_place_alone(trunk, encoded, tmp_path, monkeypatch):
    def broken(*arguments):
        raise ValueError("a text of a user")

    monkeypatch.setattr(on_ray, "fill_shard", broken)
    with pytest.raises(TrunklineError, match=r"^unexpected ValueError in test_ray_states.py line \d+$"):
        build_store(trunk, encoded, tmp_path, fill=RayFill(HERE))


@pytest.mark.slow
def test_a_node_is_killed_while_a_store_is_built(machines, tmp_path, monkeypatch):
    write_jsonl(tmp_path / "rows.jsonl", made_up(4_000))
    tiny_bert(tmp_path / "trunk")
    (tmp_path / "rows.yaml").write_text(
        "trunk: {name: trunk, dtype: fp32, device: cpu}\n"
        "data: {train: rows.jsonl, validation: 20%}\n"
        "tasks: {mood: {kind: sequence, label: mood}}\n"
        "training: {states_dtype: fp32}\n"
    )
    small = f"import trunkline.states.manifest; trunkline.states.manifest.SHARD_BYTES = {1 << 16}"
    doomed, _ = machines.of_size(2)

    def stores(cache):
        return {path.name: path for path in (tmp_path / cache / "states").glob("?" * 64)}

    def shards(cache):
        files = [path / "store.json" for path in stores(cache).values() if (path / "store.json").is_file()]
        return sum(entry is not None for file in files for entry in json.loads(file.read_text())["layers"].get("0", []))

    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "one"))
    ended(command("states", "build", "rows.yaml", cwd=tmp_path, first=small))
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "many"))
    asked = ["--engine", "ray", "--ray", f"address={machines.address}"]
    process = command("states", "build", "rows.yaml", *asked, cwd=tmp_path, first=small)
    until(lambda: shards("many") >= 2, process)
    machines.kill(doomed)
    assert shards("many") < shards("one"), "the node was killed too late"
    machines.join()
    assert "Traceback" not in ended(process)
    assert stores("many").keys() == stores("one").keys() and len(stores("one")) == 2
    for name, path in stores("one").items():
        assert content(stores("many")[name]) == content(path)
    assert not [name for path in stores("many").values() for name in os.listdir(path) if name.endswith(".tmp")]
