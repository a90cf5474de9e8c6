"""A full disk, for which a limit on the size of files stands here, is one sentence, and what is saved already stays."""

from __future__ import annotations

import resource

import pytest
import torch
from limits import largest_file
from safetensors.torch import save_file
from synthetic import config, write_rows
from tiny import tiny_tokenizer

from trunkline.events import Evaluated, Resumed
from trunkline.files import NotWritten, atomic_directory
from trunkline.training import resumable
from trunkline.training.fit import fit

WRITERS = {
    "safetensors": lambda folder: save_file({"weight": torch.zeros(100_000)}, folder / "weights.safetensors"),
    "tokenizers": lambda folder: tiny_tokenizer().save_pretrained(folder),
    "python": lambda folder: (folder / "text").write_text("x" * 100_000),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_each_library_that_writes(write, tmp_path):
    with (
        largest_file(2000),
        pytest.raises(NotWritten, match=r"^[^\n]*folder: cannot be written \(File too large\)$"),
        atomic_directory(tmp_path / "folder") as temporary,
    ):
        write(temporary)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["run/checkpoint", "run/branches/mood"])
def test_a_run_that_finds_the_disk_full_says_so_and_goes_on_later(place, tiny_trunk_dir, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1, states="live", evaluate_every=1)
    whole = fit(values, run_dir=tmp_path / "whole")
    saves = place == "run/checkpoint"
    monkeypatch.setattr(resumable, "SAVING_SHARE", 1e9 if saves else -1.0)  # a checkpoint after each evaluation, or none
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    events = []

    def see(event):
        events.append(type(event))
        if isinstance(event, Evaluated) and events.count(Evaluated) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))

    try:
        with pytest.raises(NotWritten, match=rf"{place}: cannot be written \(File too large\)$"):
            fit(values, run_dir=tmp_path / "run", subscribers=[see])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "run" / "checkpoint" / "state.json").is_file() == saves  # that of the first evaluation
    events.clear()
    again = fit(values, run_dir=tmp_path / "run", subscribers=[lambda event: events.append(type(event))])
    assert (Resumed in events) == saves
    one, two = (result.branches["mood"] / "weights.safetensors" for result in (whole, again))
    assert one.read_bytes() == two.read_bytes()
