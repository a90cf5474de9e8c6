"""Full fine-tuning, BitFit and LayerNorm tuning: what is trained, and gradients that are those of transformers' own model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from tiny_zoo import MODELS
from tunertools import apply, frozen, trained

from trunkline.branches.fold import LayerState, Output, methods
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.trunk.architectures import find_taps
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.states import TunedStates

TEXTS = ["the film was good", "a", "i feel so happy today"]


@pytest.mark.parametrize("name", MODELS)
def test_what_each_trains(name):
    model = frozen(name)
    names = {key for key, _ in model.named_parameters()}
    assert trained(apply(model, "full")[1]).keys() == names
    norms = {
        f"{key}.{part}"
        for key, module in model.named_modules()
        for part, _ in module.named_parameters(recurse=False)
        if "norm" in type(module).__name__.lower()
    }
    assert trained(apply(model, "layernorm")[1]).keys() == norms != set()
    biases = {key for key in names if key.endswith(".bias")}
    if biases:
        assert trained(apply(model, "bitfit")[1]).keys() == biases
    else:
        with pytest.raises(BadInput, match="has no biases to train"):
            apply(model, "bitfit")


@pytest.mark.parametrize("name", ["bert", "gpt2", "modernbert", "t5"])
def test_the_top_blocks_only(name):
    model = frozen(name)
    _, changed = apply(model, "full", top=1)
    taps = find_taps(changed)
    above = [taps.blocks[-1], taps.states[-1], *([changed.pooler] if hasattr(changed, "pooler") else [])]
    assert {id(p) for p in trained(changed).values()} == {id(p) for module in above for p in module.parameters()}
    with pytest.raises(BadInput, match="found 4 blocks, expected 1 to 3"):
        apply(model, "full", top=4)


@pytest.mark.parametrize("level", ["text", "unit"])
@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "modernbert", "gpt2", "llama"])
@pytest.mark.parametrize("method", ["full", "bitfit", "layernorm"])
def test_gradients_are_those_of_the_librarys_model(zoo, tmp_path, method, name, level):
    if (method, name) in {("bitfit", "llama"), ("bitfit", "modernbert")}:
        pytest.skip("no biases")
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    held = {key: value.clone() for key, value in trunk.model.state_dict().items()}
    torch.manual_seed(0)
    head = PlainHead(trunk.model.config, Output(level, 3), trunk.folder)
    kind = methods.get(method)
    tuned = TunedTrunk(trunk, kind(kind.Config(name=method)), "fp32", head.pooler).eval()
    head.bind(tuned.model)
    head.eval()
    encoded, targets = trunk.encode(TEXTS), torch.tensor([2, 0, 1])
    layout = Layout(torch.as_tensor(encoded.lengths))
    if level == "unit":
        targets = targets[layout.sequence_of]
    found = {}
    TunedStates(tuned, encoded).feed([0, 1, 2], head.layers, found.__setitem__)
    logits = head.finish(head.read(None, head.layers[0], LayerState(found[head.layers[0]])), layout)
    F.cross_entropy(logits, targets).backward()

    auto = hf.AutoModelForSequenceClassification if level == "text" else hf.AutoModelForTokenClassification
    padding = trunk.model.config.pad_token_id
    if padding is None:  # any id that no text has
        padding = min(set(range(trunk.vocabulary)) - set(encoded.ids.tolist()))
    model = auto.from_pretrained(trunk.folder, num_labels=3, pad_token_id=padding, dtype=torch.float32).eval()
    model.load_state_dict(head.model.state_dict(), strict=False)
    prefix = model.base_model_prefix
    ids = layout.pad(torch.as_tensor(encoded.ids).long()).masked_fill(~layout.mask, padding)
    expected = model(input_ids=ids, attention_mask=layout.mask.long()).logits
    expected = expected if level == "text" else layout.unpad(expected)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    F.cross_entropy(expected, targets).backward()
    theirs = dict(model.named_parameters())
    for key, parameter in trained(tuned.model).items():
        torch.testing.assert_close(parameter.grad, theirs[f"{prefix}.{key}"].grad, rtol=1e-3, atol=1e-6)
    for key, parameter in trained(head.model).items():
        torch.testing.assert_close(parameter.grad, theirs[key].grad, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        for parameter in trained(tuned.model).values():
            parameter.add_(1.0)
    for key, value in trunk.model.state_dict().items():  # the trunk has tensors of its own
        assert torch.equal(value, held[key])


@pytest.mark.parametrize(
    "method", [{"name": "bitfit"}, {"name": "layernorm"}, {"name": "lora", "bias": "all"}, {"name": "ia3"}], ids=str
)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_trained_in_part_computes_in_bf16_too(zoo, tmp_path, method, name):
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    kind = methods.get(method["name"])
    if method["name"] == "bitfit" and not any(key.endswith("bias") for key, _ in trunk.model.named_parameters()):
        pytest.skip("no biases")
    found = {}
    for precision in ("fp32", "bf16"):
        tuned = TunedTrunk(trunk, kind(kind.Config(**method)), precision).eval()
        given = {}
        TunedStates(tuned, trunk.encode(TEXTS)).feed([0, 1, 2], [trunk.num_layers], given.__setitem__)
        found[precision] = given[trunk.num_layers]
        found[precision].float().square().sum().backward()
        gradients = [p.grad for p in trained(tuned.model).values() if p.grad is not None]
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        assert any(gradient.any() for gradient in gradients)
    near = (found["bf16"].float() - found["fp32"]).norm() / found["fp32"].norm()
    assert near < 0.05


def test_attention_with_dropout_is_not_widened_in_bf16(zoo, tmp_path):
    """What torch keeps of it for the backward pass, and that its setting for the whole process is left as it was found."""
    trunk = load_trunk(zoo("bert"), dtype="fp32", device="cpu")
    kind, before = methods.get("full"), torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    tuned = TunedTrunk(trunk, kind(kind.Config(name="full")), "bf16").train()
    kept = []

    def see(value):
        kept.append((tuple(value.shape), value.dtype))
        return value

    with torch.autograd.graph.saved_tensors_hooks(see, lambda value: value):
        TunedStates(tuned, trunk.encode(TEXTS)).feed([0, 1, 2], [trunk.num_layers], lambda layer, rows: None)
    between_tokens = {dtype for shape, dtype in kept if len(shape) >= 3 and shape[-1] == shape[-2]}
    assert torch.bfloat16 in between_tokens and torch.float32 not in between_tokens
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == before
