from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import transformers as hf
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tiny_zoo import MODELS, build, make, tokenizer_of

from trunkline.errors import BadInput, TrunklineError
from trunkline.trunk.aliases import ALIASES
from trunkline.trunk.load import load_trunk
from trunkline.trunk.source import find_source, hub_place, public_name, stored_dtype
from trunkline.trunk.stream import run_layers


@pytest.fixture
def folder(zoo, tmp_path) -> Path:
    """A copy of the tiny bert that a test may spoil."""
    return Path(shutil.copytree(zoo("bert"), tmp_path / "bert"))


def load(path, **settings):
    return load_trunk(path, **{"dtype": "fp32", "device": "cpu", **settings})


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refused(path, match, error=BadInput, **settings):
    with pytest.raises(error, match=match) as caught:
        load(path, **settings)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error
    return str(caught.value)


# --- what a trunk says of itself


def test_every_trunk_knows_its_shape(tiny_trunk, any_stack):
    name, stack = any_stack
    trunk = tiny_trunk(name, stack)
    layers = {"albert-groups": 8, "bart": 3, "mbart": 3}.get(name, 3) if stack == "encoder" else 2
    assert (trunk.num_layers, trunk.hidden_size, trunk.stack, trunk.dtype, trunk.revision) == (layers, 32, stack, "fp32", None)
    assert Path(trunk.name).is_absolute() and Path(trunk.name).name == name
    assert trunk.device == torch.device("cpu")
    assert not trunk.model.training and not any(p.requires_grad for p in trunk.model.parameters())
    assert name.startswith(trunk.architecture)


def test_only_what_the_states_need_is_kept(tiny_trunk):
    assert tiny_trunk("bert").model.pooler is None
    assert type(tiny_trunk("bart").model).__name__ == "BartEncoder"
    assert not any("decoder" in key for key in tiny_trunk("t5").model.state_dict())


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("t5", "deberta-v2", "deberta-v2-conv")])
def test_longest_input_is_the_last_that_runs(tiny_trunk, name):
    """One token more leaves the position table; models with computed positions are bounded by what they were trained on."""
    trunk = tiny_trunk(name)
    assert trunk.longest_input == (62 if name in ("roberta", "xlm-roberta", "mpnet") else 64) == trunk.max_length
    ids = torch.full((1, trunk.longest_input), trunk.vocabulary - 1)
    run_layers(trunk, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, [1], lambda *_: None)
    if name not in ("modernbert", "llama", "qwen2", "qwen3"):
        ids = torch.full((1, trunk.longest_input + 1), trunk.vocabulary - 1)
        with pytest.raises((IndexError, RuntimeError)):
            run_layers(trunk, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, [1], lambda *_: None)


@pytest.mark.parametrize("name", ["t5", "deberta-v2"])
def test_relative_positions_bound_nothing(tiny_trunk, name):
    trunk = tiny_trunk(name)
    assert trunk.longest_input is None and trunk.max_length == 512
    assert trunk.encode(["a " * 1500], max_length=1200).lengths[0] == 1200
    ids = torch.full((1, 1200), trunk.vocabulary - 1)
    run_layers(trunk, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, [1], lambda *_: None)


def test_default_length_is_bounded_but_may_be_raised(tmp_path):
    trunk = load(make(tmp_path / "long", "llama", max_position_embeddings=4096))
    assert (trunk.max_length, trunk.longest_input) == (512, 4096)
    assert trunk.encode(["a " * 900]).lengths[0] == 512
    assert trunk.encode(["a " * 900], max_length=700).lengths[0] == 700
    with pytest.raises(BadInput, match=r"max_length: found 4097; expected at most 4096"):
        trunk.encode(["a"], max_length=4097)


def test_the_tokenizers_own_bound_counts(tmp_path):
    make(tmp_path / "short", "roberta")
    hf.AutoTokenizer.from_pretrained(tmp_path / "short", model_max_length=20).save_pretrained(tmp_path / "short")
    trunk = load(tmp_path / "short")
    assert (trunk.max_length, trunk.longest_input) == (20, 62)


