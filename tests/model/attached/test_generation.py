"""Branches on a causal model that generates: at each pass, the answers of one pass over all tokens so far, without a cache."""

from __future__ import annotations

import copy
import gc
import threading
import warnings

import numpy as np
import pytest
import torch
import transformers as hf
from attachtools import TEXTS, branches_of, inputs_for, logits_alone, some_slow, users_model, users_tokenizer
from bundletools import make
from tiny_zoo import make as write

import trunkline
from trunkline.branches.adalayers import AdaLayers
from trunkline.errors import BadInput
from trunkline.model.attached import rows
from trunkline.model.bundle import Bundle
from trunkline.trunk import stream
from trunkline.trunk.load import load_trunk

SAME = rows._same
STACKS = ("encoder", "decoder")

SETTINGS = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


class AllAtOnce(AdaLayers):
    """A method whose carry cannot be put together of parts, as far as anybody knows."""

    def finish(self, carry, layout, rows=None):
        return super().finish(carry, layout, rows) * 2


@pytest.fixture(scope="module")
def branches(trunk_of):
    def of(name):
        trunk = trunk_of(name)
        found = {
            "mood": make(trunk, "sequence", seed=1),
            "slots": make(trunk, "token", seed=2),
            "stars": make(trunk, "regression", method="probe", seed=3),
            "words": make(trunk, "token", method="scalar_mix", seed=4),
            "whole": make(trunk, "sequence", seed=5),
        }
        found["whole"].module.__class__ = AllAtOnce
        return found

    return of


def same_logits(taps, trunk, branches, rows=None):
    """Whether the logits are those of one pass over the tokens of each text."""
    (seen,) = taps._followers["encoder"].seen
    at, count = 0, 0
    for row, ids in enumerate(taps.tokens):
        for name, branch in branches.items():
            found, words = seen.logits()[name], branch.task.answers.units
            own = found[at : at + len(ids)] if words else found[row]
            np.testing.assert_allclose(own, logits_alone(trunk, branch, ids).reshape(own.shape), rtol=1e-4, atol=1e-5)
            count += 1
        at += len(ids)
    return count == len(branches) * len(taps.tokens) and len(taps.tokens) == (rows or len(taps.tokens))


@pytest.mark.parametrize("name", some_slow(["gpt2-left"], ["llama", "qwen3"]))
@pytest.mark.parametrize("way", [{}, {"cache_implementation": "static"}, {"do_sample": True, "top_k": 0}], ids=str)
def test_answers_are_those_of_one_pass_over_all_tokens(zoo, trunk_of, branches, name, way):
    model, inputs, own = users_model(zoo, name), inputs_for(name, TEXTS[:3]), branches(name)
    with trunkline.attach(model, own) as taps:
        sequences = model.generate(**inputs, **{**SETTINGS, **way})
        within = [len(taps[key]) for key in own]  # carries are still held
        assert same_logits(taps, trunk_of(name), own, 3)
    assert within == [3] * len(own) and same_logits(taps, trunk_of(name), own, 3)
    for row, ids in enumerate(taps.tokens):
        real = inputs["attention_mask"][row].bool()
        expected = torch.cat([inputs["input_ids"][row][real], sequences[row, len(real) : -1]])  # the last one has no states
        assert ids.tolist() == expected.tolist()


STATIC_BEAMS = pytest.param({"num_beams": 3, "cache_implementation": "static"}, marks=pytest.mark.slow)


