"""Hooks are on a user's model only while it is read, and what is read is what the next layer is given."""

from __future__ import annotations

import copy
import pickle
import threading
from contextlib import ExitStack

import pytest
import torch
from tiny_zoo import build
from torch.utils.hooks import RemovableHandle

from trunkline.trunk.architectures import find_taps
from trunkline.trunk.stream import put_hooks, read_layers

INPUTS = {"input_ids": torch.arange(5, 13).reshape(2, 4)}


def hooks_on(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def reading(model, layers, found):
    return read_layers(model, layers, lambda layer, state: found.append((layer, state)))


@pytest.mark.parametrize("name", ["albert", "llama", "bart"])
def test_they_are_gone_with_the_last_block_that_needs_them(name):
    model, found = build(name), {"a": [], "b": []}
    one, two = ExitStack(), ExitStack()
    before = pickle.dumps(model)
    with torch.no_grad():
        one.enter_context(reading(model, [1], found["a"]))
        count = hooks_on(model)
        two.enter_context(reading(model, [1], found["b"]))
        assert hooks_on(model) == count  # each at most once, whoever reads
        one.close()
        model(**INPUTS)
        with pytest.raises(KeyError, match="mine"), two:
            model(**INPUTS)
            raise KeyError("mine")
        assert len(found["b"]) == 2 and not found["a"]
    assert not hooks_on(model) and pickle.dumps(model) == before


def test_a_model_of_our_own_keeps_them():
    model, found = build("bert"), []
    put_hooks(find_taps(model))
    count = hooks_on(model)
    with torch.no_grad(), reading(model, [0, 1], found):
        put_hooks(find_taps(model))
        model(**INPUTS)
    assert hooks_on(model) == count and [layer for layer, _ in found] == [0, 1]


def test_a_copy_that_was_made_meanwhile_is_read_once_a_pass():
    model, found = build("bert"), []
    with reading(model, [1], []):
        copied = copy.deepcopy(model)
    with torch.no_grad(), reading(copied, [1], found):
        copied(**INPUTS)
        model(**INPUTS)
    assert len(found) == 1


def test_threads_put_and_remove_them_while_others_run():
    model, wrong = build("bert"), []
    with torch.no_grad():
        expected = model(**INPUTS).last_hidden_state

    def work():
        with torch.no_grad():
            for _ in range(15):
                found: list = []
                with reading(model, [3], found):
                    output = model(**INPUTS).last_hidden_state
                if not (torch.equal(output, expected) and len(found) == 1 and torch.equal(found[0][1], expected)):
                    wrong.append(len(found))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and not hooks_on(model)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_what_other_hooks_change_counts_whenever_they_were_added(name):
    model, found = build(name), []
    blocks = find_taps(model).blocks

    def changed(module, args, output):
        return (output[0] + 1, *output[1:]) if isinstance(output, tuple) else output + 1

    def states() -> tuple:
        return model(**INPUTS, output_hidden_states=True).hidden_states[:3]

    with torch.no_grad():
        before = blocks[0].register_forward_hook(changed)
        with reading(model, [0, 1, 2], found):
            within: RemovableHandle = blocks[1].register_forward_hook(changed)
            steered = states()
            before.remove()
            within.remove()
            plain = states()
    assert [layer for layer, _ in found] == [0, 1, 2] * 2
    assert all(torch.equal(state, own) for (_, state), own in zip(found, (*steered, *plain), strict=True))
    assert not torch.allclose(steered[1], plain[1], atol=0.5)


@pytest.mark.slow
def test_passes_that_are_traced_or_exported_are_not_read():
    model, found = build("bert"), []
    model.config.return_dict = False
    given = tuple(INPUTS.values())
    with torch.no_grad(), reading(model, [1], found):
        traced = torch.jit.trace(model, given)  # which compares two traces, and a pass with the graph
        count = len(found)
        torch.export.export(model, given, strict=False)
        assert len(found) == count == 1
        assert torch.equal(traced(*given)[0], model(*given)[0])