def test_a_tokenizer_that_ships_with_padding_and_truncation_is_cleared(folder):
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    pad = {"pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    settings["padding"] = {"strategy": {"Fixed": 40}, "direction": "Right", **pad}
    path.write_text(json.dumps(settings))
    assert len(load(folder).tokenizer.backend_tokenizer.encode("a film was so very good").ids) == 8


def test_ids_beyond_the_embedding_are_refused_before_the_pass(folder):
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zzz"])
    tokenizer.save_pretrained(folder)
    trunk = load(folder)
    assert trunk.encode(["a film"]).n_texts == 1
    with pytest.raises(BadInput, match="produces id 237, but the model's vocabulary has 237 entries"):
        trunk.encode(["a zzz film"])


def test_a_decoder_without_a_first_token_is_refused(tmp_path):
    make(tmp_path, "t5")
    edit_config(tmp_path, decoder_start_token_id=None)
    refused(tmp_path, r"config\.json: no decoder_start_token_id; expected the id that its decoder begins with", stack="decoder")
    assert load(tmp_path).stack == "encoder"


# --- quiet, frozen precision


@pytest.mark.parametrize("name", ["bert", "t5", "bart"])
def test_loading_says_nothing(zoo, tmp_path, capfd, name):
    kind = hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[MODELS[name].model_class.config_class]
    path = make(tmp_path / name, name, model_class=kind)  # its head and pooler are left out
    hf.utils.logging.enable_progress_bar()
    verbosity = hf.utils.logging.get_verbosity()
    capfd.readouterr()
    trunk = load(path)
    assert trunk.fingerprint
    assert capfd.readouterr() == ("", "")
    assert hf.utils.logging.get_verbosity() == verbosity and hf.utils.logging.is_progress_bar_enabled()


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_precision_is_the_asked_one_whatever_is_stored(tmp_path, stored, dtype):
    model = build("llama").to(stored)
    model.save_pretrained(tmp_path)
    tokenizer_of("llama").save_pretrained(tmp_path)
    assert stored_dtype(tmp_path) == stored
    trunk, kind = load(tmp_path, dtype=dtype), {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    expected = {key: value.to(kind) for key, value in model.state_dict().items()}
    assert all(torch.equal(value, expected[key]) for key, value in trunk.model.state_dict().items())
    assert trunk.model.rotary_emb.inv_freq.dtype == torch.float32  # rounded angles would spoil long texts


def test_mixed_precision_on_disk_keeps_every_bit(folder):
    edit_weights(folder, lambda t: t.update({k: v.half() if "layer.0" in k else v.bfloat16() for k, v in t.items()}))
    assert stored_dtype(folder) == torch.float32
    weights, stored = load(folder).model.state_dict(), load_file(folder / "model.safetensors")
    assert all(torch.equal(v, stored[k].float()) for k, v in weights.items())


# --- what is refused


PATHS = ["./nothing/here", "/nothing/here", "~/nothing", "a/b/c", "a/b/", "a\\b", "run.yaml", "a/rows.CSV", "two words", ""]


@pytest.mark.parametrize("name", [*PATHS, Path("nothing")])
def test_what_can_only_be_a_path_is_refused_without_asking_the_hub(name, monkeypatch):
    monkeypatch.setattr("trunkline.trunk.source.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    refused(name, r"no such file or folder; expected an alias \(minilm\), a folder or a hub id")


@pytest.mark.parametrize("name", ["bert", "bart", "modernbert"])
@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "eager"},
        {"attn_implementation": "eager"},
        {"attn_implementation": "someone/kernel"},
        {"output_attentions": True},
        {"output_attentions": True, "attn_implementation": "eager"},
        {"output_hidden_states": True, "return_dict": False},
    ],
    ids=str,
)
def test_a_config_does_not_choose_how_attention_is_computed(zoo, tiny_trunk, tmp_path, name, values):
    shutil.copytree(zoo(name), tmp_path / name)
    edit_config(tmp_path / name, **values)
    found, original = load(tmp_path / name, dtype="bf16"), tiny_trunk(name, dtype="bf16")
    assert found.fingerprint == original.fingerprint
    assert found.model.config._attn_implementation == original.model.config._attn_implementation == "sdpa"
    states = []
    for trunk in (found, original):
        inputs = trunk.collate(trunk.encode(["the film was great", "so"]), [0, 1])
        run_layers(trunk, inputs, [trunk.num_layers], lambda layer, state: states.append(state))
    assert torch.equal(*states)