@pytest.mark.parametrize("way", [{"num_beams": 4}, STATIC_BEAMS], ids=str)
def test_rows_of_a_beam_search_are_the_beams(zoo, trunk_of, branches, way):
    """Beams change places in every step: answers are about the tokens that each of them holds."""
    name = "gpt2-left"
    model, inputs, own = users_model(zoo, name), inputs_for(name, TEXTS[:2]), branches(name)
    moved = []
    with trunkline.attach(model, own, callback=lambda step: moved.append(step)) as taps:
        sequences = model.generate(**inputs, **{**SETTINGS, **way, "max_new_tokens": 8})
    assert same_logits(taps, trunk_of(name), own, 2 * way["num_beams"])
    prompts = [inputs["input_ids"][row][inputs["attention_mask"][row].bool()].tolist() for row in range(2)]
    held = [ids.tolist() for ids in taps.tokens]
    for row, prompt in enumerate(prompts):
        beams = held[row * way["num_beams"] : (row + 1) * way["num_beams"]]
        assert all(ids[: len(prompt)] == prompt for ids in beams)
        returned = [token for token in sequences[row].tolist()]
        assert any(returned[-8:-1] == ids[-7:] for ids in beams)
    by_row = [[step.ids[row, 0] for step in moved[1:]] for row in range(len(held))]
    moves = any(row != ids[-7:] for row, ids in zip(by_row, held, strict=True))
    assert moves, "no beam changed its place: the test is too easy"


@pytest.fixture(scope="module")
def one_block(tmp_path_factory):
    """A model of one block: keys in it are the same for all histories that end with the same token."""
    folder = write(tmp_path_factory.mktemp("one") / "gpt2", "gpt2-left", n_layer=1)
    trunk = load_trunk(folder, dtype="fp32", device="cpu")
    return users_model(lambda _: folder, "gpt2-left"), trunk, branches_of(trunk, kinds=("sequence", "token"))


def test_beams_of_a_model_of_one_block_are_told_from_each_other(one_block, monkeypatch):
    model, trunk, own = one_block
    with trunkline.attach(model, own) as taps:
        model.generate(**inputs_for("gpt2-left", TEXTS[:3]), **{**SETTINGS, "num_beams": 4, "max_new_tokens": 10})
    assert same_logits(taps, trunk, own, 12)
    attachment = trunkline.attach(model, own)
    assert attachment.check().passed
    # The self-check sees it where only the last token counts.
    monkeypatch.setattr(rows, "_same", lambda now, then, *_: [found[:1] for found in SAME(now[:, -1:], then[:, -1:])])
    found = attachment.check()
    assert not found.answers and str(found) == "GPT2LMHeadModel: answers differ"


def test_rows_that_cannot_be_told_from_each_other_are_refused(zoo, branches, monkeypatch):
    """Such as those of a cache that keeps its keys quantised: beams could have changed places."""
    model, own = users_model(zoo, "gpt2-left"), branches("gpt2-left")
    monkeypatch.setattr("trunkline.model.attached.generation.plain_keys", lambda *_: None)
    for count, refused in ((1, False), (2, True)):
        with warnings.catch_warnings(record=True), trunkline.attach(model, own) as taps:
            model.generate(**inputs_for("gpt2-left", TEXTS[:count]), **SETTINGS)
        if refused:
            with pytest.raises(BadInput, match=r"rows of a DynamicCache cannot be told .* expected another cache, or a text"):
                taps["mood"]
        else:
            assert len(taps["mood"]) == 1


def test_what_ends_a_text_and_stands_behind_it_is_not_read(zoo, trunk_of, branches):
    """So the answer to a text does not depend on how long the others become, whatever ends it and whatever pads it."""
    name, own = "gpt2-left", branches("gpt2-left")
    model, inputs = users_model(zoo, name), inputs_for(name, TEXTS[:3])
    width = inputs["input_ids"].shape[1]
    ending = int(model.generate(**inputs, **SETTINGS)[0, width + 2])  # what the first text gets third ends it
    configured = users_model(zoo, name)
    configured.generation_config.eos_token_id, configured.generation_config.pad_token_id = ending, 0

    def third(ids, scores, **_):  # not of all rows: a row that ends in the same step ends by itself too
        return (ids[:, -1] == ending) & (ids.shape[1] == width + 3)

    for which, settings in {
        "the model's end": (configured, {}),
        "an end and padding that are arguments": (model, {"eos_token_id": ending, "pad_token_id": 7}),
        "a criterion, without any end": (model, {"stopping_criteria": [third], "eos_token_id": None}),
        "a criterion, and padding": (model, {"stopping_criteria": [third], "eos_token_id": 3, "pad_token_id": 7}),
    }.items():
        user, settings = settings[0], {"max_new_tokens": 6, "do_sample": False, **settings[1]}
        with trunkline.attach(user, own) as taps:
            user.generate(**inputs, **settings)
        assert same_logits(taps, trunk_of(name), own, 3), which
        for row, ids in enumerate(taps.tokens):
            alone = user.generate(**{key: value[row : row + 1] for key, value in inputs.items()}, **settings)
            padding = width - int(inputs["attention_mask"][row].sum())
            assert ids.tolist() == alone[0, padding:-1].tolist(), which
        assert len(taps.tokens[0]) < int(inputs["attention_mask"][0].sum()) + 5


