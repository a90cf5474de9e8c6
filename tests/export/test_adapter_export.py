"""Plain heads as the adapters package has them: linear layers on one token, whatever the architecture calls them."""

from __future__ import annotations

import pytest
import torch
from tiny_zoo import make
from tunertools import randomise, states

from trunkline.branches.fold import Output, methods
from trunkline.errors import BadInput
from trunkline.export.adapters import linear_head, loading, save_adapters
from trunkline.inputs.batching import Layout
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter import Adapter, AdapterConfig
from trunkline.tuners.adapters.bottleneck import VARIANTS
from trunkline.tuners.adapters.files import read_adapter
from trunkline.tuners.adapters.heads import read_head
from trunkline.tuners.adapters.weights import weights_of
from trunkline.tuners.fusion import Fusion, FusionConfig
from trunkline.tuners.plain import PlainHead

LABELS = ["sad", "glad", "calm"]
# The layers and what stands between them, of the classes of transformers 5.
TEXT = {
    "bert": (2, "tanh"), "albert": (2, "tanh"), "roberta": (2, "tanh"), "electra": (2, "gelu"), "distilbert": (2, "relu"),
    "deberta-v2": (2, "gelu"), "gpt2": (1, None), "llama": (1, None),
}  # fmt: skip


def exported(folder, name, level, *, size=3, method="adapter", **config):
    trunk = load_trunk(make(folder / "trunk", name), dtype="fp32", device="cpu")
    torch.manual_seed(0)
    head = PlainHead(trunk.model.config, Output(level, size), trunk.folder)
    kind = methods.get(method)
    tuned = TunedTrunk(trunk, kind(kind.Config(**config)), "fp32", head.pooler)
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


def language_adapter(folder, name):
    """A language adapter with its invertible one, in a folder of its own, as others have published them."""
    trunk = load_trunk(make(folder / "language trunk", name), dtype="fp32", device="cpu")
    spec = {**VARIANTS["pfeiffer"], "reduction_factor": 2, "inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(specs={"task": spec})), "fp32")
    randomise(tuned.model)
    tuned.tuner.export(folder / "ko", "ko")
    return str(folder / "ko")


def bits(path, home):
    return {name: value.numpy().tobytes() for name, value in read_adapter(path, home).weights.items()}


@pytest.mark.parametrize(("called", "below"), [("mood", "language"), ("language", "language_below")])
@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2"])
def test_a_language_adapter_below_goes_along(tmp_path, name, called, below):
    ko = language_adapter(tmp_path, name)
    trunk, tuned, head = exported(tmp_path, name, "unit", stack_on=ko, variant="houlsby", reduction=4)
    out, home = tmp_path / "out", tuned.tuner.home
    save_adapters(trunk, tuned, head, LABELS, out, name=called, kind="tagging")
    assert bits(out / "language", home) == bits(ko, home)
    assert {key.split(".")[0] for key in bits(out / "language", home)} == {"output", "invertible"}
    assert {key.split(".")[0] for key in bits(out, home)} == {"attention", "output"}
    read = read_adapter(out / "language", home)
    assert (read.name, read.spec) == (below, tuned.tuner.language)
    again = TunedTrunk(trunk, Adapter(AdapterConfig(start=str(out), stack_on=str(out / "language"))), "fp32").eval()
    assert torch.equal(states(again.model), states(tuned.model))
    alone = TunedTrunk(trunk, Adapter(AdapterConfig(start=str(out))), "fp32").eval()
    assert not torch.allclose(states(alone.model), states(tuned.model), atol=1e-2)
    assert loading(tuned.tuner, called, "out", "trunk") == (lines := [
        "from adapters import AutoAdapterModel, Stack",
        'model = AutoAdapterModel.from_pretrained("trunk")',
        'model.load_adapter("out/language", use_safetensors=True)',
        'model.load_adapter("out", use_safetensors=True, set_active=True)',
        f'model.set_active_adapters(Stack("{below}", "{called}"))',
    ])  # fmt: skip
    assert "\n".join(["```python", *lines, "```"]) in (out / "README.md").read_text()


def test_a_language_adapter_below_a_fusion_goes_along(tmp_path):
    ko = language_adapter(tmp_path, "bert")
    for task in ("a", "b"):
        _, tuned, _ = exported(tmp_path / task, "bert", "text", stack_on=ko, reduction=4)
        tuned.tuner.export(tmp_path / task, task)
    adapters = {task: str(tmp_path / task) for task in ("a", "b")}
    trunk, tuned, head = exported(tmp_path, "bert", "text", method="fusion", adapters=adapters, stack_on=ko)
    out, home = tmp_path / "out", tuned.tuner.home
    save_adapters(trunk, tuned, head, LABELS, out, name="mood", kind="classification")
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "a", "b", "fusion", "language"]
    assert bits(out / "language", home) == bits(ko, home)
    assert not any("invertible" in key for task in ("a", "b") for key in bits(out / task, home))
    config = FusionConfig(
        adapters={task: str(out / task) for task in ("a", "b")}, start=str(out / "fusion"), stack_on=str(out / "language")
    )
    again = TunedTrunk(trunk, Fusion(config), "fp32").eval()
    assert torch.equal(states(again.model), states(tuned.model))
    assert loading(tuned.tuner, "mood", "out", "trunk") == [
        "from adapters import AutoAdapterModel, Fuse, Stack",
        'model = AutoAdapterModel.from_pretrained("trunk")',
        *(f'model.load_adapter("out/{name}", use_safetensors=True)' for name in ("language", "a", "b")),
        'model.load_adapter_fusion("out/fusion", use_safetensors=True, set_active=True)',
        'model.set_active_adapters(Stack("language", Fuse("a", "b")))',
    ]


