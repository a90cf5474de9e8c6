from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tiny_zoo import MODELS, make, tokenizer_of

from trunkline.trunk.load import load_trunk


def prints(folder, **settings):
    return load_trunk(folder, **{"dtype": "fp32", "device": "cpu", **settings}).fingerprint


@pytest.mark.parametrize("name", MODELS)
def test_the_same_wherever_and_however_it_lies(zoo, tmp_path, name):
    original = prints(zoo(name))
    assert re.fullmatch("[0-9a-f]{64}", original.weights) and re.fullmatch("[0-9a-f]{64}", original.tokenizer)
    assert prints(shutil.copytree(zoo(name), tmp_path / "copy")) == original
    assert prints(zoo(name), dtype="bf16") == original
    kind = hf.T5ForConditionalGeneration if name == "t5" else hf.AutoModel
    kind.from_pretrained(zoo(name)).save_pretrained(tmp_path / "shards", max_shard_size="20kB")
    hf.AutoTokenizer.from_pretrained(zoo(name)).save_pretrained(tmp_path / "shards")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    assert prints(tmp_path / "shards") == original


def test_a_head_makes_no_difference(zoo, tmp_path):
    bare = hf.BertModel.from_pretrained(zoo("bert"), add_pooling_layer=False)
    model = hf.BertForSequenceClassification(bare.config)
    model.bert.load_state_dict(bare.state_dict(), strict=False)
    model.save_pretrained(tmp_path)
    tokenizer_of("bert").save_pretrained(tmp_path)
    assert prints(tmp_path) == prints(zoo("bert"))


def test_a_half_precision_checkpoint_has_one_print_too(tmp_path):
    make(tmp_path, "bert")
    hf.AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16, add_pooling_layer=False).save_pretrained(tmp_path)
    assert prints(tmp_path, dtype="fp32") == prints(tmp_path, dtype="bf16")


@pytest.mark.parametrize("where", ["embeddings.word_embeddings.weight", "encoder.layer.2.output.dense.bias"])
def test_one_changed_bit_shows(zoo, tmp_path, where):
    shutil.copytree(zoo("bert"), tmp_path / "bert")
    tensors = load_file(tmp_path / "bert" / "model.safetensors")
    tensors[where].view(torch.int32).flatten()[0] ^= 1
    save_file(tensors, tmp_path / "bert" / "model.safetensors", metadata={"format": "pt"})
    for dtype in ("fp32", "bf16"):  # the bit is lost in bfloat16, and shows all the same
        changed, original = prints(tmp_path / "bert", dtype=dtype), prints(zoo("bert"), dtype=dtype)
        assert changed.weights != original.weights and changed.tokenizer == original.tokenizer


def test_the_two_stacks_and_other_seeds_differ(zoo, tmp_path):
    assert prints(zoo("bart")).weights != prints(zoo("bart"), stack="decoder").weights
    assert prints(make(tmp_path, "bert", seed=1)).weights != prints(zoo("bert")).weights


def test_what_the_encoder_does_not_run_does_not_count(zoo, tmp_path):
    shutil.copytree(zoo("bart"), tmp_path / "bart")
    tensors = load_file(tmp_path / "bart" / "model.safetensors")
    tensors["decoder.layers.0.fc1.bias"] += 1
    save_file(tensors, tmp_path / "bart" / "model.safetensors", metadata={"format": "pt"})
    assert prints(tmp_path / "bart") == prints(zoo("bart"))
    assert prints(tmp_path / "bart", stack="decoder") != prints(zoo("bart"), stack="decoder")


def _edit(folder, change):
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    change(settings)
    path.write_text(json.dumps(settings), encoding="utf-8")


def _swap_merges(settings):
    merges = settings["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def _swap_ids(settings):
    vocabulary = settings["model"]["vocab"]
    vocabulary["weather"], vocabulary["rain"] = vocabulary["rain"], vocabulary["weather"]


def _move_score(settings):
    settings["model"]["vocab"][30][1] -= 0.001


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bert", lambda s: s["normalizer"].update(lowercase=False)),
        ("bert", lambda s: s["post_processor"]["single"].pop()),
        ("bert", lambda s: s["post_processor"]["pair"].pop()),
        ("bert", _swap_ids),
        ("roberta", _swap_merges),
        ("roberta", lambda s: s["pre_tokenizer"].update(add_prefix_space=True)),
        ("xlm-roberta", _move_score),
        ("xlm-roberta", lambda s: s["normalizer"].update(type="NFC")),
    ],
)
def test_another_tokenizer_shows(zoo, tmp_path, name, change):
    shutil.copytree(zoo(name), tmp_path / name)
    _edit(tmp_path / name, change)
    changed, original = prints(tmp_path / name), prints(zoo(name))
    assert changed.weights == original.weights and changed.tokenizer != original.tokenizer


def test_settings_that_change_no_id_do_not_count(zoo, tmp_path):
    shutil.copytree(zoo("bert"), tmp_path / "bert")
    _edit(
        tmp_path / "bert",
        lambda s: s.update(truncation={"max_length": 9, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}),
    )
    trunk = load_trunk(tmp_path / "bert", dtype="fp32", device="cpu")
    trunk.tokenizer(["a film", "so"], padding=True, truncation=True, max_length=5)  # leaves its settings behind
    assert trunk.fingerprint == prints(zoo("bert"))


def _edit_input_names(folder, *names):
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "model_input_names": list(names)}), encoding="utf-8")
    return folder


def test_a_tokenizer_that_leaves_out_the_token_types_of_pairs_shows(zoo, tmp_path):
    changed = _edit_input_names(shutil.copytree(zoo("bert"), tmp_path / "bert"), "input_ids", "attention_mask")
    found, original = prints(changed), prints(zoo("bert"))
    assert found.tokenizer_settings != original.tokenizer_settings
    assert (found.weights, found.tokenizer, found.config) == (original.weights, original.tokenizer, original.config)


@pytest.mark.parametrize("name", ["albert", "distilbert"])
def test_token_types_that_are_zero_or_that_the_model_lacks_do_not_count(zoo, tmp_path, name):
    plain = ["input_ids", "attention_mask"]
    for number, names in enumerate((plain, [*plain, "token_type_ids"])):
        folder = shutil.copytree(zoo(name), tmp_path / str(number))
        assert prints(_edit_input_names(folder, *names)) == prints(zoo(name))


def test_it_is_computed_once(tiny_trunk, monkeypatch):
    trunk = tiny_trunk("bert")
    first = trunk.fingerprint
    monkeypatch.setattr("trunkline.trunk.load.tokenizer_digest", None)
    monkeypatch.setattr("trunkline.trunk.load.weights_digest", None)
    assert trunk.fingerprint is first
