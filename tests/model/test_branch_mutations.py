"""A branch changed in any way is refused in one sentence, or answers as before; nothing else, and soon."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from mutations import each, json_changes, place_changes, put, resave, weights_changes

from trunkline.errors import BadInput, TrunklineError
from trunkline.model.branch import _try, load_branch
from trunkline.trunk.load import load_trunk

SAVED = Path(__file__).parents[1] / "saved"
RUNS = {  # a branch, and another one with weights of the same shapes
    "adalayers/branches/cities": "without-positions/branches/cities",
    "positions/branches/mood": "adalayers/branches/mood",
    "probe/branches/stars": None,
    "lora/branches/mood": None,
    "fusion/branches/mood": None,
}


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(SAVED / "trunk", dtype="fp32", device="cpu")


def resaved(name: str, schema: int, place: Path) -> Path:
    """A copy of a saved branch in a schema."""
    shutil.copytree(SAVED / "runs" / name, place)
    if schema > 1:
        resave(place, json.loads((place / "branch.json").read_text()), schema)
    return place


def answers(path: Path, trunk) -> tuple:
    """All that a prediction depends on."""
    branch = load_branch(path, trunk)
    branch.check_trunk(trunk)
    read = branch.max_length, branch.precision, branch.text, branch.text_pair
    return branch.task.name, branch.task.state(), read, _try(branch).tolist()


@pytest.mark.parametrize("name", RUNS)
def test_what_was_saved_with_digests_cannot_change_unnoticed(name, trunk, tmp_path):
    saved = resaved(name, 2, tmp_path / "saved")
    other = RUNS[name] and resaved(RUNS[name], 2, tmp_path / "other") / "weights.safetensors"
    expected = answers(saved, trunk)
    described = json.loads((saved / "branch.json").read_text())
    wrong, refused = [], 0
    changes = itertools.chain(
        json_changes("branch.json", described),
        weights_changes("weights.safetensors", saved, other),
        place_changes("branch.json"),
        place_changes("weights.safetensors"),
    )
    for change, folder in each(saved, tmp_path, changes):
        try:
            if answers(folder, trunk) != expected:
                wrong.append(f"{change}: answers differently")
        except BadInput as error:
            refused += 1
            if "\n" in str(error) or "\x1b" in str(error):
                wrong.append(f"{change}: {error}")
        except Exception as error:
            wrong.append(f"{change}: {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} of {refused}: " + "\n".join(wrong[:40])
    assert refused > 100


@pytest.mark.parametrize("name", ["adalayers/branches/cities", pytest.param("houlsby/branches/stars", marks=pytest.mark.slow)])
def test_a_branch_without_digests_is_refused_in_a_sentence_or_read(name, trunk, tmp_path):
    saved = resaved(name, 1, tmp_path / "saved")
    described = json.loads((saved / "branch.json").read_text())
    wrong = []
    changes = itertools.chain(json_changes("branch.json", described), weights_changes("weights.safetensors", saved))
    for change, folder in each(saved, tmp_path, changes):
        began = time.monotonic()
        try:
            answers(folder, trunk)
        except TrunklineError as error:
            if "\n" in str(error) or "\x1b" in str(error):
                wrong.append(f"{change}: {error}")
        except Exception as error:
            wrong.append(f"{change}: {type(error).__name__}: {error}")
        if time.monotonic() - began > 20:
            wrong.append(f"{change}: hangs")
    assert not wrong, f"{len(wrong)}: " + "\n".join(wrong[:40])


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("positions/branches/mood", ("method", "dim"), 10**9),
        ("positions/branches/mood", ("method", "dim"), 10**5),
        ("adalayers/branches/cities", ("method", "feed_forward"), 10**8),
        ("text-encoder/branches/mood", ("method", "encoder_layers"), 10**9),
        ("probe/branches/mood", ("trunk", "hidden_size"), 1 << 20),
        ("lora/branches/mood", ("method", "r"), 10**8),
        ("prompt/branches/mood", ("method", "virtual_tokens"), 10**9),
        ("prefix/branches/mood", ("method", "virtual_tokens"), 10**9),
        ("houlsby/branches/stars", ("method", "specs", "task", "reduction_factor"), 1e-9),
        ("dora/branches/mood", ("method", "head", "dim"), 10**8),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_they_take_memory(name, place, value, trunk, tmp_path):
    saved = resaved(name, 1, tmp_path / "saved")
    described = json.loads((saved / "branch.json").read_text())
    (saved / "branch.json").write_text(json.dumps(put(described, place, value)))
    made = []
    empty = torch.empty
    torch.empty = lambda *args, **kwargs: made.append(empty(*args, **kwargs)) or made[-1]
    try:
        with pytest.raises(BadInput, match=r"branch\.json: |weights\.safetensors: "):
            load_branch(saved, trunk)
    finally:
        torch.empty = empty
    assert max((value.numel() for value in made if value.device.type != "meta"), default=0) < 1 << 25