@pytest.mark.parametrize(("taken", "stacked"), [("fusion", False), ("language", True)])
def test_an_adapter_that_has_the_name_of_another_folder_is_refused(tmp_path, taken, stacked):
    below = {"stack_on": language_adapter(tmp_path, "bert")} if stacked else {}
    exported(tmp_path / "a", "bert", "text", **below)[1].tuner.export(tmp_path / "a", "a")
    adapters = {taken: str(tmp_path / "a")}
    trunk, tuned, head = exported(tmp_path, "bert", "text", method="fusion", adapters=adapters, **below)
    with pytest.raises(BadInput, match=f"export: found an adapter called {taken}"):
        save_adapters(trunk, tuned, head, LABELS, tmp_path / "out", name="mood", kind="classification")
    assert not (tmp_path / "out").exists()


def test_the_lines_that_load_an_adapter_alone(tmp_path):
    _, tuned, _ = exported(tmp_path, "bert", "text")
    assert loading(tuned.tuner, "v1.2", "here/out", "bert-base-uncased", "0123") == [
        "from adapters import AutoAdapterModel",
        'model = AutoAdapterModel.from_pretrained("bert-base-uncased", revision="0123")',
        'model.load_adapter("here/out", use_safetensors=True, set_active=True)',
    ]


@pytest.mark.parametrize(
    ("name", "method", "size", "units", "sentence"),
    [
        ("modernbert", "adapter", 3, None, "no head like the plain one of modernbert"),
        ("t5", "adapter", 3, None, "transformers has no class for this head"),
        ("gpt2", "adapter", 1, (3.0, 2.0), "has no bias for the mean"),
        ("bert", "full", 3, None, "method full: inserts no adapters into the trunk"),
    ],
)
def test_what_the_package_does_not_have_is_refused(tmp_path, name, method, size, units, sentence):
    trunk, tuned, head = exported(tmp_path, name, "text", size=size, method=method)
    with pytest.raises(BadInput, match=sentence):
        save_adapters(trunk, tuned, head, LABELS[:size], tmp_path / "out", name="a", kind="classification", units=units)
    assert not (tmp_path / "out").exists()
