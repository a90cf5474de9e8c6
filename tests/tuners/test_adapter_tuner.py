"""The tuner `adapter` as a part of Trunkline: on every architecture of the zoo, in bf16, trained, saved, refused."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import transformers as hf
from tiny_zoo import MODELS, build
from torch import Tensor
from tunertools import apply, frozen, ids, randomise, states, trained

from trunkline.branches.fold import methods
from trunkline.errors import BadInput
from trunkline.trunk.architectures import ARCHITECTURES, find_taps
from trunkline.trunk.load import load_trunk
from trunkline.trunk.stream import run_layers
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter import Adapter, AdapterConfig
from trunkline.tuners.adapters import bottleneck
from trunkline.tuners.adapters.places import PLACES
from trunkline.tuners.copied import private_copy

VARIANTS = ("pfeiffer", "houlsby", "parallel")


def test_every_architecture_that_reads_texts_has_its_places():
    assert PLACES.keys() == {name for name, row in ARCHITECTURES.items() if row.front is None}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", MODELS)
def test_it_starts_near_the_trunk(name, variant):
    model = frozen(name)
    tuner, changed = apply(model, "adapter", variant=variant, reduction=4)
    before, after = states(model), states(changed)
    if variant == "parallel":
        assert torch.equal(before, after)  # its up-projection starts at zero
    else:
        assert not torch.equal(before, after)
        torch.testing.assert_close(before, after, rtol=0, atol=0.12)
    per_block = 2 if variant == "houlsby" else 1
    assert len(tuner.places) == per_block * len(set(find_taps(model).blocks))
    assert all("_adapter.task." in key for key in trained(changed))


@pytest.mark.parametrize("name", ["bert", "distilbert", "albert", "bart", "t5", "llama"])
def test_training_leaves_the_trunk_bit_for_bit(name):
    model = frozen(name)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    before = states(model)
    _, changed = apply(model, "adapter", variant="houlsby", reduction=4)
    randomise(changed)
    changed.train()
    optimizer = torch.optim.SGD(trained(changed).values(), lr=0.1)
    changed(input_ids=ids()).last_hidden_state.square().sum().backward()
    optimizer.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in trained(changed).values())
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    assert torch.equal(states(model), before)
    assert not any("adapter" in key for key in model.state_dict())


def test_the_places_of_some_blocks(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32")
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(layers="3", reduction=4)), "fp32").eval()
    assert tuned.lowest == 2
    assert {key.split("_adapter")[0] for key in tuned.own()} == {"encoder.layer.2.output"}
    randomise(tuned)
    inputs = {"input_ids": ids(), "attention_mask": torch.ones_like(ids())}
    found: list[dict[int, Tensor]] = [{}, {}]
    for place, runs in zip(found, (trunk, tuned), strict=True):
        run_layers(runs, inputs, range(4), lambda i, state, place=place: place.__setitem__(i, state.clone()))
    assert [torch.equal(found[0][i], found[1][i]) for i in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("name", ["bert", "distilbert", "bart", "gpt2", "t5", "llama"])
def test_bf16_beside_float32(name):
    model = frozen(name)
    _, exact = apply(model, "adapter", variant="houlsby", reduction=4)
    randomise(exact, 0.05)
    expected = states(exact)
    narrow = copy.deepcopy(exact)
    for parameter in narrow.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    assert all(p.dtype is torch.float32 for p in trained(narrow).values())
    found = states(narrow)  # the adapters in float32, the trunk in bf16
    assert found.dtype is torch.bfloat16
    close = {"rtol": 0.1, "atol": 0.1 * float(expected.abs().max())}
    torch.testing.assert_close(found.float(), expected, **close)
    for one in (narrow, exact):
        with torch.autocast("cpu", torch.bfloat16):
            out = one(input_ids=ids()).last_hidden_state
            out.float().square().sum().backward()
        torch.testing.assert_close(out.detach().float(), expected, **close)
        assert all(p.grad.dtype is torch.float32 and p.grad.any() for p in trained(one).values())


@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_dropout_that_is_no_module_is_done_once(name):
    model = build(name, dropout=0.5, activation_dropout=0.0, attention_dropout=0.0).requires_grad_(False).get_encoder()
    _, changed = apply(model, "adapter", layers="1")  # starts with small weights: h + 0.0..., so zeros stay nearly zero
    block = find_taps(changed).blocks[0]
    for parameter in block.output_adapter.task.parameters():
        parameter.data.zero_()
    seen: dict[str, Tensor] = {}
    for key in ("self_attn", "fc2"):
        block.get_submodule(key).register_forward_hook(
            lambda m, args, out, key=key: seen.__setitem__(key, out[0] if isinstance(out, tuple) else out)
        )
    changed.train()
    torch.manual_seed(0)
    ends: list[Tensor] = []
    block.register_forward_hook(lambda m, args, out: ends.append((args[0], out)))
    big = torch.randint(10, 60, (8, 40))
    changed(input_ids=big)
    for key, h in seen.items():
        assert 0.45 < (h == 0).float().mean() < 0.55, key
    (start, end), attention, fed = ends[0], seen["self_attn"], seen["fc2"]
    if name == "mbart":  # no norm after: what comes out is the plain sum
        torch.testing.assert_close(end, start + attention + fed)


def test_a_pass_that_was_stopped_leaves_nothing_behind(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32")
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(reduction=4)), "fp32").eval()
    inputs = {"input_ids": ids(), "attention_mask": torch.ones_like(ids())}

    def fail(layer: int, state: Tensor) -> None:
        raise RuntimeError("stopped")

    handle = tuned.taps.blocks[1].output.dense.register_forward_hook(lambda *a: fail(0, a[2]))
    with pytest.raises(RuntimeError, match="stopped"):
        run_layers(tuned, inputs, (3,), lambda i, s: None, frozen=False)
    handle.remove()
    again = copy.deepcopy(tuned)  # a tensor with a history could not be copied
    found: list[Tensor] = []
    for one in (tuned, again):
        run_layers(one, inputs, (3,), lambda i, s: found.append(s.clone()))
    assert torch.equal(*found)


def test_described_reloads_without_files(tmp_path):
    model = frozen("bert")
    below, changed = apply(model, "adapter", reduction=4)
    randomise(changed)
    below.export(tmp_path / "below", "xx")
    tuner, changed = apply(model, "adapter", variant="houlsby", reduction=8, stack_on=str(tmp_path / "below"))
    randomise(changed)
    assert {key.split("_adapter.")[1].split(".")[0] for key in changed.state_dict() if "_adapter." in key} == {
        "task",
        "language",
    }
    assert all(".task." in key for key in trained(changed))
    described = json.loads(json.dumps(tuner.described()))
    (tmp_path / "below").rename(tmp_path / "gone")
    _, again = apply(model, **described)
    again.load_state_dict(changed.state_dict())
    assert trained(again).keys() == trained(changed).keys()
    assert torch.equal(states(again), states(changed))


@pytest.mark.parametrize("name", MODELS)
def test_an_invertible_adapter_is_used_by_a_tuned_trunk(zoo, name, tmp_path):
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    spec = {**bottleneck.VARIANTS["pfeiffer"], "reduction_factor": 4, "inv_adapter": "nice"}
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(specs={"task": spec})), "fp32").eval()
    found: list[Tensor] = []
    for _ in range(2):
        run_layers(tuned, {"input_ids": ids()}, (0, tuned.num_layers), lambda layer, state: found.append(state.clone()))
        randomise(tuned.get_submodule("model.invertible_adapter"))
    assert not torch.allclose(found[1], found[3], atol=1e-3)


def test_start_goes_on_from_an_adapter(tmp_path):
    model = frozen("gpt2")
    tuner, changed = apply(model, "adapter", variant="houlsby", reduction=4, activation="gelu", layers="2-3")
    randomise(changed)
    tuner.export(tmp_path / "one", "one")
    _, again = apply(model, "adapter", start=str(tmp_path / "one"))
    assert torch.equal(states(again), states(changed))
    assert trained(again).keys() == trained(changed).keys()


BAD = [
    ("bert", {"layers": "4"}, r"method.layers: found layer 4, expected 1 to 3 \(or -1 to -3, from the top\)"),
    ("bert", {"layers": "0-2"}, r"method.layers: found layer 0, expected 1 to 3 \(or"),
    ("bert", {"activation": "rellu"}, "method.activation: unknown name 'rellu'; did you mean 'relu'"),
    ("bert", {"layers": "0"}, r"method.layers: found layer 0, expected 1 to 3 \(or"),
    ("bert", {"layers": [-4]}, r"method.layers: found layer -4, expected 1 to 3 \(or"),
    ("bert", {"layers": []}, "method.layers: no layer is selected, expected at least one of 1 to 3"),
    ("bert", {"reduction": 33}, "method.reduction: found 33, expected at most 32, the trunk's width"),
    ("albert", {"layers": "2-3"}, "are one shared block"),
    ("bert", {"start": "nowhere"}, "nowhere: found no adapter; expected a folder with adapter_config.json"),
    ("bert", {"start": "x", "reduction": 8}, "method.reduction: found together with start"),
]


@pytest.mark.parametrize(("name", "config", "sentence"), BAD)
def test_what_does_not_fit_is_refused(name, config, sentence):
    with pytest.raises(BadInput, match=sentence):
        apply(frozen(name), "adapter", **config)


def _change_json(folder, change):
    file = folder / "adapter_config.json"
    described = json.loads(file.read_text())
    change(described)
    file.write_text(json.dumps(described))


WRONG = [
    (lambda d: d.update(hidden_size=768), "hidden_size: found 768, expected 32, as in the trunk"),
    (lambda d: d.update(model_type="roberta"), "model_type: found 'roberta', expected 'bert'"),
    (lambda d: d["config"].update(architecture="lora"), "found method 'lora', expected a bottleneck adapter"),
    (lambda d: d["config"].update(inv_adapter="glow"), "found a glow adapter, expected nice"),
    (lambda d: d["config"].update(phm_layer=True), "found phm_layer: True, which is not supported"),
    (lambda d: d["config"].update(non_linearity="prelu"), "non_linearity: found 'prelu', expected one of"),
    (lambda d: d["config"].update(reduction_factor=-1), "reduction_factor: found -1.0, expected more than 0"),
    (lambda d: d["config"].update(reduction_factor=2), "output.0.down.weight has a width of 8, but its config means 16"),
    (lambda d: d["config"].update(mh_adapter=True), "the weights of attention.0.down.bias are missing"),
    (lambda d: d["config"].update(leave_out=[0]), "the weights of output.0.down.bias do not match any module of this trunk"),
    (lambda d: d["config"].pop("output_adapter"), "output_adapter: Field required"),
    (lambda d: d.pop("name"), "found no name and config of an adapter"),
    (lambda d: d.update(name="other"), "matches no adapter position of this bert"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG)
def test_files_that_do_not_fit_are_refused(change, sentence, tmp_path):
    model = frozen("bert")
    tuner, _ = apply(model, "adapter", reduction=4)
    tuner.export(tmp_path / "one", "one")
    _change_json(tmp_path / "one", change)
    with pytest.raises(BadInput, match=sentence) as caught:
        apply(model, "adapter", start=str(tmp_path / "one"))
    assert str(tmp_path) in str(caught.value)


def test_numbers_that_are_none_are_refused(tmp_path):
    model = frozen("bert")
    tuner, changed = apply(model, "adapter", reduction=4)
    next(iter(trained(changed).values())).data[0] = float("nan")
    tuner.export(tmp_path / "one", "one")
    with pytest.raises(BadInput, match=r"one: output.0.down.\w+ holds a number that is not finite"):
        apply(model, "adapter", start=str(tmp_path / "one"))
    (tmp_path / "one" / "adapter.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read as safetensors"):
        apply(model, "adapter", start=str(tmp_path / "one"))


def test_parallel_does_not_go_onto_a_language(tmp_path):
    model = frozen("bert")
    tuner, _ = apply(model, "adapter", reduction=4)
    tuner.export(tmp_path / "xx", "xx")
    with pytest.raises(BadInput, match=r"method.variant: found parallel, which would bypass the language adapter"):
        apply(model, "adapter", variant="parallel", stack_on=str(tmp_path / "xx"))


def test_a_decoder_that_is_not_there_is_left_out(tmp_path):
    """What is trained on the encoder alone says so, and an adapter of both stacks gives the encoder its part."""
    whole = build("bart").requires_grad_(False)
    copied = private_copy(whole)
    both = Adapter(AdapterConfig(variant="houlsby", reduction=4))
    both.apply(copied, ARCHITECTURES["bart"], find_taps(copied, "decoder"))
    assert {place.index for place in both.places} == {0, 1, 2, 3, 4}
    randomise(copied)
    both.export(tmp_path / "both", "both")
    _, changed = apply(whole.get_encoder(), "adapter", start=str(tmp_path / "both"))
    with torch.no_grad():
        expected = copied(input_ids=ids()).encoder_last_hidden_state
    assert torch.equal(states(changed), expected)
    encoder, _ = apply(whole.get_encoder(), "adapter", layers="1,3")
    assert encoder.spec.leave_out == (1, 3, 4)


def test_a_decoder_without_places_is_refused():
    model = build("t5", model_class=hf.T5Model)
    with pytest.raises(BadInput, match=r"^method: found adapters for the decoder of t5, expected stack: encoder"):
        Adapter(AdapterConfig()).apply(model, ARCHITECTURES["t5"], find_taps(model, "decoder"))


def test_it_is_registered():
    assert {"adapter", "fusion"} <= set(methods.names())