def test_in_a_loop_of_ones_own_the_models_end_and_padding_count(zoo, trunk_of, branches):
    own, model = branches("gpt2-left"), users_model(zoo, "gpt2-left")
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 9, 0
    rows = torch.tensor([[5, 6, 9, 0], [5, 6, 7, 8]])
    cache = hf.DynamicCache(config=model.config)
    with torch.no_grad(), trunkline.attach(model, own) as taps:
        for column in rows.T[:, :, None]:
            model(column, past_key_values=cache)
    assert [ids.tolist() for ids in taps.tokens] == [[5, 6], [5, 6, 7, 8]]


def test_a_generation_that_is_continued_is_the_same_text(zoo, trunk_of, branches):
    name, own = "llama", branches("llama")
    model, ids = users_model(zoo, name), torch.tensor([[5, 6, 7, 8]])
    cache = hf.DynamicCache(config=model.config)
    with trunkline.attach(model, own) as taps:
        first = model.generate(ids, past_key_values=cache, **{**SETTINGS, "max_new_tokens": 3})
        more = torch.cat([first, torch.tensor([[9, 10, 11]])], 1)
        second = model.generate(more, past_key_values=cache, **{**SETTINGS, "max_new_tokens": 3})
    assert [ids.tolist() for ids in taps.tokens] == [second[0, :-1].tolist()]
    assert same_logits(taps, trunk_of(name), own, 1)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_copy_of_a_prompts_cache_begins_a_text_of_its_own(zoo, trunk_of, branches, rows):
    """As where several questions are asked about one text that is computed once."""
    model, prompt, own = users_model(zoo, "llama"), torch.tensor([[5, 6, 7, 8], [9, 5, 6, 7]])[:rows], branches("llama")
    cache, asked = hf.DynamicCache(config=model.config), [torch.tensor([[9, 10]] * rows), torch.tensor([[11, 5, 12]] * rows)]
    with torch.no_grad(), trunkline.attach(model, own) as taps:
        model(prompt, past_key_values=cache)
        for question in asked:
            given = torch.cat([prompt, question], 1)
            model.generate(given, past_key_values=copy.deepcopy(cache), **SETTINGS)
        model(torch.tensor([[13]] * rows), past_key_values=cache)  # the prompt goes on as well
        copied = copy.deepcopy(cache)
        with pytest.raises(ValueError, match="mine"):
            broken = model.model.layers[1].register_forward_pre_hook(fail)
            model(asked[0], past_key_values=copied)
        broken.remove()
    found = [ids.tolist() for ids in taps.tokens]
    assert len(found) == 3 * rows and found[:rows] == [[*ids, 13] for ids in prompt.tolist()]
    for number, question in enumerate(asked, 1):
        begun = torch.cat([prompt, question], 1).tolist()
        assert [ids[: len(begun[0])] for ids in found[number * rows : (number + 1) * rows]] == begun
    for key, branch in own.items():
        logits = np.concatenate([seen.logits()[key] for seen in taps._followers["encoder"].seen])
        alone = [logits_alone(trunk_of("llama"), branch, ids).reshape(-1, logits.shape[1]) for ids in found]
        np.testing.assert_allclose(logits, np.concatenate(alone), rtol=1e-4, atol=1e-5)


def fail(module, args):
    raise ValueError("mine")


