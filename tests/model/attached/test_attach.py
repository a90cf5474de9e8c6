"""attach: answers are those of a Bundle on the same texts, and the model gives what it gives without."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
import transformers as hf
from attachtools import (
    CAUSAL,
    TEXTS,
    TO_SEQUENCE,
    branches_of,
    close,
    inputs_for,
    logits_alone,
    some_slow,
    users_model,
    users_tokenizer,
)
from bundletools import make
from tiny_zoo import MODELS, build

import trunkline
from trunkline.errors import BadInput
from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.trunk import stream

ENCODERS = [name for name in MODELS if name not in CAUSAL and name not in TO_SEQUENCE]


def run(model, inputs):
    return model.generate(**inputs, max_new_tokens=2) if model.config.is_encoder_decoder else model(**inputs)


@pytest.mark.parametrize(
    "name", some_slow(["bert", "bart", "gpt2"], ["albert", "deberta-v2-conv", "modernbert", "t5", "llama"])
)
def test_answers_are_those_of_a_bundle(zoo, trunk_of, name):
    trunk = trunk_of(name)
    branches = branches_of(trunk) | {"words": make(trunk, "token", method="probe", seed=7)}
    model, tokenizer = users_model(zoo, name), users_tokenizer(zoo, name)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad(), trunkline.attach(model, branches, tokenizer=tokenizer, texts=TEXTS) as taps:
        run(model, inputs)
    expected = Bundle(trunk, branches).predict(TEXTS)
    assert len(taps) == len(branches) and any(row["token"]["spans"] for row in expected)
    for key in branches:
        assert close(taps[key], [row[key] for row in expected])
    assert taps.texts == TEXTS and not taps.findings
    if name == "bert":
        said = pytest.warns(UserWarning, match="1 of 5 texts were not given to the model, so there is no answer about them")
        with torch.no_grad(), said, trunkline.attach(model, branches, tokenizer=tokenizer, texts=[*TEXTS, "so"]):
            run(model, inputs)


@pytest.mark.parametrize("name", some_slow(["bert", "albert-groups"], ENCODERS))
def test_outputs_of_a_model_with_a_head_are_the_same_bits(zoo, trunk_of, name):
    table = hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if MODELS[name].model_class.config_class not in table:
        pytest.skip("the library has no such head")
    model, inputs = users_model(zoo, name), inputs_for(name)
    with torch.no_grad():
        bare = model(**inputs).logits
        with trunkline.attach(model, branches_of(trunk_of(name))) as taps:
            ridden = model(**inputs).logits
        assert torch.equal(ridden, bare) and torch.equal(model(**inputs).logits, bare)
    assert len(taps["sequence"]) == len(TEXTS)


WAYS = {
    "greedy": {},
    "beam": {"num_beams": 3},
    "sampling": {"do_sample": True, "top_k": 0},
    "static": {"cache_implementation": "static"},
}


@pytest.mark.parametrize("name", some_slow(["gpt2-left", "t5"], [*CAUSAL, *TO_SEQUENCE]))
def test_generation_is_the_same_bits(zoo, trunk_of, name):
    model, inputs = users_model(zoo, name), inputs_for(name, TEXTS[:2])
    branches = branches_of(trunk_of(name), kinds=("sequence", "token"))
    for way, settings in WAYS.items():
        settings = {"do_sample": False, "max_new_tokens": 4, "pad_token_id": 0, **settings}

        def generate(settings=settings):
            torch.manual_seed(3)
            out = model.generate(**inputs, **settings, output_scores=True, return_dict_in_generate=True)
            return [out.sequences, *out.scores]

        bare = generate()
        with trunkline.attach(model, branches) as taps:
            ridden = generate()
        assert all(map(torch.equal, ridden, bare)) and len(ridden) == len(bare), way
        rows = 3 * 2 if way == "beam" and name in CAUSAL else 2
        assert len(taps["sequence"]) == len(taps["token"]) == rows, way


def test_the_decoder_stack_rides_too(zoo, trunk_of):
    trunk = trunk_of("bart", "decoder")
    branch = make(trunk, "sequence")
    model, inputs = users_model(zoo, "bart"), inputs_for("bart", TEXTS[:2])
    ids = torch.tensor([[2, 8, 9, 10], [2, 11, 12, 13]])
    with torch.no_grad(), trunkline.attach(model, {"a": branch, "b": make(trunk_of("bart"), "sequence")}) as taps:
        states = model(**inputs, decoder_input_ids=ids, output_hidden_states=True).decoder_hidden_states
    from trunkline.branches import LayerState
    from trunkline.inputs.batching import Layout

    layout, carry = Layout(torch.tensor([4, 4])), None
    with torch.no_grad():
        for layer in branch.module.wanted():
            carry = branch.module.read(carry, layer, LayerState(states[layer].flatten(0, 1), layout))
        shares = branch.probabilities(branch.module.finish(carry, layout, None))
    assert close([list(row["scores"].values()) for row in taps["a"]], shares.tolist())
    assert len(taps["b"]) == 2


def test_several_passes_are_one_list_and_a_new_block_begins_anew(zoo, trunk_of):
    branch, model = make(trunk_of("bert"), "sequence"), users_model(zoo, "bert")
    attachment = trunkline.attach(model, branch)
    with torch.no_grad(), attachment as taps:
        for text in TEXTS:
            model(**inputs_for("bert", [text]))
    name = branch.task.name
    expected = [row[name] for row in Bundle(trunk_of("bert"), {name: branch}).predict(TEXTS)]
    assert close(taps[name], expected)
    with torch.no_grad(), attachment as taps:
        model(**inputs_for("bert", TEXTS[:1]))
    assert close(taps[name], expected[:1])


def test_a_pipeline_brings_its_tokenizer(zoo, trunk_of, tmp_path):
    branches = {kind: make(trunk_of("roberta"), kind, max_length=62) for kind in ("sequence", "token")}
    for branch in branches.values():
        save_branch(branch, tmp_path / branch.task.kind)
    model, tokenizer = users_model(zoo, "roberta", num_labels=3), users_tokenizer(zoo, "roberta")
    pipe = hf.pipeline("text-classification", model=model, tokenizer=tokenizer, device=-1)
    bare = pipe(TEXTS, batch_size=2)
    names = {"sequence": tmp_path / "sequence", "token": str(tmp_path / "token")}
    with trunkline.attach(pipe, names) as taps:
        assert pipe(TEXTS, batch_size=2) == bare
    expected = Bundle(trunk_of("roberta"), branches).predict(taps.texts)
    assert [text.replace(" ", "") for text in taps.texts] == [text.replace(" ", "") for text in TEXTS]
    for key in names:
        assert close(taps[key], [row[key] for row in expected])


def test_without_a_tokenizer_words_are_unknown_and_every_token_has_a_label(zoo, trunk_of):
    trunk = trunk_of("gpt2")
    branch, model, inputs = make(trunk, "token"), users_model(zoo, "gpt2"), inputs_for("gpt2")
    with torch.no_grad(), trunkline.attach(model, [branch]) as taps:
        model(**inputs)
    for row, answer in enumerate(taps[branch.task.name]):
        real = inputs["attention_mask"][row].bool()
        logits = logits_alone(trunk, branch, inputs["input_ids"][row][real])
        decoded = branch.decode(logits, torch.tensor([0, len(logits)]).numpy())
        assert [token["position"] for token in answer["tokens"]] == real.nonzero().flatten().tolist()
        assert [token["label"] for token in answer["tokens"]] == [branch.task.labels[i] for i in decoded.values]
        assert close([token["score"] for token in answer["tokens"]], decoded.scores.tolist())


def test_nothing_is_heard_after_the_block_or_an_error_in_it(zoo, trunk_of):
    model, branch = users_model(zoo, "bert"), make(trunk_of("bert"), "sequence")
    inputs, name = inputs_for("bert"), branch.task.name
    with torch.no_grad():
        with pytest.raises(KeyError, match="mine"), trunkline.attach(model, branch) as taps:
            model(**inputs)
            raise KeyError("mine")
        assert not stream._LISTENERS.get()
        model(**inputs)
        assert len(taps[name]) == len(TEXTS)
        assert b"trunkline" not in pickle.dumps(model)
        with trunkline.attach(model, branch) as taps:
            copied = copy.deepcopy(model)
            model(**inputs)
        with trunkline.attach(copied, branch) as others:
            assert copied(**inputs).logits.equal(model(**inputs).logits)
        assert close(others[name], taps[name]) and len(taps[name]) == len(TEXTS)


def test_a_pass_that_failed_is_left_out(zoo, trunk_of):
    model, branch = users_model(zoo, "bert"), make(trunk_of("bert"), "sequence")

    def fail(module, args):
        raise ValueError("mine")

    with torch.no_grad(), trunkline.attach(model, branch) as taps:
        handle = model.bert.encoder.layer[1].register_forward_pre_hook(fail)
        with pytest.raises(ValueError, match="mine"):
            model(**inputs_for("bert"))
        handle.remove()
        model(**inputs_for("bert", TEXTS[:2]))
    assert len(taps[branch.task.name]) == 2


def test_a_branch_that_fails_does_not_disturb_the_model(zoo, trunk_of):
    model, branch = users_model(zoo, "bert"), make(trunk_of("bert"), "sequence", method="probe")
    inputs, bare = inputs_for("bert"), None
    with torch.no_grad():
        bare = model(**inputs).logits
        branch.module.head.linear.weight = torch.nn.Parameter(torch.zeros(3, 5))
        with pytest.warns(UserWarning, match="no answers"), trunkline.attach(model, branch) as taps:
            assert torch.equal(model(**inputs).logits, bare)
    with pytest.raises(trunkline.TrunklineError, match="branch failed on a pass of the model: RuntimeError"):
        taps[branch.task.name]


def test_nested_attachments_and_threads_have_answers_of_their_own(zoo, trunk_of):
    trunk, model = trunk_of("bert"), users_model(zoo, "bert")
    one, two = make(trunk, "sequence", seed=1), make(trunk, "sequence", seed=2)
    name = one.task.name
    batches = [inputs_for("bert", [text]) for text in TEXTS]
    expected = {id(b): [row[name] for row in Bundle(trunk, {name: b}).predict(TEXTS)] for b in (one, two)}
    with torch.no_grad(), trunkline.attach(model, one) as outer:
        model(**batches[0])
        with trunkline.attach(model, two) as inner:
            model(**batches[1])
        model(**batches[2])
    assert close(outer[name], expected[id(one)][:3]) and close(inner[name], expected[id(two)][1:2])
    wrong = []

    def work(which):
        branch = (one, two)[which % 2]
        with torch.no_grad(), trunkline.attach(model, branch) as taps:
            for _ in range(5):
                model(**batches[which])
        if not close(taps[name], [expected[id(branch)][which]] * 5):
            wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(TEXTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore:no pass:UserWarning")
def test_one_attachment_is_for_one_block_at_a_time(zoo, trunk_of):
    attachment = trunkline.attach(users_model(zoo, "bert"), make(trunk_of("bert"), "sequence"))
    with pytest.raises(BadInput, match="no block yet"):
        attachment["t"]
    with attachment, pytest.raises(BadInput, match="in use"), attachment:
        pass
    with attachment as taps, pytest.raises(BadInput, match="'sequense'"):
        taps["sequense"]


def test_what_the_answers_are_worth_is_said(zoo, trunk_of):
    model = users_model(zoo, "bert").train()
    branch = make(trunk_of("bert"), "sequence", max_length=5)
    with torch.no_grad(), pytest.warns(UserWarning) as said, trunkline.attach(model, {"mood": branch}) as taps:
        model(**inputs_for("bert"))
    assert [str(one.message) for one in said] == list(taps.findings)
    assert taps.findings == (
        "1 of 1 passes ran in training mode, in which dropout changes the states that branches read; model.eval() ends it",
        "3 of 4 texts have more tokens than the 5 that mood was trained to read; all of them were read",
    )


def test_a_block_without_a_pass_says_so(zoo, trunk_of):
    model, branch, inputs = users_model(zoo, "bart"), make(trunk_of("bart"), "sequence"), inputs_for("bart", TEXTS[:1])
    said = pytest.warns(UserWarning, match="no pass of the model was read in the block; those of other threads")
    with torch.no_grad(), said, trunkline.attach(model, branch) as taps:
        thread = threading.Thread(target=model, kwargs=inputs)
        thread.start()
        thread.join()
        assert not taps.findings  # one may come yet
    assert taps[branch.task.name] == [] and len(taps.findings) == 1
    both = {"a": branch, "b": make(trunk_of("bart", "decoder"), "sequence")}
    with torch.no_grad(), pytest.warns(UserWarning, match="no pass of the decoder"), trunkline.attach(model, both) as taps:
        model.get_encoder()(**inputs)
    assert len(taps.findings) == 1


def test_gradients_of_the_model_are_what_they_are_without(zoo, trunk_of):
    model, branch = users_model(zoo, "bert"), make(trunk_of("bert"), "sequence")
    inputs = {**inputs_for("bert"), "labels": torch.tensor([0, 1, 0, 1])}
    model(**inputs).loss.backward()
    bare = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with trunkline.attach(model, branch):
        model(**inputs).loss.backward()
    assert all(map(torch.equal, bare, [p.grad for p in model.parameters() if p.grad is not None]))


def test_a_mask_that_leaves_a_text_without_tokens_leaves_it_without_an_answer(trunk_of, zoo):
    branches, model = branches_of(trunk_of("bert"), kinds=("sequence", "token")), users_model(zoo, "bert")
    inputs = inputs_for("bert")
    inputs["attention_mask"][2] = 0
    with torch.no_grad(), trunkline.attach(model, branches, tokenizer=users_tokenizer(zoo, "bert")) as taps:
        model(**inputs)
        model(**inputs)
        model(**{**inputs, "attention_mask": torch.zeros_like(inputs["attention_mask"])})
    assert taps["sequence"][6] == taps["sequence"][2] and taps["sequence"][4] == taps["sequence"][0]
    assert taps["sequence"][2] == {"label": None, "score": None, "scores": None} and taps["token"][2] == {"spans": None}
    assert taps["sequence"][8:] == [taps["sequence"][2]] * 4 and taps["token"][8:] == [{"spans": None}] * 4
    assert taps.texts[2] is None and taps["sequence"][3]["label"] is not None


def test_a_model_in_a_wrapper_of_another_library(zoo, trunk_of):
    class Wrapper(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, **inputs):
            return self.inner(**inputs).last_hidden_state.mean(1)

    branch = make(trunk_of("bert"), "sequence")
    model, name = Wrapper(build("bert")), branch.task.name
    with torch.no_grad(), trunkline.attach(model, branch) as taps:
        model(**inputs_for("bert"))
    assert close(taps[name], [row[name] for row in Bundle(trunk_of("bert"), {name: branch}).predict(TEXTS)])
