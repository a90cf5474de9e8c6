"""Training on pooled states that are kept in memory: the same result as from all tokens, and these are read once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.states.reuse import JoinedStates
from trunkline.training import pooled
from trunkline.training.fit import fit

METHODS = {
    "probe": {"name": "probe"},
    "probe, first token": {"name": "probe", "pooling": "cls"},
    "scalar_mix": {"name": "scalar_mix"},
    "scalar_mix, normalised last tokens": {"name": "scalar_mix", "pooling": "last", "layer_norm": True},
    "head2toe": {"name": "head2toe", "selection_steps": 20},
    "adalayers": {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4},
}


@pytest.fixture
def read(monkeypatch):
    """The sequences that are asked of stores."""
    asked, plain = [], JoinedStates.feed
    monkeypatch.setattr(
        JoinedStates,
        "feed",
        lambda self, sequences, layers, receive: (asked.append(len(sequences)), plain(self, sequences, layers, receive))[1],
    )
    return asked


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_that_of_all_tokens(method, tiny_trunk_dir, tmp_path, monkeypatch, read):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood", "stars"), epochs=3) | {"method": METHODS[method]}
    values["training"]["states_dtype"] = "fp32"
    run = fit(values, run_dir=tmp_path / "pooled")
    once = sum(read)
    monkeypatch.setattr(pooled, "MOST_BYTES", 0)
    plain = fit(values, run_dir=tmp_path / "plain")
    if method == "adalayers":
        assert once > 3 * 36, "all tokens are read in every epoch beside the pooled states"
    else:
        assert once == 36 + 12 and sum(read) - once >= 3 * once, "once for the training and the validation split"
    for name in ("mood", "stars"):
        one, two = (load_file(result.branches[name] / "weights.safetensors") for result in (run, plain))
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-4)
        assert run.tasks[name]["validation"]["loss"] == pytest.approx(plain.tasks[name]["validation"]["loss"], rel=1e-3)
        last = run.summary["history"][-1]["tasks"][name]["validation"]
        best = [entry["tasks"][name] for entry in run.summary["history"] if entry["tasks"][name]["best"]][-1]["validation"]
        assert best["loss"] == run.tasks[name]["validation"]["loss"] and np.isfinite(last["loss"])


def test_words_are_read_token_by_token_beside_it(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood", "cities"), epochs=3) | {"method": {"name": "probe"}}
    both = fit(values, run_dir=tmp_path / "both")
    values["tasks"].pop("cities")
    alone = fit(values, run_dir=tmp_path / "alone")
    one, two = (load_file(result.branches["mood"] / "weights.safetensors") for result in (both, alone))
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-4)
    assert both.tasks["cities"]["validation"]["loss"] < 1
