"""Compiled trunks: states equal torch's, int8 is the same graph wherever it is made, and the cache is checked."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_zoo import STACKS

from trunkline.errors import BadInput, TrunklineError
from trunkline.states.live import LiveStates
from trunkline.trunk.backends import backends, openvino
from trunkline.trunk.backends.openvino import LENT, _quiet
from trunkline.trunk.compiled import CompiledTrunk
from trunkline.trunk.load import load_trunk
from trunkline.trunk.shared import shared_trunk
from trunkline.trunk.stream import run_layers

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

TEXTS = [
    "a good film",
    "book a table for two in paris tomorrow please now",
    "sad",
    "i feel very happy today and not angry at all . ! ? so it was great",
]
BATCHES = ([0], [3], [0, 1, 2, 3], [1, 1, 2])  # one text alone, the longest, with padding, and another number of them
QUICK = [("bert", "encoder"), ("gpt2-left", "encoder"), ("t5", "decoder")]  # by OpenVINO, too; the others are slow tests there
REFUSED = {("mbart", "decoder", "openvino"): "openvino cannot"}  # of a torch operation that OpenVINO's plug-in does not have


def states(trunk, sequences, layers, run):
    """By layer, the states of the real tokens of a batch."""
    batch, found = trunk.collate(trunk.encode(TEXTS), sequences), {}
    run(batch, layers, lambda layer, state: found.__setitem__(layer, state[batch["attention_mask"].bool()].clone()))
    return found


def by_torch(trunk, sequences, layers):
    return states(trunk, sequences, layers, lambda *given: run_layers(trunk, *given))


def calibrated(trunk, sequences=(0, 1, 2, 3)):
    compiled = CompiledTrunk(trunk, "openvino", "int8")
    encoded = trunk.encode(TEXTS)
    compiled.calibrate([trunk.collate(encoded, [sequence]) for sequence in sequences])
    return compiled


@pytest.mark.parametrize(
    ("backend", "name", "stack"),
    [
        pytest.param(backend, *stack, marks=() if backend == "onnx" or stack in QUICK else pytest.mark.slow)
        for backend in ("onnx", "openvino")
        for stack in STACKS
    ],
)
def test_states_are_those_of_torch(tiny_trunk, name, stack, backend):
    trunk = tiny_trunk(name, stack)
    compiled, layers = CompiledTrunk(trunk, backend, "fp32"), range(trunk.num_layers + 1)
    if refused := REFUSED.get((name, stack, backend)):
        with pytest.raises(TrunklineError, match=refused):
            states(trunk, [0], layers, compiled.run)
        return
    for sequences in BATCHES:
        expected = by_torch(trunk, sequences, layers)
        found = states(trunk, sequences, layers, compiled.run)
        assert list(found) == list(expected)
        for layer in layers:
            torch.testing.assert_close(found[layer], expected[layer], atol=1e-4, rtol=1e-4)


def test_a_graph_ends_at_the_deepest_wanted_layer_and_gives_no_other(tiny_trunk):
    trunk, opened = tiny_trunk("bert"), []
    compiled = CompiledTrunk(trunk, "onnx", "fp32")
    make = compiled._backend.open

    class Watched:
        def __getattr__(self, name):
            return getattr(backends.get("onnx"), name)

        def open(self, folder, precision, threads):
            import onnx

            graph = onnx.load(folder / "graph.onnx").graph
            opened.append((len(graph.output), {n.name.split("/layer.")[1][0] for n in graph.node if "/layer." in n.name}))
            return make(folder, precision, threads)

    compiled._backend = Watched()
    states(trunk, [0], [1, 2], compiled.run)
    assert opened == [(2, {"0", "1"})]
    states(trunk, [0], [2], compiled.run)  # which the open graph gives too
    states(trunk, [0], [1], compiled.run)
    assert len(opened) == 1
    states(trunk, [0], [3], compiled.run)
    assert opened[1:] == [(1, {"0", "1", "2"})]


@pytest.mark.slow
def test_int8_is_near_and_depends_on_the_ranges_alone(tiny_trunk):
    trunk = tiny_trunk("bert")
    layers = range(trunk.num_layers + 1)
    first = calibrated(trunk)
    again = CompiledTrunk(trunk, "openvino", "int8", json.loads(json.dumps(dict(first.ranges))))
    expected, found = by_torch(trunk, [0, 1, 2, 3], layers), states(trunk, [0, 1, 2, 3], layers, first.run)
    same = states(trunk, [0, 1, 2, 3], layers, again.run)
    for layer in layers:
        assert (found[layer] - expected[layer]).norm() < 0.03 * expected[layer].norm()
        assert torch.equal(found[layer], same[layer])
    assert not torch.equal(found[2], expected[2])
    assert calibrated(trunk).ranges == first.ranges  # so a run in int8 that is resumed is the same run
    other = calibrated(trunk, [2])
    assert other.computed_in != first.computed_in == again.computed_in
    assert not torch.equal(states(trunk, [0, 1, 2, 3], layers, other.run)[2], found[2])


@pytest.mark.slow
def test_int8_states_of_a_text_do_not_depend_on_its_batch_or_on_the_layers_beside(tiny_trunk):
    trunk = tiny_trunk("bert")
    compiled = calibrated(trunk)
    whole = states(trunk, [3, 0], [1, 2, 3], compiled.run)
    alone = CompiledTrunk(trunk, "openvino", "int8", compiled.ranges)
    long = len(states(trunk, [3], [2], alone.run)[2])
    torch.testing.assert_close(states(trunk, [3], [2], alone.run)[2], whole[2][:long], atol=1e-5, rtol=1e-5)


def test_int8_runs_only_when_calibrated(tiny_trunk):
    with pytest.raises(BadInput, match="int8: found no calibration"):
        states(tiny_trunk("bert"), [0], [1], CompiledTrunk(tiny_trunk("bert"), "openvino", "int8").run)
    with pytest.raises(BadInput, match="no text to calibrate with"):
        CompiledTrunk(tiny_trunk("bert"), "openvino", "int8").calibrate([])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "openvin"}, "backend: unknown name 'openvin'.*openvino"),
        ({"backend": "onnx", "dtype": "int8"}, "dtype: 'int8': backend onnx has fp32"),
        ({"backend": "openvino", "device": "cuda"}, "device"),
        ({"dtype": "int8"}, "int8"),
    ],
)
def test_what_is_not_there_is_refused(tiny_trunk_dir, given, message):
    with pytest.raises(BadInput, match=message):
        load_trunk(tiny_trunk_dir, **given)


def test_a_backend_that_is_not_installed_is_named(tiny_trunk_dir, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *given: None if name == "openvino" else find(name, *given))
    with pytest.raises(BadInput, match=r"openvino is not installed.*pip install 'trunkline\[openvino\]'"):
        load_trunk(tiny_trunk_dir, backend="openvino")


def test_a_graph_is_kept_checked_and_made_again(tiny_trunk, caplog, monkeypatch):
    trunk, made = tiny_trunk("bert"), []
    write = type(backends.get("onnx")).write
    monkeypatch.setattr(type(backends.get("onnx")), "write", lambda self, *given: made.append(given[1]) or write(self, *given))
    expected = states(trunk, [0], [2], CompiledTrunk(trunk, "onnx", "fp32").run)
    states(trunk, [0], [2], CompiledTrunk(trunk, "onnx", "fp32").run)
    assert len(made) == 1
    [folder] = [path for path in made[0].parent.iterdir() if path.is_dir()]
    data = bytearray((folder / "graph.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "graph.onnx").write_bytes(data)
    found = states(trunk, [0], [2], CompiledTrunk(trunk, "onnx", "fp32").run)
    assert len(made) == 2
    assert "corrupt; it is compiled again" in caplog.text
    assert torch.equal(found[2], expected[2])
    states(trunk, [0], [1], CompiledTrunk(trunk, "onnx", "fp32").run)  # other layers are another graph
    assert len(made) == 3


def test_threads_share_a_graph(tiny_trunk):
    trunk = tiny_trunk("bert")
    compiled = CompiledTrunk(trunk, "openvino", "fp32")
    expected = {n: states(trunk, [n], [1, 3], compiled.run) for n in range(4)}
    wrong = []

    def ask(number):
        for _ in range(25):
            found = states(trunk, [number], [1, 3], compiled.run)
            if not all(torch.equal(found[layer], expected[number][layer]) for layer in (1, 3)):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(("cores", "threads", "streams"), [(2, 2, 1), (2, 1, 2), (8, 2, 2), (4, 8, 1)])
def test_passes_that_openvino_runs_at_the_same_time_have_threads_of_their_own(cores, threads, streams, monkeypatch):
    asked = {}

    class Core:
        def compile_model(self, path, device, options):
            asked.update(options)
            return SimpleNamespace(inputs=[])

    monkeypatch.setattr(openvino, "_openvino", lambda: SimpleNamespace(Core=Core))
    monkeypatch.setattr(openvino, "_cores", lambda: cores)
    backends.get("openvino").open(Path("folder"), "fp32", threads)
    assert asked["NUM_STREAMS"] == streams and asked["INFERENCE_NUM_THREADS"] == threads * streams


FIRST_USE = """
import sys, threading
sys.setswitchinterval(1e-6)
from trunkline.trunk.backends.openvino import _openvino
library, together = _openvino(), threading.Barrier(8)
def use():
    together.wait()
    library.Type.f32.to_dtype()
