from __future__ import annotations

import builtins
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_audio import RATE, glide
from torch import nn

from trunkline.data.clips import Clip, clips
from trunkline.data.table import Table
from trunkline.errors import BadInput, TrunklineError
from trunkline.inputs.audio import AudioProcessor
from trunkline.inputs.cutting import Cut
from trunkline.inputs.frontends import LogMel, Waveform, convolved, shortest, sounding_rows
from trunkline.inputs.sounds import read_samples

KERNELS, STRIDES = (10, 8, 4), (5, 4, 4)


@pytest.fixture(scope="module")
def waveform():
    import transformers as hf

    return AudioProcessor(Waveform(hf.Wav2Vec2FeatureExtractor(), KERNELS, STRIDES, masked=True), "tiny")


@pytest.fixture(scope="module")
def log_mel():
    import transformers as hf

    return AudioProcessor(LogMel(hf.WhisperFeatureExtractor(20, chunk_length=1), 50), "tiny")


def wav(path, samples, rate=RATE):
    soundfile.write(path, samples, rate)
    return str(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=4), st.integers(1, 400))
def test_rows_of_samples_are_those_that_convolutions_make(layers, samples):
    expected = torch.zeros(1, 1, samples)
    for kernel, stride in layers:
        expected = expected[..., : len(expected[0, 0]) if len(expected[0, 0]) >= kernel else 0]
        if expected.shape[2]:
            expected = nn.functional.conv1d(expected, torch.ones(1, 1, kernel), stride=stride)
    assert int(convolved(torch.tensor(samples), layers)) == expected.shape[2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=4), st.integers(1, 30))
def test_the_most_samples_of_a_number_of_rows_have_so_many_and_one_more_has_more(layers, rows):
    front = Waveform.__new__(Waveform)
    front.layers = tuple(layers)
    most = front.samples(rows)
    assert convolved(torch.tensor([most, most + 1]), layers).tolist() == [rows, rows + 1]
    least = shortest(layers)
    assert convolved(torch.tensor([least, least - 1]), layers).tolist() == [1, 0]


@pytest.mark.parametrize("loudness", [0.5, 1e-4])
def test_rows_of_a_spectrogram_end_with_the_sound(log_mel, loudness):
    for samples in (100, 4000, 7777, 15_999):
        sound = np.random.default_rng(samples).normal(size=samples).astype(np.float32) * loudness
        rows = log_mel.front.rows(log_mel.front.features(sound))
        # A frame of 400 samples around each 160th sees the sound as long as it begins before its end; a row is two frames.
        frames = [frame for frame in range(100) if 160 * frame - 200 < samples]
        assert abs(rows - (len(frames) + 1) // 2) <= 1
        assert rows <= 50


def test_a_spectrogram_in_a_lower_precision_has_the_same_rows(log_mel):
    features = torch.from_numpy(np.stack([log_mel.front.features(glide(s, 400, 800)) for s in (0.1, 0.33, 0.7, 1.0)]))
    assert sounding_rows(features.bfloat16()).tolist() == sounding_rows(features).tolist()
    assert sounding_rows(torch.full((1, 20, 100), -1.5)).tolist() == [1]  # without any sound


def test_names_are_relative_to_the_data_file_that_has_them(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("x.csv", "a/y.csv"):
        (tmp_path / name).write_text("file\n")
    files = [str(tmp_path / "x.csv"), str(tmp_path / "a" / "y.csv"), str(tmp_path / "x.csv")]
    table = Table("x + y", {"file": ["1.wav", "1.wav", "/else/2.wav"]}, lines=[2, 2, 3], files=files)
    found = clips(table, "file")
    assert found == [str(tmp_path / "1.wav"), str(tmp_path / "a" / "1.wav"), "/else/2.wav"]
    assert found[1].place == f"{tmp_path / 'a' / '1.wav'} ({tmp_path / 'a' / 'y.csv'} line 2)"
    assert clips(Table("data.train", {"file": ["1.wav"]}), "file") == [os.path.abspath("1.wav")]
    for value, what in ((3, "int"), ("https://host/1.wav", "a URL"), ("1\0.wav", "a string with a NUL character")):
        with pytest.raises(BadInput, match=rf"row 1: column 'file' holds {what}, expected the name of an audio file"):
            clips(Table("data.train", {"file": [value]}), "file")
    assert Clip.of("~no such user~/1.wav", "one") == os.path.abspath("~no such user~/1.wav")


def test_samples_in_memory_are_named_by_their_digest_and_rate():
    sound = glide(0.1, 300, 400)
    plain, twin = Clip.of(sound, "one"), Clip.of(sound.astype(np.float64), "two")
    rated = Clip.of({"array": torch.from_numpy(sound), "sampling_rate": RATE}, "three")
    assert plain == twin != rated and (plain.place, rated.rate) == ("one", RATE)
    np.testing.assert_array_equal(read_samples(rated, RATE, reader="tiny")[0], sound)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((2, 5), np.float32), "an array of 2 dimensions, expected one channel"),
        (np.zeros(5, np.int16), "samples of type int16, expected floats"),
        (3.5, "found float, expected the name of an audio file"),
        (["x"], "found list, expected the name of an audio file"),
        ({"array": np.zeros(5), "sampling_rate": "16k"}, "found str as the sampling rate"),
        (None, "found NoneType"),
        ("", "found a blank string, expected the name of an audio file"),
        ("a\0b.wav", "found a string with a NUL character"),
        ("a\ud800.wav", "found a string with a lone surrogate"),
        ("file:///a.wav", "found a URL"),
    ],
)
def test_what_is_no_clip_is_refused(given, said):
    with pytest.raises(BadInput, match=f"clip 1: .*{said}"):
        Clip.of(given, "clip 1")