def test_a_file_is_not_a_folder(folder):
    refused(folder / "model.safetensors", "is a file; expected the folder")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json; expected a folder with config.json"),
        (
            lambda f: ((f / "config.json").unlink(), (f / "adapter_config.json").write_text("{}")),
            "an adapter without its base model; expected",
        ),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not readable as JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff"), "config.json: not readable as JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), "config.json: expected a JSON object, found list"),
        (lambda f: edit_config(f, model_type="mamba"), "model_type: unknown architecture 'mamba'; expected one of bert, rob"),
        (lambda f: edit_config(f, model_type=None), "model_type: unknown architecture None; expected one of"),
        (lambda f: edit_config(f, model_type=["bert"]), "model_type: unknown architecture"),
        (lambda f: edit_config(f, hidden_size=30), "its bert cannot be loaded"),
        (lambda f: edit_config(f, hidden_size="wide"), "config.json: cannot be used .*hidden_size"),
        (lambda f: edit_config(f, intermediate_size=40), "its bert cannot be loaded"),
        (lambda f: edit_config(f, num_hidden_layers=4), "16 tensors of a bert are missing from its weights, such as enc"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights; expected model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "not a whole safetensors file"),
        (lambda f: _cut(f / "model.safetensors"), "not a whole safetensors file"),
        (lambda f: edit_weights(f, lambda t: t.pop("encoder.layer.1.output.dense.weight")), "1 tensors of a bert are missing"),
        (lambda f: edit_weights(f, lambda t: [t.pop(k) for k in list(t)]), "holds no floating-point tensor"),
        (
            lambda f: edit_weights(f, lambda t: t.update(extra=torch.zeros(2).to(torch.float8_e4m3fn))),
            "weights are stored as F8_E4M3; expected one of F64, F32",
        ),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer; expected tokenizer.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "its tokenizer cannot be loaded"),
    ],
)  # fmt: skip
def test_a_spoilt_folder_is_one_sentence(folder, spoil, message):
    spoil(folder)
    assert str(folder) in refused(folder, message)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-10])


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_unread(folder, tmp_path, file):
    (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(pickle.dumps(_Trap(tmp_path / "ran")))
    refused(folder, rf"its weights are pickled \({file}\).*expected model.safetensors")
    assert not (tmp_path / "ran").exists()


def test_code_in_a_checkpoint_is_never_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    edit_config(folder, auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}))
    assert load(folder).num_layers == 3
    edit_config(folder, model_type="evil")
    refused(folder, "unknown architecture 'evil'")
    assert not (tmp_path / "ran").exists()


def test_shards(zoo, tmp_path):
    hf.BertModel.from_pretrained(zoo("bert"), add_pooling_layer=False).save_pretrained(tmp_path, max_shard_size="20kB")
    tokenizer_of("bert").save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    whole = load(zoo("bert")).model.state_dict()
    assert all(torch.equal(v, whole[k]) for k, v in load(tmp_path).model.state_dict().items())
    shards[0].unlink()
    refused(tmp_path, f"model.safetensors.index.json lists {shards[0].name}, which is missing")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused(tmp_path, "expected a JSON object with weight_map")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stack": "decoder"}, "stack 'decoder' was requested, but bert has encoder only"),
        ({"stack": "middle"}, "stack 'middle' was requested"),
        ({"dtype": "fp16"}, "dtype: unknown name 'fp16'; expected auto, fp32 or bf16"),
        ({"device": "tpu9"}, "device: unknown name 'tpu9'; expected auto, cpu"),
        ({"device": "cuda:77"}, "device: 'cuda:77' was requested, but"),
        ({"revision": "main"}, "found revision 'main', but folders have no revisions; expected none"),
    ],
)
def test_a_wrong_setting_is_one_sentence(zoo, settings, message):
    refused(zoo("bert"), message, **settings)


