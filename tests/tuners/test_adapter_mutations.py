"""A folder of an adapter or a fusion changed in any way is refused in one sentence or read as what it says; soon, and no
dtype is converted in silence.
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from mutations import each, json_changes, place_changes, resave, weights_changes

from trunkline.errors import BadInput, TrunklineError
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter import Adapter, AdapterConfig
from trunkline.tuners.adapters.files import read_fusion
from trunkline.tuners.adapters.weights import Home

SAVED = Path(__file__).parents[1] / "saved"


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(SAVED / "trunk", dtype="fp32", device="cpu")


def started(folder: Path, trunk) -> dict:
    tuned = TunedTrunk(trunk, Adapter(AdapterConfig(start=str(folder))), "fp32")
    return {name: value.tolist() for name, value in tuned.own().items()}


def fused(folder: Path, trunk) -> dict:
    stored = read_fusion(folder, Home.of(trunk.model, trunk.row, trunk.taps))
    return {"names": stored.names, **{name: value.tolist() for name, value in stored.weights.items()}}


CASES = {
    "an adapter": (started, SAVED / "folders" / "houlsby", "adapter_config.json", "adapter.safetensors"),
    "a fusion": (
        fused,
        SAVED / "folders" / "fusion" / "fusion",
        "adapter_fusion_config.json",
        "model_adapter_fusion.safetensors",
    ),
    "a branch": (started, SAVED / "runs" / "houlsby" / "branches" / "stars", "branch.json", "weights.safetensors"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_changed_folder_is_refused_in_a_sentence_or_read(case, trunk, tmp_path):
    read, saved, config, weights = CASES[case]
    if case == "a branch":
        shutil.copytree(saved, tmp_path / "saved")
        saved = tmp_path / "saved"
        resave(saved, json.loads((saved / config).read_text()))
    expected = read(saved, trunk)
    changes = itertools.chain(
        json_changes(config, json.loads((saved / config).read_text())),
        weights_changes(weights, saved),
        place_changes(config),
        place_changes(weights),
    )
    wrong, refused = [], 0
    for change, folder in each(saved, tmp_path, changes):
        try:
            found = read(folder, trunk)
            if case == "a branch" and found != expected:
                wrong.append(f"{change}: reads something else")
            if change.endswith((" half", " double", " whole", "nan")) and (case != "a fusion" or "nan" not in change):
                wrong.append(f"{change}: accepted")
        except TrunklineError as error:
            refused += 1
            if "\n" in str(error) or "\x1b" in str(error):
                wrong.append(f"{change}: {error}")
        except Exception as error:
            wrong.append(f"{change}: {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} of {refused}: " + "\n".join(wrong[:40])
    assert refused > 50


@pytest.mark.parametrize("factor", [1e-9, 1e-300, 0.01])
def test_a_width_that_the_weights_do_not_have_is_refused_before_it_takes_memory(factor, trunk, tmp_path):
    shutil.copytree(SAVED / "folders" / "houlsby", tmp_path / "a")
    described = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    described["config"]["reduction_factor"] = factor
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(described))
    with pytest.raises(BadInput, match=r"but its config means|reduction factor"):
        started(tmp_path / "a", trunk)
