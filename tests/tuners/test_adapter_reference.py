"""Adapters, stacks and fusions of every architecture against the `adapters` package's own answers (reference/make.py)."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from adapter_reference import CASES, IDS, MASK, TRUNKS, Case, numbers
from safetensors.torch import load_file, save_file

from trunkline.errors import BadInput
from trunkline.trunk.architectures import ARCHITECTURES, find_taps
from trunkline.trunk.stream import read_layers
from trunkline.tuners.adapter import Adapter, AdapterConfig
from trunkline.tuners.adapters.files import import_bin, read_adapter
from trunkline.tuners.adapters.heads import read_head, write_head
from trunkline.tuners.adapters.weights import Home
from trunkline.tuners.copied import private_copy
from trunkline.tuners.fusion import Fusion, FusionConfig

HERE = Path(__file__).parent / "reference"
TOLD = json.loads((HERE / "told.json").read_text())
INPUTS = {"input_ids": torch.tensor(IDS), "attention_mask": torch.tensor(MASK)}
REAL = torch.tensor(MASK).bool()


@cache
def states() -> dict[str, torch.Tensor]:
    return load_file(HERE / "states.safetensors")


def numbered(name: str, **changes):
    kind, config = TRUNKS[name]
    kind = getattr(transformers, kind)
    model = kind(kind.config_class(**{**config, **changes})).eval().requires_grad_(False)
    for key, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(numbers(key, tuple(parameter.shape))))
    return model


def config_of(told: dict) -> dict:
    return TOLD["defaults"] | told["file"]["config"]


def shapes(told: dict) -> dict[str, tuple[int, ...]]:
    return {
        f"{module}.{told['file']['name']}.{word.split()[0]}": tuple(map(int, word.split()[1:]))
        for words, modules in told["tensors"].items()
        for module in modules
        for word in words.split(", ")
    }


def written(folder: Path, told: dict, config: str, weights: str) -> str:
    """A folder as the package wrote it, its tensors made of their names again."""
    folder.mkdir(parents=True)
    (folder / config).write_text(json.dumps(told["file"] | {"config": config_of(told)}))
    save_file({name: torch.from_numpy(numbers(name, shape)) for name, shape in shapes(told).items()}, folder / weights)
    return str(folder)


def tuner_of(case: Case, told: dict, folder: Path) -> Adapter | Fusion:
    """The tuner whose config says what the case does, reading the package's files."""
    paths = {
        name: written(folder / name, adapter, "adapter_config.json", "adapter.safetensors")
        for name, adapter in told["adapters"].items()
    }
    if case.fused:
        start = written(folder / "fusion", told["fusion"], "adapter_fusion_config.json", "model_adapter_fusion.safetensors")
        below = paths[case.stack[0]] if case.stack else None
        return Fusion(FusionConfig(adapters={name: paths[name] for name in case.fused}, stack_on=below, start=start))
    *below, top = case.stack
    return Adapter(AdapterConfig(start=paths[top], stack_on=paths[below[0]] if below else None))


def computed(model, stack: str) -> torch.Tensor:
    found: dict[int, torch.Tensor] = {}
    layers = range(len(find_taps(model, stack).states) + 1)
    with torch.no_grad(), read_layers(model, layers, lambda i, state: found.__setitem__(i, state.clone()), stack=stack):
        model(**INPUTS)
    return torch.stack([found[i] for i in layers])


def apply(tuner, model, stack: str):
    copied = private_copy(model)
    return tuner.apply(copied, ARCHITECTURES[model.config.model_type], find_taps(copied, stack))


@pytest.mark.parametrize("key", CASES)
def test_states_are_the_packages(key, tmp_path):
    case, told = CASES[key], TOLD["cases"][key]
    model = numbered(case.trunk)
    ways = [("encoder", model)]
    if f"{key}/decoder" in states():
        ways = [("encoder", model.get_encoder()), ("encoder", model), ("decoder", model)]
    if "cross" in key:
        ways = ways[1:]  # a decoder's own adapters need a decoder
    tuner = tuner_of(case, told, tmp_path)
    for stack, whole in ways:
        changed = apply(tuner, whole, stack)
        found, expected = computed(changed, stack), states()[f"{key}/{stack}"]
        assert not torch.allclose(found[-1], computed(whole, stack)[-1], atol=1e-2)
        torch.testing.assert_close(found[:, REAL], expected, rtol=1e-5, atol=1e-5)
        again = copy.deepcopy(changed)
        assert torch.equal(computed(again, stack), found)


