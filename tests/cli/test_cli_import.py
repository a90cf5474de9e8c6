"""Pickles of the adapters package's older releases become folders that the methods read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from clitools import done, fails
from safetensors.torch import load_file
from synthetic import config, write_rows
from tiny import tiny_bert

from trunkline.errors import BadInput
from trunkline.export.branch import export_branch
from trunkline.model.branch import load_branch
from trunkline.training.fit import fit
from trunkline.tuners.adapters.files import import_bin

WIDTH, BLOCKS = 32, 3


@pytest.fixture
def old() -> Path:
    """An adapter as older releases of the package wrote it, for the tiny trunk."""
    folder = Path("old")
    folder.mkdir()
    config = {
        "mh_adapter": False, "output_adapter": True, "reduction_factor": 4, "non_linearity": "relu",
        "original_ln_before": True, "original_ln_after": True, "residual_before_ln": True,
        "adapter_residual_before_ln": False, "ln_before": False, "ln_after": False, "inv_adapter": None,
    }  # fmt: skip
    described = {"config": config, "hidden_size": WIDTH, "model_type": "bert", "name": "mood", "type": "text_task"}
    (folder / "adapter_config.json").write_text(json.dumps(described))
    draw = torch.Generator().manual_seed(0)
    shapes = {"adapter_down.0.weight": (8, WIDTH), "adapter_down.0.bias": (8,), "adapter_up.weight": (WIDTH, 8)}
    shapes["adapter_up.bias"] = (WIDTH,)
    tensors = {
        f"bert.encoder.layer.{block}.output.adapters.mood.{name}": torch.randn(shape, generator=draw) / 50
        for block in range(BLOCKS)
        for name, shape in shapes.items()
    }
    torch.save(tensors, folder / "pytorch_adapter.bin")
    return folder


@pytest.mark.parametrize("given", ["old", "old/pytorch_adapter.bin"])
def test_the_weights_are_the_same(given, old):
    facts = json.loads(done("import", given, "new", "--json").stdout)
    assert facts == {
        "folder": "new", "kind": "adapter", "name": "mood", "model_type": "bert", "hidden_size": WIDTH,
        "files": ["adapter.safetensors", "adapter_config.json"],
    }  # fmt: skip
    before, after = torch.load(old / "pytorch_adapter.bin", weights_only=True), load_file("new/adapter.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_run_starts_from_it_and_a_fusion_and_a_stack_read_it(old, tmp_path):
    trunk, rows = tiny_bert(tmp_path / "trunk"), write_rows(tmp_path / "rows.jsonl", 60)
    values = config(trunk, rows, tasks=("mood",), epochs=1, learning_rate=1e-9)
    start = {"name": "adapter", "start": str(old)}
    with pytest.raises(ValueError, match="trunkline import"):
        fit({**values, "method": start}, run_dir=tmp_path / "refused")
    assert "start: new" in done("import", old, "new").stdout
    start["start"] = str(tmp_path / "new")
    result = fit({**values, "method": start}, run_dir=tmp_path / "started")
    own = load_branch(result.branches["mood"]).source.own()
    stored = load_file("new/adapter.safetensors")
    for block in range(BLOCKS):
        wanted = stored[f"bert.encoder.layer.{block}.output.adapters.mood.adapter_up.weight"]
        torch.testing.assert_close(own[f"encoder.layer.{block}.output_adapter.task.up.weight"].data, wanted)
    for name, method in {
        "fusion": {"name": "fusion", "adapters": {"one": str(tmp_path / "new"), "two": str(result.branches["mood"])}},
        "stack": {"name": "adapter", "stack_on": str(tmp_path / "new")},
    }.items():
        fit({**values, "method": method}, run_dir=tmp_path / name)


def test_safetensors_that_are_there_already_go_along(old):
    done("import", old, "whole")
    (old / "pytorch_adapter.bin").unlink()
    Path("whole/adapter.safetensors").rename(old / "adapter.safetensors")
    (old / "head_config.json").write_text(json.dumps({"name": "mood"}))
    torch.save({"heads.mood.1.weight": torch.ones(2, WIDTH)}, old / "pytorch_model_head.bin")
    files = json.loads(done("import", old, "new", "--json").stdout)["files"]
    assert files == ["adapter.safetensors", "adapter_config.json", "head_config.json", "model_head.safetensors"]


class Planted:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(old):
    (old / "pytorch_adapter.bin").write_bytes(pickle.dumps({"weight": Planted()}))
    assert fails(2, "import", old, "new").startswith("old/pytorch_adapter.bin: cannot be read as weights")
    assert not Path("ran").exists() and not Path("new").exists()


def test_bad_input_is_one_sentence(old):
    Path("empty").mkdir()
    for place in ("empty", "nowhere", "old/adapter_config.json"):
        assert fails(2, "import", place, "new").startswith(f"{place}: found none of pytorch_adapter.bin, ")
    assert fails(2, "import", old, "old") == "old: is not empty; expected a new or empty folder"
    torch.save([torch.ones(2)], old / "pytorch_model_head.bin")
    assert "found no head_config.json next to it" in fails(2, "import", old, "new")
    (old / "head_config.json").write_text("{}")
    assert "found something other than named tensors" in fails(2, "import", old, "new")
    (old / "adapter_config.json").write_text("{")
    assert "adapter_config.json: cannot be read as JSON" in fails(2, "import", old, "new")
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "name", ["head_config.json", "secrets.json", "more.safetensors", "adapter_config.json", "pytorch_adapter.bin"]
)
def test_links_out_of_the_folder_are_not_followed(name, old, tmp_path):
    """A folder that comes from elsewhere would copy what is not in it."""
    (old / name).rename(tmp_path / "elsewhere") if (old / name).exists() else (tmp_path / "elsewhere").write_text(
        '{"key": "secret"}'
    )
    (old / name).symlink_to(tmp_path / "elsewhere")
    assert (
        fails(2, "import", old, "new")
        == f"old/{name}: is a link to a file outside its folder, which is not followed; expected a file"
    )
    (old / name).unlink()
    (tmp_path / "elsewhere").rename(old / "within")
    (old / name).symlink_to("within")
    if name == "more.safetensors":
        assert "more.safetensors" in json.loads(done("import", old, "new", "--json").stdout)["files"]
        assert not Path("new/more.safetensors").is_symlink()


def test_python_writes_new_and_empty_folders_only(old, tmp_path):
    Path("mine").mkdir()
    Path("mine/work.txt").write_text("mine")
    for write in (lambda: import_bin(old, "mine"), lambda: export_branch(None, Path("mine"))):
        with pytest.raises(BadInput, match="mine: is not empty; expected a new or empty folder"):
            write()
    assert [path.name for path in Path("mine").iterdir()] == ["work.txt"]


def test_the_links_of_the_hubs_cache_are_followed(old):
    """Its files are links from the revision's folder to the blobs."""
    snapshot, blobs = Path("models--a--b/snapshots/0123"), Path("models--a--b/blobs")
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(old.iterdir()):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert json.loads(done("import", snapshot, "new", "--json").stdout)["name"] == "mood"