def test_clips_that_cannot_be_read_are_refused_in_a_sentence(tmp_path, waveform):
    sound = glide(0.1, 300, 400)
    wav(tmp_path / "rate.wav", sound, 8000)
    wav(tmp_path / "stereo.wav", np.stack([sound, sound], 1))
    wav(tmp_path / "empty.wav", sound[:0])
    wav(tmp_path / "short.wav", sound[:50])
    (tmp_path / "text.wav").write_text("no sound at all")
    soundfile.write(tmp_path / "cut.flac", sound, RATE)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    whole = (tmp_path / "rate.wav").read_bytes()
    (tmp_path / "half.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(tmp_path / "nan.wav", np.full(3000, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "loud.wav", sound * 32768, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "over.wav", sound / np.abs(sound).max() * 1.9, RATE, subtype="FLOAT")
    waveform.encode([str(tmp_path / "over.wav")], [Cut(50)])
    os.mkfifo(tmp_path / "fifo.wav")
    said = {
        "rate.wav": "found a sample rate of 8000 Hz, expected 16000 Hz, that of tiny; resample it before",
        "stereo.wav": "found 2 channels, expected one",
        "empty.wav": "found no sample",
        "short.wav": r"found 50 samples \(0.00313 s\), expected at least 105",
        "text.wav": "cannot be read as audio",
        "cut.flac": "expected a whole WAV or FLAC file",
        "half.wav": f"found {len(whole) // 2} bytes, expected {len(whole)}, as its header says",
        "nan.wav": "NaN or infinite",
        "loud.wav": r"found samples of up to \d+(\.\d+)?, expected floats between -1 and 1; divide them by",
        "fifo.wav": "found a FIFO, expected a file",
        "missing.wav": "cannot be read",
        ".": "found a folder, expected a file",
    }
    for name, sentence in said.items():
        path = tmp_path / name
        with pytest.raises(BadInput, match=sentence) as refused:
            waveform.encode([str(path)], [Cut(50)])
        assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="clip 1: found a sample rate of 8000 Hz"):
        waveform.encode([{"array": sound, "sampling_rate": 8000}], [Cut(50)])


def test_a_wav_file_from_a_pipe_is_read_to_its_end(tmp_path, waveform):
    whole = bytearray(Path(wav(tmp_path / "a.wav", glide(0.1, 300, 400))).read_bytes())
    [expected] = waveform.encode([str(tmp_path / "a.wav")], [Cut(50)])
    whole[4:8] = whole[40:44] = b"\xff\xff\xff\xff"  # sizes that were not known when the header was written
    (tmp_path / "piped.wav").write_bytes(whole)
    assert waveform.encode([str(tmp_path / "piped.wav")], [Cut(50)])[0].digest() == expected.digest()


def test_a_missing_library_names_its_extra(tmp_path, waveform, monkeypatch):
    path = wav(tmp_path / "a.wav", glide(0.1, 300, 400))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "soundfile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"needs soundfile: pip install 'trunkline\[audio\]'"):
        waveform.encode([path], [Cut(50)])


@pytest.mark.parametrize("name", ["waveform", "log_mel"])
def test_long_clips_are_cut_at_their_end_and_digests_are_of_what_is_read(name, tmp_path, request):
    processor, sound = request.getfixturevalue(name), glide(0.9, 300, 600)
    path = wav(tmp_path / "a.wav", sound)
    most = processor.front.samples(20)
    [short, whole] = processor.encode([path, sound[:most], sound[: most + 1]], [Cut(20), Cut(500)])
    assert short.lengths.tolist() == [20, 20, 20] and short.cut.tolist() == [True, False, True] and short.truncated == 2
    assert whole.lengths[0] > 20 and not whole.truncated and processor.seconds(20) == most / RATE
    memory = processor.encode([soundfile.read(path, dtype="float32")[0]], [Cut(20)])[0]
    assert (short.digests[0] == memory.digests[0]).all() and (short.digests[0] != whole.digests[0]).any()
    chosen = whole.select([2, 0])
    assert chosen.digest() == processor.encode([sound[: most + 1], path], [Cut(500)])[0].digest() != whole.digest()
    assert [clip.samples is None for clip in whole.of_texts([1, 0]).clips.sources] == [False, True]


def test_a_file_that_changes_between_is_told(tmp_path, waveform):
    path = wav(tmp_path / "a.wav", glide(0.3, 300, 600))
    [encoded] = waveform.encode([path], [Cut(100)])
    assert waveform.collate(encoded, [0])["input_values"].shape[0] == 1
    wav(path, glide(0.3, 600, 300))
    with pytest.raises(TrunklineError, match="has changed since it was read first"):
        waveform.collate(encoded, [0])


def test_words_and_second_texts_are_refused(waveform):
    sound = glide(0.1, 300, 400)
    with pytest.raises(BadInput, match="no second texts"):
        waveform.encode([sound], [Cut(50)], pairs=["a"])
    with pytest.raises(BadInput, match="no words to tag"):
        waveform.encode([sound], [Cut(50)], units=[[(0, 1)]])
    with pytest.raises(BadInput, match="not divided into windows; expected long_texts: first"):
        waveform.encode([sound], [Cut(50, windows=True)])