# --- the hub (offline: the tests only ever see its cache)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_from_the_hubs_cache(hub_cache, folder):
    shutil.copytree(folder, hub_cache / "models--someone--tiny" / "snapshots" / COMMIT)
    refs = hub_cache / "models--someone--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    newest, pinned = load("someone/tiny"), load("someone/tiny", revision=COMMIT)
    assert (newest.name, newest.revision) == (pinned.name, pinned.revision) == ("someone/tiny", COMMIT)
    assert newest.fingerprint == load(folder).fingerprint


@pytest.mark.parametrize(
    ("name", "revision", "place", "public"),
    [
        ("someone/tiny", COMMIT, ("someone/tiny", COMMIT), "someone/tiny"),
        ("minilm", None, (ALIASES["minilm"].hub, ALIASES["minilm"].revision), "sentence-transformers/all-MiniLM-L6-v2"),
        ("/home/somebody/trunks/mine", None, None, "mine"),
    ],
)
def test_what_others_know_a_trunk_by(name, revision, place, public):
    assert (hub_place(name, revision), public_name(name, revision)) == (place, public)


def test_a_hub_that_is_off(hub_cache):
    both = r"trunk 'someone/unknown': no such folder here, not in the hub's cache, and offline mode is on \(HF_HUB_OFFLINE\)"
    refused("someone/unknown", both)
    refused("minlm", r"is on \(HF_HUB_OFFLINE\); did you mean 'minilm'\?")
    refused("someone/unknown", "at revision 'v2': no such folder here, not in", revision="v2")


def test_a_hub_out_of_reach(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("trunkline.trunk.source.snapshot_download", fail)
    both = "trunk 'someone/unknown': no such folder here, not in the hub's cache, and the hub is unreachable"
    refused("someone/unknown", both, TrunklineError)


def test_a_mistyped_folder_is_compared_with_those_beside_it(hub_cache, folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "film-trunk")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "film-large").mkdir()
    monkeypatch.chdir(tmp_path)
    refused("film-trnk", r"did you mean 'film-trunk'\?")
    refused("models/film-lrge", r"did you mean 'models/film-large'\?")


def test_a_name_that_the_hub_cannot_have():
    refused("some..one/tiny", "trunk 'some..one/tiny': no such folder here, and it is not a valid hub id")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("RepositoryNotFoundError", BadInput, "no such folder here, and no such repository on the hub"),
        ("GatedRepoError", BadInput, "must grant access"),
        ("RevisionNotFoundError", BadInput, "has no such revision"),
        ("HfHubHTTPError", TrunklineError, "no such folder here, and the hub failed with HfHubHTTPError"),
    ],
)
def test_the_hub_says_no(monkeypatch, error, kind, message):
    kind_of = getattr(errors, error)

    def fail(*args, **kwargs):
        raise kind_of.__new__(kind_of)  # without the response of a server that there is none of here

    monkeypatch.setattr("trunkline.trunk.source.snapshot_download", fail)
    with pytest.raises(kind, match=message) as caught:
        find_source("someone/unknown")
    assert type(caught.value) is kind


def test_weights_set_aside_take_no_memory_and_come_back_as_they_were(folder):
    trunk = load(folder)
    before = {name: value.clone() for name, value in trunk.model.state_dict().items()}
    shared = trunk.model.embeddings.word_embeddings.weight
    with trunk.weights_set_aside([shared.detach()]):  # what a changed copy shares stays, as it would not be freed
        held = {name for name, p in trunk.model.named_parameters() if p.numel()}
        assert held == {"embeddings.word_embeddings.weight"}
    after = trunk.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert trunk.model.embeddings.word_embeddings.weight.data_ptr() == shared.data_ptr()
    assert not any(p.requires_grad for p in trunk.model.parameters())


def test_weights_that_changed_on_disk_do_not_come_back(folder):
    trunk = load(folder)
    with pytest.raises(BadInput, match="have changed on disk"), trunk.weights_set_aside([]):
        edit_weights(folder, lambda tensors: tensors["embeddings.LayerNorm.bias"].add_(1))