threads = [threading.Thread(target=use, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_threads_that_use_openvino_first_do_not_wait_for_each_other_for_ever():
    subprocess.run([sys.executable, "-c", FIRST_USE], check=True, timeout=120)


def test_states_that_were_handed_out_stay_as_they_are(tiny_trunk):
    trunk = tiny_trunk("bert")
    for backend in ("onnx", "openvino"):
        compiled, kept = CompiledTrunk(trunk, backend, "fp32"), {}
        encoded = trunk.encode(TEXTS)
        compiled.run(trunk.collate(encoded, [0]), [2], kept.__setitem__)
        before = kept[2].clone()
        compiled.run(trunk.collate(encoded, [0]), [2], lambda layer, state: state.zero_())
        compiled.run(trunk.collate(encoded, [2]), [2], lambda layer, state: None)
        assert torch.equal(kept[2], before)


def test_openvino_lends_its_memory_and_copies_when_much_of_it_is_kept(tiny_trunk):
    trunk = tiny_trunk("bert")
    compiled, encoded, kept = CompiledTrunk(trunk, "openvino", "fp32"), trunk.encode(TEXTS), []
    for turn in range(5):
        compiled.run(trunk.collate(encoded, [turn % 4]), [1, 3], lambda layer, state: None)
    [graph] = compiled._graphs.values()
    assert graph._made == len(graph._idle) == 1
    for turn in range(2 * LENT):  # a part of a state holds the memory of all of it
        compiled.run(trunk.collate(encoded, [turn % 4]), [3], lambda layer, state: kept.append((state[:, 1:], state.clone())))
    assert graph._made == LENT + 1
    assert all(torch.equal(part, whole[:, 1:]) for part, whole in kept)
    kept.clear()
    assert graph._made == len(graph._idle)


def test_nncf_is_quiet_in_this_thread_alone(capsys):
    said = []

    def other():
        logging.getLogger("nncf").warning("another's")
        said.append(track([1], description="another's").progress.disable)

    with _quiet():
        from nncf.common.logging.track_progress import track

        logging.getLogger("nncf").warning("ours")
        said.append(track([1], description="ours").progress.disable)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    assert said == [True, False, False]
    shown = capsys.readouterr()
    assert "ours" not in shown.out + shown.err


def test_a_loaded_trunk_runs_on_its_backend_and_says_so(tiny_trunk_dir, monkeypatch):
    plain = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    trunk = shared_trunk(tiny_trunk_dir, backend="onnx")
    assert (trunk.backend, trunk.dtype, trunk.computed_in) == ("onnx", "fp32", "fp32, onnx")
    assert shared_trunk(tiny_trunk_dir, backend="onnx") is trunk is not shared_trunk(tiny_trunk_dir, dtype="fp32")
    assert trunk.fingerprint == plain.fingerprint
    encoded, found, expected = trunk.encode(TEXTS), {}, {}
    LiveStates(plain, encoded).feed(np.arange(4), [0, 3], expected.__setitem__)
    LiveStates(trunk, encoded).feed(np.arange(4), [0, 3], found.__setitem__)
    monkeypatch.setattr(trunk, "model", None)  # which is run no more
    LiveStates(trunk, encoded).feed(np.arange(4), [0, 3], found.__setitem__)
    for layer in (0, 3):
        torch.testing.assert_close(found[layer], expected[layer], atol=1e-4, rtol=1e-4)
