"""Plain heads as the adapters package has them: linear layers on one token, whatever the architecture calls them."""

from __future__ import annotations

import pytest
import torch
from tiny_zoo import make
from tunertools import randomise

from trunkline.branches.fold import Output, methods
from trunkline.data.batching import Layout
from trunkline.errors import BadInput
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter_export import linear_head, save_adapters
from trunkline.tuners.adapter_files import read_adapter
from trunkline.tuners.adapter_heads import read_head
from trunkline.tuners.adapter_weights import weights_of
from trunkline.tuners.plain import PlainHead

LABELS = ["sad", "glad", "calm"]
# The layers and what stands between them, of the classes of transformers 5.
TEXT = {
    "bert": (2, "tanh"), "albert": (2, "tanh"), "roberta": (2, "tanh"), "electra": (2, "gelu"), "distilbert": (2, "relu"),
    "deberta-v2": (2, "gelu"), "gpt2": (1, None), "llama": (1, None),
}  # fmt: skip


def exported(folder, name, level, *, size=3, method="adapter"):
    trunk = load_trunk(make(folder / "trunk", name), dtype="fp32", device="cpu")
    torch.manual_seed(0)
    head = PlainHead(trunk.model.config, Output(level, size), trunk.folder)
    kind = methods.get(method)
    tuned = TunedTrunk(trunk, kind(kind.Config()), "fp32", head.pooler)
    head.bind(tuned.model)
    randomise(tuned.model)
    randomise(head)
    return trunk, tuned.eval(), head.eval()


@pytest.mark.parametrize("name", TEXT)
@torch.no_grad()
def test_a_head_on_a_text_is_layers_on_its_first_token_or_a_decoders_last(tmp_path, name):
    trunk, _, head = exported(tmp_path, name, "text")
    found = linear_head(head, "classification", LABELS, trunk)
    assert (len(found.layers), found.activation) == TEXT[name]
    states, layout = torch.randn(9, trunk.hidden_size), Layout(torch.tensor([2, 7]))
    rows = states[[1, 8]] if name in ("gpt2", "llama") else states[[0, 2]]
    torch.testing.assert_close(found.logits(rows), head.finish(states, layout), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_an_adapter_and_its_head_are_read_back(tmp_path, name):
    trunk, tuned, head = exported(tmp_path, name, "unit")
    save_adapters(trunk, tuned, head, LABELS, tmp_path / "out", name="v1.2", kind="tagging", title="Moods")
    stored, own = read_adapter(tmp_path / "out", tuned.tuner.home), weights_of(tuned.tuner.places, "task")
    assert stored.name == "v1_2" and stored.weights.keys() == own.keys()
    assert all(torch.equal(value, own[key]) for key, value in stored.weights.items())
    read, states = read_head(tmp_path / "out"), torch.randn(5, trunk.hidden_size)
    assert (read.kind, read.labels) == ("tagging", LABELS)
    with torch.no_grad():
        expected = head.finish(states, Layout(torch.tensor([5])))
    torch.testing.assert_close(read.logits(states).detach(), expected, rtol=1e-5, atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: adapters" in card and "# Moods" in card


@pytest.mark.parametrize(
    ("name", "method", "size", "units", "sentence"),
    [
        ("modernbert", "adapter", 3, None, "no head like the plain one of modernbert"),
        ("t5", "adapter", 3, None, "transformers has no class for this head"),
        ("gpt2", "adapter", 1, (3.0, 2.0), "has no bias to hold the mean"),
        ("bert", "full", 3, None, "method full: puts no adapters into the trunk"),
    ],
)
def test_what_the_package_does_not_have_is_refused(tmp_path, name, method, size, units, sentence):
    trunk, tuned, head = exported(tmp_path, name, "text", size=size, method=method)
    with pytest.raises(BadInput, match=sentence):
        save_adapters(trunk, tuned, head, LABELS[:size], tmp_path / "out", name="a", kind="classification", units=units)
    assert not (tmp_path / "out").exists()
