"""What does not belong to a model is refused in one sentence, before anything is read."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from attachtools import CAUSAL, TO_SEQUENCE, inputs_for, some_slow, users_model, users_tokenizer
from bundletools import make
from tiny import tiny_bert
from tiny_zoo import MODELS, build

import trunkline
from trunkline.errors import BadInput
from trunkline.model.attached.matching import Trunked
from trunkline.model.branch import save_branch
from trunkline.model.trunk_ref import TrunkRef
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def mood(trunk_of):
    return make(trunk_of("bert"), "sequence")


@pytest.mark.parametrize("name", some_slow(["bert", "bart", "t5", "gpt2"], list(MODELS)))
def test_the_weights_of_a_trunk_are_found_in_a_model_with_a_head(zoo, trunk_of, name):
    trunk, model = trunk_of(name), users_model(zoo, name, CAUSAL.get(name) or TO_SEQUENCE.get(name) or hf.AutoModel)
    trunked = Trunked.of(model, "encoder")
    assert trunk.fingerprint.weights in set(trunked.digests())
    assert trunked.caches == (name in CAUSAL)
    assert trunked.tensors.keys() == trunk.model.state_dict().keys() and trunked.precision == "fp32"
    if name in TO_SEQUENCE and name != "t5":
        decoder = trunk_of(name, "decoder")
        assert decoder.fingerprint.weights in set(Trunked.of(model, "decoder").digests())


def test_finding_them_draws_no_random_number(zoo, mood):
    model = users_model(zoo, "bert")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trunkline.attach(model, mood)
    assert torch.equal(torch.rand(3), expected)


def test_another_checkpoint_is_refused(mood):
    with pytest.raises(BadInput, match=r"weights sha256 [0-9a-f]{12}, and the model has others \(another checkpoint, or fine"):
        trunkline.attach(build("bert", seed=1), mood)


def test_a_fine_tuned_model_is_refused(zoo, mood):
    model = users_model(zoo, "bert")
    with torch.no_grad():
        model.bert.encoder.layer[2].output.dense.bias[0] += 1e-3
    with pytest.raises(BadInput, match="the model has others"):
        trunkline.attach(model, mood)


def test_layers_of_another_library_within_are_refused(zoo, mood):
    import peft

    model = peft.get_peft_model(users_model(zoo, "bert"), peft.LoraConfig(target_modules=["query"]))
    with pytest.raises(BadInput, match="the model has others"):
        trunkline.attach(model, mood)


@pytest.mark.parametrize("changed", [{"hidden_size": 16}, {"num_hidden_layers": 2}])
def test_another_shape_is_refused(mood, changed):
    with pytest.raises(BadInput, match=r"3 layers of width 32, found a model with \d of width \d\d"):
        trunkline.attach(build("bert", **changed), mood)


def test_other_settings_are_refused_but_not_those_of_generation(zoo, trunk_of, mood):
    model = users_model(zoo, "bert")
    model.config.layer_norm_eps = 1e-3
    with pytest.raises(BadInput, match=r"other settings of its config\.json"):
        trunkline.attach(model, mood)
    causal = users_model(zoo, "gpt2")
    causal.config.pad_token_id = 7
    trunkline.attach(causal, make(trunk_of("gpt2"), "sequence"))


def test_another_tokenizer_is_refused(zoo, mood):
    model = users_model(zoo, "bert")
    trunkline.attach(model, mood, tokenizer=users_tokenizer(zoo, "bert"))
    with pytest.raises(BadInput, match="trained with a tokenizer of sha256"):
        trunkline.attach(model, mood, tokenizer=users_tokenizer(zoo, "roberta"))
    other = users_tokenizer(zoo, "bert")
    other.add_tokens(["mine"])
    with pytest.raises(BadInput, match="trained with a tokenizer of sha256"):
        trunkline.attach(model, mood, tokenizer=other)
    with pytest.raises(BadInput, match="found str, expected a fast tokenizer"):
        trunkline.attach(model, mood, tokenizer="bert")
    with pytest.raises(BadInput, match="texts and no tokenizer"):
        trunkline.attach(model, mood, texts=["a"])


def test_another_stack_is_refused(zoo, trunk_of):
    model = build("bart", model_class=hf.BartForCausalLM)
    with pytest.raises(BadInput, match="no such stack"):
        trunkline.attach(model, make(trunk_of("bart"), "sequence"))


def test_a_branch_that_changes_its_trunk_is_refused(zoo, mood, tmp_path):
    changed = dataclasses.replace(mood, source=SimpleNamespace(trunk=object()))
    with pytest.raises(BadInput, match="changes its trunk, so it needs a pass of its own"):
        trunkline.attach(users_model(zoo, "bert"), changed)
    save_branch(mood, tmp_path / "mood")
    file = tmp_path / "mood" / "branch.json"
    file.write_text(file.read_text().replace('"adalayers"', '"lora"'))
    with pytest.raises(BadInput, match=r"mood: method lora changes its trunk"):  # told without its trunk, or its weights
        trunkline.attach(users_model(zoo, "bert"), tmp_path / "mood")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_precision_is_refused_or_checked(zoo, trunk_of, mood):
    model = users_model(zoo, "bert").to(torch.bfloat16)
    with pytest.raises(BadInput, match=r"trained on states in fp32, found a model in bf16; allow_precision_change=True"):
        trunkline.attach(model, mood)
    with pytest.raises(BadInput, match="found a model in fp16; expected a model in fp32 or bf16"):
        trunkline.attach(users_model(zoo, "bert").half(), mood, allow_precision_change=True)
    with pytest.warns(UserWarning, match=r"mood was trained on fp32 and answers from bf16: on 300 texts"):
        attachment = trunkline.attach(model, {"mood": mood}, allow_precision_change=True)
    with torch.no_grad(), attachment as taps:
        model(**inputs_for("bert"))
    assert len(taps["mood"]) == 4 and len(taps.findings) == 1
    model.float()
    with pytest.raises(BadInput, match="found the model in fp32, and it was in bf16 when branches were attached"), attachment:
        pass
    model.bfloat16()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias += 1
    with pytest.raises(BadInput, match="the model has others"):
        trunkline.attach(model, mood, allow_precision_change=True)


def test_a_branch_trained_in_bf16_rides_on_a_model_in_bf16(zoo):
    trunk = load_trunk(zoo("bert"), dtype="bf16", device="cpu")
    branch = make(trunk, "sequence", precision="bf16")
    model = users_model(zoo, "bert").to(torch.bfloat16)
    with torch.no_grad(), trunkline.attach(model, branch) as taps:
        model(**inputs_for("bert"))
    assert len(taps[branch.task.name]) == 4
    wider = users_model(zoo, "bert")
    with pytest.raises(BadInput, match="trained on states in bf16, found a model in fp32"):
        trunkline.attach(wider, branch)


@pytest.mark.slow
def test_a_trunk_that_is_needed_and_gone_is_asked_for(zoo, tmp_path, trunk_of):
    folder = tiny_bert(tmp_path / "here")
    trunk = load_trunk(folder, dtype="fp32", device="cpu")
    branch = make(trunk, "sequence")
    model = hf.AutoModel.from_pretrained(folder, dtype=torch.bfloat16)
    folder.rename(tmp_path / "there")
    with pytest.raises(BadInput, match=r"its trunk is needed to compare.*trunk= gives its current location"):
        trunkline.attach(model, branch, allow_precision_change=True)
    with pytest.warns(UserWarning, match="answers from bf16"):
        trunkline.attach(model, branch, allow_precision_change=True, trunk=str(tmp_path / "there"))


def test_autocast_is_another_precision(zoo, mood):
    model = users_model(zoo, "bert")
    said, bf16 = pytest.warns(UserWarning, match="no answers"), torch.autocast("cpu", torch.bfloat16)
    with said, trunkline.attach(model, mood) as taps, torch.no_grad(), bf16:
        model(**inputs_for("bert"))
    with pytest.raises(BadInput, match="under autocast in bfloat16; expected one in fp32"):
        taps[mood.task.name]


def _with_compiled_forward(module):
    module.forward = torch.compile(module.forward, backend="eager")  # as guides to generating have it
    return module


@pytest.mark.parametrize(
    "compiled",
    [
        lambda model: model.bert.encoder.layer[1].compile(backend="eager"),
        lambda model: torch.compile(model, backend="eager"),
        _with_compiled_forward,
        lambda model: _with_compiled_forward(model.bert.encoder.layer[1]),
        lambda model: setattr(_with_compiled_forward(model), "forward", functools.partial(model.forward)),
    ],
    ids=["layer", "whole", "forward", "forward of a layer", "forward in a wrapper"],
)
def test_a_compiled_model_is_refused(zoo, mood, compiled):
    model = users_model(zoo, "bert")
    attachment, made = trunkline.attach(model, mood), compiled(model)
    model = model if made is None else made
    with pytest.raises(BadInput, match=r"compiled by torch\.compile"):
        trunkline.attach(model, mood)
    if model is attachment.model:
        with pytest.raises(BadInput, match=r"compiled by torch\.compile"), attachment:
            pass


def test_virtual_tokens_of_peft_are_refused(zoo, trunk_of):
    import peft

    model, branch = users_model(zoo, "gpt2"), make(trunk_of("gpt2"), "sequence")
    for kind in (peft.PromptTuningConfig, peft.PrefixTuningConfig):
        tuned = peft.get_peft_model(model, kind(task_type="CAUSAL_LM", num_virtual_tokens=3))
        with pytest.raises(BadInput, match="PeftModelForCausalLM puts virtual tokens before each text"):
            trunkline.attach(tuned, branch)


@pytest.mark.parametrize(
    ("given", "said"),
    [([], "found none"), (3, "found int"), ([3], "found int"), ({"a": []}, "found list|found 0")],
    ids=str,
)
def test_what_is_no_branch_is_refused(zoo, given, said):
    with pytest.raises(BadInput, match=said):
        trunkline.attach(users_model(zoo, "bert"), given)


def test_what_is_no_model_is_refused(mood):
    with pytest.raises(BadInput, match="found weights on the meta device, so not in memory"):
        trunkline.attach(build("bert").to("meta"), mood)
    with pytest.raises(BadInput, match="model: found str, expected a transformers model or pipeline"):
        trunkline.attach("bert", mood)
    with pytest.raises(BadInput, match="unknown architecture"):
        trunkline.attach(torch.nn.Linear(2, 2), mood)


def test_a_trunk_stored_in_half_precision_is_known_in_any(tmp_path):
    """The digest is of the stored values: a model that was widened when it was loaded has them still."""
    folder = tiny_bert(tmp_path / "half")
    hf.AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    trunk = load_trunk(folder, dtype="fp32", device="cpu")
    branch = make(trunk, "sequence")
    assert branch.trunk == TrunkRef.of(trunk)
    trunkline.attach(hf.AutoModel.from_pretrained(folder, dtype=torch.float32), branch)