def test_a_prompt_in_chunks_may_begin_with_padding_alone(zoo, trunk_of, branches):
    model, inputs, own = users_model(zoo, "gpt2-left"), inputs_for("gpt2-left", TEXTS[:3:2]), branches("gpt2-left")
    ids, mask = (torch.nn.functional.pad(inputs[key], (3, 0)) for key in ("input_ids", "attention_mask"))
    places, cache, steps = (mask.cumsum(1) - 1).clamp(min=0), hf.DynamicCache(config=model.config), []
    with torch.no_grad(), trunkline.attach(model, own, callback=steps.append) as taps:
        for start in range(0, ids.shape[1], 3):
            part = slice(start, start + 3)
            model(ids[:, part], attention_mask=mask[:, : part.stop], position_ids=places[:, part], past_key_values=cache)
    assert same_logits(taps, trunk_of("gpt2-left"), own, 2)
    assert steps[0]["slots"] == [[], []] and steps[0]["mood"] == [{"label": None, "score": None, "scores": None}] * 2


def test_assisted_decoding_takes_tokens_back(zoo, trunk_of, branches):
    name, own = "llama", branches("llama")
    model, helper = users_model(zoo, name), users_model(zoo, name)
    with torch.no_grad():
        helper.lm_head.weight.add_(torch.randn_like(helper.lm_head.weight) * 0.02)
    ids = torch.tensor([[5, 6, 7, 8]])
    by_token = {key: own[key] for key in ("slots", "stars", "words")}
    with trunkline.attach(model, by_token) as taps:
        sequences = model.generate(ids, assistant_model=helper, **SETTINGS)
    held = taps.tokens[0].tolist()
    assert sequences[0].tolist()[: len(held)] == held[: sequences.shape[1]] and len(held) >= sequences.shape[1] - 1
    assert same_logits(taps, trunk_of(name), by_token, 1)
    with pytest.warns(UserWarning, match="no answers"), trunkline.attach(model, own["mood"]) as taps:
        assert torch.equal(model.generate(ids, assistant_model=helper, **SETTINGS), sequences)
    with pytest.raises(BadInput, match="tokens that had been read were taken back"):
        taps[own["mood"].task.name]


def bytes_alive() -> int:
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


@pytest.mark.slow
def test_memory_is_a_carry_for_each_branch_and_no_states(zoo, trunk_of):
    """Of a generation that continues: `dim` numbers a token for AdaLayers; nothing once its cache is gone."""
    model, ids = users_model(zoo, "gpt2"), torch.arange(5, 25).reshape(2, 10)
    branches = branches_of(trunk_of("gpt2"), kinds=("sequence", "token", "multilabel"))
    settings = {**SETTINGS, "max_new_tokens": 40, "return_dict_in_generate": True}
    plain = model.generate(ids, **settings)
    bare = bytes_alive()
    attachment = trunkline.attach(model, branches)
    before = bytes_alive() - bare  # the branches' weights, stacked
    with attachment as taps:
        ridden = model.generate(ids, **settings)
        held = bytes_alive() - bare - before
        tokens, width = 2 * 49, trunk_of("gpt2").hidden_size
        cache = sum(layer.keys.nbytes + layer.values.nbytes for layer in ridden.past_key_values.layers)
        carry = tokens * 4 * sum(branch.method.dim for branch in branches.values())
        paths = 2 * 2 * width * 4  # of two branches at text level, a sum for each text
        assert carry <= held - cache <= carry + paths + 4096
        del ridden
        gc.collect()
        assert bytes_alive() - bare - before <= carry + paths + 4096
        model(torch.tensor([[5, 6]]), use_cache=False)
        assert bytes_alive() - bare - before <= 8192
    assert len(taps["sequence"]) == 3 and torch.equal(plain.sequences[0], plain.sequences[0])


def test_a_cache_from_before_the_block_is_refused(zoo, branches):
    model, ids, own = users_model(zoo, "llama"), torch.tensor([[5, 6, 7, 8]]), branches("llama")
    cache = hf.DynamicCache(config=model.config)
    first = model.generate(ids, past_key_values=cache, **SETTINGS)
    bare = model.generate(first, past_key_values=hf.DynamicCache(config=model.config), **SETTINGS)
    with pytest.warns(UserWarning, match="no answers"), trunkline.attach(model, own) as taps:
        assert torch.equal(model.generate(first, past_key_values=cache, **SETTINGS), bare)
    with pytest.raises(BadInput, match=r"continues with a cache of 8 tokens .* before the block began"):
        taps["mood"]


