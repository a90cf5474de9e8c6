"""A branch and a states store belong to a trunk with its settings, not to its weights alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from mutations import resave
from tasktools import corpus_of, fitted

from trunkline.branches import methods
from trunkline.errors import BadInput
from trunkline.files import cache_dir
from trunkline.model.branch import Branch, load_branch, save_branch
from trunkline.model.part import build_branch
from trunkline.model.trunk_ref import TrunkRef
from trunkline.states.live import LiveStates
from trunkline.states.store import StatesStore, build_store
from trunkline.trunk.load import load_trunk

TEXTS = ["the film was great", "play a sad song for me", "rain in paris tomorrow, and sun in tokyo"]


def load(folder):
    return load_trunk(folder, dtype="fp32", device="cpu")


@pytest.fixture
def saved(tiny_trunk_dir, tmp_path):
    """A branch on the tiny trunk, and that trunk."""
    trunk = load(tiny_trunk_dir)
    task = fitted("sequence", corpus_of(label=["a", "b"]), label="label")
    method = methods.get("probe")
    config = method.Config(name="probe")
    ref = TrunkRef.of(trunk)
    branch = Branch(task, config, build_branch(config, ref.shape, task).eval(), task.criterion(), ref, 64, "fp32")
    save_branch(branch, tmp_path / "branch")
    return load_branch(tmp_path / "branch"), trunk


def edited(folder, copy, file, change):
    shutil.copytree(folder, copy)
    settings = json.loads((copy / file).read_text(encoding="utf-8"))
    change(settings)
    (copy / file).write_text(json.dumps(settings), encoding="utf-8")
    return load(copy)


def states(trunk):
    encoded = trunk.encode(TEXTS)
    found = {}
    LiveStates(trunk, encoded).feed(np.arange(3), [3], lambda layer, rows: found.__setitem__(layer, rows.clone()))
    return encoded, found[3]


CONFIG = {
    "hidden_act": "relu",
    "num_attention_heads": 2,
    "layer_norm_eps": 1e-3,
    "is_decoder": True,
}
TOKENIZER = {
    "max_input_chars_per_word": lambda s: s["model"].update(max_input_chars_per_word=3),
    "unk_token": lambda s: s["model"].update(unk_token="[MASK]"),
    "clean_text": lambda s: s["normalizer"].update(clean_text=False),
    "handle_chinese_chars": lambda s: s["normalizer"].update(handle_chinese_chars=False),
    "strip_accents": lambda s: s["normalizer"].update(strip_accents=False),
    "normalizer": lambda s: s.update(
        normalizer={
            "type": "Sequence",
            "normalizers": [s["normalizer"], {"type": "Replace", "pattern": {"String": "quux"}, "content": "film"}],
        }
    ),
    "pre_tokenizer": lambda s: s.update(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [s["pre_tokenizer"], {"type": "Digits", "individual_digits": True}],
        }
    ),
    "added_tokens": lambda s: s["added_tokens"][1].update(single_word=True),
}
SIDES = {"truncation_side": "left", "padding_side": "left"}
CHANGES = [
    *(pytest.param("config.json", lambda s, k=k, v=v: s.update({k: v}), id=k) for k, v in CONFIG.items()),
    *(pytest.param("tokenizer.json", change, id=key) for key, change in TOKENIZER.items()),
    *(pytest.param("tokenizer_config.json", lambda s, k=k, v=v: s.update({k: v}), id=k) for k, v in SIDES.items()),
]


@pytest.mark.parametrize(("file", "change"), CHANGES)
def test_another_setting_is_refused_and_shares_no_store(saved, tiny_trunk_dir, tmp_path, file, change):
    branch, trunk = saved
    branch.check_trunk(trunk)
    other = edited(tiny_trunk_dir, tmp_path / "other", file, change)
    assert other.fingerprint.weights == trunk.fingerprint.weights
    with pytest.raises(BadInput, match=r"branch: trained .* give the t\w+ it belongs to"):
        branch.check_trunk(other)
    encoded, before = states(trunk)
    store = build_store(trunk, encoded, layers=[3])
    there = set((cache_dir() / "states").iterdir())
    build_store(other, other.encode(TEXTS), layers=[3])
    assert len(set((cache_dir() / "states").iterdir()) - there) == 2  # a store and its lock
    with pytest.raises(BadInput, match="a store of another trunk or corpus"):
        StatesStore.open(store.path, trunk=other)
    if file == "config.json":  # each of these does change the states
        assert not torch.equal(before, states(other)[1])


@pytest.mark.parametrize(
    "values",
    [
        {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}},
        {"_name_or_path": "elsewhere", "transformers_version": "5.3.0", "problem_type": "regression", "use_cache": False},
        {"hidden_act": "gelu", "layer_norm_eps": 1e-12},  # the defaults of the class, written out
    ],
    ids=["a head", "where it comes from", "defaults"],
)
def test_what_no_state_depends_on_does_not_count(saved, tiny_trunk_dir, tmp_path, values):
    branch, trunk = saved
    other = edited(tiny_trunk_dir, tmp_path / "other", "config.json", lambda s: s.update(values))
    branch.check_trunk(other)
    assert other.fingerprint == trunk.fingerprint


def test_a_branch_of_an_older_version_is_held_to_the_digests_that_it_has(saved, tiny_trunk_dir, tmp_path):
    branch, trunk = saved
    described = json.loads((branch.path / "branch.json").read_text())
    for name in ("config", "tokenizer_settings"):
        assert described["trunk"].pop(name) == getattr(trunk.fingerprint, name)
    resave(branch.path, described, schema=1)
    old = load_branch(branch.path)
    old.check_trunk(trunk)
    old.check_trunk(edited(tiny_trunk_dir, tmp_path / "other", "config.json", lambda s: s.update(hidden_act="relu")))
    old.trunk = TrunkRef(**{**asdict(old.trunk), "tokenizer": "0" * 64})
    with pytest.raises(BadInput, match="trained with a tokenizer of sha256 000"):
        old.check_trunk(trunk)