@pytest.mark.parametrize("key", [key for key in CASES if "bart" not in key])
def test_what_is_written_is_what_the_package_writes(key, tmp_path):
    case, told = CASES[key], TOLD["cases"][key]
    tuner = tuner_of(case, told, tmp_path / "in")
    model = numbered(case.trunk)
    apply(tuner, model, "encoder")
    out = tmp_path / "out"
    if case.fused:
        tuner.export(out)
    else:
        tuner.export(out / case.stack[-1], case.stack[-1])
    for name, expected in told["adapters"].items():
        if name == "lang" or ("languages" in key and name != "one"):
            continue  # kept frozen below; an invertible adapter counts in the lowest only
        _compare(out / name, "adapter_config.json", "adapter.safetensors", expected, below="lang" in told["adapters"])
    if case.fused:
        _compare(out / "fusion", "adapter_fusion_config.json", "model_adapter_fusion.safetensors", told["fusion"])


def _compare(folder: Path, config: str, weights: str, told: dict, below: bool = False) -> None:
    file, ours = told["file"], json.loads((folder / config).read_text())
    for key in ("hidden_size", "model_type", "name", "adapter_names", "version"):
        assert ours.get(key) == file.get(key), key
    for key, value in ours["config"].items():
        if key not in ("dropout_prob", "leave_out"):
            assert value == config_of(told)[key], key
    prefix = getattr(transformers, file["model_class"]).base_model_prefix + "."
    found = {name.removeprefix(prefix): value for name, value in load_file(folder / weights).items()}
    assert {name: value.shape for name, value in found.items()} == shapes(told)
    for name, value in found.items():
        assert np.array_equal(value, numbers(name, tuple(value.shape))), name


def test_gradients_are_the_packages(tmp_path):
    case = CASES["bert houlsby"]
    tuner = tuner_of(case, TOLD["cases"]["bert houlsby"], tmp_path)
    model = apply(tuner, numbered("bert"), "encoder")
    (model(**INPUTS).last_hidden_state * REAL[..., None]).square().sum().backward()
    expected = {name.removeprefix("gradient/"): value for name, value in states().items() if name.startswith("gradient/")}
    found = {}
    for place in tuner.places:
        for name, parameter in place.task.named_parameters():
            key = f"{place.location}.{place.index}"
            found[f"{tuner.home.saved[key]}.adapters.task.{tuner.spec.saved_name(name)}"] = parameter.grad
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_attention_is_the_packages(tmp_path):
    key = "bert static fusion"
    tuner = tuner_of(CASES[key], TOLD["cases"][key], tmp_path)
    model = apply(tuner, numbered("bert"), "encoder")
    with torch.no_grad():
        model(**INPUTS)
        assert tuner.attention() == {}  # nobody asked
        with tuner.watch():
            model(**INPUTS)
    expected = states()["attention"][:, REAL].mean(1)
    found = tuner.attention()
    assert list(found) == [1, 2] and list(found[1]) == ["one", "two", "three"]
    torch.testing.assert_close(torch.tensor([list(shares.values()) for shares in found.values()]), expected, rtol=0, atol=1e-5)


def test_penalty_is_the_packages(tmp_path):
    tuner = tuner_of(CASES["bert fusion"], TOLD["cases"]["bert fusion"], tmp_path)
    apply(tuner, numbered("bert"), "encoder")
    assert tuner.penalty().item() == pytest.approx(TOLD["numbers"]["penalty"], rel=1e-5)