def test_without_a_cache_each_pass_is_a_batch_of_its_own(zoo, trunk_of, branches):
    own, model = branches("gpt2"), users_model(zoo, "gpt2")
    with trunkline.attach(model, own) as taps:
        sequences = model.generate(**inputs_for("gpt2", TEXTS[:1]), **SETTINGS, use_cache=False)
    assert [ids.tolist() for ids in taps.tokens] == [sequences[0, :-left].tolist() for left in range(5, 0, -1)]
    assert len(taps["mood"]) == 5


def test_steps_by_callback_and_by_iterating_are_the_same(zoo, trunk_of, branches):
    name = "gpt2-left"
    model, inputs, own = users_model(zoo, name), inputs_for(name, TEXTS[:2]), branches(name)
    bare, told = model.generate(**inputs, **SETTINGS), []
    with trunkline.attach(model, own, callback=told.append) as taps:
        assert torch.equal(model.generate(**inputs, **SETTINGS), bare)
    with torch.no_grad(), trunkline.attach(model, own) as live:
        steps = list(live.stream(model.generate, **inputs, **SETTINGS))
        assert torch.equal(live.result, bare)
    assert [step.number for step in steps] == list(range(5)) and steps[1].start == inputs["input_ids"].shape[1]
    for one, other in zip(told, steps, strict=True):
        assert np.array_equal(one.ids, other.ids) and all(one[key] == other[key] for key in own) and list(one) == list(own)
    assert steps[-1]["mood"] == taps["mood"] == live["mood"]
    assert [one.ids.shape for one in steps] == [tuple(inputs["input_ids"].shape)] + [(2, 1)] * 4
    for step in steps:
        for row in range(2):
            real = [int(place) for place in np.flatnonzero(inputs["attention_mask"][row])] if step.number == 0 else [step.start]
            assert [token["position"] for token in step["slots"][row]] == real
    # a step's answer is about the tokens until then, also when it is read later
    with trunkline.attach(model, own) as first:
        model.generate(**inputs, **{**SETTINGS, "max_new_tokens": 2})
    assert first["mood"] == steps[1]["mood"] != steps[2]["mood"]
    with pytest.raises(BadInput, match="'moot'"):
        steps[0]["moot"]


def test_leaving_a_stream_ends_the_call_and_an_error_comes_through(zoo, branches):
    model, inputs, own = users_model(zoo, "gpt2"), inputs_for("gpt2", TEXTS[:1]), branches("gpt2")
    passes = []
    handle = model.transformer.register_forward_hook(lambda *_: passes.append(1))
    with trunkline.attach(model, own) as taps:
        for step in taps.stream(model.generate, **inputs, **{**SETTINGS, "max_new_tokens": 40}):
            if step.number == 2:
                break
        assert 3 <= len(passes) <= 6 and taps.result is None
        with pytest.raises(ValueError):
            list(taps.stream(model.generate, **inputs, max_new_tokens=-3))
        model(**inputs)  # this thread is listened to again
        assert len(taps["mood"]) == 2
    handle.remove()
    assert not stream._LISTENERS.get()
    with pytest.raises(BadInput, match="no block"):
        taps.stream(model.generate)


def test_one_stream_at_a_time(zoo, branches):
    model, inputs, own = users_model(zoo, "gpt2"), inputs_for("gpt2", TEXTS[:1]), branches("gpt2")
    with trunkline.attach(model, own) as outer, trunkline.attach(model, own) as taps:
        never_begun = taps.stream(model.generate, **inputs, **SETTINGS)
        first = taps.stream(model.generate, **inputs, **SETTINGS)
        next(first)
        for second in (taps, outer):  # the passes of the first are read by both
            with pytest.raises(BadInput, match=r"found another one that is open.* expected one stream at a time"):
                second.stream(model.generate, **inputs, **SETTINGS)
        with pytest.raises(BadInput, match="found another one that is open"):
            next(never_begun)
        assert len(list(first)) == 4
        # answers are read while the next pass runs
        assert [len(taps["mood"]) for _ in taps.stream(model.generate, **inputs, **SETTINGS)] == [2] * 5
    assert len(taps["mood"]) == len(outer["mood"]) == 2


