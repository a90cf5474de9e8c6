"""Branches on models that transcribe: their answers are those of predicting separately, and outputs stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from bundletools import make
from tiny_audio import AUDIO, RATE, some_sounds

import trunkline
from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.trunk.load import load_trunk

CLIPS = some_sounds(5, seed=8)[0]
HEADS = {"whisper": hf.WhisperForConditionalGeneration}


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """audio(name) -> its folder, a model with a head of it, its feature extractor, and a bundle of two branches."""
    hf.utils.logging.set_verbosity_error()
    made, root = {}, tmp_path_factory.mktemp("audio")

    def of(name):
        if name not in made:
            folder = AUDIO[name](root / name)
            trunk = load_trunk(folder, dtype="fp32", device="cpu")
            model = HEADS.get(name, hf.Wav2Vec2ForCTC).from_pretrained(folder, dtype=torch.float32).eval()
            kinds, length = ("sequence", "regression"), trunk.max_length
            branches = {kind: make(trunk, kind, seed=i, max_length=length) for i, kind in enumerate(kinds)}
            made[name] = model, hf.AutoFeatureExtractor.from_pretrained(folder), Bundle(trunk, branches)
        return made[name]

    return of


def same(found, expected):
    for name in found:
        assert len(found[name]) == len(expected)
        for own, other in zip(found[name], expected, strict=True):
            for key, value in own.items():
                if isinstance(value, dict):
                    np.testing.assert_allclose(list(value.values()), list(other[name][key].values()), atol=1e-5)
                elif isinstance(value, float):
                    assert value == pytest.approx(other[name][key], abs=1e-4)
                else:
                    assert value == other[name][key]


WAYS = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 3},
    "sampling": {"do_sample": True, "top_k": 0},
}


@pytest.mark.parametrize("way", WAYS)
def test_whisper_transcribes_as_before_and_branches_answer_as_bundles_do(audio, way):
    model, extractor, bundle = audio("whisper")
    inputs = extractor(CLIPS, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)

    def transcribed():
        torch.manual_seed(0)
        return model.generate(**inputs, max_new_tokens=6, return_dict_in_generate=True, output_scores=True, **WAYS[way])

    plain = transcribed()
    with trunkline.attach(model, bundle) as taps:
        ridden = transcribed()
    assert torch.equal(plain["sequences"], ridden["sequences"])
    assert all(map(torch.equal, plain["scores"], ridden["scores"]))
    same(taps, bundle.predict(CLIPS))
    assert taps.texts == [None] * len(CLIPS) and taps.findings == ()


def test_a_clip_is_counted_once_in_a_generation_and_as_often_as_it_is_given(audio, monkeypatch):
    """Finding the language is a pass over the same clips, and so is decoding a window again; a clip given again is not."""
    model, extractor, bundle = audio("whisper")
    languages = {"is_multilingual": True, "lang_to_id": {"<|en|>": 5, "<|de|>": 6}, "task_to_id": {"transcribe": 7}}
    for key, value in languages.items():
        monkeypatch.setattr(model.generation_config, key, value, raising=False)
    given = [CLIPS[:2], CLIPS[:2], CLIPS[1:2], [CLIPS[0], CLIPS[0]], [np.zeros(4000, np.float32)], [np.zeros(6000, np.float32)]]
    batches = [extractor(clips, sampling_rate=RATE, return_tensors="pt") for clips in given]
    passes = []
    handle = model.model.encoder.register_forward_hook(lambda *_: passes.append(1))
    badly = {"temperature": (0.0, 0.5), "logprob_threshold": 0.0}  # no window is decoded well enough
    with trunkline.attach(model, bundle) as taps:
        for number, inputs in enumerate(batches):
            model.generate(**inputs, max_new_tokens=3, **(badly if number % 2 else {}))
        expected = len(passes)
        for _ in range(2):
            model(**batches[2], decoder_input_ids=torch.tensor([[3]]))
    handle.remove()
    assert expected == 3 * 2 + 3 * 3  # one each to find the language
    same(taps, bundle.predict([clip for clips in [*given, given[2], given[2]] for clip in clips]))


@pytest.mark.parametrize("together", [False, True])
def test_wav2vec2_transcribes_as_before_and_branches_answer_as_bundles_do(audio, together):
    model, extractor, bundle = audio("wav2vec2-layer")
    batches = [CLIPS] if together else [[clip] for clip in CLIPS]
    inputs = [extractor(batch, sampling_rate=RATE, return_tensors="pt", padding=True) for batch in batches]
    with torch.no_grad():
        plain = [model(**one).logits for one in inputs]
        with trunkline.attach(model, bundle) as taps:
            ridden = [model(**one).logits for one in inputs]
    assert all(map(torch.equal, plain, ridden))
    same(taps, bundle.predict(CLIPS))
    assert taps.findings == ()


def test_padding_that_spoils_states_is_told(audio):
    model, extractor, bundle = audio("wav2vec2-group")
    alone = [extractor(clip, sampling_rate=RATE, return_tensors="pt") for clip in CLIPS]
    with torch.no_grad(), trunkline.attach(model, bundle) as taps:
        for inputs in alone:
            model(**inputs)
    same(taps, bundle.predict(CLIPS))
    assert taps.findings == ()
    for normalised in (True, False):
        extractor.do_normalize = normalised
        padded = extractor(CLIPS, sampling_rate=RATE, return_tensors="pt", padding=True)
        warned = pytest.warns(UserWarning, match="4 of 5 clips end as padding does")
        with torch.no_grad(), warned, trunkline.attach(model, bundle) as taps:
            model(**padded)
    assert len(taps["sequence"]) == 5


@pytest.mark.parametrize("name", AUDIO)
def test_the_self_check_passes(audio, name):
    model, _, bundle = audio(name)
    check = trunkline.attach(model, bundle).check()
    assert check.passed, str(check)
    assert check.generation["greedy"] is (True if name == "whisper" else None)


def test_a_pipeline_brings_no_tokenizer(audio):
    model, extractor, bundle = audio("whisper")

    class Pipeline:
        tokenizer = object()

    pipeline = Pipeline()
    pipeline.model = model
    with trunkline.attach(pipeline, bundle) as taps:
        model.generate(**extractor(CLIPS[:1], sampling_rate=RATE, return_tensors="pt"), max_new_tokens=2)
    same(taps, bundle.predict(CLIPS[:1]))
    with pytest.raises(BadInput, match="found a tokenizer, expected none: branches read the audio"):
        trunkline.attach(model, bundle, tokenizer=object())


def test_models_with_other_weights_or_precision_are_refused(audio, tmp_path):
    _, _, bundle = audio("whisper")
    other = hf.WhisperForConditionalGeneration.from_pretrained(AUDIO["whisper"](tmp_path / "other"), dtype=torch.float32)
    with torch.no_grad():
        other.model.encoder.layers[1].fc1.bias[0] += 1
    with pytest.raises(BadInput, match="the model has others"):
        trunkline.attach(other, bundle)
    narrow = hf.WhisperForConditionalGeneration.from_pretrained(tmp_path / "other", dtype=torch.bfloat16)
    with pytest.raises(BadInput, match="another precision is checked on sample texts, which a model that reads audio cannot"):
        trunkline.attach(narrow, bundle, allow_precision_change=True)
    text = hf.BertModel(hf.BertConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64))
    with pytest.raises(BadInput, match="the model has others"):
        trunkline.attach(text, bundle)


def test_a_pass_that_cannot_be_read_disturbs_nothing(audio):
    model, extractor, bundle = audio("wav2vec2-layer")
    inputs = extractor(CLIPS[0], sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad(), trunkline.attach(model, bundle) as taps:
        with pytest.raises(Exception):  # noqa: B017 (whatever torch says of too few samples)
            model(input_values=inputs["input_values"][:, :20])
        model(**inputs)
    same(taps, bundle.predict(CLIPS[:1]))
