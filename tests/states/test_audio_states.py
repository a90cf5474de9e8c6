"""Layer states of audio: those of transformers for a clip alone, in whatever batch it is, live and from the store."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import transformers as hf
from tiny_audio import AUDIO, RATE, some_sounds

from trunkline.inputs.audio import AudioProcessor
from trunkline.states.live import LiveStates
from trunkline.states.store import build_store
from trunkline.trunk.load import load_trunk

CLIPS = some_sounds(7, seed=3)[0]
CLIPS.insert(3, CLIPS[1][::-1].copy())  # of the same length as another


@pytest.fixture(scope="module", params=AUDIO)
def folder(request, tmp_path_factory):
    return AUDIO[request.param](tmp_path_factory.mktemp("audio") / request.param)


@pytest.fixture(scope="module")
def trunk(folder):
    return load_trunk(folder, dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def alone(folder):
    """alone(clip) -> the states of a clip, by transformers' own model and feature extractor: (layers + 1, T, K)."""
    hf.utils.logging.set_verbosity_error()
    extractor = hf.AutoFeatureExtractor.from_pretrained(folder)

    @cache
    def model_in(dtype):
        model = hf.AutoModel.from_pretrained(folder, dtype=dtype).eval()
        return model.get_encoder() if model.config.is_encoder_decoder else model

    @torch.no_grad()
    def states(clip, dtype=torch.float32):
        model = model_in(dtype)
        inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt").to(dtype)
        return torch.cat(model(**inputs, output_hidden_states=True).hidden_states)

    return states


def fed(feed, sequences, layers):
    found = {}
    feed.feed(np.array(sequences), layers, lambda layer, rows: found.__setitem__(layer, rows.float().clone()))
    return found


def test_states_in_any_batch_are_those_of_transformers_for_the_clip_alone(trunk, alone):
    encoded, layers = trunk.encode(CLIPS), range(trunk.num_layers + 1)
    live = LiveStates(trunk, encoded)
    for batch in ([0, 1, 2, 3, 4, 5, 6, 7], [3, 1], [6], [5, 2, 1]):
        found = fed(live, batch, layers)
        assert list(found) == list(layers)
        ends = np.cumsum(encoded.lengths[batch])
        for place, sequence in enumerate(batch):
            expected = alone(CLIPS[sequence])[:, : encoded.lengths[sequence]]
            for layer in layers:
                own = found[layer][ends[place] - encoded.lengths[sequence] : ends[place]]
                torch.testing.assert_close(own, expected[layer], atol=1e-5, rtol=0)


def test_all_rows_of_wav2vec2_are_read_and_of_whisper_those_of_the_sound(trunk, alone):
    encoded = trunk.encode(CLIPS)
    if trunk.architecture == "whisper":
        ends = [np.flatnonzero(clip)[-1] + 1 for clip in CLIPS]  # of those that end in silence before it
        expected = [min(50, -(-end // 320)) for end in ends]
        assert (abs(encoded.lengths - expected) <= 1).all()
    else:
        assert encoded.lengths.tolist() == [alone(clip).shape[1] for clip in CLIPS]


def test_the_store_holds_what_a_live_pass_gives(trunk, tmp_path):
    encoded = trunk.encode(CLIPS)
    store = build_store(trunk, encoded, tmp_path, dtype="fp32", batch_tokens=150)
    expected = fed(LiveStates(trunk, encoded), range(8), store.layers)
    found = fed(store, range(8), store.layers)
    for layer in store.layers:
        torch.testing.assert_close(found[layer], expected[layer], atol=1e-5, rtol=0)


def test_clips_of_the_whole_window_are_divided_into_passes(trunk, monkeypatch):
    encoded = trunk.encode(CLIPS)
    expected = fed(LiveStates(trunk, encoded), range(8), [2])[2]
    monkeypatch.setattr("trunkline.inputs.audio.PASS_ROWS", 120)
    assert isinstance(trunk.processor, AudioProcessor)
    sizes = [len(places) for places in trunk.passes(encoded, np.arange(8))]
    assert sizes == {"whisper": [2] * 4, "wav2vec2-layer": [8]}.get(trunk.folder.name, sizes)
    torch.testing.assert_close(fed(LiveStates(trunk, encoded), range(8), [2])[2], expected, atol=1e-5, rtol=0)


def test_a_trunk_of_audio_is_known_again_by_its_fingerprint(trunk, folder, alone, tmp_path):
    again = load_trunk(folder, dtype="bf16", device="cpu")
    assert again.fingerprint == trunk.fingerprint
    assert again.reads == "audio" and again.max_length == trunk.max_length
    encoded = again.encode(CLIPS[:1])
    assert encoded.digest() == trunk.encode(CLIPS[:1]).digest()
    narrow = alone(CLIPS[0], torch.bfloat16)[3, : encoded.lengths[0]].float()
    assert torch.equal(fed(LiveStates(again, encoded), [0], [3])[3], narrow)
    extractor = hf.AutoFeatureExtractor.from_pretrained(folder)
    hf.AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    extractor.padding_value, extractor.sampling_rate = 1.0, 8000
    extractor.save_pretrained(tmp_path)
    if trunk.architecture == "wav2vec2":
        other = load_trunk(tmp_path, dtype="fp32", device="cpu").fingerprint
        assert other.weights == trunk.fingerprint.weights and other.tokenizer != trunk.fingerprint.tokenizer
