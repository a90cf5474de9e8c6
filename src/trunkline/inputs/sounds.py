"""Samples of audio clips: of files through soundfile (WAV, FLAC), the extra ``audio``, or in memory; checked, never changed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from trunkline.data.clips import Clip
from trunkline.errors import BadInput
from trunkline.files import check_regular

LOUDEST = 2.0  # of samples that are floats between -1 and 1 but for what resampling and filters have added


def read_samples(clip: Clip, rate: int, most: int | None = None, *, reader: str) -> tuple[np.ndarray, int]:
    """Return the first `most` samples of a clip (all by default), float32 (n,), and how many it has.

    Args:
        clip: one channel of samples, in a file or in memory.
        rate: Hz, the only rate that is read: nothing is resampled.
        most: how many are needed.
        reader: whose rate that is, for messages.

    Raises:
        BadInput: no such file, one that is broken, empty or of several channels, another rate, samples that are not finite or
            beyond `LOUDEST`; soundfile is not installed.
    """
    if clip.samples is not None:
        _check(clip.place, clip.rate or rate, 1, len(clip.samples), rate, reader)
        samples, count = clip.samples[:most], len(clip.samples)
    else:
        samples, count = _of_file(clip, rate, most, reader)
    if not np.isfinite(samples).all():
        raise BadInput(f"{clip.place}: found samples that are NaN or infinite, expected finite ones")
    if len(samples) and (most_found := float(np.abs(samples).max())) > LOUDEST:
        raise BadInput(
            f"{clip.place}: found samples of up to {most_found:.6g}, expected floats between -1 and 1; divide them by the "
            "largest number of their type (32768 for int16)"
        )
    return samples, count


def _of_file(clip: Clip, rate: int, most: int | None, reader: str) -> tuple[np.ndarray, int]:
    soundfile = _soundfile(clip.place)
    check_regular(clip.path)
    _check_whole(clip)
    try:
        with soundfile.SoundFile(clip.path) as file:
            _check(clip.place, file.samplerate, file.channels, file.frames, rate, reader)
            wanted = file.frames if most is None else min(most, file.frames)
            samples, count = file.read(wanted, dtype="float32"), file.frames
    except (soundfile.SoundFileError, OSError) as error:
        said = str(getattr(error, "error_string", error)).rstrip(". ")
        raise BadInput(f"{clip.place}: cannot be read as audio ({said}); expected a whole WAV or FLAC file") from None
    if len(samples) < wanted:
        raise BadInput(f"{clip.place}: ends after {len(samples)} of {count} samples; expected a whole WAV or FLAC file")
    return samples, count


def _check_whole(clip: Clip) -> None:
    """BadInput for a WAV file that is shorter than its header says, of which libsndfile reads what is there."""
    try:
        with open(clip.path, "rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BadInput(f"{clip.place}: cannot be read ({error.strerror})") from None
    told = int.from_bytes(head[4:], "little")
    # What is written to a pipe has one of the other two, as its size is not known at first.
    if head[:4] == b"RIFF" and told not in (0, 0xFFFFFFFF) and told + 8 > size:
        raise BadInput(f"{clip.place}: found {size} bytes, expected {told + 8}, as its header says; is it cut off?")


def _soundfile(place: str) -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: its libsndfile is not there
        raise BadInput(f"{place}: reading audio files needs soundfile: pip install 'trunkline[audio]'") from None
    return soundfile


def _check(place: str, found: int, channels: int, count: int, rate: int, reader: str) -> None:
    if found != rate:
        raise BadInput(f"{place}: found a sample rate of {found} Hz, expected {rate} Hz, that of {reader}; resample it before")
    if channels != 1:
        raise BadInput(f"{place}: found {channels} channels, expected one; mix them to one before")
    if count < 1:
        raise BadInput(f"{place}: found no sample, expected some sound")