def test_counts_are_the_packages(tmp_path):
    shape = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 60,
    }
    model = numbered("bert", **shape)
    reductions = {"pfeiffer": 16, "houlsby": 16, "parallel": 2}
    for variant, reduction in reductions.items():
        changed = apply(Adapter(AdapterConfig(variant=variant, reduction=reduction)), model, "encoder")
        added = sum(p.numel() for p in changed.parameters() if p.requires_grad)
        assert added == TOLD["numbers"][variant]
        assert added == sum(p.numel() for p in changed.parameters()) - sum(p.numel() for p in model.parameters())
    assert TOLD["numbers"]["pfeiffer"] == 894_528
    one = Adapter(AdapterConfig())
    apply(one, model, "encoder")
    for name in ("one", "two"):
        one.export(tmp_path / name, name)
    fusion = Fusion(FusionConfig(adapters=[str(tmp_path / "one"), str(tmp_path / "two")]))
    changed = apply(fusion, model, "encoder")
    assert sum(p.numel() for p in changed.parameters() if p.requires_grad) == TOLD["numbers"]["fusion"]


def test_a_folder_that_the_package_wrote():
    model = numbered("bert")
    changed = apply(Adapter(AdapterConfig(start=str(HERE / "language"))), model, "encoder")
    torch.testing.assert_close(computed(changed, "encoder")[:, REAL], states()["language"], rtol=1e-5, atol=1e-5)


def test_a_pickle_is_read_when_asked_for_only(tmp_path):
    model = numbered("bert")
    tuner = Adapter(AdapterConfig(start=str(HERE / "pickled")))
    with pytest.raises(BadInput, match="trunkline import"):
        apply(tuner, model, "encoder")
    files = import_bin(HERE / "pickled", tmp_path / "out")
    assert files == ["adapter.safetensors", "adapter_config.json", "head_config.json", "model_head.safetensors"]
    changed = apply(Adapter(AdapterConfig(start=str(tmp_path / "out"))), model, "encoder")
    found = computed(changed, "encoder")
    torch.testing.assert_close(found[:, REAL], states()["pickled"], rtol=1e-5, atol=1e-5)
    head = read_head(tmp_path / "out")
    assert (head.kind, head.labels) == ("classification", ["sad", "so so", "glad"])
    torch.testing.assert_close(head.logits(found[-1][:, 0]), states()["logits"], rtol=1e-5, atol=1e-5)
    (tmp_path / "again").mkdir()
    write_head(tmp_path / "again", head, "mood", Home.of(model, ARCHITECTURES["bert"], find_taps(model)))
    for kind in ("head_config.json", "model_head.safetensors"):
        one, two = ((load_file if "safe" in kind else _json)(tmp_path / folder / kind) for folder in ("out", "again"))
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[key], two[key]) for key in one if key != "model_name")


def _json(file: Path) -> dict:
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head_type": "question_answering"}, "head_type: found 'question_answering', expected one of classification"),
        ({"use_pooler": True}, "use_pooler: found true"),
        ({"label2id": {"a": 0, "b": 1}}, "found 3 logits for 2 labels"),
    ],
)
def test_heads_that_cannot_be_read_are_refused(change, sentence, tmp_path):
    import_bin(HERE / "pickled", tmp_path / "out")
    file = tmp_path / "out" / "head_config.json"
    described = _json(file)
    described["config"] |= change
    file.write_text(json.dumps(described))
    with pytest.raises(BadInput, match=sentence):
        read_head(tmp_path / "out")
    assert read_head(HERE / "language") is None


def test_a_name_from_the_first_release(tmp_path):
    """Its tensors were called otherwise, and its gelu was another."""
    told = copy.deepcopy(TOLD["cases"]["bert pfeiffer"]["adapters"]["task"])
    config = told["file"]["config"]
    config["invertible_adapter"] = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
    config["non_linearity"] = "gelu"
    told["file"]["type"] = "text_task"
    told["file"].pop("version")
    ((words, modules),) = told["tensors"].items()
    told["tensors"] = {words: [f"bert.{module.replace('.adapters', '.layer_text_task_adapters')}" for module in modules]}
    folder = written(tmp_path / "old", told, "adapter_config.json", "adapter.safetensors")
    model = numbered("bert")
    tuner = Adapter(AdapterConfig(start=folder))
    apply(tuner, model, "encoder")
    assert tuner.spec.non_linearity == "gelu_new" and tuner.spec.inv_adapter is None
    assert read_adapter(folder, tuner.home).weights.keys() == {
        f"output.{i}.{m}.{p}" for i in (0, 1) for m in ("down", "up") for p in ("weight", "bias")
    }
