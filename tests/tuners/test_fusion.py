"""The tuner `fusion` as a part of Trunkline: over branches and folders, its attention, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tunertools import apply, frozen, ids, randomise, states, trained

from trunkline.errors import BadInput
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter import Adapter, AdapterConfig
from trunkline.tuners.fusion import Fusion, FusionConfig


def branch(folder: Path, trunk: Trunk, seed: int = 1, **config) -> tuple[str, TunedTrunk]:
    """A branch of method adapter, as far as a fusion reads one."""
    tuner = Adapter(AdapterConfig(**{"reduction": 4, **config}))
    tuned = TunedTrunk(trunk, tuner, "fp32").eval()
    torch.manual_seed(seed)
    for parameter in tuned.own().values():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.2
    folder.mkdir(parents=True)
    described = {
        "name": folder.name,
        "method": tuner.described(),
        "trunk": {
            "weights": trunk.fingerprint.weights,
            "config": trunk.fingerprint.config,
            "hidden_size": trunk.hidden_size,
        },
    }
    (folder / "branch.json").write_text(json.dumps(described))
    save_file({f"trunk.{key}": p.detach().clone() for key, p in tuned.own().items()}, folder / "weights.safetensors")
    return str(folder), tuned


@pytest.fixture
def trunk(tiny_trunk_dir) -> Trunk:
    return load_trunk(tiny_trunk_dir, dtype="fp32")


def test_one_adapter_in_a_fusion_is_the_adapter(trunk, tmp_path):
    """With a value at the identity, attention over one adapter gives that adapter, up to the 1e-6 beside the diagonal."""
    path, tuned = branch(tmp_path / "mood", trunk)
    fused = TunedTrunk(trunk, Fusion(FusionConfig(adapters=[path])), "fp32").eval()
    torch.testing.assert_close(states(fused.model), states(tuned.model), rtol=0, atol=1e-4)
    assert not torch.allclose(states(fused.model), states(trunk.model), atol=1e-2)


def test_two_equal_adapters_share_the_attention(trunk, tmp_path):
    path, tuned = branch(tmp_path / "mood", trunk, variant="houlsby")
    fusion = Fusion(FusionConfig(adapters={"a": path, "b": path}))
    fused = TunedTrunk(trunk, fusion, "fp32").eval()
    torch.testing.assert_close(states(fused.model), states(tuned.model), rtol=0, atol=1e-4)
    with fusion.watch():
        states(fused.model)
    assert list(fusion.attention()) == [1, 2, 3]
    for shares in fusion.attention().values():
        assert shares == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-6)


def test_the_attention_is_a_mean_over_real_tokens(trunk, tmp_path):
    paths = [branch(tmp_path / name, trunk, seed)[0] for seed, name in enumerate("ab")]
    fusion = Fusion(FusionConfig(adapters=paths))
    fused = TunedTrunk(trunk, fusion, "fp32").eval()
    randomise(fused, 0.3)
    fused.eval()

    def seen(*batches):
        with fusion.watch(), torch.no_grad():
            for tokens, mask in batches:
                fused.model(input_ids=tokens, attention_mask=mask)
        return fusion.attention()

    tokens, whole = ids(), torch.ones_like(ids())
    short = whole.clone()
    short[1, 4:] = 0
    padded = seen((tokens, short))
    alone = seen((tokens[:1], whole[:1]), (tokens[1:, :4], whole[1:, :4]))
    for number, shares in padded.items():
        assert shares == pytest.approx(alone[number], abs=1e-5) and sum(shares.values()) == pytest.approx(1)
    assert padded[1]["a"] != pytest.approx(seen((tokens, whole))[1]["a"], abs=1e-7)
    fused.train()
    assert seen((tokens, whole)) == {}  # what dropout makes of it is nobody's business


def test_only_the_fusion_is_trained(trunk, tmp_path):
    paths = [branch(tmp_path / name, trunk, seed)[0] for seed, name in enumerate("ab")]
    fusion = Fusion(FusionConfig(adapters=paths))
    fused = TunedTrunk(trunk, fusion, "fp32").eval()
    assert {key.split("output_adapter.")[1] for key in trained(fused)} == {
        "fusion.query.weight", "fusion.query.bias", "fusion.key.weight", "fusion.key.bias", "fusion.value.weight",
    }  # fmt: skip
    assert len(fused.own()) > len(trained(fused))  # the adapters are stored with the branch
    assert fusion.penalty().item() == pytest.approx(3 * 0.01 * 32 * 31 * 1e-12, rel=1e-3)
    fused.train()
    before = {key: p.clone() for key, p in fused.own().items() if not p.requires_grad}
    optimizer = torch.optim.SGD(trained(fused).values(), lr=10.0)
    for _ in range(2):
        (fused.model(input_ids=ids()).last_hidden_state.square().mean() + fusion.penalty()).backward()
        optimizer.step()
    own = fused.own()
    assert all(torch.equal(value, own[key]) for key, value in before.items())
    assert fusion.penalty().item() != pytest.approx(3 * 0.01 * 32 * 31 * 1e-12, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_described_reloads_without_the_adapters(precision, trunk, tmp_path):
    below = branch(tmp_path / "language", trunk, 5)[1]
    below.tuner.export(tmp_path / "xx", "xx")
    paths = [branch(tmp_path / name, trunk, seed, stack_on=str(tmp_path / "xx"))[0] for seed, name in enumerate("ab")]
    fusion = Fusion(FusionConfig(adapters=paths))
    fused = TunedTrunk(trunk, fusion, precision)
    assert fusion.language is not None  # brought along by the branches
    randomise(fused)
    described = json.loads(json.dumps(fusion.described()))
    for name in ("a", "b", "xx"):
        (tmp_path / name).rename(tmp_path / f"gone {name}")
    again = TunedTrunk(trunk, Fusion(FusionConfig(**described)), precision)
    again.load_state_dict(fused.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        assert torch.equal(states(again.model.eval()), states(fused.model.eval()))


def test_another_trunk_is_refused(trunk, tiny_trunk_dir, tmp_path):
    from tiny import tiny_bert

    paths = [branch(tmp_path / "a", trunk)[0]]
    Fusion(FusionConfig(adapters=paths)).check(trunk)
    other = load_trunk(tiny_bert(tmp_path / "other", seed=1), dtype="fp32")
    with pytest.raises(BadInput, match=r"a: made for a trunk with weights sha256 .* give the trunk it belongs to"):
        Fusion(FusionConfig(adapters=paths)).check(other)
    settings = shutil.copytree(tiny_trunk_dir, tmp_path / "settings") / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"layer_norm_eps": 1e-3}))
    with pytest.raises(BadInput, match=r"a: made for a trunk with settings in config.json of sha256 .* give the trunk"):
        Fusion(FusionConfig(adapters=paths)).check(load_trunk(settings.parent, dtype="fp32"))
    paths.append(branch(tmp_path / "b", other)[0])
    with pytest.raises(BadInput, match=r"b: made for a trunk with weights sha256"):
        TunedTrunk(trunk, Fusion(FusionConfig(adapters=paths)), "fp32")
    wide = load_trunk(tiny_bert(tmp_path / "wide", hidden=48), dtype="fp32")
    with pytest.raises(BadInput, match=r"trunk.hidden_size: found 32, expected 48, as in the trunk"):
        TunedTrunk(wide, Fusion(FusionConfig(adapters=paths[:1])), "fp32")


@pytest.mark.parametrize("key", ["start", "stack_on"])
def test_an_adapter_of_another_trunk_is_refused_unless_its_files_know_no_trunk(key, trunk, tmp_path):
    from tiny import tiny_bert

    path, tuned = branch(tmp_path / "a", trunk)
    other = load_trunk(tiny_bert(tmp_path / "other", seed=1), dtype="fp32")
    TunedTrunk(trunk, Adapter(AdapterConfig(**{key: path})), "fp32")
    with pytest.raises(BadInput, match=r"a: made for a trunk with weights sha256 .* give the trunk it belongs to"):
        TunedTrunk(other, Adapter(AdapterConfig(**{key: path})), "fp32")
    tuned.tuner.export(str(tmp_path / "files"), "files")
    changed = TunedTrunk(other, Adapter(AdapterConfig(**{key: str(tmp_path / "files")})), "fp32")
    described = changed.tuner.described()  # of a branch that has what it needs: the path is of no account any more
    TunedTrunk(other, Adapter(AdapterConfig(**described | {key: path})), "fp32")


def test_a_fusion_on_a_language_adapter_of_another_trunk_is_refused(trunk, tmp_path):
    from tiny import tiny_bert

    other = load_trunk(tiny_bert(tmp_path / "other", seed=1), dtype="fp32")
    below, adapter = branch(tmp_path / "below", other)[0], branch(tmp_path / "a", trunk)[0]
    with pytest.raises(BadInput, match=r"below: made for a trunk with weights sha256"):
        TunedTrunk(trunk, Fusion(FusionConfig(adapters=[adapter], stack_on=below)), "fp32")


def test_to_start_from_a_branch_is_to_keep_its_language_adapter(trunk, tmp_path):
    for seed, name in enumerate(("xx", "yy")):
        branch(tmp_path / f"language {name}", trunk, seed)[1].tuner.export(tmp_path / name, name)
    path, tuned = branch(tmp_path / "a", trunk, stack_on=str(tmp_path / "xx"))
    for below in (None, str(tmp_path / "xx")):
        again = TunedTrunk(trunk, Adapter(AdapterConfig(start=path, stack_on=below)), "fp32").eval()
        assert torch.equal(states(again.model), states(tuned.model))
    with pytest.raises(BadInput, match=r"method.stack_on: found another language adapter than .*a was trained on"):
        TunedTrunk(trunk, Adapter(AdapterConfig(start=path, stack_on=str(tmp_path / "yy"))), "fp32")
    with pytest.raises(BadInput, match=r"a: is itself stacked on a language adapter; method.stack_on expected one that is not"):
        TunedTrunk(trunk, Adapter(AdapterConfig(stack_on=path)), "fp32")


def test_adapters_that_do_not_go_together_are_refused(trunk, tmp_path):
    one = branch(tmp_path / "a", trunk)[0]
    for config in ({"variant": "houlsby"}, {"layers": "2-3"}, {"variant": "parallel"}):
        name = "-".join(config.values())
        with pytest.raises(BadInput, match="have other positions than those of"):
            TunedTrunk(trunk, Fusion(FusionConfig(adapters=[one, branch(tmp_path / name, trunk, **config)[0]])), "fp32")
    branch(tmp_path / "language", trunk, 5)[1].tuner.export(tmp_path / "xx", "xx")
    below = branch(tmp_path / "c", trunk, stack_on=str(tmp_path / "xx"))[0]
    with pytest.raises(BadInput, match="trained on another language adapter"):
        TunedTrunk(trunk, Fusion(FusionConfig(adapters=[one, below])), "fp32")
    branch(tmp_path / "language2", trunk, 6)[1].tuner.export(tmp_path / "yy", "yy")
    with pytest.raises(BadInput, match=r"method.stack_on: found another language adapter"):
        TunedTrunk(trunk, Fusion(FusionConfig(adapters=[below], stack_on=str(tmp_path / "yy"))), "fp32")


BAD = [
    ([], "method.adapters: found none"),
    (["a", "a"], "found the name 'a', expected names without dots, each once"),
    ({"x.y": "a"}, "found the name 'x.y'"),
    ({"type": "a"}, "found the name 'type', which is an attribute of PyTorch's modules"),
    ({"B": "a", "b": "a"}, "found 'B' and 'b', which are one folder on some disks"),
    ({"../a": "a"}, "found the name '../a', expected letters"),
    (["nowhere"], "nowhere: found no adapter"),
    (["lora"], "branch.json: method.name: found 'lora', expected 'adapter'"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD)
def test_bad_lists_are_refused(given, sentence, trunk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    branch(tmp_path / "a", trunk)
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "branch.json").write_text('{"method": {"name": "lora"}, "trunk": {}}')
    with pytest.raises(BadInput, match=sentence):
        TunedTrunk(trunk, Fusion(FusionConfig(adapters=given)), "fp32")


@pytest.mark.parametrize("through", ["branch.json", "adapter_config.json", "python"])
def test_a_name_that_is_a_path_leads_nowhere(through, trunk, tmp_path):
    """An export writes a folder for each adapter: one called by a path would be written over what is there."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "work.txt").write_text("mine")
    path, tuned = branch(tmp_path / "a", trunk)
    with pytest.raises(BadInput, match=f"found the name '{victim}"[:40]):
        if through == "branch.json":
            described = TunedTrunk(trunk, Fusion(FusionConfig(adapters=[path])), "fp32").tuner.described()
            described["specs"]["fused"][str(victim)] = described["specs"]["fused"].pop("a")
            TunedTrunk(trunk, fusion := Fusion(FusionConfig(**described)), "fp32")
        elif through == "adapter_config.json":
            tuned.tuner.export(str(tmp_path / "files"), str(victim))
            TunedTrunk(trunk, fusion := Fusion(FusionConfig(adapters=[str(tmp_path / "files")])), "fp32")
        else:
            TunedTrunk(trunk, fusion := Fusion(FusionConfig(adapters=[path])), "fp32")
            fusion.specs = {str(victim): fusion.specs.pop("a")}
        fusion.export(str(tmp_path / "out"))
    assert (victim / "work.txt").read_text() == "mine"


def test_a_fusion_goes_on_from_an_exported_one(tmp_path):
    model = frozen("distilbert")
    for name in ("a", "b"):
        tuner, changed = apply(model, "adapter", variant="houlsby", reduction=4)
        randomise(changed)
        tuner.export(tmp_path / name, name)
    paths = [str(tmp_path / name) for name in ("a", "b")]
    fusion, changed = apply(model, "fusion", adapters=paths)
    randomise(changed)
    fusion.export(tmp_path / "out")
    folders = [str(tmp_path / "out" / name) for name in ("a", "b")]
    _, again = apply(model, "fusion", adapters=folders, start=str(tmp_path / "out" / "fusion"))
    assert torch.equal(states(again), states(changed))
    with pytest.raises(BadInput, match="a fusion of a, b, expected one of b, a"):
        apply(model, "fusion", adapters=folders[::-1], start=str(tmp_path / "out" / "fusion"))