def test_a_stream_that_is_open_ends_with_its_block(zoo, branches):
    model, inputs, own = users_model(zoo, "gpt2"), inputs_for("gpt2", TEXTS[:1]), branches("gpt2")
    with trunkline.attach(model, own) as outer:
        with trunkline.attach(model, own) as taps:
            steps = taps.stream(model.generate, **inputs, **{**SETTINGS, "max_new_tokens": 40})
            next(steps)
        assert not [thread for thread in threading.enumerate() if thread.name == "trunkline-attach"]
        answers = taps["mood"]
        with pytest.raises(BadInput, match="found no block any more"):
            next(steps)
        assert len(answers) == 1 and len(taps.tokens[0]) < 20
        # and what the stream of an outer block reads later is not of the inner one
        with taps:
            following = outer.stream(model.generate, **inputs, **{**SETTINGS, "max_new_tokens": 8})
            next(following), next(following)  # the first of them has been read by all
        answers = taps["mood"]
        list(following)
        assert len(taps.tokens[0]) < len(outer.tokens[1]) and taps["mood"] == answers != outer["mood"][1:]
    assert len(outer["mood"]) == 2


def test_what_a_callback_runs_is_not_read(zoo, trunk_of):
    model, inputs = users_model(zoo, "t5"), inputs_for("t5", TEXTS[:1])
    own = {stack: make(trunk_of("t5", stack), "sequence") for stack in STACKS}
    expected = {}
    for told in (None, lambda step: model.generate(**inputs, max_new_tokens=2)):
        with trunkline.attach(model, own, callback=told) as taps:
            model.generate(**inputs, max_new_tokens=4)
        assert not expected or expected == dict(taps)
        expected = dict(taps)


def test_an_error_of_a_callback_or_within_a_generation_comes_through(zoo, branches):
    model, inputs, own = users_model(zoo, "gpt2"), inputs_for("gpt2", TEXTS[:1]), branches("gpt2")

    def stop(step):
        if step.number == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), trunkline.attach(model, own, callback=stop) as taps:
        model.generate(**inputs, **SETTINGS)
    assert not stream._LISTENERS.get() and len(taps.tokens[0]) == inputs["input_ids"].shape[1] + 2
    model.generate(**inputs, **SETTINGS)
    assert len(taps["mood"]) == 1


def test_an_encoder_runs_once_in_a_generation(zoo, trunk_of):
    branch = make(trunk_of("t5"), "sequence")
    model, tokenizer = users_model(zoo, "t5"), users_tokenizer(zoo, "t5")
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with trunkline.attach(model, {"mood": branch}) as taps:
        model.generate(**inputs, num_beams=3, max_new_tokens=5, num_return_sequences=2)
    expected = Bundle(trunk_of("t5"), {"mood": branch}).predict(TEXTS)
    assert [row["label"] for row in taps["mood"]] == [row["mood"]["label"] for row in expected]


@pytest.mark.slow
def test_steps_that_generate_compiles_are_not_read_and_that_is_said(zoo, branches):
    model, own = users_model(zoo, "gpt2"), branches("gpt2")
    compiling = hf.CompileConfig(backend="eager")
    compiling._compile_all_devices = True
    settings = {**SETTINGS, "cache_implementation": "static", "compile_config": compiling}
    with pytest.warns(UserWarning, match="no answers"), trunkline.attach(model, own) as taps:
        model.generate(torch.tensor([[5, 6, 7]]), **settings)
        model.generate(torch.tensor([[5, 6, 7]]), **settings)
    with pytest.raises(BadInput, match="disable_compile=True"):
        taps["mood"]
